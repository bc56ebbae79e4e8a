"""Whose turn it is: one turn a credential at a time, and no wake-up is lost meanwhile.

A fault of the journal or of our own never ends a credential's life in silence: there is always a
next turn. Knows no timer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from keyman.clock import Clock
from keyman.core.steps import Wait
from keyman.errors import Error

log = logging.getLogger("keyman.turns")


class Turns:
    """`ends(name, until)` is told when the next turn is to be, before that may have begun. It must
    not wait for anybody.
    """

    def __init__(
        self,
        advance: Callable[[str], Wait],
        clock: Clock,
        ends: Callable[[str, datetime], None],
    ) -> None:
        self._advance = advance
        self._clock = clock
        self._ends = ends
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}

    def take(self, name: str) -> None:
        """Advance the credential; if another thread is at it, have that do so once more."""
        with self._lock:
            if name in self._busy:
                self._again.add(name)
                return
            self._busy.add(name)
        try:
            self._until_quiet(name)
        except BaseException:  # once it ended quietly, the name may be another thread's by now
            with self._lock:
                self._busy.discard(name)
            raise

    def _until_quiet(self, name: str) -> None:
        while True:
            with self._lock:
                self._again.discard(name)
            until = self._once(name)
            with self._lock:
                if name not in self._again:
                    self._ends(name, until)
                    self._busy.discard(name)
                    return

    def _once(self, name: str) -> datetime:
        """A fault of the journal or of our own must not end the credential's life in silence."""
        try:
            wait = self._advance(name)
        except Exception as error:  # noqa: BLE001 - whatever it was, there must be a next turn
            self._failures[name] = self._failures.get(name, 0) + 1
            said = error.message if isinstance(error, Error) else type(error).__name__
            log.error("%s: the turn failed: %s", name, said)
            return self._clock.now() + timedelta(seconds=min(2 ** self._failures[name], 60))
        self._failures.pop(name, None)
        log.debug("%s: until %s: %s", name, wait.until.isoformat(timespec="seconds"), wait.reason)
        return wait.until

    def under_way(self) -> frozenset[str]:
        """Whose turn it is."""
        with self._lock:
            return frozenset(self._busy)
