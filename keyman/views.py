"""The JSON that people and programs see of a credential and of an order. No secret is in it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from keyman.core.health import health, trouble, usable, what_next
from keyman.core.model import Credential, Observed, Order, Place, SlotSeen, Stage, Version

Json = dict[str, Any]


def time_text(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with Z, to the second; None stays None."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def credential_view(c: Credential, o: Observed | None, now: datetime) -> Json:
    """One element of `status --json`."""
    following = what_next(c, o, now)
    order = next((order for order in c.orders if order.open), None)
    wrong = trouble(c, o, now)
    return {
        "name": c.name,
        "provider": c.spec.provider,
        "health": str(health(c, o, now)),
        "current": _current(c.current, now),
        "slots": _slots(c, o),
        "other_keys": _on_other_keys(c, now),
        "next": following
        and {
            "step": following.step,
            "at": time_text(following.at),
            "reason": following.reason,
        },
        "order": order and receipt(c, order),
        "failures": c.failures,
        "last_error": wrong[0] if wrong else None,
        "hint": wrong[1] if wrong else None,
        "key_id": c.key_id,
        "adopted": bool(c.versions),
        "clients": None,  # the agent knows: it answers with how many are connected
        "mirrors": None,  # whoever follows them knows
    }


def _current(v: Version | None, now: datetime) -> Json | None:
    if v is None or not usable(v, now):
        return None
    return {
        "version": v.number,
        "slot": v.slot,
        "expires_at": time_text(v.expires_at),
        "promoted_at": time_text(v.promoted_at),
        "fingerprint": v.fingerprint,
    }


def _slots(c: Credential, o: Observed | None) -> list[Json]:
    """The slots of the home key, the configured ones first, as the provider last showed them."""
    if not c.spec.slots:
        return []
    key = o.key(c.key_id) if o else None
    seen = {slot.name: slot for slot in key.slots} if key else {}
    names = [*c.spec.slots, *(n for n in seen if n is not None and n not in c.spec.slots)]
    return [_slot(c, name, seen.get(name)) for name in names]


def _on_other_keys(c: Credential, now: datetime) -> list[Json]:
    """What is still valid in slots of keys that were the home before `rotate --new-key`."""
    return [
        {
            "key_id": v.handle,
            "slot": v.slot,
            "stage": str(v.stage),
            "version": v.number,
            "expires_at": time_text(v.expires_at),
        }
        for v in c.versions
        if c.spec.slots and v.stage in (Stage.CURRENT, Stage.PREVIOUS)
        if v.handle not in (None, c.key_id) and not v.expired(now)
    ]


def _slot(c: Credential, name: str, seen: SlotSeen | None) -> Json:
    place = Place(c.key_id, name) if c.key_id else None
    begun = [v for v in c.versions if v.slot == name and v.handle == c.key_id]
    begun = [v for v in begun if v.stage is Stage.REQUESTED]
    tenant = begun[-1] if begun else c.tenant(place)
    expires_at = seen.expires_at if seen else tenant.expires_at if tenant else None
    return {
        "name": name,
        "state": seen.state if seen else None,
        "stage": str(tenant.stage) if tenant else None,
        "version": tenant.number if tenant else None,
        "expires_at": time_text(expires_at),
        "last_used_at": time_text(seen.last_used_at) if seen else None,
    }


def receipt(c: Credential, order: Order) -> Json:
    """What an order has come to, in the words of the interface."""
    targets = [v for v in c.versions if v.number in order.targets]
    gone = [v for v in targets if v.revoked_at is not None]
    revoked = [
        {"version": v.number, "slot": v.slot, "revoked_at": time_text(v.revoked_at)} for v in gone
    ]
    latest = max((v.revoked_at for v in gone if v.revoked_at), default=None)
    alive = (latest - order.recorded_at).total_seconds() if latest else None
    return {
        "order": order.id,
        "name": c.name,
        "kind": str(order.kind),
        "state": str(order.state),
        "from": {"version": order.from_version, "slot": order.from_slot},
        "to": {"version": order.to_version, "slot": order.to_slot},
        "recorded_at": time_text(order.recorded_at),
        "promoted_at": time_text(order.promoted_at),
        "finished_at": time_text(order.finished_at),
        "until": time_text(order.until),
        "revoked": revoked if order.targets and order.kind == "revoke" else [],
        "alive_seconds": max(0.0, alive) if alive is not None and order.kind == "revoke" else None,
        "error": order.error,
    }
