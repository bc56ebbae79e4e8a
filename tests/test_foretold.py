"""What is foretold is what happens: the plan beside the simulator's world, where all goes well."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import pytest

from keyman.core.outlook import look_ahead
from keyman.core.plan import Planned, foresee
from keyman.core.policy import Window
from tests.sim.planting import real
from tests.sim.runs import long_setup
from tests.sim.setups import Setup
from tests.sim.world import World, follow

TOLD = ("request", "create", "issue", "carry", "promote", "retire", "revoke", "accept", "abandon")
SECONDS = timedelta(seconds=5)  # that the calls of a rotation may take
SETTLED = timedelta(days=1)  # by then the first version is current, and its overlap over
Line = tuple[str, str | None, int | None]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def years_of(name: str, **policy: object) -> Setup:
    """Months instead of the simulator's hours."""
    setup = long_setup(name, 1)
    return replace(setup, policy=replace(setup.policy, **policy))  # type: ignore[arg-type]


def lived(setup: Setup, days: float) -> tuple[list[Planned], list[Planned]]:
    """What was foretold once the world had settled, and what then came."""
    world = World(setup, follow(()), real())
    world.turns_limit, world.until = 100_000, 1_000_000
    if setup.adopted:
        world._entrust()
    _live(world, world.true + SETTLED)
    assert world.books.row
    credential, observed = world.books.row.credential, world.books.row.observed
    known, end = len(world.books.events), world.true + timedelta(days=days)
    told = foresee(credential, observed, world.now(), end)
    _live(world, end)
    came = [
        Planned(event.at, _step(event.kind), event.slot, event.version, event.reason)
        for event in world.books.events[known:]
    ]
    return [[one for one in lines if one.step in TOLD] for lines in (told, came)]  # type: ignore[return-value]


def _live(world: World, end: datetime) -> None:
    while world.true < end:
        world.turn(end)


def _step(kind: str) -> str:
    """The history says of what was only noticed what it was found to be."""
    return "accept" if kind.startswith("found ") else kind


def line(one: Planned) -> Line:
    """A wish has its number only once it is written down."""
    return one.step, one.slot, None if one.step == "request" else one.version


WINDOW = Window(frozenset({0, 1}), time(9), time(12), UTC)
WORLDS = {
    "two slots": years_of("plain"),
    "a key that keyman makes": years_of("first"),
    "a slot that is never filled again once it is revoked": years_of("final"),
    "what is replaced is revoked": years_of("revoking"),
    "what is replaced is kept": years_of("keeping"),
    "keys of their own": years_of("fresh"),
    "in a window": years_of("plain", window=WINDOW),
    "the standby's old secret expires first": years_of("plain", rotate_before=timedelta(days=30)),
    "long overlaps": years_of("plain", overlap=timedelta(days=20)),
}


@pytest.mark.parametrize("setup", WORLDS.values(), ids=WORLDS.keys())
def test_what_is_foretold_is_what_happens(setup: Setup) -> None:
    told, came = lived(setup, days=270)
    assert [line(one) for one in told] == [line(one) for one in came]
    assert len(told) > 12
    for a, b in zip(told, came, strict=True):
        notices = setup.policy.observe_every if a.step == "accept" else timedelta(0)
        assert -SECONDS < b.at - a.at < notices + SECONDS, (a, b)
    asked = [(a.reason, b.reason) for a, b in zip(told, came, strict=True) if a.step == "request"]
    assert all(a == b for a, b in asked)


def test_tokens_come_as_often_as_foretold() -> None:
    setup = years_of("minted")
    world = World(setup, follow(()), real())
    world.turns_limit, world.until = 100_000, 1_000_000
    _live(world, world.true + SETTLED)
    assert world.books.row
    heard = len(world.books.told)
    end = world.true + timedelta(days=3)
    outlook = look_ahead(world.record, world.books.row.observed, world.now(), end)
    _live(world, end)
    came = [news.at for news in world.books.told[heard:] if news.what == "promoted"]
    assert outlook.repeats
    assert 1 + outlook.repeats.times == len(came)
    gaps = [b - a for a, b in pairwise(came)]
    assert max(abs(gap - outlook.repeats.every) for gap in gaps) < timedelta(seconds=2)
    assert [one.step for one in outlook.steps] == ["request", "issue", "promote"]
