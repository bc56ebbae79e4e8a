"""A person at a terminal: what they see, and what they type once they have seen something."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from subprocess import Popen

from tests.commands.world import GENEROUS, Home

PATIENCE = 5  #: seconds until somebody presses Ctrl-C once more


@dataclass
class Terminal:
    process: Popen[str]
    ours: int
    shown: str = ""
    seen: int = field(default=0)  #: how far somebody has read

    def sees(self, text: str) -> str:
        """Read on until this is there; returns what came before it."""
        deadline = time.monotonic() + GENEROUS
        while text not in self.shown[self.seen :]:
            assert time.monotonic() < deadline, f"no {text!r} in: {self.shown}"
            assert self._more(), f"it ended without {text!r}: {self.shown}"
        at = self.shown.index(text, self.seen)
        before, self.seen = self.shown[self.seen : at], at + len(text)
        return before

    def types(self, text: str = "", end: str = "\n") -> None:
        os.write(self.ours, (text + end).encode())

    def interrupts(self) -> int:
        """Ctrl-C, and once more if it is not heard; the exit status.

        Python sees a signal that comes just before it reads a line when that line has come.
        """
        deadline = time.monotonic() + GENEROUS
        while not self._hangs_up(PATIENCE):
            assert time.monotonic() < deadline, f"nothing more was shown after: {self.shown}"
        return self.process.wait(GENEROUS)

    def _hangs_up(self, patience: float) -> bool:
        self.types("\x03", end="")
        while self._shows(patience):
            if not self._more():
                return True
        return False

    def ends(self) -> int:
        """Read to the end; the exit status."""
        while self._more():
            pass
        return self.process.wait(GENEROUS)

    def _shows(self, patience: float) -> bool:
        return bool(select.select([self.ours], [], [], patience)[0])

    def _more(self) -> bool:
        assert self._shows(GENEROUS), f"nothing more was shown after: {self.shown}"
        try:
            piece = os.read(self.ours, 65536)
        except OSError:  # Linux's way to say that nobody holds the other end any more
            return False
        self.shown += piece.decode().replace("\r\n", "\n")
        return bool(piece)


def _make_it_ours() -> None:
    """The terminal that Ctrl-C is typed at."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def at_a_terminal(place: Home, *words: str) -> Iterator[Terminal]:
    """`keyman WORDS` with a terminal for all three streams."""
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    place.environ.setdefault("TERM", "dumb")
    session = {"start_new_session": True, "preexec_fn": _make_it_ours}
    with place.process(*words, **streams, **session) as process:
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            process.kill()
            os.close(ours)
