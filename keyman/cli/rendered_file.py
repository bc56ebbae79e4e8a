"""A file that holds a secret for programs that read files: always whole, and its owner's alone.

    read what is there ─► make what is wanted ─► .NAME.keyman beside it, 0600, on the disk
            ▲                                           │
            └── somebody else wrote it meanwhile ───────┴─► takes the place of NAME

Whoever reads it meets the old content or the new. A symbolic link is never followed: neither one
that was there nor one that is put there while we write. Folders are not made. Several of us take
turns by a lock on the folder; since whoever may read a folder may lock it, nobody waits for that
for long.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from keyman.errors import NotAllowed, StoreFailed, UsageError

LARGEST = 4 * 1024 * 1024
TRIES = 10  # while somebody else is faster
LOOKS, PAUSE = 3000, 0.001  # whether it is our turn, and seconds between two of them
PRIVATE = 0o600

Render = Callable[[bytes], bytes]  # what is there (nothing is empty) → what is wanted
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


class RenderedFile:
    """`warnings` are those of the last `replace`."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._name = self._path.name
        self._beside = ""
        self.warnings: list[str] = []

    def replace(self, render: Render) -> bool:
        """Whether anything had to be written.

        Raises UsageError if the path names no place for such a file, NotAllowed if another user
        owns what is there, StoreFailed if it can't be read or written, and what `render` raises.
        """
        if self._name in ("", ".."):
            raise UsageError(f"{self._path} does not name a file")
        with self._translated(), self._folder() as folder:
            for _ in range(TRIES):
                self.warnings = []
                written = self._try(folder, render)
                if written is not None:
                    return written
        raise StoreFailed(f"{self._path} keeps changing", hint="see who else writes it")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreFailed(
                f"{self._path} could not be written: {error.strerror}",
                hint="its folder must be writable, the disk not full",
            ) from error

    @contextlib.contextmanager
    def _folder(self) -> Iterator[int]:
        """The folder, opened once: nobody can put another in its place. Others of us wait.

        Who has no turn writes beside under a name of its own; what is looked at a second time
        before it takes its place tells it of the others.
        """
        parent = self._path.parent
        try:
            folder = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"there is no folder {parent}", hint="make it first") from None
        try:
            self._beside = f".{self._name}.keyman"
            if not _our_turn(folder):
                self._beside += f"-{os.urandom(8).hex()}"
            yield folder
        finally:
            os.close(folder)

    def _try(self, folder: int, render: Render) -> bool | None:
        """Whether it was written; None if somebody else did so while we were at it."""
        with ExitStack() as last:
            there = self._open(folder, last)
            found = None if there is None else os.fstat(there)
            content = b"" if there is None else self._read(there)
            mode = PRIVATE if found is None else self._allowed(found)
            wanted = render(content)
            if there is not None and wanted == content:
                os.fchmod(there, mode)
                return False
            last.callback(_remove, self._beside, folder)
            self._write(folder, wanted, mode)
            if _identity(found) != _identity(self._look(folder)):
                return None
            os.rename(self._beside, self._name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
            return True

    def _open(self, folder: int, last: ExitStack) -> int | None:
        try:
            there = os.open(self._name, os.O_RDONLY | os.O_NONBLOCK | _FLAGS, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UsageError(
                    f"{self._path} is a symbolic link", hint="name the file that it leads to"
                ) from None
            if error.errno == errno.ENXIO:
                raise self._no_file() from None
            raise
        last.callback(os.close, there)
        return there

    def _read(self, there: int) -> bytes:
        found = os.fstat(there)
        if not stat.S_ISREG(found.st_mode):
            raise self._no_file()
        if found.st_uid != os.geteuid():
            raise NotAllowed(
                f"{self._path} belongs to another user (uid {found.st_uid})",
                hint="run keyman as that user, or move the file away",
            )
        with os.fdopen(there, "rb", closefd=False) as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UsageError(f"{self._path} is too large to be a file of settings")
        return content

    def _allowed(self, found: os.stat_result) -> int:
        """The rights that it keeps: its owner's at most, and those that it had."""
        if found.st_mode & 0o077:
            had = stat.S_IMODE(found.st_mode)
            self.warnings.append(
                f"{self._path} was open to others ({had:04o}); it is {had & PRIVATE:04o} now"
            )
        return found.st_mode & PRIVATE

    def _write(self, folder: int, content: bytes, mode: int) -> None:
        _remove(self._beside, folder)  # left behind by one that was killed
        made = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
        with os.fdopen(os.open(self._beside, made, PRIVATE, dir_fd=folder), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _look(self, folder: int) -> os.stat_result | None:
        try:
            return os.stat(self._name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _no_file(self) -> UsageError:
        return UsageError(f"{self._path} is not a regular file", hint="name another one")


def _our_turn(folder: int) -> bool:
    """Whether it came in time. It never does where there are no locks."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE)
        except OSError:
            return False
        else:
            return True
    return False


def _identity(found: os.stat_result | None) -> tuple[int, ...] | None:
    """Differs once somebody wrote the file or put another in its place."""
    return found and (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _remove(name: str, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
