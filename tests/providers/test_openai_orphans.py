"""Keys that nobody can have any use for: at most one of them at a time, none when all is settled.

A key made for a wish whose answer was lost is known by its name. Nothing else of anybody's goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from keyman import errors
from keyman.core.model import Secret, Version
from keyman.providers.openai import Openai
from keyman.providers.protocol import Issued
from keyman.sandbox.faults import Fault
from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from keyman.vendors.openai_keys import Intent
from tests.providers.openai_world import LATE, World, until_done, world

SEEDS = range(4)
TRIES = 12
SPOILT = [
    Fault("lost_before"),
    Fault("lost_after"),
    Fault("truncated"),
    Fault("garbage"),
    Fault("throttle", retry_after=2),
    Fault("incorrect_state"),
    Fault("status", status=503),
    Fault("status", status=503, done=True),
    Fault("html", status=502, done=True),
    Fault("status", status=403),
]


@pytest.fixture
def ai() -> Iterator[World]:
    """A kind organization whose service account has no key."""
    with world() as made:
        yield made


def named(fault: Fault) -> str:
    return f"{fault.effect}-{fault.status}{'-done' if fault.done else ''}"


def name_of(ai: World, wish: Version) -> str:
    return Intent.of(ai.spec, wish).name


def tried(ai: World, provider: Openai, wish: Version, current: str = "") -> Issued | None:
    """One try at a wish; whatever comes of it, there is at most one orphan."""
    try:
        made = provider.issue(wish, None)
    except errors.RetryLater as error:
        ai.clock.pass_by(error.retry_after or 1.0)
        made = None
    except (errors.Unknown, errors.Rejected):
        made = None
    assert len(set(ai.alive()) - {current, made.handle if made else ""}) <= 1
    return made


def restarted(ai: World, current: str) -> Openai:
    """The next process; it looks before it acts, and again if that fails."""
    ai.clock.pass_by(1)
    provider = ai.provider_with()
    until_done(partial(provider.observe, (current,), ai.clock.now()), ai.clock)
    return provider


def served(ai: World, provider: Openai) -> tuple[str, Secret]:
    """The key that lookups hand out, as the core would tell the provider."""
    handle, secret = ai.by_hand("served")
    ai.clock.pass_by(1)
    provider.observe((handle,), ai.clock.now())
    return handle, secret


@pytest.mark.slow
@pytest.mark.parametrize("fault", SPOILT, ids=named)
@pytest.mark.parametrize("operation", ["CreateApiKey", "ListApiKeys", "DeleteApiKey"])
@pytest.mark.parametrize("dies", [False, True], ids=["lives-on", "dies"])
def test_whatever_is_lost_leaves_one_orphan_at_most_and_the_next_key_none(
    fault: Fault, operation: str, *, dies: bool
) -> None:
    """A key is made and lost, then any fault on any call; the process may die after each."""
    for seed in SEEDS:
        with world(OpenAIBehaviour.from_seed(seed)) as ai:
            provider, wish = ai.usual, ai.wish()
            current, secret = served(ai, provider)
            ai.sandbox.faults.add(Fault("lost_after", "CreateApiKey", count=1))
            ai.sandbox.faults.add(replace(fault, operation=operation, nth=1 + seed % 2, count=1))
            made = tried(ai, provider, wish, current)
            for _ in range(TRIES):
                if made:
                    break
                spoilt = ai.spoilt
                made = tried(ai, provider, wish, current)
                if dies and ai.spoilt > spoilt:
                    provider, made = restarted(ai, current), None
            assert made
            assert ai.alive() == [current, made.handle]
            assert ai.holds(made.handle, made.secret)
            assert ai.holds(current, secret)


# A call without an answer.


@pytest.mark.parametrize("effect", ["lost_after", "truncated", "garbage"])
def test_a_key_whose_answer_was_lost_is_deleted_and_another_one_made_at_once(
    ai: World, effect: str
) -> None:
    ai.sandbox.faults.add(Fault(effect, "CreateApiKey", count=1))  # type: ignore[arg-type]
    wish = ai.wish()
    with pytest.raises(errors.Unknown):
        ai.usual.issue(wish, None)
    [orphan] = ai.alive()
    made = ai.usual.issue(wish, None)
    assert ai.alive() == [made.handle] != [orphan]


def test_a_key_that_may_still_come_is_waited_for(ai: World) -> None:
    ai.sandbox.faults.add(Fault("lost_before", "CreateApiKey", count=1))
    wish = ai.wish()
    with pytest.raises(errors.Unknown):
        ai.usual.issue(wish, None)
    ai.clock.pass_by(10)
    with pytest.raises(errors.RetryLater, match="got no answer, and may still make") as caught:
        ai.usual.issue(wish, None)
    assert caught.value.retry_after == LATE.total_seconds() - 10
    assert len(ai.sandbox.calls("CreateApiKey")) == 1
    ai.clock.pass_by(caught.value.retry_after)
    made = ai.usual.issue(wish, None)
    assert ai.alive() == [made.handle]


def test_a_key_that_comes_late_is_swept_and_waited_for_no_longer(ai: World) -> None:
    ai.sandbox.faults.add(Fault("lost_before", "CreateApiKey", count=1))
    wish = ai.wish()
    with pytest.raises(errors.Unknown):
        ai.usual.issue(wish, None)
    with pytest.raises(errors.RetryLater):
        ai.usual.issue(wish, None)
    ai.by_hand(name_of(ai, wish))  # the call is carried out only now
    made = ai.usual.issue(wish, None)
    assert ai.alive() == [made.handle]


def test_a_key_that_no_list_shows_yet_is_not_made_twice() -> None:
    with world(OpenAIBehaviour(list_lags=60.0)) as ai:
        ai.sandbox.faults.add(Fault("lost_after", "CreateApiKey", count=1))
        wish = ai.wish()
        with pytest.raises(errors.Unknown):
            ai.usual.issue(wish, None)
        with pytest.raises(errors.RetryLater):
            ai.usual.issue(wish, None)
        assert len(ai.alive()) == 1
        ai.clock.pass_by(61)
        made = ai.usual.issue(wish, None)
    assert ai.alive() == [made.handle]


def test_a_list_that_still_shows_what_was_swept_settles_nothing() -> None:
    with world(OpenAIBehaviour(list_lags=5.0)) as ai:
        wish = ai.wish()
        ai.sandbox.faults.add(Fault("lost_after", "CreateApiKey", count=2))
        with pytest.raises(errors.Unknown):
            ai.usual.issue(wish, None)
        ai.clock.pass_by(6)
        with pytest.raises(errors.Unknown):  # the first is deleted, a second made and lost
            ai.usual.issue(wish, None)
        ai.clock.pass_by(1)
        with pytest.raises(errors.RetryLater):  # the list shows the first still, the second not yet
            ai.usual.issue(wish, None)
        ai.clock.pass_by(5)
        made = ai.usual.issue(wish, None)
    assert ai.alive() == [made.handle]


def test_what_a_dead_process_asked_for_is_waited_for_too(ai: World) -> None:
    wish = ai.wish()
    ai.clock.pass_by(1)
    after = ai.provider_with()  # the process that wrote the wish down is gone
    ai.clock.pass_by(1)
    with pytest.raises(errors.RetryLater, match="a key may have been asked for") as caught:
        after.issue(wish, None)
    assert caught.value.retry_after == LATE.total_seconds() - 2
    ai.by_hand(name_of(ai, wish))
    made = after.issue(wish, None)
    assert ai.alive() == [made.handle]


def test_processes_that_live_shortly_get_on_all_the_same(ai: World) -> None:
    """As `keyman daemon --once` does; what an earlier one asked for is watched out for."""
    wish = ai.wish()
    ai.late()
    after = ai.provider_with()
    made = after.issue(wish, None)
    after.observe((made.handle,), ai.clock.now())
    for seconds in (60, LATE.total_seconds()):
        ai.by_hand(name_of(ai, wish))  # asked for by the one that is gone
        ai.clock.pass_by(seconds)
        after.observe((made.handle,), ai.clock.now())
        assert ai.alive() == [made.handle]
    foreign, _ = ai.by_hand(name_of(ai, wish))
    after.observe((made.handle,), ai.clock.now())
    assert ai.alive() == [made.handle, foreign]


def test_a_version_is_no_orphan_whatever_is_watched_out_for(ai: World) -> None:
    ai.sandbox.faults.add(Fault("lost_after", "CreateApiKey", count=1))
    wish = ai.wish()
    with pytest.raises(errors.Unknown):
        ai.usual.issue(wish, None)
    made = ai.usual.issue(wish, None)
    for handles in ((made.handle,), (), ("key_other",)):
        ai.usual.observe(handles, ai.clock.now())
        assert ai.alive() == [made.handle]


def test_what_a_dead_process_left_is_swept_at_once(ai: World) -> None:
    wish = ai.wish()
    lost = ai.usual.issue(wish, None)  # and the process died before it wrote the answer down
    ai.clock.pass_by(1)
    after = ai.provider_with()
    ai.sandbox.faults.add(Fault("throttle", "CreateApiKey", count=1))
    with pytest.raises(errors.RetryLater, match="429"):
        after.issue(wish, None)
    made = after.issue(wish, None)  # it was settled, and stays so
    assert ai.alive() == [made.handle] != [lost.handle]


def test_asking_again_for_one_wish_leaves_one_key(ai: World) -> None:
    current, _ = served(ai, ai.usual)
    wish = ai.wish()
    ai.usual.issue(wish, None)  # as if the store had refused it
    made = ai.usual.issue(wish, None)
    assert ai.alive() == [current, made.handle]


@pytest.mark.parametrize(
    "fault",
    [Fault("throttle"), Fault("incorrect_state"), Fault("status", status=403)],
    ids=["throttled", "busy", "refused"],
)
def test_after_a_definite_no_nothing_is_waited_for(ai: World, fault: Fault) -> None:
    ai.sandbox.faults.add(replace(fault, operation="CreateApiKey", count=1))
    wish = ai.wish()
    with pytest.raises(errors.ProviderFailed):
        ai.usual.issue(wish, None)
    made = ai.usual.issue(wish, None)
    assert ai.alive() == [made.handle]


def test_with_nobody_there_nothing_was_sent_and_nothing_is_waited_for(ai: World) -> None:
    wish = ai.wish()
    ai.sandbox.stop()
    with pytest.raises(errors.RetryLater):
        ai.usual.issue(wish, None)
    ai.sandbox.start()
    made = ai.usual.issue(wish, None)
    assert ai.alive() == [made.handle]


def reopened(ai: World) -> Openai:
    """The same process after it took up a changed configuration."""
    ai.clock.pass_by(1)
    return ai.provider_with()


REFUSED = [
    Fault("status", "ListApiKeys", status=401),
    Fault("throttle", "ListApiKeys"),
    Fault("status", "CreateApiKey", status=403),
    Fault("throttle", "CreateApiKey"),
]


@pytest.mark.parametrize("fault", REFUSED, ids=lambda fault: f"{fault.operation}-{named(fault)}")
def test_after_a_reload_nothing_is_waited_for_that_was_never_made(ai: World, fault: Fault) -> None:
    """As with an admin key that was wrong and is corrected."""
    wish, provider = ai.wish(), ai.usual
    for _ in range(3):
        ai.sandbox.faults.add(replace(fault, count=1))
        with pytest.raises(errors.ProviderFailed):
            provider.issue(wish, None)
        provider = reopened(ai)
    made = provider.issue(wish, None)
    assert ai.alive() == [made.handle]


@pytest.mark.parametrize("tries", [1, 2])
def test_after_a_reload_a_lost_answer_is_still_waited_for(ai: World, tries: int) -> None:
    wish, provider = ai.wish(), ai.usual
    for _ in range(tries - 1):  # a definite no before it does not count
        ai.sandbox.faults.add(Fault("status", "CreateApiKey", status=403, count=1))
        with pytest.raises(errors.Rejected):
            provider.issue(wish, None)
        provider = reopened(ai)
    ai.sandbox.faults.add(Fault("lost_before", "CreateApiKey", count=1))
    ai.clock.pass_by(100)
    with pytest.raises(errors.Unknown):
        provider.issue(wish, None)
    with pytest.raises(errors.RetryLater, match="got no answer") as caught:
        provider.issue(wish, None)
    assert caught.value.retry_after == LATE.total_seconds()
    for again in (reopened(ai), reopened(ai)):
        with pytest.raises(errors.RetryLater, match="may still make one"):
            again.issue(wish, None)
    ai.by_hand(name_of(ai, wish))  # carried out late
    made = reopened(ai).issue(wish, None)
    assert ai.alive() == [made.handle]


def test_a_refusal_says_nothing_of_what_a_dead_process_asked_for(ai: World) -> None:
    wish, after = ai.wish(), reopened(ai)
    ai.late()
    ai.sandbox.faults.add(Fault("status", "CreateApiKey", status=403, count=1))
    with pytest.raises(errors.Rejected):
        after.issue(wish, None)
    after = reopened(ai)
    made = after.issue(wish, None)
    after.observe((made.handle,), ai.clock.now())
    ai.by_hand(name_of(ai, wish))  # asked for by the one that is gone
    after.observe((made.handle,), ai.clock.now())
    assert ai.alive() == [made.handle]


def test_a_wish_that_is_given_up_before_its_answer_came_is_settled_by_looking(ai: World) -> None:
    """The core may drop a wish for good; its key is deleted all the same when it is seen."""
    current, _ = served(ai, ai.usual)
    ai.sandbox.faults.add(Fault("lost_before", "CreateApiKey", count=1))
    wish = ai.wish()
    with pytest.raises(errors.Unknown):
        ai.usual.issue(wish, None)
    assert ai.seen(current).state == "ACTIVE"
    ai.by_hand(name_of(ai, wish))  # carried out late
    assert ai.seen(current).state == "ACTIVE"
    assert ai.alive() == [current]
    assert ai.usual.issue(ai.wish(), None).handle in ai.alive()  # and nothing is waited for


def test_looking_stops_to_settle_when_nothing_can_come_any_more(ai: World) -> None:
    current, _ = served(ai, ai.usual)
    ai.sandbox.faults.add(Fault("lost_before", "CreateApiKey", count=1))
    wish = ai.wish()
    with pytest.raises(errors.Unknown):
        ai.usual.issue(wish, None)
    ai.late()
    ai.usual.observe((), ai.clock.now())
    foreign, _ = ai.by_hand(name_of(ai, wish))
    ai.seen(current)
    assert ai.alive() == [current, foreign]


def test_whoever_only_looks_changes_nothing(ai: World) -> None:
    """`keyman check` looks without the home's lock, with what the journal said a moment ago."""
    provider = ai.usual
    current, _ = served(ai, provider)
    ai.usual.issue(ai.wish(), None)
    before = ai.alive()
    ai.clock.pass_by(1)
    ai.provider_with().observe((current,), ai.clock.now())
    ai.provider_with().list_keys()
    assert ai.alive() == before


def test_a_wish_that_follows_another_ones_lost_answer_waits_for_that(ai: World) -> None:
    ai.sandbox.faults.add(Fault("lost_before", "CreateApiKey", count=1))
    lost, wish = ai.wish(), ai.wish()
    with pytest.raises(errors.Unknown):
        ai.usual.issue(lost, None)
    with pytest.raises(errors.RetryLater):
        ai.usual.issue(wish, None)
    ai.by_hand(name_of(ai, lost))
    made = ai.usual.issue(wish, None)
    assert ai.alive() == [made.handle]


# What earlier wishes left.


def test_the_key_of_a_wish_that_was_given_up_goes_with_the_next_one(ai: World) -> None:
    provider = ai.usual
    current, _ = served(ai, provider)
    given_up = provider.issue(ai.wish(), None)
    provider.observe((current, given_up.handle), ai.clock.now())
    ai.clock.pass_by(3700)
    provider.verify(given_up.secret)  # it was used, by ourselves, and that took long
    provider.observe((current,), ai.clock.now())
    made = provider.issue(ai.wish(), None)
    assert ai.alive() == [current, made.handle]


def test_what_matters_is_never_swept(ai: World) -> None:
    provider = ai.usual
    one, two = provider.issue(ai.wish(), None), None
    provider.observe((one.handle,), ai.clock.now())
    two = provider.issue(ai.wish(), None)
    provider.observe((one.handle, two.handle), ai.clock.now())
    made = provider.issue(ai.wish(), None)
    assert ai.alive() == [one.handle, two.handle, made.handle]


def test_as_long_as_nobody_said_what_matters_only_the_wishs_own_keys_are_swept(ai: World) -> None:
    first = ai.usual.issue(ai.wish(), None)
    wish = ai.wish()
    own, _ = ai.by_hand(name_of(ai, wish))
    made = ai.provider_with().issue(wish, None)
    assert ai.alive() == [first.handle, made.handle]
    assert own not in ai.alive()


def test_a_key_that_somebody_uses_is_no_orphan(ai: World) -> None:
    provider = ai.usual
    current, _ = served(ai, provider)
    earlier, wish = ai.wish(), ai.wish()
    (used, secret), (own, mine) = ai.by_hand(name_of(ai, earlier)), ai.by_hand(name_of(ai, wish))
    ai.clock.pass_by(3700)
    assert provider.verify(secret) is provider.verify(mine)
    made = provider.issue(wish, None)
    assert ai.alive() == [current, used, own, made.handle]
    provider.observe((current, made.handle), ai.clock.now())
    ai.clock.pass_by((ai.spec.policy.overlap + timedelta(seconds=1)).total_seconds())
    last = provider.issue(ai.wish(), None)
    assert ai.alive() == [current, made.handle, last.handle]


def test_a_key_that_only_a_dead_process_tried_is_one(ai: World) -> None:
    given_up = ai.usual.issue(ai.wish(), None)
    ai.usual.verify(given_up.secret)
    after = ai.provider_with()
    current, _ = served(ai, after)
    made = after.issue(ai.wish(), None)
    assert ai.alive() == [current, made.handle]


def test_a_restored_journal_does_not_sweep_what_it_has_forgotten(ai: World) -> None:
    """Numbers at or above the wish's are from a history that was lost with the backup."""
    provider = ai.usual
    current, _ = served(ai, provider)
    ahead = [ai.by_hand(name_of(ai, ai.wish(number)))[0] for number in (8, 9)]
    made = provider.issue(ai.wish(8), None)
    assert ai.alive() == [current, *ahead, made.handle]


@pytest.mark.parametrize(
    "foreign",
    [
        "keyman/fedcba987654/openai-main_1/1/{attempt}",
        "keyman/0123456789ab/another/1/{attempt}",
        "keyman/0123456789ab/openai-main_1/x/{attempt}",
        "keyman/0123456789ab/openai-main_1/{attempt}",
        "my keyman/0123456789ab/openai-main_1/1/{attempt}",
        "keyman/0123456789ab/openai-main_1/1/{attempt}/2",
        "{attempt}",
        "Secret key",
        "",
    ],
)
def test_keys_of_others_are_left_alone(ai: World, foreign: str) -> None:
    provider = ai.usual
    current, _ = served(ai, provider)
    wish = ai.wish(5)
    theirs, _ = ai.by_hand(foreign.format(attempt=wish.attempt))
    made = provider.issue(wish, None)
    assert ai.alive() == [current, theirs, made.handle]


def test_two_installations_on_one_account_leave_each_other_alone(ai: World) -> None:
    there = ai.provider_with(spec=replace(ai.spec, installation="f" * 32))
    here = ai.usual
    ours, theirs = here.issue(ai.wish(1), None), there.issue(ai.wish(1), None)
    for provider, handle in ((here, ours.handle), (there, theirs.handle)):
        provider.observe((handle,), ai.clock.now())
    again, more = here.issue(ai.wish(2), None), there.issue(ai.wish(2), None)
    assert ai.alive() == [ours.handle, theirs.handle, again.handle, more.handle]


def test_two_credentials_on_one_account_leave_each_other_alone(ai: World) -> None:
    other = ai.provider_with(spec=replace(ai.spec, name="openai-main"))
    ours, theirs = ai.usual.issue(ai.wish(1), None), other.issue(ai.wish(1), None)
    for provider, handle in ((ai.usual, ours.handle), (other, theirs.handle)):
        provider.observe((handle,), ai.clock.now())
    again, more = ai.usual.issue(ai.wish(2), None), other.issue(ai.wish(2), None)
    assert ai.alive() == [ours.handle, theirs.handle, again.handle, more.handle]


def test_admin_keys_are_swept_alike(ai: World) -> None:
    admin = ai.provider_with(key_type="admin")
    ai.sandbox.faults.add(Fault("lost_after", "CreateAdminApiKey", count=1))
    wish = ai.wish()
    with pytest.raises(errors.Unknown):
        admin.issue(wish, None)
    made = admin.issue(wish, None)
    assert ai.alive(admin=True) == [ai.sandbox.admin_key_id, made.handle]


@pytest.mark.parametrize("fault", SPOILT, ids=named)
def test_a_sweep_that_fails_makes_no_second_orphan(ai: World, fault: Fault) -> None:
    ai.sandbox.faults.add(Fault("lost_after", "CreateApiKey", count=1))
    wish = ai.wish()
    with pytest.raises(errors.Unknown):
        ai.usual.issue(wish, None)
    ai.sandbox.faults.add(replace(fault, operation="DeleteApiKey", count=1))
    with pytest.raises(errors.ProviderFailed):
        ai.usual.issue(wish, None)
    assert len(ai.sandbox.calls("CreateApiKey")) == 1
    made = None
    for _ in range(3):
        made = made or tried(ai, ai.usual, wish)
    assert made
    assert ai.alive() == [made.handle]
