"""Questions about keyman's own house: SQLite, the store, what nobody looks after any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from keyman import errors
from keyman.checkup.finding import Finding
from keyman.config import SealedFile, Settings, StoreSettings
from keyman.config.places import where_to_write
from keyman.db.journal import WAL_RESET_FIXED
from keyman.stores.protocol import Store
from keyman.views import Json


def of_sqlite(version: tuple[int, ...]) -> Iterator[Finding]:
    """Older ones can corrupt a database in WAL mode when its log is reset."""
    if version < WAL_RESET_FIXED:
        safe = ".".join(map(str, WAL_RESET_FIXED))
        yield Finding(
            "warning",
            "old_sqlite",
            f"SQLite {'.'.join(map(str, version))} can corrupt the journal in rare cases",
            f"pip install pysqlite3, or use a Python built with SQLite {safe} or newer",
        )


ANYBODY = "_keyman-check"  # a name that no credential can have: what others hold is not read


def of_store(store: Store, said: StoreSettings) -> Iterator[Finding]:
    """Does it answer, and what does it protect against?"""
    try:
        store.list(ANYBODY)
    except errors.StoreFailed as error:
        yield Finding("error", "store_failed", error.message, error.hint)
        return
    if not store.durable:
        yield Finding(
            "warning",
            "store_forgets",
            f"the store {said.kind!r} forgets every secret when keyman stops",
            "every start fills the standby slots anew; sealed-file and keyring keep them",
        )
    if isinstance(said.place, SealedFile) and said.place.key.kind == "file":
        yield Finding(
            "info",
            "key_beside_store",
            "the store's key lies in a file: copies of the disk that hold both can be read",
            "it protects copies of the database alone; systemd-credential or keyring protect more",
        )


def of_credentials(settings: Settings) -> Iterator[Finding]:
    if not settings.credentials:
        yield Finding(
            "warning",
            "no_credentials",
            "no credentials are configured",
            where_to_write(settings.source),
        )


def of_the_left(recorded: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """Credentials that keyman still keeps secrets of, and no longer looks after, each with the kind
    of its provider.
    """
    for name, kind in sorted(recorded.items()):
        if name not in settings.credentials:
            revocable = kind in ("oci-genai", "openai")
            how = ", with --revoke if nothing uses it any more" if revocable else ""
            yield Finding(
                "info",
                "left",
                "it left the configuration: nobody rotates it, its secrets are still stored",
                f"keyman forget {name}{how}",
                name,
            )


def of_mirrors(statuses: Iterable[Json]) -> Iterator[Finding]:
    """What the daemon says of stores that do not follow their credential."""
    for one in statuses:
        for mirror in one.get("mirrors") or ():
            if mirror["state"] != "ok":
                yield Finding(
                    "warning",
                    f"mirror_{mirror['state']}",
                    f"the store {mirror['store']} is {mirror['state']} since {mirror['since']}"
                    + (f": {mirror['error']}" if mirror["error"] else ""),
                    "who reads that store directly has an older secret, or none; keyman tries on",
                    one["name"],
                )
