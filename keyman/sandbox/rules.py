"""Which changes of an API key are legal, and how a refusal is worded.

Pure functions of the `Behaviour`. A verdict is a status: 200 for "go on", anything else is what the
caller is refused with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.server import RefusedError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,254}")
MAX_SLOTS = 2
SETTABLE = ("ACTIVE", "INACTIVE", "REVOKED")


class Wanted(NamedTuple):
    """A slot as a caller asks for it."""

    name: str
    expires: datetime


def invalid(message: str) -> RefusedError:
    return RefusedError(400, "InvalidParameter", message)


def missing(name: str) -> RefusedError:
    return RefusedError(400, "MissingParameter", f"{name} is missing.")


def not_found() -> RefusedError:
    text = "Authorization failed or requested resource not found."
    return RefusedError(404, "NotAuthorizedOrNotFound", text)


def refuse(verdict: int, message: str) -> None:
    """Raise what the verdict stands for, unless that is 200."""
    names = {400: "InvalidParameter", 404: "NotAuthorizedOrNotFound", 409: "IncorrectState"}
    if verdict != 200:
        raise RefusedError(verdict, names[verdict], message)


def renew_verdict(rules: Behaviour, slot_state: str, lifecycle: str) -> int:
    """May a slot in this state, of a key in this life cycle, be renewed?"""
    by_state = {
        "REVOKED": rules.renew_revoked,
        "EXPIRED": rules.renew_expired,
        "INACTIVE": rules.renew_inactive,
    }
    verdict = by_state.get(slot_state, 200)
    if verdict == 200 and lifecycle == "INACTIVE":
        return rules.renew_in_inactive_key
    return verdict


def state_after_renew(rules: Behaviour, was: str) -> str:
    if rules.renew_state != "unchanged":
        return rules.renew_state
    # A fresh value that could never be used would be no renewal at all.
    return was if was in {"ACTIVE", "INACTIVE"} else "ACTIVE"


def set_state_verdict(rules: Behaviour, was: str, wanted: str) -> int:
    """May a slot go from one state to another one?"""
    if was == "REVOKED":
        return rules.leave_revoked
    if (was, wanted) == ("EXPIRED", "ACTIVE"):
        return rules.activate_expired
    if (was, wanted) == ("INACTIVE", "REVOKED"):
        return rules.revoke_inactive
    return 200


def check_name(name: object) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise invalid("A name starts with a letter or an underscore.")


def check_slots(wanted: Sequence[Wanted]) -> None:
    names = [want.name for want in wanted]
    for name in names:
        check_name(name)
    if not 1 <= len(names) <= MAX_SLOTS or len(set(names)) != len(names):
        raise invalid("keyDetails must have one or two different names.")


def check_expiry(rules: Behaviour, expires: datetime, now: datetime) -> None:
    ahead = (expires - now).total_seconds()
    longest = rules.max_expiry_days
    if ahead <= (rules.min_expiry_seconds or 0.0):
        raise invalid("timeExpiry is too soon.")
    if longest is not None and ahead > longest * 86400:
        raise invalid("timeExpiry is too far away.")


def mask(rules: Behaviour, secret: str) -> str:
    """What is shown of a secret once it is no longer shown."""
    return {
        "head_tail": f"{secret[:3]}****{secret[-4:]}",
        "tail": f"****{secret[-4:]}",
        "short": f"sk-***{secret[-1]}",
        "constant": "sk-********",
    }[rules.key_mask]
