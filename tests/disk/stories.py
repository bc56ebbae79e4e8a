"""What is lived in a house while its disk breaks, and how such a life is run and judged.

A story begins with a folder as it was left by the life before, and with what was so outside of it
then. Each is lived in a process of its own, which is watched from outside, and ends with a folder
that a fresh process must be able to go on with.
"""

from __future__ import annotations

import logging
import mmap
import pickle
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyman.core.model import Stage
from tests.disk import judging
from tests.disk.house import House, Lived, Weak, taken_out
from tests.disk.tracing import Done, Fate, Tracer, held, nothing
from tests.scratch import MEMORY
from tests.sim.invariants import Broken
from tests.sim.setups import SETUPS
from tests.sim.world import Machine

ROOM = 1 << 20  # bytes for what a process has to say when it ends
LIMIT = 30.0  # seconds that a life may take; it takes a fraction of one
SETUP_OF = {"slots": "plain", "keys": "fresh", "first start": "first"}
STORIES = tuple(SETUP_OF)


@dataclass(frozen=True, slots=True)
class Story:
    """A folder, and the house that belongs to it, put away."""

    name: str
    folder: Path
    house: bytes

    def told_again(self, folder: Path) -> House:
        """The same house over a copy of the folder."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        house = taken_out(self.house)
        house.folder = folder
        return house


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for what is written thousands of times; in memory, if that can be."""
    with tempfile.TemporaryDirectory(prefix="keyman-disk-", dir=MEMORY) as folder:
        yield Path(folder)


def begun(name: str, folder: Path, weak: Weak | None = None) -> Story:
    """Live what comes before: an entrusted key and a rotation; nothing before the first start."""
    logging.disable()  # thousands of disks fail
    folder.mkdir()
    house = House(folder, SETUPS[SETUP_OF[name]], weak)
    if name != "first start":
        for adopting in (house.setup.adopted, False):
            house.goal += 1
            house.live(adopting=adopting)
            assert house.at_rest(), house.record
    house.goal += 1
    return Story(name, folder, house.put_away())


@dataclass(slots=True)
class Ended:
    """How a life ended. `broken` says which promise was."""

    broken: str = ""
    lived: Lived | None = None
    house: House | None = None


def lived(
    house: House,
    fate: Fate,
    done: Done = nothing,
    *,
    marks: int = -2,
    machine: Machine | None = None,
) -> Ended:
    """Live it in a process of its own, whose calls to the folder meet this fate."""
    with mmap.mmap(-1, ROOM) as said:
        child = held(lambda: _say(said, life_of(house, machine, marks)))
        tracer = Tracer(child, str(house.folder), fate, done, marks=marks)
        try:
            status = tracer.run(LIMIT)
        except TimeoutError:
            return Ended(f"H: it hangs, for {LIMIT:.0f} s now")
        if status:
            return Ended(f"H: the process ended with {status}")
        broken, how, packed = pickle.loads(said[:])
        return Ended(broken, how, taken_out(packed) if packed else None)


def life_of(house: House, machine: Machine | None, marks: int = -1) -> bytes:
    """Live it, here and now: what is broken, how it went, and the house, put away."""
    house.marks = marks
    house.machine = machine or house.machine
    how: list[Lived] = []
    broken = _broken(lambda: how.append(house.live()))
    return pickle.dumps((broken, how[0] if how else None, house.put_away()))


def _say(said: mmap.mmap, words: bytes) -> None:
    said[: len(words)] = words


def goes_on(house: House) -> str:
    """A fresh process, with everything well again: what it finds broken, or "" once it rests."""
    return _broken(lambda: _go_on(house))


def _go_on(house: House) -> None:
    judging.judge(house)
    how = house.live()
    if how.errors or how.stopped:
        raise Broken("L", f"all is well again, and yet: {how.errors}")
    if len(house.record.all_at(Stage.CURRENT)) != 1:
        raise Broken("L", "it rests, and not one version is current")


def _broken(act: Callable[[], object]) -> str:
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        act()
    except Broken as broken:
        return str(broken)
    except Exception as error:  # noqa: BLE001 - whatever keyman lets out is what is looked for
        return f"T: {type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return ""


def _too_long(*_: object) -> None:
    raise TimeoutError("it hangs")
