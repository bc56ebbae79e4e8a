"""A home is put back as it was at one instant, at every later one.

One life of a credential is stopped wherever something has just become durable, in its folder or at
the provider, and its folder copied; so is what two later starts and rotations leave. Each copy is
then put in the place of the folder at each later instant, against the provider as it was then: as
`keyman restore` makes it, and as a bare copy of the files.

What was restored hands out nothing before it was proven; of a bare copy, of which nobody told
keyman, that is so from the end of its first turn. Either comes to rest, and rotates once more.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from keyman.core import restoring
from keyman.db.journal import Journal
from tests.disk.rooms import opened_store
from tests.failpoints.folders import Folders
from tests.failpoints.home import Home
from tests.failpoints.process import (
    Board,
    Said,
    begin,
    ended,
    live,
    paused,
    pausing,
    wake,
)
from tests.sim.invariants import Broken
from tests.sim.rooms import Row

AS_KEYMAN_DOES, BARE = "restored", "copied"
SHAPES = (AS_KEYMAN_DOES, BARE)
DURABLE = frozenset(
    f"after {place}"
    for place in (
        *("journal save", "store put", "store drop"),
        *(f"provider {verb}" for verb in ("claim", "create", "issue", "activate", "retire")),
        "provider revoke",
    )
)
SETUPS = ("plain", "unmatched", "first", "fresh")
OWN_KEYS = ("fresh",)  # of setups: each issue makes a key of its own


@dataclass(frozen=True, slots=True)
class Instant:
    name: str
    files: Path
    packed: bytes


@dataclass(frozen=True, slots=True)
class Restore:
    """`back` and `at` count instants of that setup's life, from 0."""

    setup: str
    shape: str
    back: int
    at: int

    def __str__(self) -> str:
        return f"{self.setup} {self.shape} {self.back} {self.at}"

    @classmethod
    def heard(cls, text: str) -> Restore:
        setup, shape, back, at = text.split()
        return cls(setup, shape, int(back), int(at))


def instants(folders: Folders, setup: str) -> list[Instant]:
    """Of one life in which nothing goes wrong, and of two that go on from it, at their ends."""
    home, board, found = folders.fresh(setup), Board(), list[Instant]()
    fate = pausing(home, board, DURABLE.__contains__, lambda _: None)
    pid = begin(home, live, board, fate)
    while paused(pid):
        said, files = board.read(), folders.folder / f"{setup}-{len(found)}"
        if said.home.record.versions or not home.setup.adopted:  # else nothing is entrusted yet
            shutil.copytree(home.folder, files)
            found.append(Instant(said.at, files, said.packed))
        wake(pid)
    said = ended(pid, board)
    board.close()
    if said.broken:
        raise Broken("L", f"{setup} without any restore: {said.broken}")
    return found + list(_later(folders, said, home.folder, len(found)))


def _later(folders: Folders, said: Said, place: Path, first: int) -> Iterator[Instant]:
    """After another start, and another rotation, each."""
    board = Board()
    for number in range(first, first + 2):
        home = folders.going_on(said.packed)
        home.folder, home.goal = place, home.watch.promotions + 1
        said = ended(begin(home, live, board), board)
        if said.broken:
            raise Broken("L", f"{home.setup.name} without any restore: {said.broken}")
        files = folders.folder / f"{home.setup.name}-{number}"
        shutil.copytree(place, files)
        yield Instant("after another rotation", files, said.packed)
    board.close()


def pairs(setup: str, many: int) -> Iterator[Restore]:
    # A bare copy never heard of the keys that were made since, and takes them for lost tries of its
    # own: only `keyman restore` says that there may be such.
    for shape in SHAPES if setup not in OWN_KEYS else (AS_KEYMAN_DOES,):
        for at in range(1, many):
            for back in range(at):
                yield Restore(setup, shape, back, at)


def restored(
    folders: Folders, life: list[Instant], restore: Restore, *, careless: bool = False
) -> str:
    """What it breaks; "" if nothing. `careless`: a restore that only puts the files back."""
    then, now = life[restore.back], life[restore.at]
    home = folders.put(now.packed, then.files, folders.folder / "home")
    made_at = folders.going_on(then.packed).true

    def act(home: Home, said: Said) -> None:
        _put_back(home, made_at, marked=restore.shape == AS_KEYMAN_DOES and not careless)
        home.blind = restore.shape == BARE
        live(home, said)

    board = Board()
    said = ended(begin(home, act, board), board)
    board.close()
    return said.broken


def _put_back(home: Home, made_at: datetime, *, marked: bool) -> None:
    """What the folder holds is so from now on, whatever was acknowledged since."""
    with closing(Journal.open(f"sqlite:///{home.folder / 'keyman.db'}")) as journal:
        assert home.spec is not None
        record, observed = journal.load(home.spec)
        if marked and record.versions:
            journal.void_leases(None)
            observed = None
            record = journal.save(restoring.restored(record, made_at, home.now()), None)
        home.row = Row(record, observed) if record.revision else None
        with closing(opened_store(home, home.folder, journal.installation, "")) as store:
            found = {each: store.get(*each) for each in store.list()}
    home.secrets = {each: secret for each, secret in found.items() if secret is not None}
    home.put_back()
