"""Who is woken when: the alarms by themselves, and the real scheduler that rings for them."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyman.alarms import SLACK, Alarms
from keyman.clock import SystemClock
from keyman.core.steps import Wait
from keyman.daemon import APART, LONGEST_WAIT, TURNS_AT_ONCE, Daemon
from keyman.turns import Turns
from tests.commands.world import until

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NEVER = datetime(2100, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


# By themselves.


def rung(alarms: Alarms, now: datetime) -> list[str]:
    return list(iter(lambda: alarms.ring(now), None))


def test_who_waits_for_longest_comes_first_and_nobody_early() -> None:
    alarms = Alarms()
    for name, seconds in (("late", 3), ("first", 1), ("second", 2)):
        alarms.set(name, after(seconds))
    assert alarms.earliest() == after(1)
    assert rung(alarms, after(0.9)) == []
    assert rung(alarms, after(2)) == ["first", "second"]
    assert alarms.earliest() == after(3)
    assert alarms.lacking(["first", "late"]) == ["first"]


def test_by_brings_forward_and_never_puts_off() -> None:
    alarms = Alarms()
    alarms.by("a", after(5))
    alarms.by("a", after(9))
    assert alarms.earliest() == after(5)
    alarms.by("a", after(1))
    assert alarms.earliest() == after(1)
    assert rung(alarms, after(10)) == ["a"]


CALLS = st.tuples(st.sampled_from(["set", "by", "drop", "ring"]), st.sampled_from("abc"))


@settings(deadline=None)
@given(st.lists(st.tuples(CALLS, st.integers(0, 5))))
def test_it_does_what_a_plain_table_would_do(calls: list[tuple[tuple[str, str], int]]) -> None:
    alarms, table = Alarms(), dict[str, datetime]()
    for (what, name), second in calls:
        at = after(second)
        if what == "set" or (what == "by" and at < table.get(name, NEVER)):
            table[name] = at
        if what in ("set", "by"):
            getattr(alarms, what)(name, at)
        elif what == "drop":
            alarms.drop(name)
            table.pop(name, None)
        else:
            due = sorted((moment, each) for each, moment in table.items() if moment <= at)
            assert alarms.ring(at) == (due[0][1] if due else None)
            table.pop(due[0][1] if due else "", None)
        assert alarms.earliest() == min(table.values(), default=None)


def test_what_was_replaced_does_not_pile_up() -> None:
    alarms = Alarms()
    for n in range(10 * SLACK):
        alarms.set("a", after(n))
    assert len(alarms._queue) < 2 * SLACK
    assert rung(alarms, NEVER) == ["a"]


# Turns, and their alarms.


def test_the_next_turn_is_known_before_another_may_begin() -> None:
    """Else the one that ended last in time could be overruled by the one that ended before it."""
    told: list[str] = []
    begun = threading.Event()

    def advance(name: str) -> Wait:
        if told:
            begun.set()
        return Wait(NEVER, "nothing to do")

    def ends(name: str, _: datetime) -> None:
        told.append(name)
        if len(told) == 1:
            other.start()
            assert not begun.wait(0.1)

    turns = Turns(advance, SystemClock(), ends)
    other = threading.Thread(target=lambda: turns.take("a"))
    turns.take("a")
    other.join()
    assert begun.is_set()
    assert told == ["a", "a"]


class Silent:
    def start(self) -> None: ...
    def stop(self) -> None: ...


def until_set(goes_on: threading.Event, but: str = "") -> Callable[[str], datetime]:
    """Turns that hang for so long."""

    def advance(name: str) -> datetime:
        assert name == but or goes_on.wait(20)
        return NEVER

    return advance


class Ringing:
    """A daemon whose scheduler runs; what a turn does is a test's business."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.turns: list[str] = []
        self.advance: Callable[[str], datetime] = lambda _: NEVER
        self.clock = SystemClock()
        self.daemon = Daemon(
            self._turn,
            lambda: self.names,
            self.clock,
            Silent(),
            lambda: None,
            clock_set=lambda _: None,
            keep_house=lambda: None,
        )
        self.scheduler = self.daemon._scheduler

    def _turn(self, name: str) -> Wait:
        self.turns.append(name)
        return Wait(self.advance(name), "as the test says")

    def soon(self) -> datetime:
        return self.clock.now() + timedelta(seconds=0.2)

    def manage(self, *names: str) -> None:
        self.names = dict.fromkeys(names)

    def had(self, *names: str) -> Callable[[], bool]:
        return lambda: Counter(self.turns) >= Counter(names)


@pytest.fixture
def ringing() -> Iterator[Ringing]:
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    made = Ringing()
    made.scheduler.start()
    yield made
    made.daemon.stop()
    made.scheduler.shutdown(wait=False)


def test_a_turn_comes_when_the_one_before_said(ringing: Ringing) -> None:
    ringing.manage("a", "b")
    ringing.advance = lambda name: ringing.soon() if ringing.turns.count(name) < 3 else NEVER
    ringing.daemon.poke_all()
    until(ringing.had(*"aaabbb"))


def test_the_bell_is_moved_to_whoever_is_earlier(ringing: Ringing) -> None:
    ringing.manage("far", "near")
    ringing.daemon.poke("far")
    until(ringing.had("far"))
    ringing.advance = lambda name: ringing.soon() if ringing.turns.count(name) < 2 else NEVER
    ringing.daemon.poke("near")
    until(ringing.had("far", "near", "near"))


def test_each_way_to_set_an_alarm_moves_the_bell() -> None:
    """While the scheduler waits for what is far away."""
    ringing = Ringing()
    daemon, far = ringing.daemon, ringing.clock.now() + timedelta(days=9)
    ringing.scheduler.start(paused=True)
    try:
        ringing.manage("a")
        ways = {
            "a turn": lambda: daemon.turn("a"),
            "a sweep": daemon.sweep,
            "all": daemon.poke_all,
        }
        for way, sets in ways.items():
            daemon._alarms.drop("a")
            daemon._bell.modify(next_run_time=far)
            sets()
            assert daemon._bell.next_run_time == daemon._alarms.earliest(), way
            assert daemon._bell.next_run_time < far, way
    finally:
        ringing.scheduler.shutdown(wait=False)


def test_none_is_lost_of_many_that_are_set_at_once(ringing: Ringing) -> None:
    some = [f"n-{n:02d}" for n in range(24)]
    ringing.manage(*some)
    ringing.advance = lambda name: ringing.soon() if ringing.turns.count(name) < 2 else NEVER
    for name in some:
        ringing.daemon.poke(name)
    until(ringing.had(*some, *some))
    assert not ringing.daemon._alarms.lacking(some)


def test_a_poke_during_a_turn_has_another_follow(ringing: Ringing) -> None:
    ringing.manage("a")
    goes_on = threading.Event()
    ringing.advance = until_set(goes_on)
    ringing.daemon.poke("a")
    until(ringing.had("a"))
    ringing.daemon.turn("a")
    goes_on.set()
    until(ringing.had("a", "a"))


def test_a_poke_waits_for_no_alarm_of_others(ringing: Ringing) -> None:
    ringing.manage(*(f"n-{n}" for n in range(1_000)), "poked")
    ringing.daemon.poke_all()
    ringing.daemon.poke("poked")
    until(ringing.had("poked"))
    assert len(ringing.turns) < 50


def test_who_is_to_come_back_soon_is_not_put_behind_thousands(ringing: Ringing) -> None:
    ringing.manage(*(f"n-{n}" for n in range(5_000)))
    ringing.advance = lambda name: ringing.soon() if name == "n-0" else NEVER
    ringing.daemon.poke_all()
    until(ringing.had("n-0", "n-0", "n-0"))
    assert len(ringing.turns) < 100


def test_who_is_new_or_changed_comes_before_the_others(ringing: Ringing) -> None:
    ringing.manage(*(f"n-{n}" for n in range(1_000)), "new")
    ringing.daemon.poke_all(first=["new", "not configured"])
    until(ringing.had("new"))
    assert len(ringing.turns) < 50


def test_who_left_has_no_turn_and_no_alarm(ringing: Ringing) -> None:
    ringing.manage("stays", "leaves")
    ringing.advance = lambda _: ringing.soon()
    ringing.scheduler.pause()
    ringing.daemon.poke_all()
    ringing.manage("stays")
    ringing.scheduler.resume()
    until(ringing.had("stays", "stays"))
    until(lambda: ringing.daemon._alarms.lacking(["leaves"]) == ["leaves"])
    ringing.daemon._alarms.set("leaves", NEVER)
    ringing.daemon.turn("leaves")
    assert ringing.daemon._alarms.lacking(["leaves"]) == ["leaves"]
    assert "leaves" not in ringing.turns


def test_the_sweep_finds_who_has_no_alarm(ringing: Ringing) -> None:
    """A turn that ended in no ordinary way left none, nor has one who just came."""

    def ends_badly(_: str) -> datetime:
        raise SystemExit  # no fault that a turn would be tried again for

    ringing.manage("a")
    ringing.advance = ends_badly
    ringing.daemon.poke("a")
    until(ringing.had("a"))
    until(lambda: not ringing.daemon._turns.under_way())
    ringing.advance = lambda _: NEVER
    ringing.manage("a", "new")
    ringing.daemon.sweep()
    until(ringing.had("a", "a", "new"))


def test_the_sweep_leaves_alone_whose_turn_it_is(ringing: Ringing) -> None:
    ringing.manage("a")
    goes_on = threading.Event()
    ringing.advance = until_set(goes_on)
    ringing.daemon.poke("a")
    until(ringing.had("a"))
    ringing.daemon.sweep()
    assert ringing.daemon._alarms.lacking(["a"]) == ["a"]
    goes_on.set()


def test_who_finds_no_thread_free_stays_in_the_queue(ringing: Ringing) -> None:
    hanging = [f"hangs-{n}" for n in range(TURNS_AT_ONCE)]
    ringing.manage(*hanging, "waits")
    goes_on = threading.Event()
    ringing.advance = until_set(goes_on, but="waits")
    ringing.daemon.poke_all()
    until(ringing.had(*hanging))
    assert not goes_on.wait(0.5)
    assert not ringing.daemon._alarms.lacking(["waits"])
    assert "waits" not in ringing.turns
    goes_on.set()
    until(ringing.had("waits"))


def test_the_bell_stays_when_nobody_is_left(ringing: Ringing) -> None:
    ringing.manage("a")
    ringing.daemon.poke_all()
    until(ringing.had("a"))
    ringing.daemon._alarms.drop("a")
    ringing.daemon._bell.modify(next_run_time=ringing.clock.now())
    ringing.advance = lambda name: ringing.soon() if ringing.turns.count(name) < 3 else NEVER
    ringing.daemon.poke("a")
    until(ringing.had("a", "a", "a"))


def test_nobody_waits_for_longer_than_an_hour_except_among_very_many() -> None:
    ringing = Ringing()
    for count, longest in ((5, LONGEST_WAIT), (90_000, timedelta(seconds=30_000))):
        ringing.manage(*(f"n-{n}" for n in range(count)))
        before = ringing.clock.now()
        ringing.daemon.turn("n-0")
        earliest = ringing.daemon._alarms.earliest()
        assert earliest is not None
        assert before + longest <= earliest <= ringing.clock.now() + longest


class SetBack(SystemClock):
    by = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.by


def test_after_a_jump_of_the_clock_every_job_runs_at_once() -> None:
    """The sweep's too: its next moment may be a day off when a clock was set back by a day."""
    ringing, clock = Ringing(), SetBack()
    daemon = ringing.daemon
    daemon._clock = clock
    ringing.manage("a")
    ringing.scheduler.start(paused=True)
    try:
        daemon._alarms.set("a", clock.now() + timedelta(days=1))
        sweep = ringing.scheduler.add_job(daemon.sweep, "interval", seconds=15)
        sweep.modify(next_run_time=clock.now() + timedelta(days=1))
        clock.by = timedelta(seconds=-30)
        daemon._follow_a_jump()
        now = clock.now()
        assert daemon._alarms.ring(now) == "a"
        assert all(job.next_run_time <= now for job in ringing.scheduler.get_jobs())
    finally:
        ringing.scheduler.shutdown(wait=False)


class Stepped(SystemClock):
    """Time passes when a test says so."""

    running = 1_000.0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return self.running


def test_no_two_are_rung_for_at_once() -> None:
    ringing, clock = Ringing(), Stepped()
    daemon = ringing.daemon
    daemon._clock, daemon._rang = clock, 0.0
    for name in ("a", "b"):
        daemon._alarms.set(name, after(-1))
    for _ in range(3):
        daemon._ring()
        assert daemon._alarms.lacking("ab") == ["a"]
        assert daemon._rings_at(NOW) == after(APART), "the bell waits for as long, and not in vain"
    clock.running += APART
    assert daemon._rings_at(NOW) > NOW, "else the scheduler would ask for ever"
    daemon._ring()
    assert daemon._alarms.lacking("ab") == ["a", "b"]
