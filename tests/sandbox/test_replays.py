"""The same opc-retry-token again: every plausible reading of what the documents leave open."""

from __future__ import annotations

from collections.abc import Callable

import oci
import pytest

from tests.sandbox.world import HOUR, World, in_days, slot_of

WHEN = in_days(60)


def renewals(world: World) -> int:
    done = [c for c in world.sandbox.calls("RenewApiKey") if c.status == 200 and not c.replayed]
    return len(done)


def renew(world: World, key: object, slot: str = "key-two") -> str | None:
    renewed = world.renew(key, slot, WHEN, opc_retry_token="t")
    secret: str | None = slot_of(renewed, slot).key
    return secret


def test_a_replay_can_give_the_whole_reply_again(world_of: Callable[..., World]) -> None:
    world = world_of(retry_token="full")
    made = world.create()
    assert renew(world, made) == renew(world, made)
    assert renewals(world) == 1
    assert world.sandbox.calls()[-1].replayed


def test_a_replay_can_keep_the_secret_to_itself(world_of: Callable[..., World]) -> None:
    world = world_of(retry_token="without_secret")
    made = world.create()
    first = renew(world, made)
    assert first is not None
    assert renew(world, made) is None
    assert (renewals(world), world.ask(first)) == (1, 200)


def test_a_replay_can_be_refused(world_of: Callable[..., World]) -> None:
    world = world_of(retry_token="409")
    made = world.create()
    renew(world, made)
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        renew(world, made)
    assert (caught.value.status, caught.value.code) == (409, "InvalidatedRetryToken")
    assert renewals(world) == 1


def test_a_replay_can_be_carried_out_anew(world_of: Callable[..., World]) -> None:
    world = world_of(retry_token="ignored")
    made = world.create()
    first, second = renew(world, made), renew(world, made)
    assert first is not None
    assert second is not None
    assert (renewals(world), world.ask(first), world.ask(second)) == (2, 401, 200)


@pytest.mark.parametrize(
    ("answer", "status"), [("409", 409), ("400", 400), ("stored", 200), ("executed", 200)]
)
def test_a_token_may_come_back_with_another_body(
    world_of: Callable[..., World], answer: str, status: int
) -> None:
    world = world_of(retry_other_body=answer)
    made = world.create()
    renew(world, made, "key-two")
    if status == 200:
        renewed = world.renew(made, "key-one", WHEN, opc_retry_token="t")
        told = {item.key_name for item in renewed.keys if item.key}
        assert told == ({"key-two"} if answer == "stored" else {"key-one"})
    else:
        with pytest.raises(oci.exceptions.ServiceError) as caught:
            world.renew(made, "key-one", WHEN, opc_retry_token="t")
        assert caught.value.status == status


def test_a_token_lives_for_a_day(world_of: Callable[..., World]) -> None:
    world = world_of(retry_token_life=24 * HOUR)
    made = world.create()
    first = renew(world, made)
    world.wait(23 * HOUR)
    assert renew(world, made) == first
    world.wait(2 * HOUR)
    assert renew(world, made) != first


def test_a_lost_create_is_found_again_by_its_token(world: World) -> None:
    world.break_next("lost_after", "CreateApiKey")
    with pytest.raises(oci.exceptions.RequestException):
        world.create(expires=WHEN, opc_retry_token="t")
    made = world.create(expires=WHEN, opc_retry_token="t")
    assert made.keys[0].key
    assert len(world.sandbox.truth()["keys"]) == 1


def test_a_refusal_can_be_remembered_too(world_of: Callable[..., World]) -> None:
    world = world_of(renew_inactive=409, retry_token_keeps_refusals=True)
    made = world.create()
    world.sandbox.console.set_state(made.id, "key-two", "INACTIVE")
    for _ in range(2):
        with pytest.raises(oci.exceptions.ServiceError):
            renew(world, made)
        world.sandbox.console.set_state(made.id, "key-two", "ACTIVE")
    renewed = world.renew(made, "key-two", WHEN, opc_retry_token="another")
    assert slot_of(renewed, "key-two").key


def test_a_refused_request_is_not_remembered(world: World) -> None:
    made = world.create()
    world.break_next("incorrect_state", "RenewApiKey")
    with pytest.raises(oci.exceptions.ServiceError):
        renew(world, made)
    assert renew(world, made) is not None
