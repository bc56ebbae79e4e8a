"""`get` for the command table; the work is in get.py, which must stay free of packages."""

from __future__ import annotations

import click

from keyman.cli import get


@click.command("get", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, arguments: tuple[str, ...]) -> int:
    """Print the current secret."""
    return get.main(list(arguments), ctx.obj["config"])
