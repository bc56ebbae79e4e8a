"""Work that nobody waits for: a lane for each party that may be slow, a few threads a lane.

A party that hangs holds up its own lane only. What is waiting already isn't taken twice, and what
is asked for while it is under way is done once more after that: one at a time each. Threads come
with work and go with it, and none of them keeps the process from ending.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

WIDTH = 4  # threads a lane: catching up with a far store is mostly waiting for it

log = logging.getLogger("keyman.lanes")

Key = tuple[str, str]  # lane, what is to be done in it


class Lanes:
    """`work(lane, what)` is called in threads of ours. Any thread may ask for it."""

    def __init__(self, work: Callable[[str, str], None], width: int = WIDTH) -> None:
        self._work = work
        self._width = width
        self._waiting: dict[str, dict[str, None]] = {}  # lane → what, in the order of asking
        self._under_way: set[Key] = set()
        self._again: set[Key] = set()
        self._threads: dict[str, int] = {}
        self._changed = threading.Condition()
        self._closed = False

    def ask(self, lane: str, what: str) -> None:
        """Have it done soon. Returns at once."""
        with self._changed:
            if self._closed:
                return
            if (lane, what) in self._under_way:
                self._again.add((lane, what))
                return
            self._waiting.setdefault(lane, {})[what] = None
            if self._threads.get(lane, 0) >= self._width:
                return
            self._threads[lane] = self._threads.get(lane, 0) + 1
        try:
            threading.Thread(target=self._walk, args=(lane,), name=lane, daemon=True).start()
        except RuntimeError:  # the system has no thread left: whoever asks next may have more luck
            with self._changed:
                self._threads[lane] -= 1

    def busy(self, what: str) -> bool:
        """Is it under way in any lane?"""
        with self._changed:
            return any(each == what for _, each in self._under_way)

    @property
    def idle(self) -> bool:
        with self._changed:
            return self._at_rest()

    def wait(self, seconds: float) -> bool:
        """Until nothing is left to do, or for that long; False if something still is."""
        with self._changed:
            return self._changed.wait_for(self._at_rest, seconds)

    def close(self) -> None:
        """Begin nothing more. What is under way goes on by itself."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._again.clear()
            self._changed.notify_all()

    def _at_rest(self) -> bool:
        return not self._under_way and not any(self._waiting.values())

    def _walk(self, lane: str) -> None:
        while (what := self._next(lane)) is not None:
            try:
                self._work(lane, what)
            except Exception as error:  # noqa: BLE001 - one that fails must not end its lane
                log.error("%s: %s: %s", lane, what, type(error).__name__)
            self._done(lane, what)

    def _next(self, lane: str) -> str | None:
        with self._changed:
            waiting = self._waiting.get(lane)
            if not waiting:
                self._threads[lane] -= 1
                return None
            what = next(iter(waiting))
            del waiting[what]
            self._under_way.add((lane, what))
            return what

    def _done(self, lane: str, what: str) -> None:
        with self._changed:
            self._under_way.discard((lane, what))
            if (lane, what) in self._again:
                self._again.discard((lane, what))
                self._waiting.setdefault(lane, {})[what] = None
            self._changed.notify_all()
