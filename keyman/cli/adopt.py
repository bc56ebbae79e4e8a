"""`keyman adopt NAME --slot S`: take an existing key under management without changing it."""

from __future__ import annotations

import sys

import click

from keyman.cli import terminal
from keyman.cli.completion import names
from keyman.cli.reach import judged, keyman_of
from keyman.core.entrusting import place_to_adopt
from keyman.core.model import Credential, Secret
from keyman.desk import Entrusted
from keyman.errors import UsageError
from keyman.stores.limits import MAX_BYTES


@click.command("adopt")
@click.argument("name", shell_complete=names)
@click.option("--slot", help="the slot whose secret is in use (OCI)")
@click.option("--key-id", help="the id of the key that is in use (OpenAI)")
@click.option("--take-over", is_flag=True, help="even if another installation's mark is on the key")
@click.option("--json", "as_json", is_flag=True, help="the credential's status for programs")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    name: str,
    slot: str | None,
    key_id: str | None,
    take_over: bool,
    as_json: bool,
) -> None:
    """Read the secret in use from standard input or a hidden prompt, probe it, keep it.

    Nothing changes at the provider, and nothing is recorded if the secret is not accepted.

    Example: pbpaste | keyman adopt genai --slot key-one
    """
    from keyman.wiring import configured

    settings = judged(ctx)
    if settings:
        place_to_adopt(Credential(configured(settings, name).spec("")), slot, key_id)
    where = slot or key_id
    secret = read_secret(f"The secret in {where} of {name}: ")
    with keyman_of(ctx) as reached:
        status = reached.adopt(name, Entrusted(secret, slot, key_id, take_over))
    if as_json:
        terminal.show_json(status)
        return
    current = status["current"] or {}
    ends = current.get("expires_at")
    expires = f", expires {terminal.until(ends, date=True)}" if ends else ""
    terminal.say(f"{name}: {where} is version {current.get('version', 1)} now{expires}")


def read_secret(prompt: str, command: str = "adopt NAME --slot SLOT") -> Secret:
    """The secret from standard input (one trailing newline dropped) or a hidden prompt."""
    if sys.stdin.isatty():
        typed = str(click.prompt(prompt.rstrip(": "), hide_input=True, err=True))
    else:
        typed = _piped()
    if len(typed.encode(errors="replace")) > MAX_BYTES:
        raise UsageError(
            f"that is longer than {MAX_BYTES} bytes, the most that a secret may have",
            hint="look at what is piped in: a file with more than the secret in it?",
        )
    if not typed or not typed.isprintable():
        raise UsageError(
            "that is no secret: one line, not empty, without control characters",
            hint=f'e.g. printf %s "$KEY" | keyman {command}',
        )
    return Secret(typed)


def _piped() -> str:
    raw = sys.stdin.buffer.read(MAX_BYTES + 3)
    line = raw.removesuffix(b"\n")
    try:
        return line.removesuffix(b"\r").decode() if line != raw else raw.decode()
    except UnicodeDecodeError:
        return ""
