"""`keyman check`: everything that can be wrong, found before it hurts. Looks; changes nothing.

Each question is one small function that yields findings. A finding names the credential and the
slot it is about, a code for programs, what is the matter, and the next move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from keyman import errors
from keyman.config import Settings
from keyman.core.health import duration_text
from keyman.core.model import Credential, KeySeen, Observed, Stage, State, Verdict, Version
from keyman.core.policy import Policy
from keyman.core.situation import Situation
from keyman.rotator import Managed
from keyman.stores.protocol import Store
from keyman.vendors.oci_iam import KNOWN_REGIONS, LIMITS
from keyman.views import Json

SAFE_SQLITE = (3, 51, 3)


class Found(Protocol):
    """One key that the provider lists."""

    @property
    def key(self) -> KeySeen: ...


@runtime_checkable
class Lists(Protocol):
    """A provider that can say which keys there are."""

    def list_keys(self) -> Sequence[Found]: ...


@dataclass(frozen=True, slots=True)
class Finding:
    severity: str  #: error | warning | info
    code: str
    message: str
    hint: str = ""
    credential: str | None = None
    slot: str | None = None

    def as_json(self) -> Json:
        return {
            "severity": self.severity,
            "credential": self.credential,
            "slot": self.slot,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


def of_sqlite(version: tuple[int, ...]) -> Iterator[Finding]:
    """Older ones can corrupt a database in WAL mode when its log is reset."""
    if version < SAFE_SQLITE:
        yield Finding(
            "warning",
            "old_sqlite",
            f"SQLite {'.'.join(map(str, version))} can corrupt the journal in rare cases",
            "pip install pysqlite3, or use a Python built with SQLite 3.51.3 or newer",
        )


def of_store(store: Store, kind: str, key_kind: str) -> Iterator[Finding]:
    """Does it answer, and what does it protect against?"""
    try:
        store.list()
    except errors.StoreFailed as error:
        yield Finding("error", "store_failed", error.message, error.hint)
        return
    if not store.durable:
        yield Finding(
            "warning",
            "store_forgets",
            f"the store {kind!r} forgets every secret when keyman stops",
            "every start fills the standby slots anew; sealed-file and keyring keep them",
        )
    if kind == "sealed-file" and key_kind == "file":
        yield Finding(
            "info",
            "key_beside_store",
            "the store's key lies in a file: copies of the disk that hold both can be read",
            "it protects copies of the database alone; systemd-credential or keyring protect more",
        )


def of_configuration(settings: Settings) -> Iterator[Finding]:
    """What is allowed to be written, and may not be meant."""
    if not settings.credentials:
        yield Finding(
            "warning",
            "no_credentials",
            "no credentials are configured",
            "config.example.yaml shows how",
        )
    for one in settings.credentials.values():
        region = one.options.region
        if region is not None and region not in KNOWN_REGIONS:
            yield Finding(
                "warning",
                "unknown_region",
                f"{region} is not known to have API keys",
                f"known: {', '.join(KNOWN_REGIONS)}; Oracle adds some, so it may work",
                one.name,
            )


def of_the_left(recorded: Iterable[str], settings: Settings) -> Iterator[Finding]:
    """Credentials that keyman still keeps secrets of, and no longer looks after."""
    for name in recorded:
        if name not in settings.credentials:
            yield Finding(
                "info",
                "left",
                "it left the configuration: nobody rotates it, its secrets are still stored",
                f"keyman forget {name}, with --revoke if nothing uses it any more",
                name,
            )


def of_policy(name: str, policy: Policy) -> Iterator[Finding]:
    """Will a slot's old secret expire before its turn to be filled comes?"""
    between = policy.lifetime - policy.rotate_before
    if 2 * between > policy.lifetime:
        yield Finding(
            "warning",
            "standby_expires",
            f"a slot is filled every {duration_text(2 * between.total_seconds())}, but its secret "
            f"lives {duration_text(policy.lifetime.total_seconds())}; it may not be fillable then",
            "raise rotate_before to at least half of lifetime",
            name,
        )


def of_credential(managed: Managed, c: Credential, now: datetime) -> Iterator[Finding]:
    """Ask the provider now, and compare with what we know."""
    yield from of_policy(c.name, c.policy)
    if not c.versions:
        yield from _beginning(c)
    if not c.key_id:
        yield from _room_for_a_key(managed, c.name)
        return
    handles = Situation(c, None, now).handles
    try:
        observed = managed.provider.observe(handles, now)
    except errors.ProviderFailed as error:
        yield Finding("error", "provider_failed", error.message, error.hint, c.name)
        return
    if observed is not None:
        yield from _drift(Situation(c, observed, now))
        yield from _slots(c, observed, now)
    yield from _inference(managed, c, now)


def _beginning(c: Credential) -> Iterator[Finding]:
    if c.spec.key_id:
        message = "the key is not adopted: keyman touches nothing and lookups answer not_adopted"
        hint = f"give the secret in use: keyman adopt {c.name} --slot SLOT"
        yield Finding("warning", "not_adopted", message, hint, c.name)
    else:
        message = "an API key will be created at the first start"
        hint = f"its IAM statements: keyman policy {c.name}"
        yield Finding("info", "will_create", message, hint, c.name)


def _room_for_a_key(managed: Managed, name: str) -> Iterator[Finding]:
    """Will the provider let us make one? Listing shows as much as can be seen without trying."""
    if not isinstance(managed.provider, Lists):
        return
    try:
        there = [found for found in managed.provider.list_keys() if found.key.state != "DELETED"]
    except errors.ProviderFailed as error:
        yield Finding("error", "provider_failed", error.message, error.hint, name)
        return
    limit = LIMITS["api-key-count"]
    if len(there) >= limit:
        yield Finding(
            "error",
            "key_limit",
            f"the compartment has {len(there)} API keys; a tenancy may have {limit}",
            "delete unused ones, or ask Oracle to raise the limit api-key-count",
            name,
        )


def _drift(s: Situation) -> Iterator[Finding]:
    if s.other_owner:
        yield Finding(
            "error",
            "other_owner",
            f"{s.other_owner} manages this key too",
            "let one keyman drive a key: forget it in the other one, or stop that copy",
            s.c.name,
        )
    if s.spec.key_id and s.c.home and s.c.home != s.spec.key_id:
        yield Finding(
            "warning",
            "other_key",
            f"api_key_id is {s.spec.key_id}, but the key in use is {s.c.home}",
            "write that one there; for the other one give it a name of its own and `keyman adopt`",
            s.c.name,
        )
    for v in s.c.all_at(Stage.CURRENT, Stage.PREVIOUS):
        against = s.contradiction(v)
        if against:
            yield Finding(
                "error" if v.stage is Stage.CURRENT else "warning",
                "drift",
                f"version {v.number} ({v.stage}): {against}",
                "someone changed it at the provider; keyman replaces what is dead by itself",
                s.c.name,
                v.slot,
            )
    if s.stuck:
        yield Finding(
            "error",
            "no_slot",
            "no slot of the API key can be filled again",
            f"keyman rotate {s.c.name} --new-key",
            s.c.name,
        )


def _slots(c: Credential, o: Observed, now: datetime) -> Iterator[Finding]:
    key = o.key(c.key_id)
    for name in c.spec.slots:
        seen = key.slot(name) if key else None
        if seen is None:
            message, hint = f"the API key has no slot {name}", "compare `slots` with the key"
            yield Finding("error", "no_such_slot", message, hint, c.name, name)
        elif seen.state == State.REVOKED:
            hint = f"if it can't be filled again: keyman rotate {c.name} --new-key"
            yield Finding("warning", "slot_revoked", "the slot is revoked", hint, c.name, name)
        elif seen.state == State.EXPIRED or (seen.expires_at and seen.expires_at <= now):
            hint = "it is filled again when its turn comes"
            yield Finding("warning", "slot_expired", "the slot expired", hint, c.name, name)


def _inference(managed: Managed, c: Credential, now: datetime) -> Iterator[Finding]:
    """Is the current secret accepted where applications use it?"""
    current = c.current
    if current is None:
        return
    finding = _dead(c, current, now)
    if finding:
        yield finding
        return
    try:
        secret = managed.store.get(c.name, current.number)
    except errors.StoreFailed as error:
        yield Finding("error", "store_failed", error.message, error.hint, c.name, current.slot)
        return
    if secret is None and not managed.store.durable:
        return  # only the daemon's own memory has it
    if secret is None:
        message = f"the secret of version {current.number} is not in the store"
        hint = f"keyman rotate {c.name} makes a new one"
        yield Finding("error", "secret_missing", message, hint, c.name, current.slot)
        return
    said = _VERDICTS.get(managed.provider.verify(secret))
    if said:
        severity, code, message, hint = said
        yield Finding(severity, code, message, hint.format(name=c.name), c.name, current.slot)


def _dead(c: Credential, v: Version, now: datetime) -> Finding | None:
    if v.expired(now):
        message, hint = f"version {v.number} expired", f"keyman rotate {c.name}"
        return Finding("error", "expired", message, hint, c.name, v.slot)
    return None


_VERDICTS = {
    Verdict.REFUSED: (
        "error",
        "refused",
        "inference refuses the current secret (401)",
        "wrong base_url or region? else a key made before its IAM policy: keyman policy {name}",
    ),
    Verdict.FORBIDDEN: (
        "error",
        "forbidden",
        "inference knows the current secret but does not let it call the model",
        "add the statements of: keyman policy {name}",
    ),
    Verdict.SILENT: (
        "warning",
        "no_verdict",
        "inference gave no verdict on the current secret",
        "check base_url, network.proxy and network.ca_bundle",
    ),
}
