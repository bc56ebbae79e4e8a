"""Questions about the home and the other folders that keyman writes to: whatever the daemon would
refuse at its start, or suffer from later.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from keyman.checkup.finding import Finding
from keyman.config import Settings
from keyman.config.places import look_at, own_uid
from keyman.db.sqlite import path_of

LEAST_FREE = 8 * 1024 * 1024  # bytes; journal and store take less in a year


def of_the_silent(holder: str | None) -> Iterator[Finding]:
    """Who has the home's lock but answers nobody: lookups fail, and nothing rotates."""
    if holder:
        yield Finding(
            "error",
            "silent_daemon",
            f"a keyman (pid {holder.partition(' ')[0]}) works on this home, but its socket does "
            "not answer",
            "if it is not just starting, stop that process and start `keyman daemon` again",
        )


def of_home(settings: Settings) -> Iterator[Finding]:
    """Whose is it, who else may enter, can be written there, and is there room?

    Raises NotAllowed if this user may not even look.
    """
    home = settings.home
    found = look_at(home)
    if somebody_elses(settings):
        assert found
        yield Finding(
            "error",
            "home_not_ours",
            f"the home {home} belongs to uid {found.st_uid}, not to uid {own_uid()}",
            "run keyman as its owner, or set KEYMAN_HOME to a folder of your own",
        )
        return
    if found and stat.S_ISDIR(found.st_mode) and found.st_mode & 0o077:
        yield Finding(
            "warning",
            "home_open",
            f"the home {home} is open to others ({stat.S_IMODE(found.st_mode):04o})",
            f"the daemon closes it when it starts; or now: chmod 700 {home}",
        )
    for folder, what in _folders(settings).items():
        yield from _of_folder(folder, what, may_be_missing=folder == home)


def somebody_elses(settings: Settings) -> bool:
    """Whether the home belongs to another user, who alone may have a daemon there."""
    found = look_at(settings.home)
    return found is not None and found.st_uid != own_uid()


def _folders(settings: Settings) -> dict[Path, str]:
    """Every folder that keyman writes to, once, and what for."""
    folders = {settings.home: "the home"}
    folders.setdefault(path_of(settings.database).parent, "database")
    for store in settings.stores.values():
        if store.file:
            folders.setdefault(store.file.parent, "store.path")
    folders.setdefault(settings.agent.socket.parent, "agent.socket")
    return folders


def _of_folder(folder: Path, what: str, *, may_be_missing: bool) -> Iterator[Finding]:
    found = look_at(folder)
    if found is None and may_be_missing:  # the daemon makes it, if it can
        made_in = next(above for above in folder.parents if look_at(above))
        yield from _of_folder(made_in, what, may_be_missing=False)
    elif found is None or not stat.S_ISDIR(found.st_mode):
        message = f"{what}: there is no folder {folder}"
        yield Finding("error", "no_folder", message, "make it, owned by the user who runs keyman")
    elif not _writable(folder):
        message = f"{what}: this user may not write to {folder}"
        hint = "chown it to the user who runs keyman; is its file system mounted read-only?"
        yield Finding("error", "not_writable", message, hint)
    else:
        yield from _of_room(folder, what)


def _writable(folder: Path) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=effective)


def _of_room(folder: Path, what: str) -> Iterator[Finding]:
    """A full disk ends every rotation at its next record."""
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if free < LEAST_FREE:
        message = f"{what}: {free} bytes are free on the file system of {folder}"
        yield Finding("error", "no_space", message, f"make room: {LEAST_FREE} bytes at least")
    elif room.f_files and not room.f_favail:
        message = f"{what}: no file more can be made on the file system of {folder}"
        yield Finding("error", "no_space", message, "delete files there: it is out of inodes")
