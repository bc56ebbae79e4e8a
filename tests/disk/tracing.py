"""Stands between a process and the kernel: sees each call by which it changes files, and may have
the call fail, or a write end halfway, as a broken disk would.

Done with ptrace, so nothing is preloaded into the process and SQLite's own calls are met as well.
What the process maps into its memory and changes there is not seen. Knows nothing of keyman.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable
from functools import cache

from tests.disk.calls import NAMES, VECTORS, Call, Reader

SEIZE, INTERRUPT, GO_ON, TO_ITS_END, POKE, INFO = 0x4206, 0x4207, 7, 24, 6, 0x420E
GOOD, FILTERED, EXITKILL = 0x1, 0x80, 0x100000
A_CALL, BEGINS = signal.SIGTRAP | 0x80, signal.SIGTRAP | 7 << 8
RDX, RAX, ORIG_RAX = 12 * 8, 10 * 8, 15 * 8  # where a thread's registers lie
NO_NEW_PRIVILEGES, SECCOMP, BY_FILTER = 38, 22, 2
LOAD, EQUAL, RETURN, ASK, ALLOW = 0x20, 0x15, 0x06, 0x7FF00000, 0x7FFF0000
THREADS = 0x40000000  # __WALL
NO_CALL = ctypes.c_ulong(-1).value

SHORT = -1  # a fate: the first half is written, and the call says so

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
libc.ptrace.restype = ctypes.c_long


class _Info(ctypes.Structure):
    """struct ptrace_syscall_info: `values` are the call's number and arguments, or its result."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("values", ctypes.c_uint64 * 8),
    )


class _Rule(ctypes.Structure):
    """struct sock_filter"""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("then", ctypes.c_uint8),
        ("otherwise", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Filter(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_uint16), ("rules", ctypes.POINTER(_Rule)))


Fate = Callable[[Call], int]  # 0, an errno, or SHORT
Done = Callable[[Call], None]


def nothing(_: Call) -> None:
    """Nobody records."""


def why_not() -> str:
    """Why nothing can be traced here, with what would change that; "" if it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "tests.disk knows the system calls of x86-64 Linux only: run it on such a machine"
    return "" if _works() else NOT_ALLOWED


NOT_ALLOWED = (
    "this machine forbids ptrace: as root, sysctl kernel.yama.ptrace_scope=1; in a container, "
    "docker run --cap-add=SYS_PTRACE"
)


@cache
def _works() -> bool:
    child = held(lambda: os._exit(7))
    try:
        tracer = Tracer(child, "/nowhere", lambda call: 0)
    except OSError:
        child.kill()
        return False
    return tracer.run(10.0) == 7


class Held:
    """A forked process that waits for a word."""

    def __init__(self, process: int, gate: int) -> None:
        self.process, self._gate = process, gate

    def release(self) -> None:
        os.write(self._gate, b"!")
        os.close(self._gate)

    def kill(self) -> None:
        os.close(self._gate)
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


def held(life: Callable[[], None]) -> Held:
    """Fork a process that lives this life once it is released, and then ends with status 0."""
    waits, gate = os.pipe()
    process = os.fork()
    if process:
        os.close(waits)
        return Held(process, gate)
    status = 70
    try:
        os.close(gate)
        if os.read(waits, 1):
            _stop_at_calls()
            life()
            status = 0
    except BaseException:  # noqa: BLE001 - a fault of the tests: nobody else would tell of it
        traceback.print_exc()
    finally:
        os._exit(status)


def _stop_at_calls() -> None:
    """From now on each call that matters here stops this process, for whoever traces it to look.

    All others go by at full speed: they are most of what a life calls.
    """
    numbers = [*NAMES, *VECTORS]
    rules = [_Rule(LOAD, 0, 0, 0)]
    rules += [_Rule(EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    rules += [_Rule(RETURN, 0, 0, ALLOW), _Rule(RETURN, 0, 0, ASK)]
    filters = _Filter(len(rules), (_Rule * len(rules))(*rules))
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no filter")
    if libc.prctl(SECCOMP, BY_FILTER, ctypes.byref(filters), 0, 0):
        raise OSError(ctypes.get_errno(), "no filter")


class Tracer:
    """Over one process, from the thread that made this. Raises OSError where ptrace is forbidden.

    `fate` is asked of each call on something below `folder`; `done` is told of it afterwards, with
    its result. Writes to the file `marks` are told as well, and never fail.
    """

    def __init__(
        self, child: Held, folder: str, fate: Fate, done: Done = nothing, *, marks: int = -2
    ) -> None:
        self._child, self._process = child, child.process
        self._fate, self._done, self._marks = fate, done, marks
        self._info, self._asked = _Info(), 0
        _ptrace(SEIZE, self._process, 0, GOOD | FILTERED | EXITKILL)
        _ptrace(INTERRUPT, self._process)
        _, status = os.waitpid(self._process, THREADS)
        if not os.WIFSTOPPED(status):
            raise ChildProcessError(errno.ECHILD, "it ended before it began")
        records = done is not nothing
        self._reader = Reader(self._process, folder, marks, records=records)
        _ptrace(GO_ON, self._process)

    def run(self, limit: float) -> int:
        """Let it live, so many seconds at most (else TimeoutError); its exit status, negative for a
        signal.
        """
        self._child.release()
        before = signal.signal(signal.SIGALRM, self._too_long)
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            return self._live()
        except TimeoutError:
            os.kill(self._process, signal.SIGKILL)
            while os.WIFSTOPPED(os.waitpid(self._process, THREADS)[1]):
                pass
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            self._reader.close()

    def _too_long(self, *_: object) -> None:
        raise TimeoutError

    def _live(self) -> int:
        call, fate = None, 0
        while True:
            _, status = os.waitpid(self._process, THREADS)
            if not os.WIFSTOPPED(status):
                return os.waitstatus_to_exitcode(status)
            stopped_by = status >> 8
            if stopped_by == BEGINS:
                call, fate = self._entered(self._look())
                _ptrace(TO_ITS_END if call else GO_ON, self._process)
            elif stopped_by == A_CALL:
                assert call is not None
                self._left(call, fate, self._look())
                _ptrace(GO_ON, self._process)
            else:
                passed_on = 0 if stopped_by & 0x7F == signal.SIGTRAP else stopped_by
                _ptrace(GO_ON, self._process, 0, passed_on)

    def _look(self) -> _Info:
        _ptrace(INFO, self._process, ctypes.sizeof(_Info), ctypes.addressof(self._info))
        return self._info

    def _entered(self, info: _Info) -> tuple[Call | None, int]:
        call = self._reader.read(info.values)
        if call is None:
            return None, 0
        fate = 0 if call.file == self._marks else self._fate(call)
        if fate == SHORT:
            self._asked, call.number = call.number, call.number // 2
            self._poke(RDX, call.number)
        elif fate:
            self._poke(ORIG_RAX, NO_CALL)
        return call, fate

    def _left(self, call: Call, fate: int, info: _Info) -> None:
        call.result = ctypes.c_long(info.values[0]).value
        if fate == SHORT:
            self._poke(RDX, self._asked)  # no call changes it, and whoever called relies on that
        elif fate:
            call.result = -fate
            self._poke(RAX, ctypes.c_ulong(-fate).value)
        self._done(call)

    def _poke(self, register: int, value: int) -> None:
        _ptrace(POKE, self._process, register, value)


def _ptrace(request: int, process: int, address: int = 0, data: int = 0) -> None:
    if libc.ptrace(request, process, address, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
