"""Each question the documents leave open, with both of its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import oci
import pytest
from oci.generative_ai import models

from keyman.sandbox.behaviour import Behaviour
from tests.sandbox.world import COMPARTMENT, HOUR, World, in_days, slot_of

Worlds = Callable[..., World]


def status(call: Callable[[], object]) -> int:
    """How the SDK saw a call end."""
    try:
        call()
    except oci.exceptions.ServiceError as error:
        return int(error.status)
    return 200


def test_every_question_is_asked_in_some_test_here() -> None:
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    questions = {question.name for question in fields(Behaviour)}
    assert {name for name in questions if not any(f"{name}=" in text for text in texts)} == set()


def test_a_seed_always_gives_the_same_cloud_and_seeds_differ() -> None:
    assert Behaviour.from_seed(5) == Behaviour.from_seed(5)
    assert len({Behaviour.from_seed(seed) for seed in range(50)}) == 50


def test_each_answer_comes_up_for_some_seed() -> None:
    clouds = [Behaviour.from_seed(seed) for seed in range(100)]
    for question in fields(Behaviour):
        answers = question.metadata.get("answers", (question.default,))
        assert {getattr(cloud, question.name) for cloud in clouds} == set(answers)


def test_pace_stretches_durations_and_nothing_else() -> None:
    plain, slow = Behaviour.from_seed(3), Behaviour.from_seed(3, pace=10)
    assert plain.retry_token == slow.retry_token
    assert slow.new_secret_delay == 10 * plain.new_secret_delay


@pytest.mark.parametrize(
    ("answer", "was", "then"),
    [
        ("ACTIVE", "INACTIVE", "ACTIVE"),
        ("INACTIVE", "ACTIVE", "INACTIVE"),
        ("unchanged", "ACTIVE", "ACTIVE"),
        ("unchanged", "INACTIVE", "INACTIVE"),
    ],
)
def test_renewing_leaves_a_slot_in_a_state(
    world_of: Worlds, answer: str, was: str, then: str
) -> None:
    world = world_of(renew_state=answer)
    made = world.create()
    world.set_state(made, "key-two", was)
    renewed = slot_of(world.renew(made, "key-two"), "key-two")
    assert renewed.state == then
    assert world.ask(renewed.key) == (200 if then == "ACTIVE" else 401)


@pytest.mark.parametrize("answer", [200, 400, 404, 409])
def test_a_revoked_slot_can_be_renewed_or_not(world_of: Worlds, answer: int) -> None:
    world = world_of(renew_revoked=answer)
    made = world.create()
    world.set_state(made, "key-two", "REVOKED")
    assert status(lambda: world.renew(made, "key-two")) == answer
    assert world.state(made, "key-two") == ("ACTIVE" if answer == 200 else "REVOKED")


@pytest.mark.parametrize("answer", [200, 400, 404, 409])
def test_an_expired_slot_can_be_renewed_or_not(world_of: Worlds, answer: int) -> None:
    world = world_of(renew_expired=answer)
    made = world.create(expires=in_days(1))
    world.wait(25 * HOUR)
    assert world.state(made, "key-two") == "EXPIRED"
    assert world.ask(made.keys[1].key) == 401
    assert status(lambda: world.renew(made, "key-two")) == answer
    assert world.state(made, "key-two") == ("ACTIVE" if answer == 200 else "EXPIRED")


@pytest.mark.parametrize("answer", [200, 409])
def test_an_inactive_slot_can_be_renewed_or_not(world_of: Worlds, answer: int) -> None:
    world = world_of(renew_inactive=answer)
    made = world.create()
    world.set_state(made, "key-two", "INACTIVE")
    assert status(lambda: world.renew(made, "key-two")) == answer


@pytest.mark.parametrize("answer", [200, 409])
def test_an_inactive_key_can_be_renewed_or_not(world_of: Worlds, answer: int) -> None:
    world = world_of(renew_in_inactive_key=answer, inactive_lifecycle=True)
    made = world.create()
    for slot in ("key-one", "key-two"):
        world.set_state(made, slot, "INACTIVE")
    assert status(lambda: world.renew(made, "key-two")) == answer


@pytest.mark.parametrize(("answer", "then"), [(False, "ACTIVE"), (True, "INACTIVE")])
def test_a_key_without_an_active_slot(world_of: Worlds, answer: bool, then: str) -> None:
    world = world_of(inactive_lifecycle=answer)
    made = world.create()
    for slot in ("key-one", "key-two"):
        world.set_state(made, slot, "INACTIVE")
    assert world.get(made).lifecycle_state == then


@pytest.mark.parametrize("answer", [True, False])
def test_renewing_moves_the_time_of_creation_or_not(world_of: Worlds, answer: bool) -> None:
    world = world_of(renew_changes_created=answer)
    made = world.create()
    world.wait(HOUR)
    renewed = slot_of(world.renew(made, "key-two"), "key-two")
    assert (renewed.time_created != made.keys[1].time_created) == answer


@pytest.mark.parametrize("answer", [("ACTIVE", "ACTIVE"), ("ACTIVE", "INACTIVE")])
def test_the_slots_of_a_new_key_are_in_these_states(
    world_of: Worlds, answer: tuple[str, str]
) -> None:
    world = world_of(initial_states=answer)
    made = world.create()
    assert tuple(item.state for item in made.keys) == answer
    expected = tuple(200 if state == "ACTIVE" else 401 for state in answer)
    assert tuple(world.ask(item.key) for item in made.keys) == expected


@pytest.mark.parametrize("answer", [200, 409])
def test_setting_a_state_that_is_so_already(world_of: Worlds, answer: int) -> None:
    world = world_of(same_state=answer)
    made = world.create()
    assert status(lambda: world.set_state(made, "key-one", "ACTIVE")) == answer


@pytest.mark.parametrize("answer", [400, 409])
def test_an_expired_slot_is_not_activated(world_of: Worlds, answer: int) -> None:
    world = world_of(activate_expired=answer)
    made = world.create(expires=in_days(1))
    world.wait(25 * HOUR)
    assert status(lambda: world.set_state(made, "key-one", "ACTIVE")) == answer


@pytest.mark.parametrize("answer", [400, 409])
def test_a_revoked_slot_stays_revoked(world_of: Worlds, answer: int) -> None:
    world = world_of(leave_revoked=answer)
    made = world.create()
    world.set_state(made, "key-one", "REVOKED")
    assert status(lambda: world.set_state(made, "key-one", "ACTIVE")) == answer


@pytest.mark.parametrize("answer", [200, 409])
def test_an_inactive_slot_can_be_revoked_or_not(world_of: Worlds, answer: int) -> None:
    world = world_of(revoke_inactive=answer)
    made = world.create()
    world.set_state(made, "key-one", "INACTIVE")
    assert status(lambda: world.set_state(made, "key-one", "REVOKED")) == answer


def test_a_new_key_can_be_in_the_making_for_a_while(world_of: Worlds) -> None:
    world = world_of(creating=10.0)
    made = world.create()
    assert made.lifecycle_state == "CREATING"
    assert status(lambda: world.renew(made, "key-two")) == 409
    world.wait(10)
    assert world.get(made).lifecycle_state == "ACTIVE"


@pytest.mark.parametrize("answer", [True, False])
def test_a_key_that_is_updating_refuses_other_changes_or_not(
    world_of: Worlds, answer: bool
) -> None:
    world = world_of(updating=10.0, busy_refuses=answer)
    made = world.create()
    assert world.set_state(made, "key-two", "INACTIVE").lifecycle_state == "UPDATING"
    again: Callable[[], object] = lambda: world.set_state(made, "key-two", "ACTIVE")  # noqa: E731
    assert status(again) == (409 if answer else 200)
    world.wait(10)
    assert world.get(made).lifecycle_state == "ACTIVE"
    assert status(again) == 200


def test_a_deleted_key_can_linger_as_deleted(world_of: Worlds) -> None:
    world = world_of(deleted_key="DELETED")
    made = world.create()
    world.client.delete_api_key(made.id)
    assert world.get(made).lifecycle_state == "DELETED"
    assert status(lambda: world.renew(made, "key-one")) == 409


@pytest.mark.parametrize("answer", [True, False])
def test_a_key_in_use_can_be_deleted_or_not(world_of: Worlds, answer: bool) -> None:
    world = world_of(delete_needs_inactive=answer)
    made = world.create()
    assert status(lambda: world.client.delete_api_key(made.id)) == (409 if answer else 200)


@pytest.mark.parametrize("answer", [200, 204])
def test_a_reply_without_a_body_has_one_of_two_statuses(world_of: Worlds, answer: int) -> None:
    world = world_of(no_body_status=answer)
    assert world.client.delete_api_key(world.create().id).status == answer


@pytest.mark.parametrize(("reads", "seconds"), [(2, 0.0), (0, 10.0)])
def test_reads_can_lag_behind_writes(world_of: Worlds, reads: int, seconds: float) -> None:
    world = world_of(stale_reads=reads, stale_for=seconds)
    made = world.create()
    world.set_state(made, "key-one", "INACTIVE")
    assert [world.state(made, "key-one") for _ in range(2)] == ["ACTIVE", "ACTIVE"]
    world.wait(seconds)
    assert world.state(made, "key-one") == "INACTIVE"


@pytest.mark.parametrize("answer", [True, False])
def test_a_new_key_is_visible_at_once_or_not(world_of: Worlds, answer: bool) -> None:
    world = world_of(created_visible=answer, stale_reads=1)
    made = world.create()
    assert status(lambda: world.get(made)) == (200 if answer else 404)
    assert status(lambda: world.get(made)) == 200


@pytest.mark.parametrize("answer", [True, False])
def test_a_read_carries_an_etag_or_not(world_of: Worlds, answer: bool) -> None:
    world = world_of(etag_on_get=answer)
    made = world.create()
    assert ("etag" in world.client.get_api_key(made.id).headers) == answer


@pytest.mark.parametrize("answer", [True, False])
def test_a_change_carries_an_etag_or_not(world_of: Worlds, answer: bool) -> None:
    world = world_of(etag_on_change=answer)
    wanted = models.SetApiKeyStateDetails(key_name="key-one", state="INACTIVE")
    reply = world.client.set_api_key_state(world.create().id, wanted)
    assert ("etag" in reply.headers) == answer


def etag(world: World, key: Any) -> str:
    return str(world.client.get_api_key(key.id).headers["etag"])


@pytest.mark.parametrize("answer", [True, False])
def test_tags_change_the_etag_or_not(world_of: Worlds, answer: bool) -> None:
    world = world_of(etag_changed_by_tags=answer)
    made = world.create()
    before = etag(world, made)
    world.client.update_api_key(made.id, models.UpdateApiKeyDetails(freeform_tags={"a": "b"}))
    assert (etag(world, made) != before) == answer


@pytest.mark.parametrize("answer", [True, False])
def test_actions_change_the_etag_or_not(world_of: Worlds, answer: bool) -> None:
    world = world_of(etag_changed_by_actions=answer)
    made = world.create()
    before = etag(world, made)
    world.renew(made, "key-two")
    assert (etag(world, made) != before) == answer


@pytest.mark.parametrize("answer", [True, False])
def test_use_changes_the_etag_or_not(world_of: Worlds, answer: bool) -> None:
    world = world_of(etag_moved_by_use=answer)
    made = world.create()
    before = etag(world, made)
    world.ask(made.keys[0].key)
    assert (etag(world, made) != before) == answer
    found = status(lambda: world.renew(made, "key-two", if_match=before))
    assert found == (412 if answer else 200)


def test_an_etag_that_was_left_does_not_return(world_of: Worlds) -> None:
    world = world_of(etag_moved_by_use=True, etag_changed_by_actions=False)
    made = world.create()
    before = etag(world, made)
    world.ask(made.keys[0].key)
    world.renew(made, "key-one")
    assert etag(world, made) != before


@pytest.mark.parametrize("answer", [True, False])
def test_actions_heed_if_match_or_not(world_of: Worlds, answer: bool) -> None:
    world = world_of(if_match_on_actions=answer)
    made = world.create()
    found = status(lambda: world.renew(made, "key-two", if_match="old"))
    assert found == (412 if answer else 200)
    assert status(lambda: world.client.delete_api_key(made.id, if_match="old")) == 412


@pytest.mark.parametrize(
    ("answer", "code"), [("names", "NotAuthorizedOrNotFound"), ("numbers", "404")]
)
def test_errors_have_names_or_numbers(world_of: Worlds, answer: str, code: str) -> None:
    world = world_of(error_codes=answer)
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        world.client.get_api_key("ocid1.generativeaiapikey.oc1..nobody")
    assert (caught.value.status, caught.value.code) == (404, code)


@pytest.mark.parametrize(
    ("answer", "names"), [("all", {"key-one", "key-two"}), ("touched", {"key-two"})]
)
def test_a_reply_shows_all_slots_or_the_touched_one(
    world_of: Worlds, answer: str, names: set[str]
) -> None:
    world = world_of(reply_items=answer)
    made = world.create()
    assert {item.key_name for item in world.renew(made, "key-two").keys} == names
    off = world.set_state(made, "key-two", "INACTIVE")
    assert {item.key_name for item in off.keys} == names
    assert len(world.get(made).keys) == 2


def test_slots_come_in_any_order(world_of: Worlds) -> None:
    def orders(answer: str) -> set[tuple[str, ...]]:
        world = world_of(slot_order=answer)
        made = world.create()
        return {tuple(item.key_name for item in world.get(made).keys) for _ in range(16)}

    forth, back = ("key-one", "key-two"), ("key-two", "key-one")
    assert orders("created") == {forth}
    assert orders("reversed") == {back}
    assert orders("shuffled") == {forth, back}


@pytest.mark.parametrize(
    ("answer", "shown"),
    [("head_tail", "sk-****{}"), ("tail", "****{}"), ("short", "sk-***"), ("constant", "sk-****")],
)
def test_masks_have_one_of_several_shapes(world_of: Worlds, answer: str, shown: str) -> None:
    item = world_of(key_mask=answer).create().keys[0]
    assert item.key_mask.startswith(shown.format(item.key[-4:]))
    assert item.key not in item.key_mask


@pytest.mark.parametrize("answer", [True, False])
def test_times_are_precise_to_the_microsecond_or_not(world_of: Worlds, answer: bool) -> None:
    at = datetime(2099, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    world = world_of({"now": lambda: at}, microseconds=answer)
    made = world.create(expires=at + timedelta(days=9))
    assert made.time_created == at.replace(microsecond=123456 if answer else 123000)


@pytest.mark.parametrize(("answer", "then"), [(0.0, "EXPIRED"), (2 * HOUR, "ACTIVE")])
def test_expiry_is_shown_at_once_or_late_and_holds_at_once(
    world_of: Worlds, answer: float, then: str
) -> None:
    world = world_of(expired_shown_after=answer)
    made = world.create(expires=in_days(1))
    world.wait(25 * HOUR)
    assert (world.state(made, "key-one"), world.ask(made.keys[0].key)) == (then, 401)


@pytest.mark.parametrize("answer", ["present", "lagging", "absent"])
def test_the_last_use_is_told_late_or_never(world_of: Worlds, answer: str) -> None:
    world = world_of(last_used=answer, last_used_lag=60.0)
    made = world.create()
    world.ask(made.keys[0].key)

    def told() -> bool:
        return slot_of(world.get(made), "key-one").time_last_used is not None

    at_once = told()
    world.wait(61)
    assert (at_once, told()) == (answer == "present", answer != "absent")
    assert slot_of(world.get(made), "key-two").time_last_used is None


@pytest.mark.parametrize("answer", [True, False])
def test_a_failed_call_counts_as_use_or_not(world_of: Worlds, answer: bool) -> None:
    world = world_of(failures_count_as_use=answer)
    made = world.create()
    world.set_state(made, "key-one", "INACTIVE")
    assert world.ask(made.keys[0].key) == 401
    assert (slot_of(world.get(made), "key-one").time_last_used is not None) == answer


@pytest.mark.parametrize(("answer", "found"), [(True, 401), (False, 400)])
def test_a_cheap_probe_meets_the_check_of_secret_or_body_first(
    world_of: Worlds, answer: bool, found: int
) -> None:
    world = world_of(authenticate_first=answer)
    assert world.ask("sk-bogus", {}) == found
    assert world.ask(world.create().keys[0].key, {}) == 400


@pytest.mark.parametrize("answer", [404, 403, 401])
def test_without_a_policy_even_good_secrets_are_refused(world_of: Worlds, answer: int) -> None:
    world = world_of({"policy_missing": True}, policy_missing_status=answer)
    secret = world.create().keys[0].key
    assert world.ask(secret) == answer
    world.sandbox.set_policy(present=True)
    assert world.ask(secret) == 200


@pytest.mark.parametrize("heals", [True, False])
def test_a_key_older_than_its_policy_can_stay_shut_out(world_of: Worlds, heals: bool) -> None:
    world = world_of({"policy_missing": True}, policy_order=True, renew_heals_policy_order=heals)
    made = world.create()
    world.sandbox.set_policy(present=True)
    assert world.ask(made.keys[0].key) == 401
    renewed = slot_of(world.renew(made, "key-two"), "key-two").key
    assert world.ask(renewed) == (200 if heals else 401)
    assert world.ask(world.create("younger").keys[0].key) == 200


@pytest.mark.parametrize("answer", [True, False])
def test_an_expiry_must_be_given_or_defaults_to_ninety_days(world_of: Worlds, answer: bool) -> None:
    at = datetime(2099, 1, 1, tzinfo=UTC)
    world = world_of({"now": lambda: at}, expiry_required=answer)
    made = world.create(expires=at + timedelta(days=9))
    wanted = models.RenewApiKeyDetails(details=models.KeyDetails(key_name="key-one"))
    if answer:
        assert status(lambda: world.client.renew_api_key(made.id, wanted)) == 400
    else:
        renewed = slot_of(world.client.renew_api_key(made.id, wanted).data, "key-one")
        assert renewed.time_expiry == at + timedelta(days=90)


@pytest.mark.parametrize(("answer", "found"), [(None, 200), (366, 400)])
def test_an_expiry_can_be_too_far_away(world_of: Worlds, answer: int | None, found: int) -> None:
    world = world_of(max_expiry_days=answer)
    assert status(lambda: world.create(expires=in_days(400))) == found


@pytest.mark.parametrize(("answer", "found"), [(None, 200), (60.0, 400)])
def test_an_expiry_can_be_too_soon(world_of: Worlds, answer: float | None, found: int) -> None:
    world = world_of(min_expiry_seconds=answer)
    assert status(lambda: world.create(expires=in_days(30 / 86400))) == found


def test_the_control_plane_can_have_enough_of_a_caller(world_of: Worlds) -> None:
    world = world_of(calls_per_minute=2)
    calls = [status(lambda: world.client.list_api_keys(COMPARTMENT)) for _ in range(3)]
    assert calls == [200, 200, 429]
    world.wait(61)
    assert status(lambda: world.client.list_api_keys(COMPARTMENT)) == 200
