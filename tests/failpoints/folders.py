"""Folders that lives begin in: a home per setup that was opened once, so that no history waits for
its journal's schema to be made, and copies of it.
"""

from __future__ import annotations

import gc
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.disk.house import taken_out
from tests.failpoints.home import Home
from tests.scratch import MEMORY
from tests.sim.planting import real
from tests.sim.setups import SETUPS
from tests.sim.world import Machine


@dataclass(slots=True)
class Folders:
    """`machine`: whose lives these are, keyman's own or those of one with a bug in it."""

    folder: Path
    machine: Machine = field(default_factory=real)
    _made: dict[str, bytes] = field(default_factory=dict)

    def fresh(self, setup: str) -> Home:
        """A home that was opened, and nothing done in it."""
        if setup not in self._made:
            first = self.folder / f"first-{setup}"
            first.mkdir()
            home = Home(first, SETUPS[setup])
            with home.opened():
                pass
            if home.setup.adopted:
                home.made_in_the_console()
            self._made[setup] = home.put_away()
        return self.put(self._made[setup], self.folder / f"first-{setup}", self.folder / "home")

    def put(self, packed: bytes, files: Path, place: Path) -> Home:
        """What is so outside of a folder, with a copy of these files at a place."""
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(files, place)
        home = self.going_on(packed)
        home.folder = place
        return home

    def going_on(self, packed: bytes) -> Home:
        home = taken_out(packed)
        assert isinstance(home, Home)
        home.machine = self.machine
        return home


@contextmanager
def folders(where: Path | None = None, machine: Machine | None = None) -> Iterator[Folders]:
    """In a scratch folder under `where`, or in memory; gone afterwards."""
    gc.collect()
    gc.freeze()  # what is not touched is not copied in every child
    logging.disable()  # thousands of processes are killed, and each is warned of
    with tempfile.TemporaryDirectory(prefix="keyman-failpoints-", dir=where or MEMORY) as folder:
        yield Folders(Path(folder), machine or real())
