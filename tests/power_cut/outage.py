"""A vault is away for a moment, at the end of a life, when everything else rests.

Lookups never notice. Rotations do only if secrets rest there; if it is a mirror they come to their
end without it. Once it is back strangers get what lookups get, one sweep later at most.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence

from keyman.config import DEFAULT
from tests.power_cut.evidence import Handed
from tests.power_cut.played import Played
from tests.power_cut.stores import A_SWEEP, BESIDE, Stores

AWAY = 1.5  # seconds
ROTATES_WITHIN = 30.0  # seconds


def suffered(stores: Stores, parts: Sequence[Played], dice: random.Random) -> Iterator[str]:
    """Whatever did not hold, in words. `parts` rest in the stores; lookups go on meanwhile."""
    name = BESIDE if BESIDE in stores.places else DEFAULT
    gate = stores.places[name].gate
    if gate is None or not parts:
        return
    before = {part.case.name: part.case.evidence.handed[-1] for part in parts}
    gate.shut = True
    if name == DEFAULT:
        yield from _not_answered(parts, before)
        gate.shut = False
    for part in parts:
        part.case.provoke(part.people, "", dice)
    if not _within(ROTATES_WITHIN, lambda: _all_replaced(parts, before)):
        yield f"P: no rotation comes to its end, {name} being away"
    gate.shut = False
    if not _within(A_SWEEP, lambda: not _behind(stores, parts)):
        yield f"P: not within a sweep after an outage: {_behind(stores, parts)}"


def _not_answered(parts: Sequence[Played], before: dict[str, Handed]) -> Iterator[str]:
    time.sleep(AWAY)
    for part in parts:
        name, last = part.case.name, part.case.evidence.handed[-1]
        if last.answered <= before[name].answered:
            yield f"I1: no lookup of {name} is answered without its store"


def _all_replaced(parts: Sequence[Played], before: dict[str, Handed]) -> bool:
    found = {part.case.name: part.case.evidence.handed[-1].version for part in parts}
    return all(found[name] > was.version for name, was in before.items())


def _behind(stores: Stores, parts: Sequence[Played]) -> list[str]:
    return [one for part in parts for one in stores.behind(part.case)]


def _within(seconds: float, so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
