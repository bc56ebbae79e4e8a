"""One credential in a life: its cloud, what is said of it in the configuration, what may happen to
it, and how it is judged. One file for each kind says how that goes there.

A life has one case, or one of each kind side by side in one home.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from keyman.core.model import Stage, Version
from tests.power_cut.cloud import MARK, Cloud
from tests.power_cut.evidence import Evidence, Found, Kill, now
from tests.power_cut.outside import Resting
from tests.power_cut.verdict import Judge

if TYPE_CHECKING:
    from tests.power_cut.people import People

Rule = dict[str, object]
LINES_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Targets:
    """What to aim at, as the cloud names it; repeated names are met more often."""

    changes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    probe: tuple[str, str] | None = None  # an operation, and what the request must contain
    endings: tuple[tuple[str, str], ...] = ()  # changes that end a secret
    fleeting: str | None = None  # what is asked for again and again, and is gone after a kill

    @property
    def calls(self) -> tuple[str, ...]:
        return self.changes + self.reads


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the log of Google's or OpenAI's sandbox."""

    number: int
    at: datetime
    operation: str
    ours: bool
    target: str
    secret: str | None
    fault: str | None
    status: int | None

    @classmethod
    def read(cls, line: dict[str, Any]) -> Entry:
        return cls(
            number=line["number"],
            at=datetime.fromtimestamp(line["at"], UTC),
            operation=line["operation"],
            ours=line["actor"] != "dashboard",
            target=line["target"],
            secret=line["secret"],
            fault=line["fault"],
            status=line["status"],
        )

    @property
    def done(self) -> bool:
        return self.status is not None and self.status < 300

    def __str__(self) -> str:
        who = "" if self.ours else " by the console"
        told = " ".join(str(x) for x in (self.target[-12:], self.status, self.fault) if x)
        return f"{self.at:%H:%M:%S.%f} {self.operation} {told} {(self.secret or '')[:8]}{who}"


class Case:
    """What all kinds have in common; `cloud` is this case's own."""

    kind: ClassVar[str]
    name: ClassVar[str]  # of the credential
    model: ClassVar[str]
    wishes: ClassVar[Mapping[str, int]] = {}  # what people do, and how often
    may_be_kept: ClassVar[float] = 2.5  # seconds that a client may rely on what it was handed
    revokes: ClassVar[bool] = True  # or what leaked lives to its own end, as its receipt says
    heard_within: ClassVar[float] = 0.5  # seconds in which all of the cloud has heard of an end

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.evidence = Evidence()
        self.targets = self.aimed_at()

    # What differs.

    def aimed_at(self) -> Targets:
        return Targets()

    def section(self, *, peaceful: bool = False) -> str:
        """Its part of the configuration. `peaceful`: nothing is due for a long time."""
        raise NotImplementedError

    def taken(self) -> set[str]:
        """Every secret (by SHA-256) that all of the cloud takes now."""
        raise NotImplementedError

    def weather(self, dice: random.Random) -> list[Rule]:
        """What this cloud gets wrong for a while."""
        raise NotImplementedError

    def provoke(self, people: People, what: str, dice: random.Random) -> None:
        """Have people do what will lead to such a call; "" for whatever makes a version."""
        raise NotImplementedError

    def judge(self) -> Judge:
        raise NotImplementedError

    def drift(self, dice: random.Random) -> bool:
        """A hand in the console that asks nobody; False if there was nothing to do."""
        return False

    def make_peace(self) -> None:
        """Before the rest at the end."""

    def fresh_secret(self) -> str:
        """What a person has a cloud make, to give it to keyman."""
        raise NotImplementedError

    def not_as_the_cloud_has_it(self, status: dict[str, Any]) -> list[str]:
        """What is not yet right when everything rests, beside what all kinds have in common."""
        return []

    def log_lines(self) -> list[str]:
        return [str(Entry.read(line)) for line in self.cloud.log()]

    def needles(self) -> set[bytes]:
        """What must lie in no file of keyman's but the sealed store."""
        return {f"-{MARK}-".encode()}

    # What is found on the disk.

    def inspect(self, kill: Kill, resting: Resting | None) -> None:
        """Compare what a fresh process finds there with what the cloud takes now."""
        if resting is None:
            return
        taken, at = self.taken(), now()
        versions = resting.record.versions
        found = Found(kill, at, stored=frozenset(resting.secrets.values()))
        found.open_versions = sum(v.stage in ("requested", "pending") for v in versions)
        found.still_on = self._over_and_taken(resting, taken, at)
        found.not_kept = tuple(v.number for v in versions if _unkept(v, resting))
        current = resting.record.current
        found.latest = current.number if current else None
        if current is not None and not (current.dead_at or current.compromised):
            found.current, found.secret = current.number, resting.secrets.get(current.number)
            found.accepted = found.secret in taken
        self.evidence.found.append(found)

    def inspect_mirror(self, kill: Kill, resting: Resting | None) -> None:
        """Nothing lies there that lookups were never given."""
        if resting is None:
            return
        known = {v.number: v for v in resting.record.versions}
        early = [n for n in resting.secrets if n in known and known[n].promoted_at is None]
        if early:
            self.evidence.said.append(f"P: the mirror has {early}, never promoted: [{kill}]")

    def _over_and_taken(self, resting: Resting, taken: set[str], at: datetime) -> dict[int, str]:
        """Versions that the journal says are ended, which the cloud should have heard by now."""
        handed = self.evidence.digests()
        ended = ended_before(resting.record.versions, at - timedelta(seconds=self.heard_within))
        secrets = {n: resting.secrets.get(n) or handed.get(n) for n in ended}
        return {n: secret for n, secret in secrets.items() if secret and secret in taken}


def ended_before(versions: Sequence[Version], moment: datetime) -> list[int]:
    """The numbers of those whose secret the provider is said to have ended by then.

    A rollback's version has the secret, and the attempt, of an earlier one: while anything is left
    to be done about one of them nobody says so, and else the last end counts. What was given up
    before it had a place of its own says nothing.
    """
    ends: dict[str, list[datetime | None]] = {}
    for v in versions:
        if not (v.given_up and v.revoked_at is None):
            ends.setdefault(v.attempt, []).append(ended_at(v))
    long_ago = {
        attempt
        for attempt, told in ends.items()
        if all(end is not None and end < moment for end in told)
    }
    return [v.number for v in versions if v.attempt in long_ago]


def _unkept(v: Version, resting: Resting) -> bool:
    """Something depends on its secret, and it is not in the store."""
    depended_on = v.stage in (Stage.PENDING, Stage.CURRENT, Stage.PREVIOUS)
    return depended_on and v.number not in resting.secrets


def ended_at(v: Version) -> datetime | None:
    """When the provider is said to have ended it; None if nobody says so."""
    if v.stage is Stage.RETIRED:
        return v.retired_at
    return v.revoked_at if v.stage is Stage.REVOKED else None
