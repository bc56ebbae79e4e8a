"""The clock guard outlives whatever goes wrong in it: a jump, a configuration, who is tended.

It is the daemon's own thread, run here for as long as a test needs it.
"""

from __future__ import annotations

import errno
import logging
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keyman.clock import SystemClock
from keyman.config import NetworkSettings, NotifyTarget
from keyman.core.model import Secret
from keyman.core.steps import Wait
from keyman.daemon import Daemon
from keyman.errors import Error
from keyman.notify.courier import Judging
from tests.commands.world import until

NEVER = datetime(2100, 1, 1, tzinfo=UTC)
NO_PROCESS = OSError(errno.EMFILE, "Too many open files")


class Odd:
    """Whoever is tended: fails for a while, then does not."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.tended = 0

    def tend(self) -> None:
        self.tended += 1
        if self.failures:
            raise self.failures.pop(0)

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def sweep(self) -> None: ...
    def close(self) -> None: ...


class Other(Odd):
    """Somebody else."""


class Set(SystemClock):
    """The system's clock, which a test may set."""

    by = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.by


class Guarded:
    def __init__(self) -> None:
        self.clock, self.moved = Set(), list[float]()
        self.unset = 1  #: so often it can't be followed
        self.reloads: list[Exception] = []
        self.reloaded = 0
        self.unnamed: list[Exception] = []
        self.daemon = Daemon(
            lambda _: Wait(NEVER, "nothing to do"),
            self.names,
            self.clock,
            Odd(),
            self.reload,
            clock_set=self.clock_set,
            keep_house=lambda: None,
        )
        self.thread = threading.Thread(target=self.daemon._guard, daemon=True)

    def names(self) -> list[str]:
        if self.unnamed:
            raise self.unnamed.pop(0)
        return []

    def reload(self) -> None:
        self.reloaded += 1
        if self.reloads:
            raise self.reloads.pop(0)

    def clock_set(self, by: timedelta) -> None:
        self.moved.append(by.total_seconds())
        if len(self.moved) <= self.unset:
            raise KeyError("a name that left meanwhile")


@pytest.fixture
def guarded(caplog: pytest.LogCaptureFixture) -> Iterator[Guarded]:
    caplog.set_level(logging.INFO, "keyman.daemon")
    made = Guarded()
    yield made
    made.daemon.stop()
    made.thread.join()


def test_one_who_fails_keeps_nobody_else_from_being_tended(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    odd, other = Odd(NO_PROCESS, NO_PROCESS, ValueError("T0psecret")), Other()
    guarded.daemon.following = [odd, other]
    guarded.thread.start()
    until(lambda: odd.tended >= 4 and other.tended >= 4)
    said = [one.getMessage() for one in caplog.records]
    why = "tending Odd failed, and is tried again: OSError: Too many open files"
    assert said == [why, "tending Odd failed, and is tried again: ValueError"]


def test_a_configuration_that_can_t_be_taken_up_ends_nothing(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    guarded.reloads = [NO_PROCESS, Error("it has a mistake")]
    guarded.thread.start()
    for times in (1, 2, 3):
        guarded.daemon._hang_up.set()
        until(lambda times=times: guarded.reloaded == times)
    said = [one.getMessage() for one in caplog.records]
    assert said == [
        "the configuration stays as it was: OSError: Too many open files",
        "the configuration stays as it was: it has a mistake",
    ]


def test_a_jump_that_was_not_followed_is_said_and_followed_at_the_next_look(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = Odd()
    guarded.daemon.following = [tenant]
    guarded.thread.start()
    until(lambda: tenant.tended >= 1)
    guarded.unnamed = [KeyError("a name")]
    guarded.clock.by += timedelta(hours=1)
    until(lambda: len(guarded.moved) == 2)
    seen = tenant.tended
    until(lambda: tenant.tended >= seen + 2)
    assert [round(by / 60) for by in guarded.moved] == [60, 60], "the whole of it, and once more"
    assert [one.getMessage() for one in caplog.records] == [
        "following the clock failed, and is tried again: KeyError",
        "scheduling all anew failed, and is tried again: KeyError",
        "the clock jumped by 3600.0 s: all is scheduled anew",
    ]


def test_all_is_scheduled_anew_though_no_end_can_follow_the_clock(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    guarded.unset = 3
    guarded.thread.start()
    until(lambda: guarded.daemon._set_since is not guarded.daemon._jumped_since)
    guarded.clock.by += timedelta(hours=1)
    until(lambda: len(guarded.moved) == 3)
    assert caplog.text.count("all is scheduled anew") == 1


def test_addresses_that_no_process_can_judge_are_a_reload_that_fails(tmp_path: Path) -> None:
    """With no descriptor left there is no pipe to ask through."""
    target = NotifyTarget("hook", Secret("json://localhost"))
    with without_descriptors(tmp_path), pytest.raises(Error) as caught:
        Judging((target,), NetworkSettings())
    assert "no process can be started" in caught.value.message
    assert caught.value.hint


@contextmanager
def without_descriptors(folder: Path) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (folder / "next").open("w") as probe:
        free = probe.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
