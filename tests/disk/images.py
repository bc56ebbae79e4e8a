"""What a disk may hold after a power cut, rebuilt from a recording of every call to a folder.

    a file's content    is durable once fsync or fdatasync of that file has succeeded
    a name in a folder  is durable once fsync of the folder has succeeded

Whatever is not durable may have reached the disk or not, each on its own and in any order: writes
by sectors of 512 or 4096 bytes, lengths, names. What is missing below a length reads as zeros. A
sector is written whole or not at all; what was durable is never harmed by a write beside it.

Knows nothing of what the files are.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.disk.calls import OPENING, WRITES, Call

SECTORS = (512, 4096)
ODDS = (0.0, 0.1, 0.5, 0.9, 1.0)  # that something which is not durable survives

Deaf = Callable[[str], bool]  # of a path: the disk only says that it has synced it


def hears(_: str) -> bool:
    """An honest disk."""
    return False


@dataclass(frozen=True, slots=True)
class Change:
    """Of one file, not durable: bytes at a place, or (without) the length it was given."""

    offset: int
    data: bytes | None


@dataclass(slots=True)
class File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    length: int = 0  # as those see it who have it open

    def write(self, offset: int, data: bytes) -> None:
        self.pending.append(Change(offset, data))
        self.length = max(self.length, offset + len(data))

    def cut(self, length: int) -> None:
        self.pending.append(Change(length, None))
        self.length = length

    def settle(self) -> None:
        for change in self.pending:
            _apply(self.durable, change)
        self.pending.clear()

    def survived(self, dice: random.Random, odds: float, sector: int) -> bytes:
        content = bytearray(self.durable)
        for change in self.pending:
            for part in _parts(change, sector):
                if dice.random() < odds:
                    _apply(content, part)
        return bytes(content)


def _apply(content: bytearray, change: Change) -> None:
    if change.data is None:
        del content[change.offset :]
        content.extend(bytes(change.offset - len(content)))
        return
    end = change.offset + len(change.data)
    content.extend(bytes(max(0, end - len(content))))
    content[change.offset : end] = change.data


def _parts(change: Change, sector: int) -> list[Change]:
    """It, by the sectors of the disk that it lies on."""
    if change.data is None:
        return [change]
    begin, end, parts = change.offset, change.offset + len(change.data), []
    while begin < end:
        upto = min(end, (begin // sector + 1) * sector)
        parts.append(Change(begin, change.data[begin - change.offset : upto - change.offset]))
        begin = upto
    return parts


@dataclass(frozen=True, slots=True)
class Renaming:
    """Of the folder, not durable: the name leads to this file from now on, or to none."""

    name: str
    file: File | None
    instead_of: str = ""  #: an earlier name, which goes at the same instant


class Disk:
    """One folder without folders in it. Play the calls into it, then ask what is left."""

    def __init__(self, folder: Path, found: Path, deaf: Deaf = hears) -> None:
        """`folder`: the one that was recorded; `found`: a copy of it as it was then."""
        self._folder, self._deaf = str(folder), deaf
        self._names: dict[str, File] = {}  # as everybody sees it
        self._gone: dict[str, File] = {}  # had that name last
        self._positions: dict[int, int] = {}
        for path in found.iterdir():
            content = bytearray(path.read_bytes())
            self._names[path.name] = File(content, length=len(content))
        self._durable = dict(self._names)
        self._pending: list[Renaming] = []

    def play(self, call: Call) -> None:
        """One more call has returned."""
        if call.result < 0:
            if call.what in ("fsync", "fdatasync") and call.result != -errno.EBADF:
                self._forget(call)
            return
        what = call.what
        if what in OPENING:
            self._open(call)
        elif what in WRITES.values():
            self._write(call)
        elif what in ("ftruncate", "fallocate"):
            file = self._file(call)
            length = call.number + (call.offset or 0)
            file.cut(length if what == "ftruncate" else max(length, file.length))
        elif what in ("fsync", "fdatasync"):
            self._sync(call)
        elif what != "fchmod":
            self._name(call)

    def image(self, dice: random.Random) -> dict[str, bytes]:
        """The folder as the power comes back, by the dice."""
        odds, sector = dice.choice(ODDS), dice.choice(SECTORS)
        names = dict(self._durable)
        for one in self._pending:
            if dice.random() < odds:
                _rename(names, one)
        kept: dict[int, bytes] = {}
        for file in names.values():
            kept.setdefault(id(file), file.survived(dice, odds, sector))
        return {name: kept[id(file)] for name, file in names.items()}

    @property
    def unsettled(self) -> bool:
        """Is there anything that a power cut could take?"""
        files = [*self._names.values(), *self._durable.values()]
        return bool(self._pending) or any(file.pending for file in files)

    def _open(self, call: Call) -> None:
        name = self._inside(call.path)
        self._positions[call.result] = 0
        if name not in self._names:
            self._change(Renaming(name, File()))
        elif call.flags & os.O_TRUNC:
            self._names[name].cut(0)

    def _write(self, call: Call) -> None:
        offset, data = call.offset, call.data[: call.result]
        if offset is None:
            offset = self._positions.get(call.file, 0)
            self._positions[call.file] = offset + len(data)
        self._file(call).write(offset, data)

    def _sync(self, call: Call) -> None:
        if self._deaf(call.path):
            return
        if call.path == self._folder:
            for one in self._pending:
                _rename(self._durable, one)
            self._pending.clear()
        else:
            self._file(call).settle()

    def _forget(self, call: Call) -> None:
        """The kernel has tried to write, and failed: it says so once, and drops the data. Lengths
        and names are in the file system's own journal: if that fails nothing can be written.
        """
        if call.path != self._folder:
            file = self._file(call)
            file.pending = [change for change in file.pending if change.data is None]

    def _name(self, call: Call) -> None:
        name, other = self._inside(call.path), self._inside(call.other) if call.other else ""
        if call.what.startswith("rename"):
            self._change(Renaming(other, self._names[name], instead_of=name))
        elif call.what.startswith("link"):
            self._change(Renaming(other, self._names[name]))
        elif call.what.startswith("unlink"):
            self._gone[name] = self._names[name]
            self._change(Renaming(name, None))
        else:
            raise AssertionError(f"{call.what}: folders in the folder are not followed")

    def _change(self, one: Renaming) -> None:
        _rename(self._names, one)
        self._pending.append(one)

    def _file(self, call: Call) -> File:
        name = self._inside(call.path)
        if name.endswith(" (deleted)"):
            return self._gone[name.removesuffix(" (deleted)")]
        return self._names[name]

    def _inside(self, path: str) -> str:
        return os.path.relpath(path, self._folder)


def _rename(names: dict[str, File], one: Renaming) -> None:
    if one.instead_of:
        names.pop(one.instead_of, None)
    if one.file is None:
        names.pop(one.name, None)
    else:
        names[one.name] = one.file


def written(image: dict[str, bytes], folder: Path) -> None:
    folder.mkdir()
    for name, content in image.items():
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(content)


def played(disk: Disk, calls: Sequence[Call], upto: int) -> Disk:
    for call in calls[:upto]:
        disk.play(call)
    return disk
