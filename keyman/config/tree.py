"""The configuration as a tree that remembers where every value stood, and what is wrong with it.

A scalar is the text that was written, or None for a plain null. Reads nothing, judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SHOWN_LIMIT = 100

Path = tuple[str | int, ...]  # of keys and positions, from the top


@dataclass(frozen=True, slots=True)
class Where:
    """A line of a file, or (line 0) an environment variable."""

    source: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake."""

    where: Where
    path: str
    text: str
    remedy: str = ""  #: what to do about it, where that is not plain from the text

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.path}: {self.text}" if self.path else f"{self.where}: {self.text}"
        )


@dataclass(slots=True)
class Node:
    where: Where
    value: str | list[Node] | dict[str, Node] | None
    tag: str | None = None  #: "!env" or "!file" until it is resolved
    literal: bool = True  #: its text stands in the file itself
    failed: bool = False  #: its tag could not be followed, which was reported already
    size: int = 1  #: values in it, aliases counted as often as they are used

    def plain(self) -> object:
        """The same as dicts, lists, text and None."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def nearest(self, path: Path) -> Node:
        """The node at that path, or the deepest one on the way that exists."""
        node = self
        for part in path:
            inner = node.value
            if isinstance(inner, dict) and part in inner:
                node = inner[str(part)]
            elif isinstance(inner, list) and isinstance(part, int) and part < len(inner):
                node = inner[part]
            else:
                break
        return node

    def leaves(self, path: Path = ()) -> Iterator[tuple[Path, Node]]:
        """Every scalar below, with its path."""
        if isinstance(self.value, dict):
            for key, node in self.value.items():
                yield from node.leaves((*path, key))
        elif isinstance(self.value, list):
            for index, node in enumerate(self.value):
                yield from node.leaves((*path, index))
        else:
            yield path, self


def dotted(path: Path) -> str:
    """`credentials.genai.slots[0]`, safe to print whatever the keys are."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def shown(key: str) -> str:
    """A key as it may be printed."""
    clean = "".join(c if c.isprintable() else "?" for c in key[:SHOWN_LIMIT])
    return clean + "…" * (len(key) > SHOWN_LIMIT)
