"""What will happen, computed by the code that will do it: the rules, run against a provider that
answers at once and well, for clients who take the new secret in time.

Pure: time is a number that moves from one `Wait` to the next. Routine looks at the provider teach
nothing new here, so they are not simulated one by one: whenever time moves, one has just been made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyman.core import orders, transitions
from keyman.core.frozen import replace
from keyman.core.model import (
    NOT_SHOWN,
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
from keyman.core.pruning import pruned
from keyman.core.rotation import next_step
from keyman.core.situation import LOOKS_AHEAD, Situation
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

STEPS_AT_MOST = 50_000  # a key that is replaced daily takes 8,000 a year
NEVER = timedelta(days=150 * 365)
BREATH = timedelta(milliseconds=1)
NEW_KEY = "(a new key)"
UNTOLD = (Observe, Claim, Drop, Examine, Wait)  # nobody plans by these


@dataclass(frozen=True, slots=True)
class Planned:
    """One step to come."""

    at: datetime
    step: str
    slot: str | None
    version: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Moment:
    """One decision on the way: what was so, what is done about it, and what is so then."""

    at: datetime
    step: Step
    before: Credential
    after: Credential
    seen: Observed

    @property
    def planned(self) -> Planned | None:
        """As a line of the plan; None for what nobody would want to know of."""
        return None if isinstance(self.step, UNTOLD) else _line(self.step, self.at)


def foresee(c: Credential, o: Observed | None, now: datetime, until: datetime) -> list[Planned]:
    """Every step from now until then that somebody would want to know of."""
    return [line for moment in walk(c, o, now, until) if (line := moment.planned)]


def walk(c: Credential, o: Observed | None, now: datetime, until: datetime) -> Iterator[Moment]:
    """Every decision from now until then, each carried out at once; waits are among them.

    Ends at the last moment before `until` at which anything happens, or after STEPS_AT_MOST.
    """
    seen = _at_ease(as_last_met(c, o), now)
    c = _without_the_replaced(_looked_at_seldom(c))
    for _ in range(STEPS_AT_MOST):
        step = next_step(c, seen, now)
        if isinstance(step, Wait):
            yield Moment(now, step, c, c, seen)
            wakes = _wakes(c, seen, step, now)
            if wakes is None or wakes > until:
                return
            now = max(wakes, now + BREATH)
            seen = _looked(c, seen, Situation(c, seen, now).handles, now)
            continue
        after, seen = _done(c, seen, step, now)
        after = pruned(_settled(after, seen, now), now)
        yield Moment(now, step, c, after, seen)
        c = after


def _settled(c: Credential, o: Observed, now: datetime) -> Credential:
    if not c.orders:
        return c
    c = orders.settled(c, o, now)
    return replace(c, orders=tuple(order for order in c.orders if order.open))


def _looked_at_seldom(c: Credential) -> Credential:
    policy = replace(c.policy, observe_every=NEVER)
    return replace(c, spec=replace(c.spec, policy=policy))


def as_last_met(c: Credential, o: Observed | None) -> Observed | None:
    """The last picture; but without the key that can't be looked at any more, and whose secret was
    refused: no step that a plan names would come true there.
    """
    key = o.key(c.key_id) if o and c.failed_step == "observe" else None
    if o is None or key is None or c.current is None or c.current.dead_at is None:
        return o
    gone = KeySeen(key.handle, NOT_SHOWN, ())
    return replace(o, keys=tuple(gone if one is key else one for one in o.keys))


def _without_the_replaced(c: Credential) -> Credential:
    """What a person replaced by hand is tried again in need, and nobody vouches for it: it may have
    been switched off where it was made, so no plan counts on it.
    """
    if not c.spec.by_hand:
        return c
    for v in c.all_at(Stage.PREVIOUS, Stage.RETIRED):
        c = c.with_version(v.number, stored=False)
    return c


def _at_ease(o: Observed | None, now: datetime) -> Observed:
    """The last picture, for clients of whom none holds on to what is replaced."""
    return replace(o, taken=()) if o else Observed(now, ())


def _wakes(c: Credential, o: Observed, wait: Wait, now: datetime) -> datetime | None:
    """When time goes on; None if nothing will ever happen by itself.

    A look would show that something expired, so that is a moment too.
    """
    ends = [v.expires_at for v in c.all_at(Stage.PREVIOUS, Stage.RETIRED) if v.expires_at]
    nothing = wait.until == now + LOOKS_AHEAD and Situation(c, o, now).comes_at is None
    told = None if nothing else wait.until
    return min((at for at in (*ends, told) if at and at > now), default=told)


def _looked(c: Credential, o: Observed, handles: tuple[str, ...], now: datetime) -> Observed:
    """The picture as a look at these keys would show it now."""
    keys = [o.key(handle) or _as_recorded(c, handle) for handle in handles]
    aged = (replace(k, slots=tuple(_aged(slot, now) for slot in k.slots)) for k in keys)
    return replace(o, at=now, keys=tuple(aged))


def _aged(slot: SlotSeen, now: datetime) -> SlotSeen:
    if slot.expires_at is None or now < slot.expires_at:
        return slot
    over = slot.state in (State.ACTIVE, State.INACTIVE)
    return replace(slot, state=State.EXPIRED) if over else slot


def _line(step: Step, now: datetime) -> Planned:
    version: Version | None = getattr(step, "version", None)
    place: Place | None = getattr(step, "place", None)
    slot = version.slot if version else place.slot if place else getattr(step, "slot", None)
    number = version.number if version else None
    return Planned(now, name_of(step), slot, number, getattr(step, "reason", "") or _why(step))


def _why(step: Step) -> str:
    """Of steps that give no reason themselves."""
    match step:
        case Retire(_, None):
            return "nobody kept its secret"
        case Retire(_, v) | Revoke(v) if v is not None:
            over = "the overlap is over" if v.stage is Stage.PREVIOUS else "ordered"
            return "it leaked" if v.compromised else over
    return ""


def _done(c: Credential, o: Observed, step: Step, now: datetime) -> tuple[Credential, Observed]:
    """The record and the picture after a step that went well."""
    match step:
        case Observe(handles):
            o = _looked(c, o, handles, now)
            return transitions.observed_now(c, o), o
        case Create(v):
            return _created(c, o, v, now)
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
            lives = Verdict.REFUSED if v.dead_at else Verdict.ACCEPTED
            return transitions.examined(c, v, lives, o, now)
        case Promote(v):
            return transitions.promoted(c, v, now)
        case Accept():
            return transitions.accepted(c, step, now)
        case Abandon():
            return transitions.abandoned(c, step)
        case Drop(v):
            return transitions.dropped(c, v)
    raise AssertionError(f"{name_of(step)} is not done")


def _created(c: Credential, o: Observed, v: Version, now: datetime) -> tuple[Credential, Observed]:
    """A key comes with all its slots switched on; what is in the second one is kept by nobody."""
    standby = next((slot for slot in c.spec.slots if slot != v.slot), None)
    if standby is not None:
        ends = c.policy.standby_expiry(v.requested_at)
        o = _shown(o, Place(NEW_KEY, standby), State.ACTIVE, "kept by nobody", ends)
    c = transitions.created(c, v, NEW_KEY, standby)
    return _issued(c, o, replace(v, handle=NEW_KEY), now)


def _issued(c: Credential, o: Observed, v: Version, now: datetime) -> tuple[Credential, Observed]:
    handle, mask = v.handle or f"key {v.number}", f"version {v.number}"
    ends = now + life if (life := _told_life(c)) else v.expires_at
    c = transitions.issued(c, v, handle=handle, mask=mask, expires_at=ends, fingerprint="", now=now)
    return c, _shown(o, Place(handle, v.slot), State.ACTIVE, mask, ends)


def _told_life(c: Credential) -> timedelta | None:
    """How long tokens live is for their issuer to say: the next as long as the last."""
    return c.current.life if c.spec.mints and c.current else None


def _as_recorded(c: Credential, handle: str) -> KeySeen:
    """A key that was never looked at: as the journal has it."""
    here = [v for v in c.versions if v.handle == handle and c.tenant(v.place) is v]
    live = (Stage.PENDING, Stage.CURRENT, Stage.PREVIOUS)
    states = {v.number: State.ACTIVE if v.stage in live else State.INACTIVE for v in here}
    slots = (SlotSeen(v.slot, states[v.number], v.mask, v.expires_at) for v in here)
    return KeySeen(handle, State.ACTIVE, tuple(slots))


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
