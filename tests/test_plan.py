"""What is foretold is what happens: the plan beside the simulator's world, where all goes well."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import pytest

from keyman.core.health import coming
from keyman.core.model import Credential, Observed, OrderKind, Stage, State
from keyman.core.orders import record
from keyman.core.outlook import Outlook, look_ahead
from keyman.core.plan import Planned, as_last_met, foresee, walk
from keyman.core.policy import Policy, RetireBy, Verification, Window
from keyman.core.steps import Wait
from tests.credentials import (
    BY_HAND,
    DAY,
    HOURLY,
    KEYLESS,
    NOW,
    POLICY,
    SPEC,
    at,
    credential,
    empty,
    looks,
    order,
    seen,
    version,
)
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


PROVEN = ("verify", "verify")
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


# One credential at a time.

CURRENT = version(1, Stage.CURRENT)
WHOLE = credential(CURRENT)
ON = seen(looks(CURRENT), empty())
YEAR = at(365 * DAY)


def steps(c: Credential, o: Observed | None, until: datetime = YEAR) -> list[str]:
    return [one.step for one in foresee(c, o, NOW, until)]


def troubles(outlook: Outlook) -> list[str]:
    return [one.what for one in outlook.troubles]


def test_looking_every_quarter_of_an_hour_changes_no_plan() -> None:
    """Routine looks are left out: what a plan of every look finds is the same."""
    often = replace(WHOLE, spec=replace(SPEC, policy=replace(POLICY, observe_every=at(15) - NOW)))
    seldom = replace(WHOLE, spec=replace(SPEC, policy=replace(POLICY, observe_every=at(DAY) - NOW)))
    assert foresee(often, ON, NOW, YEAR) == foresee(seldom, ON, NOW, YEAR)
    waits = [moment for moment in walk(often, ON, NOW, YEAR) if isinstance(moment.step, Wait)]
    assert len(waits) < 100


def test_a_plan_ends_with_its_horizon() -> None:
    every = foresee(WHOLE, ON, NOW, YEAR)
    half = foresee(WHOLE, ON, NOW, at(180 * DAY))
    assert half == [one for one in every if one.at <= at(180 * DAY)]
    assert len(half) < len(every)


def test_what_comes_next_is_the_first_of_the_plan() -> None:
    first, *_ = foresee(WHOLE, ON, NOW, YEAR)
    (following, *_) = coming(WHOLE, ON, NOW)
    assert (following.step, following.slot) == (first.step, first.slot)
    assert abs(following.at - first.at) < timedelta(seconds=1)


def test_an_open_order_is_carried_out_first() -> None:
    ordered, _ = record(WHOLE, ON, order(OrderKind.ROTATE, recorded_at=NOW, reason="left a laptop"))
    plan = foresee(ordered, ON, NOW, at(3 * DAY))
    assert [one.step for one in plan] == ["request", "issue", *PROVEN, "promote", "retire"]
    assert plan[0].reason == "ordered: left a laptop"
    assert plan[-1].at - plan[-2].at == POLICY.overlap
    assert plan[-1].reason == "the overlap is over"


def test_what_rests_after_a_failure_is_tried_again_when_its_rest_is_over() -> None:
    failing = credential(
        replace(CURRENT, expires_at=at(10 * DAY)), failures=2, failed_step="issue", retry_at=at(30)
    )
    soon = seen(looks(failing.versions[0]), empty())
    first = foresee(failing, soon, NOW, at(DAY))[0]
    assert (first.step, first.at) == ("request", at(30))


def test_a_key_that_was_never_adopted_is_left_alone() -> None:
    outlook = look_ahead(Credential(replace(SPEC, key_id="key")), None, NOW, YEAR)
    assert outlook.steps == ()
    assert troubles(outlook) == ["no usable secret from then on"]
    assert "keyman adopt genai" in outlook.troubles[0].hint


def test_the_first_start_is_no_trouble() -> None:
    outlook = look_ahead(Credential(SPEC), None, NOW, at(2 * DAY))
    told = [one.step for one in outlook.steps]
    assert told == ["request", "create", *PROVEN, "promote", "retire"]
    assert (outlook.steps[-1].slot, outlook.steps[-1].reason) == ("two", "nobody kept its secret")
    assert outlook.troubles == ()


def test_a_secret_that_comes_by_hand_ends() -> None:
    """A person must replace it, and the plan says when."""
    ends = at(100 * DAY)
    static = credential(version(1, Stage.CURRENT, None, expires_at=ends), spec=BY_HAND)
    outlook = look_ahead(static, None, NOW, YEAR)
    (trouble,) = outlook.troubles
    assert (outlook.steps, trouble.at, trouble.until, trouble.gap) == ((), ends, None, True)
    assert "keyman put genai" in trouble.hint
    assert look_ahead(static, None, NOW, at(99 * DAY)).troubles == ()


@pytest.mark.parametrize("probes", [False, True])
def test_no_plan_counts_on_what_a_person_replaced(*, probes: bool) -> None:
    """It would be tried in need. It may have been switched off where it was made."""
    spec = replace(BY_HAND, probes=probes, policy=replace(POLICY, retire=RetireBy.KEEP))
    ends = at(4 * DAY)
    older = version(1, Stage.PREVIOUS, None, handle="wish-1")
    newer = version(2, Stage.CURRENT, None, handle="wish-2", expires_at=ends)
    outlook = look_ahead(credential(older, newer, spec=spec), None, NOW, at(30 * DAY))
    (trouble,) = outlook.troubles
    assert (outlook.steps, trouble.at, trouble.until, trouble.gap) == ((), ends, None, True)


def test_what_is_dead_already_is_planned_in_a_few_steps() -> None:
    probed = replace(BY_HAND, probes=True)
    dead = version(1, Stage.CURRENT, None, dead_at=NOW, examined_at=NOW)
    assert len(list(walk(credential(dead, spec=probed), None, NOW, YEAR))) < 5


def test_a_key_that_is_gone_has_no_part_in_what_is_foretold() -> None:
    """The last picture still shows it: since then it could not be looked at, and it is refused."""
    old = version(1, Stage.PREVIOUS, replaced_at=at(-60))
    dead = version(2, Stage.CURRENT, "two", dead_at=at(-5), examined_at=at(-5))
    shown = seen(looks(old), looks(dead), minutes=-20)
    lost = credential(old, dead, failures=3, failed_step="observe", retry_at=at(1))
    assert [one.step for one in foresee(lost, shown, NOW, at(DAY))] == ["accept"]
    met = as_last_met(lost, shown)
    wished, _ = record(lost, met, order(OrderKind.NEW_KEY, recorded_at=NOW))
    assert [one.step for one in foresee(wished, met, NOW, at(60))][:2] == ["request", "create"]
    alive = replace(lost, versions=(old, replace(dead, dead_at=None)))
    assert as_last_met(alive, shown) is shown  # an outage says nothing of the key


def test_nothing_to_come_is_not_waited_for_hour_by_hour() -> None:
    endless = credential(version(1, Stage.CURRENT, None, expires_at=None), spec=BY_HAND)
    for static in (endless, Credential(BY_HAND)):
        assert len(list(walk(static, None, NOW, at(3650 * DAY)))) == 1


def test_the_standby_that_expires_before_its_turn_is_told_once_a_slot() -> None:
    policy = replace(POLICY, rotate_before=timedelta(days=20))
    c = replace(WHOLE, spec=replace(SPEC, policy=policy))
    said = troubles(look_ahead(c, ON, NOW, at(700 * DAY)))
    assert sorted(said) == [
        f"{slot} is EXPIRED when it is to be filled: the provider may refuse"
        for slot in ("one", "two")
    ]
    assert troubles(look_ahead(WHOLE, ON, NOW, at(700 * DAY))) == []


def test_an_overlap_that_its_secret_does_not_live_to_see() -> None:
    policy = replace(POLICY, rotate_before=timedelta(days=2), overlap=timedelta(days=5))
    c = replace(WHOLE, spec=replace(SPEC, policy=policy))
    said = troubles(look_ahead(c, ON, NOW, at(100 * DAY)))
    assert [one for one in said if one.startswith("version 1 ends in its overlap, after ")]


def test_no_slot_that_can_be_filled_means_a_gap() -> None:
    """Only once the current secret is over can its own slot be filled."""
    refused = version(2, Stage.REVOKED, "two", given_up="no", slot_refused=True, promoted_at=None)
    stuck = credential(CURRENT, replace(refused, issued_at=None))
    gone = seen(looks(CURRENT), empty(state=State.REVOKED))
    outlook = look_ahead(stuck, gone, NOW, YEAR)
    assert troubles(outlook)[0] == "now: no slot of the API key can be filled again"
    gap = next(one for one in outlook.troubles if one.gap)
    assert gap.at == CURRENT.expires_at
    assert gap.until
    assert timedelta(0) < gap.until - gap.at < timedelta(minutes=1)


def test_a_dead_current_secret_is_not_foretold_to_live_again() -> None:
    dead = credential(replace(CURRENT, dead_at=at(-5), examined_at=at(-5)))
    outlook = look_ahead(dead, ON, NOW, at(DAY))
    assert [one.step for one in outlook.steps][:2] == ["request", "issue"]
    (gap,) = outlook.troubles
    assert gap.gap
    assert (gap.at, gap.what) == (NOW, "no usable secret")
    assert gap.until
    assert gap.until - NOW < timedelta(minutes=1)


def test_every_version_has_its_life() -> None:
    """Handed out one after the other, each switched off an overlap after it was replaced."""
    outlook = look_ahead(WHOLE, ON, NOW, YEAR)
    for old, new in pairwise(outlook.lives):
        assert old.replaced_at == new.promoted_at
        assert old.replaced_at
        assert outlook.ends(old) == old.replaced_at + POLICY.overlap
        assert old.slot != new.slot


def test_what_leaked_is_destroyed_for_that_reason() -> None:
    leaked, _ = record(WHOLE, ON, order(OrderKind.REVOKE, recorded_at=NOW, targets=(1,)))
    plan = foresee(leaked, ON, NOW, at(60))
    assert [one.step for one in plan] == ["request", "issue", *PROVEN, "promote", "revoke"]
    assert (plan[0].reason, plan[-1].reason) == ("the current secret leaked", "it leaked")


def test_keys_of_their_own_are_planned_too() -> None:
    own = version(1, Stage.CURRENT, None, handle="first")
    c = credential(own, spec=KEYLESS, home=None)
    shown = replace(seen(looks(own)), keys=(replace(seen(looks(own)).keys[0], handle="first"),))
    assert steps(c, shown)[:6] == ["request", "issue", "verify", "verify", "promote", "retire"]


def test_tokens_for_a_year_are_told_once() -> None:
    outlook = look_ahead(Credential(HOURLY_TOKENS), None, NOW, YEAR)
    assert len(outlook.steps) == 3
    assert outlook.repeats
    assert outlook.repeats.times == (YEAR - outlook.repeats.first) // outlook.repeats.every + 1
    assert outlook.repeats.last + outlook.repeats.every > YEAR
    assert outlook.troubles == ()


TOKEN_POLICY = Policy(
    lifetime=timedelta(hours=1),
    rotate_before=timedelta(minutes=15),
    overlap=timedelta(0),
    retire=RetireBy.KEEP,
    verify=Verification(successes=0),
)
HOURLY_TOKENS = replace(HOURLY, policy=TOKEN_POLICY)


def test_a_token_lives_as_long_as_its_issuer_said_last() -> None:
    half = version(1, Stage.CURRENT, None, handle="t", issued_at=at(-5), expires_at=at(25))
    c = credential(half, spec=HOURLY_TOKENS, home=None)
    repeats = look_ahead(c, None, NOW, at(DAY)).repeats
    assert repeats
    assert timedelta(minutes=14) < repeats.every < timedelta(minutes=18)


def test_a_few_hours_of_tokens_are_told_one_by_one() -> None:
    outlook = look_ahead(Credential(HOURLY_TOKENS), None, NOW, at(60))
    assert [one.step for one in outlook.steps].count("promote") == 2
    assert outlook.repeats is None
