"""The JSON that people and programs see of a credential and of an order. No secret is in it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from keyman.core.health import Next, coming, health, trouble, usable
from keyman.core.model import Credential, Observed, Order, Place, SlotSeen, Stage, Version
from keyman.core.situation import Situation

Json = dict[str, Any]
ALIVE = (Stage.REQUESTED, Stage.PENDING, Stage.CURRENT, Stage.PREVIOUS)


def time_text(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with Z, to the second; None stays None."""
    return moment.isoformat()[:19] + "Z" if moment else None  # a third of what strftime takes


def credential_view(c: Credential, o: Observed | None, now: datetime) -> Json:
    """One element of `status --json`."""
    ahead = coming(c, o, now)
    order = next((order for order in c.orders if order.open), None)
    wrong = trouble(c, o, now)
    return {
        "name": c.name,
        "provider": c.spec.provider,
        "health": str(health(c, o, now)),
        "current": _current(c, now),
        "slots": _slots(c, o),
        "other_keys": _on_other_keys(c, now),
        "next": _next(ahead[0]) if ahead else None,
        "order": order and receipt(c, order),
        "failures": c.failures,
        "last_error": wrong[0] if wrong else None,
        "hint": wrong[1] if wrong else None,
        "key_id": c.key_id,
        "adopted": bool(c.versions),
        "versions": [_version(v) for v in reversed(c.versions) if v.stage in ALIVE],
        "drift": _drift(c, o, now),
        "coming": [_next(one) | {"slot": one.slot, "version": one.version} for one in ahead],
        "clients": None,  # the agent knows: it answers with how many are connected
        "mirrors": None,  # whoever follows them knows
    }


def _next(one: Next) -> Json:
    return {"step": one.step, "at": time_text(one.at), "reason": one.reason}


def _drift(c: Credential, o: Observed | None, now: datetime) -> list[Json]:
    """Where the provider shows something else than we made of it."""
    s, seen_at = Situation(c, o, now), o.at if o else None
    return [
        {"version": v.number, "slot": v.slot, "what": against, "seen_at": time_text(seen_at)}
        for v in c.all_at(Stage.CURRENT, Stage.PREVIOUS)
        if (against := s.contradiction(v))
    ]


def _version(v: Version) -> Json:
    return {
        "version": v.number,
        "stage": str(v.stage),
        "slot": v.slot,
        "issued_at": time_text(v.issued_at),
        "promoted_at": time_text(v.promoted_at),
        "replaced_at": time_text(v.replaced_at),
        "expires_at": time_text(v.expires_at),
        "dead_at": time_text(v.dead_at),
    }


def _current(c: Credential, now: datetime) -> Json | None:
    v = c.current
    if v is None or not usable(v, now):
        return None
    return {
        "version": v.number,
        "slot": v.slot,
        "expires_at": time_text(v.expires_at),
        "promoted_at": time_text(v.promoted_at),
        "fingerprint": v.fingerprint,
        "issued_at": time_text(v.issued_at),
        "due_at": time_text(c.due_at(v)),
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
        "issued_at": time_text(tenant.issued_at) if tenant else None,
        "dead_at": time_text(tenant.dead_at) if tenant else None,
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


def final(receipt: Json) -> bool:
    """Is the order over, done or not?"""
    return receipt["state"] in ("done", "failed")
