"""`keyman reload`: have the daemon take up a changed configuration."""

from __future__ import annotations

import click

from keyman.cli import terminal
from keyman.cli.reach import daemon_of, settings_of
from keyman.errors import NotRunning


@click.command("reload")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """The daemon reads its configuration again, and keeps the old one if it has mistakes.

    Example: keyman reload
    """
    remote = daemon_of(settings_of(ctx))
    if remote is None:
        raise NotRunning(
            "no keyman daemon answers",
            hint="nothing to do: the next command or `keyman daemon` reads the configuration anew",
        )
    names = remote.reload()["credentials"]
    if as_json:
        terminal.show_json({"credentials": names})
        return
    terminal.say(
        f"the daemon works by the new configuration: {', '.join(names) or 'nothing in it'}"
    )
