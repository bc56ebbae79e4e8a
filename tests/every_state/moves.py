"""Every move that the small world can make from one state: keyman's own steps in each way they can
go, and what befalls it from outside.

A move is a label, the world after it, and who made it. The first of keyman's moves is the one in
which nothing goes wrong; `Moves.calm` is the life of a world in which nothing does any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from keyman.core.model import Stage
from keyman.core.steps import (
    Activate,
    Claim,
    Drop,
    Examine,
    Issue,
    Observe,
    Request,
    Retire,
    Revoke,
    Step,
    Verify,
    Wait,
    name_of,
)
from tests.every_state.hands import called
from tests.every_state.judge import Judge
from tests.every_state.people import Move, People
from tests.every_state.process import Process
from tests.every_state.provider import A_MOMENT, OPEN, Refused, Ways
from tests.every_state.world import LATE, POLICY, TICK, Budget, Client, World

CHANGES = (Claim, Issue, Activate, Retire, Revoke)
JUMP = POLICY.overlap + TICK
FREE = ("busy", "lost", "done-lost", "done-cut")


class Moves:
    def __init__(self, process: Process, judge: Judge, ways: Ways) -> None:
        self.process = process
        self.judge = judge
        self.ways = ways
        self.people = People(process, ways)

    def all(self, w: World) -> Iterator[Move]:
        """Every move, the calm one first if it is keyman's."""
        step = None if hangs(w) else self.process.next_step(w)
        for move in self._own(w, step):
            yield move._replace(world=self._client_after(w, move.world))
        yield from self._restarts(w)
        yield from self._arrivals(w)
        yield from self._clients(w)
        yield from self._time(w, step)
        yield from self.people.moves(w, step)

    def calm(self, w: World, first: World | None = None) -> World | None:
        """The next state if nothing goes wrong any more; None once all is as it should be.

        `first` is where the first of keyman's moves leads, if that is known.
        """
        if w.held:
            return first or self._client_after(w, self.process.go_on(w))
        if w.flying:
            return w._replace(flying=w.flying[1:])
        gets = self.judge.handed(w)
        if gets is not None and w.client.value != gets:
            return _client_takes(w, gets)
        step = self.process.next_step(w)
        if not isinstance(step, Wait):
            return first or self._client_after(w, self.process.take(w, step))
        if self.judge.says_so(w):
            return None
        if not self.judge.missing(w):
            if not self.judge.active_for_nobody(w):
                return None
            if not w.record.at(Stage.PREVIOUS):
                return self._asleep_until_due(w)
        return self._later(w, step.until - w.now)

    # Keyman's own.

    def _own(self, w: World, step: Step | None) -> Iterator[Move]:
        if w.held:
            yield from self._going_on(w)
        if step is None or isinstance(step, Wait):
            return
        asks = isinstance(step, Request) and not self.process.intends
        name, calls = name_of(step), isinstance(step, CHANGES) or asks
        for fault in ("", *self._faults(step, w.left)):
            left = _spent(w, fault)
            after = self.process.take(w._replace(left=left), step, fault)
            yield Move(f"{name}: {fault}" if fault else name, after, ours=True, calls=calls)
        if calls and w.left.hang and not w.held:
            yield from self._hanging(w, step, name)

    def _faults(self, step: Step, left: Budget) -> tuple[str, ...]:
        if isinstance(step, Observe):
            return ("busy",)
        if isinstance(step, Verify | Examine):
            return ("silent",)
        if isinstance(step, Drop):
            return ()
        asks = isinstance(step, Request) and not self.process.intends
        if not isinstance(step, CHANGES) and not asks:
            return ()
        late = ("late", "late-cut") if left.late else ()
        if not isinstance(step, Issue) and not asks:
            return (*FREE, *late)
        return (*FREE, "put-cut", *late, *(("full",) if left.full else ()))

    def _hanging(self, w: World, step: Step, name: str) -> Iterator[Move]:
        w = w._replace(left=w.left._replace(hang=w.left.hang - 1))
        for done in (False, True):
            if done and isinstance(step, Issue):
                continue  # two processes at one store are kept apart by the lock of its home alone
            after = self.process.stop_in(w, step, called=done)
            if after is not None:
                where = "after its call" if done else "before its call"
                yield Move(f"{name}: hangs {where}", after, ours=done, calls=done)

    def _going_on(self, w: World) -> Iterator[Move]:
        assert w.held
        calls = w.held.after is None
        for fault in ("", "done-lost", "done-cut") if calls else ("",):
            after = self.process.go_on(w, fault)
            label = f"goes on with {name_of(w.held.step)}"
            yield Move(f"{label}: {fault}" if fault else label, after, ours=True, calls=calls)

    def _restarts(self, w: World) -> Iterator[Move]:
        yield Move("CRASH", self.process.restarted(w))
        if not hangs(w):
            yield Move("stopped and started", self.process.restarted(w, clean=True))
        elif w.left.zombie:
            left = w.left._replace(zombie=w.left.zombie - 1)
            yield Move("TAKEN OVER", self.process.taken_over(w._replace(left=left)))

    def _arrivals(self, w: World) -> Iterator[Move]:
        for at, flight in enumerate(w.flying):
            rest = w._replace(flying=w.flying[:at] + w.flying[at + 1 :])
            try:
                after, _ = called(rest, flight.call, self.ways)
            except Refused:
                after = rest
            label = f"LATE {flight.call.verb}"
            yield Move(label, self._client_after(w, after), ours=True, calls=True)

    # The client.

    def _client_after(self, before: World, after: World) -> World:
        """When lookups stopped handing out what it holds."""
        client = after.client
        if client.value is None:
            return after
        was, now = self.judge.handed(before), self.judge.handed(after)
        if now == client.value:
            return after if client.left_at is None else _client_takes(after, now)
        if was == client.value and client.left_at is None:
            return after._replace(client=client._replace(left_at=after.at))
        return after

    def _clients(self, w: World) -> Iterator[Move]:
        gets = self.judge.handed(w)
        if gets is not None and w.client.value != gets:
            yield Move("the client looks up", _client_takes(w, gets))

    # Time.

    def _time(self, w: World, step: Step | None) -> Iterator[Move]:
        waits = step.until - w.now if isinstance(step, Wait) else None
        if waits is not None:
            yield Move("waits", self._later(w, waits))
        if w.held or (waits and waits > TICK and (w.flying or w.client.left_at)):
            yield Move("a tick", self._later(w, TICK))
        if w.left.lag and w.client.left_at and not w.client.lags:
            left = w.left._replace(lag=w.left.lag - 1)
            yield Move("LAGS", w._replace(left=left, client=w.client._replace(lags=True)))
        if w.left.sleep:
            asleep = w._replace(left=w.left._replace(sleep=w.left.sleep - 1))
            yield from self._sleeps(asleep)
        if w.left.clock:
            left = w.left._replace(clock=w.left.clock - 1)
            for by in (JUMP, -JUMP):
                jumped = w._replace(left=left, skew=w.skew + by, clock_was_set=True)
                yield Move("CLOCK on" if by > timedelta(0) else "CLOCK back", jumped)

    def _later(self, w: World, by: timedelta) -> World:
        """Calls that are too old never arrive; a client that keeps its word looks up in time."""
        assert by > timedelta(0), by
        at = w.at + by
        flying = tuple(f for f in w.flying if at - f.sent_at < LATE)
        client = w.client
        if client.left_at and not client.lags:
            gets = self.judge.handed(w)
            if gets is not None and at - client.left_at >= POLICY.max_client_staleness:
                w = _client_takes(w, gets)
        return w._replace(at=at, flying=flying)

    def _sleeps(self, w: World) -> Iterator[Move]:
        due = self._asleep_until_due(w)
        if due is not None:
            yield Move("SLEEPS until a rotation is due", due)
        for slot in w.key.live:
            if slot.expires_at > w.at and slot.state in OPEN:
                after = self._later(w, slot.expires_at - w.at)
                yield Move(f"SLEEPS until {slot.value} expires", after)

    def _asleep_until_due(self, w: World) -> World | None:
        v = w.record.current
        due = w.record.due_at(v) if v else None
        return self._later(w, due - w.now) if due and due > w.now else None


def hangs(w: World) -> bool:
    """Is it the process that drives it that stopped in a step?"""
    return w.held is not None and w.held.fence == w.fence


def _spent(w: World, fault: str) -> Budget:
    if fault in ("late", "late-cut"):
        return w.left._replace(late=w.left.late - 1)
    if fault == "full":
        return w.left._replace(full=w.left.full - 1)
    return w.left


def _client_takes(w: World, value: int) -> World:
    """It was using its old secret up to this moment."""
    key = w.key
    for at, slot in enumerate(key.slots):
        if slot.value == w.client.value and slot.value != value:
            key = key.put(at, slot._replace(used_at=w.at + A_MOMENT))._replace(etag=key.etag)
    return w._replace(client=Client(value), key=key)
