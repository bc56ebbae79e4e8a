"""python -m tests.mutation [ROOM ...] [--file NAME] [--count N] [--seed S] [--quick] [--minutes M]

Makes every small mistake that tests/mutation/mutants.py knows in the code that decides (the core),
keeps (our own stores and the crypto around them) and guards (grants), one at a time, and runs the
tests of that room which execute the changed line. What no test notices has survived: it is printed,
unless tests/mutation/explained.toml says why it may. Exit status 1 if any is left over.

--count N takes a sample of N mutants a room, drawn by --seed; --file core/health.py one file;
--replay 'NAME' the mutant of that name, and says which test saw it; --names those of a file, one a
line. --quick leaves out tests that take long: what it kills is killed, what survives may yet be
seen by them. --minutes ends a room in time, and says how many were not run. --coverage prints which
branches of each file these tests never take.

Not tried: defaults of fields and arguments, single values of a module, messages; two mistakes at
once; what only a process of its own would see (the real daemon, commands); stores elsewhere; other
systems than Linux.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.mutation.explained import reason
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.rooms import ROOMS, ROOT, Room
from tests.mutation.running import (
    KILLED,
    NOT_PLANTED,
    SURVIVED,
    TIMED_OUT,
    UNREACHED,
    Judge,
    Verdict,
)
from tests.proof.report import conclude

SEED = 7
QUICK = 1.0  # seconds of a processor


def all_of(room: Room) -> list[Mutant]:
    return [
        mutant
        for path in room.paths()
        for mutant in mutants_of(path, path.relative_to(ROOT / "keyman").as_posix())
    ]


def chosen(room: Room, asked: argparse.Namespace) -> list[Mutant]:
    found = all_of(room)
    if asked.file:
        found = [one for one in found if one.name.split(":")[0] in asked.file]
    if asked.names:
        names = set(asked.names.read_text("utf-8").splitlines())
        found = [one for one in found if one.name in names]
    if asked.replay:
        found = [one for one in found if one.name == asked.replay]
    if asked.count is not None and asked.count < len(found):
        drawn = random.Random(asked.seed).sample(range(len(found)), asked.count)
        found = [found[at] for at in sorted(drawn)]
    return sorted(found, key=lambda one: one.constant is not None)  # those are asked of every test


def judged(room: Room, mutants: Sequence[Mutant], asked: argparse.Namespace) -> Judge:
    """Run the room's tests against these."""
    until = time.monotonic() + asked.minutes * 60
    paths = {one.path: None for one in mutants}
    judge = Judge(paths, mutants, asked.workers, until, QUICK if asked.quick else math.inf)
    judge.told = _progress(len(mutants))
    judge.run(room.tests if asked.quick else (*room.tests, *room.slower))
    return judge


def _progress(of: int) -> Any:
    began, counted = time.monotonic(), Counter[str]()

    def told(verdict: Verdict) -> None:
        counted[verdict.outcome] += 1
        if verdict.outcome in (SURVIVED, UNREACHED, NOT_PLANTED) and not reason(
            verdict.mutant.name
        ):
            print(f"{verdict.outcome} ({verdict.mutant.line}, {verdict.asked} tests): "
                  f"{verdict.mutant.name}", flush=True)  # fmt: skip
        if sum(counted.values()) % 200 == 0:
            after = time.monotonic() - began
            print(
                f"  {sum(counted.values())} of {of} in {after:.0f} s: {dict(counted)}", flush=True
            )

    return told


def coverage_told(judge: Judge) -> None:
    """Branches only: lines that run at import were run before anybody counted."""
    for name, found in sorted(judge.measured.coverage.items()):
        summary = found["summary"]
        taken, there = summary["covered_branches"], summary["num_branches"]
        missing = " ".join(f"{a}>{b}" for a, b in found["missing_branches"])
        share = 100 * taken / there if there else 100.0
        print(
            f"  {name}: {taken} of {there} branches ({share:.1f} %); never taken: {missing or '-'}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help="core, stores, keyring or grants")
    parser.add_argument("--file", action="append", help="only of this file, e.g. core/health.py")
    parser.add_argument("--count", type=int, help="so many of each room, drawn by the seed")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=600.0, help="for each room")
    parser.add_argument("--replay", metavar="NAME", help="one mutant, by its name")
    parser.add_argument("--names", type=Path, metavar="FILE", help="those named there, one a line")
    parser.add_argument("--quick", action="store_true", help="without tests that take long")
    parser.add_argument("--coverage", action="store_true", help="say which branches no test takes")
    asked = parser.parse_args()
    began, tried, broken = time.monotonic(), Counter[str](), 0
    for room in ROOMS:
        if asked.rooms and room.name not in asked.rooms:
            continue
        mutants = chosen(room, asked)
        if not mutants:
            continue
        print(f"{room.name}, {room.what}: {len(mutants)} mutants", flush=True)
        judge = judged(room, mutants, asked)
        if judge.measured.failed:
            print(f"  {judge.measured.failed}")
            broken += 1
            continue
        if asked.coverage:
            coverage_told(judge)
        if asked.replay:
            print("\n".join(f"  {v.outcome} {v.by}" for v in judge.verdicts))
        tried += figures(mutants, judge.verdicts)
        broken += sum(1 for one in judge.verdicts if left_over(one))
    return conclude(tried, broken, began)


def left_over(one: Verdict) -> bool:
    return one.outcome not in (KILLED, TIMED_OUT) and not reason(one.mutant.name)


def figures(mutants: Sequence[Mutant], verdicts: Sequence[Verdict]) -> Counter[str]:
    counted = Counter(one.outcome for one in verdicts)
    explained = sum(
        1 for one in verdicts if one.outcome not in (KILLED, TIMED_OUT) and reason(one.mutant.name)
    )
    return Counter(
        {
            "mutants": len(mutants),
            "killed": counted[KILLED],
            "timed out": counted[TIMED_OUT],
            "survived": counted[SURVIVED] + counted[UNREACHED] + counted[NOT_PLANTED],
            "of them explained": explained,
            "not run": len(mutants) - len(verdicts),
        }
    )


if __name__ == "__main__":
    sys.exit(main())
