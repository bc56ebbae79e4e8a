"""Every reachable state, in a slice: the smallest world whole, and mechanisms whose loss is seen
soon. `python -m tests.every_state` goes through all worlds, and takes all mechanisms away.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.every_state.__main__ import WITHOUT, search_of
from tests.every_state.naming import name
from tests.every_state.world import TICK, World

ENOUGH = 10_000
SOON_MISSED = ("no overlap", "no evidence", "no probe")


def test_nothing_breaks_in_any_state_of_one_rotation() -> None:
    found = search_of("one rotation").run(ENOUGH)
    assert found.broken == {}
    assert found.exhausted
    assert found.states > 1_000
    assert found.moves > 3 * found.states


@pytest.mark.parametrize("mechanism", SOON_MISSED)
def test_a_mechanism_that_is_taken_away_is_missed(mechanism: str) -> None:
    ablation = WITHOUT[mechanism]
    found = search_of(ablation.setup, mechanism).run(ENOUGH, first_only=True)
    assert set(found.broken) & set(ablation.breaks)


def test_the_way_to_what_broke_can_be_gone_again() -> None:
    search = search_of("use is not shown", "no overlap")
    said, path = search.run(ENOUGH, first_only=True).broken["S5"]
    assert search.judged(path) == said
    assert [label for label, _ in search.retrace(path)][-2:] == ["promote", "retire"]


def test_no_rest_is_told_from_rest() -> None:
    search = search_of("one rotation")
    search._met(search.start, -1, -1)
    search.follows[0] = 0
    assert list(search._restless()) == [0]


def test_what_only_came_later_under_other_names_is_one_state() -> None:
    once, twice = rested(after_orders=1), rested(after_orders=3)
    assert once.record.versions[-1].number != twice.record.versions[-1].number
    assert name(once) == name(twice)


def test_what_a_rule_would_tell_apart_is_two_states() -> None:
    world = rested(after_orders=1)
    v = world.record.versions[-1]
    dead = world.record.with_version(v.number, dead_at=world.now)
    assert name(world._replace(record=dead)) != name(world)
    doubt = replace(world.record, doubt_at=world.now)
    assert name(world._replace(record=doubt)) != name(world)
    assert name(world._replace(at=world.at + TICK)) != name(world)
    assert name(world._replace(skew=timedelta(minutes=3))) != name(world)


def rested(*, after_orders: int) -> World:
    """The world at rest after so many rotations that went well."""
    moves = search_of("three rotations").moves
    world = search_of("three rotations").start
    for _ in range(after_orders):
        ordered = (move.world for move in moves.all(world) if move.label == "ORDER: rotate")
        world = next(ordered)
        while (after := moves.calm(world)) is not None:
            world = after
    return world._replace(left=world.left._replace(rotate=0))
