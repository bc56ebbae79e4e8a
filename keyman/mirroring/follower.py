"""How far one store is with one credential: plain state, and how people see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from keyman.core.copies import Goal
from keyman.core.model import Credential
from keyman.performer import Managed
from keyman.views import Json, time_text

LONGEST_PAUSE = 15.0  # seconds, which is one sweep
OK, BEHIND, FAILING = "ok", "behind", "failing"


@dataclass(slots=True)
class Follower:
    store: str
    own: bool  #: the credential's own store, of which only the current one is followed
    since: datetime  #: of its state
    state: str = BEHIND
    reached: Goal | None = None  #: what it was last seen to show, if it was what it should
    tried: Goal | None = None
    compared: float = 0.0  #: when, in seconds of the clock since boot
    failures: int = 0
    retry: float = 0.0  #: not before that, in the same seconds
    version: int | None = None  #: which one its readers get
    error: str | None = None
    unknown: tuple[int, datetime] | None = None
    """Which number its readers were found with that the record knows nothing of, and when first."""

    @property
    def what(self) -> str:
        """What people call it."""
        return f"the current secret in {self.store}" if self.own else f"its mirror {self.store}"

    def due(self, aim: Goal, boot: float, often: float) -> bool:
        """Is it to be compared? Where all is well only every so often."""
        if self.reached == aim:
            return boot - self.compared >= often
        return self.tried != aim or boot >= self.retry

    def rest(self, boot: float) -> None:
        """Until the next try, longer each time."""
        self.failures = min(self.failures + 1, 10)
        self.retry = boot + min(2.0 ** (self.failures - 1), LONGEST_PAUSE)

    def unknown_since(self, number: int, now: datetime) -> datetime:
        """When its readers were first found with that number; now, if they are just found."""
        if self.unknown is None or self.unknown[0] != number:
            self.unknown = number, now
        return self.unknown[1]

    def becomes(self, state: str, now: datetime) -> None:
        if self.state != state:
            self.state, self.since = state, now

    def view(self) -> Json:
        """One element of `mirrors` in `status --json`."""
        return {
            "store": self.store,
            "state": self.state,
            "version": self.version,
            "error": self.error,
            "since": time_text(self.since),
        }


@dataclass(slots=True)
class Led:
    """A credential, and the stores that follow it."""

    managed: Managed
    record: Credential
    followers: dict[str, Follower] = field(default_factory=dict)
