"""What a record out of a backup means, and what the rules then do: a sentence each."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyman.core.health import sound, trouble, usable, worth_trying
from keyman.core.model import (
    Credential,
    Observed,
    OrderKind,
    OrderState,
    Stage,
    Verdict,
    Version,
)
from keyman.core.restoring import WHY, restored, same_life, trusted
from keyman.core.rotation import next_step
from keyman.core.steps import (
    Accept,
    Claim,
    Examine,
    Observe,
    Promote,
    Request,
    Retire,
    Revoke,
    Verify,
    Wait,
)
from keyman.core.transitions import carried, examined, observed_now, probed
from keyman.providers.protocol import Lookup
from keyman.serving.snapshot import answer_for
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

CURRENT = version(1, Stage.CURRENT)
OLD = version(1, Stage.PREVIOUS, replaced_at=at(-60))
NEWER = version(2, Stage.CURRENT, "two", promoted_at=at(-60))
MADE = at(-DAY)


def out_of_a_backup(*versions: Version, **more: Any) -> Credential:
    return restored(credential(*versions, **more), MADE, NOW)


def looked(c: Credential, o: Observed, **more: Any) -> Credential:
    """After the provider was asked, and our mark is on the key."""
    return replace(observed_now(c, o), **{"claimed": 1, "fenced": True} | more)


def current(c: Credential) -> Version:
    assert c.current
    return c.current


# ------------------------------------------------------------------------------- the record itself


def test_nothing_that_a_backup_brought_back_is_handed_out() -> None:
    c = out_of_a_backup(OLD, NEWER)
    for v in c.all_at(Stage.CURRENT, Stage.PREVIOUS):
        assert (usable(v, NOW), sound(v, NOW), worth_trying(v, NOW)) == (False, False, True)
    answer = answer_for(c, {}, Lookup(), NOW)
    assert "out of a backup" in str(answer.current)
    assert "being verified" in getattr(answer.current, "hint", "")
    wrong = trouble(c, None, NOW)
    assert wrong is not None
    assert "backup" in wrong[0]


def test_the_record_comes_back_unproven_idle_and_with_nothing_else_changed() -> None:
    told: dict[str, Any] = {
        "verified_at": at(-9),
        "reported_at": at(-8),
        "mask_before": "m",
        "refusals": 3,
    }
    gone = version(1, Stage.REVOKED, revoked_at=at(-99), stored=False, **told)
    then: dict[str, Any] = {
        "probe_from": at(-9),
        "probed_at": at(-8),
        "successes": 2,
        "activated_at": at(-9),
    }
    proven = pending(3, examined_at=at(-2), expires_before=at(-DAY), **told | then)
    running = order(OrderKind.ROTATE, id="running", state=OrderState.RUNNING, until=at(9))
    done = order(OrderKind.ROTATE, id="done", state=OrderState.DONE, finished_at=at(-50))
    leak = order(OrderKind.REVOKE, id="leak")
    c = credential(gone, CURRENT, proven, orders=(running, done, leak), silence="two", told="ok")
    hurt: dict[str, Any] = {"failures": 3, "failed_step": "issue", "retry_at": at(5)}
    c = replace(c, last_error="503", last_hint="wait", **hurt)
    unproven: dict[str, Any] = {"restored_at": NOW, "verified_at": None, "reported_at": None}
    idle: dict[str, Any] = dict.fromkeys(("probe_from", "probed_at", "activated_at"))
    well: dict[str, Any] = dict.fromkeys(
        ("failed_step", "retry_at", "last_error", "last_hint", "silence")
    )
    last = Version(2000, Stage.REVOKED, "restored-2000", NOW, None, revoked_at=NOW, stored=False)
    assert restored(c, MADE, NOW) == replace(
        c,
        versions=(
            gone,
            replace(CURRENT, **unproven),
            replace(proven, successes=0, refusals=0, **unproven, **idle),
            last,
        ),
        orders=(
            replace(running, state=OrderState.FAILED, finished_at=NOW, error=WHY),
            done,
            leak,
        ),
        failures=0,
        claimed=0,
        fenced=False,
        doubt_at=NOW,
        unanswered_at=NOW,
        **well,
    )


def test_a_wish_of_then_is_given_up_and_what_it_left_is_told_by_no_look() -> None:
    wished = wish(2, mask_before="mask-0", expires_before=at(-DAY))
    assert out_of_a_backup(CURRENT, wished).version(2) == replace(
        wished,
        stage=Stage.REVOKED,
        given_up=WHY,
        expires_at=None,
        mask_before=None,
        expires_before=None,
    )


def test_no_number_is_used_twice_however_many_rotations_are_forgotten() -> None:
    c = out_of_a_backup(OLD, NEWER)
    assert max(v.number for v in c.versions) == 2000
    late = out_of_a_backup(replace(NEWER, number=999))
    assert max(v.number for v in late.versions) == 2000
    long_ago = restored(credential(NEWER, spec=HOURLY), NOW - timedelta(days=365), NOW)
    assert max(v.number for v in long_ago.versions) > 24 * 365


def test_a_backup_from_the_future_says_nothing_of_how_many_tokens_came_since() -> None:
    """The clock was set back since: then a thousand numbers have to do."""
    token = version(999, Stage.CURRENT, None)
    c = restored(credential(token, spec=HOURLY), at(DAY), NOW)
    assert max(v.number for v in c.versions) == 2000


@pytest.mark.parametrize(
    ("number", "other", "same"),
    [(1, 999, True), (999, 1000, False), (1000, 1999, True), (2001, 1, False), (7, 7, True)],
)
def test_each_life_has_a_thousand_numbers(number: int, other: int, same: bool) -> None:
    assert same_life(number, other) is same
    assert same_life(other, number) is same


def test_restored_twice_numbers_go_on_again() -> None:
    twice = restored(out_of_a_backup(NEWER), MADE, NOW)
    assert max(v.number for v in twice.versions) == 4000


def test_a_record_without_a_version_has_nothing_to_prove() -> None:
    assert out_of_a_backup() == credential()


def test_what_people_wished_is_not_done_again_but_for_leaks() -> None:
    kinds = (*OrderKind,)
    orders = tuple(order(kind, id=str(kind)) for kind in kinds)
    after = {o.kind: o.state for o in out_of_a_backup(CURRENT, orders=orders).orders}
    assert {kind for kind in kinds if after[kind] is not OrderState.FAILED} == {OrderKind.REVOKE}


def test_failures_of_then_are_no_reason_to_rest_now() -> None:
    c = out_of_a_backup(CURRENT, failures=9, failed_step="issue", retry_at=at(30), last_error="x")
    assert isinstance(next_step(c, None, NOW), Observe)


# ------------------------------------------------------------------------------------- what follows


AS_IT_WAS = seen(looks(CURRENT), empty())
REFILLED = seen(replace(looks(CURRENT), mask="mask-9", expires_at=at(99 * DAY)), empty())


def test_the_provider_is_looked_at_before_anything_else() -> None:
    old_picture = seen(looks(CURRENT), empty(), minutes=-DAY)
    assert next_step(out_of_a_backup(CURRENT), old_picture, NOW) == Observe(("key",))


def test_then_our_mark_is_put_on_the_key_and_the_secret_is_tried() -> None:
    c = looked(out_of_a_backup(CURRENT), AS_IT_WAS, claimed=0, fenced=False)
    assert next_step(c, AS_IT_WAS, NOW) == Claim("key", 1)
    c = replace(c, claimed=1, fenced=True)
    assert next_step(c, AS_IT_WAS, NOW) == Examine(current(c))


def test_where_late_calls_are_not_refused_they_are_waited_for() -> None:
    c = looked(out_of_a_backup(CURRENT), AS_IT_WAS, fenced=False)
    assert next_step(c, AS_IT_WAS, NOW) == Wait(
        NOW + SPEC.late, "a call of an earlier owner may still arrive"
    )
    fresh = replace(AS_IT_WAS, at=NOW + SPEC.late)
    assert isinstance(next_step(c, fresh, NOW + SPEC.late), Examine)


def test_accepted_it_is_handed_out() -> None:
    c = looked(out_of_a_backup(CURRENT), AS_IT_WAS)
    c = examined(c, current(c), Verdict.ACCEPTED, AS_IT_WAS, NOW)
    assert usable(c.current, NOW)
    assert isinstance(next_step(c, AS_IT_WAS, NOW), Wait)


def test_a_probe_before_the_provider_was_looked_at_is_not_enough() -> None:
    c = out_of_a_backup(CURRENT)
    c = examined(c, current(c), Verdict.ACCEPTED, AS_IT_WAS, NOW)
    assert not usable(c.current, NOW)


def test_a_client_s_report_does_not_go_round_what_has_to_be_seen() -> None:
    c = replace(out_of_a_backup(CURRENT), doubt_at=NOW)
    c = c.with_version(1, reported_at=NOW)
    assert next_step(c, AS_IT_WAS, NOW) == Observe(("key",))


@pytest.mark.parametrize("verdict", [Verdict.SILENT, Verdict.FORBIDDEN])
def test_without_a_verdict_it_is_tried_again_after_a_rest(verdict: Verdict) -> None:
    c = looked(out_of_a_backup(CURRENT), AS_IT_WAS)
    c = examined(c, current(c), verdict, AS_IT_WAS, NOW)
    assert (usable(c.current, NOW), c.failures, c.failed_step) == (False, 1, "examine")
    c = observed_now(c, AS_IT_WAS)
    assert isinstance(next_step(c, AS_IT_WAS, NOW), Wait)
    assert c.retry_at
    later = replace(AS_IT_WAS, at=c.retry_at)
    assert isinstance(next_step(c, later, c.retry_at), Examine)
    c = examined(c, current(c), Verdict.ACCEPTED, later, c.retry_at)
    assert (usable(c.current, NOW), c.failures) == (True, 0)


def test_refused_it_is_replaced_without_ever_being_handed_out() -> None:
    c = looked(out_of_a_backup(CURRENT), REFILLED)
    c = examined(c, current(c), Verdict.REFUSED, REFILLED, NOW)
    step = next_step(c, REFILLED, NOW)
    assert isinstance(step, Request)
    assert (step.slot, usable(c.current, NOW)) == ("two", False)


def test_the_slot_that_somebody_uses_since_is_not_filled() -> None:
    used = replace(empty(), state="ACTIVE", last_used_at=at(-5))
    both = seen(replace(looks(CURRENT), mask="mask-9", last_used_at=at(-1)), used)
    c = looked(out_of_a_backup(CURRENT), both)
    c = examined(c, current(c), Verdict.REFUSED, both, NOW)
    assert not isinstance(next_step(c, both, NOW), Request)


def test_a_wish_of_then_may_have_been_granted_and_be_in_use() -> None:
    """The slot has the very expiry that was wished: otherwise a sign that nobody has its secret."""
    wished = wish(2)
    granted = replace(empty(), state="ACTIVE", expires_at=wished.expires_at, last_used_at=at(-1))
    shown = seen(replace(looks(CURRENT), mask="mask-9"), granted)
    c = looked(out_of_a_backup(CURRENT, wished), shown)
    c = examined(c, current(c), Verdict.REFUSED, shown, NOW)
    assert c.open_version is None
    step = next_step(c, shown, NOW)
    assert not (isinstance(step, Request) and step.slot == "two")
    unused = seen(shown.keys[0].slots[0], replace(granted, last_used_at=at(-2 * DAY)))
    assert isinstance(next_step(c, unused, NOW), Request)


def test_a_pending_secret_is_proven_anew_and_then_promoted() -> None:
    proven = pending(2, verified_at=at(-1), probed_at=at(-1), successes=2)
    shown = seen(looks(CURRENT), looks(proven))
    c = looked(out_of_a_backup(CURRENT, proven), shown)
    c = examined(c, current(c), Verdict.ACCEPTED, shown, NOW)
    assert isinstance(next_step(c, shown, NOW), Verify)
    for _ in range(POLICY.verify.successes):
        v = c.open_version
        assert v
        c = probed(c, v, Verdict.ACCEPTED, None, NOW)
    assert isinstance(next_step(c, shown, NOW), Promote)
    v = c.open_version
    assert v is not None
    assert v.restored_at is None


def test_a_slot_that_was_to_be_silenced_may_have_a_secret_by_now() -> None:
    used = seen(looks(CURRENT), replace(empty(), state="ACTIVE", last_used_at=at(-1)))
    c = looked(out_of_a_backup(CURRENT, silence="two"), used)
    c = examined(c, current(c), Verdict.ACCEPTED, used, NOW)
    assert not isinstance(next_step(c, used, NOW), Retire)


def test_a_previous_secret_that_was_replaced_since_is_accepted_as_gone() -> None:
    over = replace(OLD, replaced_at=at(-2 * DAY))
    shown = seen(replace(looks(over), mask="mask-9", expires_at=at(99 * DAY)), looks(NEWER))
    c = looked(out_of_a_backup(over, NEWER), shown)
    c = examined(c, current(c), Verdict.ACCEPTED, shown, NOW)
    step = next_step(c, shown, NOW)
    assert isinstance(step, Accept)
    assert (step.version.number, step.stage) == (1, Stage.REVOKED)


def test_a_leak_of_then_does_not_destroy_what_is_in_the_slot_now() -> None:
    leaked = version(1, Stage.PREVIOUS, replaced_at=at(-60), compromised_at=at(-60))
    shown = seen(replace(looks(leaked), mask="mask-9", expires_at=at(99 * DAY)), looks(NEWER))
    c = looked(out_of_a_backup(leaked, NEWER), shown)
    c = examined(c, current(c), Verdict.ACCEPTED, shown, NOW)
    assert not isinstance(next_step(c, shown, NOW), Revoke)


def test_what_takes_over_an_unproven_secret_is_unproven() -> None:
    spare = version(1, Stage.RETIRED)
    c = out_of_a_backup(spare, NEWER)
    taker = replace(wish(1003), carries=1, handle="key", slot="one")
    c = carried(replace(c, versions=(*c.versions, taker)), taker, "hmac:1", NOW)
    v = c.version(1003)
    assert v is not None
    assert v.restored_at is not None


def test_another_installation_s_key_is_left_alone_and_nothing_handed_out() -> None:
    foreign = seen(looks(CURRENT), empty(), owner="elsewhere")
    c = looked(out_of_a_backup(CURRENT), foreign)
    step = next_step(c, foreign, NOW)
    assert isinstance(step, Wait)
    assert not usable(c.current, NOW)


def test_another_copy_of_this_home_that_drives_the_key_since_is_found() -> None:
    """Its mark is newer than the journal: an epoch beyond it is taken, and claimed."""
    later = seen(looks(CURRENT), empty(), epoch=7)
    c = observed_now(replace(out_of_a_backup(CURRENT), driver=2), later)
    assert (c.epoch > 7, c.claimed) == (True, 0)
    assert next_step(replace(c, doubt_at=None), later, NOW) == Claim("key", c.epoch)


# ---------------------------------------------------------- where nobody, or only some, can say


def test_a_key_of_its_own_is_tried_without_waiting() -> None:
    key = version(1, Stage.CURRENT, None, handle="key")
    shown = seen(replace(looks(key), name=None))
    c = looked(out_of_a_backup(key, spec=KEYLESS, home=None), shown, fenced=False)
    assert next_step(c, shown, NOW) == Examine(current(c))


def test_by_hand_and_probed_needs_no_picture() -> None:
    spec = replace(BY_HAND, probes=True)
    c = out_of_a_backup(version(1, Stage.CURRENT, None, handle="x"), spec=spec, home=None)
    assert next_step(c, None, NOW) == Examine(current(c))
    assert usable(examined(c, current(c), Verdict.ACCEPTED, None, NOW).current, NOW)


def test_by_hand_and_not_probed_waits_for_a_person_s_word() -> None:
    c = out_of_a_backup(version(1, Stage.CURRENT, None, handle="x"), spec=BY_HAND, home=None)
    assert isinstance(next_step(c, None, NOW), Wait)
    answer = answer_for(c, {}, Lookup(), NOW).current
    assert "--trust" in getattr(answer, "hint", "")
    assert usable(trusted(c).current, NOW)
