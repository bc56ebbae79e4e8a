"""What is true after a step: the whole record, so that nothing is forgotten, and no more changes.

Found missing by mutation testing (`python -m tests.mutation core`): the simulator notices most of
what is wrong here, days of virtual time later.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyman.core import transitions as t
from keyman.core.model import (
    Credential,
    Observed,
    OrderKind,
    OrderState,
    SlotSeen,
    Stage,
    Verdict,
    Version,
)
from keyman.core.situation import Situation
from keyman.core.steps import Abandon, Accept, Request
from tests.credentials import (
    CURRENT,
    DAY,
    FILLED,
    HOURLY,
    KEYLESS,
    NOW,
    ONE,
    POLICY,
    SHUT,
    SPEC,
    STAYS,
    TOGETHER,
    TOKENS,
    TWO,
    WISH,
    at,
    credential,
    looks,
    order,
    pending,
    seen,
    version,
    wish,
)

OLD = version(1, Stage.PREVIOUS)
NEWER = version(2, Stage.CURRENT, "two")
HURT: dict[str, Any] = {
    "failures": 3,
    "failed_step": "issue",
    "retry_at": at(5),
    "last_error": "503",
    "last_hint": "wait",
}
WELL: dict[str, Any] = dict.fromkeys(("failed_step", "retry_at", "last_error", "last_hint"))
WELL["failures"] = 0
LEAKED = replace(CURRENT, compromised_at=at(-1))


def hurt(*versions: Version, **more: Any) -> Credential:
    return credential(*versions, **HURT | more)


def well(c: Credential, **more: Any) -> Credential:
    """All failures are forgotten, and so much else is true."""
    return replace(c, **WELL | more)


# Looking.


def test_a_look_ends_the_doubt_and_leaves_the_rest_of_other_steps() -> None:
    c = hurt(CURRENT, doubt_at=at(-1))
    assert t.observed_now(c, seen(looks(CURRENT))) == replace(c, doubt_at=None)


def test_a_look_that_works_again_ends_the_rest_that_looking_failed() -> None:
    c = hurt(CURRENT, failed_step="observe")
    assert t.observed_now(c, seen(looks(CURRENT))) == well(c)


@pytest.mark.parametrize(
    "waiting",
    [
        (CURRENT, WISH),
        (LEAKED,),
        (version(1, Stage.RETIRED), replace(NEWER, compromised_at=at(-1))),
    ],
    ids=["a rotation", "a leak", "a leak beside what is well"],
)
def test_what_waits_for_a_look_goes_on_counting_its_failures(waiting: tuple[Version, ...]) -> None:
    c = hurt(*waiting, failed_step="observe")
    found = t.observed_now(c, seen(looks(CURRENT)))
    assert found == replace(c, failed_step=None, retry_at=None)


def test_a_leak_that_was_destroyed_waits_for_nothing() -> None:
    gone = replace(LEAKED, stage=Stage.REVOKED, revoked_at=at(-1))
    c = hurt(gone, NEWER, failed_step="observe")
    assert t.observed_now(c, seen(looks(NEWER))) == well(c)


def test_another_life_of_ours_with_a_later_epoch_makes_this_journal_old() -> None:
    c = credential(CURRENT, epoch=3, claimed=0)
    ours = t.OWNERS + 3  # behind theirs, and nobody else's
    expected = replace(c, epoch=ours, claimed=0, fenced=False, unanswered_at=at(0))
    shown = seen(looks(CURRENT), epoch=7)
    assert t.observed_now(c, shown) == expected.with_version(1, reported_at=at(0))
    nothing = credential(epoch=3, claimed=0)
    assert t.observed_now(nothing, shown).epoch == ours


def test_the_latest_of_several_epochs_counts_and_no_stranger_s() -> None:
    c = credential(CURRENT, epoch=3, claimed=0)
    low, high = (seen(looks(CURRENT), epoch=n * t.OWNERS + 9).keys[0] for n in (4, 7))
    strange = replace(high, handle="theirs", owner="elsewhere", epoch=99 * t.OWNERS)
    two = Observed(at(0), (low, replace(high, handle="more"), strange))
    assert t.observed_now(c, two).epoch == 8 * t.OWNERS + 3
    assert t.observed_now(c, Observed(at(0), (strange,))) == c
    assert t.observed_now(credential(CURRENT, epoch=0, claimed=0), Observed(at(0), ())).epoch == 0


def test_when_a_key_of_its_own_ends_is_taken_from_what_is_shown() -> None:
    alone = version(1, Stage.CURRENT, None)

    def ends(v: Version, shown: Any) -> Any:
        slot = SlotSeen(None, "ACTIVE", None, shown)
        told = t.observed_now(credential(v, spec=KEYLESS), seen(slot))
        assert told.current
        return told.current.expires_at

    assert ends(alone, at(5 * DAY)) == at(5 * DAY)
    assert ends(replace(alone, expires_at=None), at(5 * DAY)) == at(5 * DAY)
    assert ends(alone, None) == at(80 * DAY)
    a_second = timedelta(seconds=1)
    assert ends(alone, at(80 * DAY) + a_second) == at(80 * DAY)  # cut off, or rounded
    assert ends(alone, at(80 * DAY) + 2 * a_second) == at(80 * DAY) + 2 * a_second
    assert ends(replace(alone, issued_at=None), at(5 * DAY)) == at(80 * DAY)  # not yet its own
    slotted = t.observed_now(credential(CURRENT), seen(looks(CURRENT, expires_at=at(DAY))))
    assert slotted.current == CURRENT  # there it is another secret's


def test_after_a_claim_everything_is_looked_at_again() -> None:
    c = hurt(CURRENT, failed_step="claim", claimed=0, fenced=False)
    assert t.claimed(c, 7, NOW, fenced=True) == well(c, claimed=7, fenced=True, doubt_at=NOW)


def test_a_claim_is_no_progress_of_what_gets_no_answer() -> None:
    """Else a provider that never answers would be asked again without a rest, for ever."""
    c = hurt(CURRENT, pending(2), failed_step="issue", claimed=0)
    assert t.claimed(c, 7, NOW, fenced=True) == replace(c, claimed=7, fenced=True, doubt_at=NOW)


@pytest.mark.parametrize(
    "underway",
    [
        credential(CURRENT, pending(2)),
        credential(CURRENT, silence="two"),
        credential(CURRENT, orders=(order(OrderKind.ROTATE),)),
        credential(OLD, NEWER),
        credential(LEAKED, NEWER),
    ],
    ids=["a version", "a slot to silence", "a wish", "an overlap", "a leak"],
)
def test_nor_is_one_that_failed_itself_before(underway: Credential) -> None:
    c = replace(underway, **HURT | {"failed_step": "claim", "claimed": 0})
    expected = replace(c, claimed=7, fenced=True, doubt_at=NOW, failed_step=None, retry_at=None)
    assert t.claimed(c, 7, NOW, fenced=True) == expected


# A rotation.


def asked(**more: Any) -> Request:
    told: dict[str, Any] = {"slot": "two", "handle": "key", "expires_at": at(90 * DAY)}
    return Request(**told | {"carries": None, "reason": "ordered"} | more)


def test_a_wish_remembers_what_was_in_the_slot_and_takes_it_for_dead() -> None:
    was = version(1, Stage.RETIRED, "two")
    c = credential(was, replace(CURRENT, number=2), silence="two")
    shown = seen(looks(CURRENT), SlotSeen("two", "INACTIVE", "mask-1", at(9)))
    found = t.requested(c, asked(), shown, "a wish", NOW)
    new = Version(
        3,
        Stage.REQUESTED,
        "a wish",
        NOW,
        at(90 * DAY),
        slot="two",
        handle="key",
        mask_before="mask-1",
        expires_before=at(9),
    )
    dead = replace(was, stage=Stage.REVOKED)
    assert found == replace(c, silence=None, versions=(dead, c.versions[1], new))


def test_a_wish_for_one_slot_leaves_the_other_to_be_silenced() -> None:
    c = credential(CURRENT, silence="one")
    found = t.requested(c, asked(), None, "a wish", NOW)
    assert found.silence == "one"
    assert found.versions[1].mask_before is None


def test_a_wish_for_a_key_of_its_own_has_no_place_yet() -> None:
    c = credential(CURRENT, spec=KEYLESS)
    found = t.requested(c, asked(slot=None, handle=None), seen(looks(CURRENT)), "a wish", NOW)
    assert found.versions == (CURRENT, Version(2, Stage.REQUESTED, "a wish", NOW, at(90 * DAY)))


def test_a_wish_for_a_new_key_is_for_no_place_of_the_old_one() -> None:
    c = credential(CURRENT, silence="one")
    found = t.requested(c, asked(slot="one", handle=None), None, "a wish", NOW)
    assert found.silence == "one"
    assert found.versions[0] == CURRENT


def test_what_takes_over_keeps_its_token_and_its_place_is_not_emptied() -> None:
    c = credential(OLD, NEWER, silence="one")
    found = t.requested(c, asked(slot="one", carries=1), seen(looks(OLD)), "a wish", NOW)
    new = found.versions[2]
    assert found == replace(c, versions=(OLD, NEWER, new))
    assert (new.attempt, new.carries) == (OLD.attempt, 1)
    assert (new.mask_before, new.expires_before) == (None, None)


def test_a_new_key_is_the_home_where_there_is_none() -> None:
    c = Credential(SPEC, versions=(replace(WISH, handle=None),))
    expected = replace(c, home="made", silence="two").with_version(2, handle="made")
    assert t.created(c, WISH, "made", "two") == expected
    further = credential(CURRENT, replace(WISH, handle=None))
    assert t.created(further, WISH, "made", "two").home == "key"


def test_what_was_issued_is_recorded_whole_and_its_place_s_earlier_secrets_are_destroyed() -> None:
    earlier = version(1, Stage.RETIRED, "two")
    gone = version(4, Stage.REVOKED, "two", revoked_at=at(-9))
    c = hurt(earlier, replace(CURRENT, number=3), gone, WISH)
    found = t.issued(
        c, WISH, handle="key", mask="new", expires_at=at(70 * DAY), fingerprint="f", now=NOW
    )
    expected = c.with_version(1, stage=Stage.REVOKED, revoked_at=NOW).with_version(
        2,
        stage=Stage.PENDING,
        mask="new",
        expires_at=at(70 * DAY),
        fingerprint="f",
        issued_at=NOW,
    )
    assert found == well(expected, doubt_at=NOW)
    kept = t.issued(c, WISH, handle="key", mask=None, expires_at=None, fingerprint="f", now=NOW)
    assert kept.versions[3].expires_at == WISH.expires_at


def test_a_key_of_its_own_destroys_no_other_though_they_share_a_handle() -> None:
    alone = version(1, Stage.CURRENT, None)
    c = credential(alone, wish(2, None), spec=KEYLESS)
    found = t.issued(
        c, wish(2, None), handle="key", mask=None, expires_at=None, fingerprint="f", now=NOW
    )
    assert found.versions[0] == alone


@pytest.mark.parametrize("leaked", [False, True])
def test_what_was_carried_over_has_all_that_its_source_had(leaked: bool) -> None:
    said: dict[str, Any] = {"compromised_at": at(-2), "revoke_first": True} if leaked else {}
    source = replace(OLD, mask_before="m", expires_before=at(3), restored_at=at(-3), **said)
    taking = wish(3, "one", carries=1)
    c = hurt(source, NEWER, taking)
    expected = c.with_version(
        3,
        stage=Stage.PENDING,
        mask=source.mask,
        mask_before="m",
        expires_before=at(3),
        fingerprint="f",
        issued_at=NOW,
        restored_at=at(-3),
        **said,
    )
    assert t.carried(c, taking, "f", NOW) == well(expected)


def test_a_leak_that_was_reported_of_the_carried_one_itself_stays() -> None:
    taking = wish(3, "one", carries=1, compromised_at=at(-1), revoke_first=True)
    found = t.carried(credential(OLD, NEWER, taking), taking, "f", NOW).versions[2]
    assert (found.compromised_at, found.revoke_first) == (at(-1), True)


def test_to_start_over_is_a_new_wish_that_ends_a_little_earlier() -> None:
    c = credential(CURRENT, WISH)
    ends = at(80 * DAY) - timedelta(seconds=2)
    expected = c.with_version(2, attempt="again", requested_at=NOW, expires_at=ends)
    assert t.start_over(c, WISH, "again", NOW) == replace(expected, doubt_at=NOW)
    for_ever = replace(WISH, expires_at=None)
    assert t.start_over(credential(for_ever), for_ever, "again", NOW).versions[0].expires_at is None


def test_to_switch_on_ends_the_orders_to_do_so_and_no_others() -> None:
    wanted = order(OrderKind.ACTIVATE, id="on", slot="two", error="503")
    others = (
        order(OrderKind.DEACTIVATE, id="off", slot="two"),
        order(OrderKind.ACTIVATE, id="first", slot="one"),
        order(OrderKind.ACTIVATE, id="old", slot="two", state=OrderState.FAILED),
    )
    c = hurt(CURRENT, FILLED, orders=(wanted, *others))
    done = replace(wanted, state=OrderState.DONE, finished_at=NOW, error=None)
    expected = replace(c, orders=(done, *others)).with_version(2, activated_at=NOW)
    assert t.activated(c, TWO, NOW) == well(expected, doubt_at=NOW)
    nobody = credential(CURRENT)
    assert t.activated(nobody, TWO, NOW) == replace(nobody, doubt_at=NOW)


# Probes.


def probed(v: Version, verdict: Verdict, control: Verdict | None = None, **more: Any) -> Version:
    c = t.probed(credential(CURRENT, v, **more), v, verdict, control, NOW)
    return c.versions[1]


BEGUN = replace(FILLED, probed_at=at(-0.1), probe_from=at(-1), successes=0, refusals=2)


def test_a_success_is_counted_and_enough_of_them_are_a_proof() -> None:
    first = probed(replace(BEGUN, restored_at=at(-9)), Verdict.ACCEPTED)
    assert first == replace(BEGUN, restored_at=at(-9), probed_at=NOW, successes=1)
    second = probed(replace(first, refusals=0, probed_at=at(-0.1)), Verdict.ACCEPTED)
    assert (second.successes, second.verified_at, second.restored_at) == (2, NOW, None)
    assert t.probed(hurt(CURRENT, BEGUN), BEGUN, Verdict.ACCEPTED, None, NOW).failures == 0


@pytest.mark.parametrize(("refusals", "wanted"), [(1, 20), (20, 20), (21, 21), (90, 90)])
def test_what_was_refused_before_is_accepted_for_as_long(refusals: int, wanted: int) -> None:
    """Nodes hear of it one after the other: two that have may stand beside many that haven't."""
    almost = replace(BEGUN, refusals=refusals, successes=wanted - 2)
    not_yet = probed(almost, Verdict.ACCEPTED)
    assert (not_yet.successes, not_yet.verified_at) == (wanted - 1, None)
    assert probed(replace(not_yet, probed_at=at(-0.1)), Verdict.ACCEPTED).verified_at == NOW


TOLD = replace(BEGUN, successes=2, verified_at=at(-1), mask_before="mask-0")
UNASKED = replace(TOLD, successes=0, refusals=0, verified_at=None, probed_at=None, probe_from=None)


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        (looks(TOLD, "INACTIVE"), UNASKED),
        (looks(TOLD, "A_WORD_NEVER_HEARD"), UNASKED),
        (looks(TOLD), TOLD),
        (looks(TOLD, "INACTIVE", mask="mask-0"), TOLD),
        (None, TOLD),
    ],
    ids=["off", "who knows", "on", "an old picture", "not shown"],
)
def test_what_was_accepted_before_it_was_switched_off_is_proven_anew(
    shown: SlotSeen | None, found: Version
) -> None:
    picture = seen(looks(CURRENT), *([shown] if shown else []))
    assert t.observed_now(credential(CURRENT, TOLD), picture).versions == (CURRENT, found)


def test_what_lookups_hand_out_is_another_question() -> None:
    current = replace(CURRENT, successes=2, verified_at=at(-1))
    assert t.observed_now(credential(current), seen(looks(current, "INACTIVE"))).versions == (
        current,
    )


@pytest.mark.parametrize("minutes", [-2, -2.1, None, 1])
def test_after_a_pause_the_probes_begin_anew(minutes: float | None) -> None:
    last = None if minutes is None else at(minutes)
    found = probed(replace(BEGUN, probed_at=last, successes=1), Verdict.REFUSED)
    anew = minutes != -2
    assert (found.probe_from, found.refusals) == ((NOW, 1) if anew else (at(-1), 3))
    assert found.successes == 0


def test_a_refusal_counts_where_the_current_secret_fares_better() -> None:
    told = replace(BEGUN, successes=1, verified_at=at(-1))
    counted = replace(told, probed_at=NOW, successes=0, refusals=3, verified_at=None)
    assert probed(told, Verdict.REFUSED, Verdict.ACCEPTED) == counted
    assert probed(told, Verdict.REFUSED, Verdict.SILENT).refusals == 2


def test_where_the_current_secret_fares_no_better_nothing_is_said_of_the_new_one() -> None:
    c = credential(CURRENT, BEGUN)
    found = t.probed(c, BEGUN, Verdict.REFUSED, Verdict.REFUSED, NOW)
    assert found.versions[0] == replace(CURRENT, reported_at=NOW)  # it is asked for by itself
    assert (found.failed_step, found.failures, found.doubt_at) == ("verify", 1, NOW)
    assert found.last_error == "neither the new nor the current secret is accepted"
    silent = t.probed(c, BEGUN, Verdict.SILENT, Verdict.SILENT, NOW)
    assert silent.versions[0] == CURRENT
    assert silent.last_error == "the inference endpoint gives no verdict on the new secret"
    assert silent.last_hint == "check base_url, network and proxy with `keyman check`"
    forbidden = t.probed(c, BEGUN, Verdict.FORBIDDEN, None, NOW)
    assert forbidden.last_hint == "see that it may: `keyman policy genai` says what that takes"
    alone = t.probed(credential(BEGUN), BEGUN, Verdict.REFUSED, Verdict.REFUSED, NOW)
    assert alone.failed_step == "verify"


def test_an_examination_is_no_progress_of_another_step() -> None:
    reported = replace(CURRENT, reported_at=at(-1))
    c = hurt(reported)
    found = t.examined(c, reported, Verdict.ACCEPTED, None, NOW)
    assert found == c.with_version(1, examined_at=NOW, reported_at=None)


def test_what_is_dead_is_so_from_the_first_time_on_until_it_is_accepted() -> None:
    dead = replace(CURRENT, dead_at=at(-9))
    c = credential(dead)
    for verdict, then in (
        (Verdict.REFUSED, at(-9)),
        (Verdict.SILENT, at(-9)),
        (Verdict.ACCEPTED, None),
    ):
        assert t.examined(c, dead, verdict, None, NOW).versions[0].dead_at == then


# What is in the store.


def test_what_the_store_has_lost_needs_no_examination_any_more() -> None:
    reported = replace(CURRENT, reported_at=at(-1))
    c = credential(reported)
    assert t.lost(c, reported) == credential(replace(CURRENT, stored=False))
    assert t.found_again(t.lost(c, reported), CURRENT) == credential(CURRENT)


# The switch.


def promoted(*versions: Version, **more: Any) -> Credential:
    return t.promoted(credential(*versions, **more), versions[-1], NOW)


def test_the_switch_begins_the_overlap_and_forgets_failures() -> None:
    c = hurt(CURRENT, FILLED)
    old = replace(CURRENT, stage=Stage.PREVIOUS, replaced_at=NOW, overlap=POLICY.overlap)
    new = replace(FILLED, stage=Stage.CURRENT, promoted_at=NOW)
    assert t.promoted(c, FILLED, NOW) == well(replace(c, versions=(old, new)))


def test_the_overlap_is_that_of_an_open_order_or_of_the_policy() -> None:
    short = timedelta(hours=1)
    done = order(OrderKind.ROTATE, id="old", overlap=timedelta(days=3), state=OrderState.DONE)
    silent = order(OrderKind.ACTIVATE, id="on")
    wanted = order(OrderKind.ROTATE, overlap=short)
    assert promoted(CURRENT, FILLED, orders=(done, silent, wanted)).versions[0].overlap == short
    assert promoted(CURRENT, FILLED, orders=(done,)).versions[0].overlap == POLICY.overlap
    assert promoted(LEAKED, FILLED, orders=(wanted,)).versions[0].overlap == timedelta(0)


@pytest.mark.parametrize(
    ("old", "spec", "stage"),
    [
        (CURRENT, SPEC, Stage.PREVIOUS),
        (replace(CURRENT, dead_at=at(-1)), SPEC, Stage.REVOKED),
        (replace(CURRENT, expires_at=at(0)), SPEC, Stage.REVOKED),
        (CURRENT, HOURLY, Stage.REVOKED),  # a token without an overlap is of no use to anybody
        (CURRENT, TOKENS, Stage.PREVIOUS),
        (LEAKED, HOURLY, Stage.PREVIOUS),  # it is to be destroyed yet
        (CURRENT, replace(SPEC, policy=HOURLY.policy), Stage.PREVIOUS),  # it is to be revoked yet
    ],
    ids=["it lives", "dead", "expired", "token", "token in its overlap", "leaked token", "a key"],
)
def test_what_becomes_of_the_one_before(old: Version, spec: Any, stage: Stage) -> None:
    assert promoted(old, FILLED, spec=spec).versions[0].stage is stage


def test_the_key_of_the_new_version_is_the_home_and_our_mark_is_not_on_it_yet() -> None:
    made = replace(FILLED, handle="made")
    moved = promoted(CURRENT, made, silence="two")
    assert (moved.home, moved.claimed, moved.silence) == ("made", 0, "two")
    stays = promoted(CURRENT, FILLED, silence="one")
    assert (stays.home, stays.claimed, stays.silence) == ("key", 1, "one")
    back = promoted(CURRENT, replace(made, carries=1), silence="two")
    assert (back.home, back.silence) == ("made", None)
    same = promoted(CURRENT, replace(FILLED, carries=1), silence="one")
    assert same.silence == "one"
    alone = promoted(version(1, Stage.CURRENT, None), pending(2, None, handle="b"), spec=KEYLESS)
    assert alone.home == "key"


HOUR = timedelta(hours=1)


def test_when_the_clock_is_set_a_token_lives_on_as_long_as_it_was_told() -> None:
    gone = version(1, Stage.REVOKED, revoked_at=at(-1))
    for_ever = replace(version(3, Stage.RETIRED), expires_at=None)
    c = credential(gone, NEWER, for_ever, replace(WISH, number=4), spec=TOKENS)
    moved = (
        gone,
        replace(NEWER, expires_at=at(80 * DAY) + HOUR, issued_at=at(-30 * DAY) + HOUR),
        for_ever,
        replace(WISH, number=4, expires_at=at(80 * DAY) + HOUR),
    )
    assert t.clock_moved(c, HOUR) == replace(c, versions=moved)
    assert t.clock_moved(replace(c, spec=SPEC), HOUR).versions == c.versions  # told as a moment


def test_an_overlap_is_as_long_as_it_was_however_the_clock_is_set() -> None:
    c = credential(OLD, NEWER)
    later = replace(OLD, replaced_at=at(-60) + HOUR)
    assert t.clock_moved(c, HOUR) == replace(c, versions=(later, NEWER))
    assert t.clock_moved(c, -HOUR) == c
    assert t.clock_moved(c, timedelta(0)) == c
    unknown = credential(replace(OLD, replaced_at=None), NEWER)
    assert t.clock_moved(unknown, HOUR) == unknown


def test_the_patience_with_two_that_are_refused_lasts_as_long_as_it_should() -> None:
    c = credential(STAYS, SHUT, TOGETHER)
    for by in (HOUR, -HOUR):
        moved = t.clock_moved(c, by).version(3)
        assert moved == replace(TOGETHER, probed_at=at(-1) + by)
    others = replace(TOGETHER, given_up="refused"), replace(TOGETHER, probed_at=None)
    for other in others:
        assert t.clock_moved(credential(STAYS, SHUT, other), -HOUR).version(3) == other


# The end.


def test_to_switch_off_retires_the_previous_version_and_ends_the_order() -> None:
    wanted = order(OrderKind.DEACTIVATE, slot="one")
    c = hurt(OLD, NEWER, orders=(wanted,), silence="one")
    done = replace(wanted, state=OrderState.DONE, finished_at=NOW)
    expected = replace(c, orders=(done,)).with_version(1, stage=Stage.RETIRED, retired_at=NOW)
    assert t.retired(c, ONE, OLD, NOW) == well(expected, doubt_at=NOW)
    assert t.retired(credential(CURRENT), ONE, CURRENT, NOW).versions == (CURRENT,)


def test_what_nobody_kept_is_silent_once_it_is_off() -> None:
    c = credential(CURRENT, silence="two")
    assert t.retired(c, TWO, None, NOW) == replace(c, silence=None, doubt_at=NOW)
    assert t.retired(c, ONE, None, NOW).silence == "two"


def test_a_secret_is_revoked_under_every_number_it_had() -> None:
    again = version(3, Stage.PREVIOUS, "one", attempt=OLD.attempt, revoked_at=at(-1))
    c = hurt(OLD, NEWER, again)
    expected = c.with_version(1, stage=Stage.REVOKED, revoked_at=NOW)
    expected = expected.with_version(3, stage=Stage.REVOKED)
    assert t.revoked(c, OLD, NOW) == well(expected, doubt_at=NOW)


@pytest.mark.parametrize(
    ("step", "over"),
    [("retire", True), ("revoke", True), (None, True), ("issue", False), ("observe", False)],
)
def test_what_is_seen_to_be_so_failed_no_longer(step: str | None, over: bool) -> None:
    c = hurt(OLD, NEWER, failed_step=step)
    after = well(c) if over else c
    off = Accept(OLD, Stage.RETIRED, "")
    assert t.accepted(c, off, NOW) == after.with_version(1, stage=Stage.RETIRED, retired_at=NOW)
    gone = Accept(OLD, Stage.REVOKED, "")
    assert t.accepted(c, gone, NOW) == after.with_version(1, stage=Stage.REVOKED, revoked_at=NOW)


def test_when_it_was_revoked_is_kept() -> None:
    before = replace(OLD, revoked_at=at(-3))
    found = t.accepted(credential(before, NEWER), Accept(before, Stage.REVOKED, ""), NOW)
    assert found.versions[0].revoked_at == at(-3)


def test_what_came_to_nothing_says_why_and_whether_for_good() -> None:
    c = credential(CURRENT, WISH, silence="one")
    expected = c.with_version(2, stage=Stage.REVOKED, given_up="refused", slot_refused=True)
    assert t.abandoned(c, Abandon(WISH, "refused", for_good=True)) == expected
    made = replace(WISH, handle="made")
    left = t.abandoned(credential(CURRENT, made, silence="one"), Abandon(made, "refused"))
    assert (left.silence, left.versions[1].slot_refused) == (None, False)


def test_a_failure_is_recorded_whole() -> None:
    c = credential(CURRENT, unanswered_at=at(-9))
    found = t.failed(c, "issue", "503", "wait", NOW)
    rest = POLICY.retry.delay(1, "genai")
    told: dict[str, Any] = {
        "failures": 1,
        "failed_step": "issue",
        "last_error": "503",
        "last_hint": "wait",
    }
    assert found == replace(c, **told, retry_at=NOW + rest, doubt_at=NOW)
    lost = t.failed(c, "issue", "503", "wait", NOW, unanswered=True)
    assert lost == t.left_unanswered(found, NOW)


def test_what_may_yet_be_carried_out_has_to_be_kept_out_by_a_new_mark() -> None:
    c = credential(CURRENT, epoch=7, claimed=7)
    found = t.left_unanswered(c, at(-1))
    expected = replace(c, unanswered_at=at(-1), doubt_at=at(-1), epoch=8, fenced=False)
    assert found == expected
    again = t.left_unanswered(found, NOW)
    assert again.epoch == 8, "nothing was sent with that mark yet"


def test_nor_does_it_hide_that_a_copy_of_this_home_drives_the_key() -> None:
    """Whose mark is the next higher one, whatever was lost here meanwhile."""
    c = credential(CURRENT, epoch=7 * t.OWNERS + 9, claimed=7 * t.OWNERS + 9)
    copy = t.taken_over(c, 2, "a copy", NOW, clean=False)
    c = t.left_unanswered(c, NOW)
    theirs = seen(looks(CURRENT), epoch=copy.epoch)
    assert t.observed_now(c, theirs) == replace(c, doubt_at=None)
    assert Situation(c, theirs, NOW).other_owner == "another copy of this installation"


def test_a_copy_never_sets_the_mark_that_another_will_set() -> None:
    """One sees the other's mark and takes a later one; the other's next ones are not that."""
    began = credential(CURRENT)
    high, low = sorted(
        (t.taken_over(began, 2, owner, NOW, clean=False) for owner in ("a copy", "another")),
        key=lambda c: -c.epoch,
    )
    high = t.claimed(high, high.epoch, NOW, fenced=True)
    low = t.observed_now(low, seen(looks(CURRENT), epoch=high.epoch))
    for _ in range(3):
        high = t.left_unanswered(high, NOW)
        high = t.claimed(high, high.epoch, NOW, fenced=True)
        assert high.epoch < low.epoch
    theirs = seen(looks(CURRENT), epoch=low.epoch)
    assert Situation(t.observed_now(high, theirs), theirs, NOW).other_owner


@pytest.mark.parametrize(
    ("asked_for", "rest"), [(1.0, 1.0), (0.99, None), (90.0, 90.0), (99999.0, 3600.0)]
)
def test_a_provider_s_wish_to_be_left_alone_is_kept_within_reason(
    asked_for: float, rest: float | None
) -> None:
    own = POLICY.retry.delay(4, "genai")
    found = t.failed(hurt(CURRENT), "issue", "429", "", NOW, retry_after=asked_for)
    assert found.retry_at == NOW + (own if rest is None else timedelta(seconds=rest))


def test_a_look_that_fails_does_not_cut_another_step_s_rest_short() -> None:
    c = hurt(CURRENT, retry_at=at(30))
    assert t.failed(c, "observe", "503", "", NOW).retry_at == at(30)
    of_looking = replace(c, failed_step="observe")
    own = NOW + POLICY.retry.delay(4, "genai")
    assert t.failed(of_looking, "observe", "503", "", NOW).retry_at == own
    assert t.failed(c, "revoke", "503", "", NOW).retry_at == own


# A new owner.


def test_a_new_owner_has_an_epoch_of_its_own_and_believes_nothing() -> None:
    c = hurt(CURRENT, epoch=5, unanswered_at=at(-9))
    found = t.taken_over(c, 3, "host", NOW, clean=True)
    own = found.epoch - t.OWNERS
    assert 0 <= own < t.OWNERS
    assert found == replace(c, driver=3, epoch=found.epoch, claimed=0, fenced=False, doubt_at=NOW)
    again = t.taken_over(found, 4, "host", NOW, clean=True)
    assert again.epoch == 2 * t.OWNERS + own
    assert t.taken_over(c, 3, "another host", NOW, clean=True).epoch != found.epoch


def test_a_store_that_could_not_be_read_may_be_readable_to_the_new_owner() -> None:
    c = hurt(CURRENT, failed_step="read")
    assert t.taken_over(c, 3, "host", NOW, clean=True).failed_step is None


@pytest.mark.parametrize(
    ("c", "underway"),
    [
        (credential(CURRENT), False),
        (credential(CURRENT, WISH), True),
        (credential(CURRENT, silence="two"), True),
        (credential(CURRENT, orders=(order(OrderKind.ROTATE),)), True),
        (credential(OLD, NEWER), True),
        (credential(LEAKED), True),
        (credential(LEAKED, NEWER), True),
        (credential(replace(LEAKED, stage=Stage.REVOKED, revoked_at=at(-1)), NEWER), False),
    ],
    ids=["nothing", "wish", "slot", "order", "overlap", "leak", "one leak of two", "past leak"],
)
def test_a_call_of_the_last_owner_may_be_under_way(c: Credential, underway: bool) -> None:
    expected = NOW if underway else None
    assert t.taken_over(c, 3, "host", NOW, clean=False).unanswered_at == expected
    assert t.taken_over(c, 3, "host", NOW, clean=True).unanswered_at is None
