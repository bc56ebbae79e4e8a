"""The gate before a vault. Every call passes it twice: before it has its effect, and after.

Whoever runs a test decides at both places what becomes of the call. The gate knows neither what a
call means nor who sent it; calls may come from several threads at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from keyman.sandbox.server import HangUpError

LOST, DONE_LOST, BUSY = "lost", "done-lost", "busy"  # there may be another try
FATES = (LOST, DONE_LOST, BUSY)
FORBIDDEN, DONE_FORBIDDEN = "forbidden", "done-forbidden"  # nobody tries that again
STATUS = {BUSY: 429, FORBIDDEN: 403, DONE_FORBIDDEN: 403}
HELD_AT_MOST = 30.0  # seconds

R = TypeVar("R")


def passes(_: str) -> str:
    return ""


def nothing(_: str) -> None:
    return None


@dataclass(slots=True)
class Hold:
    """One call that is kept: the `nth` from when it was set, before or after it has its effect.

    Its sender gets no answer. `late`: it has its effect all the same, once it is let go.
    """

    nth: int
    after: bool
    late: bool = False
    operation: str = ""
    met: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def keep(self, operation: str) -> None:
        self.operation = operation
        self.met.set()
        self.let_go.wait(HELD_AT_MOST)


class Gate:
    """`fate(operation)` is asked before each call, `carried_out(operation)` is told after it."""

    def __init__(self) -> None:
        self.fate: Callable[[str], str] = passes
        self.carried_out: Callable[[str], None] = nothing
        self.shut = False  # nobody gets through
        self.calls: list[str] = []
        self.broke: list[datetime] = []  # when a call was not answered as it would be
        self._hold: Hold | None = None
        self._turn = threading.Lock()

    def hold(self, nth: int, *, after: bool, late: bool = False) -> Hold:
        with self._turn:
            self._hold = Hold(nth, after, late)
            return self._hold

    def let_go(self) -> None:
        with self._turn:
            hold, self._hold = self._hold, None
        if hold is not None:
            hold.let_go.set()

    def through(self, operation: str, act: Callable[[], R], refuse: Callable[[int], R]) -> R:
        """The answer to one call. Raises HangUpError if it gets none."""
        hold = self._noted(operation)
        fate = LOST if self.shut else self.fate(operation)
        if fate:
            self.broke.append(datetime.now(UTC))
        if fate in (BUSY, FORBIDDEN):
            return refuse(STATUS[fate])
        if hold and not hold.after:
            hold.keep(operation)
        if fate == LOST or (hold and not hold.after and not hold.late):
            raise HangUpError
        answer = act()
        self.carried_out(operation)
        if hold and hold.after:
            hold.keep(operation)
        if hold or fate == DONE_LOST:
            raise HangUpError
        return refuse(STATUS[fate]) if fate == DONE_FORBIDDEN else answer

    def _noted(self, operation: str) -> Hold | None:
        with self._turn:
            self.calls.append(operation)
            hold = self._hold
            if hold is None or hold.met.is_set():
                return None
            hold.nth -= 1
            return hold if hold.nth == 0 else None
