"""What is counted while keyman works, for `/metrics`: plain numbers, kept in memory.

Counting starts anew with each start of the daemon, as counters of Prometheus may. Rotations are
rare, so one lock is enough for them; lookups are counted by those who answer them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from keyman import errors
from keyman.core.model import Credential
from keyman.core.news import GIVEN_UP, PROMOTED, News

OUTCOMES = (PROMOTED, GIVEN_UP)  # of a rotation
WORDS: tuple[tuple[type[errors.Error], str], ...] = (
    (errors.Rejected, "rejected"),
    (errors.RetryLater, "retry_later"),
    (errors.Unknown, "unknown"),
    (errors.SecretLost, "secret_lost"),
    (errors.StoreFailed, "store_failed"),
)
DONE, FAILED = "done", "failed"

Call = tuple[str, str]  # kind of provider, name of the step that asks it


@dataclass(slots=True)
class Spent:
    seconds: float = 0.0
    times: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """Messages that one target got, tries that came to nothing, and how the last one ended."""

    sent: int = 0
    failed: int = 0
    failing: bool = False


@dataclass(slots=True)
class Figures:
    """All that was counted, as of one moment."""

    health: dict[str, str] = field(default_factory=dict)
    rotations: dict[tuple[str, str], int] = field(default_factory=dict)
    calls: dict[tuple[str, str, str], int] = field(default_factory=dict)
    spent: dict[Call, Spent] = field(default_factory=dict)
    last_turn: datetime | None = None
    behind: dict[tuple[str, str], bool] = field(default_factory=dict)  #: credential, mirror
    turns_failed: int = 0
    told: dict[str, Told] = field(default_factory=dict)  #: by the names of those who are told


class Meter:
    """Any thread may count, any thread may read."""

    def __init__(self) -> None:
        self._figures = Figures()
        self._lock = threading.Lock()

    def knows(self, credential: Credential) -> None:
        """How it is, as of its newest record."""
        with self._lock:
            self._figures.health[credential.name] = credential.told or ""

    def keep(self, names: Collection[str]) -> None:
        """Forget the credentials that left the configuration."""
        with self._lock:
            figures = self._figures
            figures.health = {n: how for n, how in figures.health.items() if n in names}
            figures.rotations = {k: n for k, n in figures.rotations.items() if k[0] in names}

    def heard(self, news: Sequence[News]) -> None:
        with self._lock:
            for one in news:
                if one.what in OUTCOMES:
                    key = one.name, one.what
                    self._figures.rotations[key] = self._figures.rotations.get(key, 0) + 1

    def mirrors(self, behind: Mapping[tuple[str, str], bool]) -> None:
        """Which stores follow which credentials, and whether each is behind."""
        with self._lock:
            self._figures.behind = dict(behind)

    def mirror(self, name: str, store: str, *, behind: bool) -> None:
        """How it is with one of them, unless it is followed no more."""
        with self._lock:
            if (name, store) in self._figures.behind:
                self._figures.behind[name, store] = behind

    def targets(self, names: Collection[str]) -> None:
        """Who is told what happens; forget the others."""
        with self._lock:
            known = self._figures.told
            self._figures.told = {name: known.get(name, Told()) for name in names}

    def told(self, target: str, *, done: bool) -> None:
        """A message was delivered, or could not be."""
        with self._lock:
            known = self._figures.told.get(target)
            if known is not None:
                sent, failed = known.sent + done, known.failed + (not done)
                self._figures.told[target] = Told(sent, failed, failing=not done)

    def turn_failed(self) -> None:
        """A turn came to no end: the journal, or a fault of our own."""
        with self._lock:
            self._figures.turns_failed += 1

    def turned(self, now: datetime) -> None:
        """A turn came to its end, whatever there was to do in it."""
        self._figures.last_turn = now

    @contextmanager
    def asking(self, provider: str, step: str, clock: Callable[[], float]) -> Iterator[None]:
        """Round a step that asks the provider: how it ends, and how many seconds it takes."""
        began, outcome = clock(), FAILED
        try:
            yield
            outcome = DONE
        except errors.Error as error:
            outcome = next((word for kind, word in WORDS if isinstance(error, kind)), FAILED)
            raise
        finally:
            self._asked(provider, step, outcome, clock() - began)

    def _asked(self, provider: str, step: str, outcome: str, seconds: float) -> None:
        with self._lock:
            calls = self._figures.calls
            calls[provider, step, outcome] = calls.get((provider, step, outcome), 0) + 1
            spent = self._figures.spent.setdefault((provider, step), Spent())
            spent.seconds += seconds
            spent.times += 1

    def read(self) -> Figures:
        with self._lock:
            now = self._figures
            return Figures(
                dict(now.health),
                dict(now.rotations),
                dict(now.calls),
                {call: Spent(s.seconds, s.times) for call, s in now.spent.items()},
                now.last_turn,
                dict(now.behind),
                now.turns_failed,
                dict(now.told),
            )
