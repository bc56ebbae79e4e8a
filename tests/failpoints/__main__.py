"""A rotation broken off everywhere: python -m tests.failpoints [--kills N] [--zombies N]
[--restores N] [--clocks N] [--seed S] [--workers N] [--folder DIR] [--replay UNIT ...]

Tried, over keyman's own journal, sealed file, lock, page and rotator, in forked processes: SIGKILL
before and after each call to the journal, the store, the provider and the page, and at the commits
inside both databases, up to three times in a row; workers paused there while another takes over
(tests/failpoints/zombies.py); the folder of one instant put back at each later one (restores.py);
and on the simulator's time, clocks set and machines suspended (clocks.py).

Judged: what was acknowledged is there, both files are whole, the history fits, no lookup is given
anything dead or older than before, nothing that lookups or an overlap need is destroyed, no paused
worker changes or saves anything, and whatever happened comes to rest with a rotation more.

NOT tried: calls whose answers are lost or late (tests/sim), power cuts and failing disks
(tests/disk), the daemon's own threads and sockets (tests/power_cut), stores elsewhere
(tests/store_calls).

What is broken is printed with the command that replays it; exit status 1 then.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.failpoints import clocks, kills, restores, zombies
from tests.failpoints.folders import Folders, folders
from tests.failpoints.points import NAMES
from tests.proof.report import conclude

KILLS, ZOMBIES, RESTORES, CLOCKS = "kills", "zombies", "restores", "clocks"
IN_WORDS = {
    KILLS: "kills at failpoints",
    ZOMBIES: "workers paused and woken",
    RESTORES: "homes put back",
    CLOCKS: "clock steps",
}
HASTENED = "a clock 400 days ahead ended early what somebody used"
SPOILED = "who was paused put its secret over another's, which was noticed and replaced"
SHARES = 8  # of each unit, for whoever is free


@dataclass(frozen=True, slots=True)
class Share:
    unit: str
    number: int
    count: int  #: of this share; of restores, of all
    seed: str
    folder: Path | None


@dataclass(slots=True)
class Outcome:
    unit: str
    tried: int = 0
    names: Counter[str] = field(default_factory=Counter)  #: of the failpoints
    notes: set[str] = field(default_factory=set)  #: what is no promise, and is told all the same
    broken: list[tuple[str, str]] = field(default_factory=list)

    def add(self, replay: str, broken: str, names: list[str]) -> None:
        self.tried += len(names)
        self.names.update(names)
        if broken:
            self.broken.append((replay, broken))


def done(share: Share) -> Outcome:
    outcome = Outcome(share.unit)
    dice = random.Random(f"{share.seed}/{share.unit}/{share.number}")
    with folders(share.folder) as places:
        DO[share.unit](share, places, dice, outcome)
    return outcome


def _kill(share: Share, places: Folders, dice: random.Random, outcome: Outcome) -> None:
    plan = kills.begun(places, dice)
    for history, life in kills.killed(places, plan, share.count):
        outcome.add(str(history), life.broken, life.killed)


def _wake(share: Share, places: Folders, dice: random.Random, outcome: Outcome) -> None:
    for history, woken in zombies.woken_often(places, dice, share.count):
        outcome.add(str(history), woken.broken, [woken.at] if woken.at else [])
        if woken.spoiled:
            outcome.notes.add(f"{SPOILED}: {history}")


def _put_back(share: Share, places: Folders, dice: random.Random, outcome: Outcome) -> None:
    for life, restore in _restores(share, places):
        broken = restores.restored(places, life, restore)
        outcome.add(str(restore), broken, [life[restore.back].name])


def _restores(
    share: Share, places: Folders
) -> Iterator[tuple[list[restores.Instant], restores.Restore]]:
    """All pairs of the first setup, and of the others as many as were asked for besides."""
    first, *others = restores.SETUPS
    left = 0
    for setup in restores.SETUPS:
        life = restores.instants(places, setup)
        pairs = list(restores.pairs(setup, len(life)))
        if setup == first:
            left = max(share.count - len(pairs), 0)
            pairs = pairs[: share.count]
        else:
            random.Random(share.seed).shuffle(pairs)  # the same in every share
            pairs = pairs[: left // len(others)]
        for pair in pairs[share.number :: SHARES]:
            yield life, pair


def _set(share: Share, places: Folders, dice: random.Random, outcome: Outcome) -> None:
    for step in clocks.steps(places.machine, dice, share.count):
        life = clocks.lived(places.machine, step)
        outcome.add(str(step), life.broken, [step.what])
        if life.hastened:
            outcome.notes.add(f"{HASTENED}: {step}")


DO: dict[str, Callable[[Share, Folders, random.Random, Outcome], None]] = {
    KILLS: _kill,
    ZOMBIES: _wake,
    RESTORES: _put_back,
    CLOCKS: _set,
}


def replayed(words: list[str], folder: Path | None) -> str:
    unit, text = words[0], " ".join(words[1:])
    with folders(folder) as places:
        if unit == KILLS:
            return kills.lived(places, kills.History.heard(text)).broken
        if unit == ZOMBIES:
            return zombies.woken(places, kills.History.heard(text)).broken
        if unit == CLOCKS:
            life = clocks.lived(places.machine, clocks.Step.heard(text))
            return life.broken or (HASTENED if life.hastened else "")
        restore = restores.Restore.heard(text)
        return restores.restored(places, restores.instants(places, restore.setup), restore)


def shares(asked: argparse.Namespace) -> Iterator[Share]:
    for unit in IN_WORDS:
        count: int = getattr(asked, unit)
        each = count if unit == RESTORES else -(-count // SHARES)
        for number in range(SHARES if count else 0):
            yield Share(unit, number, each, asked.seed, asked.folder)


def told(unit: str, outcomes: list[Outcome]) -> Outcome:
    """What the shares of one unit came to, on the screen as well."""
    whole = Outcome(unit)
    for one in outcomes:
        whole.tried += one.tried
        whole.names += one.names
        whole.notes |= one.notes
        whole.broken += one.broken
    print(f"{IN_WORDS[unit]}: {whole.tried:,}, {len(whole.broken)} broken")
    if unit == KILLS:
        few = min(NAMES, key=lambda name: whole.names[name])
        print(f"  {len(NAMES)} names, the fewest {whole.names[few]} times: {few}")
    for note in sorted(whole.notes):
        print(f"  {note}")
    for replay, broken in whole.broken:
        print(f"  broken: {broken[:600]}")
        print(f"    PYTHONPATH=. python -m tests.failpoints --replay {unit} {replay}")
    return whole


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.failpoints", description=__doc__)
    parser.add_argument("--kills", type=int, default=5_000)
    parser.add_argument("--zombies", type=int, default=300)
    parser.add_argument("--restores", type=int, default=800)
    parser.add_argument("--clocks", type=int, default=2_000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="on the disk where homes are to lie")
    parser.add_argument("--replay", nargs="+", metavar="WORD")
    asked = parser.parse_args()
    if asked.replay:
        broken = replayed(asked.replay, asked.folder)
        print(broken or "nothing is broken")
        return 1 if broken else 0
    return proven(asked)


def proven(asked: argparse.Namespace) -> int:
    began, found = time.monotonic(), list[Outcome]()
    with multiprocessing.get_context("fork").Pool(asked.workers) as pool:
        for outcome in pool.imap_unordered(done, shares(asked)):
            found.append(outcome)
            print(f"  {outcome.tried:,} {IN_WORDS[outcome.unit]}", file=sys.stderr, flush=True)
    whole = [told(unit, [one for one in found if one.unit == unit]) for unit in IN_WORDS]
    tried = {IN_WORDS[one.unit]: one.tried for one in whole if one.tried}
    return conclude(tried, sum(len(one.broken) for one in whole), began)


if __name__ == "__main__":
    sys.exit(main())
