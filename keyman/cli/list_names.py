"""`keyman list`: the names, one a line."""

from __future__ import annotations

import click

from keyman.cli import terminal
from keyman.cli.reach import judged, looking_at, mention_url, names_in
from keyman.config.places import where_to_write


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="a JSON array")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """The names of the configured credentials, one a line.

    Example: keyman list
    """
    settings = judged(ctx)
    if settings:
        mention_url()
    names = sorted(settings.credentials) if settings else names_in(looking_at(ctx))
    if as_json:
        terminal.show_json(names)
        return
    if settings and not names:
        terminal.note(f"no credentials: {where_to_write(settings.source)}")
    for name in names:
        terminal.say(name)
