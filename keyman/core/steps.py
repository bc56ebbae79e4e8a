"""The steps that a credential's life is made of: what next_step may answer.

Each has at most one effect outside and ends in one record; what they do is in performer.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keyman.core.model import Place, Stage, Version


@dataclass(frozen=True, slots=True)
class Observe:
    """Ask the provider what is there; one of the optional keys may be found missing."""

    handles: tuple[str, ...]
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """Write our epoch into the key, so that a late call of an older owner is refused."""

    handle: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Request:
    """Write down the wish for a version; asks nobody yet."""

    slot: str | None
    handle: str | None  # None: the provider is to make a new object
    expires_at: datetime | None
    carries: int | None  # the version whose secret is taken over instead of a new one
    reason: str


@dataclass(frozen=True, slots=True)
class Create:
    """Have the provider make a new object, and store the first slot's secret."""

    version: Version


@dataclass(frozen=True, slots=True)
class Issue:
    """Have the provider fill the slot (or make a key), and store the secret."""

    version: Version


@dataclass(frozen=True, slots=True)
class Carry:
    """Store the secret of an earlier version under the new number."""

    version: Version


@dataclass(frozen=True, slots=True)
class Activate:
    place: Place


@dataclass(frozen=True, slots=True)
class Verify:
    """Probe with the new secret; the current one is the control."""

    version: Version


@dataclass(frozen=True, slots=True)
class Examine:
    """Probe with a secret that lookups hand out and that something speaks against."""

    version: Version


@dataclass(frozen=True, slots=True)
class Promote:
    """Make it what lookups hand out: the record itself is the switch."""

    version: Version


@dataclass(frozen=True, slots=True)
class Retire:
    place: Place
    version: Version | None  # None: a slot whose secret nobody kept


@dataclass(frozen=True, slots=True)
class Revoke:
    version: Version


@dataclass(frozen=True, slots=True)
class Accept:
    """Take for a fact what the provider shows of a version we no longer hand out."""

    version: Version
    stage: Stage
    reason: str


@dataclass(frozen=True, slots=True)
class Abandon:
    """Give up a version that never became current."""

    version: Version
    reason: str
    for_good: bool = False  # its place can't be filled ever again


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget the secret of a version that is dead for good."""

    version: Version


@dataclass(frozen=True, slots=True)
class Wait:
    until: datetime
    reason: str


Effect = Observe | Claim | Create | Issue | Carry | Activate | Verify | Examine | Retire | Revoke
Record = Request | Promote | Accept | Abandon
Step = Effect | Record | Drop | Wait


def name_of(step: Step) -> str:
    """The step's word in journal, logs and status: observe, request, issue …"""
    return type(step).__name__.lower()
