"""What was seen of one credential during a life: by clients, by people, and by the one who kills.

Times are this machine's, as are the clouds'. A secret is kept by its SHA-256, which is also how the
clouds' logs name it.
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
class Nothing:
    """A lookup to which the agent said that there is no usable secret."""

    client: str
    asked: datetime
    answered: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Called:
    """A call of inference that the cloud answered."""

    client: str
    began: datetime
    ended: datetime
    secret: str
    status: int


@dataclass(frozen=True, slots=True)
class Reported:
    """A client's report of a refusal; `answered` None: nobody answered it."""

    at: datetime
    version: int
    secret: str
    answered: datetime | None = None


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


@dataclass(frozen=True, slots=True)
class Put:
    """A secret that a person brought; `version` None: nobody said that it was taken."""

    at: datetime
    secret: str
    ends: datetime | None = None
    answered: datetime | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What strangers get from a store from then on; `secret` None: nothing."""

    store: str
    at: datetime
    secret: str | None
    promoted: bool  # the journal said by then that it was current


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill -9."""

    how: str
    started: datetime
    at: datetime

    def __str__(self) -> str:
        lived = (self.at - self.started).total_seconds()
        return f"{self.at:%H:%M:%S.%f} after {lived:.2f} s: {self.how}"


@dataclass(slots=True)
class Found:
    """What lay on the disk after a kill, beside what the cloud took then."""

    kill: Kill
    at: datetime
    open_versions: int = 0
    stored: frozenset[str] = frozenset()  # every secret in the store
    latest: int | None = None  # the version that was promoted last, whether or not it is dead
    current: int | None = None  # the same, if lookups may be answered with it
    secret: str | None = None
    accepted: bool | None = None
    not_kept: tuple[int, ...] = ()  # versions whose secret is not in the store as it must be
    still_on: dict[int, str] = field(default_factory=dict)  # recorded as over, and taken


@dataclass(slots=True)
class Evidence:
    handed: list[Handed] = field(default_factory=list)
    nothing: list[Nothing] = field(default_factory=list)
    called: list[Called] = field(default_factory=list)
    reported: list[Reported] = field(default_factory=list)
    ordered: list[Ordered] = field(default_factory=list)
    put: list[Put] = field(default_factory=list)
    started: list[datetime] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    drifted: list[datetime] = field(default_factory=list)  # hands in the console
    shown: list[Shown] = field(default_factory=list)  # each change
    broke: list[datetime] = field(default_factory=list)  # calls that its store did not answer
    said: list[str] = field(default_factory=list)  # broken already while it went on

    def leaked(self) -> set[str]:
        return {order.leaked for order in self.ordered if order.leaked}

    def wishes(self) -> list[datetime]:
        """When somebody told keyman something that may make it act: an order, or a refusal."""
        return [*(order.at for order in self.ordered), *(report.at for report in self.reported)]

    def digests(self) -> dict[int, str]:
        """What was handed out, by version."""
        return {one.version: one.secret for one in self.handed}
