"""Commands that end without warning in the middle of their work, as at a power cut.

A process counts its own calls of whatever changes a file or a database, and kills itself before the
n-th.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from tests.children import PROCESSES
from tests.commands.world import Home

CHANGES = frozenset(
    {
        *("backup", "execute", "executemany", "commit"),
        *("open", "write", "pwrite", "fsync", "ftruncate", "mkdir"),
        *("link", "rename", "replace", "unlink", "rmdir"),
    }
)
MOST = 2_000  # more than any command here makes


def each_instant(place: Home, *words: str, step: int = 1) -> Iterator[int]:
    """Run `keyman WORDS` again and again, killed one change later each time; the last is not
    killed. Yields how it ended: 0, or -9.
    """
    for left in range(0, MOST, step):
        process = PROCESSES.Process(target=run_so_far, args=(place.variables, words, left))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), f"exit {process.exitcode} at {left}"
        yield process.exitcode or 0
        if process.exitcode == 0:
            return
    raise AssertionError(f"{words} did not end after {MOST} changes")


def run_so_far(variables: dict[str, str], words: tuple[str, ...], left: int) -> None:
    from keyman.__main__ import main

    os.environ.clear()
    os.environ.update(variables)
    counted = iter(range(left))

    def watch(_frame: object, event: str, called: Any) -> None:
        changes = event == "c_call" and called.__name__ in CHANGES
        if changes and next(counted, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(watch)
    status = main(list(words))
    sys.setprofile(None)
    sys.exit(status)
