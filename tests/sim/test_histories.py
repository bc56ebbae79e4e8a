"""A slice of the simulator's big run (`make sim`), and the proof that it would notice.

Replays: python -m tests.sim --replay "SETUP PLAN"
"""

from __future__ import annotations

import random
from itertools import islice, pairwise

import pytest

from tests.sim import runs
from tests.sim.bugs import BUGS
from tests.sim.every import Choice, Menu, Plan, every, extensions, heard, told
from tests.sim.planting import Bug, hunt, planted, real
from tests.sim.runs import Ran
from tests.sim.setups import SETUPS

REAL = real()
KEPT = {"memory": 20, "sealed-file": 10, "vault": 3, "oci-vault": 1, "aws-secrets-manager": 1}
SLICE = 97  # of all histories with one thing going wrong, one of so many is run here


def assert_holds(ran: Ran) -> None:
    replay = f'python -m tests.sim --replay "{ran.setup} {ran.plan}"'
    assert ran.broken is None, "\n".join([ran.broken or "", *ran.trace[-60:], replay])


# The enumerator itself.


def test_every_sequence_of_choices_is_run_exactly_once() -> None:
    def run(plan: Plan) -> list[Menu]:
        """Three moments; a choice of `b` at the first opens a fourth."""
        opened: list[Menu] = [("z",)] if plan and plan[0] == Choice(0, "b") else []
        return [("a", "b"), ("c",), (), *opened]

    plans = [told(plan) for plan in every(run, 2)]
    assert sorted(plans) == ["", "0:a", "0:a 1:c", "0:b", "0:b 1:c", "0:b 3:z", "1:c"]


def test_a_plan_is_read_back_as_it_was_told() -> None:
    plan = (Choice(3, "done-cut"), Choice(12, "renew-other!"))
    assert heard(told(plan)) == plan


def test_one_plan_gives_one_history() -> None:
    once, twice = (runs.run(REAL, "plain", heard("21:late-100s")) for _ in range(2))
    assert once.trace == twice.trace
    assert once.trace[-1]


# The real program.


@pytest.mark.parametrize("name", SETUPS)
def test_nothing_goes_wrong_when_one_thing_goes_wrong(name: str) -> None:
    plans = list(extensions((), runs.run(REAL, name, ()).menus))
    offset = list(SETUPS).index(name) % SLICE
    for plan in ((), *plans[offset::SLICE]):
        assert_holds(runs.run(REAL, name, plan, leaf=True))


@pytest.mark.slow
def test_nor_when_two_calls_disks_or_powers_fail() -> None:
    dice = random.Random(2)
    for name in runs.TIGHT:
        firsts = runs.first_plans(REAL, f"tight-{name}")
        for plan in dice.sample(firsts, 8):
            for ran in runs.some_with_one_more(REAL, f"tight-{name}", plan, 12, dice):
                assert_holds(ran)


@pytest.mark.slow
@pytest.mark.parametrize("kind", runs.STORES)
def test_nor_in_a_store_that_keyman_has(kind: str) -> None:
    """`python -m tests.sim --store KIND` runs all of these histories."""
    for name in (f"{kind}/{name}" for name in runs.kept_in(kind)):
        plans = [(), *runs.first_plans(REAL, name)]
        for plan in random.Random(name).sample(plans, KEPT[kind]):
            assert_holds(runs.run(REAL, name, plan, leaf=True))


@pytest.mark.parametrize("history", runs.ONCE_BROKEN)
def test_histories_that_once_broke_something(history: str) -> None:
    name, _, plan = history.partition(" ")
    assert_holds(runs.run(REAL, name, runs.placed(REAL, name, plan), leaf=True))


@pytest.mark.parametrize("name", ["plain", "unmatched", "lagging"])
@pytest.mark.parametrize("step", ["issue", "retire"])
def test_who_never_answers_is_asked_ever_more_seldom(name: str, step: str) -> None:
    """Also where each try is preceded by a new mark and a look, which are answered."""
    plan = " ".join(f"{step}#{nth}:lost" for nth in range(1, 6))
    ran = runs.run(REAL, name, runs.placed(REAL, name, plan), leaf=True)
    assert_holds(ran)
    asked = [line.split()[0] for line in ran.trace if f" {step} ***" in line]
    hours = [[float(part) for part in at.split(":")] for at in asked]
    seconds = [h * 3600 + m * 60 + s for h, m, s in hours]
    rests = [later - earlier for earlier, later in pairwise(seconds)]
    assert len(rests) == 4
    assert all(later > earlier for earlier, later in pairwise(rests)), rests


@pytest.mark.parametrize("name", ["plain", "unmatched"])
def test_two_long_years(name: str) -> None:
    assert_holds(runs.live_long(REAL, name, seed=1, years=2, rate=0.02))


# The same program with a bug in it.


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    number, ran = hunt(bug)
    assert ran is not None, f"{number:,} histories, and none shows that {bug.name}"


def test_every_invariant_has_a_bug_that_breaks_it() -> None:
    broken = {part for bug in BUGS for part in bug.breaks.split("/")}
    assert broken >= {"I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I10", "L", "P", "S"}


def test_a_bug_whose_passage_is_gone_is_an_error() -> None:
    gone = Bug("gone", "L", (("keyman.rotator", "no such line", ""),))
    with pytest.raises(AssertionError, match="0 times"):
        planted(gone)


def test_planting_leaves_the_real_program_alone() -> None:
    before = [ran.trace for ran in islice(runs.singles(REAL, "plain"), 3)]
    other = planted(BUGS[0])
    assert other.rotator is not REAL.rotator
    assert [ran.trace for ran in islice(runs.singles(real(), "plain"), 3)] == before
