"""`keyman client add NAME`, `list`, `revoke NAME`: who may look up over the network.

A token is made here, shown once, and known to the rest of keyman by its digest only.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Iterable

import click

from keyman.cli import terminal
from keyman.cli.options import Checked
from keyman.cli.reach import judged, keyman_of, looking_at, names_in
from keyman.config import values
from keyman.errors import NotFound, UsageError
from keyman.views import Json

EVERY = "*"
NAME = Checked("name", values.matching(values.NAME.pattern, "a name is a-z, 0-9, - and _"))


@click.group("client")
def command() -> None:
    """Who may look up secrets where agent.listen answers, and which.

    Example: keyman client add build --allow genai
    """


@command.command("add")
@click.argument("name", type=NAME)
@click.option("--allow", metavar="NAME,…", help="the credentials that it may look up")
@click.option("--all", "everything", is_flag=True, help="every credential, also those to come")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def add(
    ctx: click.Context, *, name: str, allow: str | None, everything: bool, as_json: bool
) -> None:
    """Let a client in and print its token, which is shown this once and not kept.

    Example: keyman client add build --allow genai,vertex > token
    """
    if (allow is not None) == everything:
        raise UsageError(
            "say what it may look up: --allow NAME,… or --all", hint="keyman client add --help"
        )
    settings = judged(ctx)
    token = f"kmc_{secrets.token_urlsafe(32)}"
    with keyman_of(ctx) as reached:
        known = settings.credentials if settings else names_in(reached)
        grants = [EVERY] if allow is None else _known(allow, known)
        added = reached.add_client(name, hashlib.sha256(token.encode()).hexdigest(), grants)
    if settings and settings.agent.listen is None:
        terminal.warn("agent.listen is not set: nobody is answered over the network yet")
    if as_json:
        terminal.show_json({**added, "token": token})
        return
    terminal.say(token)
    if sys.stdout.isatty():
        terminal.note("This is its only copy. The client finds it in KEYMAN_TOKEN, or in a file.")


def _known(listed: str, configured: Iterable[str]) -> list[str]:
    """The names of a list. Raises NotFound for one that nobody has: most likely a slip."""
    names, known = [name.strip() for name in listed.split(",")], sorted(configured)
    for name in names:
        if name not in known:
            there = ", ".join(known) or "none yet"
            raise NotFound(f"no credential {name!r}", hint=f"known: {there}")
    return names


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def list_them(ctx: click.Context, *, as_json: bool) -> None:
    """Who may look up what, since when, and who may no more.

    Example: keyman client list
    """
    found = looking_at(ctx).clients()
    if as_json:
        terminal.show_json(found)
        return
    if not found["clients"]:
        terminal.note("no clients yet: keyman client add NAME --allow CREDENTIAL,… (or --all)")
        return
    heads = ("NAME", "MAY LOOK UP", "SINCE", "LAST ASKED", "REVOKED")
    terminal.table(heads, [_row(one) for one in found["clients"]], spare=("SINCE",))


def _row(one: Json) -> tuple[object, ...]:
    grants = "everything" if EVERY in one["grants"] else ", ".join(one["grants"])
    times = (one["created_at"], one["used_at"], one["revoked_at"])
    return (one["name"], grants, *map(terminal.until, times))


@command.command("revoke")
@click.argument("name", type=NAME)
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def revoke(ctx: click.Context, *, name: str, as_json: bool) -> None:
    """End a client's token now, and whatever it is asking at the moment.

    Secrets that it was given stay valid: `keyman rotate` replaces those.

    Example: keyman client revoke build
    """
    with keyman_of(ctx) as reached:
        ended = reached.revoke_client(name)
    if as_json:
        terminal.show_json(ended)
        return
    terminal.say(f"{name}: its token is worth nothing any more")
