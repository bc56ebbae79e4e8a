"""Text from outside made harmless, for a terminal, a mail and a chat alike; and how lengths and
moments are written there. Pure.

No character that moves a cursor, hides or turns writing, marks up, or calls somebody gets through,
and no address that a reader could be led to by a click.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from keyman.telemetry import SECRET_SHAPES, escaped

TEXT_AT_MOST = 300  # characters

_CALLING = {"<": "\u2039", ">": "\u203a", "*": "\u2217", "&": "\uff06", "@": "\uff20"}
OF_HINTS = str.maketrans(_CALLING)  # ours: commands stand in backticks, extras in brackets
_MARKUP = str.maketrans(_CALLING | {"[": "(", "]": ")", "`": "'"})
_ADDRESS = re.compile(r"(?<=[A-Za-z0-9._-])\uff20(?=[a-z0-9-]+\.[a-z])")  # calls nobody
_LINK = re.compile(r"(?i)(?<=:)(?=//)|(?<=\bwww)(?=\.)")  # where it is broken


def hint(text: str, limit: int) -> str:
    """A next move: like `harmless`, but commands can be pasted, mail addresses in them too."""
    return _ADDRESS.sub("@", harmless(text, limit, OF_HINTS)).replace("](", "] (")  # no link either


def harmless(text: str, limit: int = TEXT_AT_MOST, markup: dict[int, str] = _MARKUP) -> str:
    """One line of plain text, whatever it was; secrets that can be recognised are masked."""
    masked = SECRET_SHAPES.sub("···", text[: limit * 4])
    seen = _LINK.sub(" ", escaped(masked)).translate(markup)
    return seen if len(seen) <= limit else seen[: limit - 1] + "…"


def span(length: timedelta) -> str:
    """Two units are enough for a person: 29d 3h, 4m 10s."""
    seconds = max(int(length.total_seconds()), 0)
    said: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if seconds >= size or said:
            said.append(f"{seconds // size}{unit}")
            seconds %= size
    return " ".join(said[:2]) or "0s"


def clock_text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
