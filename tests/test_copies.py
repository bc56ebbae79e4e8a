"""What a store that follows a record should show, and by which moves it gets there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import product
from typing import Any

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
    only_looks,
    proven_since,
    reached,
    unknown,
    waits,
)
from keyman.core.model import Credential, KeySeen, Observed, SlotSeen, Stage, Version
from tests.credentials import BY_HAND, NOW, at, credential, pending, version

Plan = Callable[..., Iterator[Move]]
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


def shown(
    *numbers: int,
    wrong: tuple[int, ...] = (),
    pointed: int | None = None,
    altered: bool = False,
    read: bool = False,
) -> Shown:
    """What a store that points has, all of it right but what is said to be wrong."""
    right = frozenset(numbers) & {7, 8} - set(wrong)
    return Shown(frozenset(numbers), right, True, pointed, altered, pointed_right=read)


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
    ("its current one was edited", shown(7, 8, pointed=8, altered=True), [Point(8)]),
    ("the same of an old number", shown(7, 8, pointed=6, altered=True), [Point(8)]),
    (
        "edited, and a version too",
        shown(7, 8, wrong=(8,), pointed=8, altered=True),
        [Put(8), Point(8)],
    ),
    ("its current one never heard of", shown(7, 8, 11, pointed=11), []),
    (
        "somebody deleted the version, and the copy is right",
        shown(7, pointed=8, read=True),
        [Put(8)],
    ),
    (
        "a retired one is right, and no longer current",
        shown(7, 8, pointed=6, read=True),
        [Point(8)],
    ),
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
    ("its current one was edited", shown(7, 8, pointed=8, altered=True), [Point(8)]),
    ("its current one never heard of", shown(7, 8, 11, pointed=11), []),
    ("the same, and ours is lost", shown(7, 11, pointed=11), []),
    ("somebody deleted the version, and the copy is right", shown(7, pointed=8, read=True), []),
]


@pytest.mark.parametrize("plan", [moves_of_own, moves_of_mirror])
def test_what_is_not_to_be_read_leaves_however_right_it_is(plan: Plan) -> None:
    there = shown(7, pointed=8, read=True)
    assert Point(None) in list(plan(NOBODYS, goal(NOBODYS, NOW), there))


@pytest.mark.parametrize(("what", "there", "moves"), OWN, ids=[row[0] for row in OWN])
def test_its_own_store_is_pointed_and_tidied_only(
    what: str, there: Shown, moves: list[Move]
) -> None:
    assert list(moves_of_own(USUAL, goal(USUAL, NOW), there)) == moves


PLANS = (moves_of_own, moves_of_mirror)
NOBODYS = credential(BEFORE, replace(NOW_CURRENT, dead_at=NOW))


@pytest.mark.parametrize("plan", PLANS)
def test_what_nobody_here_knows_is_replaced_and_never_just_taken_away(plan: Plan) -> None:
    """It may be of a later life of this record, and the one that works."""
    there = shown(7, 8, 11, pointed=11)
    assert list(plan(USUAL, goal(USUAL, NOW), there)) == []
    assert list(plan(USUAL, goal(USUAL, NOW), there, proven=True)) == [Point(8)]
    for pointed, altered in ((11, False), (8, True)):
        there = shown(7, 11, pointed=pointed, altered=altered)
        for proven in (False, True):
            moves = plan(NOBODYS, goal(NOBODYS, NOW), there, proven=proven)
            assert Point(None) not in list(moves)


@pytest.mark.parametrize("plan", PLANS)
def test_for_a_record_without_a_secret_nothing_is_known_to_be_left_over(plan: Plan) -> None:
    """Of another life of it, or somebody else's: a number is all that there is to go by."""
    for record in (credential(), credential(NEXT)):
        for there in (shown(0, 11), shown(0, 11, pointed=11)):
            moves = list(plan(record, goal(record, NOW), there))
            assert moves == ([Drop(0)] if record.versions else [])


def test_what_the_record_forgot_meanwhile_is_not_put() -> None:
    moves = list(moves_of_mirror(USUAL, Goal((3, 7, 8), 8), shown(7, 8, pointed=8)))
    assert moves == []


def test_its_own_store_keeps_what_no_step_dropped() -> None:
    waiting = replace(OLD, stage=Stage.REVOKED)
    lost = replace(BEFORE, stored=False)  # and back by now, from wherever it was
    record = credential(GONE, waiting, lost, NOW_CURRENT)
    there = shown(5, 6, 7, 8, pointed=8)
    assert list(moves_of_own(record, goal(record, NOW), there)) == [Drop(5)]


AIM = Goal((7, 8), 8)
FLAT = Shown(frozenset({7, 8}), frozenset({7, 8}))  # a store without a current secret of its own


@pytest.mark.parametrize(
    ("what", "there", "mirror", "own", "gives"),
    [
        ("as it should be", shown(7, 8, pointed=8), True, True, 8),
        ("at the one before", shown(7, 8, pointed=7), False, False, 7),
        ("at nothing", shown(7, 8), False, False, None),
        ("edited", shown(7, 8, pointed=8, altered=True), False, False, None),
        ("it lacks the previous one", shown(8, pointed=8), False, True, 8),
        ("it does not point", FLAT, True, True, 8),
        ("the same, and edited", replace(FLAT, right=frozenset({7})), False, True, 7),
        ("the same, and empty", Shown(frozenset(), frozenset()), False, True, None),
    ],
)
def test_whether_a_store_follows_and_what_its_readers_get(
    what: str, there: Shown, mirror: bool, own: bool, gives: int | None
) -> None:
    follow = (follows(AIM, there, own=False), follows(AIM, there, own=True))
    assert (*follow, reached(AIM, there)) == (mirror, own, gives)


@pytest.mark.parametrize(
    ("aim", "held", "gives"),
    [
        (Goal((6, 7, 8), 8), {6, 7, 9}, 7),
        (Goal((6, 7, 8), 7), {6, 7, 8}, 7),
        (Goal((6, 7), None), {6, 7}, 7),
    ],
    ids=["the current one is missing", "it is not the newest", "there is none"],
)
def test_readers_by_number_get_the_current_one_or_the_newest_that_is_good(
    aim: Goal, held: set[int], gives: int
) -> None:
    assert reached(aim, Shown(frozenset(held), frozenset(held))) == gives


@pytest.mark.parametrize(
    ("what", "there", "strange"),
    [
        ("nothing", shown(7, 8, 11), False),
        ("ours", shown(7, 8, pointed=8), False),
        ("one that we forgot", shown(2, pointed=2), False),
        ("a number never heard of", shown(11, pointed=11), True),
        ("our number and another secret", shown(7, 8, pointed=8, altered=True), True),
    ],
)
def test_whether_readers_get_what_the_record_does_not_know(
    what: str, there: Shown, strange: bool
) -> None:
    assert unknown(USUAL, there) is strange


def seen(at_: datetime, *, state: str = "ACTIVE", **more: Any) -> Observed:
    slots = (
        SlotSeen("one", "ACTIVE", BEFORE.mask, BEFORE.expires_at),
        SlotSeen("two", state, NOW_CURRENT.mask, NOW_CURRENT.expires_at),
    )
    told: dict[str, Any] = {"owner": "here", "epoch": 1} | more
    return Observed(at_, (KeySeen("key", "ACTIVE", slots, **told),))


BY_A_PERSON = replace(NOW_CURRENT, promoted_at=at(1))
VERIFIED_BEFORE = replace(NOW_CURRENT, verified_at=at(-1), promoted_at=at(1))
LATER = at(2)


@pytest.mark.parametrize(
    ("what", "record", "observed", "proven"),
    [
        ("nobody looked since", USUAL, seen(at(-1)), False),
        ("looked at, and well", USUAL, seen(at(1)), True),
        ("looked at, and switched off", USUAL, seen(at(1), state="INACTIVE"), False),
        ("changed since that look", replace(USUAL, doubt_at=at(1)), seen(at(1)), False),
        ("probed since", credential(replace(NOW_CURRENT, examined_at=at(1))), None, True),
        ("probed since, and dead", credential(replace(NOW_CURRENT, dead_at=at(1))), None, False),
        ("promoted since", credential(BY_A_PERSON), None, True),
        ("none of it can be asked", credential(NOW_CURRENT, spec=BY_HAND), None, False),
        ("somebody brought it since", credential(BY_A_PERSON, spec=BY_HAND), None, True),
        ("nothing was promoted yet", credential(NEXT), seen(at(1)), False),
        (
            "promoted since, and expired since",
            credential(replace(BY_A_PERSON, expires_at=at(1))),
            None,
            False,
        ),
        ("verified before, promoted since", credential(VERIFIED_BEFORE), None, True),
        ("promoted just then", credential(replace(NOW_CURRENT, promoted_at=NOW)), None, False),
        (
            "promoted nobody knows when",
            credential(replace(NOW_CURRENT, promoted_at=None)),
            None,
            False,
        ),
        ("probed before", credential(replace(NOW_CURRENT, examined_at=at(-1))), None, False),
        ("probed just then", credential(replace(NOW_CURRENT, examined_at=NOW)), None, False),
        ("nobody ever looked", USUAL, None, False),
        ("looked at just then", USUAL, seen(NOW), False),
        (
            "looked at when another provider had it",
            credential(NOW_CURRENT, spec=BY_HAND),
            seen(at(1)),
            False,
        ),
    ],
)
def test_what_proves_a_secret_of_ours(
    what: str, record: Credential, observed: Observed | None, proven: bool
) -> None:
    assert proven_since(record, observed, NOW, LATER) == proven


def test_who_does_not_drive_the_key_only_looks() -> None:
    assert only_looks(USUAL, seen(NOW), NOW) is None
    for marks in ({"owner": "there"}, {"epoch": 2}):
        why = only_looks(USUAL, seen(NOW, **marks), NOW)
        assert why is not None
        assert "managed by" in why
    assert only_looks(credential(replace(NOW_CURRENT, restored_at=NOW)), None, NOW)


def test_nothing_moves_while_a_backups_secret_waits_for_its_proof() -> None:
    assert waits(credential(replace(NOW_CURRENT, restored_at=NOW)), NOW)
    assert not waits(USUAL, NOW)
    assert not waits(credential(replace(NOW_CURRENT, restored_at=NOW, dead_at=NOW)), NOW)
    assert not waits(credential(NEXT), NOW)


MARKER = version(2000, Stage.REVOKED, None, stored=False, revoked_at=NOW)


@pytest.mark.parametrize("plan", PLANS)
def test_once_a_restored_secret_is_proven_what_came_after_its_backup_is_dropped(
    plan: Plan,
) -> None:
    """Its numbers go on far above: what lies between is of the life that it does not know."""
    again = credential(BEFORE, NOW_CURRENT, MARKER)
    there = shown(7, 8, 9, 10, pointed=8)
    assert list(plan(again, goal(again, NOW), there)) == [Drop(9), Drop(10)]
    unsure = replace(again, doubt_at=NOW)
    assert list(plan(unsure, goal(unsure, NOW), there)) == []
    unproven = credential(BEFORE, replace(NOW_CURRENT, restored_at=NOW), MARKER)
    assert Drop(9) not in list(plan(unproven, goal(unproven, NOW), there))


@pytest.mark.parametrize("plan", PLANS)
def test_of_an_earlier_life_what_readers_have_goes_only_for_something_better(plan: Plan) -> None:
    there = shown(7, 8, 9, 10, pointed=10)
    again = credential(BEFORE, NOW_CURRENT, MARKER)
    assert list(plan(again, goal(again, NOW), there)) == [Point(8), Drop(9), Drop(10)]
    unsure = replace(again, doubt_at=NOW)
    assert list(plan(unsure, goal(unsure, NOW), there)) == []
    dead = credential(BEFORE, replace(NOW_CURRENT, dead_at=NOW), MARKER)
    moves = list(plan(dead, goal(dead, NOW), there))
    assert not {Point(None), Drop(10)} & set(moves)


@pytest.mark.parametrize("plan", PLANS)
def test_of_another_life_only_what_came_before_the_restore_is_left_over(plan: Plan) -> None:
    """Numbers above are of a restore that this record knows nothing of."""
    newest = version(2005, Stage.CURRENT, "two")
    again = credential(replace(BEFORE, expires_at=NOW), MARKER, newest)
    there = Shown(frozenset({1500, 3500}), frozenset())
    assert list(plan(again, goal(again, NOW), there))[-1] == Drop(1500)
    assert Drop(3500) not in list(plan(again, goal(again, NOW), there))


@pytest.mark.parametrize("plan", PLANS)
def test_another_secret_under_our_number_is_replaced_before_anything_is_looked_at(
    plan: Plan,
) -> None:
    unsure = replace(USUAL, doubt_at=NOW)
    there = shown(7, 8, pointed=7, altered=True)
    assert list(plan(unsure, goal(unsure, NOW), there)) == [Point(8)]


@pytest.mark.parametrize("plan", PLANS)
def test_what_the_record_forgot_out_of_its_middle_is_left_over(plan: Plan) -> None:
    """Something older may have to stay: the last one in a slot of a former key, or a leak."""
    kept = replace(GONE, number=2001)
    record = credential(kept, version(2005, Stage.CURRENT, "two"))
    there = Shown(frozenset({2002, 2004, 2005}), frozenset({2005}), True, 2004)
    assert not unknown(record, there)
    assert list(plan(record, goal(record, NOW), there)) == [Point(2005), Drop(2002), Drop(2004)]
    dead = credential(kept, version(2005, Stage.CURRENT, "two", dead_at=NOW))
    assert Point(None) in list(plan(dead, goal(dead, NOW), there))
    assert unknown(record, replace(there, pointed=2006))
    earlier = credential(replace(GONE, number=5), version(2005, Stage.CURRENT, "two"))
    assert unknown(earlier, replace(there, pointed=1999))
    assert not unknown(record, replace(there, pointed=1999))  # older than all it knows


@pytest.mark.parametrize("plan", PLANS)
def test_with_a_dead_secret_nothing_of_another_life_is_left_over(plan: Plan) -> None:
    dead = credential(BEFORE, replace(NOW_CURRENT, dead_at=NOW), MARKER)
    there = Shown(frozenset({7, 9, 10}), frozenset({7}))
    assert list(plan(dead, goal(dead, NOW), there)) == []


@pytest.mark.parametrize("plan", PLANS)
def test_where_nobody_can_look_a_person_s_word_is_enough_to_tidy(plan: Plan) -> None:
    """The doubt of a restore ends with a look, and here there is none."""
    vouched = credential(BEFORE, NOW_CURRENT, MARKER, spec=BY_HAND, doubt_at=NOW)
    there = shown(7, 8, 9, pointed=8)
    assert list(plan(vouched, goal(vouched, NOW), there)) == [Drop(9)]


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
        moves = list(moves_of_mirror(record, aim, there, proven=True))
        came = carried_out(there, moves)
        if aim.current is None and unknown(record, there):
            assert came.pointed == there.pointed, "taken away for nothing"
            continue
        assert follows(aim, came, own=False), (there, moves)
        assert reached(aim, came) == aim.current
        known = {v.number for v in record.versions}
        assert came.numbers & known == set(aim.numbers)
        assert list(moves_of_mirror(record, aim, came, proven=True)) == []
        pointed_at = {move.number for move in moves if isinstance(move, Point)}
        assert pointed_at <= {None, aim.current}
