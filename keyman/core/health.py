"""How a credential is, in one word, and what will happen to it next: for people and monitors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keyman.core.frozen import replace
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
    slot: str | None = None  #: that it is about: to be filled, or switched off
    version: int | None = None  #: None for one that there is not yet


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


def coming(c: Credential, o: Observed | None, now: datetime) -> list[Next]:
    """What people would care about: the next step of each slot or version, soonest first.

    Empty where nothing goes on: with whoever else drives the key, or without a slot to fill.
    """
    s = Situation(c, o, now)
    if s.other_owner:
        return []
    steps = sorted(_steps_to_come(s), key=lambda step: step.at)
    if c.retry_at is None or not s.resting:
        return steps
    steps = [replace(step, at=max(step.at, c.retry_at)) for step in steps]
    # What is not seen is left alone: before anything else the provider has to answer.
    looks = Next("observe", c.retry_at, f"{c.failures} failed in a row")
    return [looks, *steps] if c.failed_step == "observe" else steps


def _steps_to_come(s: Situation) -> list[Next]:
    c, open_version = s.c, s.c.open_version
    if c.failed_step == "observe" and not (c.current and usable(c.current, s.now)):
        return []  # what it comes to depends on what is seen
    if open_version:
        begun = "issue" if open_version.stage is Stage.REQUESTED else "promote"
        why, number = c.last_error or f"version {open_version.number}", open_version.number
        return [Next(begun, s.now, why, open_version.slot, number)]
    steps = _next_request(s, c.current) if c.current and c.spec.issues else []
    if not usable(c.current, s.now):
        return steps  # nothing is switched off beside what does not work
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
    return Next("retire", s.goes_at(v), why, v.slot, v.number)


def _next_request(s: Situation, current: Version) -> list[Next]:
    if s.stuck:
        return []
    found = _request(s, current)
    return [Next("request", *found, slot=_slot_to_fill(s, current))] if found else []


def _request(s: Situation, current: Version) -> tuple[datetime, str] | None:
    """When, and why."""
    why, due = s.why_replace_now or s.why_due, s.c.due_at(current)
    if why is None:
        return (due, f"rotate_before {_lead_text(s.c, current)}") if due else None
    held, until = s.used_by_strangers, s.rest_after_giving_up()
    if held:
        return held.quiet_at, f"{why}; {held.said}"
    if until:
        return until, f"{why}; given up several times: {s.last_given_up}"
    if s.patient_until:
        return s.patient_until, f"{why}, and shows it as good"
    if s.waits_for_slot is None:
        return s.now, why
    return s.waits_for_slot, f"{why}; the overlap ends then"


def _slot_to_fill(s: Situation, current: Version) -> str | None:
    """The one that is free by now, else the one that will be: not where the current secret is."""
    free = s.fillable_slot() if s.spec.slots and s.c.key_id else None
    return free or next((slot for slot in s.spec.slots if slot != current.slot), None)


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
    if s.rest_after_giving_up():
        said = f"new versions came to nothing, the last because {s.last_given_up}"
        return said, f"`keyman check` says more; `keyman rotate {c.name}` tries at once"
    if s.patient_until:
        said = "inference refuses the current secret and the one before it"
        return said, f"they are asked about again; `keyman rotate {c.name}` makes one at once"
    if s.used_by_strangers:
        return s.used_by_strangers.said, against_strangers(c, s.used_by_strangers.slot)
    if c.current and c.current.restored_at and worth_trying(c.current, now):
        return "a backup brought its secret back, and nobody has proven it since", waits_for(c)
    return None if c.spec.issues else _only_a_person(s)


def _only_a_person(s: Situation) -> tuple[str, str] | None:
    """Where a new one is not asked for anyway: somebody has to bring it, or tell where it went."""
    c, v = s.c, s.c.current
    if v is None or c.open_version:
        return None
    if v.dead_at is not None or v.expired(s.now):
        asked = v.dead_at is not None and s.spec.probes and not v.expired(s.now)
        again = "; it is asked now and then whether this one works again" if asked else ""
        return s.why_replace_now or "", f"`keyman put {c.name}` brings the next one{again}"
    if v.stored or not sound(v, s.now):
        return None
    back = "put the store that has it back under `stores` and restart; or `keyman store copy` it"
    anew = f"`keyman put {c.name}` brings it anew"
    return f"the secret of version {v.number} is in no store that is configured", f"{back}; {anew}"


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
