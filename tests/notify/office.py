"""A real journal, keyman's teller on it, a post that a test can stop, and time as a test tells."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from keyman.config import NetworkSettings, NotifyTarget, Told
from keyman.core.model import Credential, Secret, Spec
from keyman.core.news import News
from keyman.db.journal import Journal
from keyman.meter import Meter
from keyman.notify import LOOKS_EVERY, Notifying
from keyman.notify.courier import Sent
from keyman.notify.wording import Message
from tests.credentials import NOW, SPEC
from tests.notify.story import named

SOON = 60.0  # seconds for what takes milliseconds


class PowerCut(BaseException):
    """The process is gone from here on."""


class ToldClock:
    def __init__(self) -> None:
        self.passed = timedelta(0)
        self.set_by = timedelta(0)

    def now(self) -> datetime:
        return NOW + self.passed + self.set_by

    def boot(self) -> float:
        return self.passed.total_seconds()

    monotonic = boot

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
        raise AssertionError("nobody sleeps here")


@dataclass
class Power:
    """Goes off before or after the so-many-th effect outside; None: never."""

    cut_at: int | None = None
    effects: int = 0

    def effect(self) -> None:
        if self.effects == self.cut_at:
            raise PowerCut
        self.effects += 1


@dataclass
class Post:
    """What was delivered where, and who can't be reached."""

    power: Power = field(default_factory=Power)
    got: dict[str, list[Message]] = field(default_factory=dict)
    refuses: dict[str, str] = field(default_factory=dict)  #: address → why
    partly: dict[str, str] = field(default_factory=dict)  #: it arrives, and nobody says that it did
    lost: dict[str, str] = field(default_factory=dict)  #: never arrives, and ends who carries it
    tried: list[str] = field(default_factory=list)  #: titles of what was lost so
    hangs: dict[str, threading.Event] = field(default_factory=dict)
    opened: int = 0

    def titles(self, url: str) -> list[str]:
        return [one.title.removeprefix("keyman: ") for one in self.got.get(url, [])]


@dataclass
class Carrier:
    post: Post
    url: str = ""
    dead: bool = False

    def open(self, url: Secret) -> str | None:
        self.url = url.reveal()
        self.post.opened += 1
        return "unreadable" if self.url.startswith("slak") else None

    def send(self, message: Message) -> Sent:
        if self.url in self.post.hangs:
            self.post.hangs[self.url].wait(SOON)
        if self.dead:
            return Sent(done=False, said="the process that delivers ended early", unsure=True)
        if self.url in self.post.lost:
            self.dead = True
            self.post.tried.append(message.title.removeprefix("keyman: "))
            return Sent(done=False, said=self.post.lost[self.url], unsure=True)
        if self.url in self.post.refuses:
            return Sent(done=False, said=self.post.refuses[self.url])
        self.post.power.effect()
        self.post.got.setdefault(self.url, []).append(message)
        self.post.power.effect()
        why = self.post.partly.get(self.url)
        return Sent(done=why is None, said=why or "", unsure=why is not None)

    def close(self) -> None:
        pass


class Ledger(Journal):
    """A journal whose notes about those who are told may be the last thing that is written."""

    power: Power
    broken: str = ""  #: every read and write fails so

    def keep_told(self, said: Mapping[str, str | None]) -> None:
        self.power.effect()
        super().keep_told(said)
        self.power.effect()


def hook(name: str = "hook", *events: Told, credentials: Sequence[str] = ()) -> NotifyTarget:
    target = NotifyTarget(name, Secret(f"json://{name}"), credentials=tuple(credentials))
    return replace(target, events=events) if events else target


@dataclass
class Office:
    url: str
    targets: tuple[NotifyTarget, ...] = field(default_factory=lambda: (hook(),))
    power: Power = field(default_factory=Power)
    clock: ToldClock = field(default_factory=ToldClock)
    specs: dict[str, Spec] = field(default_factory=dict)
    turns: bool = True  #: of genai come to their end all the time
    inline: bool = False  #: no threads: a power cut is met where it happens

    def __post_init__(self) -> None:
        self.post = Post(self.power)
        self.has("genai")
        self.start()

    def has(self, *names: str) -> None:
        self.specs |= {name: replace(SPEC, name=name) for name in names}

    def start(self) -> None:
        """As a new process would, on the same journal."""
        self.journal = Ledger.open(self.url)
        self.journal.power = self.power
        self.meter = Meter()
        self.teller = Notifying(
            self.journal,
            lambda: list(self.specs.values()),
            self.clock,
            self.meter,
            where="host",
            courier=lambda _: Carrier(self.post),
        )
        self.teller.use(self.targets, NetworkSettings())
        self.teller.start()

    def restarts(self) -> None:
        """After a kill, or not: nothing is handed over but the journal."""
        self.teller.close()
        self.journal.close()
        self.start()

    def happens(self, what: str, name: str = "genai", reason: str = "", **more: object) -> None:
        """It is in the journal, and whoever listens is told that there is something."""
        spec = self.specs[name]
        known, _ = self.journal.load(spec)
        word = what if what in ("failing", "at-risk", "down", "ok") else known.told
        fresh = named(name, told=word, last_error=reason or None, revision=known.revision)
        said = News(self.clock.now(), name, what, reason=reason, **more)  # type: ignore[arg-type]
        self.journal.save(self.kept(fresh, known), None, told=[said])
        self.teller.heard([said])

    def kept(self, fresh: Credential, known: Credential) -> Credential:
        return replace(fresh, spec=known.spec)

    def passes(self, **span: float) -> None:
        """Time, second by second where somebody is tended, as in the daemon."""
        left = timedelta(**span)
        while left > timedelta(0):
            step = min(left, timedelta(seconds=20 if self.inline else 5))
            self.clock.passed += step
            if self.turns:
                self.teller.standstill.ended("genai")
            left -= step
            self.tend()

    def jumps(self, **span: float) -> None:
        """Time in which nobody was there."""
        self.clock.passed += timedelta(**span)

    def tend(self) -> None:
        if self.inline:
            for name, look in self.teller._looks.items():
                if self.clock.boot() >= look.due:
                    look.due = self.clock.boot() + LOOKS_EVERY
                    self.teller._work(name, "look")
            return
        self.teller.tend()
        assert self.teller.lanes.wait(SOON)

    def heard(self, name: str = "hook") -> list[str]:
        return self.post.titles(f"json://{name}")
