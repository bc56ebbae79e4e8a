"""Showing an order's receipt, and the exit status that it means. Shared by the commands that
record orders.
"""

from __future__ import annotations

import re
from datetime import timedelta

import click

from keyman.cli import terminal
from keyman.cli.reach import Reached, final
from keyman.desk import Wish
from keyman.errors import NOT_FINISHED_IN_TIME, ProviderFailed
from keyman.views import Json

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


class Duration(click.ParamType[timedelta]):
    """90d, 12h, 30m, 20s."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", str(value))
        if found is None:
            self.fail(f"{value!r} is no duration such as 90d, 12h, 30m or 20s", param, ctx)
        return timedelta(seconds=float(found[1]) * UNITS[found[2]])


def carry_out(
    reached: Reached, name: str, wish: Wish, *, timeout: timedelta, wait: bool, as_json: bool
) -> int:
    """Record the order, wait for it if asked to, show the receipt; returns the exit status."""
    receipt = reached.order(name, wish)
    if wait and not final(receipt):
        receipt = reached.wait(receipt["order"], timeout.total_seconds())
    if receipt["state"] == "failed":
        _show(receipt, as_json=as_json)
        hint = f"`keyman status {name}` says more"
        if "filled again" in (receipt["error"] or ""):
            hint = f"`keyman rotate {name} --new-key` replaces the whole API key"
        said = receipt["error"] or "the order failed"
        error = ProviderFailed(f"{name}: {said}", hint=hint)
        return terminal.complain(error)
    _show(receipt, as_json=as_json)
    if wait and not final(receipt):
        return NOT_FINISHED_IN_TIME
    return 0


def _show(receipt: Json, *, as_json: bool) -> None:
    if as_json:
        terminal.show_json(receipt)
        return
    terminal.say(_sentence(receipt))
    if receipt["error"] and receipt["state"] in ("waiting", "running"):
        terminal.say(f"not yet: {receipt['error']}")
    terminal.say(f"order {receipt['order']}")


def _sentence(receipt: Json) -> str:
    name, kind, state = receipt["name"], receipt["kind"], receipt["state"]
    came = _version(receipt["from"])
    if state == "done" and receipt["revoked"]:
        gone = ", ".join(_version(one) for one in receipt["revoked"])
        alive = receipt["alive_seconds"] or 0
        replaced = f"; lookups get {_version(receipt['to'])}" if receipt["promoted_at"] else ""
        return f"{name}: {gone} revoked, {alive:.0f} s after the order{replaced}"
    if state == "done" and receipt["promoted_at"]:
        until = receipt["until"]
        overlap = f"; the old one stays valid until {until}" if until else ""
        return f"{name}: {came} replaced by {_version(receipt['to'])}{overlap}"
    if state == "waiting" and receipt["until"]:
        return f"{name}: {kind} recorded; it begins at {receipt['until']}, when the overlap ends"
    return f"{name}: {kind} {state}"


def _version(one: Json) -> str:
    slot = f" ({one['slot']})" if one.get("slot") else ""
    return f"version {one['version']}{slot}"
