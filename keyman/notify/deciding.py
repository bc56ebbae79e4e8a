"""What is said, and when: pure. `notices` are the messages that one target is to get now, the most
urgent first; `marked` is its memo once it got one of them.

A trouble is told when it comes, when it gets worse, when it stays (daily, then weekly), and when it
is over; one that was over before anybody was told is told in one. What comes back soon after it was
told of is told again only if it is worse or stays. Credentials that are in trouble for one cause
are one message, and whoever joins them later waits a while. So the number of messages is bounded
by time, whatever goes wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keyman.config import NotifyTarget, Told
from keyman.core.model import Credential
from keyman.core.news import Record
from keyman.notify.following import DAY, Records, name_in, store_in
from keyman.notify.memo import Happening, Memo, Storm, Trouble

WORST = 4  # degrees: 0 it has come · 1 2 3 less and less is left · 4 there is no usable secret
LEFT = (0.5, 0.25, 0.1)  # of the lead time: shares at which what fails or expires gets worse
APART = timedelta(minutes=15)  # between two messages about one trouble, except when it is worst
APART_WORST = timedelta(minutes=5)  # the same for one that came back as the worst
REMINDED_EVERY = timedelta(hours=1)  # of the worst, in its first day; then once a day
WEEK = timedelta(days=7)  # what stays is told again daily as long as that, and then weekly
HOLD = timedelta(minutes=10)  # those who join a cause that was told of wait so long
HOLD_FIRST = timedelta(minutes=1)  # the same for what is worst and for what is over, at first
CALM = timedelta(hours=1)  # without a message of one kind and cause: it begins anew
STORMS_KEPT = timedelta(days=2)
TROUBLE, PASSED, HAPPENED, OVER, MISSED = "trouble", "passed", "happened", "over", "missed"
KINDS = (TROUBLE, PASSED, HAPPENED, OVER, MISSED)  # by urgency


@dataclass(frozen=True, slots=True)
class Notice:
    """One message: what it is about. How it is said: wording.py."""

    event: Told
    kind: str  #: one of KINDS
    group: str = ""  #: of which messages it is one, for those that come after it
    subjects: tuple[str, ...] = ()
    happened: tuple[Happening, ...] = ()

    @property
    def urgency(self) -> tuple[int, int]:
        return KINDS.index(self.kind), -_RANK.get(self.event, 0)


_RANK = {Told.DOWN: 4, Told.STALLED: 3, Told.AT_RISK: 2, Told.FAILING: 1}


# How bad it is.


def degree(trouble: Trouble, record: Record | None, now: datetime) -> int:
    if trouble.what in (Told.MIRROR_FAILING, Told.STALLED):
        return 0
    by_word = {Told.DOWN: WORST, Told.AT_RISK: 1}.get(trouble.what, 0)
    return max(by_word, _by_life(record.credential, now) if record else 0)


def _by_life(c: Credential, now: datetime) -> int:
    v = c.current
    if v is None or v.expires_at is None:
        return 0
    if v.expired(now):
        return WORST
    left, lead = v.expires_at - now, c.policy.lead(v.life)
    return sum(left <= lead * share for share in LEFT)


def event_of(trouble: Trouble, bad: int) -> Told:
    """Under which of its names people chose to hear of it."""
    if trouble.what in (Told.MIRROR_FAILING, Told.STALLED):
        return trouble.what
    if bad >= WORST:
        return Told.DOWN
    if trouble.what is Told.EXPIRING or (trouble.what is Told.GIVEN_UP and not bad):
        return trouble.what
    return Told.AT_RISK if bad else Told.FAILING


# What is to be said.


def notices(
    memo: Memo, target: NotifyTarget, records: Records, now: datetime
) -> tuple[Notice, ...]:
    found = list(_of_troubles(memo, target, records, now))
    found += _of_happenings(memo, {name_in(s) for one in found for s in one.subjects}, now)
    if memo.missed:
        found.append(Notice(Told.OK, MISSED))
    return tuple(sorted(found, key=lambda one: one.urgency))


def _of_troubles(
    memo: Memo, target: NotifyTarget, records: Records, now: datetime
) -> Iterator[Notice]:
    groups: dict[tuple[Told, str, str], list[str]] = {}
    for subject, trouble in memo.troubles.items():
        record = records.get(name_in(subject))
        bad = degree(trouble, record, now)
        kind = _kind(trouble, bad, now)
        event = _end_of(trouble) if kind == OVER else event_of(trouble, bad)
        if kind is None or event not in target.events:
            continue
        cause = "" if kind == OVER else _cause(subject, trouble, record)
        groups.setdefault((event, kind, f"{kind} {event} {cause}"), []).append(subject)
    for (event, kind, group), subjects in groups.items():
        if not _held(memo.storms.get(group), kind, event, now):
            beside = _beside(memo, {name_in(subject) for subject in subjects})
            yield Notice(event, kind, group, tuple(subjects), beside)


def _kind(trouble: Trouble, bad: int, now: datetime) -> str | None:
    """What is to be said of it: that it is there, that it is over, or both; None: nothing."""
    if trouble.over is None:
        return TROUBLE if _is_due(trouble, bad, now) else None
    if trouble.over_told:
        return None
    if trouble.told is not None:
        return OVER
    return None if trouble.times else PASSED


def _is_due(trouble: Trouble, bad: int, now: datetime) -> bool:
    if trouble.told is None:
        worse = bad > (WORST if trouble.told_before is None else trouble.told_before)
        return worse or not trouble.times or now >= _quiet_until(trouble, bad)
    assert trouble.told_at is not None
    passed = now - trouble.told_at
    if bad > trouble.told:
        return bad >= WORST or passed >= APART
    return passed >= _reminded_after(trouble, bad, now)


def _reminded_after(trouble: Trouble, bad: int, now: datetime) -> timedelta:
    """How long after it was told it is told again, although it got no worse: nothing that stays
    is one message for ever.
    """
    if bad >= WORST:
        first_day = trouble.worst_at is None or now - trouble.worst_at < DAY
        return REMINDED_EVERY if first_day else DAY
    if trouble.what is Told.EXPIRING:  # has its own times: a half, a quarter, a tenth
        return timedelta.max
    return DAY if now - trouble.since < WEEK else WEEK


def _quiet_until(trouble: Trouble, bad: int = 0) -> datetime:
    """What is back before that is not told at once: the more often, the longer."""
    assert trouble.told_at is not None
    apart = APART_WORST if bad >= WORST else APART
    return trouble.told_at + apart * (1, 2, 4, 8)[min(trouble.times, 3)]


def _end_of(trouble: Trouble) -> Told:
    return Told.MIRROR_OK if trouble.what is Told.MIRROR_FAILING else Told.OK


_CHANGING = re.compile(r"ocid1\.\S+|'[^']*'|\"[^\"]*\"|request [\w/-]+|[0-9a-f]{8,}|[0-9]+")


def _cause(subject: str, trouble: Trouble, record: Record | None) -> str:
    """The same for whatever has one reason: without what differs from name to name."""
    if store_in(subject):
        return store_in(subject)
    name, provider = name_in(subject), record.credential.spec.provider if record else ""
    why = trouble.why.replace(name, "") if name else trouble.why
    return f"{provider} {_CHANGING.sub('', why)}"[:120]


def _held(storm: Storm | None, kind: str, event: Told, now: datetime) -> bool:
    """Is it too soon for another one? Of what passes by itself fewer and fewer are told."""
    if storm is None:
        return False
    doubled: int = 2 ** min(storm.times - 1, 6)
    if kind == PASSED:
        return now - storm.at < HOLD * doubled
    if kind == OVER or (kind == TROUBLE and event is Told.DOWN):
        return now - storm.at < min(HOLD_FIRST * doubled, HOLD)
    return now - storm.at < HOLD


def _beside(memo: Memo, names: set[str]) -> tuple[Happening, ...]:
    """What happened to the same credentials, to be said in the same message."""
    return tuple(one for one in memo.waiting if one.name in names)


def _of_happenings(memo: Memo, elsewhere: set[str], now: datetime) -> Iterator[Notice]:
    kinds: dict[Told, list[Happening]] = {}
    for one in memo.waiting:
        if one.name not in elsewhere:
            kinds.setdefault(one.what, []).append(one)
    for what, happened in kinds.items():
        if not _held(memo.storms.get(what), HAPPENED, what, now):
            yield Notice(what, HAPPENED, str(what), happened=tuple(happened))


# Once it was said.


def marked(memo: Memo, notice: Notice, records: Records, now: datetime) -> Memo:
    troubles = dict(memo.troubles)
    for subject in notice.subjects:
        known = troubles[subject]
        bad = degree(known, records.get(name_in(subject)), now)
        if known.over is not None:
            # One that passed was told of as the least: what comes back as more than that is told.
            told = replace(
                known,
                over_told=True,
                told_at=known.told_at or now,
                told_before=known.told_before or 0,
            )
        elif bad >= WORST:
            told = replace(known, told=bad, told_at=now, worst_at=known.worst_at or now)
        else:
            told = replace(known, told=max(bad, known.told or 0), told_at=now)
        troubles[subject] = told
    before = memo.storms.get(notice.group)
    goes_on = before and (notice.kind == PASSED or now - before.at < CALM)
    storm = Storm(now, before.times + 1 if before and goes_on else 1)
    return replace(
        memo,
        troubles=troubles,
        waiting=tuple(one for one in memo.waiting if one not in notice.happened),
        missed={} if notice.kind == MISSED else memo.missed,
        storms={**memo.storms, notice.group: storm} if notice.group else memo.storms,
        reached_at=now,
        failing=None,
    )


def tidied(memo: Memo, target: NotifyTarget, now: datetime) -> Memo:
    """Without what nothing more depends on."""
    kept = {key: one for key, one in memo.troubles.items() if not _done(one, target, now)}
    storms = {key: one for key, one in memo.storms.items() if now - one.at < STORMS_KEPT}
    if len(kept) == len(memo.troubles) and len(storms) == len(memo.storms):
        return memo
    return replace(memo, troubles=kept, storms=storms)


def _done(trouble: Trouble, target: NotifyTarget, now: datetime) -> bool:
    if trouble.over is None:
        return False
    kind = _kind(trouble, 0, now)
    event = _end_of(trouble) if kind == OVER else event_of(trouble, degree(trouble, None, now))
    if kind is not None and event in target.events:
        return False
    return trouble.told_at is None or now >= _quiet_until(trouble)
