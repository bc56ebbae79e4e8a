"""One target through a time that a test tells: news come, secrets age, and what it hears is kept.

Nothing but the pure half of keyman/notify, used the way its shell uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from keyman.config import NotifyTarget, Told
from keyman.core.model import Credential, Secret, Stage
from keyman.core.news import News, Record
from keyman.notify.deciding import Notice, marked, notices, tidied
from keyman.notify.following import begun, followed, reconciled, timed
from keyman.notify.memo import Memo, memo_of, text_of
from keyman.notify.wording import Message, message
from tests.credentials import BY_HAND, NOW, SPEC, credential, version

MINUTE = timedelta(minutes=1)


def target(*events: Told, credentials: Sequence[str] = ()) -> NotifyTarget:
    usual = NotifyTarget("hook", Secret("json://hook"))
    return replace(usual, events=events or usual.events, credentials=tuple(credentials))


def named(name: str, *, spec: Any = SPEC, ends: timedelta | None = None, **more: Any) -> Credential:
    """A credential with one current version."""
    expires: dict[str, Any] = {} if ends is None else {"expires_at": NOW + ends}
    current = version(1, Stage.CURRENT, **expires)
    return credential(current, spec=replace(spec, name=name), **more)


def by_hand(name: str, ends: timedelta, before: timedelta = timedelta(days=14)) -> Credential:
    policy = replace(BY_HAND.policy, rotate_before=before)
    return named(name, spec=replace(BY_HAND, policy=policy, provider="static"), ends=ends)


@dataclass
class Story:
    target: NotifyTarget = field(default_factory=target)
    credentials: list[Credential] = field(default_factory=lambda: [named("genai")])
    now: datetime = NOW
    memo: Memo = field(default_factory=Memo)
    said: list[Message] = field(default_factory=list)
    stalled: str | None = None
    fails: bool = False  #: nothing can be delivered
    number: int = 0
    untold: list[tuple[int, News]] = field(default_factory=list)

    @property
    def records(self) -> dict[str, Record]:
        return {one.name: Record(one, None) for one in self.credentials}

    def happens(self, what: str, name: str = "genai", reason: str = "", **more: Any) -> None:
        self.number += 1
        self.untold.append((self.number, News(self.now, name, what, reason=reason, **more)))

    def passes(self, **span: float) -> None:
        self.now += timedelta(**span)

    def replace(self, fresh: Credential) -> None:
        self.credentials = [one for one in self.credentials if one.name != fresh.name] + [fresh]

    def look(self) -> list[str]:
        """What it hears now, as `event/kind: names`, the way one look of the shell goes."""
        self.memo = followed(self.memo, self.untold, self.target, self.records, self.now)
        self.untold = []
        self.memo = timed(self.memo, self.target, self.records, self.stalled, self.now)
        self.memo = tidied(self.memo, self.target, self.now)
        heard = []
        for one in notices(self.memo, self.target, self.records, self.now):
            if self.fails:
                break
            self.said.append(message(one, self.memo, self.records, self.now, "host"))
            heard.append(in_short(one))
            self.memo = marked(self.memo, one, self.records, self.now)
        assert memo_of(text_of(self.memo)) == self.memo, "it comes back as it was kept"
        return heard

    def looks(self, every: timedelta = MINUTE, **span: float) -> list[str]:
        """All that it hears in that time, looked at each minute."""
        heard, until = self.look(), self.now + timedelta(**span)
        while self.now < until:
            self.now = min(self.now + every, until)
            heard += self.look()
        return heard

    def begins(self) -> None:
        """As for a target that is new in the configuration: nothing was ever told."""
        memo = followed(Memo(), self.untold, self.target, self.records, self.now)
        self.untold = []
        self.memo = reconciled(begun(memo), self.target, self.records, self.now)


def in_short(notice: Notice) -> str:
    names = notice.subjects or tuple(one.name for one in notice.happened)
    also = "".join(f" +{one.what}" for one in notice.happened if notice.subjects)
    return f"{notice.event}/{notice.kind}: {', '.join(names)}{also}".rstrip(": ")
