"""Spreads what could begin at one moment: thousands of tokens that are all due at a start.

Pure arithmetic on times; knows neither credentials nor threads.
"""

from __future__ import annotations

from datetime import UTC, datetime

REMEMBERS = 50_000


class Pace:
    """Gives each caller a moment of its own, at or after the one it asks for.

    No two moments are closer than 1 / per_second. Not for several threads at once.
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._later: dict[int, int] = {}  # a moment that is taken → where to look next

    def moment(self, wanted: datetime, now: datetime) -> datetime:
        """The first moment that is still free; `wanted` itself if that is."""
        asked = self._number(wanted)
        free = self._take(asked)
        self._forget(self._number(now))
        return wanted if free == asked else datetime.fromtimestamp(free / self._per_second, UTC)

    def _number(self, at: datetime) -> int:
        return int(at.timestamp() * self._per_second)

    def _take(self, asked: int) -> int:
        free = asked
        while free in self._later:
            free = self._later[free]
        self._later[free] = free + 1
        while asked != free:  # whoever asks for the same moment next finds the way in one step
            self._later[asked], asked = free + 1, self._later[asked]
        return free

    def _forget(self, now: int) -> None:
        if len(self._later) > REMEMBERS:
            self._later = {at: later for at, later in self._later.items() if at >= now}
