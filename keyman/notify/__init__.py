"""Tells people: follows the journal's news for each target, and has messages delivered.

What a target was told is a memo in the journal (memo.py), saved after each message that went out:
whenever the power goes, at most one message comes twice and none is lost. Nothing is queued: a
target that could not be reached for a week reads on where it was, and hears of that week in one.
What is said, and when, is decided in following.py and deciding.py; how, in wording.py.

Works in a thread for each target, so that neither a rotation nor a lookup nor another target ever
waits. Changes nothing but the memos.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from keyman import errors
from keyman.clock import Clock
from keyman.config import NetworkSettings, NotifyTarget
from keyman.core.model import Secret, Spec
from keyman.core.news import News, Record
from keyman.db.journal import Journal
from keyman.lanes import Lanes
from keyman.meter import Meter
from keyman.notify.courier import HOW_TO_GET_IT, NEEDED, Courier, Sent, Silent
from keyman.notify.deciding import Notice, marked, notices, tidied
from keyman.notify.following import begun, followed, reconciled, timed
from keyman.notify.memo import Failing, Memo, memo_of, text_of
from keyman.notify.standstill import JOURNAL, Standstill
from keyman.notify.wording import Message, message

GATHERS = 10.0  # seconds after something happened: what comes with it is said with it
LOOKS_EVERY = 60.0  # seconds: what time alone brings about
SAVES_EVERY = 600.0  # seconds, where nothing was said: what is lost then is looked at again
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 900.0  # seconds until a target that failed is tried again
UNSURE_PAUSE = 300.0  # seconds, at least, where the message may have arrived
UNSURE_AT_MOST = 3  # times that such a message is sent
PAGE = 500

log = logging.getLogger("keyman.notify")


class Delivers(Protocol):
    """What a courier does."""

    def open(self, url: Secret) -> str | None: ...
    def send(self, message: Message) -> Sent: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class _Look:
    """One target, and how far it is."""

    target: NotifyTarget
    memo: Memo | None = None
    saved: Memo | None = None
    saved_at: float = 0.0  #: this and the rest in seconds since boot
    due: float = 0.0
    failures: int = 0
    retry: float = 0.0
    opened: bool = False  #: apprise could read its address


class Notifying:
    """Does nothing by itself before `start`; a command that runs alone calls `settle` instead.

    `specs()` are those of the credentials of now; `where` is how this keyman signs.
    """

    def __init__(
        self,
        journal: Journal,
        specs: Callable[[], Iterable[Spec]],
        clock: Clock,
        meter: Meter,
        *,
        where: str = "",
        courier: Callable[[NetworkSettings], Delivers] = Courier,
    ) -> None:
        self._journal = journal
        self._specs = specs
        self._clock = clock
        self._meter = meter
        self._where = where
        self._courier = courier
        self._network = NetworkSettings()
        self._looks: dict[str, _Look] = {}
        self._last: dict[str, Record] = {}
        self._running = False
        self.standstill = Standstill(clock)
        self.lanes = Lanes(self._work, width=1)

    # Who is told, and when.

    def use(self, targets: Sequence[NotifyTarget], network: NetworkSettings) -> None:
        """Tell these from now on, and no others."""
        known, soon = self._looks, self._clock.boot() + GATHERS
        looks = {one.name: known.get(one.name) or _Look(one, due=soon) for one in targets}
        for one in targets:
            look = looks[one.name]
            look.opened = look.opened and look.target.url == one.url
            look.target = one
            look.retry = 0.0  # somebody may have put it right
        self._network, self._looks = network, looks
        self._meter.targets(looks)
        if self._running:
            self._forget_others()

    def start(self) -> None:
        self._running = True
        self._forget_others()
        self._at_the_latest(self._clock.boot() + GATHERS)

    def heard(self, _: Sequence[News]) -> None:
        """Something happened that the journal tells of by now. From any thread; returns at once."""
        self._at_the_latest(self._clock.boot() + GATHERS)

    def _at_the_latest(self, boot: float) -> None:
        for look in list(self._looks.values()):
            look.due = min(look.due, boot)

    def tend(self) -> None:
        """To be called each second."""
        boot = self._clock.boot()
        for name, look in list(self._looks.items()):
            if self._running and boot >= look.due:
                look.due = boot + LOOKS_EVERY
                self.lanes.ask(name, "look")

    def sweep(self) -> None:
        """Nothing: whoever is tended each second needs no sweep."""

    def settle(self, seconds: float) -> list[str]:
        """Once, now, at most for so long. Returns a sentence for each who could not be told."""
        for name in self._looks:
            self.lanes.ask(name, "look")
        if not self.lanes.wait(seconds):
            return ["not everybody could be told in time; the next run or daemon goes on"]
        looks = list(self._looks.values())
        failing = [(one.target.name, one.memo.failing) for one in looks if one.memo]
        return [f"{name} could not be told: {how.why}" for name, how in failing if how]

    def close(self) -> None:
        """Begin nothing more, and wait for nobody."""
        self._running = False
        self.lanes.close()

    def _forget_others(self) -> None:
        try:
            gone = self._journal.told().keys() - self._looks.keys()
            if gone:
                self._journal.keep_told(dict.fromkeys(gone))
        except errors.Error as error:  # they do no harm
            log.warning("what was told to targets of before is still kept: %s", error.message)

    # In a target's thread.

    def _work(self, name: str, _: str) -> None:
        look = self._looks.get(name)
        if look is not None:
            self._look(look)

    def _look(self, look: _Look) -> None:
        records, now = self._records(), self._clock.now()
        memo = self._kept_up(look, records, now)
        if memo is None:
            return
        stalled = self.standstill.why({spec.name for spec in self._specs()})
        memo = timed(memo, look.target, records, stalled, now)
        look.memo = tidied(memo, look.target, now)
        found = notices(look.memo, look.target, records, now)
        boot = self._clock.boot()
        # A daemon tries an address also while there is nothing to say: it starts with a bad one.
        if (found or (self._running and not look.opened)) and boot >= look.retry:
            self._tell(look, found, records)
        if look.saved is None or boot - look.saved_at >= SAVES_EVERY:
            self._save(look)

    def _records(self) -> dict[str, Record]:
        """As they are; as they were, if the journal can't be read."""
        specs = list(self._specs())
        try:
            found = self._journal.load_all(specs)
        except errors.Error as error:
            self._journal_failed(error)
        else:
            self.standstill.ended(JOURNAL)
            self._last = {one.name: Record(one, seen) for one, seen in found}
        names = {spec.name for spec in specs}
        return {name: one for name, one in self._last.items() if name in names}

    def _kept_up(self, look: _Look, records: Mapping[str, Record], now: datetime) -> Memo | None:
        """The memo with all that the journal tells of; as it was, if that can't be read."""
        try:
            memo = look.memo or self._loaded(look)
            oldest, newest = self._journal.news_kept()
            first, memo = memo is None, memo or Memo()
            if not first and oldest - 1 <= memo.seen <= newest:
                return self._read(memo, look, records, now)
            # The journal is an older one than it was, or has forgotten what came since.
            begins = newest if memo.seen > newest else max(oldest - 1, 0)
            memo = self._read(replace(memo, seen=begins), look, records, now)
            memo = begun(memo) if first else memo
            return reconciled(memo, look.target, records, now)
        except errors.Error as error:
            self._journal_failed(error)
            return look.memo

    def _loaded(self, look: _Look) -> Memo | None:
        look.saved = memo_of(self._journal.told().get(look.target.name))
        return look.saved

    def _read(self, memo: Memo, look: _Look, records: Mapping[str, Record], now: datetime) -> Memo:
        while page := self._journal.news(memo.seen, PAGE):
            memo = followed(memo, page, look.target, records, now)
        return memo

    def _journal_failed(self, error: errors.Error) -> None:
        if self.standstill.failed(JOURNAL, error.message):
            log.error("people are told by what was known before: %s", error.message)

    # Delivering.

    def _tell(self, look: _Look, found: Iterable[Notice], records: Mapping[str, Record]) -> None:
        try:
            courier = self._courier(self._network)
        except OSError as error:
            self._failed(look, f"no process can be started: {error.strerror}")
            return
        try:
            refused = courier.open(look.target.url)
            if refused is not None:
                self._failed(look, REFUSED.get(refused, refused))
                return
            self._opened(look)
            for notice in found:
                if not self._told(look, notice, records, courier):
                    return
        except Silent as silence:
            self._failed(look, str(silence))
        finally:
            courier.close()

    def _told(
        self, look: _Look, notice: Notice, records: Mapping[str, Record], courier: Delivers
    ) -> bool:
        """Whether the next one may be tried: a courier that failed delivers nothing more."""
        assert look.memo is not None
        said = message(notice, look.memo, records, self._clock.now(), self._where)
        sent = courier.send(said)
        often = look.memo.unsure + 1
        if not sent.done:
            self._failed(look, sent.said, unsure=sent.unsure)
            if sent.unsure and often >= UNSURE_AT_MOST:
                self._left_at_that(look, notice, records)
            return False
        self._meter.told(look.target.name, done=True)
        if look.memo.failing is not None:
            log.info("%s is told again", look.target.name)
        look.failures, look.retry = 0, 0.0
        look.memo = replace(marked(look.memo, notice, records, self._clock.now()), unsure=0)
        self._save(look)
        return True

    def _left_at_that(self, look: _Look, notice: Notice, records: Mapping[str, Record]) -> None:
        """It was sent often enough: whoever got it must not get it for ever. Until one is surely
        delivered again, each is sent once.
        """
        assert look.memo is not None
        before, now = look.memo, self._clock.now()
        done = marked(before, notice, records, now)
        look.memo = replace(done, failing=before.failing, reached_at=before.reached_at)
        self._save(look)

    def _opened(self, look: _Look) -> None:
        """Its address can be read: what was said against that is over."""
        look.opened = True
        assert look.memo is not None
        if look.memo.failing is not None and look.memo.failing.why in REFUSED.values():
            log.info("the address of %s can be read again", look.target.name)
            look.failures, look.memo = 0, replace(look.memo, failing=None)
            self._save(look)

    def _failed(self, look: _Look, why: str, *, unsure: bool = False) -> None:
        """It is tried again, with what there is to say by then."""
        assert look.memo is not None
        known = look.memo.failing
        look.failures += 1
        pause = min(FIRST_PAUSE * 2 ** min(look.failures - 1, 10), LONGEST_PAUSE)
        pause = max(pause, UNSURE_PAUSE) if unsure else pause
        look.memo = replace(look.memo, unsure=min(look.memo.unsure + unsure, UNSURE_AT_MOST))
        look.retry = self._clock.boot() + pause
        look.due = look.retry
        self._meter.told(look.target.name, done=False)
        if known is None or known.why != why:
            log.warning("%s can't be told: %s", look.target.name, why)
            since = known.since if known else self._clock.now()
            look.memo = replace(look.memo, failing=Failing(since, why))
        if look.memo.failing != known or unsure:
            self._save(look)

    def _save(self, look: _Look) -> None:
        """If it can't be saved it holds as long as this process lives, and is tried again."""
        assert look.memo is not None
        look.saved_at = self._clock.boot()
        if look.memo == look.saved:
            return
        try:
            self._journal.keep_told({look.target.name: text_of(look.memo)})
        except errors.Error as error:
            self._journal_failed(error)
        else:
            look.saved = look.memo


REFUSED = {
    "missing": f"{NEEDED}: {HOW_TO_GET_IT}",
    "unreadable": "apprise can't read its address",
}
