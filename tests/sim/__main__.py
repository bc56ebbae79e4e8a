"""The big run: python -m tests.sim [--histories N] [--years N] [--seed S] [--replay "SETUP PLAN"]

First every history in which one thing goes wrong, over every setup; then every pair of failures
of calls, disks and power within one rotation; then pairs of anything, drawn by the seed, up to the
number asked for; at last long lives thrown by the seed, most of them of credentials that live for a
year and meet little else than trouble. It ends with what all of it went through: how often what
went wrong, which rules spoke, which transitions were made. A failure is printed with its trace, one
line an effect, and with the command that replays it. Exit status 1 if anything broke.

With `--store KIND` the store (or the mirror) is one of keyman's own, over an imitation of that
vault: every history of a rotation in which one thing goes wrong, at each call to it among others.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tests.proof.report import conclude
from tests.sim import planting, runs
from tests.sim.every import Plan, heard
from tests.sim.passed import Counted, Passed
from tests.sim.runs import SLOW, Ran
from tests.sim.setups import SETUPS
from tests.sim.world import Machine, Saves

CHUNK = 12
SHOWN = 8  # with what led to them
YEARS = 10
QUARTERLY, RATE = 0.01, 0.02  # of all years, those with four rotations each; and their troubles
SLOW_YEARS, SLOW_RATE = 50, 0.05
MACHINE = planting.real()
COUNTED = Counted()  # the same program, with counters in it


@dataclass(slots=True)
class Tally:
    """What one task has to report: only failures keep their traces."""

    part: str
    setup: str
    count: int = 0
    broken: list[Ran] = field(default_factory=list)
    passed: Passed = field(default_factory=Passed)

    def add(self, ran: Ran) -> None:
        self.count += 1
        self.passed.faults.update(ran.faults)
        if ran.broken:
            ran.menus = []
            self.broken.append(ran)


Task = tuple[str, str, tuple[Plan, ...], int, int]
Sharing = Callable[[Iterable[Task]], Iterable[Tally]]


def work(task: Task) -> Tally:
    """One share of the work, in a process of its own."""
    part, name, plans, number, seed = task
    tally = Tally(part, name)
    for ran in _histories(part, name, plans, number, seed, tally.passed.saved):
        tally.add(ran)
    tally.passed.add(COUNTED.taken())
    return tally


def _histories(
    part: str, name: str, plans: tuple[Plan, ...], number: int, seed: int, saves: Saves
) -> Iterator[Ran]:
    machine = COUNTED.machine
    if part == "long lives":
        yield long_life(machine, name, seed, saves)
        return
    for plan in plans:
        if part == "one":
            yield runs.run(machine, name, plan, leaf=True, saves=saves)
        elif part == "every pair":
            yield from runs.with_one_more(machine, name, plan, saves)
        else:
            dice = random.Random(f"{seed}/{name}/{plan}")
            yield from runs.some_with_one_more(machine, name, plan, number, dice, saves)


def long_life(machine: Machine, name: str, seed: int, saves: Saves | None = None) -> Ran:
    """One that breaks is lived again, for its trace."""
    slow = name.startswith(SLOW)
    years, rate = (SLOW_YEARS, SLOW_RATE) if slow else (YEARS, RATE)
    ran = runs.live_long(machine, name, seed, years, rate, saves, tells=False)
    return runs.live_long(MACHINE, name, seed, years, rate) if ran.broken else ran


def tasks_for_one(names: Iterable[str]) -> Iterator[Task]:
    for name in names:
        plans: list[Plan] = [(), *runs.first_plans(MACHINE, name)]
        yield from (("one", name, share, 0, 0) for share in shares(plans, CHUNK * 8))


def tasks_for_pairs() -> Iterator[Task]:
    for name in runs.TIGHT:
        plans = runs.first_plans(MACHINE, f"tight-{name}")
        yield from (("every pair", f"tight-{name}", s, 0, 0) for s in shares(plans, CHUNK))


def tasks_for_more(count: int, seed: int) -> Iterator[Task]:
    """Pairs of anything: a few beside each first choice, as many as are still wanted."""
    if count <= 0:
        return
    firsts = [(name, plan) for name in SETUPS for plan in runs.first_plans(MACHINE, name)]
    random.Random(seed).shuffle(firsts)
    few = max(1, round(count / len(firsts)))
    for name, plan in firsts[: max(1, count // (few + 1))]:
        yield ("pairs", name, (plan,), few, seed)


def tasks_for_years(years: int, seed: int) -> Iterator[Task]:
    """The long ones first: a share that is left over at the end keeps one worker only."""
    names = [name for name, setup in SETUPS.items() if setup.kind.value != "minted"]
    brisk = max(1, round(years * QUARTERLY / YEARS))
    for life in range(brisk):
        yield ("long lives", names[life % len(names)], (), YEARS, seed + life)
    for life in range(-(-(years - brisk * YEARS) // SLOW_YEARS)):
        yield ("long lives", SLOW + names[life % len(names)], (), SLOW_YEARS, seed + life)


def shares(plans: list[Plan], size: int) -> Iterator[tuple[Plan, ...]]:
    for at in range(0, len(plans), size):
        yield tuple(plans[at : at + size])


def tell(part: str, tallies: Iterable[Tally], passed: Passed) -> tuple[int, list[Ran]]:
    """Print a part's counts as they are known; return how many there were, and what broke."""
    began, counts, broken = time.monotonic(), Counter[str](), []
    for tally in tallies:
        counts[tally.setup] += tally.count
        for ran in tally.broken:  # at once: a big run goes on for an hour
            print(f"broken: {ran.setup} {ran.plan}: {(ran.broken or '')[:80]}", flush=True)
        broken += tally.broken
        passed.add(tally.passed)
    took = time.monotonic() - began
    total = sum(counts.values())
    print(f"{part}: {total:,} in {took:.0f} s, {len(broken)} broken", flush=True)
    print("   " + " ".join(f"{name}={n:,}" for name, n in counts.items()), flush=True)
    show(broken, part)
    return total, broken


def show(broken: list[Ran], part: str) -> None:
    kinds: dict[tuple[str, str], list[Ran]] = {}
    for ran in broken:
        kinds.setdefault((ran.setup, (ran.broken or "")[:60]), []).append(ran)
    for place, alike in enumerate(kinds.values()):
        ran = min(alike, key=lambda r: len(r.plan))
        print(f"\n{len(alike)} times: {ran.broken}")
        if place < SHOWN:
            print("   " + "\n   ".join(ran.trace[-60:]))
        print(f'   replay: python -m tests.sim --replay "{ran.setup} {ran.plan}"', flush=True)


def replay(text: str) -> int:
    name, _, rest = text.partition(" ")
    if rest.startswith("seed="):
        ran = long_life(MACHINE, name, int(rest.removeprefix("seed=")))
    else:
        plan = runs.placed(MACHINE, name, rest) if "#" in rest else heard(rest)
        ran = runs.run(MACHINE, name, plan, leaf=True)
    print("\n".join(ran.trace))
    print(ran.broken or "nothing broke")
    return 1 if ran.broken else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--histories", type=int, default=220_000, help="enumerated, at least")
    parser.add_argument("--years", type=int, default=100_000, help="of long lives")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn by lot")
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--store", choices=runs.STORES, help="whose every call may go wrong")
    parser.add_argument("--replay", help="one history again, as a failure names it")
    asked = parser.parse_args()
    if asked.replay:
        return replay(asked.replay)
    # All are forked here, before any of them serves a vault: no fork takes threads along.
    with multiprocessing.get_context("fork").Pool(asked.workers) as pool:
        share_out: Sharing = lambda tasks: pool.imap_unordered(work, tasks, chunksize=1)  # noqa: E731
        return run_of_a_store(asked, share_out) if asked.store else big_run(asked, share_out)


def run_of_a_store(asked: argparse.Namespace, share_out: Sharing) -> int:
    began = time.monotonic()
    names = [f"{asked.store}/{name}" for name in runs.kept_in(asked.store)]
    what = f"one thing goes wrong, at {asked.store}"
    count, broken = tell(what, share_out(tasks_for_one(names)), Passed())
    return conclude({f"histories at {asked.store}": count}, len(broken), began)


def big_run(asked: argparse.Namespace, share_out: Sharing) -> int:
    began, passed = time.monotonic(), Passed()
    one, broken = tell("one thing goes wrong", share_out(tasks_for_one(SETUPS)), passed)
    pair, broken_pair = (0, list[Ran]())
    if asked.histories > one:
        pair, broken_pair = tell("every pair of failures", share_out(tasks_for_pairs()), passed)
    left = asked.histories - one - pair
    more, broken_more = tell(
        "pairs of anything", share_out(tasks_for_more(left, asked.seed)), passed
    )
    lives = list(tasks_for_years(asked.years, asked.seed))
    years = sum(years for *_, years, _ in lives)
    _, broken_lives = tell(f"{years:,} years of long lives", share_out(lives), passed)
    broken += broken_pair + broken_more + broken_lives
    print("\n".join(passed.told(COUNTED.names)))
    tried = {
        "histories": one + pair + more,
        "credential-years": years,
        "things gone wrong": passed.faults.total(),
    }
    return conclude(tried, len(broken), began)


if __name__ == "__main__":
    sys.exit(main())
