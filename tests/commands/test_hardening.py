"""What those who hold secrets do for their memory, seen from inside of real processes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.commands.world import GENEROUS, ROOT, Home, until

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="macOS has no prctl: make test, on Linux"
)

# Core dumps are on when it starts; at its end the process tells how it is kept.
TELLS = """\
import atexit, ctypes, json, os, pathlib, resource

hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
os.umask(0o022)

@atexit.register
def tell():
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
    said = {"core": limit, "dumpable": dumpable, "umask": os.umask(0)}
    pathlib.Path(__file__).with_name("told").write_text(json.dumps(said))
"""

# Has the kernel refuse prctl(PR_SET_DUMPABLE) to this process from now on, by a filter of
# seccomp: where the number of the call is prctl's and its first argument 4, EPERM.
REFUSES = """
import ctypes, platform, struct

prctl = {"x86_64": 157, "aarch64": 167}[platform.machine()]
program = b"".join(struct.pack("HBBI", *step) for step in (
    (0x20, 0, 0, 0), (0x15, 0, 3, prctl), (0x20, 0, 0, 16), (0x15, 0, 1, 4),
    (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000),
))
held = ctypes.create_string_buffer(program)

class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]

loaded = Filter(len(program) // 8, ctypes.addressof(held))
assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0
assert ctypes.CDLL(None).prctl(22, 2, ctypes.byref(loaded)) == 0
"""


def customised(place: Home, start: str) -> None:
    """Every Python of this home runs that before anything of keyman's."""
    (place.folder / "sitecustomize.py").write_text(start)
    place.environ["PYTHONPATH"] = f"{place.folder}:{ROOT}"


def told(place: Home) -> Any:
    return json.loads((place.folder / "told").read_text())


KEPT = {"core": [0, 0], "dumpable": 0, "umask": 0o077}


@on_linux
def test_a_daemon_can_not_be_dumped_nor_read_by_others(place: Home) -> None:
    place.config.write_text("{}\n")  # nothing to do, so nothing is under way at its end
    customised(place, TELLS)
    with place.daemon() as daemon:
        pass
    assert daemon.returncode == 0
    assert told(place) == KEPT


@pytest.mark.slow
@on_linux
def test_once_neither(place: Home) -> None:
    customised(place, TELLS)
    assert place.run("daemon", "--once").err == ""
    assert told(place) == KEPT


@on_linux
@pytest.mark.slow
def test_what_could_not_be_done_is_a_warning(place: Home) -> None:
    """And no reason not to serve."""
    customised(place, TELLS + REFUSES)
    done = place.run("daemon", "--once")
    assert done.status == 0
    assert "other processes of this user may read this one's memory" in done.err
    assert told(place)["dumpable"] == 1


# Commands that hold a secret.

# The same, at SIGALRM and when a process ends at once; each into a file of its own.
TELLS_WHEN_ASKED = """\
import ctypes, json, os, pathlib, resource, signal

hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

def tell(*_):
    core, hardest = resource.getrlimit(resource.RLIMIT_CORE)
    said = {"core": core == hardest == 0, "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)}
    told = pathlib.Path(__file__).with_name(f"told-{os.getpid()}")
    told.with_suffix(".new").write_text(json.dumps(said))
    told.with_suffix(".new").rename(told)

def leave(status, leave=os._exit):
    tell()
    leave(status)

os._exit = leave
signal.signal(signal.SIGALRM, tell)
"""


def asked(place: Home, pid: int) -> dict[str, int]:
    """What that process tells of itself: may it leave a core file, may others look into it?"""
    told = place.folder / f"told-{pid}"
    if not told.exists():
        os.kill(pid, signal.SIGALRM)
        until(told.exists)
    found: dict[str, int] = json.loads(told.read_text())
    return found


@pytest.fixture
def telling(place: Home) -> Home:
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("core files are forbidden here: prlimit --core=unlimited pytest TEST")
    place.start()
    customised(place, TELLS_WHEN_ASKED)
    return place


@on_linux
@pytest.mark.parametrize("words", ["get genai", "env genai"])
def test_what_reads_once_leaves_no_core_file(telling: Home, words: str) -> None:
    with telling.process(*words.split()) as process:
        process.communicate(timeout=GENEROUS)
    assert asked(telling, process.pid)["core"]


@on_linux
def test_what_writes_keeps_its_memory_to_itself(telling: Home) -> None:
    to = telling.folder / "key"
    with telling.process("write", "genai", "--to", str(to), "--watch") as process:
        try:
            until(to.exists)
            assert asked(telling, process.pid) == {"core": True, "dumpable": 0}
        finally:
            process.kill()


@on_linux
def test_what_restarts_a_command_does_so_alone(telling: Home) -> None:
    """The command may be debugged, and leave a core file, as it could without us."""
    waits = [sys.executable, "-c", "import os; print(os.getpid(), flush=True); input()"]
    streams = {"stdin": subprocess.PIPE}
    with telling.process("run", "genai", "--restart", "--", *waits, **streams) as process:
        try:
            assert process.stdout is not None
            command = int(process.stdout.readline())
            assert asked(telling, process.pid) == {"core": False, "dumpable": 0}
            assert asked(telling, command) == {"core": False, "dumpable": 1}
        finally:
            process.communicate("\n", timeout=GENEROUS)


@on_linux
def test_what_a_command_could_not_do_is_a_warning(telling: Home) -> None:
    customised(telling, TELLS_WHEN_ASKED + REFUSES)
    done = telling.run("write", "genai", "--to", str(telling.folder / "key"))
    assert done.status == 0
    assert "warning: other processes of this user may read this one's memory" in done.err
