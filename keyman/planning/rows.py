"""A plan as a table for people: one line for a rotation, not one for each of its steps.

Pure. Steps that follow each other within minutes are one line, `request…promote`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyman.core.health import duration_text
from keyman.core.outlook import Outlook, Repeats
from keyman.core.plan import Planned
from keyman.planning import Plan

HEADS = ("AT", "NAME", "STEP", "SLOT", "WHY")
TOGETHER = timedelta(minutes=15)
ALONE = ("request", "retire", "revoke", "accept", "abandon")  # each begins a line of its own


@dataclass(frozen=True, slots=True)
class Row:
    at: datetime
    name: str
    step: str
    slot: str | None
    why: str

    @property
    def cells(self) -> tuple[str, str, str, str | None, str]:
        return f"{self.at:%Y-%m-%d %H:%MZ}", self.name, self.step, self.slot, self.why


def rows(plan: Plan) -> list[Row]:
    """All credentials together, soonest first. What comes of one secret under two numbers, as a
    rollback leaves it, is one line.
    """
    found = dict.fromkeys(row for one in plan.outlooks for row in _of(one))
    return sorted(found, key=lambda row: (row.at, row.name))


def _of(one: Outlook) -> Iterator[Row]:
    group: list[Planned] = []
    for step in one.steps:
        apart = group and step.at - group[-1].at > TOGETHER
        if group and (apart or step.step in ALONE):
            yield _row(one.name, group)
            group = []
        group.append(step)
    if group:
        yield _row(one.name, group)
    if one.repeats:
        until = f"up to {one.repeats.last:%Y-%m-%d %H:%MZ}"
        yield Row(
            one.repeats.first, one.name, "and again", None, f"{rhythm_text(one.repeats)} {until}"
        )


def _row(name: str, group: list[Planned]) -> Row:
    first, last = group[0], group[-1]
    step = first.step if first.step == last.step else f"{first.step}…{last.step}"
    slot = next((one.slot for one in group if one.slot), None)
    return Row(first.at, name, step, slot, first.reason)


def rhythm_text(repeats: Repeats) -> str:
    """`every 46m, 11,346 times`, to the minute."""
    every = duration_text(max(1, round(repeats.every.total_seconds() / 60)) * 60)
    return f"every {every}, {repeats.times:,} times"
