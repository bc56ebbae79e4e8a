"""`keyman reload`: have the daemon take up a changed configuration."""

from __future__ import annotations

import click

from keyman.cli import terminal
from keyman.cli.reach import daemon_of, in_spite_of, refuse_silent_daemon, settings_of
from keyman.cli.remote import Remote
from keyman.errors import ConfigError, NotRunning


@click.command("reload")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """The daemon reads its configuration again, and keeps the old one if it has mistakes.

    Example: keyman reload
    """
    names = _daemon(ctx).reload()["credentials"]
    if as_json:
        terminal.show_json({"credentials": names})
        return
    terminal.say(
        f"the daemon works by the new configuration: {', '.join(names) or 'nothing in it'}"
    )


def _daemon(ctx: click.Context) -> Remote:
    """It reads with its own eyes: mistakes as seen from here are not what counts.

    Raises NotRunning, or ConfigError if nobody is there to judge.
    """
    try:
        settings = settings_of(ctx)
    except ConfigError as mistake:
        return in_spite_of(ctx, mistake)
    remote = daemon_of(settings)
    if remote is not None:
        return remote
    refuse_silent_daemon(settings)
    raise NotRunning(
        "no keyman daemon answers",
        hint="nothing to do: the next command or `keyman daemon` reads the configuration anew",
    )
