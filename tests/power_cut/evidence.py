"""What was seen during one life: by clients, by people, and by the one who kills.

Times are this machine's, as are the cloud's. A secret is kept by its SHA-256, which is also how the
cloud's log names it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Handed:
    """A lookup that the agent answered with its current version."""

    client: str
    asked: datetime
    answered: datetime
    version: int
    secret: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Called:
    """A call of inference that the cloud answered."""

    client: str
    began: datetime
    ended: datetime
    secret: str
    status: int


@dataclass(frozen=True, slots=True)
class Ordered:
    """A person's order. Whether a daemon that was killed meanwhile took it down is not known."""

    at: datetime
    verb: str
    body: dict[str, object]
    key: str
    answered: bool
    leaked: str | None = None  # the secret that is to be destroyed
    slot: str | None = None


@dataclass(slots=True)
class Kill:
    """One kill -9."""

    how: str
    started: datetime
    at: datetime
    open_versions: int = 0
    current: int | None = None
    secret: str | None = None
    still_on: dict[int, str] = field(default_factory=dict)  # recorded as retired, and taken
    accepted: bool | None = None
    inspected: datetime | None = None

    def __str__(self) -> str:
        lived = (self.at - self.started).total_seconds()
        return f"{self.at:%H:%M:%S.%f} after {lived:.2f} s: {self.how}"


@dataclass(slots=True)
class Evidence:
    handed: list[Handed] = field(default_factory=list)
    called: list[Called] = field(default_factory=list)
    ordered: list[Ordered] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    reports: list[datetime] = field(default_factory=list)  # of refusals, by clients
    said: list[str] = field(default_factory=list)  # broken already while it went on
    unanswered: int = 0  # lookups while nobody, or nothing usable, was there
    drifts: int = 0

    def leaked(self) -> set[str]:
        return {order.leaked for order in self.ordered if order.leaked}
