"""What a target is to be told, kept up with what is so: pure.

    followed    news of the journal  →  troubles that come and go, and what else happened
    timed       what time alone shows  →  secrets that come to their end, work that stands still
    reconciled  the records themselves, where news were missed that are not kept any more

What happened long ago, while nobody could be told, is only counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keyman.config import NotifyTarget, Told
from keyman.core.model import Credential
from keyman.core.news import (
    GIVEN_UP,
    MIRROR_FAILING,
    MIRROR_OK,
    PROMOTED,
    UNWELL,
    WELL_AGAIN,
    News,
    Record,
)
from keyman.notify.memo import Happening, Memo, Trouble

OLD = timedelta(hours=1)  # what happened before that is not told singly any more
OVERDUE = 0.4  # of the lead time is left, and nothing came of a rotation that was due long before
OVERDUE_FOR = timedelta(hours=6)
GIVEN_UP_FOR = timedelta(minutes=10)  # until it is seen whether another version is begun
DAY = timedelta(days=1)
WAITING_AT_MOST = 100  # of what happened; the rest is only counted
WHY_AT_MOST = 300  # characters
ITSELF = ""  # the subject of trouble that is keyman's own

KNOWN = frozenset(str(one) for one in Told)

Records = Mapping[str, Record]  # by the names of their credentials


def subject_of(name: str, store: str = "") -> str:
    return f"{name}@{store}" if store else name


def name_in(subject: str) -> str:
    return subject.partition("@")[0]


def store_in(subject: str) -> str:
    return subject.partition("@")[2]


def wants(target: NotifyTarget, name: str) -> bool:
    return not target.credentials or name in target.credentials


@dataclass(slots=True)
class _Draft:
    """A memo while it is being changed: ten thousand troubles may come at once."""

    target: NotifyTarget
    now: datetime
    troubles: dict[str, Trouble]
    waiting: list[Happening]
    missed: dict[Told, int]

    def opened(self, subject: str, what: Told, why: str, at: datetime) -> None:
        known, why = self.troubles.get(subject), why[:WHY_AT_MOST]
        if known is None:
            opened = Trouble(what, at, why)
        elif known.over is None or (known.told is not None and not known.over_told):
            # It goes on, or was over for a moment that nobody was told of.
            opened = replace(known, what=what, why=why or known.why, over=None)
        else:
            back = known.told_at is not None
            told = known.told_before if known.told is None else known.told
            times = known.times + back
            opened = Trouble(what, at, why, told_at=known.told_at, told_before=told, times=times)
        self.troubles[subject] = opened

    def closed(self, subject: str, at: datetime) -> None:
        known = self.troubles.get(subject)
        if known is None or known.over is not None:
            return
        if known.told is None and self.now - at > OLD:
            del self.troubles[subject]
            self.miss(known.what)
        else:
            self.troubles[subject] = replace(known, over=at)

    def given_up(self, name: str, why: str, at: datetime) -> None:
        """The first sign of a trouble, if there is none yet: it may go on to fail."""
        known = self.troubles.get(name)
        if known is None or known.over is not None:
            self.opened(name, Told.GIVEN_UP, why, at)

    def promoted(self, name: str, what: str, at: datetime) -> None:
        known = self.troubles.get(name)
        if what == PROMOTED and known is not None and known.what is Told.GIVEN_UP:
            self.closed(name, at)

    def happened(self, one: Happening) -> None:
        if one.what not in self.target.events:
            return
        if self.now - one.at > OLD or len(self.waiting) >= WAITING_AT_MOST:
            self.miss(one.what)
        else:
            self.waiting.append(one)

    def miss(self, what: Told) -> None:
        if what in self.target.events:
            self.missed[what] = self.missed.get(what, 0) + 1

    def keep(self, records: Records) -> None:
        """Only what is about those of whom this target is to hear."""
        known = {name for name in records if wants(self.target, name)} | {ITSELF}
        self.troubles = {one: t for one, t in self.troubles.items() if name_in(one) in known}
        self.waiting = [one for one in self.waiting if one.name in known]


def _draft(memo: Memo, target: NotifyTarget, now: datetime) -> _Draft:
    return _Draft(target, now, dict(memo.troubles), list(memo.waiting), dict(memo.missed))


def _memo(memo: Memo, draft: _Draft) -> Memo:
    fresh = replace(
        memo, troubles=draft.troubles, waiting=tuple(draft.waiting), missed=draft.missed
    )
    return memo if fresh == memo else fresh


# What the journal tells.


def followed(
    memo: Memo,
    page: Iterable[tuple[int, News]],
    target: NotifyTarget,
    records: Records,
    now: datetime,
) -> Memo:
    draft, seen = _draft(memo, target, now), memo.seen
    for number, one in page:
        seen = number
        if wants(target, one.name):
            _heard(draft, one, records.get(one.name))
    return replace(_memo(memo, draft), seen=seen)


def _heard(draft: _Draft, one: News, record: Record | None) -> None:
    if one.what not in KNOWN:  # of a later version, whose journal was brought here
        return
    what, (store, _, why) = Told(one.what), one.reason.partition(":")
    if one.what in UNWELL:
        draft.opened(one.name, what, one.reason, one.at)
    elif one.what == GIVEN_UP:
        draft.given_up(one.name, one.reason, one.at)
    elif one.what == WELL_AGAIN:
        draft.closed(one.name, one.at)
    elif one.what == MIRROR_FAILING:
        draft.opened(subject_of(one.name, store), what, why.strip(), one.at)
    elif one.what == MIRROR_OK:
        draft.closed(subject_of(one.name, store), one.at)
    else:
        draft.promoted(one.name, one.what, one.at)
        if record is not None and record.credential.spec.mints:
            return  # tokens come and go all day
        why = one.reason[:WHY_AT_MOST]
        draft.happened(Happening(what, one.name, one.at, one.version, one.slot, why))


def begun(memo: Memo) -> Memo:
    """For whoever is told from now on: what is wrong counts, what was wrong does not."""
    open_still = {key: one for key, one in memo.troubles.items() if one.over is None}
    return replace(memo, troubles=open_still, waiting=(), missed={})


def reconciled(memo: Memo, target: NotifyTarget, records: Records, now: datetime) -> Memo:
    draft = _draft(memo, target, now)
    for name, record in records.items():
        word, known = record.credential.told, draft.troubles.get(name)
        if word in UNWELL and word is not None:
            why = record.credential.last_error or ""
            draft.opened(name, Told(word), why, known.since if known else now)
        elif known is not None and str(known.what) in UNWELL:
            draft.closed(name, now)
    draft.keep(records)
    return _memo(memo, draft)


# What time tells.


def timed(
    memo: Memo, target: NotifyTarget, records: Records, stalled: str | None, now: datetime
) -> Memo:
    """`stalled`: why keyman's own work does not go on, if it does not."""
    draft = _draft(memo, target, now)
    for name, record in records.items():
        _ends(draft, name, ends=ending(record.credential, now))
        _let_go(draft, name, record.credential)
    if stalled:
        draft.opened(ITSELF, Told.STALLED, stalled, now)
    else:
        draft.closed(ITSELF, now)
    draft.keep(records)
    return _memo(memo, draft)


def _ends(draft: _Draft, name: str, *, ends: bool) -> None:
    known = draft.troubles.get(name)
    goes_on = known is not None and known.over is None
    if ends and not goes_on:
        draft.opened(name, Told.EXPIRING, "", draft.now)
    if known is not None and goes_on and not ends and known.what is Told.EXPIRING:
        draft.closed(name, draft.now)


def _let_go(draft: _Draft, name: str, c: Credential) -> None:
    """What came to nothing is over when nobody wishes it any more."""
    known = draft.troubles.get(name)
    if known is None or known.what is not Told.GIVEN_UP or c.told in UNWELL:
        return
    if c.open_version is None and draft.now - known.since > GIVEN_UP_FOR:
        draft.closed(name, draft.now)


def ending(c: Credential, now: datetime) -> bool:
    """Does its secret come to its end while nobody and nothing replaces it?"""
    v = c.current
    if v is None or v.expires_at is None:
        return False
    left, lead = v.expires_at - now, c.policy.lead(v.life)
    if not c.spec.issues:
        return left <= lead
    settled = v.promoted_at is not None and now - v.promoted_at > OVERDUE_FOR
    return settled and lead >= DAY and left <= lead * OVERDUE
