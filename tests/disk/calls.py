"""The calls by which a process changes files, and what each is about: read from the registers and
the memory of a process that stands still at one.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

# What an x86-64 kernel calls them, and which argument names the file.
WRITES = {1: "write", 18: "pwrite64"}
OF_A_FILE = {
    **WRITES,
    74: "fsync",
    75: "fdatasync",
    77: "ftruncate",
    285: "fallocate",
    91: "fchmod",
}
AT_A_PATH = {2: 0, 257: 1, 82: 0, 264: 1, 316: 1, 86: 0, 265: 1, 87: 0, 263: 1, 83: 0, 258: 1}
NAMES = {
    **OF_A_FILE,
    2: "open",
    257: "openat",
    82: "rename",
    264: "renameat",
    316: "renameat2",
    86: "link",
    265: "linkat",
    87: "unlink",
    263: "unlinkat",
    83: "mkdir",
    258: "mkdirat",
}
# Two more that would change files, and that nothing here makes: seen, they are reported as unknown.
VECTORS = {20: "writev", 296: "pwritev", 76: "truncate"}
SECOND_PATH = {"rename": 1, "renameat": 3, "renameat2": 3, "link": 1, "linkat": 3}
OPENING = ("open", "openat")

HERE = -100  # AT_FDCWD
PAGE = 4096

Values = ctypes.Array[ctypes.c_uint64]  # a call's number, then its arguments


@dataclass(slots=True)
class Call:
    """One call that changes a file, or opens one for that; `data` only where it is recorded."""

    what: str
    path: str
    number: int = 0  #: of bytes: how many a write writes, or the length that a file is cut to
    offset: int | None = None  #: where a write begins; None: wherever the file's position is
    flags: int = 0  #: of open
    other: str = ""  #: the new name
    file: int = -1
    data: bytes = b""
    result: int = 0

    def __str__(self) -> str:
        name = self.path.rsplit("/", 1)[-1]
        size = f" {self.number} bytes" if self.what in WRITES.values() else ""
        return f"{self.what} {name}{size}"


class Reader:
    """Of one process, as far as its calls are about `folder`, or the open file `marks`.

    `records`: what is written is of interest too.
    """

    def __init__(self, process: int, folder: str, marks: int, *, records: bool) -> None:
        self._process, self._folder, self._marks = process, folder, marks
        self._records = records
        self._memory = os.open(f"/proc/{process}/mem", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._memory)

    def read(self, values: Values) -> Call | None:
        """What it is about; None if that is no affair of ours."""
        number = values[0]
        assert number not in VECTORS, f"{VECTORS[number]}: what it does is not followed here"
        what = NAMES[number]
        if number in OF_A_FILE:
            file = ctypes.c_int(values[1]).value
            path = "" if file == self._marks else self._opened(file)
            call = Call(what, path, file=file)
            if what in WRITES.values():
                call.number = values[3]
                call.offset = values[4] if what == "pwrite64" else None
                if self._records:
                    call.data = os.pread(self._memory, values[3], values[2])
            elif what == "ftruncate":
                call.number = values[2]
            elif what == "fallocate":
                call.offset, call.number = values[3], values[4]
        else:
            call = Call(what, self._named(values, AT_A_PATH[number]))
            if what in OPENING:
                call.flags = values[AT_A_PATH[number] + 2]
                if not call.flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                    return None
            if what in SECOND_PATH:
                call.other = self._named(values, SECOND_PATH[what])
        ours = call.path.startswith(self._folder) or call.file == self._marks
        return call if ours else None

    def _opened(self, file: int) -> str:
        try:
            return str(Path(f"/proc/{self._process}/fd/{file}").readlink())
        except OSError:  # it is not open: the call will say so
            return ""

    def _named(self, values: Values, argument: int) -> str:
        path = self._text(values[argument + 1])
        if path.startswith("/"):
            return path
        folder = ctypes.c_int(values[argument]).value if argument else HERE
        if folder == HERE:
            return f"{Path(f'/proc/{self._process}/cwd').readlink()}/{path}"
        return f"{self._opened(folder)}/{path}"

    def _text(self, address: int) -> str:
        room = PAGE - address % PAGE  # the next page may not be there
        found = os.pread(self._memory, room, address)
        if b"\0" not in found:
            found += os.pread(self._memory, PAGE, address + room)
        return os.fsdecode(found.partition(b"\0")[0])
