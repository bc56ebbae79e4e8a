"""What a parser is here: examples of what it reads, and the judge of what it makes of the rest."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.fuzz.mutate import mutated

SECRET = "c4n4ry-S3cr3t-0123456789-abcdef"  #: in examples; in no error, ever
Try = Callable[[bytes], None]
"""Reads one input. Raises Wrong for a promise that was broken; any other error is one as well."""


class Wrong(Exception):
    """What a parser must not do."""


def must(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(what)


def silent_about(secret: str, *said: object) -> None:
    must(not any(secret in str(one) for one in said), "an error repeats what it was given")


@dataclass(frozen=True, slots=True)
class Parser:
    """`open` gives the try, and takes down afterwards what that needs."""

    name: str
    corpus: tuple[bytes, ...]
    open: Callable[[], AbstractContextManager[Try]]
    words: tuple[bytes, ...] = ()
    draw: Callable[[random.Random], bytes] | None = None  #: instead of changing the corpus' bytes

    def make(self, seed: int, number: int) -> bytes:
        """The input of that number."""
        dice = random.Random(f"{seed}/{self.name}/{number}")
        return self.draw(dice) if self.draw else mutated(dice, self.corpus, self.words)
