"""A worker is paused at a named failpoint, another takes over, and the first one wakes.

While the first lives, on one machine, the home's lock keeps everybody else out: that is tried each
time. Then what the lock is no help against: a machine that does not see it opens the same journal
and store, waits for the lease to end, and takes its turn. Who wakes must change nothing at the
provider, and save nothing; and when it is gone, whoever starts next comes to rest.

What no fence keeps it from is putting the secret that it was just given into the store, over that
of the one who took over. Such a secret is known by its fingerprint not to be the version's, is
handed out to nobody, and is replaced; how often that came is told.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from keyman import errors
from keyman.lock import HomeLock
from tests.disk import judging
from tests.failpoints.folders import Folders
from tests.failpoints.home import LEASE_IS_OVER, Home
from tests.failpoints.kills import History, Kill, Plan, begun
from tests.failpoints.points import INSIDE, NAMES
from tests.failpoints.process import (
    Board,
    Said,
    begin,
    ended,
    live,
    paused,
    pausing,
    recover,
    wake,
)

# Only where the provider refuses a call that is based on an old picture: elsewhere a late call
# is waited for (docs/architecture.md, "Calls that arrive late").
SETUPS = ("plain", "bare", "rejected", "ignored", "final", "revoking", "first", "first-bare")
POINTS = tuple(name for name in NAMES if name not in INSIDE)  # SQLite lets nobody else write there


@dataclass(frozen=True, slots=True)
class Woken:
    """`at` says where it was paused; "" if it never came there."""

    at: str = ""
    broken: str = ""
    spoiled: bool = False  #: it put its own secret over another's, in a store that both have


def woken(folders: Folders, history: History) -> Woken:
    (kill,) = history.kills
    home, first, second = folders.fresh(history.setup), Board(), Board()

    def learns(what_was_so: Home) -> None:
        what_was_so.wake(second.read().home)

    pid = begin(home, live, first, pausing(home, first, kill.chosen(), learns))
    try:
        if not paused(pid):
            return Woken(broken=ended(pid, first).broken)
        at = first.read()
        broken = _kept_out(home) or _taken_over(folders, at, home, second)
        wake(pid)
        after = ended(pid, first)
        broken = broken or after.broken or _changed(second.read(), after)
        if broken:
            return Woken(at.at, broken)
        spoiled = after.home.spoiled
        next_one = folders.going_on(second.read().packed)
        next_one.folder, next_one.spoiled = home.folder, spoiled
        return Woken(at.at, _goes_on(next_one), spoiled=spoiled)
    finally:
        first.close()
        second.close()


def _kept_out(home: Home) -> str:
    try:
        HomeLock(home.folder / "daemon.lock").release()
    except errors.Conflict:
        return ""
    return "I4: the home of a paused process is not locked"


def _taken_over(folders: Folders, at: Said, home: Home, board: Board) -> str:
    other = folders.going_on(at.packed)
    other.folder = home.folder
    return ended(begin(other, _take_a_turn, board), board).broken


def _take_a_turn(home: Home, said: Said) -> None:
    home.true += LEASE_IS_OVER
    with home.opened_elsewhere():
        judging._record_is_there(home)
        home._advance()


def _changed(before: Said, after: Said) -> str:
    was, now = before.home.truth(), after.home.truth()
    return "" if was == now else f"I4: who was paused changed the provider: {was} -> {now}"


def _goes_on(home: Home) -> str:
    board = Board()
    said = ended(begin(home, recover, board), board)
    board.close()
    return said.broken


def woken_often(
    folders: Folders, dice: random.Random, count: int, setups: tuple[str, ...] = SETUPS
) -> Iterator[tuple[History, Woken]]:
    """So many pauses, each name about as often as the others."""
    plan, done = begun(folders, dice, setups), Counter[str]()
    while done.total() < count:
        history = _next(plan, done)
        woke = woken(folders, history)
        done[woke.at or str(history)] += 1
        yield history, woke


def _next(plan: Plan, done: Counter[str]) -> History:
    able = [name for name in plan.reachable() if name in POINTS]
    name = min(able, key=lambda each: (done[each], each))
    setup = plan.dice.choice([s for s, passed in plan.setups.items() if passed[name]])
    return History(setup, (Kill(name, plan.dice.randint(1, plan.setups[setup][name])),))
