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
from keyman.lock import COMMAND
from keyman.serving.api import Api
from keyman.serving.server import Agent
from keyman.views import Json

SWEEP_EVERY = timedelta(seconds=15)
GUARD_EVERY = 1.0  # seconds
JUMP = 1.5  # seconds by which wall and running time may differ between two looks
LONGEST_WAIT = timedelta(hours=1)
STOPS_WITHIN = 1.5  # seconds for turns under way to reach their record
HEARS_WITHIN = 0.2  # seconds until a signal is heard
TURNS_AT_ONCE = 8

log = logging.getLogger("keyman.daemon")


class Turns:
    """Whose turn it is: one turn a credential at a time, and no wake-up is lost meanwhile."""

    def __init__(self, advance: Callable[[str], Wait], clock: Clock) -> None:
        self._advance = advance
        self._clock = clock
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}

    def take(self, name: str) -> datetime | None:
        """Advance the credential; the time of its next turn, None if another thread is at it."""
        with self._lock:
            if name in self._busy:
                self._again.add(name)
                return None
            self._busy.add(name)
        try:
            return self._until_quiet(name)
        finally:
            with self._lock:
                self._busy.discard(name)

    def _until_quiet(self, name: str) -> datetime:
        while True:
            with self._lock:
                self._again.discard(name)
            until = self._once(name)
            with self._lock:
                if name not in self._again:
                    self._busy.discard(name)
                    return until

    def _once(self, name: str) -> datetime:
        """A fault of the journal or of our own must not end the credential's life in silence."""
        try:
            wait = self._advance(name)
        except Exception as error:  # noqa: BLE001 - whatever it was, there must be a next turn
            self._failures[name] = self._failures.get(name, 0) + 1
            said = error.message if isinstance(error, Error) else type(error).__name__
            log.error("%s: the turn failed: %s", name, said)
            return self._clock.now() + timedelta(seconds=min(2 ** self._failures[name], 60))
        self._failures.pop(name, None)
        log.debug("%s: until %s: %s", name, wait.until.isoformat(timespec="seconds"), wait.reason)
        return wait.until

    def idle(self) -> bool:
        with self._lock:
            return not self._busy


class Serving(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


class Daemon:
    """The scheduler around `advance`. `serve` runs until SIGTERM or SIGINT."""

    def __init__(
        self,
        advance: Callable[[str], Wait],
        names: Callable[[], Iterable[str]],
        clock: Clock,
        agent: Serving,
        reload: Callable[[], object],
    ) -> None:
        self._turns = Turns(advance, clock)
        self._names = names
        self._clock = clock
        self._agent = agent
        self._reload = reload
        self._due: dict[str, datetime] = {}
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
        """Give the credential a turn now."""
        self._alarm(name, self._clock.now())

    def poke_all(self) -> None:
        for name in self._names():
            self.poke(name)

    def turn(self, name: str) -> None:
        if name not in set(self._names()):
            self._due.pop(name, None)
            return
        until = self._turns.take(name)
        if until is not None:
            self._alarm(name, min(until, self._clock.now() + LONGEST_WAIT))

    def _alarm(self, name: str, at: datetime) -> None:
        self._due[name] = at
        if not self._stop.is_set():
            self._scheduler.add_job(
                self.turn, "date", run_date=at, args=(name,), id=name, replace_existing=True
            )

    def sweep(self) -> None:
        """Whoever's alarm should have rung by now, and whoever has none."""
        now = self._clock.now()
        for name in self._names():
            if self._due.get(name, now) + timedelta(seconds=2) <= now or name not in self._due:
                self.poke(name)

    def _guard(self) -> None:
        """Ring every alarm anew when the wall clock moved otherwise than time did."""
        clock = self._clock
        wall, running = clock.now(), clock.monotonic()
        while not self._stop.wait(GUARD_EVERY):
            if self._hang_up.is_set():
                self._hang_up.clear()
                self._take_up_configuration()
            elapsed = clock.monotonic() - running
            jump = (clock.now() - wall).total_seconds() - elapsed
            wall, running = clock.now(), clock.monotonic()
            if abs(jump) > JUMP:
                log.warning("the clock jumped by %.1f s: every schedule is computed anew", jump)
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
        self._agent.start()
        self._scheduler.start()
        self._scheduler.add_job(self.sweep, "interval", seconds=SWEEP_EVERY.total_seconds())
        guard = threading.Thread(target=self._guard, name="clock-guard", daemon=True)
        guard.start()
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
        self._agent.stop()
        while not self._turns.idle() and self._clock.monotonic() < deadline:
            self._clock.sleep(0.02)

    @property
    def idle(self) -> bool:
        """False: a turn is still under way. Ending the process now is as safe as a power cut."""
        return self._turns.idle()


def harden() -> None:
    """Let no other process of this user read our memory, and leave no core dump behind."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        set_dumpable = 4  # PR_SET_DUMPABLE, prctl(2)
        ctypes.CDLL(None, use_errno=True).prctl(set_dumpable, 0, 0, 0, 0)


def run_once(settings: Settings) -> list[Json]:
    """`keyman daemon --once`. The statuses of credentials that fail or can't be served."""
    with open_app(settings, role=COMMAND) as app:
        for warning in app.warnings:
            log.warning("%s", warning)
        app.once()
        return [one for one in app.desk.statuses() if one["failures"] or not one["current"]]


def run_daemon(settings: Settings, reread: Callable[[], Settings]) -> bool:
    """Serve until asked to stop. False if a turn was still under way then."""
    app = open_app(settings)
    for warning in app.warnings:
        log.warning("%s", warning)

    def reload() -> Json:
        app.take_up(reread())
        daemon.poke_all()
        return {"credentials": app.desk.names()}

    api = Api(app.desk, app.snapshot, reload=reload, since=app.clock.now())
    agent = Agent(api, settings.agent.socket, allow_uids=settings.agent.allow_uids)
    daemon = Daemon(app.rotator.advance, app.names, app.clock, agent, reload)
    app.desk.poke = daemon.poke
    daemon.serve()
    if daemon.idle:
        app.close()
    return daemon.idle
