"""The generation page, as its one writer sees it: layout and meaning are in client/page.py.

Clients that map it see without a question whether what they hold is still what lookups are
answered. So entries keep their places and counters only grow, over restarts and kills as well: the
file stays the same inode as long as it is sound, and is never shrunk under those who map it. What
is not sound, or not ours, is replaced by a new file. A generation is no less than the time, so that
none of one file is met again in another, or in the same one put back from a copy.

A name is not in the file, since others may read it than may know the name: in its place is a digest
keyed with what only this installation knows, the same after every restart.

Whoever calls makes sure that entries are changed by one thread at a time. Without a page (a full
disk, another daemon in the same folder) keyman works as well, and its clients ask each time.
"""

from __future__ import annotations

import errno
import fcntl
import hmac
import logging
import mmap
import os
import stat
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from keyman.client.page import (
    BEAT,
    COUNT,
    FILE,
    HEADER,
    MAGIC,
    SIGNATURE,
    TAG,
    VERSION,
    WORD,
    place,
)

FIRST_SIZE = 4096  # bytes; doubled whenever it is full
LARGEST = 1 << 62  # of a generation; the clock will reach that in the year 75,000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

log = logging.getLogger("keyman.serving")


class Mark(NamedTuple):
    """What an answer carries, so that its holder finds on the page whether it is current."""

    entry: int
    generation: int
    tag: bytes
    version: int  #: that its holders may go on with while nobody answers; 0: none

    def __str__(self) -> str:
        """The way it is sent; the version is said anyway."""
        return f"{self.entry}.{self.generation}.{self.tag.hex()}"


class Page:
    """Open it with `open_page`."""

    def __init__(self, file: int, key: bytes, now: Callable[[], datetime]) -> None:
        self._file = file
        self._key = key
        self._now = now
        self._map, self._words = _mapped(file)
        self._places = {tag: index for index, tag in enumerate(_tags(self._words))}
        self._full = False

    def beat(self) -> None:
        """The agent serves; to be said each second."""
        self._words[BEAT] = self._microseconds() * 1000

    def rest(self) -> None:
        """It does not."""
        self._words[BEAT] = 0

    def mark(self, name: str, version: int) -> Mark | None:
        """The next generation of the name, not shown yet; None if there is no room for it.

        `version`: whose holders may go on while nobody answers; 0: none.
        """
        tag = self._tag(name)
        index = self._places.get(tag)
        if index is None:
            index = self._added(tag)
        return None if index is None else self._next(index, tag, version)

    def show(self, mark: Mark) -> None:
        """Let the holders of earlier generations know from now on.

        The version comes first: a power cut in between has nobody go on with what ended.
        """
        at = place(mark.entry)
        self._words[at + VERSION] = mark.version
        self._words[at] = mark.generation

    def withdraw(self, name: str) -> None:
        """Nothing is handed out under this name any more."""
        tag = self._tag(name)
        index = self._places.get(tag)
        if index is not None:
            self.show(self._next(index, tag, 0))

    def withdraw_others(self, names: Iterable[str]) -> None:
        """The same for all but these, by whatever daemon they were shown."""
        kept = {self._tag(name) for name in names}
        for tag, index in self._places.items():
            if tag not in kept:
                self.show(self._next(index, tag, 0))

    def close(self) -> None:
        self._words.release()
        self._map.close()
        os.close(self._file)

    def _tag(self, name: str) -> bytes:
        return hmac.digest(self._key, name.encode(), "sha256")[: TAG * WORD]

    def _next(self, index: int, tag: bytes, version: int) -> Mark:
        generation = max(self._words[place(index)] + 1, self._microseconds())
        return Mark(index, generation, tag, version)

    def _added(self, tag: bytes) -> int | None:
        index = len(self._places)
        at = place(index)
        if at + VERSION >= len(self._words) and not self._grown():
            return None
        words = self._words
        words[at - TAG : at] = memoryview(tag).cast("Q")
        words[at], words[at + VERSION] = self._microseconds(), 0
        words[COUNT] = index + 1  # last: an entry is there when it is whole
        self._places[tag] = index
        return index

    def _grown(self) -> bool:
        try:
            _reserve(self._file, len(self._words) * WORD * 2)
        except OSError as error:
            if not self._full:
                log.warning("the generation page can't grow: %s", error.strerror)
            self._full = True
            return False
        # The mapping before it is freed once nobody uses its words any more.
        self._map, self._words = _mapped(self._file)
        return True

    def _microseconds(self) -> int:
        return (self._now() - EPOCH) // timedelta(microseconds=1)


def open_page(
    folder: Path, *, key: bytes, shared: bool, now: Callable[[], datetime]
) -> Page | None:
    """The page in the agent's folder, made if need be; None, and a warning, if there can't be one.

    `key`: of the tags that names have. `shared`: others than the daemon's own user may look up,
    and so look at it.
    """
    path = folder / FILE
    try:
        file = _opened(path) or _made(path)
        try:
            os.fchmod(file, 0o644 if shared else 0o600)
            page = Page(file, key, now)
        except BaseException:
            os.close(file)
            raise
    except OSError as error:
        log.warning("no generation page at %s: %s; clients ask each time", path, error.strerror)
        return None
    page.rest()  # until the first beat, nobody serves
    return page


def _opened(path: Path) -> int | None:
    """The file of an earlier daemon, locked; None if there is none that is sound.

    Raises OSError while another daemon writes it, or if the disk has no room for all of it.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(path, flags)
    except OSError:  # not there, a link, a folder, another one's: we make our own
        return None
    ours = False
    try:
        ours = _ours(file, path)
    finally:
        if not ours:
            os.close(file)
    return file if ours else None


def _ours(file: int, path: Path) -> bool:
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        return False
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if not _sound(file, found.st_size):
        log.warning("%s is damaged, or of another keyman, and is replaced", path)
        if found.st_size >= HEADER * WORD:
            os.pwrite(file, bytes(WORD), BEAT * WORD)  # whoever maps it is to ask from now on
        return False
    _reserve(file, found.st_size)
    return True


def _sound(file: int, size: int) -> bool:
    if size < FIRST_SIZE or size % WORD:
        return False
    mapping, words = _mapped(file)
    try:
        in_use = words[COUNT]
        return (
            words[0] == MAGIC
            and (in_use == 0 or place(in_use - 1) + VERSION < len(words))
            and len(set(_tags(words))) == in_use
        )
    except ValueError:
        return False
    finally:
        words.release()
        mapping.close()


def _tags(words: memoryview[int]) -> list[bytes]:
    """By their places. Raises ValueError if one could not be an entry of ours."""
    found = []
    for index in range(words[COUNT]):
        at = place(index)
        tag = words[at - TAG : at].tobytes()
        if not any(tag) or words[at] >= LARGEST:
            raise ValueError(f"entry {index} is none of ours")
        found.append(tag)
    return found


def _made(path: Path) -> int:
    """A new file under that name, locked. Nobody meets it half made."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(fresh, flags, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _reserve(file, FIRST_SIZE)
        os.pwrite(file, SIGNATURE, 0)
        fresh.rename(path)
    except OSError:
        os.close(file)
        fresh.unlink(missing_ok=True)
        raise
    return file


def _mapped(file: int) -> tuple[mmap.mmap, memoryview[int]]:
    whole = os.fstat(file).st_size // WORD * WORD
    mapping = mmap.mmap(file, whole)
    return mapping, memoryview(mapping).cast("Q")


def _reserve(file: int, size: int) -> None:
    """Have the disk keep that much for us: a mapped page that it has no room for would kill us.

    Raises OSError, with the file as it was.
    """
    there = os.fstat(file).st_size
    try:
        _allocate(file, there, size)
    except OSError:
        os.ftruncate(file, there)  # nobody looks at what came after that
        raise


def _allocate(file: int, there: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    elif os.pwrite(file, bytes(size - there), there) < size - there:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
