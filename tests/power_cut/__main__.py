"""The long run: many lives, some at a time, each on clouds of its own.

    python -m tests.power_cut --kills 200                  # every kind, about ten minutes
    python -m tests.power_cut --kills 60 --kind openai     # one kind: oci openai google static all
    python -m tests.power_cut --seed 17 --kills 10         # one life again, with its seed
    python -m tests.power_cut --store vault                # secrets rest there, by configuration
    python -m tests.power_cut --mirror oci-vault           # and are readable there as well

Prints what each life came to, and everything that is known of one in which an invariant broke.
Ends with status 1 if any did.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.power_cut.kinds import ALL, KINDS, by_seed
from tests.power_cut.life import Report
from tests.power_cut.runs import KILLS_A_LIFE, Wanted, run, told
from tests.power_cut.stores import DURABLE
from tests.proof.report import conclude


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.power_cut", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="at least so many")
    parser.add_argument("--seed", type=int, default=1, help="of the first life; the next add one")
    parser.add_argument("--at-once", type=int, default=2, help="lives at a time")
    parser.add_argument("--kind", choices=(*KINDS, ALL), help="of lives; if not given, by seed")
    parser.add_argument("--store", choices=DURABLE, default="sealed-file", help="where they rest")
    parser.add_argument("--mirror", choices=DURABLE, help="a second store, which follows")
    options = parser.parse_args(arguments)
    each = min(KILLS_A_LIFE, options.kills)
    seeds = range(options.seed, options.seed + -(-options.kills // each))
    where = (options.store, options.mirror)
    wanted = [Wanted(seed, options.kind or by_seed(seed), each, *where) for seed in seeds]
    began = time.monotonic()
    reports: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="keyman-cut-") as folder:
        for report in run(wanted, Path(folder), at_once=options.at_once):
            reports.append(report)
            print(told(report), flush=True)
    print(_summary(reports, time.monotonic() - began))
    broken = sum(len(report.broken) for report in reports)
    tried = {"kills of the daemon": sum(report.kills for report in reports)}
    tried["calls with what was handed out"] = sum(report.requests for report in reports)
    return conclude(tried, broken, began)


def _summary(reports: list[Report], seconds: float) -> str:
    def total(what: str) -> int:
        return sum(int(getattr(report, what)) for report in reports)

    broken = sum(len(report.broken) for report in reports)
    return (
        f"{total('kills')} kills in {len(reports)} lives: {total('rotations')} rotations,"
        f" {total('lookups')} lookups, {total('requests')} requests, {total('orders')} orders,"
        f" {total('drifts')} changes in the console; {broken} broken invariants; {seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
