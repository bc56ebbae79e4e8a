"""Network faults: python -m tests.network [--faults 4000] [--seed S] [--workers N] [--replay LIFE]

The real providers, with the vendors' own SDKs and clients, speak through a proxy to a sandbox of
OCI Generative AI, OpenAI, and Google; the real rotator, performer and journal drive them. In every
rotation one request is broken: each operation, nine faults (reset, close, silence, truncation,
garbage, delay beyond the time-out, duplication, half-close, slow dribble), three places (before it
reached the provider, while that has it, after its effect), over seeds that also answer what vendors
leave open. Time-outs are tenths of a second; waits of keyman's are skipped by its clock.

Judged: a change whose answer was lost ends as "unknown" and is taken neither for done nor for not
done; nobody who was handed a secret is cut off, during the overlap neither; nothing is promoted
that the provider refuses; once the network is well the rotation ends, one secret works, it is the
current one, and no other was left alive; every error is keyman's own, two lines, without a secret
and without a vendor's object; no verb hangs.

Not tried: TLS and proxies between (tests/test_way_out.py), two faults in one rotation (that is the
simulator's: tests/sim), vaults as stores, and what a kernel drops on real wires.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tests.network import google
from tests.network.life import Lived, journal, live
from tests.network.proxy import FAULTS, POSITIONS, Aim
from tests.network.worlds import KINDS
from tests.proof.report import conclude

FAULTS_IN_A_LIFE = 9


class Task(NamedTuple):
    kind: str
    number: int
    seed: int


def aims(task: Task) -> list[Aim]:
    """What a life meets: in one round of lives of a kind, every cell of the table once."""
    operations = google.OPERATIONS if task.kind == "google" else KINDS[task.kind][1]
    cells = list(itertools.product(operations, FAULTS, POSITIONS))
    lives = len(cells) // FAULTS_IN_A_LIFE
    turn, which = divmod(task.number, lives)
    random.Random(f"{task.seed}/{task.kind}/{turn}").shuffle(cells)
    mine = cells[which * FAULTS_IN_A_LIFE : (which + 1) * FAULTS_IN_A_LIFE]
    dice = random.Random(f"{task}")
    return [Aim(*cell, nth=dice.choice((1, 1, 2))) for cell in mine]


def tasks(faults: int, seed: int) -> Iterator[Task]:
    """Rounds of lives, as many as it takes."""
    cells = len(FAULTS) * len(POSITIONS)
    wanted = {kind: len(ops) for kind, (_, ops) in KINDS.items()} | {
        "google": len(google.OPERATIONS)
    }
    numbers = dict.fromkeys(wanted, 0)
    while faults > 0:
        for kind, operations in wanted.items():
            lives = operations * cells // FAULTS_IN_A_LIFE
            for _ in range(lives):
                if faults <= 0:
                    return
                yield Task(kind, numbers[kind], seed)
                numbers[kind] += 1
                faults -= FAULTS_IN_A_LIFE


_BOOKS: list[object] = []


def run(task: Task) -> tuple[Task, Lived]:
    seed = random.Random(f"life {task}").randrange(2**32)
    with journal() as books:
        if task.kind == "google":
            return task, google.live(seed, aims(task))
        return task, live(task.kind, seed, aims(task), books)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.network")
    parser.add_argument("--faults", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--replay", metavar="KIND/NUMBER", help="one life, as it was printed")
    asked = parser.parse_args()
    began, met, broken, missed = time.monotonic(), Counter[str](), 0, 0
    chosen = list(tasks(asked.faults, asked.seed))
    if asked.replay:
        kind, _, number = asked.replay.partition("/")
        chosen, asked.workers = [Task(kind, int(number), asked.seed)], 1
    with multiprocessing.Pool(asked.workers, logging.disable) as pool:
        for task, lived in pool.imap_unordered(run, chosen):
            met.update(f"{hit.aim.fault}, {hit.aim.position}" for hit in lived.hits)
            missed += len(lived.missed)
            broken += len(lived.broken)
            _tell(task, lived)
    for cell, many in sorted(met.items()):
        print(f"{many:6} {cell}")
    print(f"{missed} faults found no request to meet")
    tried = {"network faults": met.total()}
    return conclude(tried, broken, began)


def _tell(task: Task, lived: Lived) -> None:
    for aim, what in lived.broken:
        print(f"BROKEN {aim.operation}, {aim.fault}, {aim.position}: {what}")
        words = f"--seed {task.seed} --replay {task.kind}/{task.number}"
        print(f"   PYTHONPATH=. python -m tests.network {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
