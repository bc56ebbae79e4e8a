"""The kinds of world there are: what the provider is like where its makers are silent, what the
policy says, and which hands may interfere. Plain values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from keyman.core.policy import Policy, RetireBy, Retry, Verification


class Kind(StrEnum):
    SLOTS = "slots"  #: two slots a key, filled again and again (OCI)
    FRESH = "fresh"  #: every issue makes a key of its own (OpenAI)
    MINTED = "minted"  #: tokens that nobody can look up or take back (Google)
    BY_HAND = "by-hand"  #: put in by people, probed, never issued (static)


class Replay(StrEnum):
    """What a second call with the same retry token is answered."""

    FULL = "full"
    BARE = "bare"  #: the reply without the secret
    REJECTED = "rejected"
    IGNORED = "ignored"  #: it is carried out again


def minutes(n: float) -> timedelta:
    return timedelta(minutes=n)


# Nine hours stand for ninety days, so that a whole rotation is a few dozen steps.
BRISK = Policy(
    lifetime=minutes(540),
    rotate_before=minutes(360),
    overlap=minutes(60),
    observe_every=minutes(45),
    retry=Retry(first=timedelta(seconds=1), factor=4.0, max=minutes(10)),
    verify=Verification(successes=2, every=timedelta(seconds=1), within=timedelta(seconds=120)),
)
HOURLY = replace(
    BRISK,
    lifetime=minutes(60),
    rotate_before=minutes(15),
    overlap=timedelta(0),
    retire=RetireBy.KEEP,
    verify=Verification(successes=0),
)
QUARTERLY = replace(
    BRISK,
    lifetime=timedelta(days=90),
    rotate_before=timedelta(days=60),
    overlap=timedelta(hours=24),
    observe_every=timedelta(hours=12),
)
YEARLY = replace(
    QUARTERLY,
    lifetime=timedelta(days=365),
    rotate_before=timedelta(days=30),
    observe_every=timedelta(days=30),
)
SWEEP = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Setup:
    name: str
    kind: Kind = Kind.SLOTS
    policy: Policy = BRISK
    adopted: bool = True  #: an existing key was entrusted to us; else we make the first one
    if_match: bool = True  #: the provider refuses a change based on an old picture
    claims: bool = True
    replay: Replay = Replay.FULL
    renewed_state: str | None = "ACTIVE"  #: of a slot that was filled; None: as it was
    refills: bool = True  #: a revoked or expired slot may be filled again
    standby_state: str = "INACTIVE"
    lag: timedelta = timedelta(0)  #: until what was switched on is accepted
    death_lag: timedelta = timedelta(0)  #: until what was switched off is refused
    stale_reads: int = 0  #: reads after each change that still show what was before
    shows_use: bool = True
    use_lag: timedelta = timedelta(0)
    held: timedelta = timedelta(seconds=60)  #: how long the slowest client keeps a secret
    people: bool = True
    console: bool = True
    shocks: bool = True  #: clock jumps, restored journals, second processes
    restores: bool = True  #: False: what a restored journal does here is not judged
    days: float = 0.33
    points: bool = False  #: the store has a current secret of its own
    mirrored: bool = False  #: another store follows, which has one too
    taken_over: bool = False  #: another installation put its mark on the key that was entrusted
    sweep: timedelta = SWEEP  #: how often keyman wakes at least
    store: str = ""  #: of which of keyman's own kinds the store is, or the mirror; "": made up

    @property
    def followed(self) -> bool:
        """Does anybody read secrets past keyman?"""
        return self.points or self.mirrored

    @property
    def slots(self) -> tuple[str, ...]:
        return ("one", "two") if self.kind is Kind.SLOTS else ()


SETUPS: dict[str, Setup] = {
    setup.name: setup
    for setup in (
        Setup("plain"),
        Setup("first", adopted=False),
        Setup("first-bare", adopted=False, replay=Replay.BARE, standby_state="ACTIVE"),
        Setup("bare", replay=Replay.BARE, renewed_state=None),
        Setup("rejected", replay=Replay.REJECTED, renewed_state="INACTIVE"),
        Setup("ignored", replay=Replay.IGNORED, stale_reads=1),
        Setup("unmatched", if_match=False, replay=Replay.IGNORED),
        Setup("unmatched-lagging", if_match=False, renewed_state=None, lag=timedelta(seconds=20)),
        Setup("final", refills=False),
        Setup("lagging", lag=timedelta(seconds=20), death_lag=timedelta(seconds=40), stale_reads=2),
        Setup("blind", shows_use=False, renewed_state=None),
        Setup("stubborn", held=minutes(200), use_lag=minutes(1)),
        Setup("capped", held=minutes(400), policy=replace(BRISK, max_overlap=minutes(90))),
        Setup("revoking", policy=replace(BRISK, retire=RetireBy.REVOKE)),
        Setup("pointing", points=True, console=False, days=0.19),
        Setup("mirrored", mirrored=True, console=False, days=0.19),
        Setup("taken-over", taken_over=True, days=0.1),
        Setup("keeping", policy=replace(BRISK, retire=RetireBy.KEEP)),
        Setup(
            "fresh",
            kind=Kind.FRESH,
            restores=False,
            adopted=False,
            claims=False,
            if_match=False,
        ),
        Setup(
            "fresh-bare",
            kind=Kind.FRESH,
            restores=False,
            adopted=False,
            claims=False,
            if_match=False,
            replay=Replay.IGNORED,
            lag=timedelta(seconds=20),
        ),
        Setup(
            "by-hand",
            kind=Kind.BY_HAND,
            claims=False,
            if_match=False,
            policy=replace(BRISK, retire=RetireBy.KEEP),
            days=0.15,
        ),
        Setup(
            "minted",
            kind=Kind.MINTED,
            adopted=False,
            claims=False,
            if_match=False,
            policy=HOURLY,
            days=0.15,
        ),
    )
}
