"""When things are due: policy values, maintenance windows, backoff and jitter.

All of it is arithmetic on times handed in. Jitter is a hash of the name, never dice, so that
asking twice gives the same answer and a fleet of credentials still spreads out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum
from hashlib import sha256
from math import ceil

JITTER = 0.1  # of rotate_before: how far starts of different names are spread
WISH_LIVES = timedelta(hours=23)  # providers remember a retry token for 24 hours
GIVE_UPS_BEFORE_FAILING = 3


class RetireBy(StrEnum):
    """How a replaced version is switched off when its overlap is over."""

    DEACTIVATE = "deactivate"
    REVOKE = "revoke"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Window:
    """Weekly hours in which rotations may begin, e.g. Mon-Fri 09:00-17:00 in some zone."""

    days: frozenset[int]  # Monday is 0
    start: time
    end: time
    zone: tzinfo

    def opening(self, at: datetime) -> datetime:
        """The first moment, at or after `at`, that lies in the window (UTC)."""
        local = at.astimezone(self.zone)
        for ahead in range(15):  # the night in which clocks go forward may have none of it
            day = (local + timedelta(days=ahead)).date()
            opens = datetime.combine(day, self.start, self.zone).astimezone(UTC)
            closes = datetime.combine(day, self.end, self.zone).astimezone(UTC)
            if day.weekday() in self.days and max(at, opens) < closes:
                return max(at, opens)
        raise AssertionError("a window with at least one day opens within two weeks")


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff between failed attempts."""

    first: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    max: timedelta = timedelta(hours=1)

    @property
    def longest(self) -> timedelta:
        """Nobody rests longer, whatever a provider asks for."""
        return max(self.max, timedelta(hours=1))

    def delay(self, failures: int, name: str) -> timedelta:
        """How long to rest after so many failures in a row (at least one)."""
        grown = self.first.total_seconds() * self.factor ** min(failures - 1, 60)
        capped = min(grown, self.max.total_seconds())
        return timedelta(seconds=capped * (1 - 0.2 * fraction(f"{name}/{failures}")))


@dataclass(frozen=True, slots=True)
class Verification:
    """How a new secret proves itself before it is promoted; successes = 0 asks for no proof."""

    successes: int = 2
    every: timedelta = timedelta(seconds=1)
    within: timedelta = timedelta(seconds=120)

    def wanted(self, refusals: int) -> int:
        """How many acceptances in a row prove a secret that was refused so often before.

        A provider's nodes hear of it one after the other: who met one that had not heard yet goes
        on for as long again, and for a sixth of `within` at least.
        """
        if not refusals or not self.every:
            return self.successes
        return max(self.successes, refusals, ceil(self.within / 6 / self.every))


@dataclass(frozen=True, slots=True)
class Policy:
    lifetime: timedelta = timedelta(days=90)
    rotate_before: timedelta = timedelta(days=60)
    rotate_before_share: float = 0.0  #: of the life that the provider gave it, if that is longer
    overlap: timedelta = timedelta(hours=24)
    max_overlap: timedelta | None = None
    wait_for_clients: bool = False  #: with the end of an overlap, as long as they are connected
    retire: RetireBy = RetireBy.DEACTIVATE
    window: Window | None = None
    max_client_staleness: timedelta = timedelta(seconds=60)
    observe_every: timedelta = timedelta(minutes=15)
    retry: Retry = field(default_factory=Retry)
    verify: Verification = field(default_factory=Verification)

    def problems(self) -> list[str]:
        """Every reason why this policy can't be held; empty if it can."""
        said = []
        if self.rotate_before >= self.lifetime:
            said.append("rotate_before must be less than lifetime")
        elif self.overlap > self.lifetime - self.rotate_before:
            said.append("overlap must not exceed lifetime - rotate_before")
        if self.overlap < self.max_client_staleness:
            stale = f"{self.max_client_staleness.total_seconds():g}s"
            said.append(f"overlap must be at least max_client_staleness, which is {stale}")
        if self.max_overlap is not None and self.max_overlap < self.overlap:
            said.append("max_overlap must be at least overlap")
        return said

    def lead(self, life: timedelta | None = None) -> timedelta:
        """How long before the end of a secret with that life its replacement should begin."""
        return max(self.rotate_before, (life or timedelta(0)) * self.rotate_before_share)

    def rotate_at(self, expires_at: datetime, name: str, life: timedelta | None = None) -> datetime:
        """When the replacement of a secret that expires then should begin."""
        lead = self.lead(life)
        due = expires_at - lead * (1 - JITTER * fraction(name))
        if self.window is None:
            return due
        # A window that opens too late is not worth half of the safety margin.
        return min(self.window.opening(due), expires_at - lead / 2)

    def standby_expiry(self, now: datetime) -> datetime:
        """Expiry for the slot nobody uses yet.

        Never together with the first one's, and well after the rotation that will fill it.
        """
        return now + self.lifetime - self.rotate_before / 2


def fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(sha256(text.encode()).digest()[:6]) / 2**48
