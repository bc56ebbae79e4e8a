"""How a credential is, in one word, and what will happen to it next: for people and monitors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keyman.core.model import Credential, Observed, Stage, Version
from keyman.core.policy import RetireBy
from keyman.core.situation import Situation


class Health(StrEnum):
    OK = "ok"
    DUE = "due"
    ROTATING = "rotating"
    FAILING = "failing"  #: retrying; the current secret is still good
    AT_RISK = "at-risk"  #: failing with little time left, or nothing can be filled again
    DOWN = "down"  #: no usable secret


@dataclass(frozen=True, slots=True)
class Next:
    step: str
    at: datetime
    reason: str


def usable(v: Version | None, now: datetime) -> bool:
    """May lookups hand it out? Never one that is known to be dead."""
    if v is None or v.dead_at is not None or not v.stored or v.expired(now):
        return False
    return v.stage in (Stage.CURRENT, Stage.PREVIOUS) and not (v.compromised and v.revoke_first)


def health(c: Credential, o: Observed | None, now: datetime) -> Health:
    s = Situation(c, o, now)
    current = c.current
    if current is None or not usable(current, now):
        return Health.DOWN
    left = current.expires_at - now if current.expires_at else None
    if s.stuck or s.other_owner:
        return Health.AT_RISK
    if (c.failures and not s.given_up_for_good) or s.rest_after_giving_up():
        short = left is not None and left < c.policy.lead(current.life) / 2
        return Health.AT_RISK if short else Health.FAILING
    if c.open_version:
        return Health.ROTATING
    return Health.DUE if s.why_due or s.why_replace_now else Health.OK


def what_next(c: Credential, o: Observed | None, now: datetime) -> Next | None:
    """The next step of this credential's life that a person would care about."""
    s = Situation(c, o, now)
    if c.open_version:
        begun = "issue" if c.open_version.stage is Stage.REQUESTED else "promote"
        return Next(begun, c.retry_at or now, c.last_error or f"version {c.open_version.number}")
    steps = _next_request(s, c.current) if c.current and c.spec.issues else []
    steps += [Next("retire", s.overlap_ends(v), "overlap") for v in _to_retire(c)]
    return min(steps, key=lambda step: step.at, default=None)


def _to_retire(c: Credential) -> list[Version]:
    """What is switched off once its overlap is over; what leaked is destroyed instead."""
    if c.policy.retire is RetireBy.KEEP or not c.spec.observes:
        return []
    return [v for v in c.all_at(Stage.PREVIOUS) if not v.compromised]


def _next_request(s: Situation, current: Version) -> list[Next]:
    why, due = s.why_replace_now or s.why_due, s.c.due_at(current)
    if why is None:
        before = f"rotate_before {_lead_text(s.c, current)}"
        return [Next("request", due, before)] if due else []
    if s.waits_for_slot is None:
        return [Next("request", s.now, why)]
    return [Next("request", s.waits_for_slot, f"{why}; the overlap ends then")]


def trouble(c: Credential, o: Observed | None, now: datetime) -> tuple[str, str] | None:
    """What is wrong, and the next move; None if nothing is."""
    if c.last_error:
        return c.last_error, c.last_hint or ""
    s = Situation(c, o, now)
    if s.other_owner:
        hint = "let one keyman drive a key: forget it in the other, or stop that copy and restart"
        return f"the key is managed by {s.other_owner}", hint
    if s.stuck:
        hint = f"`keyman rotate {c.name} --new-key` replaces the whole API key"
        return "no slot of the API key can be filled again", hint
    return None


def _lead_text(c: Credential, v: Version) -> str:
    return duration_text(round(c.policy.lead(v.life).total_seconds()))


def duration_text(seconds: float) -> str:
    """The way durations are written in the configuration: 60d, 12h, 90s."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:g}s"
