"""Telling of mirrors that fail: when it comes and when it is over, once each, over restarts too.

What was told last is read from the news that the journal keeps; nothing else remembers it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from keyman.core.news import MIRROR_FAILING, MIRROR_OK, News
from keyman.db.journal import Event, Journal
from keyman.errors import Error

PAGE = 500

log = logging.getLogger("keyman.mirroring")


def nobody(_: Sequence[News]) -> None:
    """Nobody listens: the journal keeps the news all the same."""


class Telling:
    """`heard`, once it is set, is called with news that the journal has."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.heard: Callable[[Sequence[News]], None] = nobody
        self._failing: set[tuple[str, str]] | None = None  # as was last told
        self._turn = threading.Lock()
        # Of each credential and store what was noted as copied, until the store follows. Each such
        # pair is one thread's at a time.
        self._copied: dict[tuple[str, str], set[int]] = {}

    def fails(self, name: str, store: str, version: int | None, why: str, now: datetime) -> None:
        self._tell(News(now, name, MIRROR_FAILING, version, None, f"{store}: {why}"))

    def follows(self, name: str, store: str, version: int | None, now: datetime) -> None:
        self._copied.pop((name, store), None)
        self._tell(News(now, name, MIRROR_OK, version, None, store))

    def copies(self, name: str, store: str, version: int, now: datetime) -> None:
        """Nobody's news, but the history says where a secret may be, before it is put there: once
        for all the tries it takes. Raises StoreFailed or Conflict: then it must not be put there.
        """
        noted = self._copied.setdefault((name, store), set())
        if version not in noted:
            self._journal.note(Event(now, name, "mirrored", version=version, detail=f"to {store}"))
            noted.add(version)

    def _tell(self, one: News) -> None:
        with self._turn:
            try:
                failing = self._failing if self._failing is not None else self._as_told()
                if (_key(one) in failing) == (one.what == MIRROR_FAILING):
                    return
                self._journal.tell((one,))
            except Error as error:  # it is told with what comes next
                log.error("%s: not told of %s: %s", one.name, one.what, error.message)
                return
            failing ^= {_key(one)}
        self.heard((one,))

    def _as_told(self) -> set[tuple[str, str]]:
        failing = set()
        for one in _every_news(self._journal):
            if one.what == MIRROR_FAILING:
                failing.add(_key(one))
            elif one.what == MIRROR_OK:
                failing.discard(_key(one))
        self._failing = failing
        return failing


def _key(one: News) -> tuple[str, str]:
    """The credential and the store that it is about."""
    return one.name, one.reason.partition(":")[0]


def _every_news(journal: Journal) -> Iterator[News]:
    seen = 0
    while page := journal.news(seen, PAGE):
        yield from (one for _, one in page)
        seen = page[-1][0]
