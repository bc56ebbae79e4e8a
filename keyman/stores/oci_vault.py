"""Secrets in OCI Vault: one vault secret per credential, one version of it per number.

A version is uploaded PENDING and is given to direct readers only when `point` says so. What was
dropped, and what was replaced, is destroyed as soon as OCI allows: by whichever of put, point and
drop comes next. Every change is made over what was seen, looked at again afterwards, and may be
repeated: an answer that got lost is found out by looking.

Opening it asks nobody. It never cancels a deletion, never deletes a vault secret, and touches
none that another installation has marked as its own, unless that keeps nothing there any more.
A tag also says which credential's it is: with prefixes that begin alike, two stores of ours can
mean the same one.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
from collections.abc import Iterator
from typing import Any

from keyman.clock import Clock, SystemClock
from keyman.core.model import Secret
from keyman.errors import ProviderFailed, StoreFailed, Unknown
from keyman.stores.limits import fitting
from keyman.stores.oci_vault_changes import NOTHING_YET, Changes, Patience, full
from keyman.stores.oci_vault_versions import NAME, NOTHING, OWNER, Seen
from keyman.vendors.network import Network
from keyman.vendors.oci_outcomes import Collided, Refused
from keyman.vendors.oci_vaults import SecretSeen, Vaults, VersionSeen, Where, contents, maybe_taken

READING_TRIES = 5
SHORTEST_SECRET = 4  # blotting out single letters would spoil the sentence and hide nothing
_LEAVING = {"SCHEDULING_DELETION", "PENDING_DELETION", "DELETING"}
_NEVER_SEEN_ETAG = "keyman-only-asks"


class OciVault:
    durable = True

    def __init__(
        self,
        where: Where,
        *,
        prefix: str,
        installation: str,
        network: Network,
        timeout: float,
        read_only: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """`timeout` in seconds is for one call, and for what must be waited for between calls."""
        clock = clock or SystemClock()
        self._vaults = Vaults(
            where,
            (_vaults_client, _secrets_client),
            network=network,
            clock=clock,
            deadline=timeout,
        )
        self._prefix, self._installation = prefix, installation
        self._changes = Changes(self._vaults, self._ours, clock, timeout)
        self._read_only = read_only
        self._ids: dict[str, str] = {}

    def ready(self, name: str) -> None:
        """Looks, reads what direct readers get, and asks for a change that can't come about."""
        with _translated():
            self._refuse_if_read_only()
            secret = self._find(name)
            if secret is None:
                return
            seen = self._changes.see(secret if self._left_behind(secret) else self._ours(secret))
            if seen.full and not seen.spent:
                raise full(seen)
            if seen.current is not None:
                self._vaults.content(secret.id, number=seen.current.number)
            tags = {"freeformTags": dict(secret.tags)}
            with contextlib.suppress(Collided):  # as it should be: nobody has that etag
                self._vaults.change(secret, tags, etag=_NEVER_SEEN_ETAG)

    def put(self, name: str, number: int, secret: Secret, *, slot: str | None = None) -> None:
        value = fitting(name, secret)
        with _translated(value):
            self._refuse_if_read_only()
            patience = self._changes.patience()
            found = self._find(name) or self._made(name, patience)
            if self._left_behind(found):
                found = self._taken_over(found, name, patience)
            seen = self._changes.see(self._ours(found))
            # Before, not after: what this one replaces stays until the next change, for readers
            # who have just listed it.
            seen = self._changes.sweep(seen)
            self._changes.stage(seen, number, value or NOTHING_YET, patience)

    def get(self, name: str, number: int) -> Secret | None:
        with _translated():
            patience = self._changes.patience()
            for tries_left in reversed(range(READING_TRIES)):
                seen = self._reading(name)
                kept = seen.kept(number) if seen else None
                if seen is None or kept is None:
                    return None
                try:
                    text = self._vaults.content(seen.secret.id, number=kept.number)
                except (Collided, Refused) as failure:  # replaced or dropped in this moment?
                    if not tries_left or failure.status not in (404, 409):
                        raise
                    patience.wait(failure)
                else:
                    return Secret("" if text == NOTHING_YET else text)
            raise AssertionError("the last try returns or raises")

    def drop(self, name: str, number: int) -> None:
        with _translated():
            self._refuse_if_read_only()
            seen = self._reading(name)
            if seen is None:
                return
            self._changes.sweep(self._changes.forget(seen, number, self._changes.patience()))

    def list(self, name: str | None = None) -> builtins.list[tuple[str, int]]:
        """Leaves out what lies in a vault secret that somebody is deleting, unless it is asked
        for by name.
        """
        with _translated():
            if name is not None:
                seen = self._reading(name)
                return [(name, number) for number in seen.numbers] if seen else []
            ours = [s for s in self._vaults.named() if self._is_ours(s) and s.state not in _LEAVING]
            found = {s.tags[NAME]: self._changes.see(s).numbers for s in ours if self._fits(s)}
            return sorted((each, number) for each in found for number in found[each])

    def point(self, name: str, number: int | None) -> None:
        with _translated():
            self._refuse_if_read_only()
            secret = self._find(name)
            if secret is None and number is None:
                return
            if secret is None:
                raise _missing(name, number)
            patience = self._changes.patience()
            seen = self._changes.see(self._ours(secret))
            if number is None:
                seen = self._changes.show_nothing(seen, patience)
            else:
                seen = self._changes.show(seen, lambda now: _kept(now, name, number), patience)
            self._changes.sweep(seen)

    def pointed(self, name: str) -> int | None:
        with _translated():
            seen = self._reading(name)
            return seen.pointed if seen else None

    def read_current(self, name: str) -> tuple[int, Secret] | None:
        with _translated():
            seen = self._reading(name)
            if seen is None or seen.pointed is None or seen.current is None:
                return None
            text = self._vaults.content(seen.secret.id, number=seen.current.number)
            return seen.pointed, Secret("" if text == NOTHING_YET else text)

    def place(self, name: str, number: int) -> str | None:
        with _translated():
            secret = self._find(name)
            return secret.id if secret else None

    def close(self) -> None:
        self._vaults.close()

    # Which vault secret.

    def _find(self, name: str) -> SecretSeen | None:
        """The vault secret of the credential, whosever it is."""
        wanted = self._prefix + name
        try:
            wanted.encode()
        except UnicodeEncodeError:
            raise StoreFailed("a name of a secret is not valid text") from None
        if known := self._ids.pop(wanted, None):
            with contextlib.suppress(Refused):  # deleted meanwhile, it seems: the list will tell
                return self._remembered(self._vaults.look(known))
        there = [s for s in self._vaults.named(wanted) if s.name == wanted and s.state != "DELETED"]
        # Lists may lag behind and carry no etag.
        return self._remembered(self._vaults.look(there[0].id)) if there else None

    def _remembered(self, secret: SecretSeen) -> SecretSeen | None:
        if secret.state == "DELETED":
            return None
        self._ids[secret.name] = secret.id
        return secret

    def _is_ours(self, secret: SecretSeen) -> bool:
        return secret.tags.get(OWNER) == self._installation

    def _fits(self, secret: SecretSeen) -> bool:
        """Is it of this store, if it is ours, rather than of one with another prefix?"""
        return NAME in secret.tags and secret.name == self._prefix + secret.tags[NAME]

    def _left_behind(self, secret: SecretSeen) -> bool:
        """Another installation's, which keeps nothing in it any more."""
        if OWNER not in secret.tags or self._is_ours(secret) or secret.state in _LEAVING:
            return False
        return not self._changes.see(secret).numbers

    def _taken_over(self, secret: SecretSeen, name: str, patience: Patience) -> SecretSeen:
        tags = {**secret.tags, OWNER: self._installation, NAME: name}
        self._vaults.change(secret, {"freeformTags": tags})
        while not self._is_ours(secret):
            patience.wait(None)
            secret = self._vaults.look(secret.id)
        return secret

    def _ours(self, secret: SecretSeen) -> SecretSeen:
        """The vault secret, if it may be used; else StoreFailed."""
        if not self._is_ours(secret):
            owner = "another installation of keyman" if OWNER in secret.tags else "nobody we know"
            raise StoreFailed(
                f"oci-vault: the vault secret {secret.name} belongs to {owner}",
                hint="give each installation a `prefix` of its own; if it is this one's, its"
                f" freeform tag must be {OWNER}={self._installation}, and {NAME} its credential",
            )
        if NAME not in secret.tags:
            raise StoreFailed(
                f"oci-vault: the vault secret {secret.name} does not say which credential it is of",
                hint="if no other store of yours has a prefix that begins alike: its freeform tag"
                f" must be {NAME}={secret.name.removeprefix(self._prefix)}",
            )
        if not self._fits(secret):
            raise StoreFailed(
                f"oci-vault: the vault secret {secret.name} is another credential's:"
                f" {secret.tags[NAME]!a}",
                hint="its store's `prefix` begins like this one's: change one of them",
            )
        if secret.state in _LEAVING:
            raise StoreFailed(
                f"oci-vault: somebody is deleting the vault secret {secret.name}: {secret.state}",
                hint="keyman does not undo that: cancel it with `oci vault secret cancel-deletion"
                f" --secret-id {secret.id}`, or name another `prefix`",
            )
        return secret

    def _reading(self, name: str) -> Seen | None:
        """As a reader may see it: what is another's does not exist."""
        secret = self._find(name)
        if secret is None or self._another_s(secret):
            return None
        return self._changes.see(self._ours(secret))

    def _another_s(self, secret: SecretSeen) -> bool:
        """Does it say so: another installation's, or another credential's of this one?"""
        if not self._is_ours(secret):
            return OWNER in secret.tags
        return NAME in secret.tags and not self._fits(secret)

    def _made(self, name: str, patience: Patience) -> SecretSeen:
        """A new vault secret. Its first version is current at once, so it must hold nothing."""
        vault_name, tags = self._prefix + name, {OWNER: self._installation, NAME: name}
        nothing = contents(NOTHING, NOTHING_YET, "CURRENT")
        while True:
            try:
                made = self._vaults.create(vault_name, nothing, tags)
                return self._vaults.look(made)
            except (Collided, Refused, Unknown) as failure:
                # The name may be taken by our own call, whose answer was lost; lists can lag.
                if isinstance(failure, Refused) and not maybe_taken(failure):
                    raise
                patience.wait(failure)
            if found := self._find(name):
                return found

    def _refuse_if_read_only(self) -> None:
        if self._read_only:
            raise StoreFailed(
                "oci-vault: opened for reading only", hint="`keyman daemon` writes it"
            )


def _vaults_client() -> Any:
    from oci.vault import VaultsClient

    return VaultsClient


def _secrets_client() -> Any:
    from oci.secrets import SecretsClient

    return SecretsClient


def _kept(seen: Seen, name: str, number: int) -> VersionSeen:
    kept = seen.kept(number)
    if kept is None:
        raise _missing(name, number)
    return kept


def _missing(name: str, number: int | None) -> StoreFailed:
    return StoreFailed(
        f"oci-vault: there is no version {number} of {name} to point at",
        hint="nothing to do: keyman puts it there first, at its next turn",
    )


@contextlib.contextmanager
def _translated(value: str = "") -> Iterator[None]:
    """Whatever fails at OCI is StoreFailed to the rest, without what may carry the value."""
    try:
        yield
    except ProviderFailed as failure:
        raise StoreFailed(
            f"oci-vault: {_without(value, failure.message)}", hint=_without(value, failure.hint)
        ) from None


def _without(value: str, text: str) -> str:
    """The service's words, should they repeat what they were given."""
    if len(value) < SHORTEST_SECRET:
        return text
    encoded = base64.b64encode(value.encode()).decode()
    return text.replace(value, "···").replace(encoded, "···")
