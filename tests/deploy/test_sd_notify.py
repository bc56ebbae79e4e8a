"""What the daemon tells the service manager that started it, heard at a real socket."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keyman.clock import SystemClock
from keyman.core.steps import Wait
from keyman.daemon import Daemon
from keyman.sd_notify import ServiceManager, taken_from
from keyman.serving.socket_file import listen
from keyman.watched import Watched, summary
from tests.commands.odd_agent import answer, odd_agent
from tests.commands.world import GENEROUS, ROOT, Home, until
from tests.deploy.listening import Ear, ear


@contextmanager
def told(place: Home, *, abstract: bool = False, **more: str) -> Iterator[Ear]:
    """An ear that the home's daemons are to speak to."""
    with ear(place.folder, abstract=abstract) as one:
        place.environ |= {"NOTIFY_SOCKET": one.address, **more}
        yield one


@pytest.mark.parametrize("abstract", [False, True])
def test_it_is_ready_when_lookups_are_answered(place: Home, abstract: bool) -> None:
    place.start()
    with told(place, abstract=abstract) as one, one_daemon(place) as (pid, _):
        ready = one.until("READY=1")
        assert ready.pid == pid
        assert place.answers()
        assert place.keyman("get", "genai").status == 0
        assert ready.value("STATUS") == "1 credential: 1 ok"


def test_as_the_unit_starts_it(place: Home) -> None:
    """Its own line, in its own environment and nothing besides."""
    place.start()
    unit = (ROOT / "deploy/systemd/keyman.service").read_text()
    [line] = re.findall("^ExecStart=(.*)$", unit, re.MULTILINE)
    [variables] = re.findall("^Environment=(.*)$", unit, re.MULTILINE)
    place.state.rename(place.folder / "keyman")
    given = variables.replace("%S", str(place.folder)).replace("%E/keyman", str(place.folder))
    keyman = [sys.executable, "-P", "-m", "keyman", *line.split()[1:]]
    environ = dict(word.split("=", 1) for word in given.split()) | {"PYTHONPATH": str(ROOT)}
    with ear(place.folder) as one:
        environ["NOTIFY_SOCKET"] = one.address
        with subprocess.Popen(keyman, env=environ, stderr=subprocess.DEVNULL) as daemon:
            one.until("READY=1")
            daemon.terminate()
            one.until("STOPPING=1")
    assert (place.folder / "keyman/daemon.lock").exists()
    assert not place.state.exists()


def test_it_says_that_it_stops_before_it_does(place: Home) -> None:
    place.config.write_text("{}\n")
    with told(place) as one, one_daemon(place) as (pid, _):
        assert one.next().lines == ["STATUS=opening journal and stores"]
        assert one.next().lines == ["READY=1", "STATUS=0 credentials"]
        os.kill(pid, signal.SIGTERM)
        assert one.next().lines == ["STOPPING=1", "STATUS=stopping"]


def test_a_reload_is_told_from_its_beginning_to_its_end(place: Home) -> None:
    place.start()
    with told(place) as one, one_daemon(place) as (pid, _):
        one.until("READY=1")
        before = time.monotonic()
        os.kill(pid, signal.SIGHUP)
        begun = one.until("RELOADING=1")
        assert before <= int(begun.value("MONOTONIC_USEC")) / 1e6 <= time.monotonic()
        assert one.next().lines == ["READY=1", "STATUS=1 credential: 1 ok"]
        place.edit("lifetime:", "lifetme:")
        assert place.keyman("reload").status == 2
        one.until("RELOADING=1")
        refused = "1 credential: 1 ok; the last reload was refused, `keyman reload` says why"
        assert one.next().lines == ["READY=1", f"STATUS={refused}"]
        place.edit("lifetme:", "lifetime:")
        assert place.keyman("reload").status == 0
        one.until("RELOADING=1")
        assert one.next().value("STATUS") == "1 credential: 1 ok"


def test_what_it_tells_has_no_secret_in_it(place: Home) -> None:
    place.start()
    with told(place, WATCHDOG_USEC="3000000") as one, one_daemon(place) as (pid, log):
        one.until("WATCHDOG=1")
        secrets = [place.keyman("get", "genai").out.strip()]
        assert place.keyman("rotate", "genai").status == 0, log.read_text()
        secrets.append(place.keyman("get", "genai").out.strip())
        os.kill(pid, signal.SIGTERM)
        one.until("STOPPING=1")
    said = [line for heard in one.all for line in heard.lines]
    assert {line.partition("=")[0] for line in said} == {"STATUS", "READY", "WATCHDOG", "STOPPING"}
    assert not any(secret in line for secret in secrets for line in said)


def test_its_children_do_not_speak_in_its_name(place: Home) -> None:
    place.config.write_text("{}\n")
    (place.folder / "sitecustomize.py").write_text(CHILD_AT_ITS_END)
    place.environ["PYTHONPATH"] = f"{place.folder}:{place.variables['PYTHONPATH']}"
    with told(place, WATCHDOG_USEC="60000000", WATCHDOG_PID="1") as one, one_daemon(place):
        one.until("READY=1")
    names = (place.folder / "environment").read_text().split()
    assert "KEYMAN_HOME" in names
    assert [name for name in names if name.startswith(("NOTIFY", "WATCHDOG"))] == []


CHILD_AT_ITS_END = """\
import atexit, pathlib, subprocess, sys

@atexit.register
def child():
    shows = "import os; print(*os.environ)"
    names = subprocess.run([sys.executable, "-S", "-c", shows], capture_output=True).stdout
    pathlib.Path(__file__).with_name("environment").write_bytes(names)
"""


@pytest.mark.slow
def test_the_watchdog_hears_nothing_while_nobody_can_reach_the_agent(place: Home) -> None:
    """The daemon runs and the scheduler turns, but its socket is gone."""
    place.start()
    away = place.state / "away.sock"
    with told(place, WATCHDOG_USEC="3000000") as one, one_daemon(place) as (_, log):
        one.until("WATCHDOG=1")
        (place.state / "agent.sock").rename(away)
        complained_of(log)
        one.waiting()
        complained_of(log)
        assert "WATCHDOG=1" not in [line for heard in one.waiting() for line in heard.lines]
        away.rename(place.state / "agent.sock")
        one.until("WATCHDOG=1")


def complained_of(log: Path) -> None:
    """Twice from now on: the first may be about what was asked before."""
    before = complaints(log)
    until(lambda: complaints(log) >= before + 2, log.read_text)


def complaints(log: Path) -> int:
    return log.read_text().count("the service manager's watchdog is not told that all is well")


def test_a_service_manager_that_does_not_listen_is_no_reason_to_stop(place: Home) -> None:
    place.start()
    place.environ["NOTIFY_SOCKET"] = str(place.folder / "nobody")
    with one_daemon(place) as (_, log):
        until(place.answers, log.read_text)
        until(lambda: "the service manager does not hear READY=1" in log.read_text())


@contextmanager
def one_daemon(place: Home) -> Iterator[tuple[int, Path]]:
    """Its pid and its log. It may not answer yet, and must end when it is asked to."""
    log = place.folder / "daemon.log"
    with log.open("w") as lines, place.process("daemon", stdout=lines, stderr=lines) as process:
        try:
            yield process.pid, log
        finally:
            process.terminate()
            assert process.wait(GENEROUS) == 0, log.read_text()


# Its parts.


@pytest.mark.parametrize(
    ("environ", "address", "watchdog"),
    [
        ({}, "", None),
        ({"NOTIFY_SOCKET": "/run/n"}, "/run/n", None),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "30000000"}, "@n", 30.0),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, "@n", 30.0),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, "@n", None),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "0"}, "@n", None),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "soon"}, "@n", None),
        ({"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "30000000"}, "", None),
        ({"WATCHDOG_USEC": "30000000"}, "", None),
    ],
)
def test_who_wants_to_hear_and_how_often(
    environ: dict[str, str], address: str, watchdog: float | None
) -> None:
    left = {"OTHER": "1", **environ}
    manager = taken_from(left, 7)
    assert (manager._address, manager.watchdog) == (address, watchdog)
    assert left == {"OTHER": "1"}


def test_a_status_is_one_line(tmp_path: Path) -> None:
    with ear(tmp_path) as one:
        ServiceManager(one.address).status("two\nREADY=1\tlines")
        assert one.next().lines == ["STATUS=two READY=1 lines"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "0 credentials"),
        (["ok"], "1 credential: 1 ok"),
        (["ok", "down", "ok", "at-risk", "due"], "5 credentials: 1 down, 1 at-risk, 1 due, 2 ok"),
    ],
)
def test_the_status_begins_with_the_worst(words: list[str], said: str) -> None:
    assert summary(words) == said


def test_a_status_that_changed_is_told_once(tmp_path: Path) -> None:
    words = ["ok"]
    with ear(tmp_path) as one:
        watched = watching(one, tmp_path, words=lambda: words)
        watched.start()
        watched.sweep()
        words[:] = ["failing"]
        watched.sweep()
        watched.sweep()
        assert [heard.lines[-1] for heard in one.waiting()] == [
            "STATUS=1 credential: 1 ok",
            "STATUS=1 credential: 1 failing",
        ]


def test_a_scheduler_that_stands_still_is_not_called_alive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ear(tmp_path) as one:
        watching(one, tmp_path, turns=lambda _: False).tend()
        assert one.waiting() == []
    assert "the scheduler stands still" in caplog.text


def test_an_agent_that_takes_connections_and_says_nothing_is_not_called_alive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ear(tmp_path) as one, listen(tmp_path / "agent.sock", 0o600):
        watching(one, tmp_path, period=0.3).tend()
        assert one.waiting() == []
    assert "the agent does not answer in time" in caplog.text


def test_an_agent_that_refuses_everybody_is_not_called_alive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    busy = answer(b"{}", status="429 Too Many Requests")
    with ear(tmp_path) as one, odd_agent(busy) as socket:
        watching(one, socket.parent).tend()
        assert one.waiting() == []
    assert "the agent answers 429" in caplog.text


def test_the_scheduler_proves_that_it_turns() -> None:
    """By doing what it is given: one that is paused does not."""
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    quiet = Wait(datetime(2100, 1, 1, tzinfo=UTC), "nothing to do")
    daemon = Daemon(
        lambda _: quiet,
        list,
        SystemClock(),
        Nobody(),
        lambda: None,
        clock_set=lambda _: None,
        keep_house=lambda: None,
    )
    daemon._scheduler.start(paused=True)
    try:
        assert not daemon.turns(0.05)
        daemon._scheduler.resume()
        assert daemon.turns(GENEROUS)
    finally:
        daemon._scheduler.shutdown()


class Nobody:
    def start(self) -> None: ...
    def stop(self) -> None: ...


def watching(
    one: Ear,
    folder: Path,
    *,
    words: Callable[[], list[str]] = list,
    turns: Callable[[float], bool] = lambda _: True,
    period: float = 30.0,
) -> Watched:
    manager = ServiceManager(one.address, period)
    socket = folder / "agent.sock"
    return Watched(manager, SystemClock(), health=words, turns=turns, socket=socket)
