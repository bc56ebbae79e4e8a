"""The clock is set, or the machine suspended, at every named place of a life.

On the simulator's own time (tests/sim), with a policy of ninety days: steps of ±1 s to ±400 days,
and sleeps of as long with and without the time since boot going on. Beyond a day the clock is put
right again six hours later, as whoever set it wrong would: until then even the provider's expiries
are told by it. Nothing that clients still use is switched off or overwritten before its overlap is
over by true time, and everything comes to rest.

NOT promised: that where the clock runs 400 days ahead, beyond the ends of secrets. Whoever sets it
so has keyman believe that what was replaced has expired. How often that ended something in use is
counted.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keyman import errors
from keyman.core.model import Place
from tests.sim import rest
from tests.sim.cloud import PowerCut
from tests.sim.every import Menu
from tests.sim.invariants import Broken
from tests.sim.runs import STRAIGHT_ONLY
from tests.sim.setups import QUARTERLY, SETUPS, Kind, Setup, minutes
from tests.sim.world import Machine, World, follow

SPANS = {
    "1s": timedelta(seconds=1),
    "1min": timedelta(minutes=1),
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
    "400d": timedelta(days=400),
}
ON, BACK, ASLEEP, STANDING = "+", "-", "sleep-", "standing-"
STEPS = tuple(kind + span for kind in (ON, BACK, ASLEEP, STANDING) for span in SPANS)
FAR = timedelta(days=1)  # beyond it a clock is put right again
PUT_RIGHT_AFTER = timedelta(hours=6)
NAMES = ("plain", "first", "rejected", "revoking", "stubborn", "fresh", "minted")
LIFETIMES = 3  # until everything must be well
TURNS = 5_000  # a clock that is far behind wakes it often
DAYS = 32.0  # one rotation, and its overlap


@dataclass(frozen=True, slots=True)
class Step:
    """At the n-th passing of that place."""

    setup: str
    place: str
    nth: int
    what: str

    def __str__(self) -> str:
        return f"{self.setup} {self.place}#{self.nth} {self.what}"

    @classmethod
    def heard(cls, text: str) -> Step:
        setup, where, what = text.split()
        place, _, nth = where.partition("#")
        return cls(setup, place, int(nth), what)


class Clocked(World):
    """A world in which nothing goes wrong but the time."""

    def __init__(self, setup: Setup, machine: Machine, step: Step | None = None) -> None:
        self.step, self.passed = step, Counter[str]()
        self.asleep = timedelta(0)
        self.put_right_at: datetime | None = None
        self.hastened = False  #: what somebody used was ended early, by a clock far ahead
        super().__init__(setup, follow(()), machine)
        self.turns_limit = TURNS

    def trouble(self, where: str, menu: Menu) -> str:
        if self.hands_full:
            return ""  # a person who entrusts a secret meanwhile is told so, and tries again
        self.passed[where] += 1
        step = self.step
        if step is not None and (step.place, step.nth) == (where, self.passed[where]):
            self._set(step.what)
        elif self.put_right_at is not None and self.true >= self.put_right_at:
            self.put_right_at = None
            self._set_clock(-self.skew)
        return ""

    def _set(self, what: str) -> None:
        kind = next(each for each in (ASLEEP, STANDING, ON, BACK) if what.startswith(each))
        by = SPANS[what.removeprefix(kind)]
        self.troubled_at = self.true
        if kind in (ASLEEP, STANDING):
            self.pass_time(by)
            self.asleep += by if kind == STANDING else timedelta(0)
            self.watch.outside()
            self.watch.set_in_turn = self.turns
        else:
            self._set_clock(by if kind == ON else -by)
            self.put_right_at = self.true + PUT_RIGHT_AFTER if by > FAR else None

    def _set_clock(self, by: timedelta) -> None:
        """The daemon's guard notices at once, and tells the rotator."""
        self.skew += by
        self.watch.clock_set(by)
        with suppress(PowerCut, errors.Conflict, errors.StoreFailed):
            self.rotator.clock_moved(self.setup.name, by)

    def come_to_rest(self) -> None:
        """A secret that was wished for by a clock far ahead lives so much longer."""
        self.calm, self.until = True, self.watch.promotions + 1
        limit = self.true + self.setup.policy.lifetime * LIFETIMES + SPANS["400d"]
        while self.true < limit:
            if self.turn(limit):
                return
        what = "; ".join(rest.missing(self, self.until)[:4])
        raise Broken("L", f"the world does not come to rest: {what}")

    def boot_time(self) -> float:
        return super().boot_time() - self.asleep.total_seconds()

    def changing(self, verb: str, place: Place, effect: Callable[[], None]) -> None:
        """The judges of the simulator forgive what is done early once the clock was set."""
        leaving = {s: left for s, left in self.watch.left.items() if self.cloud.sound(s)}
        super().changing(verb, place, effect)
        for secret, (since, overlap) in leaving.items():
            early = self.true < since + overlap and not self.cloud.sound(secret)
            if not early or not self._in_use(secret, since):
                continue
            if self._far_ahead:
                self.hastened = True
            else:
                raise Broken("I5", f"{verb} ends {secret} early, although it is in use")

    @property
    def _far_ahead(self) -> bool:
        """Beyond the ends of secrets: keyman knows of no other clock."""
        return self.step is not None and self.step.what == f"{ON}400d"

    def _in_use(self, secret: str, since: datetime) -> bool:
        used = self.watch.last_used(secret, self.true)
        lately = self.setup.policy.max_client_staleness
        return used is not None and used > since and self.true - used < lately


def setup_of(name: str) -> Setup:
    setup = SETUPS[name]
    if setup.kind is Kind.MINTED:
        return replace(setup, **STRAIGHT_ONLY)
    held = minutes(36 * 60) if setup.held > minutes(5) else setup.held  # longer than the overlap
    return replace(setup, policy=QUARTERLY, days=DAYS, held=held, **STRAIGHT_ONLY)


@dataclass(frozen=True, slots=True)
class Lived:
    broken: str = ""
    hastened: bool = False


def lived(machine: Machine, step: Step) -> Lived:
    world = Clocked(setup_of(step.setup), machine, step)
    try:
        world.live()
    except (Exception, PowerCut) as broken:  # noqa: BLE001 - whatever keyman lets out is looked for
        kind = "" if isinstance(broken, Broken) else f"T: {type(broken).__name__}: "
        return Lived(f"{kind}{broken}")
    if world.passed[step.place] < step.nth:
        return Lived(f"{step.place} is not passed {step.nth} times: the life is another one")
    return Lived(hastened=world.hastened)


def steps(machine: Machine, dice: random.Random, count: int) -> Iterator[Step]:
    """Every place and every step about as often as the others."""
    passed = {name: _passed(machine, name) for name in NAMES}
    places = sorted({place for each in passed.values() for place in each})
    for number in range(count):
        place = places[number % len(places)]
        name = dice.choice([name for name in NAMES if passed[name][place]])
        what = STEPS[number // len(places) % len(STEPS)]
        yield Step(name, place, dice.randint(1, passed[name][place]), what)


def _passed(machine: Machine, name: str) -> Counter[str]:
    world = Clocked(setup_of(name), machine)
    world.live()
    return world.passed
