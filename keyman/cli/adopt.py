"""`keyman adopt NAME --slot S`: take an existing key under management without changing it."""

from __future__ import annotations

import sys

import click

from keyman.cli import terminal
from keyman.cli.reach import keyman_of
from keyman.core.model import Secret
from keyman.errors import UsageError

LONGEST = 16 * 1024


@click.command("adopt")
@click.argument("name")
@click.option("--slot", required=True, help="the slot whose secret is in use")
@click.option("--json", "as_json", is_flag=True, help="the credential's status for programs")
@click.pass_context
def command(ctx: click.Context, *, name: str, slot: str, as_json: bool) -> None:
    """Read the secret in use from standard input or a hidden prompt, probe it, keep it.

    Nothing changes at the provider, and nothing is recorded if the secret is not accepted.

    Example: pbpaste | keyman adopt genai --slot key-one
    """
    secret = read_secret(f"The secret in {slot} of {name}: ")
    with keyman_of(ctx) as reached:
        status = reached.adopt(name, slot, secret)
    if as_json:
        terminal.show_json(status)
        return
    current = status["current"]
    expires = terminal.until(current["expires_at"])
    terminal.say(f"{name}: {slot} is version {current['version']} now, expires {expires}")


def read_secret(prompt: str) -> Secret:
    """The secret from standard input (one trailing newline dropped) or a hidden prompt."""
    if sys.stdin.isatty():
        typed = click.prompt(prompt.rstrip(": "), hide_input=True, err=True)
    else:
        typed = sys.stdin.read(LONGEST + 2)
        typed = typed.removesuffix("\n")
    if not typed or any(mark in typed for mark in "\r\n\0") or len(typed) > LONGEST:
        raise UsageError(
            "that is no secret: one line, not empty, without control characters",
            hint='e.g. printf %s "$KEY" | keyman adopt NAME --slot SLOT',
        )
    return Secret(str(typed))
