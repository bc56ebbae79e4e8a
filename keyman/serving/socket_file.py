"""The unix socket as a file: made for those who may, and never in somebody else's place."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from keyman.errors import ConfigError, Conflict

BACKLOG = 1024


def listen(path: Path, mode: int) -> socket.socket:
    """A listening socket that is never open to more than it should be, not even for a moment."""
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
        listener.listen(BACKLOG)
        if mode != 0o600:
            path.chmod(mode)
    except OSError as error:
        listener.close()
        why = error.strerror or "it can't be bound"
        raise ConfigError(
            f"no socket can be made at {path}: {why}",
            hint="agent.socket must lie in an existing folder that keyman may write to",
        ) from error
    finally:
        os.umask(before)
    listener.setblocking(False)  # noqa: FBT003 the standard library's way
    return listener


def _clear(path: Path) -> None:
    """Remove what a dead daemon left behind; never a file, never a socket that answers."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{path} can't be looked at: {error.strerror}") from error
    if not stat.S_ISSOCK(kind):
        raise ConfigError(
            f"{path} is not a socket", hint="move it away, or name another agent.socket"
        )
    if _answers(path):
        raise Conflict(
            f"somebody answers on {path} already",
            hint="one daemon serves one socket: stop that one",
        )
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True


def inode(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        found = path.lstat()
        return found.st_dev, found.st_ino
    return None
