"""Showing an order's receipt, and the exit status that it means. Shared by the commands that
record orders.
"""

from __future__ import annotations

from datetime import timedelta

from keyman.cli import terminal
from keyman.cli.reach import Reached
from keyman.desk import Wish
from keyman.errors import NOT_FINISHED_IN_TIME, ProviderFailed
from keyman.views import Json, final


def carry_out(
    reached: Reached, name: str, wish: Wish, *, timeout: timedelta, wait: bool, as_json: bool
) -> int:
    """Record the order, wait for it if asked to, show the receipt; returns the exit status."""
    receipt = reached.order(name, wish)
    if wait and not final(receipt):
        receipt = reached.wait(receipt["order"], timeout.total_seconds())
    if as_json:
        terminal.show_json(receipt)
    return outcome(reached, receipt, waited=wait, told=as_json)


def outcome(reached: Reached, receipt: Json, *, waited: bool, told: bool) -> int:
    """The exit status that a receipt means; said in words unless it was `told` as JSON."""
    if receipt["state"] == "failed":
        return terminal.complain(_failure(reached, receipt))
    if not told:
        _show(receipt, reached.status(receipt["name"])["hint"] if _held_up(receipt) else None)
    if waited and receipt["kind"] == "revoke" and _left_without(reached, receipt["name"]):
        terminal.note(f"{receipt['name']} has no usable secret yet: `keyman daemon` goes on")
        return NOT_FINISHED_IN_TIME
    if not reached.running and _something_is_left(receipt):
        terminal.warn("no daemon is running: `keyman daemon` goes on with what is left to do")
    return NOT_FINISHED_IN_TIME if waited and not final(receipt) else 0


def _something_is_left(receipt: Json) -> bool:
    """The order itself, or the end of an overlap that it began."""
    overlaps = receipt["kind"] != "revoke" and receipt["promoted_at"] and receipt["until"]
    return not final(receipt) or bool(overlaps)


def _left_without(reached: Reached, name: str) -> bool:
    """Did we stop, with nobody to go on, before lookups had something again?"""
    return not reached.running and reached.status(name)["current"] is None


def _failure(reached: Reached, receipt: Json) -> ProviderFailed:
    name, said = receipt["name"], receipt["error"] or "the order failed"
    hint = reached.status(name)["hint"] or f"`keyman status {name}` says more"
    if "filled again" in said:
        hint = f"`keyman rotate {name} --new-key` replaces the whole API key"
    return ProviderFailed(f"{name}: {said}", hint=hint)


def _held_up(receipt: Json) -> bool:
    return bool(receipt["error"]) and not final(receipt)


def _show(receipt: Json, hint: str | None) -> None:
    terminal.say(_sentence(receipt))
    if _held_up(receipt):
        terminal.say(f"not yet: {receipt['error']}")
    if hint:
        terminal.say(f"hint: {hint}")
    terminal.say(f"order {receipt['order']}")


def _sentence(receipt: Json) -> str:
    name, kind, state = receipt["name"], receipt["kind"], receipt["state"]
    if state == "waiting" and receipt["until"]:
        when = "at the earliest" if receipt["error"] else "when the overlap ends"
        return f"{name}: {kind} recorded; it begins at {terminal.moment(receipt['until'])}, {when}"
    if kind == "revoke" and receipt["until"]:
        return f"{name}: {_dying(receipt)}"
    if state != "done":
        return f"{name}: {kind} recorded, {state}"
    if kind == "revoke":
        return f"{name}: {_revocation(receipt)}"
    if receipt["promoted_at"]:
        until = terminal.moment(receipt["until"]) if receipt["until"] else ""
        overlap = f"; the old one stays valid until {until}" if until else ""
        new = _version(receipt["to"])
        return f"{name}: {_version(receipt['from'])} replaced by {new}{overlap}"
    return f"{name}: {kind} done"


def _revocation(receipt: Json) -> str:
    if not receipt["revoked"]:
        return "nothing was left to revoke"
    gone = ", ".join(_version(one) for one in receipt["revoked"])
    now = f"; lookups get {_version(receipt['to'])}" if receipt["promoted_at"] else ""
    return f"{gone} revoked, {receipt['alive_seconds'] or 0:.0f} s after the order{now}"


def _dying(receipt: Json) -> str:
    """A secret that nobody can destroy: the provider has no way to take it back."""
    until, over = terminal.moment(receipt["until"]), bool(receipt["revoked"])
    now = f"; lookups get {_version(receipt['to'])}" if receipt["promoted_at"] else ""
    ends = f"ended by itself at {until}" if over else f"works until its own end at {until}"
    return f"the provider can't take back what leaked: it {ends}{now}"


def _version(one: Json) -> str:
    if one["version"] is None:
        return "nothing"
    slot = f" ({one['slot']})" if one.get("slot") else ""
    return f"version {one['version']}{slot}"
