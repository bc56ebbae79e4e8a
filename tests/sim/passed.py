"""What runs have been through, counted: what went wrong in them, which rules spoke and which
transitions were made, and how versions moved through their life. A run that met nothing proves
nothing.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import Any

from keyman.core.model import Credential, Stage
from keyman.core.rotation import RULES
from tests.sim import planting
from tests.sim.planting import Bug
from tests.sim.world import Machine

RULE = "Rule = Callable[[Situation], Step | None]\n"
SPOKE = "        if step is not None:\n            return step\n"
COUNTED_AS_WELL = (
    "        if step is not None:\n"
    "            SPOKEN[rule.__name__] = SPOKEN.get(rule.__name__, 0) + 1\n"
    "            return step\n"
)
COUNTING = Bug(
    "counting",
    "",
    (
        ("keyman.core.rotation", RULE, f"{RULE}SPOKEN: dict[str, int] = {{}}\n"),
        ("keyman.core.rotation", SPOKE, COUNTED_AS_WELL),
    ),
)
KNOWN_RULES = {rule.__name__ for rule in RULES}


@dataclass(slots=True)
class Passed:
    """Counts, by what is counted."""

    faults: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    transitions: Counter[str] = field(default_factory=Counter)
    moves: Counter[str] = field(default_factory=Counter)

    def add(self, other: Passed) -> None:
        for one in fields(self):
            getattr(self, one.name).update(getattr(other, one.name))

    def saved(self, before: Credential, after: Credential) -> None:
        """Count the versions that are at another stage than they were."""
        if after.versions is before.versions:
            return
        was = {v.number: v.stage for v in before.versions}
        for v in after.versions:
            stage = was.get(v.number)
            if stage is not v.stage:
                self.moves[f"{stage or 'nothing'} -> {v.stage}"] += 1

    def told(self, known_transitions: set[str]) -> list[str]:
        """A few lines for people."""
        injected = self.faults.total()
        kinds = ", ".join(f"{name} {n:,}" for name, n in sorted(self.faults.items()))
        return [
            f"gone wrong: {injected:,} times, in {len(self.faults)} ways: {kinds}",
            _covered("rules that spoke", self.rules, KNOWN_RULES),
            _covered("transitions made", self.transitions, known_transitions),
            "stages: " + ", ".join(f"{move} {n:,}" for move, n in sorted(self.moves.items())),
            f"promotions: {sum(n for m, n in self.moves.items() if m.endswith(Stage.CURRENT)):,}",
        ]


def _covered(what: str, seen: Counter[str], known: set[str]) -> str:
    never = ", ".join(sorted(known - seen.keys()))
    return f"{what}: {len(known & seen.keys())} of {len(known)}" + (
        f"; never: {never}" * bool(never)
    )


class Counted:
    """The real program, compiled with a counter at each rule and around each transition."""

    def __init__(self) -> None:
        self.machine: Machine = planting.planted(COUNTING)
        self._rotation = sys.modules["planted_counting.keyman.core.rotation"]
        self.transitions = sys.modules["planted_counting.keyman.core.transitions"]
        self._made = Counter[str]()
        self.names = set[str]()
        for name, made in vars(self.transitions).copy().items():
            ours = getattr(made, "__module__", "") == self.transitions.__name__
            if ours and name.islower() and not name.startswith("_"):
                self.names.add(name)
                setattr(self.transitions, name, self._counted(name, made))

    def _counted(self, name: str, made: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(made)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._made[name] += 1
            return made(*args, **kwargs)

        return counted

    def taken(self) -> Passed:
        """What was counted since this was last asked for."""
        spoken: dict[str, int] = self._rotation.SPOKEN
        passed = Passed(rules=Counter(spoken), transitions=Counter(self._made))
        spoken.clear()
        self._made.clear()
        return passed
