"""What lies ahead of one credential: its steps, how long each version is good for, and where the
plan itself shows trouble.

Pure: walks with plan.py, whose provider does what is asked at once. Short-lived tokens are followed
until they repeat themselves, and then told as what they are: the same again, every so often.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from keyman.core.health import Health, duration_text, health, trouble, usable
from keyman.core.model import Credential, Observed, Stage, State, Version
from keyman.core.plan import STEPS_AT_MOST, Moment, Planned, walk
from keyman.core.steps import Promote, Request, Wait

BEATS = 3  # promotions that must be equally far apart before they count as a rhythm
BAD = (Health.FAILING, Health.AT_RISK)


@dataclass(frozen=True, slots=True)
class Repeats:
    """From then on the same steps again and again: `request` is asked for at these times."""

    first: datetime
    every: timedelta
    times: int
    last: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something in the plan that a person should know; `until` is None if nothing ends it."""

    at: datetime
    what: str
    hint: str
    until: datetime | None = None
    gap: bool = False  #: there is nothing to hand out meanwhile


@dataclass(frozen=True, slots=True)
class Outlook:
    """One credential from `now` to `until`."""

    credential: Credential  #: as it is now
    now: datetime
    until: datetime
    steps: tuple[Planned, ...]
    lives: tuple[Version, ...]  #: every version that is or will be handed out, as it ends up
    repeats: Repeats | None
    troubles: tuple[Trouble, ...]

    @property
    def name(self) -> str:
        return self.credential.name

    def ends(self, v: Version) -> datetime | None:
        """When this version is switched off, destroyed or over; None if that is not in sight."""
        known = [at for at in (v.retired_at, v.revoked_at, v.expires_at) if at]
        return min(known, default=None)


def look_ahead(c: Credential, o: Observed | None, now: datetime, until: datetime) -> Outlook:
    """Follow the credential up to `until`."""
    seen = _Seen(c, now, lives={v.number: v for v in c.versions})
    if c.versions:
        seen.as_it_is(c, o)
    for moment in walk(c, o, now, until):
        seen.take(moment)
        if seen.has_a_rhythm:
            break
    seen.finish(until)
    steps, repeats = _told_once(seen, until) if seen.has_a_rhythm else (seen.steps, None)
    lives = tuple(v for v in seen.lives.values() if v.promoted_at and _ever_useful(v, now))
    return Outlook(c, now, until, tuple(steps), lives, repeats, tuple(seen.troubles))


def _ever_useful(v: Version, now: datetime) -> bool:
    over = [at for at in (v.retired_at, v.revoked_at, v.expires_at) if at and at <= now]
    return not over or v.stage in (Stage.CURRENT, Stage.PREVIOUS)


@dataclass(slots=True)
class _Seen:
    """What was met on the way."""

    c: Credential
    now: datetime
    steps: list[Planned] = field(default_factory=list)
    lives: dict[int, Version] = field(default_factory=dict)
    beats: list[datetime] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    without: datetime | None = None  # since when there is nothing to hand out
    warned: set[str] = field(default_factory=set)
    taken: int = 0

    def as_it_is(self, c: Credential, o: Observed | None) -> None:
        """What is wrong already, and so what the plan takes for granted."""
        said = trouble(c, o, self.now)
        if said and health(c, o, self.now) in BAD:
            self._warn(self.now, f"now: {said[0]}", said[1])

    def take(self, moment: Moment) -> None:
        self.taken += 1
        line = moment.planned
        if line:
            self.steps.append(line)
        if not isinstance(moment.step, Wait):
            self.lives.update((v.number, v) for v in moment.after.versions)
        self._gap(moment)
        if isinstance(moment.step, Promote):
            self.beats.append(moment.at)
            self._overlap(moment)
        if isinstance(moment.step, Request):
            self._slot(moment)

    @property
    def has_a_rhythm(self) -> bool:
        """Tokens only: what is rarer is told one by one."""
        last = self.beats[-BEATS:]
        apart = {b - a for a, b in pairwise(last)}
        return self.c.spec.mints and len(last) == BEATS and len(apart) == 1

    def finish(self, until: datetime) -> None:
        if self.without is not None:
            self._none(self.without, None)
        if self.taken >= STEPS_AT_MOST:
            at = self.steps[-1].at if self.steps else self.now
            said = f"planned no further than {at:%Y-%m-%d}: too many steps"
            self._warn(at, said, "ask for a nearer time with --until")

    # Where a plan shows trouble.

    def _gap(self, moment: Moment) -> None:
        """Between two secrets, or after the last one, with nothing to hand out."""
        v = moment.after.current
        served = usable(v, moment.at)
        if not served and self.without is None:
            self.without = moment.at
        elif served and self.without is not None:
            beginning = not self.c.versions and self.c.spec.issues
            if not beginning and moment.at > self.without:
                self._none(self.without, moment.at)
            self.without = None

    def _none(self, since: datetime, until: datetime | None) -> None:
        what = "no usable secret" if until else "no usable secret from then on"
        self.troubles.append(Trouble(since, what, _who_can(self.c), until, gap=True))

    def _overlap(self, moment: Moment) -> None:
        """The old secret may end by itself before its users had the time that was promised."""
        for v in moment.after.all_at(Stage.PREVIOUS):
            if v.replaced_at != moment.at or v.expires_at is None or v.compromised:
                continue
            promised = moment.after.policy.overlap if v.overlap is None else v.overlap
            if v.expires_at < moment.at + promised:
                lasts = duration_text(round(max(0.0, (v.expires_at - moment.at).total_seconds())))
                what = f"version {v.number} ends in its overlap, after {lasts}"
                self._warn(moment.at, what, "raise rotate_before, or shorten the overlap")

    def _slot(self, moment: Moment) -> None:
        """A slot whose old secret is over by then: nobody promises that it can be filled."""
        v = moment.after.open_version
        slot = moment.seen.slot(v.place) if v and v.carries is None else None
        if slot is not None and slot.state in (State.EXPIRED, State.REVOKED):
            what = f"{slot.name} is {slot.state} when it is to be filled: the provider may refuse"
            hint = "raise rotate_before to at least half of lifetime"
            if slot.state == State.REVOKED:
                hint = f"if it does: `keyman rotate {self.c.name} --new-key`"
            self._warn(moment.at, what, hint)

    def _warn(self, at: datetime, what: str, hint: str) -> None:
        """Once: every other rotation would say the same."""
        if what not in self.warned:
            self.warned.add(what)
            self.troubles.append(Trouble(at, what, hint))


def _who_can(c: Credential) -> str:
    if not c.versions and c.spec.key_id:
        return f"`keyman adopt {c.name}` gives it the secret in use"
    if not c.spec.issues:
        return f"a person must replace it where it comes from, then `keyman put {c.name}`"
    return f"`keyman check` says what keeps it, and `keyman status {c.name}` what to do"


def _told_once(seen: _Seen, until: datetime) -> tuple[list[Planned], Repeats]:
    """The first cycle step by step, and from the second one on the rhythm."""
    first = next(at for at, line in enumerate(seen.steps, start=1) if line.step == "promote")
    second = next(line for line in seen.steps[first:] if line.step == "request")
    every = seen.beats[-1] - seen.beats[-2]
    further = (until - second.at) // every
    last = second.at + further * every
    return seen.steps[:first], Repeats(second.at, every, further + 1, last, second.reason)
