"""One command kept running, and started again when its environment changes.

    signal ──► to the command, unless the terminal has sent it there already
    SIGCHLD ─► look: has it ended? is another environment wanted? has it been given long enough?

The command stays in our process group, in front of the terminal if we are: it reads what is typed
there, and Ctrl-C reaches it without us. Once somebody has asked it to end (SIGINT, SIGTERM,
SIGQUIT) it is not started again. How it ends is how we end.
"""

from __future__ import annotations

import os
import signal
import threading

from keyman.cli import bare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType
    from typing import Self

PATIENCE = 10.0  # seconds between SIGTERM and SIGKILL
ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT}
KEYBOARD = {signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH}
# SIGTSTP is not among them: it stops both of us, and whoever sent it wakes us with SIGCONT.
PASSED_ON = {
    *ENDING,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGCONT,
}
# Python ignores these from its start on; a command expects to find them as they usually are.
IGNORED_BY_PYTHON = [signal.SIGPIPE, signal.SIGXFSZ]


class Supervisor:
    """Use as a context manager, in the main thread; whatever starts other threads does so inside
    it, since they must leave the signals to us. `start` comes before `wait`.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command = command
        self._wanted = environment
        self._given = environment
        self._pid = 0
        self._being_stopped = False  # by us, to be started again
        self._overdue = 0  # the process that did not end within our patience
        self._over = False  # somebody wants it to end
        # What whoever started us had ignored stays so, for the command as well.
        heard = {one for one in PASSED_ON if signal.getsignal(one) is not signal.SIG_IGN}
        self._heard = {*heard, signal.SIGCHLD}

    def __enter__(self) -> Self:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._heard)
        self._handlers = {one: signal.signal(one, _not_reached) for one in self._heard}
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._handlers.items():
            signal.signal(one, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def renew(self, environment: dict[str, str]) -> None:
        """Have the command started again, unless this is the environment that it has. From any
        thread.
        """
        self._wanted = environment
        self._look()

    def start(self) -> None:
        """Raises OSError if it can't be."""
        self._being_stopped = False
        self._given = self._wanted
        self._pid = os.posix_spawnp(
            self._command[0],
            self._command,
            self._given,
            setsigmask=self._mask,
            setsigdef=IGNORED_BY_PYTHON,
        )

    def wait(self) -> int:
        """Until the command has ended; its exit status, 128 + n if signal n ended it.

        Raises OSError if it can't be started again.
        """
        while True:
            number, shared = _next(self._heard)
            if number != signal.SIGCHLD:
                self._pass_on(number, shared=shared)
                continue
            status = _reaped(self._pid)
            if status is None:
                self._see_to_it()
            elif self._being_stopped and not self._over:
                self.start()
            else:
                return status

    def _pass_on(self, number: int, *, shared: bool) -> None:
        self._over = self._over or number in ENDING
        if not shared:
            self._send(number)

    def _see_to_it(self) -> None:
        """The command runs: is it to end, to be started again, or overdue in that?"""
        if self._over:
            return
        if self._being_stopped:
            if self._overdue == self._pid:
                bare.note(f"{self._command[0]} did not end in {PATIENCE:.0f} s: killing it")
                self._send(signal.SIGKILL)
        elif self._given != self._wanted:
            bare.note(f"another secret is current: starting {self._command[0]} again")
            self._stop()

    def _stop(self) -> None:
        self._being_stopped = True
        self._send(signal.SIGTERM)
        self._send(signal.SIGCONT)  # one that was halted would not hear it
        timer = threading.Timer(PATIENCE, self._out_of_patience, [self._pid])
        timer.daemon = True
        timer.start()

    def _send(self, number: int) -> None:
        try:
            os.kill(self._pid, number)
        except PermissionError:  # it runs as another user, as sudo does
            bare.note(f"this user may not send signal {number} to {self._command[0]}")

    def _out_of_patience(self, pid: int) -> None:
        self._overdue = pid
        self._look()

    def _look(self) -> None:
        """Wake the main thread, which alone acts."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGCHLD)


def _not_reached(number: int, frame: FrameType | None) -> None:
    """A signal without a handler may be thrown away before it is waited for."""


def _next(numbers: Iterable[int]) -> tuple[int, bool]:
    """The next signal, and whether the terminal sent it, to the whole process group."""
    if hasattr(signal, "sigwaitinfo"):
        found = signal.sigwaitinfo(numbers)
        # Zero and less: from a process. A hang-up may come to the leader of a session alone.
        return found.si_signo, found.si_code > 0 and found.si_signo in KEYBOARD
    number = signal.sigwait(numbers)
    return number, number in KEYBOARD and _in_front()


def _in_front() -> bool:
    """Whether what is typed at the terminal reaches our process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


def _reaped(pid: int) -> int | None:
    """The status of this process if it has ended. Others that came to us, as they do to a first
    process, are let go of.
    """
    ended = None
    while True:
        try:
            found, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if found == 0:
            return ended
        if found == pid:
            code = os.waitstatus_to_exitcode(status)
            ended = code if code >= 0 else 128 - code
