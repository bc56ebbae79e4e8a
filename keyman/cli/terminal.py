"""Every word said to a person or a script at a terminal goes through here.

Tables and colour for people, JSON for programs, errors as two lines on standard error. Text that
came from outside is escaped before it is shown.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO

import click

from keyman.cli.bare import two_lines
from keyman.clock import SystemClock
from keyman.errors import STATUSES, ConfigError, Error
from keyman.telemetry import escaped

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 400  # columns, where there is no terminal to fit into
GAP = 2  # between columns
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
    two_lines(error.message, _next_move(error.hint), many=isinstance(error, ConfigError))
    return STATUSES.get(error.code, (1, 500))[0]


def warn(message: str) -> None:
    note(f"keyman: warning: {message}")


def note(message: str) -> None:
    """Something for the person at the terminal that is no part of the output."""
    print(escaped(message), file=sys.stderr)


def say(text: str = "") -> None:
    print(escaped(text))


def say_with(label: str, text: str) -> None:
    """`error: what is wrong`, its first word in colour on a terminal."""
    coloured = click.style(label, fg=COLOURS.get(label)) if colour_wanted(sys.stdout) else label
    print(f"{coloured}: {escaped(text)}")


def show_json(value: Any) -> None:
    """One line off a terminal. In ASCII, so that no character in it moves anybody's cursor."""
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None))


def _next_move(hint: str) -> str:
    """What the daemon does again by itself, nobody does once a command has ended."""
    return "run it again in a while" if hint.startswith("nothing to do: keyman") else hint


def colour_wanted(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")


Rows = Sequence[Sequence[object]]


def table(heads: Sequence[str], rows: Rows, *, spare: Sequence[str] = ()) -> None:
    """Columns as wide as they need to be; words of health and severity in colour.

    On a terminal that is too narrow the `spare` columns are left out, one after the other.
    """
    from rich.console import Console

    colour = colour_wanted(sys.stdout)
    console = Console(
        width=None if sys.stdout.isatty() else WIDE,
        color_system="auto" if colour else None,  # without one, nothing is bold either
        highlight=False,
    )
    left_out: set[str] = set()
    for head in spare:
        if _width(heads, rows, left_out) <= console.width:
            break
        left_out.add(head)
    console.print(_table(heads, rows, left_out))


def _width(heads: Sequence[str], rows: Rows, left_out: set[str]) -> int:
    columns = [
        max([len(head), *(len(_word(row[place])) for row in rows)])
        for place, head in enumerate(heads)
        if head not in left_out
    ]
    return sum(columns) + GAP * (len(columns) - 1)


def _table(heads: Sequence[str], rows: Rows, left_out: set[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    kept = [place for place, head in enumerate(heads) if head not in left_out]
    for place in kept:
        shown.add_column(heads[place], no_wrap=True)
    for row in rows:
        words = (_word(row[place]) for place in kept)
        shown.add_row(*(Text(word, style=COLOURS.get(word, "")) for word in words))
    return shown


def _word(cell: object) -> str:
    return escaped("-" if cell in (None, "") else str(cell))


def until(at: str | None, *, date: bool = False) -> str:
    """A time of the JSON the way people read it: `in 29d 3h`, with `date` that beside it."""
    if at is None:
        return "-"
    away = datetime.fromisoformat(at) - SystemClock().now()
    text = span(abs(away))
    said = f"in {text}" if away > timedelta(0) else f"{text} ago"
    return f"{said} ({moment(at)})" if date else said


def moment(at: str) -> str:
    """A time of the JSON as a clock shows it: 2026-11-21 17:48 UTC."""
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M} UTC"


def counted(number: int, what: str) -> str:
    """`1 rotation`, `2 rotations`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


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
