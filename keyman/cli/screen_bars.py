"""A secret's life as a bar that a person reads at a glance: what is gone, where rotation begins.

    ██████████░░░░┃░░░░░    gone, what is left, and the mark at which its replacement begins

Pure: characters and their styles, of times that are handed in. Where a terminal can't show these
characters plain ones do: `##########----|-----`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from rich.text import Text


class Glyphs(NamedTuple):
    gone: str
    left: str
    mark: str


BLOCKS = Glyphs("█", "░", "┃")
PLAIN = Glyphs("#", "-", "|")


@dataclass(frozen=True, slots=True)
class Life:
    """From `begins` to `ends`; the replacement is asked for at `due`, where that is known."""

    begins: datetime
    ends: datetime
    due: datetime | None

    def share(self, at: datetime) -> float:
        """How far a moment is along, in [0, 1]."""
        whole = self.ends - self.begins
        if whole <= timedelta(0):
            return 1.0
        return min(1.0, max(0.0, (at - self.begins) / whole))

    def style(self, now: datetime) -> str:
        """Green before its time, yellow once rotation should be under way, red when it is late."""
        if self.due is None:
            return "red" if now >= self.ends else "green"
        late = self.due + (self.ends - self.due) / 2
        return "green" if now < self.due else "yellow" if now < late else "red"


def life_of(one: Mapping[str, Any] | None, *, due: str | None = None) -> Life | None:
    """Of a version, or of a slot, as the JSON tells of it; None if its end is not known."""
    if not one or not one.get("expires_at"):
        return None
    begins = one.get("issued_at") or one.get("promoted_at")
    if not begins:
        return None
    mark = one.get("due_at") or due
    return Life(_time(begins), _time(one["expires_at"]), _time(mark) if mark else None)


def bar(
    life: Life | None,
    now: datetime,
    width: int,
    glyphs: Glyphs | None = BLOCKS,
    *,
    style: str | None = None,
) -> Text:
    """So many characters wide; blank where no end is known, empty without characters for it.

    Without a `style` its colour says how late it is.
    """
    if glyphs is None:
        return Text()
    if life is None:
        return Text(" " * width)
    full = _cells(life.share(now), width)
    drawn = glyphs.gone * full + glyphs.left * (width - full)
    colour = life.style(now) if style is None else style
    if life.due is None:
        return Text(drawn, style=colour)
    at = min(width - 1, _cells(life.share(life.due), width))
    parts = (drawn[:at], colour), (glyphs.mark, "bold"), (drawn[at + 1 :], colour)
    return Text.assemble(*parts)


def _cells(share: float, width: int) -> int:
    """Whole ones; a share that is one but for rounding counts as whole."""
    return int(share * width + 1e-9)


def legend(glyphs: Glyphs) -> str:
    return f"{glyphs.gone} gone  {glyphs.left} left  {glyphs.mark} rotation begins"


def glyphs_for(encoding: str | None) -> Glyphs:
    """The characters that a terminal of this encoding can show."""
    try:
        "".join(BLOCKS).encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return PLAIN
    return BLOCKS


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
