"""The JSON of the interface: every member there is, and what it may be."""

from __future__ import annotations

import re
from typing import Any

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
FINGERPRINT = re.compile(r"hmac:[0-9a-f]{12}")
STAGES = ("requested", "pending", "current", "previous", "retired", "revoked")
HEALTH = ("ok", "due", "rotating", "failing", "at-risk", "down")
STATES = ("waiting", "running", "done", "failed")
NOTHING = type(None)

LOOKUP = {
    "name": str,
    "value": str,
    "version": int,
    "slot": (str, NOTHING),
    "stage": ("current", "previous"),
    "expires_at": (TIME, NOTHING),
    "base_url": (str, NOTHING),
    "provider": str,
    "principal": (str, NOTHING),
    "quota_project": (str, NOTHING),
}
VERSION = {"version": (int, NOTHING), "slot": (str, NOTHING)}
RECEIPT = {
    "order": str,
    "name": str,
    "kind": str,
    "state": STATES,
    "from": (VERSION,),
    "to": (VERSION,),
    "recorded_at": TIME,
    "promoted_at": (TIME, NOTHING),
    "finished_at": (TIME, NOTHING),
    "until": (TIME, NOTHING),
    "revoked": [{"version": int, "slot": (str, NOTHING), "revoked_at": TIME}],
    "alive_seconds": (float, NOTHING),
    "error": (str, NOTHING),
}
CURRENT = {
    "version": int,
    "slot": (str, NOTHING),
    "expires_at": (TIME, NOTHING),
    "promoted_at": TIME,
    "fingerprint": FINGERPRINT,
}
SLOT = {
    "name": str,
    "state": (str, NOTHING),
    "stage": (*STAGES, NOTHING),
    "version": (int, NOTHING),
    "expires_at": (TIME, NOTHING),
    "last_used_at": (TIME, NOTHING),
}
CREDENTIAL = {
    "name": str,
    "provider": str,
    "health": HEALTH,
    "current": (CURRENT, NOTHING),
    "slots": [SLOT],
    "next": ({"step": str, "at": TIME, "reason": str}, NOTHING),
    "order": (RECEIPT, NOTHING),
    "failures": int,
    "last_error": (str, NOTHING),
}
STATUS = {
    "daemon": ({"running": bool, "since": (TIME, NOTHING)},),
    "credentials": [CREDENTIAL],
}
FINDING = {
    "severity": ("error", "warning", "info"),
    "credential": (str, NOTHING),
    "slot": (str, NOTHING),
    "code": str,
    "message": str,
    "hint": str,
}
FIGURES = {
    "rotations": int,
    "lookups": int,
    "requests": int,
    "rejected": int,
    "seconds": float,
}


def mistakes(said: Any, shape: Any, where: str = "") -> list[str]:
    """Where an answer departs from its shape. Members beyond it are allowed: it may grow."""
    if isinstance(shape, dict):
        if not isinstance(said, dict):
            return [f"{where}: {said!r} is no object"]
        missing = [f"{where}.{key} is missing" for key in shape if key not in said]
        there = (key for key in shape if key in said)
        return missing + [
            m for key in there for m in mistakes(said[key], shape[key], f"{where}.{key}")
        ]
    if isinstance(shape, list):
        return [m for n, one in enumerate(said) for m in mistakes(one, shape[0], f"{where}[{n}]")]
    if isinstance(shape, tuple):
        found = [mistakes(said, one, where) for one in shape]
        return [] if [] in found else found[0]
    return [] if _fits(said, shape) else [f"{where}: {said!r}"]


def _fits(said: Any, shape: Any) -> bool:
    if isinstance(shape, re.Pattern):
        return isinstance(said, str) and shape.fullmatch(said) is not None
    if isinstance(shape, str):
        return bool(said == shape)
    if shape is bool:
        return isinstance(said, bool)
    return isinstance(said, shape) and not isinstance(said, bool)
