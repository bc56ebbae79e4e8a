"""Changes of a vault secret, each made over what was seen and looked at again afterwards.

An answer that got lost, a busy secret, a change of somebody else, a list that lags behind: all of
them are found out by looking, and whatever is not yet so is tried again, until the patience ends.
Decides nothing about whose secret it is, and never shows direct readers what it was not told to.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from keyman.clock import Clock
from keyman.errors import ProviderFailed, StoreFailed, Unknown
from keyman.stores.oci_vault_versions import Seen
from keyman.vendors.oci_outcomes import Collided, Refused
from keyman.vendors.oci_vaults import SecretSeen, Vaults, VersionSeen, contents, maybe_taken

log = logging.getLogger("keyman.stores")

DESTROYED_AFTER = timedelta(days=1, minutes=10)  # OCI asks for a day at least, by its own clock
SWEEPING_SECONDS = 5.0
NAMES_TRIED = 3
SHORTEST_STEP, GROWTH, LONGEST_STEP = 0.05, 1.5, 1.0
NOTHING_YET = "keyman has no secret here yet"  #: what direct readers get while there is none
Write = Callable[[Seen], bool]
"""Tries a change; False if it must be tried again."""


class Changes:
    """`guard` raises if a vault secret may not be used (any more); `timeout` is in seconds."""

    def __init__(
        self,
        vaults: Vaults,
        guard: Callable[[SecretSeen], SecretSeen],
        clock: Clock,
        timeout: float,
    ) -> None:
        self._vaults, self._guard = vaults, guard
        self._clock, self._timeout = clock, timeout

    def patience(self) -> Patience:
        return Patience(self._clock, self._timeout)

    def see(self, secret: SecretSeen) -> Seen:
        return Seen(secret, self._vaults.versions(secret.id))

    def stage(self, seen: Seen, number: int, value: str, patience: Patience) -> Seen:
        """Have that number hold the value, in a version that direct readers don't get yet."""

        def so(now: Seen) -> bool:
            kept = now.kept(number)
            return kept is not None and self._holds(now, kept.number, value)

        refused = Counter[str]()
        write = partial(self._upload, what=number, value=value, refused=refused)
        return self._bring_about(seen, so, write, patience)

    def show(self, seen: Seen, chosen: Callable[[Seen], VersionSeen], patience: Patience) -> Seen:
        """Have direct readers get the chosen version."""

        def write(now: Seen) -> bool:
            self._vaults.change(now.secret, {"currentVersionNumber": chosen(now).number})
            return True

        return self._bring_about(seen, lambda now: chosen(now) == now.current, write, patience)

    def show_nothing(self, seen: Seen, patience: Patience) -> Seen:
        seen = self._place_nothing(seen, 1, patience)
        return self.show(seen, lambda now: now.placeholders[0], patience)

    def forget(self, seen: Seen, number: int, patience: Patience) -> Seen:
        """Nobody gets that number any more. Destroying it is left to `sweep`."""

        def write(now: Seen) -> bool:
            tags = now.dropping(now.doomed(number))
            self._vaults.change(now.secret, {"freeformTags": tags})
            return True

        if seen.doomed(number):
            seen = self._bring_about(seen, lambda now: not now.doomed(number), write, patience)
        if seen.current is not None and seen.current.number in seen.dropped:
            seen = self.show_nothing(seen, patience)
        if seen.lingers:
            # One more move pushes it from PREVIOUS to where it can be destroyed.
            seen = self._place_nothing(seen, 2, patience)
            other = seen.placeholders[-1].number
            seen = self.show(seen, lambda now: now.numbered(other), patience)
        return seen

    def sweep(self, seen: Seen) -> Seen:
        """Destroy what is spent, one after the other. What OCI refuses waits for the next time."""
        try:
            while spent := seen.spent:
                seen = self._destroy(seen, spent[0].number)
        except (ProviderFailed, StoreFailed) as failure:
            log.warning("oci-vault: a version stays for now: %s (%s)", failure, failure.hint)
        return seen

    def _bring_about(
        self, seen: Seen, so: Callable[[Seen], bool], write: Write, patience: Patience
    ) -> Seen:
        """Try the change until it is so: each time anew from what is there, whatever came of it."""
        written: bool | None = None  # not tried yet
        while True:
            failure: ProviderFailed | None = None
            try:
                if so(seen):
                    return seen
            except Refused as refusal:
                if refusal.status != 404 or written is None:
                    raise
                failure = refusal  # what was just written may take its time to be seen
            else:
                if seen.settled and not written:
                    written, failure = _tried(write, seen)
                    if written:
                        patience.begin()
            patience.wait(failure)
            seen = self.see(self._guard(self._vaults.look(seen.secret.id)))

    def _holds(self, seen: Seen, number: int, value: str) -> bool:
        return self._vaults.content(seen.secret.id, number=number) == value

    def _upload(self, seen: Seen, *, what: int | str, value: str, refused: Counter[str]) -> bool:
        if seen.full:
            raise full(seen)
        # A name that is refused twice, or holds something else, is passed by.
        version_name = seen.free_name(what, (name for name in refused if refused[name] > 1))
        try:
            self._vaults.change(seen.secret, {"secretContent": contents(version_name, value)})
        except (Collided, Refused) as refusal:
            if not maybe_taken(refusal):
                raise
            there = self._is_there(seen, version_name)
            if there and self._vaults.content(seen.secret.id, name=version_name) == value:
                return True  # by an earlier call, whose answer was lost
            refused[version_name] += 2 if there else 1
            if not there and (isinstance(refusal, Collided) or len(refused) > NAMES_TRIED):
                raise
            return False
        return True

    def _is_there(self, seen: Seen, version_name: str) -> bool:
        try:
            self._vaults.content(seen.secret.id, name=version_name)
        except Refused as refusal:
            if refusal.status != 404:
                raise
            return False
        return True

    def _place_nothing(self, seen: Seen, count: int, patience: Patience) -> Seen:
        write = partial(self._upload, what="nothing", value=NOTHING_YET, refused=Counter())
        return self._bring_about(seen, lambda now: len(now.placeholders) >= count, write, patience)

    def _destroy(self, seen: Seen, number: int) -> Seen:
        def write(now: Seen) -> bool:
            self._vaults.destroy(now.secret, number, self._clock.now() + DESTROYED_AFTER)
            return True

        patience = Patience(self._clock, min(self._timeout, SWEEPING_SECONDS))
        return self._bring_about(seen, lambda now: not now.is_active(number), write, patience)


def _tried(write: Write, seen: Seen) -> tuple[bool, ProviderFailed | None]:
    try:
        return write(seen), None
    except (Collided, Unknown) as unclear:
        return False, unclear


class Patience:
    """How long a change is waited for, in steps that grow."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._step = clock, 0.0
        self._end = clock.monotonic() + seconds

    def begin(self) -> None:
        """Something new is waited for, which may be there at once."""
        self._step = 0.0

    def wait(self, failure: ProviderFailed | None) -> None:
        """Sleep a little. When the time is over, raises the failure; without one, StoreFailed."""
        if self._clock.monotonic() + self._step > self._end:
            raise failure or StoreFailed(
                "oci-vault: the vault secret stays busy, or does not show a change",
                hint="look at its state in OCI's console; keyman tries again later",
            )
        self._clock.sleep(self._step)
        self._step = min(LONGEST_STEP, max(SHORTEST_STEP, GROWTH * self._step))


def full(seen: Seen) -> StoreFailed:
    return StoreFailed(
        f"oci-vault: the vault secret {seen.secret.name} has {seen.active} versions, which is all"
        " that OCI allows, and none that could be deleted",
        hint="those pending deletion make room within a day; sooner, delete versions that keyman"
        " did not make (their names do not begin with keyman-)",
    )
