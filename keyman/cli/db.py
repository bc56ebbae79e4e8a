"""`keyman db upgrade`: bring the journal's schema up to this version."""

from __future__ import annotations

import click

from keyman.cli import terminal
from keyman.cli.reach import settings_of


@click.group("db")
def command() -> None:
    """Look after the journal.

    Example: keyman db upgrade
    """


@command.command("upgrade")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def upgrade(ctx: click.Context, *, as_json: bool) -> None:
    """Migrate the journal, as the daemon does when it starts.

    Example: keyman db upgrade
    """
    from keyman.app import upgrade_journal

    revision = upgrade_journal(settings_of(ctx, quiet=True))
    if as_json:
        terminal.show_json({"revision": revision})
        return
    terminal.say(f"the journal is at revision {revision}")
