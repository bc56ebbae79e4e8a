"""A real disk that is full: a file system in memory, seen by one process and its children alone,
with room for so many pages beside what is on it.

Unlike calls that are made to fail (tests/disk/tracing.py) it knows what needs room and what does
not, writes as much as there is room for, and kills who touches a mapped page that it can't give.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.disk.house import House, taken_out
from tests.disk.stories import ROOM, Ended, Story, goes_on, life_of
from tests.sim.world import Machine

PAGE = 4096
LARGE = 1 << 28  # bytes
NEW_MOUNTS, NEW_USER = 0x20000, 0x10000000
REMOUNT, RECURSIVE, PRIVATE = 32, 1 << 14, 1 << 18
NOT_ALLOWED = (
    "this machine lets nobody but root mount: run it as root, or as root "
    "sysctl kernel.unprivileged_userns_clone=1; in a container, docker run --cap-add=SYS_ADMIN"
)

libc = ctypes.CDLL(None, use_errno=True)


class _Refused(Exception):
    """The kernel does not let us mount."""


@cache
def why_not(folder: Path) -> str:
    """Why there can be no such disk here, with what would change that; "" if there can."""
    folder.mkdir(exist_ok=True)
    return "" if _in_a_process(lambda: _mount(folder, LARGE)) == 0 else NOT_ALLOWED


def lived(story: Story, folder: Path, room: int, machine: Machine | None) -> tuple[Ended, str]:
    """How a life ends on a disk with so many pages of room, and what is broken afterwards, once
    there is room again.
    """
    folder.mkdir(exist_ok=True)
    with mmap.mmap(-1, ROOM) as of_the_life, mmap.mmap(-1, ROOM) as afterwards:
        status = _in_a_process(lambda: _disk(story, folder, room, machine, of_the_life, afterwards))
        if status:
            return Ended(f"H: the process ended with {status}"), ""
        broken, how, packed = pickle.loads(of_the_life[:])
        return Ended(broken, how, taken_out(packed)), pickle.loads(afterwards[:])


def _disk(
    story: Story,
    folder: Path,
    room: int,
    machine: Machine | None,
    of_the_life: mmap.mmap,
    afterwards: mmap.mmap,
) -> None:
    _mount(folder, LARGE)
    house = story.told_again(folder / "home")
    _mount(folder, max(_used(folder) + room * PAGE, PAGE), REMOUNT)  # 0 would be no limit
    status = _in_a_process(lambda: _say(of_the_life, life_of(house, machine)))
    if status:
        os._exit(status if status > 0 else 128 - status)
    _mount(folder, LARGE, REMOUNT)
    after: House = taken_out(pickle.loads(of_the_life[:])[2])
    _say(afterwards, pickle.dumps(goes_on(after)))


def _say(said: mmap.mmap, words: bytes) -> None:
    said[: len(words)] = words


def _used(folder: Path) -> int:
    said = os.statvfs(folder)
    return (said.f_blocks - said.f_bfree) * said.f_frsize


def _mount(folder: Path, size: int, flags: int = 0) -> None:
    if not flags:
        _alone()
    options = f"size={size},mode=700".encode()
    if libc.mount(b"tmpfs", bytes(folder), b"tmpfs", flags, options):
        raise _Refused(ctypes.get_errno())


def _alone() -> None:
    """What this process mounts from now on nobody else sees, and it goes away with it."""
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(NEW_MOUNTS | (NEW_USER if uid else 0)):
        raise _Refused(ctypes.get_errno())
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    if libc.mount(b"none", b"/", None, RECURSIVE | PRIVATE, None):
        raise _Refused(ctypes.get_errno())


def _in_a_process(act: Callable[[], object]) -> int:
    """Its exit status, negative for a signal; 70 if it raised."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    status = 70
    try:
        act()
        status = 0
    except BaseException as error:  # noqa: BLE001 - a fault of the tests: nobody else would tell
        if not isinstance(error, _Refused):
            traceback.print_exc()
    finally:
        os._exit(status)
