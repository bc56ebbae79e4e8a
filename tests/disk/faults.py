"""Every call to a broken disk: python -m tests.disk.faults [--count N] [--seed S] [--workers N]

Tried: a whole life of the real rotator over the real journal, sealed file, key file, lock and page
in one folder, from opening to closing, with one rotation in it: of a key with two slots, of a key
made for each issue, and the very first start, which makes everything. Each call of it that changes
the folder (write, pwrite64, fsync, fdatasync, ftruncate, fallocate, fchmod, rename, link, unlink,
mkdir, and open for writing) fails once, and in another life it and all that come after it: with EIO
and with ENOSPC. Each write ends halfway, once, and with the disk full from there on. And from each
call on the folder is read-only for a while. Besides, the folder lies on a real file system with
room for no page more, for two more, for four more, and so on.

Judged: nobody is shown anything but keyman's own errors, and nothing hangs; every effect on the
cloud and every record by the simulator's invariants (tests/sim/invariants.py); lookups, after each
turn. Then, with the disk well again: both databases are whole, the history fits, every record and
every secret whose keeping was acknowledged is there, and a fresh process goes on to its rest, with
one version current that works, and nothing lost, forgotten or left alive that should not be.

NOT tried: reads that fail; mapped pages that can't be read (SIGBUS); two calls that fail
independently; the daemon's threads (this is one thread); stores elsewhere; a disk that
lies (tests/disk/power_cuts.py has the one that forgets).

Last, the judges themselves: bugs are planted in the rotator (tests/disk/planted.py), and one that
is not found counts as broken.

`--count` is so many lives, chosen by the seed; all by default. A broken promise is printed
with the command that replays it.
"""

from __future__ import annotations

import argparse
import errno
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.disk import small, stories
from tests.disk.calls import WRITES, Call
from tests.disk.house import Lived
from tests.disk.planted import PLANTED
from tests.disk.stories import STORIES, Story
from tests.disk.tracing import SHORT, why_not
from tests.proof.report import conclude
from tests.sim.planting import Bug, planted
from tests.sim.world import Machine

KINDS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "short": SHORT, "EROFS": errno.EROFS}
ONCE, WHILE, ON = "once", "while", "on"
HOWS = {"EIO": (ONCE, ON), "ENOSPC": (ONCE, ON), "short": (ONCE, ON), "EROFS": (WHILE,)}
DISK = "disk"  # a real one, with room for so many pages
MOST_ROOM, STEP = 240, 2  # pages; that is enough for all that a life writes
A_WHILE = 4  # calls: two turns, or three
NEEDS_ROOM = ("write", "pwrite64", "fallocate", "open", "openat", "link", "linkat", "mkdir")
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Fault:
    """The n-th call (from 1) fails in this way; and those that come after it, as `how` says."""

    story: str
    nth: int
    kind: str
    how: str

    def __str__(self) -> str:
        return f"{self.story}/{self.nth}/{self.kind}/{self.how}"


class Disk:
    """What it does with each call, by the fault; it counts them."""

    def __init__(self, fault: Fault | None) -> None:
        self._fault = fault
        self.calls: list[Call] = []
        self.met = ""

    def fate(self, call: Call) -> int:
        self.calls.append(call)
        fault, nth = self._fault, len(self.calls)
        if fault is None or nth < fault.nth:
            return 0
        if nth == fault.nth:
            self.met = str(call)
            return KINDS[fault.kind]
        if fault.how == ONCE or (fault.how == WHILE and nth >= fault.nth + A_WHILE):
            return 0
        if fault.kind == "short":
            return errno.ENOSPC if call.what in NEEDS_ROOM else 0
        return KINDS[fault.kind]


@dataclass(frozen=True, slots=True)
class Ran:
    fault: Fault
    met: str
    broken: str
    lived: Lived


Stories = dict[str, Story]


def run(story: Story, fault: Fault, folder: Path, machine: Machine | None = None) -> Ran:
    """Live it with this fault, then go on without."""
    if fault.kind == DISK:
        return run_on_a_full_disk(story, fault, folder, machine)
    disk, house = Disk(fault), story.told_again(folder)
    ended = stories.lived(house, disk.fate, machine=machine)
    how, broken = ended.lived or Lived(), ended.broken
    if how.stopped and fault.how != ON:
        broken = "L: the disk is well again, and every turn goes on failing"
    if not broken:
        assert ended.house is not None
        broken = stories.goes_on(ended.house)
        broken = f"afterwards: {broken}" if broken else ""
    return Ran(fault, disk.met, broken, how)


def run_on_a_full_disk(
    story: Story, fault: Fault, folder: Path, machine: Machine | None = None
) -> Ran:
    ended, after = small.lived(story, _disk_of(folder), fault.nth, machine)
    broken = ended.broken or (f"afterwards: {after}" if after else "")
    return Ran(fault, f"a disk with room for {fault.nth} pages", broken, ended.lived or Lived())


def _disk_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-disk")


def full_disks(story: Story, folder: Path) -> Iterator[Fault]:
    if said := small.why_not(_disk_of(folder / "life")):
        print(f"no full disks: {said}")
        return
    for room in range(0, MOST_ROOM, STEP):
        yield Fault(story.name, room, DISK, ON)


def calls_of(story: Story, folder: Path) -> list[Call]:
    """Those of a life in which nothing fails."""
    disk = Disk(None)
    ended = stories.lived(story.told_again(folder), disk.fate)
    assert not ended.broken, ended.broken
    assert ended.house is not None
    assert (said := stories.goes_on(ended.house)) == "", said
    return disk.calls


def every_fault(story: Story, calls: Sequence[Call]) -> Iterator[Fault]:
    for nth, call in enumerate(calls, start=1):
        for kind in KINDS:
            if kind == "short" and (call.what not in WRITES.values() or call.number < 2):
                continue
            for how in HOWS[kind]:
                yield Fault(story.name, nth, kind, how)


def commits(calls: Sequence[Call]) -> Iterator[int]:
    """Where the journal begins to write each: it fails there, nothing of it can have happened."""
    before = ""
    for nth, call in enumerate(calls, start=1):
        if call.path.endswith("-wal"):
            if call.what == "pwrite64" and before == "fsync":
                yield nth
            before = call.what


def caught(bug: Bug, story: Story, calls: Sequence[Call], folder: Path) -> str:
    """How it shows that the bug is there, if a record can't be saved; "" if nowhere."""
    machine = planted(bug)
    for nth in commits(calls):
        ran = run(story, Fault(story.name, nth, "EIO", ON), folder, machine)
        if ran.broken:
            return f"{ran.broken} ({ran.fault})"
    return ""


def begun(folder: Path, names: Sequence[str] = STORIES) -> Stories:
    return {name: stories.begun(name, folder / name) for name in names}


def _run_share(begun_in: Path, packed: Stories, faults: Sequence[Fault]) -> list[Ran]:
    folder = begun_in / f"life-{multiprocessing.current_process().pid}"
    return [run(packed[fault.story], fault, folder) for fault in faults]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tests.disk.faults", description=__doc__)
    parser.add_argument("--count", type=int, help="of lives; all if not given")
    parser.add_argument("--seed", type=int, default=1, help="of which ones")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--replay", metavar="FAULT", help="one again, as a failure names it")
    asked = parser.parse_args(arguments)
    if said := why_not():
        print(f"skipped: {said}")
        return conclude({"lives on a broken disk": 0}, 0, time.monotonic())
    with stories.scratch() as folder:
        if asked.replay:
            return replay(asked.replay, folder)
        return all_of_them(begun(folder), asked, folder)


def replay(text: str, folder: Path) -> int:
    """Instead of its number, the call may be given by how it is told of: its first."""
    name, where, kind, how = text.split("/")
    story = begun(folder, [name])[name]
    if not where.isdigit():
        told = [str(call) for call in calls_of(story, folder / "life")]
        where = str(told.index(where) + 1)
    ran = run(story, Fault(name, int(where), kind, how), folder / "life")
    print(f"{ran.fault}: met {ran.met}; {ran.lived}")
    print(ran.broken or "nothing broke")
    return 1 if ran.broken else 0


def all_of_them(told: Stories, asked: argparse.Namespace, folder: Path) -> int:
    began, faults = time.monotonic(), list[Fault]()
    calls = {name: calls_of(story, folder / "life") for name, story in told.items()}
    for name, story in told.items():
        kinds = Counter(call.what for call in calls[name])
        print(f"{name}: {kinds.total()} calls: {dict(kinds)}", flush=True)
        faults += [*every_fault(story, calls[name]), *full_disks(story, folder)]
    random.Random(asked.seed).shuffle(faults)
    faults = faults[: asked.count]
    shares = [faults[at : at + 10] for at in range(0, len(faults), 10)]
    work = partial(_run_share, folder, told)
    ran: list[Ran] = []
    with multiprocessing.get_context("fork").Pool(asked.workers) as pool:
        for share in pool.imap_unordered(work, shares):
            ran += share
            if len(ran) % 500 == 0:
                print(f"{len(ran)} of {len(faults)} lives", flush=True)
            show([one for one in share if one.broken])
    tell(ran)
    missed = 0
    for bug in PLANTED:
        said = caught(bug, told["slots"], calls["slots"], folder / "life")
        missed += not said
        print(f"planted: {bug.name}: {said or 'NOT CAUGHT'}", flush=True)
    tried = {"lives on a broken disk": len(ran), "planted bugs": len(PLANTED)}
    return conclude(tried, sum(bool(one.broken) for one in ran) + missed, began)


def show(broken: Sequence[Ran]) -> None:
    for one in broken:
        print(f"\n{one.met}: {one.broken}")
        print(f'   replay: python -m tests.disk.faults --replay "{one.fault}"', flush=True)


def tell(ran: Sequence[Ran]) -> None:
    for kind, hows in (HOWS | {DISK: (ON,)}).items():
        for how in hows:
            those = [one for one in ran if (one.fault.kind, one.fault.how) == (kind, how)]
            noticed = sum(bool(one.lived.errors) for one in those)
            refused = sum(not one.lived.begun for one in those)
            stopped = sum(one.lived.stopped for one in those)
            print(
                f"{kind}/{how}: {len(those)} lives, {noticed} told of it: {refused} did not begin, "
                f"{stopped} were stopped"
            )


if __name__ == "__main__":
    sys.exit(main())
