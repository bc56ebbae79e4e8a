"""The end of a life: nothing goes wrong any more, and everything must come to rest as it should be.

A vault is away once more for a moment then, which must change nothing of that for long.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

from tests.power_cut import outage
from tests.power_cut.case import Case
from tests.power_cut.evidence import now
from tests.power_cut.outside import Keyman
from tests.power_cut.played import Played
from tests.power_cut.stores import A_SWEEP, Stores

COMES_TO_REST_WITHIN = 60.0  # seconds
LATELY = 2.0  # seconds
ACCEPTABLE = ("ok",)


def reached(
    keyman: Keyman, stores: Stores, parts: Sequence[Played], dice: random.Random
) -> Iterator[str]:
    """Waits for it, with people who do what they are asked to; then what did not hold, in words."""
    rest = _Rest(keyman, stores)
    deadline = time.monotonic() + COMES_TO_REST_WITHIN
    restless = list(parts)
    while restless and time.monotonic() < deadline:
        time.sleep(0.5)
        for part in parts:
            part.people.care()
            part.people.hold_them_to_their_word()
        restless = [part for part in parts if rest.missing(part.case)]
    for part in restless:
        missing = rest.missing(part.case)
        yield from (f"L: {part.case.name} does not come to rest: {one}" for one in missing)
    yield from rest.late
    if not restless:
        lasting = [part for part in parts if not part.case.targets.fleeting]
        yield from outage.suffered(stores, lasting, dice)


class _Rest:
    def __init__(self, keyman: Keyman, stores: Stores) -> None:
        self._keyman, self._stores = keyman, stores
        self._fine: dict[str, float] = {}  # since when all is well but for those who follow
        self.late: list[str] = []

    def missing(self, case: Case) -> list[str]:
        """What is not yet as it should be; those who follow have a sweep's time for it."""
        said = self._missing_here(case)
        if said:
            self._fine.pop(case.name, None)
            return said
        since = self._fine.setdefault(case.name, time.monotonic())
        behind = self._stores.behind(case)
        if behind and time.monotonic() - since > A_SWEEP:
            self.late += [f"P: not within a sweep: {one}" for one in behind]
            return []
        return behind

    def _missing_here(self, case: Case) -> list[str]:
        status = self._keyman.status(case.name)
        if status is None:
            return ["nobody answers"]
        said = []
        if status["health"] not in ACCEPTABLE or status["failures"]:
            said.append(f"health {status['health']}: {status['last_error']}")
        if status["order"]:
            said.append(f"order {status['order']['kind']} is {status['order']['state']}")
        stages = self._keyman.stages(case.name)
        begun = {v for v in stages if v[1] in ("requested", "pending")}
        said += [f"version {number} is {stage}" for number, stage in begun]
        taken = case.taken()
        said += [f"I6: {s[:8]} leaked and lives" for s in case.evidence.leaked() & taken]
        handed = case.evidence.handed[-1] if case.evidence.handed else None
        if handed is None or (now() - handed.answered).total_seconds() > LATELY:
            return [*said, "no lookup is answered"]
        if handed.secret not in taken:
            said.append(f"version {handed.version} is handed out and refused")
        return said + case.not_as_the_cloud_has_it(status)
