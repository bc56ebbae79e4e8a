"""What people may wish, when it has come true, and what a record says after each step."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from keyman import errors
from keyman.core import entrusting, orders, transitions
from keyman.core.health import health, trouble, usable
from keyman.core.model import (
    Credential,
    KeySeen,
    Observed,
    Order,
    OrderKind,
    OrderState,
    Place,
    Spec,
    Stage,
    Verdict,
    Version,
)
from keyman.core.plan import foresee
from keyman.core.pruning import pruned
from keyman.core.rotation import next_step
from keyman.core.steps import Claim, Request, Wait
from tests.credentials import (
    BY_HAND,
    CURRENT,
    DAY,
    HOURLY,
    KEYLESS,
    NOW,
    QUIET,
    SPEC,
    TOKENS,
    WISH,
    at,
    credential,
    empty,
    looks,
    order,
    pending,
    seen,
    version,
    what_next,
    wish,
)
from tests.ordering import BOTH_ON, FREE_AT, HELD, NEWER, OLD, ONE, recorded

# Recording.


def test_an_order_ends_a_rest_and_asks_for_a_fresh_look() -> None:
    c = credential(CURRENT, failures=4, retry_at=at(50), last_error="503")
    after, kept = recorded(c, OrderKind.ROTATE, QUIET)
    assert (after.failures, after.retry_at, after.last_error) == (1, None, "503")  # still so
    assert after.doubt_at == kept.recorded_at
    assert (kept.from_version, kept.from_slot) == (1, "one")


def test_a_second_rotate_joins_the_first() -> None:
    c, first = recorded(credential(CURRENT), OrderKind.ROTATE, QUIET)
    again, second = recorded(c, OrderKind.ROTATE, QUIET, id="another")
    assert (again, second) == (c, first)


def test_one_that_joins_ends_a_rest_and_disturbs_nothing_else() -> None:
    c, first = recorded(credential(CURRENT), OrderKind.ROTATE, QUIET)
    tired = replace(c, failures=4, failed_step="issue", retry_at=at(50), last_error="503")
    again, second = recorded(tired, OrderKind.ROTATE, QUIET, id="another", recorded_at=at(1))
    assert (again.failures, again.failed_step, again.retry_at) == (1, "issue", None)
    assert (again.last_error, again.doubt_at) == ("503", at(1))
    assert [o.id for o in again.orders] == [first.id] == [second.id]
    assert not isinstance(next_step(again, QUIET, at(1)), Wait)


def test_orders_that_contradict_the_open_one_are_refused() -> None:
    c, _ = recorded(credential(OLD, NEWER), OrderKind.ROTATE)
    with pytest.raises(errors.Conflict):
        recorded(c, OrderKind.NEW_KEY, id="another")
    begun, _ = recorded(credential(OLD, NEWER, wish(3)), OrderKind.ROTATE)
    with pytest.raises(errors.Conflict):
        recorded(begun, OrderKind.ROLLBACK, id="another")


def test_a_key_that_was_never_adopted_takes_no_orders() -> None:
    with pytest.raises(errors.NotAdopted):
        recorded(Credential(replace(SPEC, key_id="key")), OrderKind.ROTATE, None)


def test_nor_does_one_whose_first_version_is_still_to_come() -> None:
    with pytest.raises(errors.NoUsableSecret):
        recorded(Credential(SPEC), OrderKind.ROTATE, None)


# Revoke.


def test_revoke_marks_every_version_with_the_same_secret() -> None:
    carried = version(3, Stage.CURRENT, attempt="wish-1", carries=1)
    c = credential(OLD, replace(NEWER, stage=Stage.PREVIOUS, replaced_at=at(-1)), carried)
    after, _ = recorded(c, OrderKind.REVOKE, targets=(1,))
    assert [v.number for v in after.versions if v.compromised] == [1, 3]


def test_a_secret_that_does_not_exist_yet_cannot_have_leaked() -> None:
    c = credential(CURRENT, wish(2))
    after, kept = recorded(c, OrderKind.REVOKE, QUIET, targets=(1, 2))
    assert kept.targets == (1,)
    assert [v.number for v in after.versions if v.compromised] == [1]


def test_a_stored_secret_that_nobody_has_seen_counts_as_leaked_when_named() -> None:
    after, kept = recorded(credential(CURRENT, pending(2)), OrderKind.REVOKE, QUIET, targets=(2,))
    assert [v.number for v in after.versions if v.compromised] == list(kept.targets) == [2]


def test_now_sticks_and_the_leak_keeps_its_first_time() -> None:
    c, _ = recorded(credential(CURRENT), OrderKind.REVOKE, QUIET, targets=(1,), first=True)
    c, _ = recorded(c, OrderKind.REVOKE, QUIET, targets=(1,), id="b", recorded_at=at(3))
    v = c.versions[0]
    assert (v.revoke_first, v.compromised_at) == (True, at(-1))


def test_revoking_what_is_revoked_is_done_at_once() -> None:
    gone = version(1, Stage.REVOKED, revoked_at=at(-99))
    _, kept = recorded(credential(gone, NEWER), OrderKind.REVOKE, targets=(1,))
    assert kept.state is OrderState.DONE


def test_a_version_nobody_knows_is_not_found() -> None:
    with pytest.raises(errors.NotFound):
        recorded(credential(CURRENT), OrderKind.REVOKE, QUIET, targets=(9,))


def test_a_revoke_is_done_when_every_target_is_destroyed() -> None:
    c, kept = recorded(credential(OLD, NEWER), OrderKind.REVOKE, targets=(1, 2))
    half = transitions.revoked(c, c.versions[0], at(1))
    assert settled(half, kept).state is OrderState.RUNNING
    done = settled(transitions.revoked(half, half.versions[1], at(2)), kept)
    assert (done.state, done.finished_at) == (OrderState.DONE, at(2))


def settled(c: Credential, kept: Order) -> Order:
    after = orders.settled(c, BOTH_ON, NOW)
    return next(o for o in after.orders if o.id == kept.id)


# Rollback, activate, deactivate.


def test_rollback_wishes_a_new_number_for_the_earlier_secret() -> None:
    c, kept = recorded(credential(OLD, NEWER), OrderKind.ROLLBACK)
    assert c.versions[-1].carries == 1
    assert c.versions[-1].attempt == OLD.attempt
    assert c.versions[-1].number == 3
    assert kept.targets == (1,)


@pytest.mark.parametrize(
    "old",
    [
        replace(OLD, compromised_at=at(-5)),
        replace(OLD, stored=False),
        replace(OLD, expires_at=at(1)),
        replace(OLD, mask="another"),
    ],
    ids=["leaked", "not stored", "about to expire", "not what its slot shows"],
)
def test_nothing_to_roll_back_to(old: object) -> None:
    with pytest.raises(errors.NoUsableSecret):
        recorded(credential(old, NEWER), OrderKind.ROLLBACK)  # type: ignore[arg-type]


def test_no_rollback_in_the_middle_of_a_rotation() -> None:
    with pytest.raises(errors.Conflict):
        recorded(credential(OLD, NEWER, pending(3, "one")), OrderKind.ROLLBACK)


def test_a_rollback_that_came_to_nothing_says_so() -> None:
    c, kept = recorded(credential(OLD, NEWER), OrderKind.ROLLBACK)
    c = c.with_version(3, given_up="not accepted", stage=Stage.REVOKED)
    assert settled(c, kept).error == "not accepted"


@pytest.mark.parametrize("slot", ["one", "two"])
def test_what_lookups_or_an_overlap_depend_on_is_not_switched_off(slot: str) -> None:
    with pytest.raises(errors.Conflict):
        recorded(credential(OLD, NEWER), OrderKind.DEACTIVATE, slot=slot)


def test_a_slot_being_filled_is_not_switched() -> None:
    with pytest.raises(errors.Conflict):
        recorded(credential(CURRENT, wish(2)), OrderKind.ACTIVATE, QUIET, slot="two")


def test_a_slot_that_does_not_exist_is_a_wrong_usage() -> None:
    with pytest.raises(errors.UsageError):
        recorded(credential(CURRENT), OrderKind.ACTIVATE, QUIET, slot="three")


def test_a_switch_is_done_when_it_was_seen_after_the_order() -> None:
    c, kept = recorded(credential(CURRENT), OrderKind.ACTIVATE, QUIET, slot="two")
    assert kept.state is OrderState.RUNNING
    on = seen(looks(CURRENT), empty(state="ACTIVE"))
    after = orders.settled(transitions.observed_now(c, on), on, NOW)
    assert after.orders[0].state is OrderState.DONE


@pytest.mark.parametrize("state", ["REVOKED", "EXPIRED", "DELETED"])
def test_what_is_destroyed_counts_as_off_and_cannot_be_switched_on(state: str) -> None:
    gone = seen(looks(CURRENT), empty(state=state))
    for kind, end in (
        (OrderKind.DEACTIVATE, OrderState.DONE),
        (OrderKind.ACTIVATE, OrderState.FAILED),
    ):
        c, _ = recorded(credential(CURRENT), kind, QUIET, slot="two")
        after = orders.settled(transitions.observed_now(c, gone), gone, NOW)
        assert after.orders[0].state is end


def test_the_provider_s_yes_ends_a_switch_whatever_an_old_picture_shows() -> None:
    place = Place("key", "two")
    on, _ = recorded(credential(CURRENT), OrderKind.ACTIVATE, QUIET, slot="two")
    on = orders.settled(transitions.activated(on, place, NOW), QUIET, NOW)
    off, _ = recorded(credential(CURRENT), OrderKind.DEACTIVATE, QUIET, slot="two")
    off = orders.settled(transitions.retired(off, place, None, NOW), QUIET, NOW)
    assert [c.orders[0].state for c in (on, off)] == [OrderState.DONE, OrderState.DONE]
    other, _ = recorded(credential(CURRENT), OrderKind.ACTIVATE, QUIET, slot="two")
    other = orders.settled(transitions.activated(other, Place("key", "one"), NOW), QUIET, NOW)
    assert other.orders[0].state is OrderState.RUNNING, "another slot was switched"


# A rotation's order.


def test_a_rotation_is_done_at_the_promotion_and_says_until_when_both_work() -> None:
    c, kept = recorded(credential(CURRENT, pending(2)), OrderKind.ROTATE, QUIET)
    done = settled(transitions.promoted(c, c.versions[1], NOW), kept)
    assert (done.state, done.to_version, done.to_slot) == (OrderState.DONE, 2, "two")
    assert done.until == at(DAY)


def test_an_order_s_own_overlap_holds_for_the_promotion_it_brings() -> None:
    five = timedelta(minutes=5)
    c, _ = recorded(credential(CURRENT, pending(2)), OrderKind.ROTATE, QUIET, overlap=five)
    assert transitions.promoted(c, c.versions[1], NOW).versions[0].overlap == five


def test_a_definite_no_fails_the_waiting_orders_but_never_a_revocation() -> None:
    c, _ = recorded(credential(CURRENT), OrderKind.ROTATE, QUIET)
    c, _ = recorded(c, OrderKind.REVOKE, QUIET, targets=(1,), id="leak")
    states = [o.state for o in orders.refused(c, "400", NOW).orders]
    assert states == [OrderState.FAILED, OrderState.RUNNING]


# Transitions.


def test_a_wish_evicts_the_slot_s_tenants_before_the_call_is_sent() -> None:
    c = credential(version(1, Stage.RETIRED, "two"), replace(CURRENT, number=2))
    step = Request("two", "key", at(DAY), None, "due")
    after = transitions.requested(c, step, QUIET, "a new attempt", NOW)
    assert after.versions[0].stage is Stage.REVOKED
    assert after.versions[0].revoked_at is None, "not known to be destroyed before the answer"
    assert after.versions[2].number == 3


def test_the_answer_makes_their_end_known() -> None:
    c = credential(version(1, Stage.REVOKED, "two"), replace(CURRENT, number=2), wish(3))
    after = transitions.issued(
        c, c.versions[2], handle="key", mask="m", expires_at=None, fingerprint="f", now=NOW
    )
    assert after.versions[0].revoked_at == NOW
    assert after.versions[2].stage is Stage.PENDING
    assert after.versions[2].expires_at == c.versions[2].expires_at, "as wished, if nobody says"


def test_a_leaked_version_gets_no_overlap() -> None:
    c = credential(replace(CURRENT, compromised_at=at(-1)), pending(2))
    assert transitions.promoted(c, c.versions[1], NOW).versions[0].overlap == timedelta(0)


def test_a_dead_version_is_not_kept_as_previous() -> None:
    c = credential(replace(CURRENT, dead_at=at(-1)), pending(2))
    assert transitions.promoted(c, c.versions[1], NOW).versions[0].stage is Stage.REVOKED


def test_going_back_to_an_older_key_forgets_the_newer_one_s_second_slot() -> None:
    newer = version(2, Stage.CURRENT, "one", handle="new")
    back = pending(3, "one", carries=1, attempt="wish-1")
    c = credential(OLD, newer, back, home="new", silence="two")
    after = transitions.promoted(c, back, NOW)
    assert (after.home, after.silence) == ("key", None)


def test_the_key_that_takes_another_s_place_is_marked_before_it_is_changed() -> None:
    """Our mark was set on the one that is left."""
    fresh = pending(2, "one", handle="new")
    c = credential(CURRENT, fresh, silence="two")
    after = transitions.promoted(c, fresh, NOW)
    slots = (looks(fresh), empty("two", "ACTIVE"))
    o = Observed(NOW, (*QUIET.keys, KeySeen("new", "ACTIVE", slots)))
    assert (after.home, after.claimed) == ("new", 0)
    assert next_step(after, o, NOW) == Claim("new", after.epoch)
    same = transitions.promoted(credential(CURRENT, pending(2)), pending(2), NOW)
    assert same.claimed == same.epoch


def test_a_refusal_counts_only_while_the_current_one_is_accepted() -> None:
    c = credential(CURRENT, pending(2))
    v = c.versions[1]
    against = transitions.probed(c, v, Verdict.REFUSED, Verdict.ACCEPTED, NOW)
    assert (against.versions[1].refusals, against.failures) == (1, 0)
    undecided = transitions.probed(c, v, Verdict.REFUSED, Verdict.REFUSED, NOW)
    assert (undecided.versions[1].refusals, undecided.failures) == (0, 1)
    assert undecided.versions[0].reported_at == NOW


def test_a_refusal_begins_the_successes_anew() -> None:
    c = credential(CURRENT, replace(pending(2), successes=1, probe_from=NOW, probed_at=NOW))
    after = transitions.probed(c, c.versions[1], Verdict.REFUSED, Verdict.ACCEPTED, at(0.1))
    assert after.versions[1].successes == 0


def test_a_long_pause_begins_the_verification_anew() -> None:
    stale = replace(pending(2), successes=1, refusals=3, probe_from=at(-60), probed_at=at(-60))
    after = transitions.probed(
        credential(CURRENT, stale), stale, Verdict.ACCEPTED, None, NOW
    ).versions[1]
    assert (after.probe_from, after.successes, after.refusals) == (NOW, 1, 0)


@pytest.mark.parametrize(
    ("verdict", "shown", "dead"),
    [
        (Verdict.REFUSED, "ACTIVE", True),
        (Verdict.SILENT, "REVOKED", True),
        (Verdict.SILENT, "ACTIVE", False),
        (Verdict.ACCEPTED, "INACTIVE", False),
    ],
)
def test_what_an_examination_teaches(verdict: Verdict, shown: str, dead: bool) -> None:
    reported = replace(CURRENT, reported_at=at(-1))
    picture = seen(looks(CURRENT, shown))
    after = transitions.examined(credential(reported), reported, verdict, picture, NOW).versions[0]
    assert (after.dead_at is not None) is dead
    unanswered = verdict is Verdict.SILENT and not dead
    assert (after.reported_at is None) is not unanswered, "a report is answered once"


def test_revoking_ends_every_version_that_shares_the_secret() -> None:
    c = credential(OLD, version(2, Stage.CURRENT, attempt="wish-1", carries=1))
    after = transitions.revoked(c, c.versions[0], NOW)
    assert {v.stage for v in after.versions} == {Stage.REVOKED}


def test_a_provider_that_knows_a_later_owner_tells_of_an_old_journal() -> None:
    c = credential(CURRENT, epoch=3, claimed=0)
    after = transitions.observed_now(c, seen(looks(CURRENT), epoch=5))
    assert (after.epoch, after.claimed, after.fenced) == (transitions.OWNERS + 3, 0, False)
    assert after.unanswered_at == NOW
    assert after.versions[0].reported_at == NOW


def test_a_copy_of_this_home_that_claimed_the_key_since_is_another_owner() -> None:
    """Whoever was started last drives; the other one stops and says so, until it is started."""
    c, _ = recorded(credential(CURRENT, epoch=3, claimed=3), OrderKind.ROTATE, QUIET)
    theirs = seen(looks(CURRENT), empty(), epoch=5)
    after = orders.settled(transitions.observed_now(c, theirs), theirs, NOW)
    assert (after.epoch, after.claimed) == (3, 3)
    assert isinstance(next_step(after, theirs, NOW), Wait)
    assert after.orders[0].state is OrderState.FAILED
    assert after.orders[0].error == "the key is managed by another copy of this installation"


def test_two_copies_of_one_home_never_count_the_same_epoch() -> None:
    began = credential(CURRENT)
    one, other = (
        transitions.taken_over(began, 2, owner, NOW, clean=True) for owner in ("1-ab", "1-cd")
    )
    assert one.epoch != other.epoch
    assert min(one.epoch, other.epoch) > began.epoch
    again = transitions.taken_over(one, 3, "1-ef", NOW, clean=True)
    assert again.epoch > max(one.epoch, other.epoch)


@pytest.mark.parametrize(("clean", "waits"), [(True, None), (False, NOW)])
def test_whoever_takes_over_from_a_dead_owner_waits_for_its_calls(
    clean: bool, waits: object
) -> None:
    after = transitions.taken_over(credential(CURRENT, wish(2)), 2, "me", NOW, clean=clean)
    assert (after.driver, after.claimed, after.fenced) == (2, 0, False)
    assert after.unanswered_at == waits


def test_a_failure_grows_the_rest_and_the_provider_s_own_wish_wins() -> None:
    once = transitions.failed(credential(CURRENT), "issue", "503", "wait", NOW)
    again = transitions.failed(once, "issue", "503", "wait", NOW)
    asked = transitions.failed(again, "issue", "429", "wait", NOW, retry_after=30)
    assert None not in (once.retry_at, again.retry_at)
    assert str(once.retry_at) < str(again.retry_at)
    assert asked.retry_at == at(0.5)
    assert asked.unanswered_at is None
    assert transitions.failed(again, "issue", "?", "", NOW, unanswered=True).unanswered_at == NOW


def test_again_at_once_is_no_advice_after_a_failure() -> None:
    c = credential(CURRENT, failures=5)
    usual = transitions.failed(c, "issue", "429", "wait", NOW)
    assert transitions.failed(c, "issue", "429", "wait", NOW, retry_after=0) == usual


def test_a_look_that_fails_does_not_shorten_another_step_s_rest() -> None:
    c = transitions.failed(credential(CURRENT, WISH), "issue", "429", "", NOW, retry_after=600)
    c = transitions.failed(c, "observe", "503", "wait", at(1))
    assert c.retry_at == at(10)
    seen_again = transitions.observed_now(c, QUIET)
    assert (seen_again.failures, seen_again.failed_step) == (2, None)
    idle = transitions.failed(credential(CURRENT), "observe", "503", "wait", NOW)
    assert transitions.observed_now(idle, QUIET).failures == 0, "nothing else was failing"


def test_what_was_begun_for_an_order_that_failed_is_given_up() -> None:
    """Else a key that the caller was told would not be made is made hours later."""
    c, _ = recorded(credential(CURRENT), OrderKind.NEW_KEY, QUIET)
    step = Request("one", None, at(DAY), None, "ordered")
    c = transitions.requested(c, step, QUIET, "attempt", NOW)
    after = orders.refused(c, "LimitExceeded", NOW)
    assert after.open_version is None
    assert after.versions[-1].given_up == "LimitExceeded"
    assert orders.refused(credential(CURRENT, WISH), "400", NOW).open_version == WISH, (
        "the schedule's"
    )


def test_a_secret_that_left_the_store_is_not_handed_out_and_its_slot_not_touched() -> None:
    c = transitions.lost(credential(replace(CURRENT, reported_at=at(0))), CURRENT)
    assert not usable(c.current, NOW)
    assert next_step(c, QUIET, NOW) == Request(
        "two", "key", at(90 * DAY), None, "the current secret is not in the store any more"
    )


def test_progress_clears_the_failures_and_looking_does_not() -> None:
    tired = credential(CURRENT, failures=3, failed_step="issue", retry_at=at(9))
    assert transitions.observed_now(tired, QUIET).failures == 3
    assert transitions.retired(tired, CURRENT.place, None, NOW).failures == 0  # type: ignore[arg-type]


def test_a_lost_secret_is_wished_anew_under_another_attempt() -> None:
    c = transitions.start_over(credential(CURRENT, wish(2)), wish(2), "another", NOW)
    assert c.versions[1].attempt == "another"
    assert c.versions[1].expires_at == wish(2).expires_at - timedelta(seconds=2)  # type: ignore[operator]
    assert next_step(c, QUIET, NOW).__class__.__name__ == "Observe"


# Adopting.


def test_adopting_takes_the_slot_as_it_is() -> None:
    fresh = Credential(replace(SPEC, key_id="key"))
    c = entrusting.adopted(fresh, QUIET, ONE, "hmac:1", "attempt", NOW)
    v = c.versions[0]
    assert (v.number, v.stage, v.mask, v.expires_at) == (1, Stage.CURRENT, "mask-1", at(80 * DAY))


@pytest.mark.parametrize("slot", ["two", "three"])
def test_a_slot_that_is_not_in_use_is_not_adopted(slot: str) -> None:
    with pytest.raises(errors.Conflict):
        entrusting.adopted(
            Credential(replace(SPEC, key_id="key")), QUIET, Place("key", slot), "f", "a", NOW
        )


def test_nothing_is_adopted_twice() -> None:
    with pytest.raises(errors.Conflict):
        entrusting.adopted(credential(CURRENT), QUIET, ONE, "f", "a", NOW)


def test_a_key_with_another_owner_s_mark_is_adopted_only_to_take_it_over() -> None:
    fresh = Credential(replace(SPEC, key_id="key"))
    theirs = seen(looks(CURRENT), empty(), owner="elsewhere")
    with pytest.raises(errors.Conflict, match="installation elsewhere"):
        entrusting.adopted(fresh, theirs, ONE, "f", "a", NOW)
    assert entrusting.adopted(fresh, theirs, ONE, "f", "a", NOW, take_over=True).current


@pytest.mark.parametrize(
    ("spec", "slot", "key_id", "place"),
    [
        (replace(SPEC, key_id="key"), "one", None, ONE),
        (KEYLESS, None, "key-7", Place("key-7", None)),
        (SPEC, None, None, None),
        (SPEC, "one", "key", None),
        (KEYLESS, "one", None, None),
        (KEYLESS, None, None, None),
        (TOKENS, None, "key", None),
        (BY_HAND, None, "key", None),
    ],
)
def test_what_is_adopted_is_named_the_way_its_provider_has_it(
    spec: Spec, slot: str | None, key_id: str | None, place: Place | None
) -> None:
    if place is not None:
        assert entrusting.place_to_adopt(Credential(spec), slot, key_id) == place
        return
    with pytest.raises(errors.UsageError):
        entrusting.place_to_adopt(Credential(spec), slot, key_id)


def test_who_adopts_a_slot_before_its_key_is_configured_hears_what_to_set() -> None:
    with pytest.raises(errors.UsageError) as refused:
        entrusting.place_to_adopt(Credential(SPEC), "one", None)
    assert refused.value.hint.startswith("set api_key_id ")


def test_a_key_ends_when_the_provider_says_and_a_slot_when_it_was_issued_to() -> None:
    sooner = at(3 * DAY)
    own = version(1, Stage.CURRENT, None, handle="own")
    shown = Observed(NOW, (KeySeen("own", "ACTIVE", (looks(own, expires_at=sooner),)),))
    after = transitions.observed_now(credential(own, spec=KEYLESS, home=None), shown)
    assert after.current
    assert after.current.expires_at == sooner
    in_a_slot = transitions.observed_now(
        credential(CURRENT), seen(looks(CURRENT, expires_at=sooner), empty())
    )
    assert in_a_slot.current
    assert in_a_slot.current.expires_at == CURRENT.expires_at


# Secrets that come by hand, and tokens.


def test_what_is_put_is_handed_out_at_once_and_the_one_before_stays_as_previous() -> None:
    c = Credential(BY_HAND)
    for n in (1, 2, 3):
        c = entrusting.put(c, f"f{n}", f"a{n}", at(n * DAY), NOW)
    assert [v.stage for v in c.versions] == [Stage.REVOKED, Stage.PREVIOUS, Stage.CURRENT]
    assert (c.versions[2].expires_at, c.versions[2].fingerprint) == (at(3 * DAY), "f3")


def test_what_is_put_is_not_replaced_by_an_older_one_that_was_being_taken_over() -> None:
    carried = pending(3, None, carries=1, attempt="wish-1")
    c = Credential(BY_HAND, (version(2, Stage.CURRENT, None), carried))
    c = entrusting.put(c, "f", "a", None, NOW)
    assert [v.stage for v in c.versions] == [Stage.PREVIOUS, Stage.REVOKED, Stage.CURRENT]


@pytest.mark.parametrize("kind", [OrderKind.ROTATE, OrderKind.REVOKE, OrderKind.NEW_KEY])
def test_nobody_but_a_person_makes_or_destroys_what_comes_by_hand(kind: OrderKind) -> None:
    c = entrusting.put(Credential(BY_HAND), "f", "a", None, NOW)
    with pytest.raises(errors.UsageError, match="by hand"):
        recorded(c, kind, None, targets=(1,))


def test_what_is_issued_is_not_put() -> None:
    entrusting.refuse_put(BY_HAND)
    for spec in (SPEC, KEYLESS, TOKENS):
        with pytest.raises(errors.UsageError):
            entrusting.refuse_put(spec)


def test_a_leaked_token_is_replaced_and_that_is_all_that_can_be_done() -> None:
    token = version(1, Stage.CURRENT, None, expires_at=at(50))
    c, kept = recorded(credential(token, spec=TOKENS), OrderKind.REVOKE, None, targets=(1,))
    assert (kept.state, kept.until) == (OrderState.RUNNING, at(50))
    c = credential(*c.versions, pending(2, None), spec=TOKENS, orders=c.orders)
    c = transitions.promoted(c, c.versions[1], NOW)
    assert c.versions[0].stage is Stage.PREVIOUS, "a leak is remembered until it is dead"
    done = orders.settled(c, None, NOW).orders[0]
    assert (done.state, done.to_version, done.until) == (OrderState.DONE, 2, at(50))
    assert done.finished_at == NOW


def test_a_token_that_leaked_after_it_was_replaced_needs_no_other_one() -> None:
    old = version(1, Stage.PREVIOUS, None, expires_at=at(50))
    c = credential(old, version(2, Stage.CURRENT, None), spec=TOKENS)
    _, kept = recorded(c, OrderKind.REVOKE, None, targets=(1,))
    assert (kept.state, kept.until) == (OrderState.DONE, at(50))


def test_what_can_be_destroyed_is_not_taken_for_done_once_it_is_replaced() -> None:
    c, _ = recorded(credential(OLD, NEWER), OrderKind.REVOKE, BOTH_ON, targets=(1,))
    assert orders.settled(c, BOTH_ON, NOW).orders[0].state is OrderState.RUNNING


def test_a_token_that_was_replaced_is_over() -> None:
    c = credential(version(1, Stage.CURRENT, None), pending(2, None), spec=HOURLY)
    c = transitions.promoted(c, c.versions[1], NOW)
    assert c.versions[0].stage is Stage.REVOKED


def test_there_is_nothing_to_roll_back_to_among_tokens() -> None:
    c = credential(version(1, Stage.CURRENT, None), spec=TOKENS)
    with pytest.raises(errors.UsageError, match="short-lived"):
        recorded(c, OrderKind.ROLLBACK, None)


def test_a_token_lives_on_as_long_as_before_when_the_clock_is_set() -> None:
    hour = timedelta(hours=1)
    c = credential(version(1, Stage.CURRENT, None, expires_at=at(50)), spec=TOKENS)
    assert transitions.clock_moved(c, -hour).versions[0].expires_at == at(-10)
    assert transitions.clock_moved(c, hour).versions[0].expires_at == at(110)


@pytest.mark.parametrize("by", [timedelta(hours=30), -timedelta(hours=30)], ids=["ahead", "back"])
def test_a_clock_that_is_set_makes_no_overlap_shorter(by: timedelta) -> None:
    """Set back it may just have been put right: what was recorded before stands."""
    moved = transitions.clock_moved(credential(OLD, NEWER), by)
    left = {v.number: v.replaced_at for v in moved.versions}
    assert OLD.replaced_at is not None
    assert left == {1: OLD.replaced_at + max(by, timedelta(0)), 2: None}
    assert [v.expires_at for v in moved.versions] == [OLD.expires_at, NEWER.expires_at]


# What a record forgets.


def test_ten_thousand_tokens_leave_one_row() -> None:
    c = credential(spec=HOURLY)
    for n in range(1, 200):
        c = replace(c, versions=(*c.versions, pending(n, None, handle=f"h{n}")))
        c = transitions.promoted(c, c.versions[-1], NOW)
        for v in c.versions[:-1]:
            c = transitions.dropped(c, v)
        c = pruned(c, NOW)
        assert [v.number for v in c.versions] == [n]


def test_finished_versions_are_kept_for_a_while_and_no_more_than_twenty() -> None:
    gone = [
        version(
            n,
            Stage.REVOKED,
            None,
            handle=f"h{n}",
            stored=False,
            revoked_at=at(-1),
            requested_at=at(n - 900 * DAY if n < 9 else -DAY),
        )
        for n in range(1, 80)
    ]
    c = credential(*gone, version(80, Stage.CURRENT, None), spec=KEYLESS)
    assert [v.number for v in pruned(c, NOW).versions] == list(range(60, 81))
    few = credential(*gone[:12], version(80, Stage.CURRENT, None), spec=KEYLESS)
    assert [v.number for v in pruned(few, NOW).versions] == [9, 10, 11, 12, 80]


@pytest.mark.parametrize(
    "needed",
    [
        version(1, Stage.REVOKED, None, handle="h", compromised_at=at(-5), stored=False),
        version(1, Stage.REVOKED, None, handle="h", stored=True),
        version(1, Stage.RETIRED, None, handle="h", stored=False),
        version(1, Stage.REVOKED, "one", stored=False),
        version(9, Stage.REVOKED, None, handle="h", stored=False, promoted_at=None),
    ],
    ids=["leak not yet dead", "secret not dropped", "may return", "its slot's tenant", "newest"],
)
def test_what_a_rule_may_still_ask_for_is_kept(needed: Version) -> None:
    old = replace(needed, requested_at=at(-900 * DAY))
    c = credential(old, version(2, Stage.CURRENT, "two"))
    assert old in pruned(c, NOW).versions


def test_what_an_open_order_names_is_kept() -> None:
    old = version(1, Stage.REVOKED, None, handle="h", stored=False, requested_at=at(-900 * DAY))
    c = credential(old, version(2, Stage.CURRENT, None), spec=HOURLY)
    assert pruned(c, NOW).version(1) is None
    named = replace(c, orders=(order(OrderKind.REVOKE, targets=(1,)),))
    assert pruned(named, NOW).version(1)


# What people are told.


def test_a_rollback_takes_the_place_of_a_rotation_that_has_not_begun() -> None:
    c, _ = recorded(credential(OLD, NEWER), OrderKind.ROTATE)
    assert c.orders[0].state is OrderState.WAITING, "the overlap needs its slot"
    c, kept = recorded(c, OrderKind.ROLLBACK, id="back")
    assert [o.state for o in c.orders] == [OrderState.FAILED, OrderState.RUNNING]
    assert kept.targets == (1,)


def test_what_waits_for_an_overlap_says_until_when() -> None:
    c, _ = recorded(credential(OLD, NEWER), OrderKind.ROTATE)
    following = what_next(c, BOTH_ON, NOW)
    assert following
    assert (following.step, following.at) == ("request", at(DAY - 60))
    assert "overlap" in following.reason


def test_what_waits_for_others_to_leave_a_slot_says_so_and_until_when() -> None:
    c, kept = recorded(credential(CURRENT), OrderKind.ROTATE, HELD)
    assert (kept.state, kept.until) == (OrderState.WAITING, FREE_AT)
    following, said = what_next(c, HELD, NOW), trouble(c, HELD, NOW)
    assert following
    assert (following.step, following.at) == ("request", FREE_AT)
    assert said
    for text in (kept.error, following.reason, said[0]):
        assert "two is ACTIVE" in str(text)
        assert "2026-11-22T11:58:00Z" in str(text)
    assert "keyman deactivate genai --slot two" in said[1]
    assert "keyman rotate genai --new-key" in said[1]
    assert health(c, HELD, NOW) == "failing"


def test_a_rotation_that_rests_after_three_failures_says_why() -> None:
    vain = (
        version(
            n, Stage.REVOKED, "two", given_up="it is off", promoted_at=None, requested_at=at(-n)
        )
        for n in (4, 3, 2)
    )
    c = credential(CURRENT, *vain)
    assert health(c, QUIET, NOW) == "failing"
    assert trouble(c, QUIET, NOW) == (
        "new versions came to nothing, the last because it is off",
        "`keyman check` says more; `keyman rotate genai` tries at once",
    )


def test_a_leak_that_waits_for_others_is_at_risk_and_told_how_not_to_wait() -> None:
    c, kept = recorded(credential(CURRENT), OrderKind.REVOKE, HELD, targets=(1,))
    assert (kept.state, kept.until) == (OrderState.RUNNING, None)
    assert "two is ACTIVE" in str(kept.error)
    said = trouble(c, HELD, NOW)
    assert said
    assert "keyman revoke genai --now" in said[1]
    assert health(c, HELD, NOW) == "at-risk"


@pytest.mark.parametrize(
    "c",
    [
        credential(CURRENT),
        credential(CURRENT, orders=(order(OrderKind.NEW_KEY),)),
    ],
    ids=["nothing is due", "another key is made"],
)
def test_others_in_a_slot_that_is_not_needed_are_nobody_s_trouble(c: Credential) -> None:
    assert trouble(c, HELD, NOW) is None
    assert health(c, HELD, NOW) in ("ok", "due")


def test_the_next_look_is_when_the_others_may_have_left() -> None:
    seldom = replace(SPEC, policy=replace(SPEC.policy, observe_every=timedelta(days=3)))
    c, _ = recorded(credential(CURRENT, spec=seldom), OrderKind.ROTATE, HELD)
    waits = next_step(replace(c, doubt_at=None), HELD, NOW)
    assert isinstance(waits, Wait)
    assert waits.until == FREE_AT


def test_a_plan_knows_that_others_use_the_slot() -> None:
    c, _ = recorded(credential(CURRENT), OrderKind.ROTATE, HELD)
    first = foresee(replace(c, doubt_at=None), HELD, NOW, at(3 * DAY))[0]
    assert (first.at, first.step, first.slot) == (FREE_AT, "request", "two")


def test_nothing_is_next_for_whoever_does_not_drive_the_key() -> None:
    due = credential(replace(CURRENT, expires_at=at(10 * DAY)))
    theirs = seen(looks(due.versions[0]), empty(), owner="elsewhere")
    assert what_next(due, theirs, NOW) is None


def test_nothing_is_next_where_no_slot_can_be_filled() -> None:
    one_slot = credential(CURRENT, spec=replace(SPEC, slots=("one",)))
    assert what_next(one_slot, seen(looks(CURRENT)), NOW) is None


def test_what_rests_is_next_when_the_rest_is_over() -> None:
    due = replace(CURRENT, expires_at=at(10 * DAY))
    c = credential(due, failures=2, failed_step="issue", retry_at=at(7), last_error="503")
    following = what_next(c, seen(looks(due), empty()), NOW)
    assert following
    assert (following.step, following.at) == ("request", at(7))


def test_an_overlap_that_somebody_prolongs_ends_when_they_may_have_left() -> None:
    old = replace(OLD, replaced_at=at(-2 * DAY))
    used = seen(replace(looks(old), last_used_at=at(-60)), looks(NEWER))
    following = what_next(credential(old, NEWER), used, NOW)
    assert following
    assert (following.step, following.at) == ("retire", at(-60 + DAY / 2))
    assert "in use" in following.reason
    waits = next_step(credential(old, NEWER), used, NOW)
    assert isinstance(waits, Wait)


def test_what_a_rollback_carries_on_is_not_retired_next() -> None:
    old = replace(OLD, replaced_at=at(-60))
    back = replace(NEWER, number=3, slot="one", attempt=old.attempt, mask=old.mask, carries=1)
    other = replace(NEWER, stage=Stage.PREVIOUS, replaced_at=at(-1))
    following = what_next(credential(old, other, back), BOTH_ON, NOW)
    assert following
    assert (following.step, following.at) == ("retire", at(DAY - 1)), "the one that was left"


def test_who_is_at_risk_is_told_why() -> None:
    theirs = seen(looks(CURRENT), empty(), owner="elsewhere")
    said = trouble(credential(CURRENT), theirs, NOW)
    assert said
    assert said[0] == "the key is managed by installation elsewhere"
    one_slot = credential(CURRENT, spec=replace(SPEC, slots=("one",)))
    stuck = seen(looks(CURRENT))
    said = trouble(one_slot, stuck, NOW)
    assert said
    assert "--new-key" in said[1]
    assert health(one_slot, stuck, NOW) == "at-risk"


def test_a_wish_that_failed_and_is_over_leaves_nothing_failing() -> None:
    c = credential(CURRENT, failures=1, failed_step="issue", retry_at=at(-1), last_error="400")
    assert health(c, QUIET, NOW) == "ok"
    due = replace(c, versions=(replace(CURRENT, expires_at=at(40 * DAY)),))
    assert health(due, QUIET, NOW) == "failing"
    assert health(replace(c, failed_step="observe"), QUIET, NOW) == "failing"


def test_what_comes_by_hand_is_put_before_anything_else() -> None:
    with pytest.raises(errors.UsageError) as made:
        recorded(Credential(BY_HAND), OrderKind.ROTATE, None)
    with pytest.raises(errors.NotAdopted) as back:
        recorded(Credential(BY_HAND), OrderKind.ROLLBACK, None)
    assert "keyman put" in made.value.hint + back.value.hint
    assert "adopt" not in made.value.hint + back.value.hint
