"""Credentials to decide about, built in one line each: what the journal says, what was seen.

Times are minutes from `NOW`. A version with a slot looks, at the provider, as it was issued,
unless a test says otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from keyman.core.health import Next, coming
from keyman.core.model import (
    Credential,
    KeySeen,
    Observed,
    Order,
    OrderKind,
    Place,
    SlotSeen,
    Spec,
    Stage,
    Version,
)
from keyman.core.policy import Policy, RetireBy
from keyman.core.situation import NEITHER_ACCEPTED

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
POLICY = Policy()  # 90 days, rotated 60 before the end, a day of overlap
SPEC = Spec("genai", "oci-genai", POLICY, slots=("one", "two"), installation="here")
KEYLESS = replace(SPEC, slots=(), claims=False)
TOKENS = replace(SPEC, slots=(), claims=False, observes=False, probes=False, revokes=False)
HOURLY = replace(TOKENS, policy=replace(POLICY, overlap=timedelta(0), retire=RetireBy.KEEP))
BY_HAND = replace(TOKENS, issues=False)
DAY = 24 * 60


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def what_next(c: Credential, o: Observed | None, now: datetime) -> Next | None:
    return next(iter(coming(c, o, now)), None)


def version(number: int, stage: Stage, slot: str | None = "one", **more: Any) -> Version:
    """Issued and verified a month ago, good for another eighty days."""
    told: dict[str, Any] = {
        "number": number,
        "stage": stage,
        "attempt": f"wish-{number}",
        "requested_at": at(-30 * DAY),
        "issued_at": at(-30 * DAY),
        "expires_at": at(80 * DAY),
        "slot": slot,
        "handle": "key",
        "mask": f"mask-{number}",
        "promoted_at": at(-30 * DAY) if stage not in (Stage.REQUESTED, Stage.PENDING) else None,
        "replaced_at": at(-60) if stage is Stage.PREVIOUS else None,
    }
    return Version(**told | more)


def wish(number: int, slot: str | None = "two", **more: Any) -> Version:
    fresh = {"requested_at": at(-1), "issued_at": None, "mask": None}
    return version(number, Stage.REQUESTED, slot, **fresh | more)


def pending(number: int, slot: str | None = "two", **more: Any) -> Version:
    fresh = {"requested_at": at(-5), "issued_at": at(-4), "expires_at": at(90 * DAY)}
    return version(number, Stage.PENDING, slot, **fresh | more)


def credential(*versions: Version, spec: Spec = SPEC, **more: Any) -> Credential:
    told: dict[str, Any] = {
        "home": "key",
        "driver": 1,
        "epoch": 1,
        "claimed": 1,
        "fenced": True,
        "revision": 1,
    }
    return Credential(spec, versions=versions, **told | more)


def order(kind: OrderKind, **more: Any) -> Order:
    told: dict[str, Any] = {"id": "wish", "kind": kind, "recorded_at": at(-1)}
    return Order(**told | more)


def seen(*slots: SlotSeen, minutes: float = 0, **more: Any) -> Observed:
    """One key, just looked at. Slots are named as in `looks`."""
    told: dict[str, Any] = {"state": "ACTIVE", "etag": "7", "owner": "here", "epoch": 1}
    return Observed(at(minutes), (KeySeen("key", slots=slots, **told | more),))


def looks(v: Version, state: str = "ACTIVE", **more: Any) -> SlotSeen:
    return SlotSeen(
        **{"name": v.slot, "state": state, "mask": v.mask, "expires_at": v.expires_at} | more
    )


def empty(slot: str = "two", state: str = "INACTIVE") -> SlotSeen:
    return SlotSeen(slot, state, "mask-unknown", at(60 * DAY))


# The first version of most tables, and its standby slot: empty, asked for, filled, proven.
CURRENT = version(1, Stage.CURRENT)
QUIET = seen(looks(CURRENT), empty())
FILLED = pending(2)
FRESH = pending(2, issued_at=at(-1))
SHOWN = seen(looks(CURRENT), looks(FILLED))
PROVEN = replace(FILLED, verified_at=at(-1), probed_at=at(-1), successes=2)
WISH = wish(2)
ONE, TWO = Place("key", "one"), Place("key", "two")

# Inference refuses the current secret and the one before it, and nothing else speaks against them.
STAYS = version(1, Stage.PREVIOUS)
SHUT = version(
    2, Stage.CURRENT, "two", promoted_at=at(-60), dead_at=at(-18), examined_at=at(0), refusals=1
)
TOGETHER = version(
    3,
    Stage.REVOKED,
    given_up=NEITHER_ACCEPTED,
    carries=1,
    attempt=STAYS.attempt,
    mask=STAYS.mask,
    stored=False,
    requested_at=at(-3),
    promoted_at=None,
    probed_at=at(-1),
)
BOTH_GOOD = seen(looks(STAYS), looks(SHUT))
