"""What will happen to one credential, step by step, from the record and the last picture of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice, pairwise

import pytest

from keyman.core.health import coming
from keyman.core.model import (
    NOT_SHOWN,
    Credential,
    KeySeen,
    Observed,
    OrderKind,
    Place,
    SlotSeen,
    Stage,
    State,
)
from keyman.core.orders import record
from keyman.core.outlook import Outlook, look_ahead
from keyman.core.plan import BREATH, NEW_KEY, Moment, Planned, as_last_met, foresee, walk
from keyman.core.policy import Policy, RetireBy, Verification
from keyman.core.steps import Create, Observe, Retire, Wait, name_of
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
    pending,
    seen,
    version,
    wish,
)

PROVEN = ("verify", "verify")
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


# Step by step.

UNPROVEN = Verification(successes=0)  # so that a rotation takes no time
AT_ONCE = replace(SPEC, policy=replace(POLICY, verify=UNPROVEN))
OLD = version(1, Stage.PREVIOUS, replaced_at=at(60 - DAY))
NEWER = version(2, Stage.CURRENT, "two", promoted_at=at(60 - DAY), expires_at=None)
OFF = version(1, Stage.RETIRED, retired_at=at(-60))
REFUSED = version(2, Stage.CURRENT, "two", dead_at=at(-1), examined_at=NOW)


def at_once(c: Credential) -> Credential:
    return replace(c, spec=AT_ONCE)


def first(kind: type, c: Credential, o: Observed | None) -> Moment:
    return next(moment for moment in walk(c, o, NOW, at(DAY)) if isinstance(moment.step, kind))


def times(c: Credential, o: Observed | None = None, until: datetime = YEAR) -> list[datetime]:
    """Of the first decisions."""
    return [moment.at for moment in islice(walk(c, o, NOW, until), 5)]


def test_what_happens_at_the_very_end_is_part_of_the_plan() -> None:
    resting = Credential(AT_ONCE, failures=2, failed_step="create", retry_at=at(30))
    assert [one.step for one in foresee(resting, None, NOW, at(30))] == [
        "request",
        "create",
        "promote",
        "retire",
    ]
    assert {one.at for one in foresee(resting, None, NOW, at(60))} == {at(30)}


def test_time_moves_from_one_event_to_the_next() -> None:
    """Never by less than a breath; and what is over for long wakes nobody."""
    static = credential(version(1, Stage.CURRENT, None, expires_at=at(60)), spec=BY_HAND)
    assert times(static) == [NOW, at(60)]
    soon = NOW + BREATH / 2
    assert times(credential(version(1, Stage.CURRENT, None, expires_at=soon), spec=BY_HAND)) == [
        NOW,
        NOW + BREATH,
    ]
    before = version(1, Stage.RETIRED, None, handle="first", expires_at=at(-60))
    just_now = version(2, Stage.RETIRED, None, handle="second", expires_at=NOW)
    own = version(3, Stage.CURRENT, None)
    keys = credential(before, just_now, own, spec=KEYLESS, home=None)
    assert times(keys, seen(looks(own), owner=None), at(10 * DAY)) == [NOW]


def test_what_earlier_versions_can_do_is_no_wish_for_a_new_one() -> None:
    back = credential(OFF, REFUSED, spec=AT_ONCE)
    o = seen(looks(OFF, "INACTIVE"), looks(REFUSED))
    plan = foresee(back, o, NOW, at(60))
    assert plan == [
        Planned(NOW, "request", "one", None, "the provider refuses the current secret"),
        Planned(NOW, "carry", "one", 3, ""),
        Planned(NOW, "activate", "one", None, ""),
        Planned(NOW, "promote", "one", 3, ""),
    ]
    *_, last = walk(back, o, NOW, at(60))
    assert last.after.current
    assert last.after.current.fingerprint == ""
    assert last.seen.slot(last.after.current.place) == looks(OFF)


def test_a_wish_that_is_too_old_is_given_up() -> None:
    c = credential(CURRENT, wish(2, requested_at=at(-2 * DAY)))
    assert foresee(c, ON, NOW, at(60)) == [
        Planned(NOW, "abandon", "two", 2, "the wish grew too old")
    ]


def test_what_was_ordered_is_done_and_off_the_list() -> None:
    wished = order(OrderKind.DEACTIVATE, slot="one")
    c = credential(OFF, NEWER, orders=(wished,))
    o = seen(looks(OFF), looks(NEWER))
    assert foresee(c, o, NOW, at(60)) == [Planned(NOW, "retire", "one", 1, "ordered")]
    assert first(Retire, c, o).after.orders == ()


def test_what_a_client_met_is_taken_for_a_passing_refusal() -> None:
    """But for what is known to be dead."""
    reported = credential(replace(CURRENT, reported_at=at(-1)))
    moments = [*walk(reported, ON, NOW, at(DAY))]
    assert [name_of(one.step) for one in moments] == ["examine", "wait"]
    assert moments[-1].after.versions == (replace(CURRENT, examined_at=NOW),)


def test_no_call_of_an_earlier_owner_comes_late() -> None:
    """Our mark on the key keeps it out, and so nothing waits for it."""
    unsure = at_once(
        credential(CURRENT, pending(2), unanswered_at=at(-1), fenced=False, claimed=0, epoch=2)
    )
    o = seen(looks(CURRENT), looks(pending(2)), epoch=2)
    (promoted, *_) = foresee(unsure, o, NOW, at(60))
    assert (promoted.step, promoted.at, promoted.version) == ("promote", NOW, 2)


def test_clients_take_the_new_secret_in_time() -> None:
    policy = replace(POLICY, wait_for_clients=True, max_overlap=timedelta(days=9))
    c = replace(credential(OLD, NEWER), spec=replace(SPEC, policy=policy))
    held = replace(seen(looks(OLD), looks(NEWER)), taken=(1,))
    assert foresee(c, held, NOW, at(DAY)) == [
        Planned(at(60), "retire", "one", 1, "the overlap is over")
    ]


# The picture on the way.


@pytest.mark.parametrize("slots", [("one", "two"), ("one",)])
def test_a_new_key_comes_with_all_its_slots_on(slots: tuple[str, ...]) -> None:
    made = first(Create, Credential(replace(AT_ONCE, slots=slots)), None)
    filled = SlotSeen("one", State.ACTIVE, "version 1", at(90 * DAY))
    beside = SlotSeen("two", State.ACTIVE, "kept by nobody", POLICY.standby_expiry(NOW))
    shown = (beside, filled) if "two" in slots else (filled,)
    assert made.seen == Observed(NOW, (KeySeen(NEW_KEY, State.ACTIVE, shown),))
    (v,) = made.after.versions
    assert (v.place, v.mask, v.expires_at) == (Place(NEW_KEY, "one"), filled.mask, at(90 * DAY))
    assert (v.stage, v.fingerprint, v.issued_at) == (Stage.PENDING, "", NOW)
    assert (made.after.home, made.after.silence) == (NEW_KEY, "two" if "two" in slots else None)


def test_a_slot_that_is_switched_off_is_as_it_was_but_for_that() -> None:
    over = replace(OLD, replaced_at=at(-2 * DAY))
    before = looks(over, last_used_at=at(-3 * DAY))
    off = first(Retire, credential(over, NEWER), seen(before, looks(NEWER)))
    assert off.seen.keys == seen(looks(NEWER), replace(before, state=State.INACTIVE)).keys


def test_a_key_that_was_never_looked_at_is_as_the_journal_has_it() -> None:
    gone = version(1, Stage.REVOKED)
    off = version(2, Stage.RETIRED, "two")
    old = version(3, Stage.PREVIOUS, "one", handle="another")
    now = version(4, Stage.CURRENT)
    looked = first(Observe, credential(gone, off, old, now), None)
    assert looked.seen == Observed(
        NOW,
        (
            KeySeen("key", State.ACTIVE, (looks(off, "INACTIVE"), looks(now))),
            KeySeen("another", State.ACTIVE, (looks(old),)),
        ),
    )


def test_what_expires_is_shown_as_expired_unless_it_was_gone_before() -> None:
    standby = (
        SlotSeen("three", State.ACTIVE, None, at(60)),
        SlotSeen("four", State.REVOKED, None, at(30)),
        SlotSeen("five", State.INACTIVE, None, at(61)),
        SlotSeen("six", State.INACTIVE, None, at(30)),
    )
    three, four, five, six = standby
    c = replace(
        credential(OLD, NEWER),
        spec=replace(SPEC, slots=("one", "two", "three", "four", "five", "six")),
    )
    off = first(Retire, c, seen(looks(OLD), looks(NEWER), *standby))
    assert off.at == at(60)
    assert off.seen.keys[0].slots == (
        looks(NEWER),
        replace(three, state=State.EXPIRED),
        four,
        five,
        replace(six, state=State.EXPIRED),
        looks(OLD, State.INACTIVE),
    )


def test_only_a_key_that_is_refused_and_not_shown_is_taken_for_gone() -> None:
    lost = credential(replace(CURRENT, dead_at=at(-5)), failures=1, failed_step="observe")
    another = KeySeen("another", State.ACTIVE, ())
    o = replace(ON, keys=(another, *ON.keys))
    assert as_last_met(lost, o) == replace(o, keys=(another, KeySeen("key", NOT_SHOWN, ())))
    assert as_last_met(lost, None) is None
    for known in (
        replace(lost, failed_step="issue"),
        replace(lost, versions=()),
        replace(lost, versions=(CURRENT,)),
        replace(lost, home="unseen"),
    ):
        assert as_last_met(known, o) is o
