"""A provider that behaves: keys with slots, etags, retry tokens, tags, expiry, a data plane that
lags, pictures that are old, and calls that arrive late.

Knows nothing of keyman's record. What goes wrong with a call is asked of `trouble`, and every
change is shown to `witness` before and after; both belong to the world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from keyman import errors
from keyman.core.model import (
    NOT_SHOWN,
    KeySeen,
    Observed,
    Place,
    Secret,
    SlotSeen,
    Verdict,
    Version,
)
from keyman.providers.protocol import Created, Issued, Lookup
from tests.sim.setups import Kind, Replay, Setup

T = TypeVar("T")
TOKENS_LIVE = timedelta(hours=24)
OUTAGE = timedelta(minutes=40)
SHUT = timedelta(minutes=5)
STALE_FOR = timedelta(seconds=50)  # no picture is older than that, for lack of consistency alone
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
TINY = timedelta(milliseconds=100)  # what a call takes
ANOTHER = "another installation"
LATE = {"late-2s": 2, "late-100s": 100, "late-350s": 350}
CALL_TROUBLES = ("cut", "5xx", "outage", "429", "no", "lost", "done-lost", "done-cut", *LATE)


class PowerCut(BaseException):
    """The machine is off. Not an Exception: nothing in keyman may catch it."""


class Surroundings(Protocol):
    """What the cloud needs of the world."""

    setup: Setup

    @property
    def true(self) -> datetime: ...
    def now(self) -> datetime: ...
    def pass_time(self, by: timedelta) -> None: ...
    def trouble(self, where: str, menu: tuple[str, ...]) -> str: ...
    def changing(self, verb: str, place: Place, effect: Callable[[], None]) -> None: ...
    def asking_for_a_secret(self) -> None: ...
    def last_used(self, secret: str) -> datetime | None: ...
    def probed(self, secret: str, verdict: Verdict) -> None: ...
    def shown(self, *, stale: bool) -> None: ...


@dataclass(slots=True)
class Slot:
    secret: str = ""
    set_state: str = "INACTIVE"
    expires_at: datetime | None = None
    off_by_person: bool = False
    touched: bool = False  #: a person changed it since it was last filled

    def state(self, now: datetime) -> str:
        over = self.expires_at is not None and now >= self.expires_at
        return "EXPIRED" if over and self.set_state in ("ACTIVE", "INACTIVE") else self.set_state


@dataclass(slots=True)
class Key:
    handle: str
    tag: str
    slots: dict[str | None, Slot]
    etag: int = 1
    owner: str | None = None
    epoch: int = 0
    gone: bool = False
    hidden: bool = False  #: gone, and the provider says so by 404


@dataclass(slots=True)
class Door:
    """When the data plane accepts one secret."""

    opens: datetime
    shuts: datetime | None = None


@dataclass(slots=True)
class Flying:
    """A call whose caller has given up on it, still under way."""

    lands: datetime
    verb: str
    arrive: Callable[[], object]


@dataclass(slots=True)
class Cloud:
    world: Surroundings
    keys: dict[str, Key] = field(default_factory=dict)
    doors: dict[str, Door] = field(default_factory=dict)
    tokens: dict[str, tuple[datetime, Issued | Created]] = field(default_factory=dict)
    flying: list[Flying] = field(default_factory=list)
    landing: bool = False  #: what happens now was sent long ago
    made: int = 0
    down_until: datetime = LONG_AGO
    shut_until: datetime = LONG_AGO  #: inference refuses everybody, whatever they come with
    changed_at: datetime = LONG_AGO
    before: tuple[KeySeen, ...] = ()  # the picture before the last change
    stale_left: int = 0

    # What keyman calls.

    def observe(
        self, handles: tuple[str, ...], now: datetime, optional: tuple[str, ...] = ()
    ) -> Observed | None:
        if self.world.setup.kind in (Kind.MINTED, Kind.BY_HAND):
            return None
        self.world.pass_time(TINY)
        recent = self.world.true - self.changed_at <= STALE_FOR
        kinds = ("cut", "5xx", "outage", "stale") if recent else ("cut", "5xx", "outage")
        trouble = self.world.trouble("observe", kinds)
        self._fall(trouble)
        stale = recent and (trouble == "stale" or self.stale_left > 0)
        self.stale_left = max(0, self.stale_left - 1)
        keys = tuple(self._picture(handle, stale=stale) for handle in handles)
        if any(key.state == NOT_SHOWN and key.handle not in optional for key in keys):
            raise errors.Rejected("404 NotAuthorizedOrNotFound")
        self.world.shown(stale=stale)
        return Observed(now, keys)

    def claim(self, key: KeySeen, owner: str, epoch: int) -> bool:
        def effect() -> bool:
            k = self._changed(key.handle, key.etag)
            if (k.owner, k.epoch) != (owner, epoch):
                self._remember()
                k.owner, k.epoch, k.etag = owner, epoch, k.etag + 1
            return self.world.setup.if_match

        return self._call("claim", effect)

    def create(self, wish: Version, standby_expires_at: datetime) -> Created:
        self.world.asking_for_a_secret()
        return self._call("create", lambda: self._create(wish, standby_expires_at))

    def issue(self, wish: Version, etag: str | None) -> Issued:
        assert self.world.setup.kind is not Kind.BY_HAND, "nobody but a person can make this one"
        self.world.asking_for_a_secret()
        if self.world.setup.kind is Kind.SLOTS:
            return self._call("issue", lambda: self._fill(wish, etag))
        if self.world.setup.kind is Kind.FRESH:
            self._sweep(wish.attempt)
        return self._call("issue", lambda: self._make_key(wish))

    def activate(self, place: Place, etag: str | None) -> None:
        self._call("activate", lambda: self._set(place, etag, "ACTIVE", "activate"))

    def retire(self, place: Place, etag: str | None) -> None:
        state = "DELETED" if self.world.setup.kind is Kind.FRESH else "INACTIVE"
        self._call("retire", lambda: self._set(place, etag, state, "retire"))

    def revoke(self, place: Place, etag: str | None) -> None:
        state = "REVOKED" if self.world.setup.kind is Kind.SLOTS else "DELETED"
        self._call("revoke", lambda: self._set(place, etag, state, "revoke"))

    def verify(self, secret: Secret) -> Verdict:
        self.world.pass_time(TINY)
        trouble = self.world.trouble("verify", ("cut", "silent", "forbidden", "shut"))
        if trouble == "shut":
            self.shut_until = self.world.true + SHUT
        if trouble == "cut":
            raise PowerCut
        if self.world.true < self.down_until:
            return Verdict.SILENT
        if trouble in ("silent", "forbidden"):
            self.world.probed(secret.reveal(), Verdict(trouble))
            return Verdict(trouble)
        verdict = Verdict.ACCEPTED if self.accepts(secret.reveal()) else Verdict.REFUSED
        self.world.probed(secret.reveal(), verdict)
        return verdict

    def lookup(self) -> Lookup:
        return Lookup()

    # What is so, for the invariants and for people.

    def accepts(self, secret: str) -> bool:
        """Does the data plane accept it at this moment?"""
        door, now = self.doors.get(secret), self.world.true
        if now < self.shut_until:
            return False
        if door is None or now < door.opens or (door.shuts is not None and now >= door.shuts):
            return False
        slot = self.home_of(secret)
        return slot is None or slot.expires_at is None or now < slot.expires_at

    def sound(self, secret: str) -> bool:
        """Does the control plane hold it ACTIVE?"""
        slot = self.home_of(secret)
        return slot is not None and slot.state(self.world.true) == "ACTIVE"

    def alive(self, secret: str) -> bool:
        """Could it ever be accepted again?"""
        slot = self.home_of(secret)
        return slot is not None and slot.state(self.world.true) in ("ACTIVE", "INACTIVE")

    def home_of(self, secret: str) -> Slot | None:
        place = self.place_of(secret)
        return self.keys[place.handle].slots[place.slot] if place else None

    def place_of(self, secret: str) -> Place | None:
        for key in self.keys.values():
            for name, slot in key.slots.items():
                if slot.secret == secret and not key.gone:
                    return Place(key.handle, name)
        return None

    def due(self) -> datetime | None:
        return min((call.lands for call in self.flying), default=None)

    def land(self) -> None:
        """Let the calls arrive whose time has come."""
        for call in [c for c in self.flying if c.lands <= self.world.true]:
            self.flying.remove(call)
            self.landing = True
            try:
                call.arrive()
            except errors.ProviderFailed as error:
                self.world.trouble(f"late {call.verb} refused: {error}", ())
            finally:
                self.landing = False

    # A hand in the console.

    def by_hand(self, handle: str, slot_name: str | None, state: str) -> None:
        key = self.keys[handle]
        slot = key.slots[slot_name]
        self._remember()
        slot.touched = True
        if state == "RENEWED":
            self._put(slot, f"console-{self._serial()}", self.world.true + timedelta(days=90))
            slot.set_state = "ACTIVE"
            self.doors[slot.secret] = Door(self.world.true)
        else:
            slot.off_by_person = state == "INACTIVE"
            self._switch(slot, state)
        key.etag += 1

    def claimed_by_another(self, key: Key) -> None:
        self._remember()
        key.owner, key.epoch, key.etag = ANOTHER, 7, key.etag + 1

    def made_by_hand(self) -> tuple[str, datetime]:
        """A secret that nobody asked keyman to make, and when it ends."""
        secret, ends = f"hand-{self._serial()}", self.world.now() + self.world.setup.policy.lifetime
        slot = Slot(secret, "ACTIVE", self.world.true + self.world.setup.policy.lifetime)
        self.keys[secret] = Key(secret, "", {None: slot})
        self.doors[secret] = Door(self.world.true)
        return secret, ends

    def destroyed_by_hand(self, secret: str) -> None:
        place = self.place_of(secret)
        if place:
            self._delete(self.keys[place.handle])

    def delete_by_hand(self, handle: str, *, hidden: bool) -> None:
        self._remember()
        self.keys[handle].hidden = hidden
        self._delete(self.keys[handle])

    # Inside.

    def _call(self, verb: str, effect: Callable[[], T]) -> T:
        world = self.world
        world.pass_time(TINY)
        trouble = world.trouble(verb, CALL_TROUBLES)
        if trouble in LATE:
            lands = world.true + timedelta(seconds=LATE[trouble])
            self.flying.append(Flying(lands, verb, effect))
            raise errors.Unknown("no answer")
        self._fall(trouble)
        if trouble == "no":
            raise errors.Rejected("400 InvalidParameter")
        if trouble == "lost":
            raise errors.Unknown("no answer")
        result = effect()
        world.pass_time(TINY)
        if trouble == "done-cut":
            raise PowerCut
        if trouble == "done-lost":
            raise errors.Unknown("the answer was lost")
        return result

    def _fall(self, trouble: str) -> None:
        """Raise what a call meets that is not carried out."""
        if trouble == "cut":
            raise PowerCut
        if trouble == "outage":
            self.down_until = self.world.true + OUTAGE
        if trouble == "5xx" or self.world.true < self.down_until:
            raise errors.RetryLater("503 ServiceUnavailable")
        if trouble == "429":
            raise errors.RetryLater("429 TooManyRequests", retry_after=30)

    def _key(self, handle: str) -> Key:
        key = self.keys.get(handle)
        if key is None or key.gone:
            raise errors.Rejected("404 NotAuthorizedOrNotFound")
        return key

    def _changed(self, handle: str, etag: str | None) -> Key:
        key = self._key(handle)
        if self.world.setup.if_match and etag is not None and etag != str(key.etag):
            raise errors.RetryLater("412 NoEtagMatch")
        return key

    def _answered(self, attempt: str) -> Issued | Created | None:
        """What a retry token brings, if the provider knows it."""
        known = self.tokens.get(attempt)
        if known is None or self.world.true - known[0] >= TOKENS_LIVE:
            return None
        match self.world.setup.replay:
            case Replay.FULL:
                return known[1]
            case Replay.BARE:
                raise errors.SecretLost("the answer does not carry the secret")
            case Replay.REJECTED:
                raise errors.SecretLost("409 InvalidatedRetryToken")
        return None

    def _fill(self, wish: Version, etag: str | None) -> Issued:
        answered = self._answered(wish.attempt)
        if isinstance(answered, Issued):
            return answered
        assert wish.handle
        key = self._changed(wish.handle, etag)
        slot = key.slots[wish.slot]
        was = slot.state(self.world.true)
        if was in ("REVOKED", "EXPIRED") and not self.world.setup.refills:
            raise errors.SlotRefused(f"409 the slot is {was}")
        state = self.world.setup.renewed_state or ("INACTIVE" if was == "INACTIVE" else "ACTIVE")

        def effect() -> None:
            self._remember()
            self._put(slot, f"sk-{self._serial()}", wish.expires_at)
            slot.set_state = "INACTIVE"
            slot.off_by_person = slot.touched = False
            self.doors.pop(slot.secret, None)
            if state == "ACTIVE":
                self._switch(slot, "ACTIVE")
            key.etag += 1

        self.world.changing("issue", Place(key.handle, wish.slot), effect)
        issued = Issued(Secret(slot.secret), key.handle, f"..{slot.secret}", slot.expires_at)
        self.tokens[wish.attempt] = (self.world.true, issued)
        return issued

    def _sweep(self, attempt: str) -> None:
        """What an earlier try at the same wish made and nobody holds, as the adapter does it."""
        for key in self.keys.values():
            if key.tag == attempt and not key.gone:
                self.world.changing("sweep", Place(key.handle, None), lambda k=key: self._delete(k))  # type: ignore[misc]

    def _make_key(self, wish: Version) -> Issued:
        self._remember()
        handle = f"key-{self._serial()}"
        slot = Slot()
        lives = timedelta(hours=1) if self.world.setup.kind is Kind.MINTED else None
        self._put(
            slot, f"sk-{self._serial()}", self.world.true + lives if lives else wish.expires_at
        )
        self._switch(slot, "ACTIVE")
        late = any(key.tag == wish.attempt and not key.gone for key in self.keys.values())
        slot.touched = late  # nobody waits for it any more: it lives until it expires
        self.keys[handle] = Key(handle, wish.attempt, {None: slot})
        # A token's answer says how long it lives, so its end is told by the caller's clock.
        ends = self.world.now() + lives if lives else slot.expires_at
        return Issued(Secret(slot.secret), handle, f"..{slot.secret}", ends)

    def _create(self, wish: Version, standby_expires_at: datetime) -> Created:
        answered = self._answered(wish.attempt) if self.world.setup.replay is Replay.FULL else None
        if isinstance(answered, Created):
            return answered
        first, second = self.world.setup.slots
        for key in self.keys.values():
            if key.tag == wish.attempt and not key.gone:
                return Created(key.handle, None, second)
        self._remember()
        slots: dict[str | None, Slot] = {first: Slot(), second: Slot()}
        self._put(slots[first], f"sk-{self._serial()}", wish.expires_at)
        self._put(slots[second], f"sk-{self._serial()}", standby_expires_at)
        self._switch(slots[first], "ACTIVE")
        self._switch(slots[second], self.world.setup.standby_state)
        handle = f"key-{self._serial()}"
        self.keys[handle] = Key(handle, wish.attempt, slots)
        secret = slots[first].secret
        issued = Issued(Secret(secret), handle, f"..{secret}", slots[first].expires_at)
        created = Created(handle, issued, second)
        self.tokens[wish.attempt] = (self.world.true, created)
        return created

    def _set(self, place: Place, etag: str | None, state: str, verb: str) -> None:
        key = self._changed(place.handle, etag)
        if state == "DELETED":
            self.world.changing(verb, place, lambda: self._delete(key))
            return
        slot = key.slots[place.slot]
        was = slot.state(self.world.true)
        if was == state or (was in ("REVOKED", "EXPIRED") and state != "ACTIVE"):
            return
        if was in ("REVOKED", "EXPIRED"):
            raise errors.Rejected(f"409 the slot is {was}")

        def effect() -> None:
            self._remember()
            self._switch(slot, state)
            key.etag += 1

        self.world.changing(verb, place, effect)

    def _put(self, slot: Slot, secret: str, expires_at: datetime | None) -> None:
        self._shut(slot)
        slot.secret, slot.expires_at = secret, expires_at

    def _switch(self, slot: Slot, state: str) -> None:
        slot.set_state = state
        if state == "ACTIVE":
            self.doors[slot.secret] = Door(self.world.true + self.world.setup.lag)
        else:
            self._shut(slot)

    def _shut(self, slot: Slot) -> None:
        door = self.doors.get(slot.secret)
        if door is not None and door.shuts is None:
            door.shuts = self.world.true + self.world.setup.death_lag

    def _delete(self, key: Key) -> None:
        self._remember()
        for slot in key.slots.values():
            self._shut(slot)
        key.gone = True

    def _serial(self) -> int:
        self.made += 1
        return self.made

    def _remember(self) -> None:
        self.changed_at = self.world.true
        self.before = tuple(self._picture(handle) for handle in self.keys)
        self.stale_left = self.world.setup.stale_reads

    def _picture(self, handle: str, *, stale: bool = False) -> KeySeen:
        if stale:
            for seen in self.before:
                if seen.handle == handle:
                    return seen
        key = self.keys.get(handle)
        if key is not None and key.hidden:
            return KeySeen(handle, NOT_SHOWN, ())
        if key is None or key.gone:
            names = self.world.setup.slots or (None,)
            return KeySeen(handle, "DELETED", tuple(SlotSeen(n, "DELETED") for n in names))
        slots = tuple(self._slot_picture(name, slot) for name, slot in key.slots.items())
        return KeySeen(handle, "ACTIVE", slots, str(key.etag), key.owner, key.epoch)

    def _slot_picture(self, name: str | None, slot: Slot) -> SlotSeen:
        used = self.world.last_used(slot.secret)
        mask = f"..{slot.secret}"
        return SlotSeen(name, slot.state(self.world.true), mask, slot.expires_at, used)
