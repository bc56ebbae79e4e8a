"""What the daemon does for the secrets in its memory, seen from inside of real ones."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.commands.world import ROOT, Home

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


@on_linux
def test_once_neither(place: Home) -> None:
    customised(place, TELLS)
    assert place.run("daemon", "--once").err == ""
    assert told(place) == KEPT


@on_linux
def test_what_could_not_be_done_is_a_warning(place: Home) -> None:
    """And no reason not to serve."""
    customised(place, TELLS + REFUSES)
    done = place.run("daemon", "--once")
    assert done.status == 0
    assert "other processes of this user may read the daemon's memory" in done.err
    assert told(place)["dumpable"] == 1
