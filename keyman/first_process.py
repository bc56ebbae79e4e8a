"""What process 1 of a container owes besides its work, where no init is before it.

The kernel keeps every signal from it that it has no handler for, so SIGTERM would do nothing until
a command has its own. And whoever loses its parent becomes its child, for it to bury. Its own
children are not told apart from those, but somebody waits for them: so whoever ended is left alone
for a while, and only who is still there then is buried. Who asks how its own child ended is told
the truth.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

ENDED_BY_SIGNAL = 128
LEFT_ALONE = 5.0  # seconds, and at most twice that; who waits for a child of its own takes none
PROC = Path("/proc")

_seen: set[int] = set()  # who had ended when it was last looked


def take_office(*, alone: bool) -> None:
    """End at SIGTERM as any other process would, and, if `alone`, bury whoever ends.

    `alone`: nobody in this process waits for children that are not its own.
    """
    signal.signal(signal.SIGTERM, _end)
    if alone:
        signal.signal(signal.SIGCHLD, _look_later)
        signal.signal(signal.SIGALRM, _bury)


def _end(number: int, _: FrameType | None) -> None:
    os._exit(ENDED_BY_SIGNAL + number)


def _look_later(_: int, __: FrameType | None) -> None:
    if not signal.getitimer(signal.ITIMER_REAL)[0]:
        signal.setitimer(signal.ITIMER_REAL, LEFT_ALONE)


def _bury(_: int, __: FrameType | None) -> None:
    ended: set[int] = set()
    with suppress(OSError):  # no /proc: nobody can be seen, and whatever runs here must go on
        ended.update(_ended())
    for pid in ended & _seen:
        with suppress(ChildProcessError):  # somebody waited for it just now
            os.waitpid(pid, os.WNOHANG)
    left = ended - _seen
    _seen.clear()
    _seen.update(left)
    if left:
        signal.setitimer(signal.ITIMER_REAL, LEFT_ALONE)


def _ended() -> Iterator[int]:
    """The children that ended and were not waited for yet, by the numbers that they have for us."""
    ourselves = str((PROC / "self").readlink())
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError, KeyError):  # it went while we looked
            lines = (folder / "status").read_text(errors="replace").splitlines()
            said = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            if said["PPid"] == ourselves and said["State"].startswith("Z"):
                # /proc may be that of a namespace outside of ours. Not every kernel tells.
                yield int(said.get("NSpid", said["Pid"]).split()[-1])
