"""Tampering: python -m tests.tampering [--every 1] [--workers N] [--only PART] [--replay WORDS]

Files of keyman's as somebody with write access, but without the key, may leave them:

* the sealed file and its key file: every byte changed in three ways; every two secrets with every
  set of columns exchanged; rows and master keys of other files; every column something else;
* a backup: every byte of its header and of its shortest piece changed in three ways, every seventh
  byte of the rest; its pieces in every other order, missing, doubled, and cut;
* the journal: every two cells of a column exchanged, and every cell of two rows something else.

Judged: a lookup gives the very secret that was put under that name and number, or nothing, or one
of keyman's errors, which holds no secret; a backup gives its whole content or an error.

Not tried: a whole file put back to an earlier state of its own, which a file can't know (the
journal's fingerprints and the provider do); who has the key; the history, which has a judge of its
own (tests/test_audit_edits.py). Who may write to the journal may name an earlier version current.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from keyman.housekeeping import backup_file
from tests.proof.report import conclude
from tests.tampering import house, journal, stores

PARTS = ("bytes of the sealed file", "rows of the sealed file", "backup", "journal")
TOLD = 20
SLICES = 16  # tasks that each part is cut into
SPARSE = 7  # of the long pieces of a backup


class Task(NamedTuple):
    part: str
    slice: int
    every: int  #: take each so-manieth attempt only


class Found(NamedTuple):
    what: str
    wrong: list[str]


def run(task: Task) -> tuple[Task, int, list[Found]]:
    """How many attempts, and those that went wrong."""
    tried, found = 0, list[Found]()
    for what, wrong in _ATTEMPTS[task.part](task):
        tried += 1
        if wrong:
            found.append(Found(what, wrong))
    return task, tried, found


Attempts = Iterator[tuple[str, list[str]]]


def _mine(task: Task, number: int) -> bool:
    return number % SLICES == task.slice and number // SLICES % task.every == 0


def _bytes(task: Task) -> Attempts:
    whole = house.sealed()
    cases = [("file", at) for at in range(len(whole.file))]
    cases += [("key", at) for at in range(len(whole.key))]
    with house.folder() as here:
        for number, (which, at) in enumerate(cases):
            if not _mine(task, number):
                continue
            for way in range(len(stores.CHANGES)):
                file, key = whole.file, whole.key
                if which == "file":
                    file = stores.changed(file, at, way)
                else:
                    key = stores.changed(key, at, way)
                opening = stores.for_writing if at % 16 == 5 else stores.real
                said = f"byte {at} of the {which}, way {way}"
                yield said, stores.looked_up(here, file, key, opening)


def _rows(task: Task) -> Attempts:
    whole = house.sealed()
    with house.folder() as here:
        for number, (said, file) in enumerate(stores.swaps(here, whole)):
            if _mine(task, number):
                yield said, stores.looked_up(here, file, whole.key)


def _backup(task: Task) -> Attempts:
    file, key = house.backup()
    size, long = backup_file.HEADER.size, backup_file.PIECE + backup_file.TAG_BYTES
    last = size + (house.PIECES - 1) * long
    places = [*range(size), *range(size, last, SPARSE), *range(last, len(file))]
    with house.folder() as here:
        for number, at in enumerate(places):
            if not _mine(task, number):
                continue
            for way in range(len(stores.CHANGES)):
                opens = None if at < size else key
                said = f"byte {at}, way {way}"
                yield said, stores.restored(here, stores.changed(file, at, way), opens)
        for number, (said, cut) in enumerate(stores.pieces(file)):
            if _mine(task, number):
                yield said, stores.restored(here, cut, key)


def _journal(task: Task) -> Attempts:
    with house.home() as here:
        edits = journal.Edits(here / "home" / "keyman.db")
        for said in edits.made(lambda number: _mine(task, number)):
            yield said, journal.looked_up(here)


_ATTEMPTS = dict(zip(PARTS, (_bytes, _rows, _backup, _journal), strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tampering")
    parser.add_argument("--every", type=int, default=1, help="each so-manieth attempt only")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--replay", metavar="PART/SLICE", help="one sixteenth of a part")
    asked = parser.parse_args()
    began, tried, broken = time.monotonic(), Counter[str](), 0
    tasks = [Task(part, n, asked.every) for part in asked.only for n in range(SLICES)]
    if asked.replay:
        part, _, number = asked.replay.rpartition("/")
        tasks = [Task(part, int(number), 1)]
    with multiprocessing.Pool(asked.workers, logging.disable) as pool:
        for task, many, found in pool.imap_unordered(run, tasks):
            tried[task.part] += many
            for one in found[: max(0, TOLD - broken)]:
                print(f"BROKEN {task.part}: {one.what}: {'; '.join(dict.fromkeys(one.wrong))}")
                print(
                    f"   PYTHONPATH=. python -m tests.tampering --replay '{task.part}/{task.slice}'"
                )
            broken += len(found)
    return conclude({f"changes of the {part}": n for part, n in tried.items()}, broken, began)


if __name__ == "__main__":
    sys.exit(main())
