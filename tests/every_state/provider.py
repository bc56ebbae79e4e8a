"""The provider of the small world: one key with two slots, as plain values and pure functions.

Knows nothing of keyman. A call is a value too, so that it can be under way, and arrive late.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from keyman.core.model import KeySeen, SlotSeen, State

HANDLE = "key"
SLOTS = ("one", "two")
SHUT = (State.REVOKED, State.EXPIRED)
OPEN = (State.ACTIVE, State.INACTIVE)
A_MOMENT = timedelta(microseconds=1)  # calls take no time here, but what comes later is later


class Ways(NamedTuple):
    """What the provider does where its documentation says nothing, or two things."""

    if_match: bool = True  #: it refuses a change that is based on an old picture
    renewed: str | None = State.ACTIVE  #: the state of a slot that was filled; None: as it was
    refills: bool = True  #: a revoked or expired slot may be filled again
    replays: bool = False  #: a second call with one attempt brings the first one's secret
    shows_use: bool = True  #: it says when a secret was last used


class Slot(NamedTuple):
    state: str
    value: int
    expires_at: datetime
    used_at: datetime | None = None  #: last, but for the client's use that goes on
    touched: bool = False  #: a person changed it since it was last filled


class Key(NamedTuple):
    slots: tuple[Slot, Slot]
    etag: int = 1
    owner: str | None = None
    epoch: int = 0
    gone: bool = False
    tokens: tuple[tuple[str, int], ...] = ()  #: attempts that were granted, with their secrets

    def put(self, at: int, slot: Slot) -> Key:
        slots = (slot, self.slots[1]) if at == 0 else (self.slots[0], slot)
        return self._replace(slots=slots, etag=self.etag + 1)

    def accepts(self, value: int | None, now: datetime) -> bool:
        """Does the data plane take this secret?"""
        return value is not None and any(
            s.value == value and state(s, now) == State.ACTIVE for s in self.live
        )

    def lives(self, value: int, now: datetime) -> bool:
        """Could it ever be accepted again?"""
        return any(s.value == value and state(s, now) in OPEN for s in self.live)

    @property
    def live(self) -> tuple[Slot, ...]:
        return () if self.gone else self.slots


class Call(NamedTuple):
    """A change that keyman asks for."""

    verb: str  #: issue | activate | retire | revoke | claim
    slot: int = 0
    etag: str | None = None
    attempt: str = ""
    expires_at: datetime | None = None
    owner: str = ""
    epoch: int = 0


class Refused(Exception):
    """The provider says no; `why` is stale | shut | wrong | gone."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def state(slot: Slot, now: datetime) -> str:
    return State.EXPIRED if slot.state in OPEN and now >= slot.expires_at else slot.state


def carry_out(key: Key, call: Call, fresh: int, now: datetime, ways: Ways) -> tuple[Key, Slot]:
    """The key as it is then, and the slot that it was about. Raises Refused.

    `fresh` is the secret that is made, if one is.
    """
    if key.gone:
        raise Refused("gone")
    if call.verb == "issue" and ways.replays:
        known = dict(key.tokens).get(call.attempt)
        held = next((s for s in key.slots if s.value == known), None)
        if held:
            return key, held
    if ways.if_match and call.etag is not None and call.etag != str(key.etag):
        raise Refused("stale")
    if call.verb == "claim":
        return _claimed(key, call), key.slots[0]
    if call.verb == "issue":
        return _filled(key, call, fresh, now, ways)
    return _switched(key, call, now)


def _claimed(key: Key, call: Call) -> Key:
    if (key.owner, key.epoch) == (call.owner, call.epoch):
        return key
    return key._replace(owner=call.owner, epoch=call.epoch, etag=key.etag + 1)


def _filled(key: Key, call: Call, fresh: int, now: datetime, ways: Ways) -> tuple[Key, Slot]:
    was = state(key.slots[call.slot], now)
    if was in SHUT and not ways.refills:
        raise Refused("shut")
    after = ways.renewed or (State.INACTIVE if was == State.INACTIVE else State.ACTIVE)
    assert call.expires_at
    slot = Slot(after, fresh, call.expires_at)
    key = key.put(call.slot, slot)
    tokens = (*key.tokens, (call.attempt, fresh)) if ways.replays else ()
    return key._replace(tokens=tokens), slot


def _switched(key: Key, call: Call, now: datetime) -> tuple[Key, Slot]:
    slot = key.slots[call.slot]
    was, wanted = state(slot, now), WANTED[call.verb]
    if was == wanted or (was in SHUT and wanted != State.ACTIVE):
        return key, slot
    if was in SHUT:
        raise Refused("wrong")
    slot = slot._replace(state=wanted)
    return key.put(call.slot, slot), slot


WANTED = {"activate": State.ACTIVE, "retire": State.INACTIVE, "revoke": State.REVOKED}


def picture(key: Key, now: datetime, in_use: int | None) -> KeySeen:
    """What a look shows; `in_use` is the secret that the client uses all the time."""
    if key.gone:
        slots = tuple(SlotSeen(name, State.DELETED) for name in SLOTS)
        return KeySeen(HANDLE, State.DELETED, slots)
    slots = tuple(
        SlotSeen(name, state(s, now), mask(s.value), s.expires_at, _used(s, now, in_use))
        for name, s in zip(SLOTS, key.slots, strict=True)
    )
    return KeySeen(HANDLE, State.ACTIVE, slots, str(key.etag), key.owner, key.epoch)


def _used(slot: Slot, now: datetime, in_use: int | None) -> datetime | None:
    used = slot.value == in_use and state(slot, now) == State.ACTIVE
    return now + A_MOMENT if used else slot.used_at


def mask(value: int) -> str:
    return f"..{value}"
