"""What anybody on this machine may read of running programs: command lines and environments.

Looks at this process' descendants again and again while it is running, and keeps each thing that
it saw once.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Self

from tests.canary.scan import Blob

AGAIN_AFTER = 0.05  # seconds


class Watch(threading.Thread):
    """Use as a context; `seen` is what was there."""

    def __init__(self) -> None:
        super().__init__(name="canary-watch", daemon=True)
        self.seen: set[Blob] = set()
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        while not self._stopping.wait(AGAIN_AFTER):
            for pid in _descendants(os.getpid()):
                self._look(pid)

    def _look(self, pid: int) -> None:
        for what in ("cmdline", "environ"):
            try:
                self.seen.add((f"/proc/PID/{what}", Path(f"/proc/{pid}/{what}").read_bytes()))
            except (FileNotFoundError, ProcessLookupError):
                return  # ended meanwhile
            except PermissionError:
                continue  # the daemon lets nobody but root look: as good as nothing to see


def _descendants(ancestor: int) -> list[int]:
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            told = path.read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        parents[int(path.parent.name)] = int(told.rpartition(")")[2].split()[1])
    family = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sorted(family - {ancestor})
