"""What a power cut leaves: python -m tests.disk.power_cuts [--count N] [--seed S] [--workers N]

Tried: lives of the real rotator over the real journal and sealed file, with one rotation in each
(of a key with two slots, of a key made for each issue, and the very first start), are recorded call
by call. Power goes after each of these calls, and by the seed what was not yet synced is lost,
torn at sectors of 512 or 4096 bytes, reordered, or there all the same (tests/disk/images.py says
what a disk may do). And each fsync of such a life fails once, whereupon the kernel forgets what it
was to write, and power goes at some later instant.

Judged: what is left opens, whole; every record and every secret whose keeping was acknowledged
before the cut is there; and a fresh process goes on from it, against the cloud as it was at that
very instant, until it rests: the judges are those of tests/disk/faults.py.

And the judges themselves: with SQLite told to sync less, or a disk that does not sync what it says
it did, acknowledged data must be found lost. Where it is not, that counts as broken.

NOT tried: sectors that are written halfway, or harmed by a write beside them; a file system that
shows old data of others; the generation page, which is mapped into memory (a page that is lost is
made again); files that `keyman write` renders.

A broken promise is printed with the command that replays it.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tests.disk import stories
from tests.disk.faults import ONCE, Fault, Stories, begun
from tests.disk.house import Weak, taken_out
from tests.disk.images import Deaf, hears, written
from tests.disk.recording import Recording, fsyncs, recorded
from tests.disk.tracing import why_not
from tests.proof.report import conclude

COUNT = 5000
SEEN_LATER = 3  # instants after each fsync that failed
SHARE, MOST_SHARES = 20, 16
SAMPLE = 120  # cuts that a weakness is looked for in; most are caught within a few


@dataclass(frozen=True, slots=True)
class Weakness:
    """Something that keyman, or its disk, must not be like."""

    name: str
    story: str = "slots"
    weak: Weak = field(default_factory=Weak)
    deaf: Deaf = hears


WEAKNESSES = (
    Weakness("the journal with synchronous=NORMAL", weak=Weak(journal="synchronous=NORMAL")),
    Weakness("the journal with synchronous=OFF", weak=Weak(journal="synchronous=OFF")),
    Weakness("the sealed file with synchronous=OFF", weak=Weak(store="synchronous=OFF")),
    Weakness("a sealed file that is not synced", deaf=lambda path: path.endswith("/store.sealed")),
    Weakness(
        "a folder that is not synced", "first start", deaf=lambda path: path.endswith("/life")
    ),
)


@dataclass(frozen=True, slots=True)
class Cut:
    """Power goes after so many calls of a recording; the seed says what survives."""

    recording: str
    upto: int
    seed: int

    def __str__(self) -> str:
        return f"{self.recording}/{self.upto}/{self.seed}"

    @classmethod
    def heard(cls, text: str) -> Cut:
        recording, upto, seed = text.rsplit("/", 2)
        return cls(recording, int(upto), int(seed))


@dataclass(frozen=True, slots=True)
class Judged:
    cut: Cut
    after: str  # the last call before the cut
    broken: str
    again: bool  # the same image was judged already


Recordings = dict[str, Recording]


def judged(recordings: Recordings, cut: Cut, folder: Path, seen: set[str]) -> Judged:
    recording = recordings[cut.recording]
    image, packed = recording.image(cut.upto, cut.seed), recording.house(cut.upto)
    after = str(recording.calls[cut.upto - 1])
    digest = hashlib.sha256(repr(sorted(image.items())).encode() + packed).hexdigest()
    if digest in seen:
        return Judged(cut, after, "", again=True)
    seen.add(digest)
    shutil.rmtree(folder, ignore_errors=True)
    written(image, folder)
    house = taken_out(packed)
    house.folder, house.weak = folder, Weak()  # what is lost is lost: nobody else need be weak
    return Judged(cut, after, stories.goes_on(house), again=False)


def cuts_of(recordings: Recordings, rounds: int) -> Iterator[Cut]:
    """Round by round, so that so many from the beginning are spread over all of it."""
    for seed in range(rounds):
        for recording in recordings.values():
            for upto in range(recording.first, len(recording.calls) + 1):
                yield Cut(recording.name, upto, seed)


def some_of(failed: Recordings, seed: int) -> Iterator[Cut]:
    """A few instants after each fsync that failed, and the end."""
    for recording in failed.values():
        dice, last = random.Random(f"{seed} {recording.name}"), len(recording.calls)
        later = [dice.randint(recording.first, last) for _ in range(SEEN_LATER - 1)]
        for upto in sorted({*later, last}):
            yield Cut(recording.name, upto, seed)


class Bench:
    """Where one worker judges: it inherits the recordings, which are large."""

    recordings: Recordings
    folder: Path
    seen: set[str]

    @classmethod
    def begin(cls, recordings: Recordings, folder: Path) -> None:
        cls.recordings, cls.seen = recordings, set()
        cls.folder = folder / f"cut-{os.getpid()}"

    @classmethod
    def judge(cls, cuts: Sequence[Cut]) -> list[Judged]:
        return [judged(cls.recordings, cut, cls.folder, cls.seen) for cut in cuts]


def caught(weakness: Weakness, folder: Path, sample: int = SAMPLE) -> tuple[str, int]:
    """The first loss that it leads to ("" if none was found), and how many cuts that took."""
    story = stories.begun(weakness.story, folder / "weak", weakness.weak)
    recording = recorded(story, folder / "life", deaf=weakness.deaf)
    cuts = list(cuts_of({recording.name: recording}, 4))
    random.Random(weakness.name).shuffle(cuts)
    number, seen = 0, set[str]()
    try:
        for number, cut in enumerate(cuts[:sample], start=1):
            one = judged({recording.name: recording}, cut, folder / "cut", seen)
            if one.broken.startswith(("D", "I3")):
                return one.broken, number
    finally:
        shutil.rmtree(story.folder)
    return "", number


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tests.disk.power_cuts", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="of cuts, at least")
    parser.add_argument("--seed", type=int, default=1, help="of what survives")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--replay", metavar="CUT", help="one again, as a failure names it")
    asked = parser.parse_args(arguments)
    if said := why_not():
        print(f"skipped: {said}")
        return conclude({"power cuts": 0}, 0, time.monotonic())
    with stories.scratch() as folder:
        if asked.replay:
            return replay(Cut.heard(asked.replay), folder)
        return all_of_them(begun(folder), asked, folder)


def replay(cut: Cut, folder: Path) -> int:
    name, _, nth = cut.recording.partition("~")
    fault = Fault(name, int(nth), "EIO", ONCE) if nth else None
    recording = recorded(begun(folder, [name])[name], folder / "life", fault)
    one = judged({recording.name: recording}, cut, folder / "cut", set())
    print(f"{cut}: power went after {one.after}")
    print(one.broken or "nothing broke")
    return 1 if one.broken else 0


def all_of_them(told: Stories, asked: argparse.Namespace, folder: Path) -> int:
    began = time.monotonic()
    whole = {name: recorded(story, folder / "life") for name, story in told.items()}
    faults = [(told[name], fault) for name, one in whole.items() for fault in fsyncs(one)]
    faults = faults if asked.count >= COUNT else faults[:: max(1, COUNT // asked.count)]
    failed = {one.name: one for one in (recorded(story, folder / "life", f) for story, f in faults)}
    calls = sum(len(one.calls) for one in whole.values())
    for name, one in whole.items():
        print(f"{name}: {len(one.calls)} calls, {len(one.marks)} marks", flush=True)
    rounds = range(asked.seed, asked.seed + 1 + asked.count // calls * 4)
    cuts = (Cut(c.recording, c.upto, rounds[c.seed]) for c in cuts_of(whole, len(rounds)))
    tally = judge_all(whole | failed, cuts, list(some_of(failed, asked.seed)), asked, folder)
    missed = self_tests(folder)
    tried = {
        "power cuts": tally["whole"],
        "power cuts after an fsync that failed": tally["failed"],
        "planted weaknesses": len(WEAKNESSES),
    }
    return conclude(tried, tally["broken"] + missed, began)


def judge_all(
    recordings: Recordings,
    cuts: Iterator[Cut],
    others: Sequence[Cut],
    asked: argparse.Namespace,
    folder: Path,
) -> Counter[str]:
    """Until so many different images were judged, and all the others."""
    tally = Counter[str]()
    with multiprocessing.get_context("fork").Pool(
        asked.workers, Bench.begin, (recordings, folder)
    ) as pool:
        others_shares = [others[at : at + SHARE] for at in range(0, len(others), SHARE)]
        for share in pool.imap_unordered(Bench.judge, others_shares):
            count(share, "failed", tally)
        while (left := asked.count - tally["whole"]) > 0:
            wanted = range(min(MOST_SHARES, left // SHARE + 1))
            shares = [some for _ in wanted if (some := list(islice(cuts, SHARE)))]
            if not shares:
                break
            for share in pool.imap_unordered(Bench.judge, shares):
                count(share, "whole", tally)
    print(f"{tally['again']} more were the same image again, and not judged")
    return tally


def count(share: Sequence[Judged], kind: str, tally: Counter[str]) -> None:
    for one in share:
        tally["again" if one.again else kind] += 1
        if one.broken:
            tally["broken"] += 1
            print(f"\npower went after {one.after}: {one.broken}")
            print(f'   replay: python -m tests.disk.power_cuts --replay "{one.cut}"', flush=True)


def self_tests(folder: Path) -> int:
    """How many weaknesses were not caught."""
    missed = 0
    for weakness in WEAKNESSES:
        said, number = caught(weakness, folder)
        missed += not said
        print(f"{weakness.name}: {said or 'NOT CAUGHT'} (cut {number})", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
