"""keyman as process 1 of a container: it ends when it is asked to, and buries the orphans."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.commands.test_daemon import BUSY, PROMPT
from tests.commands.world import GENEROUS, ROOT, Home, until
from tests.recipes.program import here

CONTAINER = ("unshare", "--map-root-user", "--pid", "--fork", "--kill-child")


@contextmanager
def process_1(place: Home, *words: str) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """`keyman WORDS` as process 1 of its own: what waits for it outside, and itself."""
    works = subprocess.run([*CONTAINER, "true"], check=False, capture_output=True).returncode == 0
    here("a pid namespace of our own", works, "sudo make test, on Linux")
    log = (place.folder / "log").open("w")
    command = [*CONTAINER, sys.executable, "-P", "-m", "keyman", *words]
    with (
        log,
        subprocess.Popen(
            command,
            env=place.variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        ) as outside,
    ):
        try:
            until(lambda: psutil.Process(outside.pid).children())
            yield outside, psutil.Process(outside.pid).children()[0]
        finally:
            outside.kill()


@pytest.fixture
def first(place: Home) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    place.start()
    with process_1(place, "daemon") as (outside, daemon):
        until(place.answers, (place.folder / "log").read_text)
        yield outside, daemon


@pytest.mark.slow
def test_a_daemon_stops_promptly(
    first: tuple[subprocess.Popen[str], psutil.Process], place: Home
) -> None:
    outside, daemon = first
    began = time.monotonic()
    daemon.send_signal(signal.SIGTERM)
    assert outside.wait(GENEROUS) == 0
    assert time.monotonic() - began < PROMPT + BUSY
    assert not (place.state / "agent.sock").exists()


@pytest.mark.slow
def test_orphans_are_buried(first: tuple[subprocess.Popen[str], psutil.Process]) -> None:
    """A shell that somebody opened in the container leaves a process behind, which then ends."""
    _, daemon = first
    shell = ["nsenter", f"--target={daemon.pid}", "--user", "--preserve-credentials", "--pid"]
    for _ in range(3):
        subprocess.run([*shell, "sh", "-c", "sleep 1 & sleep 2 &"], check=True)
    assert daemon.children()
    until(lambda: not daemon.children(), lambda: f"{daemon.children()}")
    assert daemon.is_running()


def test_a_child_of_its_own_ends_as_it_says() -> None:
    """Although it ended a while before anybody asked: nobody buries it in between."""
    works = subprocess.run([*CONTAINER, "true"], check=False, capture_output=True).returncode == 0
    here("a pid namespace of our own", works, "sudo make test, on Linux")
    command = [*CONTAINER, sys.executable, "-c", STARTS_CHILDREN]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[3, 3, 3, 3, 3]\n", "")


STARTS_CHILDREN = """
import subprocess, sys, threading, time
from keyman.first_process import take_office

take_office(alone=True)
ended = []

def start():
    child = subprocess.Popen(["sh", "-c", "exit 3"])
    time.sleep(1)
    ended.append(child.wait())

threads = [threading.Thread(target=start) for _ in range(5)]
for one in threads:
    one.start()
while any(one.is_alive() for one in threads):
    time.sleep(0.05)
print(ended)
"""


@pytest.mark.parametrize("proc", ["none", "one that tells no numbers of namespaces"])
def test_where_proc_tells_less_nobody_is_harmed(proc: str) -> None:
    works = subprocess.run([*CONTAINER, "--mount", "true"], check=False, capture_output=True)
    here("namespaces of our own", works.returncode == 0, "sudo make test, on Linux")
    hide = ("sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
    script = [sys.executable, "-c", LOOKS_FOR_THE_DEAD, "" if proc == "none" else "tells"]
    command = [*CONTAINER, "--mount", *hide, *script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    left = "went on, 1 left\n" if proc == "none" else "went on, 0 left\n"
    assert (done.stdout, done.stderr) == (left, "")


LOOKS_FOR_THE_DEAD = """
import os, sys, time
from pathlib import Path
from keyman import first_process

first_process.LEFT_ALONE = 0.2
first_process.take_office(alone=True)
pid = os.fork() or os._exit(0)
if sys.argv[1]:
    status = Path(f"/proc/{pid}/status")
    status.parent.mkdir()
    status.write_text(f"State:\\tZ (zombie)\\nPid:\\t{pid}\\nPPid:\\t1\\n")
    Path("/proc/self").symlink_to("1")
time.sleep(2)
try:
    left = os.waitpid(pid, os.WNOHANG)[0] == pid
except ChildProcessError:
    left = 0
print(f"went on, {int(left)} left")
"""


@pytest.mark.slow
def test_one_that_is_still_starting_ends_at_once(place: Home) -> None:
    """Long before the daemon has handlers of its own; the kernel keeps such signals from others."""
    (place.folder / "sitecustomize.py").write_text(HANGS)
    place.environ["PYTHONPATH"] = f"{place.folder}:{ROOT}"
    with process_1(place, "daemon") as (outside, daemon):
        until((place.folder / "hangs").exists, (place.folder / "log").read_text)
        daemon.send_signal(signal.SIGTERM)
        assert outside.wait(GENEROUS) == 128 + signal.SIGTERM


HANGS = """\
import pathlib, sys, time

class Hangs:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            pathlib.Path(__file__).with_name("hangs").touch()
            while True:  # a signal just before a long sleep would be heeded after it
                time.sleep(0.1)

sys.meta_path.insert(0, Hangs())
"""
