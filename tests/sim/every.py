"""Enumerates histories: a world is run with a plan of what goes wrong where, and tells what else
could have gone wrong.

A run passes numbered moments; at each the world names its menu. A plan says what to choose at
which moments; everywhere else nothing happens. Since a world is deterministic, the menus up to a
plan's last choice stay as they were, so that extending every plan by every later choice visits
every history exactly once. Knows nothing of what the choices mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Menu = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    moment: int
    what: str

    def __str__(self) -> str:
        return f"{self.moment}:{self.what}"


Plan = tuple[Choice, ...]
Run = Callable[[Plan], list[Menu]]  # returns the menus that it passed; raises if something broke


def every(run: Run, depth: int, begin: Plan = ()) -> Iterator[Plan]:
    """Run every history of up to `depth` more choices than `begin`; yields each plan once run."""
    menus = run(begin)
    yield begin
    if depth == 0:
        return
    for longer in extensions(begin, menus):
        yield from every(run, depth - 1, longer)


def extensions(plan: Plan, menus: list[Menu]) -> Iterator[Plan]:
    """The plan with one choice more, at every moment after its last."""
    first = plan[-1].moment + 1 if plan else 0
    for moment in range(first, len(menus)):
        for what in menus[moment]:
            yield (*plan, Choice(moment, what))


def told(plan: Plan) -> str:
    """The plan as text, for a replay; `heard` reads it back."""
    return " ".join(map(str, plan))


def heard(text: str) -> Plan:
    choices = (word.split(":", 1) for word in text.split())
    return tuple(Choice(int(moment), what) for moment, what in choices)
