"""What a store that follows a record should show, and by which moves it gets there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from keyman.core.copies import (
    Drop,
    Goal,
    Move,
    Point,
    Put,
    Shown,
    follows,
    goal,
    moves_of_mirror,
    moves_of_own,
    reached,
    waits,
)
from keyman.core.model import Credential, Stage, Version
from tests.credentials import NOW, at, credential, pending, version

OLD = version(6, Stage.RETIRED)
GONE = version(5, Stage.REVOKED, revoked_at=at(-60), stored=False)
BEFORE = version(7, Stage.PREVIOUS)
NOW_CURRENT = version(8, Stage.CURRENT, "two")
NEXT = pending(9, "one")
USUAL = credential(GONE, OLD, BEFORE, NOW_CURRENT, NEXT)


@pytest.mark.parametrize(
    ("what", "versions", "numbers", "current"),
    [
        ("current and previous", (OLD, BEFORE, NOW_CURRENT, NEXT), (7, 8), 8),
        ("nothing promoted yet", (NEXT,), (), None),
        ("known to be dead", (BEFORE, replace(NOW_CURRENT, dead_at=NOW)), (7,), None),
        ("expired", (replace(NOW_CURRENT, expires_at=NOW),), (), None),
        (
            "leaked, to be revoked at once",
            (BEFORE, replace(NOW_CURRENT, compromised_at=NOW, revoke_first=True)),
            (7,),
            None,
        ),
        ("leaked, to be replaced first", (replace(NOW_CURRENT, compromised_at=NOW),), (8,), 8),
        ("lost by its own store", (replace(NOW_CURRENT, stored=False),), (8,), 8),
        ("out of a backup", (replace(NOW_CURRENT, restored_at=NOW),), (), None),
    ],
)
def test_what_may_be_read(
    what: str, versions: tuple[Version, ...], numbers: tuple[int, ...], current: int | None
) -> None:
    assert goal(credential(*versions), NOW) == Goal(numbers, current)


def shown(*numbers: int, wrong: tuple[int, ...] = (), pointed: int | None = None) -> Shown:
    """What a store that points has, all of it right but what is said to be wrong."""
    right = frozenset(numbers) & {7, 8} - set(wrong)
    return Shown(frozenset(numbers), right, points=True, pointed=pointed)


TABLE: list[tuple[str, Shown, list[Move]]] = [
    ("an empty one", shown(), [Put(7), Put(8), Point(8)]),
    ("as it should be", shown(7, 8, pointed=8), []),
    ("a promotion behind", shown(6, 7, pointed=7), [Put(8), Point(8), Drop(6)]),
    (
        "several behind",
        shown(5, 6, pointed=6),
        [Point(None), Put(7), Put(8), Point(8), Drop(5), Drop(6)],
    ),
    (
        "a secret of another life under the number",
        shown(7, 8, wrong=(8,), pointed=8),
        [Point(None), Put(8), Point(8)],
    ),
    ("the dead one is current", shown(6, 7, 8, pointed=6), [Point(8), Drop(6)]),
    ("forgotten by the record", shown(2, 7, 8, pointed=8), [Drop(2)]),
    ("never heard of", shown(7, 8, 11, pointed=8), []),
    ("not promoted yet, and there", shown(7, 8, 9, pointed=9), [Point(8), Drop(9)]),
]


@pytest.mark.parametrize(("what", "there", "moves"), TABLE, ids=[row[0] for row in TABLE])
def test_a_mirror_gets_there_in_this_order(what: str, there: Shown, moves: list[Move]) -> None:
    assert list(moves_of_mirror(USUAL, goal(USUAL, NOW), there)) == moves


def test_a_mirror_without_a_current_one_of_its_own_is_not_pointed() -> None:
    there = Shown(frozenset({6}), frozenset())
    moves = list(moves_of_mirror(USUAL, goal(USUAL, NOW), there))
    assert moves == [Put(7), Put(8), Drop(6)]


def test_what_its_own_store_lost_is_not_taken_from_the_mirror() -> None:
    lost = credential(BEFORE, replace(NOW_CURRENT, stored=False))
    assert list(moves_of_mirror(lost, goal(lost, NOW), shown(7, 8, pointed=8))) == []
    assert list(moves_of_mirror(lost, goal(lost, NOW), shown(7))) == []


OWN: list[tuple[str, Shown, list[Move]]] = [
    ("as it should be", shown(6, 7, 8, 9, pointed=8), []),
    ("a promotion behind", shown(6, 7, 8, pointed=7), [Point(8)]),
    ("the first time", shown(8), [Point(8)]),
    ("dropped by a step whose drop came to nothing", shown(5, 7, 8, pointed=8), [Drop(5)]),
    ("forgotten by the record", shown(2, 7, 8, pointed=8), [Drop(2)]),
    ("never heard of", shown(7, 8, 11, pointed=8), []),
    ("lost", shown(7, pointed=None), []),
    ("a retired one is current, and the right one lost", shown(6, pointed=6), [Point(None)]),
]


@pytest.mark.parametrize(("what", "there", "moves"), OWN, ids=[row[0] for row in OWN])
def test_its_own_store_is_pointed_and_tidied_only(
    what: str, there: Shown, moves: list[Move]
) -> None:
    assert list(moves_of_own(USUAL, goal(USUAL, NOW), there)) == moves


def test_what_a_later_life_made_current_stays_until_the_provider_was_looked_at() -> None:
    unsure = replace(USUAL, doubt_at=NOW)
    there = shown(7, 8, 11, pointed=11)
    assert list(moves_of_own(unsure, goal(unsure, NOW), there)) == []
    assert list(moves_of_own(USUAL, goal(USUAL, NOW), there)) == [Point(8)]


def test_nothing_moves_while_a_backups_secret_waits_for_its_proof() -> None:
    assert waits(credential(replace(NOW_CURRENT, restored_at=NOW)), NOW)
    assert not waits(USUAL, NOW)
    assert not waits(credential(replace(NOW_CURRENT, restored_at=NOW, dead_at=NOW)), NOW)


def test_a_restored_record_leaves_alone_what_came_after_its_backup() -> None:
    """Its numbers go on far above: what lies between is of the life that it does not know."""
    marker = version(1008, Stage.REVOKED, None, stored=False, revoked_at=NOW)
    again = credential(BEFORE, NOW_CURRENT, marker)
    there = shown(7, 8, 9, 10, pointed=8)
    for plan in (moves_of_own, moves_of_mirror):
        assert list(plan(again, goal(again, NOW), there)) == []


# Whatever a store shows, after all moves it is where it should be, and on the way never ahead.


def carried_out(there: Shown, moves: list[Move]) -> Shown:
    for move in moves:
        match move:
            case Put(number):
                numbers, right = there.numbers | {number}, there.right | {number}
                there = replace(there, numbers=numbers, right=right)
            case Point(number):
                assert number is None or number in there.right, "points at what is not there"
                there = replace(there, pointed=number)
            case Drop(number):
                assert number != there.pointed, "drops what is current"
                there = replace(there, numbers=there.numbers - {number})
    return there


def every_shown() -> list[Shown]:
    return [
        Shown(held, held & right, points=True, pointed=pointed)
        for held in every_set()
        for right in ({7, 8}, {7}, {8}, set[int]())
        for pointed in (None, *held)
    ]


def every_set() -> Iterator[frozenset[int]]:
    for there in product((False, True), repeat=5):
        yield frozenset(n for n, held in zip((5, 6, 7, 8, 9), there, strict=True) if held)


RECORDS = [
    USUAL,
    credential(OLD, BEFORE, replace(NOW_CURRENT, dead_at=NOW)),
    credential(OLD, replace(BEFORE, stage=Stage.REVOKED), NOW_CURRENT),
    credential(NEXT),
]


@pytest.mark.parametrize("record", RECORDS)
def test_whatever_a_mirror_shows_it_gets_there_and_is_never_ahead(record: Credential) -> None:
    aim = goal(record, NOW)
    for there in every_shown():
        moves = list(moves_of_mirror(record, aim, there))
        came = carried_out(there, moves)
        assert follows(aim, came, own=False), (there, moves)
        assert reached(aim, came) == aim.current
        known = {v.number for v in record.versions}
        assert came.numbers & known == set(aim.numbers)
        assert list(moves_of_mirror(record, aim, came)) == []
        pointed_at = {move.number for move in moves if isinstance(move, Point)}
        assert pointed_at <= {None, aim.current}
