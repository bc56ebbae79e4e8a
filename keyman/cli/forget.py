"""`keyman forget NAME`: a credential left the configuration; drop what is known of it."""

from __future__ import annotations

import click

from keyman.cli import terminal
from keyman.cli.reach import keyman_of
from keyman.errors import StoreFailed
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
    provider refuses, nothing is dropped. A store that can't be asked is named: forget it again
    later. The history stays.

    Example: keyman forget old-genai --revoke
    """
    with keyman_of(ctx) as reached:
        done = reached.forget(name, revoke=revoke)
    if as_json:
        terminal.show_json(done)
    else:
        what = "forgotten" if done["forgotten"] else "not all forgotten"
        at_provider = _provider(done) if revoke else "its key stays as it was"
        terminal.say(f"{name}: {what}; {at_provider}")
    if done["left"]:
        ctx.exit(terminal.complain(_unfinished(done)))


def _unfinished(done: Json) -> StoreFailed:
    """In the words of the first; the others are told when it answers."""
    first, *others = done["left"]
    more = f" (and in {', '.join(one['store'] for one in others)})" if others else ""
    what = f"what {first['store']} has of it is left there{more}: {first['error']}"
    return StoreFailed(f"{done['name']}: {what}", hint=first["hint"])


def _provider(done: Json) -> str:
    slots = [str(one["slot"]) for one in done["revoked"]]
    return f"revoked at the provider: {', '.join(slots)}" if slots else "nothing was left to revoke"
