"""`keyman reload`: have the daemon take up a changed configuration."""

from __future__ import annotations

import click

from keyman.cli import terminal
from keyman.cli.reach import Remote, settings_of
from keyman.errors import NotRunning


@click.command("reload")
@click.pass_context
def command(ctx: click.Context) -> None:
    """The daemon reads its configuration again, and keeps the old one if it has mistakes.

    Example: keyman reload
    """
    remote = Remote(settings_of(ctx))
    if not remote.running:
        raise NotRunning("no keyman daemon answers")
    remote.reload()
    terminal.say("the daemon works by the configuration as it is now")
