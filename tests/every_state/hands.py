"""What the real performer is handed: a provider, a store and a clock, over one world.

One fault is chosen beforehand and met where it belongs: before the call, after it, after the secret
was put. The world is replaced as things happen; whoever began takes it back from `Hands.world`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from keyman import errors
from keyman.core.model import KeySeen, Observed, Place, Secret, Verdict, Version
from keyman.providers.protocol import Issued
from tests.every_state.provider import (
    HANDLE,
    SLOTS,
    Call,
    Refused,
    Slot,
    Ways,
    carry_out,
    mask,
    picture,
)
from tests.every_state.world import Flight, World, secret, value_of

ANSWERS = {
    "stale": errors.RetryLater("412 NoEtagMatch"),
    "shut": errors.SlotRefused("409 the slot can't be filled"),
    "wrong": errors.Rejected("409 the slot is revoked or expired"),
    "gone": errors.Rejected("404 NotAuthorizedOrNotFound"),
}
NO_ANSWER = errors.Unknown("no answer")
BUSY = errors.RetryLater("503 ServiceUnavailable")


class PowerCut(BaseException):
    """The process is gone. Not an Exception: nothing in keyman may catch it."""


class Hands:
    """Provider, store and clock of one step, on a world that it changes as it goes."""

    durable = True

    def __init__(self, ways: Ways, *, matching: bool = True) -> None:
        self.ways = ways
        self.matching = matching  # False: changes go out without if-match
        self.world: World
        self.fault = ""
        self.called = False
        self.holds_back = False  # what is put is only noted in `puts`
        self.puts: list[tuple[int, int]] = []

    def begin(self, world: World, fault: str, *, holds_back: bool = False) -> None:
        self.world, self.fault, self.holds_back = world, fault, holds_back
        self.called, self.puts = False, []

    # Clock and ids.

    def now(self) -> datetime:
        return self.world.now

    def new_id(self) -> str:
        self.world = self.world._replace(wishes=self.world.wishes + 1)
        return f"a{self.world.wishes}"

    # The provider.

    def observe(
        self, handles: tuple[str, ...], now: datetime, optional: tuple[str, ...] = ()
    ) -> Observed:
        if self.fault == "busy":
            raise BUSY
        world = self.world
        seen = picture(world.key, world.at, world.client.value)
        if not self.ways.shows_use:
            unused = (replace(slot, last_used_at=None) for slot in seen.slots)
            seen = replace(seen, slots=tuple(unused))
        return Observed(now, (seen,))

    def claim(self, key: KeySeen, owner: str, epoch: int) -> bool:
        self._call(Call("claim", etag=key.etag, owner=owner, epoch=epoch))
        return self.ways.if_match

    def issue(self, wish: Version, etag: str | None) -> Issued:
        assert wish.slot
        ends = wish.expires_at
        call = Call("issue", SLOTS.index(wish.slot), etag, wish.attempt, ends)
        made = self._call(call)
        return Issued(secret(made.value), HANDLE, mask(made.value), made.expires_at)

    def activate(self, place: Place, etag: str | None) -> None:
        self._switch("activate", place, etag)

    def retire(self, place: Place, etag: str | None) -> None:
        self._switch("retire", place, etag)

    def revoke(self, place: Place, etag: str | None) -> None:
        self._switch("revoke", place, etag)

    def verify(self, held: Secret) -> Verdict:
        if self.fault == "silent":
            return Verdict.SILENT
        world, value = self.world, value_of(held)
        if not world.key.accepts(value, world.at):
            return Verdict.REFUSED
        for at, slot in enumerate(world.key.slots):
            if slot.value == value:
                etag = world.key.etag
                key = world.key.put(at, slot._replace(used_at=world.at))._replace(etag=etag)
                self.world = world._replace(key=key)
        return Verdict.ACCEPTED

    def _switch(self, verb: str, place: Place, etag: str | None) -> None:
        assert place.slot
        self._call(Call(verb, SLOTS.index(place.slot), etag))

    def _call(self, call: Call) -> Slot:
        call = call if self.matching else call._replace(etag=None)
        if self.fault in ("busy", "lost"):
            raise BUSY if self.fault == "busy" else NO_ANSWER
        if self.fault in ("late", "late-cut"):
            world = self.world
            flying = (*world.flying, Flight(call, world.at))
            self.world = world._replace(flying=flying)
            raise NO_ANSWER if self.fault == "late" else PowerCut
        try:
            self.world, slot = called(self.world, call, self.ways)
        except Refused as refused:
            raise ANSWERS[refused.why] from None
        self.called = True
        if self.fault == "done-lost":
            raise NO_ANSWER
        if self.fault == "done-cut":
            raise PowerCut
        return slot

    # The store.

    def ready(self, name: str) -> None:
        """It takes what it is given, as far as it knows."""

    def put(self, name: str, number: int, held: Secret, *, slot: str | None = None) -> None:
        if self.fault == "full":
            raise errors.StoreFailed("no space left")
        self.puts.append((number, value_of(held)))
        if not self.holds_back:
            self.world = kept(self.world, self.puts[-1:])
        if self.fault == "put-cut":
            raise PowerCut

    def get(self, name: str, number: int) -> Secret | None:
        value = (dict(self.world.store) | dict(self.puts)).get(number)
        return None if value is None else secret(value)

    def drop(self, name: str, number: int) -> None:
        store = tuple(entry for entry in self.world.store if entry[0] != number)
        self.world = self.world._replace(store=store)


def kept(world: World, puts: list[tuple[int, int]] | tuple[tuple[int, int], ...]) -> World:
    store = tuple(sorted((dict(world.store) | dict(puts)).items()))
    return world._replace(store=store)


def called(world: World, call: Call, ways: Ways) -> tuple[World, Slot]:
    """The provider carries it out. Raises Refused."""
    fresh = world.made + 1
    key, slot = carry_out(world.key, call, fresh, world.at, ways)
    made = fresh if call.verb == "issue" and slot.value == fresh else world.made
    return world._replace(key=key, made=made), slot
