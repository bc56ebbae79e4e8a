"""`keyman plan`: what will happen, when and why, as a table, as JSON and as a picture."""

from __future__ import annotations

import re
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyman.cli import terminal
from keyman.cli.completion import names
from keyman.cli.options import Checked
from keyman.cli.reach import settings_of
from keyman.cli.screen_rows import is_pattern
from keyman.config import Settings, values
from keyman.errors import NotFound, UsageError

if TYPE_CHECKING:
    from keyman.planning import Plan

YEAR = timedelta(days=365)
LONGEST = 10 * YEAR
YEARS = re.compile(r"([0-9]{1,3})y")


def _horizon(raw: str) -> timedelta:
    found = YEARS.fullmatch(raw)
    ahead = int(found[1]) * YEAR if found else _some_time(raw)
    if ahead > LONGEST:
        raise ValueError("must not be longer than 10y: who knows what keys are then")
    return ahead


def _some_time(raw: str) -> timedelta:
    try:
        return values.some_time(raw)
    except ValueError as error:
        raise ValueError(str(error).replace("90d, 12h, 30m or 20s", "1y, 90d or 12h")) from None


@click.command("plan")
@click.argument("name", required=False, shell_complete=names)
@click.option(
    "--until",
    "ahead",
    type=Checked("duration", _horizon),
    default=timedelta(days=90),
    help="how far ahead; 90d unless given",
)
@click.option(
    "--plot",
    "picture",
    metavar="FILE.svg",
    type=click.Path(dir_okay=False, path_type=Path),
    help="draw it, as a timeline for each credential",
)
@click.option("--json", "as_json", is_flag=True, help="every step, for programs")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    name: str | None,
    ahead: timedelta,
    picture: Path | None,
    as_json: bool,
) -> None:
    """What will be done by itself, computed by the code that will do it.

    Asks no provider and changes nothing: it supposes that every step goes well, and warns of what
    goes wrong even so. NAME may be a pattern in quotes, such as 'gen*'.

    Example: keyman plan --until 1y --plot plan.svg
    """
    from keyman.planning import plan

    settings = settings_of(ctx, quiet=True)
    found = plan(settings, _meant(settings, name), ahead)
    if picture is not None:
        _draw(found, picture)
    if as_json:
        terminal.show_json(found.as_json())
        return
    if picture is None:
        _show(found)
    else:
        many = terminal.counted(len(found.outlooks), "credential")
        terminal.say(f"{many} drawn to {picture}, up to {found.until:%Y-%m-%d %H:%MZ}")
    _warn(found)


def _meant(settings: Settings, name: str | None) -> list[str]:
    """Raises NotFound if a pattern matches nothing."""
    every = sorted(settings.credentials)
    if name is None:
        return every
    if not is_pattern(name):
        return [name]
    found = [one for one in every if fnmatchcase(one, name)]
    if not found:
        known = ", ".join(every) or "none yet"
        raise NotFound(f"no credential matches {name!r}", hint=f"known: {known}")
    return found


def _draw(plan: Plan, picture: Path) -> None:
    from keyman.planning.picture import svg
    from keyman.planning.timeline import timeline

    try:
        picture.write_text(svg(timeline(plan)), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{picture} can't be written: {error.strerror}", hint="name another file"
        ) from None


def _show(plan: Plan) -> None:
    from keyman.planning.rows import HEADS, rows

    lines = [row.cells for row in rows(plan)]
    if not plan.outlooks:
        terminal.say("no credentials are configured")
    elif not lines:
        terminal.say(f"nothing is to be done up to {plan.until:%Y-%m-%d %H:%MZ}")
    else:
        terminal.table(HEADS, lines, spare=["WHY", "SLOT"])


def _warn(plan: Plan) -> None:
    """What the plan itself shows to go wrong, with what to do about it."""
    for name, trouble in plan.troubles:
        until = f" to {trouble.until:%Y-%m-%d %H:%MZ}" if trouble.until else ""
        at = f"{trouble.at:%Y-%m-%d %H:%MZ}{until}"
        terminal.say_with("warning", f"{name}, {at}: {trouble.what}")
        terminal.say(f"  {trouble.hint}")
