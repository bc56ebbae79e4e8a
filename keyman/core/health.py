"""How a credential is, in one word, and what will happen to it next: for people and monitors."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    return v is not None and v.stored and sound(v, now)


def sound(v: Version, now: datetime) -> bool:
    """The same, whether or not our store still has its secret."""
    return v.restored_at is None and _not_ruled_out(v, now)


def worth_trying(v: Version, now: datetime) -> bool:
    """Usable, or out of a backup and not proven to work since: fit for finding that out."""
    return v.stored and _not_ruled_out(v, now)


def _not_ruled_out(v: Version, now: datetime) -> bool:
    if v.dead_at is not None or v.expired(now):
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
    held = s.used_by_strangers is not None
    if held or (c.failures and not s.given_up_for_good) or s.rest_after_giving_up():
        short = left is not None and left < c.policy.lead(current.life) / 2
        return Health.AT_RISK if short or (held and current.compromised) else Health.FAILING
    if c.open_version:
        return Health.ROTATING
    return Health.DUE if s.why_due or s.why_replace_now else Health.OK


def what_next(c: Credential, o: Observed | None, now: datetime) -> Next | None:
    """The next step of this credential's life that a person would care about.

    None where nothing goes on: with whoever else drives the key, or without a slot to fill.
    """
    s = Situation(c, o, now)
    if s.other_owner:
        return None
    steps = _steps_to_come(s)
    first = min(steps, key=lambda step: step.at, default=None)
    rested = c.retry_at if c.retry_at and s.resting else now
    return first and replace(first, at=max(first.at, rested))


def _steps_to_come(s: Situation) -> list[Next]:
    c, open_version = s.c, s.c.open_version
    if open_version:
        begun = "issue" if open_version.stage is Stage.REQUESTED else "promote"
        return [Next(begun, s.now, c.last_error or f"version {open_version.number}")]
    steps = _next_request(s, c.current) if c.current and c.spec.issues else []
    return steps + [_retirement(s, v) for v in _to_retire(s)]


def _to_retire(s: Situation) -> list[Version]:
    """What is switched off once its overlap is over; what leaked is destroyed instead, and what
    a later version carries on goes on.
    """
    if s.c.policy.retire is RetireBy.KEEP or not s.spec.observes:
        return []
    old = s.c.all_at(Stage.PREVIOUS)
    return [v for v in old if not v.compromised and not s.taken_over_later(v)]


def _retirement(s: Situation, v: Version) -> Next:
    kept = s.now >= s.overlap_ends(v) and s.goes_at(v) > s.now
    why = "its overlap is over, and it is in use" if kept else "overlap"
    return Next("retire", s.goes_at(v), why)


def _next_request(s: Situation, current: Version) -> list[Next]:
    why, due = s.why_replace_now or s.why_due, s.c.due_at(current)
    if s.stuck:
        return []
    if why is None:
        before = f"rotate_before {_lead_text(s.c, current)}"
        return [Next("request", due, before)] if due else []
    held, until = s.used_by_strangers, s.rest_after_giving_up()
    if held:
        return [Next("request", held.quiet_at, f"{why}; {held.said}")]
    if until:
        return [Next("request", until, f"{why}; given up several times: {s.last_given_up}")]
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
    if s.used_by_strangers:
        return s.used_by_strangers.said, against_strangers(c, s.used_by_strangers.slot)
    if c.current and c.current.restored_at and worth_trying(c.current, now):
        return "a backup brought its secret back, and nobody has proven it since", waits_for(c)
    return None


def against_strangers(c: Credential, slot: str) -> str:
    """What a person can do about a slot that others use."""
    off = f"`keyman deactivate {c.name} --slot {slot}` if nobody needs it"
    moves = f"{off}, or `keyman rotate {c.name} --new-key` leaves them the key"
    leaked = c.current is not None and c.current.compromised
    now = f"; `keyman revoke {c.name} --now` destroys what leaked without waiting"
    return moves + (now if leaked else "")


def waits_for(c: Credential) -> str:
    """What has to happen before a secret out of a backup is handed out."""
    if c.spec.probes or c.spec.issues:
        return "it is being verified at the provider after the restore"
    by_hand, trusted = f"`keyman put {c.name}`", f"`keyman restore --trust {c.name}`"
    return f"no provider can be asked: {by_hand} brings one that works, {trusted} vouches for this"


def _lead_text(c: Credential, v: Version) -> str:
    return duration_text(round(c.policy.lead(v.life).total_seconds()))


def duration_text(seconds: float) -> str:
    """The way durations are written in the configuration: 60d, 12h, 90s."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:g}s"
