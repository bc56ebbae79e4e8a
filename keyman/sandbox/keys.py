"""What the imitated cloud holds: API keys, their slots, and every secret it ever issued.

Plain records and the arithmetic that belongs to one of them. A secret is kept only as its SHA-256;
the characters leave in the reply that announces them and are forgotten.
"""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from keyman.sandbox.server import Json


def sha256(secret: str) -> str:
    """The name of a secret wherever it must not appear itself."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Acceptance:
    """Whether the data plane takes a secret, told as decisions and when each has arrived."""

    def __init__(self) -> None:
        self._decisions: list[tuple[datetime, datetime, bool]] = []

    def decide(self, *, accepted: bool, now: datetime, delay: float) -> None:
        """From `now` on the control plane wants this; the data plane follows after `delay`."""
        arrives = now + timedelta(seconds=delay)
        # A decision that is still under way when a later one arrives must not win over it.
        self._decisions = [d for d in self._decisions if d[1] < arrives]
        self._decisions.append((now, arrives, accepted))

    def asked(self, now: datetime, nodes: random.Random | None) -> bool:
        """The answer now; with `nodes`, one of many, of which some have heard and some haven't."""
        accepted = False
        for decided, arrives, wanted in self._decisions:
            under_way = decided <= now < arrives
            if arrives <= now or (under_way and nodes is not None and nodes.random() < 0.5):
                accepted = wanted
        return accepted


@dataclass
class Issued:
    """One secret: where it belongs, how long it lives, who takes it, when it was used."""

    sha256: str
    key_id: str
    slot: str
    expires: datetime
    under_policy: bool
    acceptance: Acceptance = field(default_factory=Acceptance)
    uses: list[datetime] = field(default_factory=list)

    def used(self, now: datetime) -> None:
        # A second's resolution keeps the list short however busy the secret is.
        if not self.uses or now - self.uses[-1] >= timedelta(seconds=1):
            self.uses.append(now)

    def last_used(self, now: datetime, lag: float) -> datetime | None:
        """The last use the control plane has heard of."""
        heard = bisect_right(self.uses, now - timedelta(seconds=lag))
        return self.uses[heard - 1] if heard else None


@dataclass
class Slot:
    """A place for one secret. EXPIRED is never stored: the clock says it."""

    name: str
    state: str
    secret: Issued
    mask: str
    created: datetime
    expires: datetime
    activated: datetime | None = None
    deactivated: datetime | None = None
    revoked: datetime | None = None

    def state_at(self, now: datetime, shown_after: float = 0.0) -> str:
        expired = now >= self.expires + timedelta(seconds=shown_after)
        return "EXPIRED" if expired and self.state != "REVOKED" else self.state


@dataclass
class ApiKey:
    """One API key resource."""

    id: str
    tenancy: str
    compartment: str
    display_name: str
    created: datetime
    updated: datetime
    etag: str
    slots: list[Slot] = field(default_factory=list)
    description: str | None = None
    freeform_tags: Json = field(default_factory=dict)
    defined_tags: Json = field(default_factory=dict)
    busy_as: str = "ACTIVE"
    busy_until: datetime | None = None
    deleted: bool = False
    stale: Stale | None = None

    def copy(self) -> ApiKey:
        """As it is now, for readers that shall not see what comes next."""
        return replace(self, slots=[replace(slot) for slot in self.slots], stale=None)

    def busy(self, now: datetime) -> bool:
        return self.busy_until is not None and now < self.busy_until


@dataclass
class Stale:
    """What reads still see after a change: the key before it, or nothing if it is new."""

    before: ApiKey | None
    reads_left: int
    until: datetime

    def seen(self, now: datetime) -> bool:
        """Whether one more read gets the old picture."""
        if self.reads_left > 0:
            self.reads_left -= 1
            return True
        return now < self.until
