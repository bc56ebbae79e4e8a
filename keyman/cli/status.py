"""`keyman status`: how each credential is and what happens to it next."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from typing import TYPE_CHECKING

import click

from keyman.cli import terminal
from keyman.cli.completion import names
from keyman.cli.options import Checked
from keyman.cli.screen_looks import AGAIN, Found, Source, Wanted, again, tell_changes
from keyman.cli.screen_rows import URGENCY, Chosen, by_urgency, is_pattern, next_words, wrong_words
from keyman.clock import SystemClock
from keyman.errors import Error
from keyman.providers import KINDS
from keyman.views import Json

if TYPE_CHECKING:
    from rich.text import Text

    from keyman.cli.screen_layout import Room

CLOCK = SystemClock()


def _healths(raw: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in raw.split(","))
    if unknown := [word for word in words if word not in URGENCY]:
        raise ValueError(f"{unknown[0]!r} is no health: {', '.join(URGENCY)}")
    return words


@click.command("status")
@click.argument("name", required=False, shell_complete=names)
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.option("--watch", is_flag=True, help="again every 2 seconds, until q or Ctrl-C")
@click.option(
    "--health",
    "healths",
    type=Checked("words", _healths),
    multiple=True,
    help=f"only those that are so: {', '.join(URGENCY)}; several with commas",
)
@click.option("--unwell", is_flag=True, help="only those that need somebody")
@click.option("--provider", type=click.Choice(list(KINDS)), help="only those of this kind")
@click.option("--all", "everything", is_flag=True, help="all of them, however long the list is")
@click.pass_context
def command(  # noqa: PLR0913 - one per option of the interface
    ctx: click.Context,
    *,
    name: str | None,
    as_json: bool,
    watch: bool,
    healths: tuple[tuple[str, ...], ...],
    unwell: bool,
    provider: str | None,
    everything: bool,
) -> None:
    """One screen, the most urgent first; with NAME one credential in full, with its slots.

    NAME may be a pattern in quotes: 'gen*' shows those whose names begin so. On a terminal the list
    ends where the screen does, and its last line says what is left out; --all shows every one.

    Example: keyman status --watch --unwell
    """
    pattern = name if name and is_pattern(name) else None
    words = tuple(word for given in healths for word in given)
    wanted = Wanted(
        None if pattern else name, Chosen(pattern, words, unwell, provider), everything=everything
    )
    wanted.refuse_contradictions()
    source = Source(ctx, wanted)
    if not watch:
        show(source.look(), wanted, as_json=as_json)
    elif as_json:
        _tell_again(source)
    else:
        _watch(source, wanted)


# Once.


def show(found: Found, wanted: Wanted, *, as_json: bool) -> None:
    if as_json:
        terminal.show_json(found.json)
        return
    if not found.running:
        terminal.warn("no daemon is running: nothing rotates by itself")
    for one in found.json.get("notify") or ():
        if one["error"]:
            terminal.warn(f"{one['name']} can't be told what happens: {one['error']}")
    _print(found, wanted)


def _print(found: Found, wanted: Wanted) -> None:
    from keyman.cli import screen

    if not found.rows:
        terminal.say(_none(found, wanted))
    elif wanted.name is None and not screen.on_a_terminal():
        _table(found.rows)
    else:
        screen.print_lines(_drawn(found, wanted)(_room(wanted)))


def _none(found: Found, wanted: Wanted) -> str:
    if not found.total:
        return "no credentials are configured"
    return f"none of {terminal.counted(found.total, 'credential')}: {wanted.chosen.said}"


def _room(wanted: Wanted) -> Room:
    """A credential in full is printed in full; a list as far as the screen goes."""
    from keyman.cli import screen
    from keyman.cli.screen_layout import Room

    if not screen.on_a_terminal():
        return Room(terminal.WIDE, None, None)
    page = screen.page()
    return Room(page.width, None, page.glyphs) if wanted.everything or wanted.name else page


def _drawn(
    found: Found, wanted: Wanted, notes: Sequence[str] = (), *, old: bool = False
) -> Callable[[Room], list[Text]]:
    """As lines, for whatever room there is. `old`: nobody answers any more."""
    from keyman.cli.screen_lanes import details
    from keyman.cli.screen_layout import Picture, overview

    now, at = CLOCK.now(), found.at if old else None
    picture = Picture(found.rows, found.total, found.daemon, wanted.chosen, notes, at)
    how = overview if wanted.name is None else details
    return lambda room: how(picture, now, room)


def _table(rows: list[Json]) -> None:
    """For pipes: every one, without bars; trouble has a column where there is any."""
    heads = ["NAME", "PROVIDER", "HEALTH", "VERSION", "SLOT", "EXPIRES", "NEXT", "TROUBLE"]
    cells = [_cells(one) for one in by_urgency(rows)]
    width = len(heads) if any(row[-1] for row in cells) else len(heads) - 1
    terminal.table(heads[:width], [row[:width] for row in cells])


def _cells(one: Json) -> list[object]:
    current = one["current"] or {}
    return [
        one["name"],
        one["provider"],
        one["health"],
        current.get("version"),
        current.get("slot"),
        terminal.until(current.get("expires_at")),
        next_words(one, CLOCK.now()),
        wrong_words(one),
    ]


# Again and again.


def _watch(source: Source, wanted: Wanted) -> None:
    from keyman.cli import screen

    found = source.look()  # what is wrong from the start is said as by any other command
    if not screen.on_a_terminal():
        tell_changes(again(source, found), lambda found: _print(found, wanted))
        return
    with screen.opened() as opened:
        opened.show(_drawn(found, wanted))
        while opened.rest(AGAIN):
            found, drawn = _looked_again(source, wanted, found)
            opened.show(drawn)


def _looked_again(
    source: Source, wanted: Wanted, last: Found
) -> tuple[Found, Callable[[Room], list[Text]]]:
    """The next picture, or the last one with what went wrong under it. Nothing else is printed."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            found = source.look()
    except Error as error:
        notes = (error.message, f"hint: {error.hint}")
        return last, _drawn(last, wanted, notes, old=True)
    return found, _drawn(found, wanted, said.getvalue().splitlines())


def _tell_again(source: Source) -> None:
    """The JSON of each look."""
    while True:
        terminal.show_json(source.look().json)
        CLOCK.sleep(AGAIN)
