"""Looking at credentials once or again and again: what is wanted, what was found, what has changed.

Knows nothing of screens. A daemon that was found once is not looked for again while it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import click

from keyman.cli import terminal
from keyman.cli.reach import Looked, looking_at
from keyman.cli.screen_rows import Chosen, wrong_words
from keyman.clock import SystemClock
from keyman.errors import NotFound, NotRunning, UsageError
from keyman.views import Json

AGAIN = 2.0  # seconds between two looks
CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Wanted:
    """One credential by its name, or those of many that were chosen."""

    name: str | None
    chosen: Chosen
    everything: bool = False

    def refuse_contradictions(self) -> None:
        if self.name and self.chosen:
            hint = "leave out the filters, or give a pattern: 'gen*'"
            said = f"{self.name} is one credential: there is nothing to filter"
            raise UsageError(said, hint=hint)


@dataclass(frozen=True, slots=True)
class Found:
    """What one look found: the JSON to show, its credentials, and how many there are in all."""

    json: Json
    rows: list[Json]
    total: int
    daemon: Json
    at: datetime

    @property
    def running(self) -> bool:
        return bool(self.daemon["running"])


class Source:
    """Looks, as often as it is asked to; a daemon that was found once is not looked for again."""

    def __init__(self, ctx: click.Context, wanted: Wanted) -> None:
        self._ctx = ctx
        self._wanted = wanted
        self._looked: Looked | None = None

    def look(self) -> Found:
        """Raises NotFound if there is no such credential, or none of that pattern."""
        known = self._looked
        if known is None or not known.running:  # one may have been started meanwhile
            known = self._looked = looking_at(self._ctx)
            return self._found(known)
        try:
            return self._found(known)
        except NotRunning:
            self._looked = looking_at(self._ctx)
            return self._found(self._looked)

    def _found(self, looked: Looked) -> Found:
        name, chosen = self._wanted.name, self._wanted.chosen
        if name is not None:
            one = looked.status(name)
            daemon = {"running": looked.running, "since": None}
            return Found(one, [one], 1, daemon, CLOCK.now())
        found = looked.every()
        every = found["credentials"]
        rows = [one for one in every if chosen.takes(one)]
        if chosen.pattern and not any(Chosen(chosen.pattern).takes(one) for one in every):
            known = ", ".join(one["name"] for one in every) or "none yet"
            raise NotFound(f"no credential matches {chosen.pattern!r}", hint=f"known: {known}")
        shown = found | {"credentials": rows}
        return Found(shown, rows, len(every), found["daemon"], CLOCK.now())


def tell_changes(looks: Iterable[Found], tell: Callable[[Found], None]) -> None:
    """Off a terminal: tell of a look if more than time has changed since the last one told of."""
    told: list[object] | None = None
    for found in looks:
        if told != _what_counts(found):
            terminal.say(f"{found.at:%Y-%m-%dT%H:%M:%SZ}")
            tell(found)
            told = _what_counts(found)


def _what_counts(found: Found) -> list[object]:
    return [
        (one["name"], one["health"], one["current"] and one["current"]["version"], wrong_words(one))
        for one in found.rows
    ]


def again(source: Source, found: Found) -> Iterator[Found]:
    """This look, and every one that comes to something; never ends by itself."""
    said = ""
    while True:
        yield found
        CLOCK.sleep(AGAIN)
        try:
            found, said = source.look(), ""
        except NotRunning as error:
            if error.message != said:  # what was said once is not said every other second
                terminal.warn(f"{error.message}; asking again")
            said = error.message
