"""Files that only their owner may read: so from their first instant, or refused.

Knows nothing of what is in them. Never follows a symbolic link, and never repairs wide rights:
what others could read they may have read, and a person has to know.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from keyman.clock import new_id
from keyman.errors import StoreFailed

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
_READ_AT_MOST = 64 * 1024


def make(path: Path, content: bytes = b"") -> bool:
    """Make the file with mode 0600, whole and durable; False if there is one already."""
    if os.path.lexists(path):
        return False
    beside = path.with_name(f".{path.name}.{new_id()}")
    with translated(path, "made"):
        try:
            _write(beside, content)
            os.link(beside, path)  # unlike a rename it never replaces, unlike a write it is whole
        except FileExistsError:
            return False
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(path.parent)
    return True


def replace(path: Path, content: bytes) -> None:
    """Put the content into the file's place, whole and durable; it is 0600 from its first instant.

    A symbolic link there is replaced itself, never followed.
    """
    beside = path.with_name(f".{path.name}.{new_id()}")
    with translated(path, "written"):
        try:
            _write(beside, content)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(path.parent)


def read(path: Path) -> bytes | None:
    """The content, None if there is no such file; refuses what others could have read."""
    with translated(path, "read"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _FLAGS)
        except FileNotFoundError:
            return None
        try:
            _refuse_shared(path, os.fstat(descriptor))
            return os.read(descriptor, _READ_AT_MOST)
        finally:
            os.close(descriptor)


def refuse_shared(path: Path) -> None:
    """Raise StoreFailed unless it is a plain file of ours that nobody else may touch.

    Looks without opening: closing any descriptor of a database drops SQLite's locks on it.
    """
    with translated(path, "examined"):
        _refuse_shared(path, os.lstat(path))


def _refuse_shared(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise StoreFailed(f"{path} is not a plain file", hint="move away what lies there")
    if found.st_uid != os.geteuid():
        raise StoreFailed(
            f"{path} belongs to another user (uid {found.st_uid})",
            hint="run keyman as that user, or give the file to this one",
        )
    if found.st_mode & 0o077:
        raise StoreFailed(
            f"{path} is open to other users (mode {stat.S_IMODE(found.st_mode):o})",
            hint=f"chmod 600 {path}, and rotate its secrets if others use this machine",
        )


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def translated(path: Path, done: str) -> Iterator[None]:
    """Let only StoreFailed out."""
    try:
        yield
    except OSError as error:
        raise StoreFailed(
            f"{path} could not be {done}: {error.strerror}",
            hint="the folder must exist and be writable, the disk not full; "
            "`keyman daemon` makes what is missing at its first start",
        ) from error
