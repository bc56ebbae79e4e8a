"""`keyman forget NAME`: a credential left the configuration; drop what is known of it."""

from __future__ import annotations

import click

from keyman.cli import terminal
from keyman.cli.reach import keyman_of
from keyman.views import Json


@click.command("forget")
@click.argument("name")
@click.option("--revoke", is_flag=True, help="destroy its secrets at the provider first")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def command(ctx: click.Context, *, name: str, revoke: bool, as_json: bool) -> None:
    """Drop the secrets and the record of a credential that left the configuration.

    Its key at the provider stays as it is, unless --revoke destroys the secrets in it first:
    keyman remembers for this how it reached the provider when NAME was last configured. If the
    provider refuses, nothing is dropped. The history stays.

    Example: keyman forget old-genai --revoke
    """
    with keyman_of(ctx) as reached:
        done = reached.forget(name, revoke=revoke)
    if as_json:
        terminal.show_json(done)
        return
    terminal.say(f"{name}: forgotten; {_provider(done) if revoke else 'its key stays as it was'}")


def _provider(done: Json) -> str:
    slots = [str(one["slot"]) for one in done["revoked"]]
    return f"revoked at the provider: {', '.join(slots)}" if slots else "nothing was left to revoke"
