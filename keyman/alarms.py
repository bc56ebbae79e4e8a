"""Who is to have a turn when: one moment a name, the earliest first.

Knows no clock, no timer and no credential. For any thread; no call waits for anything.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterable
from datetime import datetime

SLACK = 1_000  # moments that no longer hold, before they are cleared away


class Alarms:
    """A name has one moment or none. It has none from when it rang until it is given another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: dict[str, datetime] = {}
        self._queue: list[tuple[datetime, str]] = []  # a heap, also of moments that were replaced

    def set(self, name: str, at: datetime) -> None:
        """In place of the moment that the name has."""
        with self._lock:
            self._set(name, at)

    def by(self, name: str, at: datetime) -> None:
        """At the latest then: a moment that is sooner stays."""
        with self._lock:
            known = self._at.get(name)
            if known is None or at < known:
                self._set(name, at)

    def drop(self, name: str) -> None:
        with self._lock:
            self._at.pop(name, None)

    def ring(self, now: datetime) -> str | None:
        """Whose moment has come, the one who waits for longest; None if nobody's has."""
        with self._lock:
            self._clear()
            if not self._queue or self._queue[0][0] > now:
                return None
            _, name = heapq.heappop(self._queue)
            del self._at[name]
            return name

    def earliest(self) -> datetime | None:
        with self._lock:
            self._clear()
            return self._queue[0][0] if self._queue else None

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Those of them that have no moment."""
        with self._lock:
            return [name for name in names if name not in self._at]

    def _set(self, name: str, at: datetime) -> None:
        self._at[name] = at
        heapq.heappush(self._queue, (at, name))
        if len(self._queue) > 2 * len(self._at) + SLACK:
            self._queue = [(at, name) for name, at in self._at.items()]
            heapq.heapify(self._queue)

    def _clear(self) -> None:
        """Have a moment that holds come first."""
        while self._queue and self._at.get(self._queue[0][1]) != self._queue[0][0]:
            heapq.heappop(self._queue)
