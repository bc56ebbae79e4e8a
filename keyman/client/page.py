"""The generation page, as its readers see it: which generation of each name is the current one.

    word 0          MAGIC
    word 1          heartbeat: the wall clock in ns, each second while the agent serves, else 0
    word 2          how many entries are in use
    words 3 … 7     reserved
    then, an entry  2 words of tag, 1 word of generation, 1 word of version

Words are native and of 8 bytes. A tag stands for a name, which only who may look it up is told. A
generation changes with whatever lookups of its name are answered, and only grows. The version is
the one that its holders may go on with while nobody answers; 0: none is.

The file lies beside the agent's socket; the agent alone writes it (serving/page.py), clients of the
same machine map it. Whoever may not or cannot read it asks the agent each time, so every doubt
about what it shows is answered by None.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = "generation"
WORD = 8
SIGNATURE = b"keyman\0\2"
MAGIC = int.from_bytes(SIGNATURE, sys.byteorder)
BEAT, COUNT, HEADER = 1, 2, 8  # words
TAG = 2  # words
ENTRY = TAG + 2  # words
VERSION = 1  # words that it lies behind the generation
FRESH = 5_000_000_000  # ns that a heartbeat may be old


def place(index: int) -> int:
    """Where the generation of an entry is, as a word's number."""
    return HEADER + ENTRY * index + TAG


class Page:
    """One mapped file. Inherited by forked children, freed with the last who holds `words`."""

    __slots__ = ("inode", "words")

    def __init__(self, words: memoryview[int], inode: tuple[int, int]) -> None:
        self.words: memoryview[int] = words
        self.inode = inode

    def shows(self, index: int, tag: bytes) -> bool:
        """Whether that entry has this tag."""
        at, words = place(index), self.words
        if at >= len(words) or index >= words[COUNT]:
            return False
        return words[at - TAG : at].tobytes() == tag


_pages: dict[str, Page] = {}


def mapped(socket: str, index: int, tag: bytes) -> Sequence[int] | None:
    """The words of the page beside that socket, if this entry of it has the tag.

    Maps the file anew if it was replaced or has grown since. None: there is no page to rely on.
    """
    path, page = _path(socket), _pages.get(socket)
    if page is None or page.inode != _inode(path) or not page.shows(index, tag):
        page = _mapped(path, socket)
        if page is None or not page.shows(index, tag):
            return None
        _pages[socket] = page
    return page.words


def standing(socket: str, index: int, tag: bytes, words: Sequence[int]) -> int:
    """The version whose holders may go on while nobody answers; 0: none is.

    `words` are of the page that they were given it with. Where that was replaced by another, which
    shows the tag elsewhere or not at all, nobody knows what was said since.
    """
    now = mapped(socket, index, tag)
    if now is None and _inode(_path(socket)) is not None:
        return 0
    return (now or words)[place(index) + VERSION]


def _path(socket: str) -> str:
    return os.path.join(os.path.dirname(socket), FILE)  # noqa: PTH118, PTH120 pathlib is slow to import


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _mapped(path: str, socket: str) -> Page | None:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(path, flags)
    except OSError:
        return None
    try:
        found = os.fstat(file)
        if not _trustworthy(found, os.stat(socket)):  # noqa: PTH116
            return None
        import mmap

        size = found.st_size // WORD * WORD
        words = memoryview(mmap.mmap(file, size, access=mmap.ACCESS_READ)).cast("Q")
    except (OSError, ImportError):  # ImportError: a Python that was built without mmap
        return None
    finally:
        os.close(file)
    return Page(words, (found.st_dev, found.st_ino)) if words[0] == MAGIC else None


def _trustworthy(found: os.stat_result, socket: os.stat_result) -> bool:
    """A file of whoever serves the socket, that nobody else may write."""
    regular = found.st_mode & 0o170000 == 0o100000
    only_theirs = found.st_uid == socket.st_uid and not found.st_mode & 0o022
    return regular and only_theirs and found.st_size >= place(0) * WORD
