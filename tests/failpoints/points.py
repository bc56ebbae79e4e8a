"""The places with names: where a process of keyman's may be stopped or killed, before and after.

Whatever the rotator is handed is wrapped here: journal, store, provider, page and publishing, and
what commits inside the two databases. Nothing of it is changed but that each passing is told of.
keyman itself knows nothing of failpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

JOURNAL = ("take_lease", "load", "save", "note", "release_lease")
STORE = ("ready", "put", "get", "drop")
PROVIDER = ("observe", "claim", "create", "issue", "activate", "verify", "retire", "revoke")
PAGE = ("show",)
OWN = ("publish", "commit", "sealed commit")
PLACES = (
    *(f"journal {name}" for name in JOURNAL),
    *(f"store {name}" for name in STORE),
    *(f"provider {name}" for name in PROVIDER),
    *(f"page {name}" for name in PAGE),
    *OWN,
)
BEFORE, AFTER = "before", "after"
NAMES = tuple(f"{when} {place}" for place in PLACES for when in (BEFORE, AFTER))
INSIDE = frozenset({f"{BEFORE} commit", f"{BEFORE} sealed commit"})  #: with a transaction open

Fate = Callable[[str], None]


def nothing(name: str) -> None:
    """It goes on."""


class Points:
    """Counts what one process passes; `fate(name)` is called at each passing."""

    def __init__(self, fate: Fate = nothing) -> None:
        self.fate = fate
        self.passed: list[str] = []

    def passing(self, name: str) -> None:
        self.passed.append(name)
        self.fate(name)

    @contextmanager
    def around(self, place: str) -> Iterator[None]:
        """What is refused has no afterwards."""
        self.passing(f"{BEFORE} {place}")
        yield
        self.passing(f"{AFTER} {place}")


class Passing:
    """Something with some of its methods watched; otherwise it is what it was."""

    def __init__(self, points: Points, room: str, names: tuple[str, ...], inner: Any) -> None:
        self._points, self._room, self._names, self._inner = points, room, names, inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._names:
            return found

        def watched(*args: Any, **words: Any) -> Any:
            with self._points.around(f"{self._room} {name}"):
                return found(*args, **words)

        return watched


def at_commits(
    points: Points, place: str, begin: Callable[[], AbstractContextManager[Any]]
) -> Callable[[], AbstractContextManager[Any]]:
    """A transaction that passes a point when all is written and not committed, and one when it is
    committed and nobody was told.
    """

    @contextmanager
    def watched() -> Iterator[Any]:
        with begin() as inside:
            yield inside
            points.passing(f"{BEFORE} {place}")
        points.passing(f"{AFTER} {place}")

    return watched
