"""`keyman history [NAME]`: what happened, when, by whom, why, and how long it took.

Reads the journal past the daemon: the history is nothing that lookups are made of, so the agent
does not serve it, and who may read the file may read it here.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta

import click

from keyman.cli import terminal
from keyman.cli.completion import names
from keyman.cli.options import DURATION
from keyman.cli.reach import settings_of
from keyman.clock import SystemClock
from keyman.config import Settings, values
from keyman.config.places import look_at
from keyman.db.journal import Event, Head, Journal
from keyman.db.sqlite import path_of
from keyman.errors import NotFound
from keyman.telemetry import escaped
from keyman.views import Json, time_text

SHOWN = 50
NO_END = 10_000_000  # entries; more than are ever kept
HEADS = ("WHEN (UTC)", "CREDENTIAL", "WHAT", "VERSION", "BY", "TOOK")
WHO, SHORTEST = 1, 8  # the column that gives way, and how many characters it keeps
ROOM = 24  # columns that a reason needs to stand beside what it is about


@click.command("history")
@click.argument("name", required=False, shell_complete=names)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help=f"the newest so many (else {SHOWN})"
)
@click.option("--since", type=DURATION, metavar="D", help="all of the last 12h, 30d …")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    name: str | None,
    limit: int | None,
    since: timedelta | None,
    as_json: bool,
) -> None:
    """What happened, when, by whom, why, and how long a provider or a store took for it.

    Oldest first; lookups are not in it. `keyman audit verify` proves that nobody edited it.

    Example: keyman history genai --since 30d
    """
    settings = settings_of(ctx, quiet=True)
    most = limit or (NO_END if since else SHOWN)
    found = _found(settings, name, most + 1, since)
    if name and not found and name not in settings.credentials:
        raise NotFound(f"nothing is known of {name!r}", hint="`keyman history` shows all there is")
    entries = [_as_json(head, event) for head, event in found[-most:]]
    if as_json:
        terminal.show_json({"entries": entries})
        return
    if not entries:
        terminal.say("nothing happened")
        return
    if len(found) > most:
        terminal.note("there are older ones: --limit N or --since D shows them")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in table(entries, width, one=bool(name)):
        terminal.say(line)


def _found(
    settings: Settings, name: str | None, most: int, since: timedelta | None
) -> list[tuple[Head, Event]]:
    """The newest, oldest first. Nothing where keyman never ran, or of what can't be a name."""
    known = name is None or values.NAME.fullmatch(name)
    if not known or look_at(path_of(settings.database)) is None:
        return []
    earliest = SystemClock().now() - since if since is not None else None
    with closing(Journal.open(settings.database, migrate=False, read_only=True)) as journal:
        return journal.history(name, most, earliest)


def _as_json(head: Head, event: Event) -> Json:
    return {
        "entry": head.seq,
        "at": time_text(event.at),
        "credential": event.name or None,
        "what": event.kind,
        "version": event.version,
        "slot": event.slot,
        "by": event.by or None,
        "reason": event.reason,
        "detail": event.detail,
        "took": event.took.total_seconds() if event.took is not None else None,
        "hash": head.hash,
    }


# For people.


def table(entries: Sequence[Json], width: int | None, *, one: bool = False) -> list[str]:
    """Lines of at most `width` columns, or one line an entry where there is no terminal; of `one`
    credential without its name. A reason that has no room stands below what it is about.
    """
    dropped = {WHO} if one else set[int]()
    rows = [_cells(entry) for entry in entries]
    widths = [max(len(row[place]) for row in (HEADS, *rows)) for place in range(len(HEADS))]
    over = sum(widths) + 2 * (len(widths) - 1) - (width or sys.maxsize)
    if over > 0 and not one:
        widths[WHO] = max(SHORTEST, widths[WHO] - over)

    def line(cells: Sequence[str]) -> str:
        shown = [
            _cut(cell, space).ljust(space)
            for place, (cell, space) in enumerate(zip(cells, widths, strict=True))
            if place not in dropped
        ]
        return "  ".join(shown)

    lines = [_with_why(line(HEADS), "WHY", width)[0]]
    for entry, cells in zip(entries, rows, strict=True):
        lines += _with_why(line(cells), _why(entry), width)
    return lines


def _cells(entry: Json) -> tuple[str, ...]:
    at = str(entry["at"]).rstrip("Z").replace("T", " ")
    which = " ".join(str(one) for one in (entry["version"], entry["slot"]) if one is not None)
    by = re.sub(r"uid \d+ \((.+)\)", r"\1", entry["by"] or "")
    cells = (at, entry["credential"], entry["what"], which, by, _took(entry["took"]))
    return tuple(escaped(cell or "-") for cell in cells)


def _took(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{1000 * seconds:.0f}ms" if seconds < 1 else f"{seconds:.1f}s"


def _why(entry: Json) -> str:
    said = (entry["reason"], entry["detail"])
    return escaped("; ".join(one for one in said if one))


def _cut(cell: str, space: int) -> str:
    return cell if len(cell) <= space else f"{cell[: space - 1]}…"


def _with_why(line: str, why: str, width: int | None) -> list[str]:
    beside = f"{line}  {why}".rstrip()
    if width is None or len(beside) <= width:
        return [beside]
    if width - len(line) - 2 >= ROOM:
        parts = textwrap.wrap(why, width - len(line) - 2)
        return [f"{line}  {parts[0]}", *(f"{'':{len(line) + 2}}{part}" for part in parts[1:])]
    below = textwrap.wrap(why, width, initial_indent="    ", subsequent_indent="    ")
    return [line.rstrip(), *below]
