"""When two states are one: both go on alike, whatever they are called and whenever they came about.

Secrets, attempts, versions and wished expiries are named in the order in which they are met; epochs
keep their order; every time is told as ticks before now, and as "long ago" beyond the largest span
that any rule compares it with. What no rule asks of a version at its stage is left out: the module
`Names` says for each field at which stages it counts.
"""

from __future__ import annotations

import marshal
from datetime import datetime
from hashlib import blake2b
from typing import Any

from keyman.core.model import Credential, Observed, Stage, Version
from keyman.core.picture import GONE, Picture
from keyman.core.policy import WISH_LIVES
from keyman.core.situation import ASKED_AGAIN_AFTER
from keyman.core.steps import name_of
from tests.every_state.provider import Call, Slot
from tests.every_state.world import LATE, POLICY, TICK, Backup, Held, World

FAR = 6  # ticks ahead, after a clock was set back; nothing waits longer but for an expiry
GIVEN_UP = POLICY.retry.max // TICK + 1
SETTLED = 2  # from then on every later picture shows a change, and verifying has taken too long
CAPPED = (POLICY.max_overlap or POLICY.overlap) // TICK
USED = POLICY.overlap // TICK
LOOKED = POLICY.observe_every // TICK
LANDED = LATE // TICK
OWNERS = 2**16
LIVE = (Stage.REQUESTED, Stage.PENDING, Stage.CURRENT, Stage.PREVIOUS, Stage.RETIRED)


def name(w: World) -> bytes:
    """Equal for states that are one."""
    told = Names(w).world()
    return blake2b(marshal.dumps(told, 2), digest_size=12).digest()


class Names:
    def __init__(self, w: World) -> None:
        self.w = w
        self.values: dict[Any, int] = {}
        self.ends: dict[datetime, int] = {}
        self.attempts: dict[str, int] = {}
        self.visible = {slot.value for slot in w.key.slots}
        behind = w.left.backup > 0 or w.record.epoch < w.key.epoch
        self.epochs = _ranked(_epochs(w), 2 if behind else 1)
        self.looked: datetime | None = None
        self.ordered: datetime | None = None

    def world(self) -> tuple[Any, ...]:
        w = self.w
        etag = str(w.key.etag)
        return (
            tuple(w.left),
            tuple(map(self._slot, w.key.slots)),
            w.key.owner,
            self.epochs[w.key.epoch],
            w.key.gone,
            self._value(w.client.value),
            _ago(w.client.left_at, w.at, CAPPED),
            w.client.lags,
            w.skew // TICK,
            w.clock_was_set,
            _until(w.unanswered, w.now, LANDED),
            self._record(w.record, w.seen, w.now, dict(w.store)),
            self._seen(w.record, w.seen, w.now, etag),
            tuple((self._call(f.call, etag), _ago(f.sent_at, w.at, LANDED)) for f in w.flying),
            self._held(w.held, etag),
            tuple(sorted(map(self._value, w.leaked))),
            self._backup(w.backup, etag),
            self._tokens(),
        )

    def _value(self, value: Any) -> int:
        if value is None:
            return 0
        return self.values.setdefault(value, len(self.values) + 1)

    def _ends(self, at: datetime | None, now: datetime) -> tuple[int, int]:
        """Which expiry, and whether it is over, soon, near or far."""
        if at is None:
            return 0, 0
        which = self.ends.setdefault(at, len(self.ends) + 1)
        left = at - now
        if left <= POLICY.verify.within:
            return which, 1 if left.total_seconds() <= 0 else 2
        return which, 3 if left <= POLICY.rotate_before else 4

    def _slot(self, slot: Slot) -> tuple[Any, ...]:
        in_use = slot.value == self.w.client.value
        used = -9 if in_use else _until(slot.used_at, self.w.at, CAPPED)
        ends = self._ends(slot.expires_at, self.w.at)
        return str(slot.state), self._value(slot.value), ends, used, slot.touched

    def _record(
        self, c: Credential, seen: Observed | None, now: datetime, store: dict[int, int]
    ) -> tuple[Any, ...]:
        ranks = {v.number: rank for rank, v in enumerate(c.versions)}
        self.looked = seen.at if seen and c.doubt_at is None else None
        self.ordered = c.orders[0].recorded_at if c.orders else None
        current = c.current
        due = c.due_at(current) if current else None
        return (
            tuple(self._version(v, now, ranks, store) for v in c.versions),
            tuple(self._order(o, ranks) for o in c.orders),
            self.epochs[c.epoch],
            (c.claimed == c.epoch, c.claimed > 0),
            c.fenced,
            _until(c.unanswered_at, now, LANDED),
            c.doubt_at is not None,
            *_trouble(c, now),
            due is not None and now >= due,
        )

    def _version(
        self, v: Version, now: datetime, ranks: dict[int, int], store: dict[int, int]
    ) -> tuple[Any, ...]:
        live, is_open = v.stage in LIVE, v.stage in (Stage.REQUESTED, Stage.PENDING)
        looked, ordered = self.looked, self.ordered
        flags = (
            v.issued_at is not None,
            v.promoted_at is not None,
            v.revoked_at is not None,
            v.reported_at is not None,
            v.reported_at is not None and v.examined_at is not None,
            v.examined_at is not None and looked is not None and v.examined_at >= looked,
            v.dead_at is not None,
            v.compromised,
            v.revoke_first,
            v.given_up is not None,
            v.slot_refused,
            v.stored,
            v.restored_at is not None,
            ordered is not None and v.requested_at >= ordered,
        )
        return (
            str(v.stage),
            v.slot,
            self.attempts.setdefault(v.attempt, len(self.attempts)),
            -1 if v.carries is None else ranks.get(v.carries, -2),
            flags,
            self._value(v.mask),
            self._value(v.fingerprint),
            self._value(store.get(v.number)) if v.stored else 0,
            self._before(v),
            self._ends(v.expires_at, now),
            self._requested(v, now),
            self._changed(v.issued_at, now) if live or v.compromised else 0,
            self._changed(v.activated_at, now) if live else 0,
            self._changed(v.promoted_at, now) if live else 0,
            (_ago(v.replaced_at, now, CAPPED), _ticks(v)) if v.stage is Stage.PREVIOUS else 0,
            self._probes(v, now) if is_open else 0,
            self._refused(v, now) if v.stage is Stage.CURRENT else 0,
        )

    def _refused(self, v: Version, now: datetime) -> int:
        """Is it soon time to ask again what was refused once?"""
        if not v.refusals or v.examined_at is None:
            return 0
        since = now - v.examined_at
        return 1 if since < ASKED_AGAIN_AFTER else 2 if since <= TICK else 3

    def _changed(self, at: datetime | None, now: datetime) -> tuple[int, int]:
        """How long ago, and how long before the last picture."""
        if at is None:
            return 0, 0
        before = -99 if self.looked is None else _ago(at, self.looked, 1)
        return _ago(at, now, SETTLED), max(-1, before)

    def _before(self, v: Version) -> Any:
        """What its slot showed earlier matters as long as a picture can show that still."""
        if v.mask_before is None:
            return 0
        shown = {
            slot.mask for key in (self.w.seen.keys if self.w.seen else ()) for slot in key.slots
        }
        held = {f"..{value}" for value in self.visible}
        return self._value(v.mask_before) if v.mask_before in shown | held else 0

    def _requested(self, v: Version, now: datetime) -> int:
        if v.stage is not Stage.REQUESTED and v.given_up is None:
            return 0
        return 99 if now - v.requested_at > WISH_LIVES else _ago(v.requested_at, now, GIVEN_UP)

    def _probes(self, v: Version, now: datetime) -> tuple[int, ...]:
        times = (v.probed_at, v.probe_from, v.verified_at)
        return *(_ago(at, now, SETTLED + 1) for at in times), v.successes, min(v.refusals, 1)

    def _order(self, order: Any, ranks: dict[int, int]) -> tuple[Any, ...]:
        targets = tuple(ranks.get(n, -1) for n in order.targets)
        from_version = ranks.get(order.from_version, -1)
        return str(order.kind), targets, from_version

    def _seen(self, c: Credential, o: Observed | None, now: datetime, etag: str) -> Any:
        if o is None:
            return None
        if c.doubt_at is not None:
            return self._doubted(c, o, now)
        slots: list[Any] = []
        for key in o.keys:
            slots.append((key.etag == etag, self.epochs[key.epoch], key.owner, str(key.state)))
            for s in key.slots:
                used = _ago(s.last_used_at, now, USED), self._used(c, s.name, s.last_used_at)
                ends = self._ends(s.expires_at, now)
                slots.append((str(s.state), self._value(s.mask), ends, used))
        return _ago(o.at, now, LOOKED), tuple(slots)

    def _used(self, c: Credential, slot: str | None, at: datetime | None) -> tuple[bool, ...]:
        """Was it used since the last change of what the record has there?"""
        if at is None:
            return ()
        there = (v for v in c.versions if v.slot == slot and v.stage in LIVE)
        return tuple(at > (v.replaced_at or v.requested_at) for v in there)

    def _doubted(self, c: Credential, o: Observed, now: datetime) -> Any:
        """Little is asked of a picture that no longer counts: whose the key is, whether it and
        its slots are there, and whether it spoke against what lookups hand out.
        """
        picture = Picture(c, o, now)
        against = c.current is not None and picture.contradiction(c.current) is not None
        gone = tuple(s.state in GONE for key in o.keys for s in key.slots)
        return picture.other_owner, against, gone

    def _call(self, call: Call, etag: str) -> tuple[Any, ...]:
        ends = self._ends(call.expires_at, self.w.at)
        attempt = self.attempts.setdefault(call.attempt, len(self.attempts))
        old = call.etag is not None and call.etag != etag
        return call.verb, call.slot, old, attempt, ends, self.epochs[call.epoch]

    def _held(self, held: Held | None, etag: str) -> Any:
        if held is None:
            return None
        w, step = self.w, held.step
        version = getattr(step, "version", None)
        place = getattr(step, "place", None) or (version.place if version else None)
        key = held.seen.keys[0] if held.seen and held.seen.keys else None
        same = held.record.revision == w.record.revision, held.fence == w.fence
        after = None
        if held.after is not None:
            after = (
                self._record(held.after, held.looked, w.now, dict(w.store)) if all(same) else True
            )
        return (
            name_of(step),
            place.slot if place else None,
            self.attempts.setdefault(version.attempt, len(self.attempts)) if version else -1,
            key is not None and key.etag == etag,
            same,
            after,
            tuple((self._rank(n), self._value(value)) for n, value in held.puts),
            self.epochs[getattr(step, "epoch", 0)],
        )

    def _rank(self, number: int) -> int:
        numbers = [v.number for v in self.w.record.versions]
        return numbers.index(number) if number in numbers else -1

    def _backup(self, back: Backup | None, etag: str) -> Any:
        if back is None:
            return None
        return (
            self._record(back.record, back.seen, back.at, dict(back.store)),
            self._seen(back.record, back.seen, back.at, etag),
            _ago(back.at, self.w.now, LOOKED),
            tuple(sorted(map(self._value, back.leaked))),
        )

    def _tokens(self) -> tuple[tuple[int, int], ...]:
        """Only an attempt that a record knows can be asked for again."""
        known = self.attempts
        return tuple(
            (known[attempt], self._value(value))
            for attempt, value in self.w.key.tokens
            if attempt in known and value in self.visible
        )


def _epochs(w: World) -> set[int]:
    found = {0, w.key.epoch, w.record.epoch, w.record.claimed}
    found |= {key.epoch for key in (w.seen.keys if w.seen else ())}
    found |= {f.call.epoch for f in w.flying}
    if w.held:
        found |= {getattr(w.held.step, "epoch", 0), w.held.record.epoch}
        found |= {w.held.after.epoch} if w.held.after else set()
    if w.backup:
        found |= {w.backup.record.epoch}
        found |= {key.epoch for key in (w.backup.seen.keys if w.backup.seen else ())}
    return found


def _ranked(epochs: set[int], apart_at_most: int) -> dict[int, tuple[int, int]]:
    """In their order; of owners that are far apart it matters only that others came between."""
    named: dict[int, tuple[int, int]] = {}
    owner, rank, last = 0, 0, 0
    for epoch in sorted(epochs):
        apart = epoch // OWNERS - last
        owner, rank = (owner + min(apart, apart_at_most), 0) if apart else (owner, rank + 1)
        named[epoch], last = (owner, rank), epoch // OWNERS
    return named


def _trouble(c: Credential, now: datetime) -> tuple[Any, ...]:
    """What failed last is asked while it rests; how often, while something leaked is alive."""
    leak = any(v.compromised and v.revoked_at is None for v in c.versions)
    rests = 0 if c.retry_at is None or c.retry_at <= now else _ago(c.retry_at, now, 0)
    step = c.failed_step if rests or leak else None
    return min(c.failures, 3) if leak else 0, step, rests


def _ago(at: datetime | None, now: datetime, most: int) -> int:
    """In ticks, and `most` for whatever is longer ago."""
    if at is None:
        return -99
    return max(-FAR, min(most, (now - at) // TICK))


def _until(at: datetime | None, now: datetime, most: int) -> int:
    """The same where so long ago and never are one."""
    ago = _ago(at, now, most)
    return -99 if ago >= most else ago


def _ticks(v: Version) -> int:
    return -1 if v.overlap is None else v.overlap // TICK
