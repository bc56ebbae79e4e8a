"""What people read: a subject line, what it is about, why, and the next move. Pure.

Whatever came from outside passes through `harmless` on its way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from keyman.config import Told
from keyman.core.health import trouble
from keyman.core.model import Credential
from keyman.core.news import Record
from keyman.notify.deciding import MISSED, OVER, PASSED, TROUBLE, WORST, Notice, degree
from keyman.notify.following import Records, name_in, store_in
from keyman.notify.harmless import clock_text, harmless, hint, span
from keyman.notify.memo import Happening, Memo, Trouble

LISTED_AT_MOST = 10
TITLE_AT_MOST = 120  # characters
MOVE_AT_MOST = 700


@dataclass(frozen=True, slots=True)
class Message:
    title: str
    body: str
    kind: str = "info"  #: info | success | warning | failure: services colour it


# A message.


def message(
    notice: Notice, memo: Memo, records: Records, now: datetime, where: str = ""
) -> Message:
    """`where`: which keyman it is that speaks."""
    if notice.kind == MISSED:
        title, lines = _of_missed(memo)
    elif notice.subjects:
        title, lines = _of_troubles(notice, memo, records, now)
    else:
        title, lines = _of_happenings(notice.happened)
    signed = [*lines, f"Told by: keyman on {harmless(where, 100)}"] if where else lines
    cut = title if len(title) <= TITLE_AT_MOST else title[: TITLE_AT_MOST - 1] + "…"
    return Message(f"keyman: {cut}", "\n".join(signed), _kind(notice))


def _kind(notice: Notice) -> str:
    if notice.kind in (OVER, MISSED):
        return "success" if notice.kind == OVER else "info"
    if notice.event in (Told.DOWN, Told.AT_RISK, Told.STALLED):
        return "failure" if notice.kind == TROUBLE else "warning"
    routine = notice.event in (Told.PROMOTED, Told.RETIRED, Told.REVOKED)
    return "info" if routine else "warning"


def _of_troubles(
    notice: Notice, memo: Memo, records: Records, now: datetime
) -> tuple[str, list[str]]:
    subjects = notice.subjects
    if len(subjects) == 1:
        (subject,) = subjects
        about = _About(subject, memo.troubles[subject], records.get(name_in(subject)), now)
        return about.title(notice), [*about.lines(notice), *_also(notice.happened)]
    abouts = [
        _About(one, memo.troubles[one], records.get(name_in(one)), now)
        for one in subjects[:LISTED_AT_MOST]
    ]
    why = abouts[0].why if notice.kind != OVER else ""
    title = f"{_many(notice)}: {why}" if why else _many(notice)
    lines = [f"- {about.in_short(notice)}" for about in abouts]
    if len(subjects) > len(abouts):
        lines.append(f"- and {len(subjects) - len(abouts)} more: `keyman status` shows all")
    if notice.kind != OVER:
        lines.append(f"Next: {abouts[0].next_move(notice)}")
    return title, [*lines, *_also(notice.happened)]


def _many(notice: Notice) -> str:
    names = len({name_in(subject) for subject in notice.subjects})
    count = f"{names} credential{'' if names == 1 else 's'}"
    if notice.kind == OVER:
        return f"{count}: over, all is well again"
    if notice.kind == PASSED:
        return f"{count} failed and {'is' if names == 1 else 'are'} well again"
    return f"{count} {_SAID[notice.event]}"


_SAID = {
    Told.FAILING: "failing",
    Told.AT_RISK: "at risk",
    Told.DOWN: "down: no usable secret",
    Told.EXPIRING: "expiring",
    Told.MIRROR_FAILING: "not followed by a mirror",
    Told.GIVEN_UP: "with a new version that came to nothing",
}


@dataclass(frozen=True, slots=True)
class _About:
    """One trouble, with what is known of its credential now."""

    subject: str
    trouble: Trouble
    record: Record | None
    now: datetime

    @property
    def name(self) -> str:
        return name_in(self.subject)

    @property
    def store(self) -> str:
        return store_in(self.subject)

    @property
    def _credential(self) -> Credential | None:
        return self.record.credential if self.record else None

    @property
    def _of_now(self) -> tuple[str, str] | None:
        """What is wrong with the credential at this moment, and the next move."""
        if self.store or self.record is None:
            return None
        return trouble(self.record.credential, self.record.observed, self.now)

    @property
    def why(self) -> str:
        now = self._of_now if self.trouble.over is None else None
        return harmless(now[0] if now else self.trouble.why)

    @property
    def left(self) -> str:
        """How long lookups still get something."""
        v = self._credential.current if self._credential else None
        if v is None or v.dead_at is not None or not v.stored or v.expires_at is None:
            return ""  # nothing, or for nobody knows how long
        if v.expired(self.now):
            return f"version {v.number} expired {clock_text(v.expires_at)}"
        return f"version {v.number} ends in {span(v.expires_at - self.now)}"

    @property
    def by_hand(self) -> bool:
        return self._credential is not None and not self._credential.spec.issues

    def title(self, notice: Notice) -> str:
        if notice.kind == OVER:
            return self._title_of_end()
        if notice.kind == PASSED:
            return f"{self._what} failed and is well again"
        still = "still " if self.trouble.told is not None else ""
        if notice.event is Told.STALLED:
            return f"keyman's own work {still}does not go on: {self.why}"
        if notice.event is Told.MIRROR_FAILING:
            return f"the mirror {self.store} of {self.name} {still}fails: {self.why}"
        if notice.event is Told.GIVEN_UP:
            return f"{self.name}: a new version came to nothing: {self.why}"
        if notice.event is Told.EXPIRING:
            return f"{self.name}: {self.left}, and nothing replaces it"
        ending = degree(self.trouble, self.record, self.now) in range(1, WORST)
        because = self.left if ending and self.trouble.told is not None else self.why
        said = f"{self.name} is {still}{_SAID[notice.event]}"
        return f"{said}: {because}" if because else said

    def _title_of_end(self) -> str:
        if self.trouble.what is Told.STALLED:
            return "keyman's own work goes on again"
        if self.store:
            return f"the mirror {self.store} of {self.name} follows again"
        if self.trouble.what is Told.EXPIRING:
            return f"{self.name} has a secret that lasts again"
        return f"{self.name} is well again"

    @property
    def _what(self) -> str:
        return f"the mirror {self.store} of {self.name}" if self.store else self.name or "keyman"

    def lines(self, notice: Notice) -> Iterator[str]:
        yield f"What: {self._state(notice)}"
        if self.left and not self.store:
            yield f"Left: {self.left}"
        if self.why:
            yield f"Why: {self.why}"
        yield f"Next: {self.next_move(notice)}"

    def _state(self, notice: Notice) -> str:
        since = clock_text(self.trouble.since)
        kind = f" ({self._credential.spec.provider})" if self._credential else ""
        what = f"{self._what}{kind}"
        if self.trouble.over is not None:
            lasted = span(self.trouble.over - self.trouble.since)
            return f"{what}: {self.trouble.what} since {since}, over after {lasted}"
        often = f"{self.trouble.times} times" if self.trouble.times > 1 else "once"
        times = f", came back {often}" if self.trouble.times else ""
        return f"{what}: {notice.event} since {since}{times}"

    def in_short(self, notice: Notice) -> str:
        said = [self._what, self.left if not self.store else "", "" if self.store else self.why]
        if notice.kind == OVER:
            said = [self._what, f"{self.trouble.what} since {clock_text(self.trouble.since)}"]
        return ", ".join(part for part in said if part)

    def next_move(self, notice: Notice) -> str:
        if self.trouble.over is not None:
            return "nothing to do"
        now = self._of_now
        if now and now[1] and not (self.by_hand and self._ends):
            # Commands with an OCID or two are long; what they lead to stands at the end.
            return hint(now[1], MOVE_AT_MOST)
        return self._usual_move(notice.event)

    @property
    def _ends(self) -> bool:
        v = self._credential.current if self._credential else None
        return self.trouble.what is Told.EXPIRING or (v is not None and v.expired(self.now))

    def _usual_move(self, event: Told) -> str:
        if event is Told.STALLED:
            return "look at the daemon's log and the disk of its home; `keyman check` looks further"
        if event is Told.MIRROR_FAILING:
            return f"keyman goes on trying; `keyman store check {self.store}` tries it now"
        if self.by_hand:
            return f"`keyman put {self.name}` brings the next secret"
        if event is Told.GIVEN_UP:
            say = f"`keyman status {self.name}` shows how it goes"
            return f"nothing yet: another one is asked for; {say}"
        if event is Told.FAILING:
            return f"`keyman status {self.name}` shows how it goes on; `keyman check` asks now"
        return (
            f"`keyman status {self.name}` says what it waits for; `keyman check` asks the provider"
        )


# What happened.


def _also(happened: Sequence[Happening]) -> list[str]:
    return [f"Also: {_happening(one)}" for one in happened[:LISTED_AT_MOST]]


def _of_happenings(happened: Sequence[Happening]) -> tuple[str, list[str]]:
    what = happened[0].what
    lines = [f"- {_happening(one)}, {clock_text(one.at)}" for one in happened[:LISTED_AT_MOST]]
    if len(happened) > LISTED_AT_MOST:
        more = f"- and {len(happened) - LISTED_AT_MOST} more: "
        lines.append(more + "`keyman status` shows how all are")
    lines.append(f"Next: {_after(what, happened[0].name)}")
    if len(happened) == 1:
        return _happening(happened[0]), lines
    names = len({one.name for one in happened})
    return f"{what}: {len(happened)} times, of {names} credential{'s'[: names != 1]}", lines


def _happening(one: Happening) -> str:
    version = f" version {one.version}" if one.version is not None else ""
    slot = f" in {harmless(one.slot, 60)}" if one.slot else ""
    why = f": {harmless(one.why)}" if one.why else ""
    return f"{one.name}: {one.what}{version}{slot}{why}"


def _after(what: Told, name: str) -> str:
    if what is Told.DRIFT:
        return (
            f"if it was not one of you, ask who has access to the provider's console; "
            f"`keyman status {name}` shows what keyman does about it, and asks of you"
        )
    return "nothing to do"


def _of_missed(memo: Memo) -> tuple[str, list[str]]:
    told = [f"- {what}: {count}" for what, count in sorted(memo.missed.items())]
    since = f" since {clock_text(memo.reached_at)}" if memo.reached_at else ""
    title = f"{sum(memo.missed.values())} things happened that are over by now"
    lines = [f"Nobody could be told here{since}. What came and went meanwhile:", *told]
    return title, [*lines, "Next: nothing to do; `keyman status` shows how all are now"]


def trial(name: str, where: str) -> Message:
    """What `keyman notify test` sends."""
    body = f"What: this is a test of the target {name}; nothing is wrong.\nNext: nothing to do"
    return Message("keyman: a test message", f"{body}\nTold by: keyman on {harmless(where, 100)}")
