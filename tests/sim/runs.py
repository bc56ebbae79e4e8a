"""Running worlds: one history by plan or by dice, and what came of it."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from tests.sim import people
from tests.sim.cloud import PowerCut
from tests.sim.every import Choice, Menu, Plan, extensions, told
from tests.sim.invariants import Broken
from tests.sim.setups import QUARTERLY, SETUPS, YEARLY, Kind, Setup
from tests.sim.world import Chooser, Machine, Saves, World, follow
from tests.vaults.kinds import REMOTE

ONE_ROTATION = 0.19  # days of the brisk policy
# Each taught the program something; see test_histories.py.
ONCE_BROKEN = (
    "plain turn#1:clock-back",  # nothing that was seen counted until the clock had caught up
    "plain issue#1:clock-on",  # a lease that ran out in the middle of a turn was not taken anew
    "plain claim#1:revoke-all",  # a secret that did not exist yet was taken for leaked
    "plain turn#6:renew-other!",  # a carried secret's overlap was cut by the end of its first one
    "plain turn#1:delete! turn#9:new-key",  # the wish for the deleted key stood in the way
    "final save#20:off-cur! turn#13:clock-back",  # a rest begun before lasted for hours
    "ignored turn#4:kill-cur!",  # a stale picture of a revoked slot: given up for ever
    "unmatched-lagging save#20:clock-back turn#19:kill-other!",  # probed for hours
    "tight-unmatched issue#1:late-2s save#9:busy",  # an unanswered call was forgotten
    "blind save#22:new-key retire#2:kill-cur!",  # the wrong key's second slot was silenced
    "blind save#22:new-key save#23:clock-back",  # an order never came true: a key every 2 s
    "blind turn#10:report save#20:clock-back",  # a report was examined again and again
    "fresh save#22:roll-back save#25:revoke-all-now",  # carrying on forgot the leak
    "bare save#31:revoke-cur turn#15:lose-secrets",  # what was lost was taken for refused
    "lagging turn#14:off-other! turn#28:restore-secrets",
    "minted save#10:clock-back save#19:clock-back",  # two dead secrets took turns
    "plain retire#1:late-100s save#16:roll-back",  # what was carried on was switched off late
)
STORES = ("memory", "sealed-file", *REMOTE)  # keyman's own, as setups name them
STRAIGHT_ONLY: dict[str, Any] = {"people": False, "console": False, "shocks": False}
TIGHT = ("plain", "rejected", "ignored", "unmatched", "first-bare", "fresh", "pointing", "mirrored")


@dataclass(slots=True)
class Ran:
    """One history: which choices it passed, and what broke, if anything did."""

    setup: str
    plan: str
    menus: list[Menu] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    broken: str | None = None
    trace: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)


def setup_named(name: str) -> Setup:
    """`tight-` before a name: one rotation, and only calls, disks and power go wrong.

    `KIND/`: the same, and the store (the mirror, where there is one) is of that kind.
    """
    kind, slash, plain = name.removeprefix("tight-").rpartition("/")
    if plain == name:
        return SETUPS[name]
    tight = replace(SETUPS[plain], days=ONE_ROTATION, **STRAIGHT_ONLY)
    if not slash:
        return tight
    return replace(tight, store=kind, points=kind in REMOTE and not tight.mirrored)


def kept_in(kind: str) -> tuple[str, ...]:
    """The setups that a store of that kind is tried out in."""
    if kind == "memory":
        return ("plain", "minted")
    return ("plain", "fresh", "mirrored") if kind in REMOTE else ("plain", "fresh")


def run(
    machine: Machine, name: str, plan: Plan, *, leaf: bool = False, saves: Saves | None = None
) -> Ran:
    """A history by plan. A leaf ends once the world has shown that it goes on well."""
    world = World(setup_named(name), follow(plan), machine, saves)
    if leaf and plan:
        world.last = plan[-1].moment
    return _lived(world, Ran(name, told(plan)))


def placed(machine: Machine, name: str, text: str) -> Plan:
    """A plan told by places, such as "issue#2:lost": it survives a change of what comes before."""
    plan: Plan = ()
    for word in text.split():
        place, _, what = word.partition(":")
        where, _, count = place.partition("#")
        places = run(machine, name, plan).places
        found = [moment for moment, passed in enumerate(places) if passed == where]
        plan = (*plan, Choice(found[int(count) - 1], what))
    return plan


def _lived(world: World, ran: Ran) -> Ran:
    logging.disable()  # a history is told by its trace; thousands of warnings tell nobody anything
    try:
        world.live()
    except (Exception, PowerCut) as broken:  # noqa: BLE001  whatever it is, the history is told
        kind = "" if isinstance(broken, Broken) else f"{type(broken).__name__}: "
        ran.broken = f"{kind}{broken}"
    finally:
        logging.disable(logging.NOTSET)
    ran.menus = world.menus
    ran.places = world.places
    ran.trace = world.trace
    ran.faults = world.faults
    return ran


def singles(machine: Machine, name: str, *, leaf: bool = True) -> Iterator[Ran]:
    """The history in which nothing goes wrong, and every one in which one thing does."""
    empty = run(machine, name, ())
    yield empty
    for plan in extensions((), empty.menus):
        yield run(machine, name, plan, leaf=leaf)


def with_one_more(
    machine: Machine, name: str, plan: Plan, saves: Saves | None = None
) -> Iterator[Ran]:
    """The history of the plan, and every one in which one thing more goes wrong."""
    begun = run(machine, name, plan)
    yield begun
    for longer in extensions(plan, begun.menus):
        yield run(machine, name, longer, leaf=True, saves=saves)


def some_with_one_more(
    machine: Machine,
    name: str,
    plan: Plan,
    count: int,
    dice: random.Random,
    saves: Saves | None = None,
) -> Iterator[Ran]:
    begun = run(machine, name, plan)
    yield begun
    longer = list(extensions(plan, begun.menus))
    for chosen in dice.sample(longer, min(count, len(longer))):
        yield run(machine, name, chosen, leaf=True, saves=saves)


def first_plans(machine: Machine, name: str) -> list[Plan]:
    return list(extensions((), run(machine, name, ()).menus))


# Long lives.


SLOW = "slow-"  # before a setup's name: its secrets live for a year, and it is looked at monthly


def long_setup(name: str, years: int) -> Setup:
    setup = SETUPS[name.removeprefix(SLOW)]
    slow = name.startswith(SLOW)
    policy = setup.policy if setup.kind is Kind.MINTED else YEARLY if slow else QUARTERLY
    held = setup.held * 24 if setup.held > timedelta(minutes=5) else setup.held
    sweep = policy.observe_every if slow else setup.sweep
    return replace(setup, policy=policy, days=365.0 * years, held=held, sweep=sweep)


def throw(dice: random.Random, rate: float) -> Chooser:
    """Now and then something goes wrong; calls and disks more often than people interfere."""
    rare = people.CONSOLE.keys() | people.SHOCKS.keys() | {"restore"}

    def choose(moment: int, menu: Menu) -> str:
        if dice.random() > rate:
            return ""
        what = dice.choice(menu)
        return "" if what in rare and dice.random() < 0.7 else what

    return choose


def live_long(
    machine: Machine,
    name: str,
    seed: int,
    years: int,
    rate: float,
    saves: Saves | None = None,
    *,
    tells: bool = True,
) -> Ran:
    """A life thrown by the seed; one that nobody watches keeps no trace."""
    dice = random.Random(f"{name}/{seed}")
    world = World(long_setup(name, years), throw(dice, rate), machine, saves)
    world.follows_hints = True
    world.tells = tells
    world.turns_limit = 40_000 * years
    return _lived(world, Ran(name, f"seed={seed}"))
