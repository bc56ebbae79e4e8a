"""Every word said to a person or a script at a terminal goes through here.

Tables and colour for people, JSON for programs, errors as two lines on standard error. Text that
came from outside is escaped before it is shown.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TextIO

from keyman.clock import SystemClock
from keyman.errors import STATUSES, Error
from keyman.telemetry import escaped

COLOURS = {
    "ok": "green",
    "due": "cyan",
    "rotating": "cyan",
    "failing": "yellow",
    "at-risk": "yellow",
    "down": "red",
    "error": "red",
    "warning": "yellow",
    "info": "cyan",
}


def complain(error: Error, *, as_json: bool = False) -> int:
    """Say what went wrong and what to do next; returns the exit status."""
    if as_json:
        show_json(error.as_json())
    sys.stdout.flush()
    print(f"keyman: error: {_lines(error.message)}", file=sys.stderr)
    print(f"keyman: hint: {_lines(error.hint)}", file=sys.stderr)
    return STATUSES.get(error.code, (1, 500))[0]


def _lines(text: str) -> str:
    """Line breaks of our own stay (lists of mistakes); everything else is made visible."""
    return "\n".join(escaped(line) for line in text.split("\n"))


def warn(message: str) -> None:
    print(f"keyman: warning: {escaped(message)}", file=sys.stderr)


def say(text: str = "") -> None:
    print(escaped(text))


def show_json(value: Any) -> None:
    print(json.dumps(value, indent=None if not sys.stdout.isatty() else 2, ensure_ascii=False))


def colour_wanted(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as they need to be; words of health and severity in colour."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        shown.add_column(head, overflow="fold", no_wrap=True)
    for row in rows:
        words = [escaped("-" if cell is None else str(cell)) for cell in row]
        shown.add_row(*(Text(word, style=COLOURS.get(word, "")) for word in words))
    colour = colour_wanted(sys.stdout)
    width = None if sys.stdout.isatty() else 400
    console = Console(width=width, no_color=not colour, highlight=False, soft_wrap=not colour)
    console.print(shown)


def until(moment: str | None, now: datetime | None = None) -> str:
    """A time of the JSON the way people read it: `in 29d 3h (2026-12-20 10:00Z)`."""
    if moment is None:
        return "-"
    at = datetime.fromisoformat(moment)
    away = at - (now or SystemClock().now())
    text = span(abs(away))
    when = at.strftime("%Y-%m-%d %H:%MZ")
    return f"{f'in {text}' if away > timedelta(0) else f'{text} ago'} ({when})"


def span(length: timedelta) -> str:
    """Two units are enough for a person: 29d 3h, 4m 10s."""
    seconds = int(length.total_seconds())
    sizes = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
    parts: list[str] = []
    for size, unit in sizes:
        if seconds >= size or (parts and len(parts) < 2):
            parts.append(f"{seconds // size}{unit}")
            seconds %= size
        if len(parts) == 2:
            break
    return " ".join(parts) or "0s"
