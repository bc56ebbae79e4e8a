"""The code that is explored: the program's own modules, or copies with a bug planted."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tests.sim.planting import Bug, planted


@dataclass(frozen=True, slots=True)
class Code:
    next_step: Any
    transitions: Any
    orders: Any
    pruning: Any
    health: Any
    situation: Any
    performer: Any


def real() -> Code:
    return _of("keyman")


def with_bug(bug: Bug) -> Code:
    """The same with the bug in it. Raises AssertionError if the code has no such passage."""
    prefix = "planted_" + re.sub(r"[^a-z]+", "_", bug.name)
    if f"{prefix}.keyman.core.rotation" not in sys.modules:
        planted(bug)
    return _of(f"{prefix}.keyman")


def _of(root: str) -> Code:
    def module(name: str) -> Any:
        full = f"{root}.{name}"
        return sys.modules.get(full) or import_module(full)

    return Code(
        module("core.rotation").next_step,
        module("core.transitions"),
        module("core.orders"),
        module("core.pruning"),
        module("core.health"),
        module("core.situation").Situation,
        module("performer"),
    )
