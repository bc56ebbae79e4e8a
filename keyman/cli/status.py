"""`keyman status`: how each credential is and what happens to it next."""

from __future__ import annotations

import click

from keyman.cli import terminal
from keyman.cli.reach import keyman_of
from keyman.views import Json


@click.command("status")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def command(ctx: click.Context, *, name: str | None, as_json: bool) -> None:
    """One line a credential; with NAME its slots, its order and its last error too.

    Example: keyman status genai
    """
    with keyman_of(ctx) as reached:
        found = [reached.status(name)] if name else reached.statuses()
        running = {"running": reached.running, "since": reached.since()}
    if as_json:
        terminal.show_json(found[0] if name else {"daemon": running, "credentials": found})
        return
    if not reached.running:
        terminal.warn("no daemon is running: nothing rotates by itself")
    if not found:
        terminal.say("no credentials are configured; config.example.yaml shows how")
        return
    terminal.table(
        ["NAME", "PROVIDER", "HEALTH", "VERSION", "SLOT", "EXPIRES", "NEXT"],
        [_line(one) for one in found],
    )
    if name:
        _details(found[0])


def _line(one: Json) -> list[object]:
    current = one["current"] or {}
    coming = one["next"]
    following = f"{coming['step']} {terminal.until(coming['at'])}" if coming else None
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
            [
                [
                    slot["name"],
                    slot["state"],
                    slot["stage"],
                    slot["version"],
                    terminal.until(slot["expires_at"]),
                    terminal.until(slot["last_used_at"]),
                ]
                for slot in one["slots"]
            ],
        )
    if one["next"]:
        terminal.say(f"\nnext: {one['next']['step']}, {one['next']['reason']}")
    if not one["adopted"] and one["key_id"]:
        terminal.say("not adopted: give the secret in use with `keyman adopt`")
    if one["order"]:
        order = one["order"]
        terminal.say(f"order: {order['kind']} {order['state']} ({order['order']})")
    if one["last_error"]:
        terminal.say(f"failed {one['failures']} times: {one['last_error']}")
        terminal.say(f"hint: {one['hint']}")
