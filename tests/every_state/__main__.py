"""Every reachable state: python -m tests.every_state [--deep] [--count N] [--workers N]

The real rules (keyman.core.rotation.next_step), the real transitions and the real performer are
followed breadth-first through every state of a small world that can be reached: two slots at the
provider, the record, the store, the process that drives it, calls under way, a client. Tried in
every state: a crash, a call that is refused, one whose answer is lost though it was carried out or
not, and, as often as the world's budget says, calls that arrive late, processes that hang and go on
while another one has taken over, a hand in the console (fill, switch off or on, revoke, end,
delete), a client that keeps its old secret, a clock set forward or back, months asleep, journals
out of backups, orders to rotate, to roll back, to revoke.

Judged, of each move of keyman's: what lookups hand out and works, works after it (S1: I1, I2); the
last slot that is on stays on (S2: I2); what a client still holds works through its overlap and its
use (S5: I5); what leaked is neither handed out nor switched on again (S6: I6); one rotation at a
time (I4). And of every state: once nothing goes wrong any more it comes to rest (L), with a secret
that works handed out, the client moved on, no rotation or order open, nothing that leaked alive,
one slot on; or, where nothing can be done, saying so.

Then mechanisms are taken away, one at a time: each must be missed.

Time is counted in ticks and the policy's spans are a few of those; what differs only in names, and
in times longer ago than any rule asks, is one state. Two clients, more than one key (`--new-key`),
providers without slots, old pictures, propagation that takes time, other installations, reports of
clients, mirrors and orders to switch slots are NOT tried here: tests/sim does, by other means. Nor
is a process that hangs between an answer with a secret and its store while another one takes over:
the lock of the home excludes that, and a store that two homes share would lose the other's secret.
Nothing is drawn by lot, so there is no seed. What breaks is printed with its moves and the command
that goes through them again.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from tests.every_state import code
from tests.every_state.ablations import ABLATIONS, Ablation
from tests.every_state.search import Found, Search
from tests.every_state.setups import SETUPS
from tests.every_state.world import World
from tests.proof.report import conclude

MOST = 60_000  # states of one world, breadth-first: most worlds have fewer
MOST_DEEP = 1_000_000
MOST_WITHOUT = 20_000  # what is not missed by then is not missed
WITHOUT = {each.name: each for each in ABLATIONS}


class Task(NamedTuple):
    setup: str
    without: str
    most: int

    @property
    def name(self) -> str:
        return f"{self.setup}, {self.without}" if self.without else self.setup


class Done(NamedTuple):
    task: Task
    found: Found
    traces: dict[str, list[str]]


def search_of(setup: str, without: str = "") -> Search:
    """That world, whole or with one mechanism taken away."""
    world, ablation = SETUPS[setup], WITHOUT.get(without)
    if ablation is None:
        return Search(code.real(), world.left, world.ways)
    program = code.with_bug(ablation.bug) if ablation.changes else code.real()
    return Search(program, world.left, world.ways, ablation.switches)


def work(task: Task) -> Done:
    """One world, in a process of its own."""
    logging.disable(logging.CRITICAL)
    search = search_of(task.setup, task.without)
    found = search.run(task.most, first_only=bool(task.without))
    traces = (
        {} if task.without else {k: told(search, path) for k, (_, path) in found.broken.items()}
    )
    return Done(task, found, traces)


def told(search: Search, path: tuple[int, ...]) -> list[str]:
    lines = [f"{label:38} {line(world)}" for label, world in search.retrace(path)]
    return lines if len(lines) <= 80 else [*lines[:60], "…"]


def line(w: World) -> str:
    """The whole world in one line."""
    slots = " ".join(f"{slot.state}:{slot.value}" for slot in w.key.slots)
    versions = " ".join(
        f"{v.number}={v.stage}{'(leaked)' if v.compromised else ''}{'(dead)' if v.dead_at else ''}"
        for v in w.record.versions
    )
    return f"{w.at:%m-%d %H:%M} | {slots} | client {w.client.value} | {versions}"


def tasks(asked: argparse.Namespace) -> Iterator[Task]:
    most = asked.count or (MOST_DEEP if asked.deep else MOST)
    if asked.only:
        yield Task(asked.only, "", most)
        return
    yield from (Task(s.name, "", most) for s in SETUPS.values() if asked.deep or not s.deep)
    yield from (Task(each.setup, each.name, MOST_WITHOUT) for each in ABLATIONS)


def tell(done: Done) -> int:
    """Print what came of it; how much of it is broken."""
    task, found = done.task, done.found
    counts = f"{found.states:>9,} states {found.moves:>11,} transitions  depth {found.depth:>3}"
    how = "exhausted" if found.exhausted else "cut short"
    if task.without:
        return _missed(WITHOUT[task.without], found, f"{counts} {found.seconds:6.0f} s")
    result = ", ".join(found.broken) + " BROKEN" if found.broken else "all hold"
    print(f"{task.name:42} {counts} {found.seconds:6.0f} s  {how}  {result}", flush=True)
    for kind, (said, path) in found.broken.items():
        print(f"  {said}")
        print("".join(f"    {each}\n" for each in done.traces[kind]), end="")
        moves = " ".join(map(str, path))
        print(f'  replay: python -m tests.every_state --replay "{task.setup}: {moves}"', flush=True)
    return len(found.broken)


def _missed(ablation: Ablation, found: Found, counts: str) -> int:
    said = ", ".join(said for said, _ in found.broken.values())
    right = bool(set(found.broken) & set(ablation.breaks)) == bool(ablation.breaks)
    verdict = f"missed: {said}" if said else "NOT MISSED"
    if not ablation.breaks and not said:
        verdict = "not missed, as expected: others do the same"
    print(f"- {ablation.name:40} {counts}  {verdict}", flush=True)
    return 0 if right else 1


def replay(text: str) -> int:
    logging.disable(logging.CRITICAL)
    setup, _, moves = text.partition(":")
    search, path = search_of(setup.strip()), tuple(map(int, moves.split()))
    print("\n".join(told(search, path)))
    said = search.judged(path)
    print(said or "nothing broke")
    return 1 if said else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.every_state", description=__doc__)
    parser.add_argument("--count", type=int, help=f"states of each world, at most: {MOST:,}")
    parser.add_argument("--deep", action="store_true", help="worlds in which more faults meet, too")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=SETUPS, help="one world, whole")
    parser.add_argument("--replay", help="a way through a world, as a failure names it")
    asked = parser.parse_args(arguments)
    if asked.replay:
        return replay(asked.replay)
    began, states, moves, worlds, without, broken = time.monotonic(), 0, 0, 0, 0, 0
    context = multiprocessing.get_context("fork")
    with context.Pool(asked.workers, maxtasksperchild=1) as pool:
        for done in pool.imap_unordered(work, tasks(asked), chunksize=1):
            broken += tell(done)
            states, moves = states + done.found.states, moves + done.found.moves
            worlds, without = worlds + (not done.task.without), without + bool(done.task.without)
    tried = {
        "transitions": moves,
        "states": states,
        "worlds": worlds,
        "mechanisms taken away": without,
    }
    return conclude(tried, broken, began)


if __name__ == "__main__":
    sys.exit(main())
