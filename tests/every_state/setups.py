"""Which faults meet in one world, how often each, and what its provider is like.

Every fault together in one world would be more states than anybody waits for. So they meet in twos
and threes; a crash, a refused call and a lost answer are possible everywhere and at any time.
"""

from __future__ import annotations

from dataclasses import dataclass

from keyman.core.model import State
from tests.every_state.provider import Ways
from tests.every_state.world import Budget

USUAL = Ways()
UNMATCHED = Ways(if_match=False)
FINAL = Ways(refills=False)


@dataclass(frozen=True, slots=True)
class Setup:
    name: str
    left: Budget
    ways: Ways = USUAL
    deep: bool = False  #: takes so long that only --deep goes through it


def _worlds() -> tuple[Setup, ...]:
    return (
        Setup("console", Budget(rotate=1, console=1)),
        Setup("a second process", Budget(rotate=1, hang=1, zombie=1)),
        Setup("backups", Budget(rotate=1, backup=1)),
        Setup("revoked", Budget(rotate=1, revoke=1)),
        Setup("revoked at once", Budget(rotate=1, revoke_now=1)),
        Setup("console, revoked slots are gone for good", Budget(console=1, sleep=1), FINAL),
        Setup("console, nothing due", Budget(console=1)),
        Setup("revoked, nothing due", Budget(revoke=1)),
        Setup("revoked at once, nothing due", Budget(revoke_now=1)),
        Setup("backups, nothing due", Budget(backup=1)),
        Setup("late calls", Budget(rotate=2, late=1)),
        Setup("clock", Budget(rotate=1, clock=1)),
        Setup("deleted, and a full store", Budget(rotate=1, delete=1, full=1)),
        Setup("late calls, no if-match", Budget(rotate=1, late=1), UNMATCHED),
        Setup("due, late calls, no if-match", Budget(sleep=1, late=1), UNMATCHED),
        Setup("rolled back", Budget(rotate=1, roll_back=1)),
        Setup("late calls, answers repeated", Budget(rotate=1, late=1), Ways(replays=True)),
        Setup("filled slots are off", Budget(rotate=2), Ways(renewed=State.INACTIVE)),
        Setup("filled slots stay as they were", Budget(rotate=2), Ways(renewed=None)),
        Setup("hangs", Budget(rotate=1, hang=1)),
        Setup("asleep until it is due or over", Budget(rotate=1, sleep=2)),
        Setup("a client that lags", Budget(rotate=2, lag=1)),
        Setup("use is not shown", Budget(rotate=1), Ways(shows_use=False)),
        Setup("one rotation", Budget(rotate=1)),
        Setup("three rotations", Budget(rotate=3)),
        Setup("two hands in the console", Budget(rotate=1, console=2), deep=True),
        Setup("late calls and console", Budget(rotate=1, late=1, console=1), deep=True),
        Setup("late calls and a backup", Budget(rotate=1, late=1, backup=1), deep=True),
        Setup("console and a backup", Budget(console=1, backup=1), deep=True),
        Setup("late calls, revoked", Budget(rotate=1, late=1, revoke=1), deep=True),
        Setup("console, revoked", Budget(console=1, revoke=1), deep=True),
        Setup(
            "a second process and late calls", Budget(rotate=1, late=1, hang=1, zombie=1), deep=True
        ),
        Setup(
            "a second process, console", Budget(rotate=1, console=1, hang=1, zombie=1), deep=True
        ),
        Setup("late calls and the clock", Budget(rotate=1, late=1, clock=1), deep=True),
    )


SETUPS: dict[str, Setup] = {setup.name: setup for setup in _worlds()}
