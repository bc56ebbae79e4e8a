"""What will happen, computed by the code that will do it: the rules, run against a provider that
answers at once and well.

Pure: time is a number that moves from one `Wait` to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keyman.core import orders, transitions
from keyman.core.model import (
    Credential,
    KeySeen,
    Observed,
    Place,
    SlotSeen,
    Stage,
    State,
    Verdict,
    Version,
)
from keyman.core.rotation import next_step
from keyman.core.steps import (
    Abandon,
    Accept,
    Activate,
    Carry,
    Claim,
    Create,
    Drop,
    Examine,
    Issue,
    Observe,
    Promote,
    Request,
    Retire,
    Revoke,
    Step,
    Verify,
    Wait,
    name_of,
)

STEPS_AT_MOST = 100_000
NEW_KEY = "(a new key)"


@dataclass(frozen=True, slots=True)
class Planned:
    """One step to come."""

    at: datetime
    step: str
    slot: str | None
    version: int | None
    reason: str


def foresee(c: Credential, o: Observed | None, now: datetime, until: datetime) -> list[Planned]:
    """Every step from now until then that somebody would want to know of."""
    planned: list[Planned] = []
    picture = o or Observed(now, ())
    for _ in range(STEPS_AT_MOST):
        step = next_step(c, picture, now)
        if isinstance(step, Wait):
            if step.until > until:
                break
            now = max(step.until, now + timedelta(milliseconds=1))
            continue
        if not isinstance(step, Observe | Claim | Drop | Examine):
            planned.append(_line(step, now))
        c, picture = _done(c, picture, step, now)
        c = orders.settled(c, picture, now)
        c = replace(c, orders=tuple(order for order in c.orders if order.open))
    return planned


def _line(step: Step, now: datetime) -> Planned:
    version: Version | None = getattr(step, "version", None)
    place: Place | None = getattr(step, "place", None)
    slot = version.slot if version else place.slot if place else getattr(step, "slot", None)
    reason = getattr(step, "reason", "")
    return Planned(now, name_of(step), slot, version.number if version else None, reason)


def _done(c: Credential, o: Observed, step: Step, now: datetime) -> tuple[Credential, Observed]:
    """The record and the picture after a step that went well."""
    match step:
        case Observe():
            o = replace(o, at=now, keys=o.keys or _unseen(c))
            return transitions.observed_now(c, o), o
        case Create(v):
            c = transitions.created(c, v, NEW_KEY, None)
            return _issued(c, o, replace(v, handle=NEW_KEY), now)
        case Issue(v):
            return _issued(c, o, v, now)
        case Activate(place):
            return transitions.activated(c, place, now), _shown(o, place, State.ACTIVE)
        case Retire(place, leaving):
            after = transitions.retired(c, place, leaving, now)
            return after, _shown(o, place, State.INACTIVE)
        case Revoke(v):
            return transitions.revoked(c, v, now), _shown(o, v.place, State.REVOKED)
        case Request():
            return transitions.requested(c, step, o, f"attempt {len(c.versions)}", now), o
    return _noted(c, o, step, now), o


def _noted(c: Credential, o: Observed, step: Step, now: datetime) -> Credential:
    """The record after a step that leaves the provider's slots as they are."""
    match step:
        case Claim(_, epoch):
            return transitions.claimed(c, epoch, now, fenced=True)
        case Carry(v):
            return transitions.carried(c, v, "", now)
        case Verify(v):
            return transitions.probed(c, v, Verdict.ACCEPTED, None, now)
        case Examine(v):
            return transitions.examined(c, v, Verdict.ACCEPTED, o, now)
        case Promote(v):
            return transitions.promoted(c, v, now)
        case Accept():
            return transitions.accepted(c, step, now)
        case Abandon():
            return transitions.abandoned(c, step)
        case Drop(v):
            return transitions.dropped(c, v)
    raise AssertionError(f"{name_of(step)} is not done")


def _issued(c: Credential, o: Observed, v: Version, now: datetime) -> tuple[Credential, Observed]:
    handle, mask = v.handle or f"key {v.number}", f"version {v.number}"
    c = transitions.issued(
        c, v, handle=handle, mask=mask, expires_at=v.expires_at, fingerprint="", now=now
    )
    return c, _shown(o, Place(handle, v.slot), State.ACTIVE, mask, v.expires_at)


def _unseen(c: Credential) -> tuple[KeySeen, ...]:
    """A picture of what was never looked at: as the journal has it."""
    seen: dict[str, list[SlotSeen]] = {c.key_id: []} if c.key_id else {}
    for v in c.versions:
        live = v.stage in (Stage.PENDING, Stage.CURRENT, Stage.PREVIOUS)
        if v.handle and c.tenant(v.place) is v:
            state = State.ACTIVE if live else State.INACTIVE
            seen.setdefault(v.handle, []).append(SlotSeen(v.slot, state, v.mask, v.expires_at))
    return tuple(KeySeen(handle, State.ACTIVE, tuple(slots)) for handle, slots in seen.items())


def _shown(
    o: Observed,
    place: Place | None,
    state: State,
    mask: str | None = None,
    expires_at: datetime | None = None,
) -> Observed:
    """The picture with one slot changed."""
    if place is None:
        return o
    key = o.key(place.handle) or KeySeen(place.handle, State.ACTIVE, ())
    old = key.slot(place.slot) or SlotSeen(place.slot, state)
    slot = replace(old, state=state, mask=mask or old.mask, expires_at=expires_at or old.expires_at)
    slots = (*(s for s in key.slots if s.name != place.slot), slot)
    others = tuple(k for k in o.keys if k.handle != place.handle)
    return replace(o, keys=(*others, replace(key, slots=slots)))
