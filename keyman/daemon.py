"""When things happen: timers, signals, the sweep and the clock guard. What happens is elsewhere.

Timers are hints. Each credential has one alarm, set to the moment its last `Wait` named, and the
scheduler has one job for all of them, the bell, which rings for the earliest. A sweep looks for
who has no alarm, and the guard notices when the wall clock jumps or the machine slept, since a
timer that counts running time would ring late then. A turn that finds nothing due costs one
read of the journal.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, Self

from apscheduler.executors.debug import DebugExecutor
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from keyman.alarms import Alarms
from keyman.clock import Clock
from keyman.core.steps import Wait
from keyman.errors import Error
from keyman.turns import Turns

SWEEP_EVERY = timedelta(seconds=15)
GUARD_EVERY = 1.0  # seconds
JUMP = 1.5  # seconds by which wall and running time may differ between two looks
LONGEST_WAIT = timedelta(hours=1)
LOOKS_PER_SECOND = 3  # at most, where nothing is due: of very many, each waits for longer
STOPS_WITHIN = 1.5  # seconds for turns under way to reach their record
HEARS_WITHIN = 0.2  # seconds until a signal is heard
TURNS_AT_ONCE = 8
APART = 0.1  # seconds between two who are rung for: with those under way, less than 20 requests/s
SPREAD = APART * 10 / 9  # when all are woken: room is left for who is to come back in a moment
HOUSE_EVERY_HOURS = 6
ITSELF = "itself"  # the scheduler's own thread, for what proves that it turns

log = logging.getLogger("keyman.daemon")


class Serving(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


class Following(Protocol):
    """Whatever follows the journal in threads of its own; nothing here waits for it."""

    def start(self) -> None: ...
    def tend(self) -> None:
        """To be called each second."""

    def sweep(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Moment:
    """One look at the clocks."""

    wall: datetime
    running: float
    lived: float

    @classmethod
    def of(cls, clock: Clock) -> Self:
        return cls(clock.now(), clock.monotonic(), clock.boot())

    def set_by(self, later: Self) -> float:
        """Seconds; a suspended machine's clock is right: time did pass."""
        return (later.wall - self.wall).total_seconds() - (later.lived - self.lived)

    def jumped(self, later: Self) -> float:
        """Seconds by which alarms, which count running time, would ring late."""
        return (later.wall - self.wall).total_seconds() - (later.running - self.running)


class _Bell(BaseTrigger):  # type: ignore[misc]
    """The job that never ends: next at `when(now)`, which must be later than now."""

    def __init__(self, when: Callable[[datetime], datetime]) -> None:
        self._when = when

    def get_next_fire_time(self, _: datetime | None, now: datetime) -> datetime:
        return self._when(now)


class Daemon:
    """The scheduler around `advance`. `serve` runs until SIGTERM or SIGINT.

    Who is put into `following` before that is started, tended and closed with it; `each_minute` is
    called so often.
    """

    def __init__(
        self,
        advance: Callable[[str], Wait],
        names: Callable[[], Collection[str]],
        clock: Clock,
        agent: Serving,
        reload: Callable[[], object],
        clock_set: Callable[[timedelta], None],
        keep_house: Callable[[], None],
    ) -> None:
        self._turns = Turns(advance, clock, self._turn_ended)
        self._clock_set = clock_set
        self._keep_house = keep_house
        self.following: list[Following] = []
        self.each_minute: Callable[[], None] = lambda: None
        self._names = names
        self._clock = clock
        self._agent = agent
        self._reload = reload
        self._alarms = Alarms()
        self._rang = clock.monotonic() - APART
        self._moving = threading.Lock()
        self._broken: dict[str, str] = {}
        self._set_since = self._jumped_since = _Moment.of(clock)
        self._stop = threading.Event()
        self._hang_up = threading.Event()
        self._scheduler = BackgroundScheduler(
            jobstores={"default": MemoryJobStore()},
            executors={"default": ThreadPoolExecutor(TURNS_AT_ONCE), ITSELF: DebugExecutor()},
            # Late is never too late, and several that were missed are one.
            job_defaults={"misfire_grace_time": None, "coalesce": True},
            timezone="UTC",
        )
        self._bell = self._scheduler.add_job(self._ring, _Bell(self._rings_at), executor=ITSELF)

    # Alarms.

    def poke(self, name: str) -> None:
        """Give the credential a turn now, beside its alarm: a turn that just ends may set that."""
        if not self._stop.is_set():
            self._scheduler.add_job(self.turn, "date", run_date=self._clock.now(), args=(name,))

    def poke_all(self, first: Iterable[str] = ()) -> None:
        """Give each a turn soon, but not all at once: ten thousand tokens are many calls.

        Whoever has its turn sooner keeps it.
        """
        now, names = self._clock.now(), self._names()
        in_turn = dict.fromkeys(name for name in first if name in names) | dict.fromkeys(names)
        for place, name in enumerate(in_turn):
            self._alarms.by(name, now + timedelta(seconds=place * SPREAD))
        self._move_bell()

    def turn(self, name: str) -> None:
        if name in self._names():
            self._turns.take(name)
            self._move_bell()
        else:
            self._alarms.drop(name)

    def _turn_ended(self, name: str, until: datetime) -> None:
        by_count = timedelta(seconds=len(self._names()) / LOOKS_PER_SECOND)
        self._alarms.set(name, min(until, self._clock.now() + max(LONGEST_WAIT, by_count)))

    def _ring(self) -> None:
        """In the scheduler's own thread. Who can't have a turn yet stays in the queue, where those
        go first who wait for longest.
        """
        now = self._clock.monotonic()
        if now - self._rang < APART:
            return
        self._rang = now
        if len(self._turns.under_way()) < TURNS_AT_ONCE:
            name = self._alarms.ring(self._clock.now())
            if name is not None:
                self.poke(name)

    def _rings_at(self, now: datetime) -> datetime:
        """For the earliest. The scheduler asks once more after each ring, so none is missed."""
        rest = max(APART - (self._clock.monotonic() - self._rang), APART / 10)
        return max(self._alarms.earliest() or now + SWEEP_EVERY, now + timedelta(seconds=rest))

    def _move_bell(self) -> None:
        """An alarm was set. One thread at a time, lest the later of two moments prevail."""
        with self._moving, suppress(JobLookupError):  # all jobs are gone when it shuts down
            earliest = self._alarms.earliest()
            if earliest is not None:
                self._bell.modify(next_run_time=earliest)

    def sweep(self) -> None:
        """Whoever has no alarm, and no turn that would set one."""
        now, under_way = self._clock.now(), self._turns.under_way()
        for name in self._alarms.lacking(self._names()):
            if name not in under_way:
                self._alarms.by(name, now)
        self._move_bell()
        for one in self.following:
            one.sweep()

    def turns(self, within: float) -> bool:
        """Whether the scheduler takes up within so many seconds what it is given to do at once."""
        came, now = threading.Event(), self._clock.now()
        self._scheduler.add_job(came.set, "date", run_date=now, executor=ITSELF)
        return came.wait(within)

    def _guard(self) -> None:
        """Ring every alarm anew when the wall clock moved otherwise than time did.

        Whatever goes wrong in here or in who is tended, this goes on: nobody else would.
        """
        self._set_since = self._jumped_since = _Moment.of(self._clock)
        while not self._stop.wait(GUARD_EVERY):
            if self._hang_up.is_set():
                self._hang_up.clear()
                self._surely("taking up the configuration", self._take_up_configuration)
            for one in self.following:
                self._surely(f"tending {type(one).__name__}", one.tend)
            self._surely("following the clock", self._follow_the_clock)
            self._surely("scheduling all anew", self._follow_a_jump)

    # Each goes on from where it last went well: what failed is found again at the next look. One
    # that goes on failing keeps the other from nothing.

    def _follow_the_clock(self) -> None:
        now = _Moment.of(self._clock)
        by = self._set_since.set_by(now)
        if abs(by) > JUMP:
            self._clock_set(timedelta(seconds=by))
        self._set_since = now

    def _follow_a_jump(self) -> None:
        now = _Moment.of(self._clock)
        by = self._jumped_since.jumped(now)
        if abs(by) > JUMP:
            self.poke_all()
            for job in self._scheduler.get_jobs():  # else they wait for times that were set back
                with suppress(JobLookupError):  # it ran meanwhile
                    job.modify(next_run_time=now.wall)
            log.warning("the clock jumped by %.1f s: all is scheduled anew", by)
        self._jumped_since = now

    def _surely(self, what: str, work: Callable[[], None]) -> None:
        """Do it. What nobody foresaw is said once for as long as it lasts, and ends nothing."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 see above
            said = _named(error)
            if self._broken.get(what) != said:
                log.error("%s failed, and is tried again: %s", what, said)
            self._broken[what] = said
        else:
            self._broken.pop(what, None)

    def _take_up_configuration(self) -> None:
        try:
            self._reload()
        except Error as error:
            log.error("the configuration stays as it was: %s", error.message)
        except Exception as error:  # noqa: BLE001 whoever asked for it is told by the log alone
            log.error("the configuration stays as it was: %s", _named(error))

    # Life.

    def serve(self) -> None:
        """Run until asked to stop; returns within two seconds of that."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: self._hang_up.set())
            # One that came while we started was held, and is heard now.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        self._agent.start()
        self._scheduler.start()
        self._scheduler.add_job(self.sweep, "interval", seconds=SWEEP_EVERY.total_seconds())
        self._scheduler.add_job(
            self._keep_house, "interval", hours=HOUSE_EVERY_HOURS, next_run_time=self._clock.now()
        )
        self._scheduler.add_job(self.each_minute, "interval", minutes=1)
        guard = threading.Thread(target=self._guard, name="clock-guard", daemon=True)
        guard.start()
        for one in self.following:
            one.start()
        self.poke_all()
        log.info("running, pid %d", os.getpid())
        # The kernel may hand a signal to any thread, but Python runs its handler in this one, and
        # wakes nobody for that: who waits without end may never hear of it.
        while not self._stop.wait(HEARS_WITHIN):
            pass
        self._finish()

    def stop(self) -> None:
        self._stop.set()

    def _finish(self) -> None:
        log.info("stopping")
        deadline = self._clock.monotonic() + STOPS_WITHIN
        self._scheduler.shutdown(wait=False)
        for one in self.following:
            one.close()
        self._agent.stop()
        while self._turns.under_way() and self._clock.monotonic() < deadline:
            self._clock.sleep(0.02)

    @property
    def idle(self) -> bool:
        """False: a turn is still under way. Ending the process now is as safe as a power cut."""
        return not self._turns.under_way()


def _named(error: Exception) -> str:
    """What it is; its text might quote a value, except where it is the system's."""
    said = type(error).__name__
    return f"{said}: {error.strerror}" if isinstance(error, OSError) else said
