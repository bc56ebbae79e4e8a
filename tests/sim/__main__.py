"""The big run: python -m tests.sim [--histories N] [--years N] [--seed S] [--replay "SETUP PLAN"]

First every history in which one thing goes wrong, over every setup; then every pair of failures
of calls, disks and power within one rotation; then pairs of anything, drawn by the seed, up to the
number asked for; at last long lives thrown by the seed. A failure is printed with its trace, one
line an effect, and with the command that replays it. Exit status 1 if anything broke.
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

from tests.sim import planting, runs
from tests.sim.every import Plan, heard
from tests.sim.runs import Ran
from tests.sim.setups import SETUPS

CHUNK = 12
SHOWN = 8
YEARS = 10
RATE = 0.02
MACHINE = planting.real()


@dataclass(slots=True)
class Tally:
    """What one task has to report: only failures keep their traces."""

    part: str
    setup: str
    count: int = 0
    broken: list[Ran] = field(default_factory=list)

    def add(self, ran: Ran) -> None:
        self.count += 1
        if ran.broken:
            ran.menus = []
            self.broken.append(ran)


Task = tuple[str, str, tuple[Plan, ...], int, int]


def work(task: Task) -> Tally:
    """One share of the work, in a process of its own."""
    part, name, plans, number, seed = task
    tally = Tally(part, name)
    for ran in _histories(part, name, plans, number, seed):
        tally.add(ran)
    return tally


def _histories(
    part: str, name: str, plans: tuple[Plan, ...], number: int, seed: int
) -> Iterator[Ran]:
    if part == "long lives":
        yield runs.live_long(MACHINE, name, seed, YEARS, RATE)
        return
    for plan in plans:
        if part == "one":
            yield runs.run(MACHINE, name, plan, leaf=True)
        elif part == "every pair":
            yield from runs.with_one_more(MACHINE, name, plan)
        else:
            dice = random.Random(f"{seed}/{name}/{plan}")
            yield from runs.some_with_one_more(MACHINE, name, plan, number, dice)


def tasks_for_one() -> Iterator[Task]:
    for name in SETUPS:
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
    names = [name for name, setup in SETUPS.items() if setup.kind.value != "minted"]
    for life in range(-(-years // YEARS)):
        yield ("long lives", names[life % len(names)], (), 0, seed + life)


def shares(plans: list[Plan], size: int) -> Iterator[tuple[Plan, ...]]:
    for at in range(0, len(plans), size):
        yield tuple(plans[at : at + size])


def tell(part: str, tallies: Iterable[Tally]) -> tuple[int, list[Ran]]:
    """Print a part's counts as they are known; return how many there were, and what broke."""
    began, counts, broken = time.monotonic(), Counter[str](), []
    for tally in tallies:
        counts[tally.setup] += tally.count
        broken += tally.broken
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
    for alike in list(kinds.values())[:SHOWN]:
        ran = min(alike, key=lambda r: len(r.plan))
        print(f"\n{len(alike)} times: {ran.broken}")
        print("   " + "\n   ".join(ran.trace[-60:]))
        print(f'   replay: python -m tests.sim --replay "{ran.setup} {ran.plan}"', flush=True)


def replay(text: str) -> int:
    name, _, rest = text.partition(" ")
    if rest.startswith("seed="):
        seed = int(rest.removeprefix("seed="))
        ran = runs.live_long(MACHINE, name, seed, YEARS, RATE)
    else:
        plan = runs.placed(MACHINE, name, rest) if "#" in rest else heard(rest)
        ran = runs.run(MACHINE, name, plan, leaf=True)
    print("\n".join(ran.trace))
    print(ran.broken or "nothing broke")
    return 1 if ran.broken else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--histories", type=int, default=220_000, help="enumerated, at least")
    parser.add_argument("--years", type=int, default=1_000, help="of long lives")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn by lot")
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--replay", help="one history again, as a failure names it")
    asked = parser.parse_args()
    if asked.replay:
        return replay(asked.replay)
    with multiprocessing.get_context("fork").Pool(asked.workers) as pool:
        return big_run(asked, lambda tasks: pool.imap_unordered(work, tasks, chunksize=1))


def big_run(
    asked: argparse.Namespace, share_out: Callable[[Iterable[Task]], Iterable[Tally]]
) -> int:
    began = time.monotonic()
    one, broken_one = tell("one thing goes wrong", share_out(tasks_for_one()))
    pair, broken_pair = (0, list[Ran]())
    if asked.histories > one:
        pair, broken_pair = tell("every pair of failures", share_out(tasks_for_pairs()))
    left = asked.histories - one - pair
    more, broken_more = tell("pairs of anything", share_out(tasks_for_more(left, asked.seed)))
    lives, broken_lives = tell(
        f"lives of {YEARS} years", share_out(tasks_for_years(asked.years, asked.seed))
    )
    broken = broken_one + broken_pair + broken_more + broken_lives
    print(
        f"\n{one + pair + more:,} enumerated histories and {lives * YEARS:,} credential-years "
        f"in {time.monotonic() - began:.0f} s: {len(broken)} broken"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
