"""When things happen: timers, signals, the sweep and the clock guard. What happens is elsewhere.

Timers are hints. Each credential has one alarm, set to the moment its last `Wait` named; a sweep
looks for alarms that were missed, and the guard notices when the wall clock jumps or the machine
slept, since a timer that counts running time would ring late then. A turn that finds nothing
due costs one read of the journal.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Protocol

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from keyman.app import open_app
from keyman.clock import Clock
from keyman.config import Settings
from keyman.core.steps import Wait
from keyman.errors import Error
from keyman.pace import Pace
from keyman.serving.api import Api
from keyman.serving.server import Agent
from keyman.turns import Turns
from keyman.views import Json

SWEEP_EVERY = timedelta(seconds=15)
GUARD_EVERY = 1.0  # seconds
JUMP = 1.5  # seconds by which wall and running time may differ between two looks
LONGEST_WAIT = timedelta(hours=1)
STOPS_WITHIN = 1.5  # seconds for turns under way to reach their record
HEARS_WITHIN = 0.2  # seconds until a signal is heard
TURNS_AT_ONCE = 8
ALARMS_PER_SECOND = 9
HELD_UP_PER_SECOND = 6
TURNS_PER_SECOND = 10  # beside those under way: less than 20 requests within any second
HOUSE_EVERY_HOURS = 6

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


class Nothing:
    """Nothing follows."""

    def start(self) -> None: ...
    def tend(self) -> None: ...
    def sweep(self) -> None: ...
    def close(self) -> None: ...


class Daemon:
    """The scheduler around `advance`. `serve` runs until SIGTERM or SIGINT.

    `following`, if set before that, is started, tended and closed with it.
    """

    def __init__(
        self,
        advance: Callable[[str], Wait],
        names: Callable[[], Iterable[str]],
        clock: Clock,
        agent: Serving,
        reload: Callable[[], object],
        clock_set: Callable[[timedelta], None],
        keep_house: Callable[[], None],
    ) -> None:
        self._turns = Turns(advance, clock)
        self._clock_set = clock_set
        self._keep_house = keep_house
        self.following: Following = Nothing()
        self._names = names
        self._clock = clock
        self._agent = agent
        self._reload = reload
        self._due: dict[str, datetime] = {}
        self._pace, self._pacing = Pace(ALARMS_PER_SECOND), threading.Lock()
        self._held_up = Pace(HELD_UP_PER_SECOND)
        self._begun: deque[float] = deque(maxlen=TURNS_PER_SECOND)
        self._stop = threading.Event()
        self._hang_up = threading.Event()
        self._scheduler = BackgroundScheduler(
            jobstores={"default": MemoryJobStore()},
            executors={"default": ThreadPoolExecutor(TURNS_AT_ONCE)},
            # Late is never too late, several missed alarms are one, and turns exclude each other
            # themselves, so that a wake-up during a turn isn't dropped.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 8},
            timezone="UTC",
        )

    # Alarms.

    def poke(self, name: str) -> None:
        """Give the credential a turn now, beside its alarm: a turn that just ends may set that."""
        if not self._stop.is_set():
            self._scheduler.add_job(self.turn, "date", run_date=self._clock.now(), args=(name,))

    def poke_all(self) -> None:
        """Give each a turn now, but not all at once: ten thousand tokens are many calls.

        Whoever has its turn sooner keeps it.
        """
        with self._pacing:
            self._pace = Pace(ALARMS_PER_SECOND)
        now = self._clock.now()
        for name in self._names():
            with self._pacing:
                moment = self._pace.moment(now, now)
            due = self._due.get(name)
            if due is None or not now <= due < moment:
                self._alarm(name, moment)

    def turn(self, name: str) -> None:
        if name not in set(self._names()):
            self._due.pop(name, None)
            return
        until = self._turns.take(name)
        if until is not None:
            self._in_turn(name, min(until, self._clock.now() + LONGEST_WAIT))

    def _in_turn(self, name: str, at: datetime, pace: Pace | None = None) -> None:
        with self._pacing:
            moment = (pace or self._pace).moment(at, self._clock.now())
        self._alarm(name, moment)

    def _rung(self, name: str) -> None:
        """Alarms that were held up, by a busy machine or a stop, ring together: not all begin.

        The rest is put beside those to come and not behind them, who may be ten thousand.
        """
        if self._may_begin():
            self.turn(name)
        else:
            self._in_turn(name, self._clock.now(), self._held_up)

    def _may_begin(self) -> bool:
        now = self._clock.monotonic()
        with self._pacing:
            if len(self._begun) == TURNS_PER_SECOND and now - self._begun[0] < 1:
                return False
            self._begun.append(now)
            return True

    def _alarm(self, name: str, at: datetime) -> None:
        self._due[name] = at
        if not self._stop.is_set():
            self._scheduler.add_job(
                self._rung, "date", run_date=at, args=(name,), id=name, replace_existing=True
            )

    def sweep(self) -> None:
        """Whoever's alarm should have rung by now, and whoever has none."""
        now = self._clock.now()
        for name in self._names():
            if self._due.get(name, now) + timedelta(seconds=2) <= now or name not in self._due:
                self._in_turn(name, now)
        self.following.sweep()

    def _guard(self) -> None:
        """Ring every alarm anew when the wall clock moved otherwise than time did."""
        clock = self._clock
        wall, running, lived = clock.now(), clock.monotonic(), clock.boot()
        while not self._stop.wait(GUARD_EVERY):
            if self._hang_up.is_set():
                self._hang_up.clear()
                self._take_up_configuration()
            self.following.tend()
            passed = (clock.now() - wall).total_seconds()
            awake, set_by = clock.monotonic() - running, passed - (clock.boot() - lived)
            wall, running, lived = clock.now(), clock.monotonic(), clock.boot()
            if abs(set_by) > JUMP:  # a suspended machine's clock is right: time did pass
                self._clock_set(timedelta(seconds=set_by))
            if abs(passed - awake) > JUMP:
                log.warning("the clock jumped by %.1f s: all is scheduled anew", passed - awake)
                self.poke_all()

    def _take_up_configuration(self) -> None:
        try:
            self._reload()
        except Error as error:
            log.error("the configuration stays as it was: %s", error.message)

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
        guard = threading.Thread(target=self._guard, name="clock-guard", daemon=True)
        guard.start()
        self.following.start()
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
        self.following.close()
        self._agent.stop()
        while not self._turns.idle() and self._clock.monotonic() < deadline:
            self._clock.sleep(0.02)

    @property
    def idle(self) -> bool:
        """False: a turn is still under way. Ending the process now is as safe as a power cut."""
        return self._turns.idle()


def harden() -> list[str]:
    """Let no other process of this user read our memory, and leave no core dump behind.

    Returns what the system did not let us do.
    """
    os.umask(0o077)
    undone = []
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        undone.append(f"core dumps can't be switched off: {error}")
    if sys.platform == "linux" and not _undumpable():
        undone.append(
            "other processes of this user may read the daemon's memory: prctl is not allowed here"
        )
    return undone


def _undumpable() -> bool:
    get_dumpable, set_dumpable = 3, 4  # PR_GET_DUMPABLE, PR_SET_DUMPABLE: prctl(2)
    prctl = ctypes.CDLL(None).prctl
    prctl(set_dumpable, 0, 0, 0, 0)
    return bool(prctl(get_dumpable, 0, 0, 0, 0) == 0)


def run_daemon(settings: Settings, reread: Callable[[], Settings]) -> bool:
    """Serve until asked to stop. False if a turn was still under way then."""
    app = open_app(settings)
    for warning in app.warnings:
        log.warning("%s", warning)

    def reload() -> Json:
        fresh = reread()
        agent.reread_certificate()
        with agent.doors.narrowing(fresh.allow_uids):
            app.take_up(fresh)
        daemon.poke_all()
        return {"credentials": app.desk.names()}

    at, since = settings.agent, app.clock.now()
    api = Api(
        app.desk,
        app.snapshot,
        reload=reload,
        since=since,
        clients=app.register,
        meter=app.rotator.meter,
    )
    app.rotator.heard = app.mirroring.telling.heard = api.heard
    agent = Agent(api, at.socket, allow_uids=at.allow_uids, listen=at.listen)
    agent.doors.narrow(settings.allow_uids)
    app.rotator.wait_for(agent.taken)
    daemon = Daemon(
        app.rotator.advance,
        app.names,
        app.clock,
        agent,
        reload,
        clock_set=app.clock_set,
        keep_house=app.keep_house,
    )
    app.desk.poke = daemon.poke
    daemon.following = app.mirroring
    daemon.serve()
    if daemon.idle:
        app.close()
    return daemon.idle
