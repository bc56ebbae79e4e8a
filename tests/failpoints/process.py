"""Processes that live in a home: forked from one that has everything imported, killed, paused and
woken, and what they leave behind outside of their folder.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.disk.house import taken_out
from tests.disk.judging import judge
from tests.failpoints.home import Home, Over
from tests.failpoints.points import Fate, Points
from tests.sim.invariants import Broken

ROOM = 1 << 20  # bytes for what a process has to say
LIMIT = 60  # seconds; a life takes a fraction of one
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG: nobody is left behind, paused for ever
KILLED = -signal.SIGKILL


@dataclass(slots=True)
class Said:
    """What a process left. `at` says where it was killed, if it was."""

    at: str = ""
    broken: str = ""
    passed: tuple[str, ...] = ()
    packed: bytes = field(default=b"", repr=False)

    @property
    def home(self) -> Home:
        home = taken_out(self.packed)
        assert isinstance(home, Home)
        return home


class Board:
    """Memory that outlives whoever wrote on it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, ROOM)

    def write(self, said: Said) -> None:
        packed = pickle.dumps(said)
        self._memory[: len(packed)] = packed

    def read(self) -> Said:
        said: Said = pickle.loads(self._memory[:])
        return said

    def close(self) -> None:
        self._memory.close()


Act = Callable[[Home, Said], None]
Wake = Callable[[Home], None]


def live(home: Home, said: Said) -> None:
    """One process, until it rests; what it leaves is judged as well."""
    lived = home.live()
    if home.paused:
        return  # others go on, and are judged
    points, home.points = home.points, Points()
    if lived.errors or lived.stopped:
        raise Broken("L", f"nothing goes wrong any more, and yet: {lived.errors}")
    judge(home)
    home.points = points


def recover(home: Home, said: Said) -> None:
    """What is left in the folder is judged, and gone on from."""
    points, home.points = home.points, Points()
    if home.spoiled:
        home.find_what_is_kept()
    else:
        judge(home)
    home.points = points
    live(home, said)


def begin(home: Home, act: Act, board: Board, fate: Fate | None = None) -> int:
    """Its pid. What it says is on the board when it ends."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        gc.disable()  # it would copy all that is shared
        _die_with_parent()
        signal.signal(signal.SIGALRM, _hangs)
        signal.alarm(LIMIT)
        _act(home, act, board, fate)
        status = 0
    except BaseException:  # noqa: BLE001 - nothing of a child may go on in its parent's place
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _die_with_parent() -> None:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it
    if prctl is not None:
        prctl(DIE_WITH_PARENT, signal.SIGKILL)


def _hangs(*_: object) -> None:
    raise TimeoutError(f"it hangs, for {LIMIT} s now")


def _act(home: Home, act: Act, board: Board, fate: Fate | None) -> None:
    said = Said()
    if fate is not None:
        home.points.fate = fate
    points = home.points
    try:
        act(home, said)
    except Broken as broken:
        said.broken = str(broken)
    except Over:
        pass
    except Exception as error:  # noqa: BLE001 - whatever keyman lets out is what is looked for
        said.broken = f"T: {type(error).__name__}: {error}"
    said.passed, said.packed = tuple(points.passed), home.put_away()
    board.write(said)


def ended(pid: int, board: Board) -> Said:
    """What it said, once it is gone."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status in (0, KILLED):
        return board.read()
    return Said(broken=f"H: the process ended with {status}")


def killing(home: Home, board: Board, chosen: Callable[[str], bool]) -> Fate:
    """Dead at the first passing that is chosen; what is so outside of the folder is left."""

    def fate(name: str) -> None:
        if chosen(name):
            passed = tuple(home.points.passed)
            board.write(Said(at=name, passed=passed, packed=home.put_away()))
            os.kill(os.getpid(), signal.SIGKILL)

    return fate


def pausing(home: Home, board: Board, chosen: Callable[[str], bool], woken: Wake) -> Fate:
    """Stopped at each passing that is chosen, until somebody says go on; what is so outside of the
    folder stands on the board meanwhile.
    """

    def fate(name: str) -> None:
        if chosen(name):
            board.write(Said(at=name, packed=home.put_away()))
            os.kill(os.getpid(), signal.SIGSTOP)
            woken(home)

    return fate


def paused(pid: int) -> bool:
    """Wait until it is stopped; False if it came to its end instead, which is still to be asked."""
    seen = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert seen is not None
    return seen.si_code == os.CLD_STOPPED


def wake(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)
