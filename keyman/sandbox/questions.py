"""Questions that a vendor's documents leave open, and how a sandbox settles them by a seed.

Each field of a `Questions` is one question; its default is the kindest plausible answer, and the
others that `either` lists are as plausible. `from_seed` answers all of them by a seed. Whoever
works against every seed works against the real service, whichever of these it turns out to be.
A field made with plain `field` is a setting: no seed touches it.

Durations are seconds on the sandbox's clock. A status of 200 stands for "allowed".
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields
from typing import Self, TypeVar

T = TypeVar("T")


def either(kindest: T, *others: T) -> T:
    """A question and its plausible answers, the kindest first."""
    return field(default=kindest, metadata={"answers": (kindest, *others)})


def yes_or_no() -> bool:
    """A question whose kindest answer is yes."""
    return either(*(True, False))


def no_or_yes() -> bool:
    """A question whose kindest answer is no."""
    return either(*(False, True))


def about(kindest: T, *others: T) -> T:
    """A question whose answers are examples: any number of their kind will do."""
    return field(default=kindest, metadata={"answers": (kindest, *others), "open": True})


def lasts(kindest: float, *others: float) -> float:
    """A question about a duration: `from_seed` can stretch or shrink the answers."""
    return field(
        default=kindest, metadata={"answers": (kindest, *others), "open": True, "duration": True}
    )


@dataclass(frozen=True)
class Questions:
    """One service's answers."""

    def __post_init__(self) -> None:
        for question in fields(self):
            answers = question.metadata.get("answers")
            given = getattr(self, question.name)
            if answers and "open" not in question.metadata and given not in answers:
                raise ValueError(f"{question.name}: {given!r} is none of {answers}")

    @classmethod
    def from_seed(cls, seed: int, *, pace: float = 1.0) -> Self:
        """Answer every question by the seed; durations are multiplied by `pace`."""
        chosen = {}
        for question in fields(cls):
            answers = question.metadata.get("answers")
            if answers is None:
                continue
            # A die for each question: adding a question must not change the others' answers.
            answer = random.Random(f"{seed}:{question.name}").choice(answers)
            chosen[question.name] = answer * pace if "duration" in question.metadata else answer
        return cls(**chosen)
