"""One state of the small world, and what is so in it.

All of it is immutable, so a state may be gone on with in as many ways as there are. Times are real
ones; that two states are alike, though everything in the one happened later, is for naming.py to
say.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from keyman.core.model import Credential, Observed, Secret, Spec, Stage, Version
from keyman.core.policy import Policy, Retry, Verification
from keyman.core.steps import Step
from tests.every_state.provider import HANDLE, SLOTS, Call, Key, Slot, Ways, mask

TICK = timedelta(minutes=1)
START = datetime(2026, 11, 21, tzinfo=UTC)
LIFETIME = timedelta(days=90)
HERE = "here"


class Even(Retry):
    """Every rest is one tick: rests of their own for each failure would be times of their own."""

    def delay(self, failures: int, name: str) -> timedelta:
        return TICK


POLICY = Policy(
    lifetime=LIFETIME,
    rotate_before=timedelta(days=60),
    overlap=3 * TICK,
    max_overlap=5 * TICK,
    max_client_staleness=3 * TICK,
    observe_every=4 * TICK,
    retry=Even(first=TICK, factor=1.0, max=TICK),
    verify=Verification(successes=1, every=TICK, within=2 * TICK),
)
LATE = TICK
SPEC = Spec(
    name="genai",
    provider="oci-genai",
    policy=POLICY,
    slots=SLOTS,
    key_id=HANDLE,
    installation=HERE,
    late=LATE,
)


class Budget(NamedTuple):
    """How often each fault may still happen. Crashes, refused calls, lost answers cost nothing."""

    late: int = 0  #: a call arrives after its caller gave up waiting
    hang: int = 0  #: a process stops in the middle of a step, and goes on with it later
    zombie: int = 0  #: another process takes over from one that hangs
    console: int = 0  #: a person fills, switches, revokes or ends a slot
    delete: int = 0  #: or deletes the whole key
    lag: int = 0  #: the client does not look up again, although its secret was replaced
    clock: int = 0  #: keyman's clock is set, forward or back
    sleep: int = 0  #: nobody runs until the next rotation is due, or the secret has expired
    backup: int = 0  #: the journal becomes an older one, by keyman or behind its back
    rotate: int = 0  #: a person's order; so are the next three
    revoke: int = 0  #: to revoke once there is another one
    revoke_now: int = 0
    roll_back: int = 0
    full: int = 0  #: the store does not take a secret that was just issued


class Client(NamedTuple):
    value: int | None
    left_at: datetime | None = None  #: since when lookups hand out another one than it holds
    lags: bool = False


class Flight(NamedTuple):
    call: Call
    sent_at: datetime


class Held(NamedTuple):
    """A step that a process stopped in: before its call, or after it with nothing kept yet."""

    step: Step
    record: Credential  #: as it was loaded
    seen: Observed | None
    fence: int
    since: datetime  #: keyman's time
    after: Credential | None = None  #: the record to save, if the call was made
    looked: Observed | None = None
    puts: tuple[tuple[int, int], ...] = ()


class Backup(NamedTuple):
    record: Credential
    seen: Observed | None
    store: tuple[tuple[int, int], ...]
    at: datetime  #: keyman's time
    leaked: frozenset[int]


class World(NamedTuple):
    at: datetime
    key: Key
    record: Credential
    seen: Observed | None
    store: tuple[tuple[int, int], ...]  #: number of a version → its secret
    client: Client
    left: Budget
    fence: int = 1
    skew: timedelta = timedelta(0)
    clock_was_set: bool = False
    unanswered: datetime | None = None  #: what the process knows, and no record says yet
    held: Held | None = None
    flying: tuple[Flight, ...] = ()
    leaked: frozenset[int] = frozenset()
    backup: Backup | None = None
    made: int = 2  #: secrets
    wishes: int = 1  #: attempt ids
    owners: int = 1

    @property
    def now(self) -> datetime:
        """By keyman's clock."""
        return self.at + self.skew

    def secret(self, v: Version) -> int | None:
        """What the store gives for this version; None for what isn't that version's secret."""
        value = dict(self.store).get(v.number)
        if value is None or v.fingerprint not in (None, fingerprint(value)):
            return None
        return value

    @property
    def loaded(self) -> Credential:
        """The record as the process that drives it has it."""
        if self.unanswered is None:
            return self.record
        return replace(self.record, unanswered_at=self.unanswered, doubt_at=self.unanswered)


@lru_cache(maxsize=100_000)
def fingerprint(value: int) -> str:
    return secret(value).fingerprint(HERE)


@lru_cache(maxsize=100_000)
def secret(value: int) -> Secret:
    return Secret(f"sk-{value}")


def value_of(held: Secret) -> int:
    return int(held.reveal().removeprefix("sk-"))


def beginning(left: Budget, ways: Ways) -> World:
    """Adopted a while ago and claimed: version 1 in slot one, and a standby that nobody uses."""
    long_ago, ends = START - 100 * TICK, START + LIFETIME - 100 * TICK
    slots = (Slot("ACTIVE", 1, ends, None), Slot("INACTIVE", 2, ends - timedelta(days=30)))
    version = Version(
        number=1,
        stage=Stage.CURRENT,
        attempt="a1",
        requested_at=long_ago,
        expires_at=ends,
        slot=SLOTS[0],
        handle=HANDLE,
        mask=mask(1),
        fingerprint=fingerprint(1),
        issued_at=long_ago,
        verified_at=long_ago,
        promoted_at=long_ago,
    )
    record = Credential(
        SPEC, (version,), home=HANDLE, driver=1, epoch=2**16, claimed=2**16, fenced=ways.if_match
    )
    record = replace(record, doubt_at=START)
    key = Key(slots, owner=HERE, epoch=2**16)
    return World(START, key, record, None, ((1, 1),), Client(1), left)
