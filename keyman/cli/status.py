"""`keyman status`: how each credential is and what happens to it next."""

from __future__ import annotations

import time

import click

from keyman.cli import terminal
from keyman.cli.completion import names
from keyman.cli.reach import Looked, looking_at
from keyman.views import Json

AGAIN = 2.0  # seconds between two looks of --watch


@click.command("status")
@click.argument("name", required=False, shell_complete=names)
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.option("--watch", is_flag=True, help="show it again and again, until Ctrl-C")
@click.pass_context
def command(ctx: click.Context, *, name: str | None, as_json: bool, watch: bool) -> None:
    """One line a credential; with NAME its slots, its order and its last error too.

    Example: keyman status genai
    """
    while True:
        looked = looking_at(ctx)
        if watch and not as_json:
            click.clear()
        show(looked, name, as_json=as_json)
        if not watch:
            return
        time.sleep(AGAIN)


def show(looked: Looked, name: str | None, *, as_json: bool) -> None:
    if name:
        found: Json = looked.status(name)
        rows = [found]
    else:
        found = looked.every()
        rows = found["credentials"]
    if as_json:
        terminal.show_json(found)
        return
    if not looked.running:
        terminal.warn("no daemon is running: nothing rotates by itself")
    if not rows:
        terminal.say("no credentials are configured")
        return
    _overview(rows)
    if name:
        _details(found)


def _overview(rows: list[Json]) -> None:
    terminal.table(
        ["NAME", "PROVIDER", "HEALTH", "VERSION", "SLOT", "EXPIRES", "NEXT"],
        [_line(one) for one in rows],
        spare=["PROVIDER", "SLOT", "VERSION", "EXPIRES", "NEXT"],
    )


def _line(one: Json) -> list[object]:
    current = one["current"] or {}
    coming = one["next"]
    following = f"{coming['step']} {_when(coming['at'])}" if coming else None
    return [
        one["name"],
        one["provider"],
        one["health"],
        current.get("version"),
        current.get("slot"),
        terminal.until(current.get("expires_at")),
        following,
    ]


def _details(one: Json) -> None:
    if one["slots"]:
        terminal.say()
        terminal.table(
            ["SLOT", "STATE", "STAGE", "VERSION", "EXPIRES", "LAST USED"],
            [_slot(slot) for slot in one["slots"]],
            spare=["VERSION", "LAST USED", "EXPIRES"],
        )
    terminal.say()
    for label, said in _facts(one):
        terminal.say(f"{label + ':':<12} {said}")


def _when(at: str, *, date: bool = False) -> str:
    """Of what is still to come: its time may be over by a moment, as it is read or carried out."""
    said = terminal.until(at, date=date)
    return said if said.startswith("in ") else "now"


def _slot(slot: Json) -> list[object]:
    expires = terminal.until(slot["expires_at"])
    used = terminal.until(slot["last_used_at"])
    return [slot["name"], slot["state"], slot["stage"], slot["version"], expires, used]


def _facts(one: Json) -> list[tuple[str, str]]:
    """What the tables have no room for; nothing that is unknown."""
    current, coming, order = one["current"], one["next"], one["order"]
    facts = []
    if one["key_id"]:
        facts.append(("key", one["key_id"]))
    facts += [("also valid", _elsewhere(other)) for other in one.get("other_keys") or ()]
    if current:
        facts.append(("fingerprint", current["fingerprint"]))
        facts.append(("expires", terminal.until(current["expires_at"], date=True)))
    if coming:
        at = _when(coming["at"], date=True)
        facts.append(("next", f"{coming['step']} {at}: {coming['reason']}"))
    if one["key_id"] and not one["adopted"]:
        adopt = f"`keyman adopt {one['name']} --slot SLOT`"
        facts.append(("not adopted", f"give the secret in use with {adopt}"))
    if one["provider"] == "static" and not one["adopted"]:
        facts.append(("hint", f"give the secret: keyman put {one['name']}"))
    if order:
        facts.append(("order", f"{order['kind']} {order['state']} ({order['order']})"))
    facts += [("mirror", _mirror(mirror)) for mirror in one["mirrors"] or ()]
    if one["last_error"]:
        tries = terminal.counted(one["failures"], "time")
        said = f"{tries}: {one['last_error']}" if one["failures"] else one["last_error"]
        facts.append(("failed" if one["failures"] else "trouble", said))
        facts.append(("hint", one["hint"]))
    return facts


def _elsewhere(one: Json) -> str:
    """A version in a slot of a key that was replaced."""
    return f"version {one['version']} ({one['stage']}), {one['slot']} of {one['key_id']}"


def _mirror(one: Json) -> str:
    version = "nothing readable" if one["version"] is None else f"version {one['version']}"
    said = f"{one['store']} {one['state']}, {version}"
    if one["state"] == "ok":
        return said
    why = f": {one['error']}" if one["error"] else ""
    return f"{said}, since {one['since']}{why}"
