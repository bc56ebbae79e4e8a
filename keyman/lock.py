"""One process drives a home: a lock that the kernel holds, so that it dies with its holder.

The file says who holds it: a pid, and whether that one is there to answer lookups (a daemon) or
only for as long as its own work takes (a command).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from keyman.errors import Conflict, StoreFailed

DAEMON = "daemon"
COMMAND = "command"
TRIES = 5
PAUSE = 0.02  # seconds; whoever only looks (`held_by`) holds the lock for microseconds


class HomeLock:
    """Held from construction to `release`, by this process alone.

    Raises Conflict, naming the holder's pid, if another process holds it, and StoreFailed if the
    file can't be made or written.
    """

    def __init__(self, path: Path, role: str = DAEMON) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with _translated(path), ExitStack() as on_failure:
            self._file = os.open(path, flags, 0o600)
            on_failure.callback(os.close, self._file)
            if not _taken(self._file):
                pid = _written(self._file).partition(" ")[0] or "unknown"
                raise Conflict(
                    f"another keyman works on this home (pid {pid})",
                    hint="speak to that one, or stop it first",
                )
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()} {role}\n".encode(), 0)
            on_failure.pop_all()

    def release(self) -> None:
        if self._file >= 0:
            with suppress(OSError):  # on a broken disk; what it says counts only while it is locked
                os.ftruncate(self._file, 0)
            os.close(self._file)  # closing the last descriptor lets the kernel's lock go
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreFailed(
            f"the lock {path} can't be taken: {error.strerror}",
            hint="keyman's home must be writable, its disk not full",
        ) from error


def held_by(path: Path) -> str | None:
    """Who holds the lock, as `PID ROLE` or `unknown`; None if nobody does. Makes no file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # not there, or not ours to see: who wants the lock itself is told which
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written(file) or "unknown"
    finally:
        os.close(file)
    return None


def _taken(file: int) -> bool:
    for _ in range(TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE)
        else:
            return True
    return False


def _written(file: int) -> str:
    return os.pread(file, 32, 0).decode(errors="replace").strip()
