"""Whether keyman's own work goes on: turns that come to no end, and turns that do not come.

No record tells of either: a journal that can't be written can't tell that it can't.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass

from keyman.clock import Clock

JOURNAL = "the journal"  # what fails beside turns
FAILS_FOR = 60.0  # seconds until it is told: what passes in less is in the log
SILENT_FOR = 7200.0  # seconds; each credential has a turn every hour at least


@dataclass(frozen=True, slots=True)
class _Failing:
    since: float
    why: str


class Standstill:
    """Any thread may say how a turn ended, any may ask. Suspended time counts for nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failing: dict[str, _Failing] = {}
        self._ended = clock.monotonic()

    def failed(self, what: str, why: str) -> bool:
        """False if it failed before, and for the same reason."""
        with self._lock:
            known = self._failing.get(what)
            since = known.since if known else self._clock.monotonic()
            self._failing[what] = _Failing(since, why)
            return known is None or known.why != why

    def ended(self, what: str) -> None:
        with self._lock:
            self._failing.pop(what, None)
            if what != JOURNAL:
                self._ended = self._clock.monotonic()

    def why(self, names: Collection[str]) -> str | None:
        """Why it does not go on, if it does not. `names` are those that have turns."""
        now = self._clock.monotonic()
        with self._lock:
            # One that left the configuration has no turn any more that could end well.
            kept = {*names, JOURNAL}
            self._failing = {one: how for one, how in self._failing.items() if one in kept}
            long = {o: how for o, how in self._failing.items() if now - how.since >= FAILS_FOR}
            silent = now - self._ended
        if long:
            first = next(iter(long))
            others = f" and {len(long) - 1} more" if len(long) > 1 else ""
            what = f"{JOURNAL} fails" if first == JOURNAL else f"the turns of {first}{others} fail"
            return f"{what}: {long[first].why}"
        if names and silent >= SILENT_FOR:
            return f"no credential came to the end of a turn for {silent / 3600:.0f} hours"
        return None
