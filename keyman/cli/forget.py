"""`keyman forget NAME`: a credential left the configuration; drop what is known of it."""

from __future__ import annotations

import click

from keyman.cli import terminal
from keyman.cli.reach import keyman_of


@click.command("forget")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def command(ctx: click.Context, *, name: str, as_json: bool) -> None:
    """Its secrets leave the store; the provider's key stays as it is.

    Example: keyman forget old-genai
    """
    with keyman_of(ctx) as reached:
        done = reached.forget(name)
    if as_json:
        terminal.show_json(done)
        return
    terminal.say(f"{name}: forgotten; its key at the provider is as it was")
