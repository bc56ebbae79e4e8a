"""A rotation under load, in short; `python -m tests.under_load` is the long run."""

from __future__ import annotations

import pytest

from tests.under_load import judge
from tests.under_load.__main__ import run
from tests.under_load.seen import Stretch

ORDER = ("old", "new", "newest")


def stretch(secret: str, first: float, last: float, *, refused: int = 0) -> Stretch:
    return Stretch(secret, first, last, lookups=1, refused=refused)


@pytest.mark.slow
def test_a_rotation_under_load_hands_out_nothing_dead_and_nothing_older() -> None:
    came = run({"lookups": 50_000, "kills": 2, "promotions": 2}, seed=3)
    assert not came.broken, "\n".join([*came.broken, came.told()])


@pytest.mark.slow
def test_a_run_that_did_not_get_so_far_has_failed() -> None:
    came = run({"lookups": 10**9, "kills": 1, "promotions": 1}, seed=4, longest=0.0)
    ends = [line for line in came.broken if line.startswith("the run: ")]
    assert [line.split()[3] for line in ends] == ["lookups,", "kills,", "promotions,"]


# The judge itself.


def test_what_is_missing_is_named_and_what_is_there_is_not() -> None:
    (said,) = judge.missing({"lookups": 5, "kills": 2}, {"lookups": 5, "kills": 3})
    assert said == "the run: 2 kills, and 3 were wanted"


def test_each_in_its_turn_is_fine() -> None:
    a, b = [stretch("old", 1, 5), stretch("new", 5.1, 9)], [stretch("new", 5.2, 9)]
    assert not list(judge.broken({"a": a, "b": b}, ORDER, {"old": 7.0}))


def test_an_older_one_after_somebody_got_a_newer_is_found() -> None:
    a, b = [stretch("old", 1, 5.01)], [stretch("newest", 5.0, 9)]
    (said,) = judge.broken({"a": a, "b": b}, ORDER, {})
    assert said.startswith("a: old was handed out 0.01")


def test_who_looks_beside_the_agent_may_be_ahead() -> None:
    a, b = [stretch("old", 1, 5.01)], [stretch("newest", 5.0, 9)]
    assert not list(judge.broken({"a": a, "b": b}, ORDER, {}, frozenset({"b"})))


def test_a_dead_one_is_found_whoever_was_given_it() -> None:
    found = {"a": [stretch("old", 1, 5.5)]}
    (said,) = judge.broken(found, ORDER, {"old": 5.0}, frozenset({"a"}))
    assert "0.500000 s after its death" in said


def test_a_refused_call_and_a_secret_that_was_never_current_are_found() -> None:
    said = list(judge.broken({"a": [stretch("else", 1, 2, refused=3)]}, ORDER, {}))
    assert len(said) == 2
