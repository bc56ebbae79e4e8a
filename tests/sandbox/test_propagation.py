"""What the control plane decides reaches the data plane later, perhaps not everywhere at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sandbox.world import HOUR, World, slot_of

Worlds = Callable[..., World]


def test_a_new_secret_can_be_refused_at_first(world_of: Worlds) -> None:
    world = world_of(new_secret_delay=10.0)
    secret = world.create().keys[0].key
    assert world.ask(secret) == 401
    world.wait(11)
    assert world.ask(secret) == 200


def test_an_activated_slot_can_be_refused_at_first(world_of: Worlds) -> None:
    world = world_of(activate_delay=10.0)
    made = world.create()
    secret = made.keys[0].key
    world.set_state(made, "key-one", "INACTIVE")
    world.set_state(made, "key-one", "ACTIVE")
    assert world.ask(secret) == 401
    world.wait(11)
    assert world.ask(secret) == 200


def switched_off(world: World, state: str) -> list[int]:
    """Answers to a secret right after its slot is switched off, and ten seconds later."""
    made = world.create()
    world.set_state(made, "key-one", state)
    at_once = world.ask(made.keys[0].key)
    world.wait(11)
    return [at_once, world.ask(made.keys[0].key)]


def test_a_deactivated_slot_can_work_for_a_while(world_of: Worlds) -> None:
    assert switched_off(world_of(deactivate_delay=10.0), "INACTIVE") == [200, 401]
    assert switched_off(world_of(revoke_delay=10.0), "INACTIVE") == [401, 401]


def test_a_revoked_slot_can_work_for_a_while(world_of: Worlds) -> None:
    assert switched_off(world_of(revoke_delay=10.0), "REVOKED") == [200, 401]
    assert switched_off(world_of(deactivate_delay=10.0), "REVOKED") == [401, 401]


@pytest.mark.parametrize(("answer", "found"), [(0.0, 401), (10.0, 200)])
def test_a_renewed_secret_dies_at_once_or_lingers(
    world_of: Worlds, answer: float, found: int
) -> None:
    world = world_of(renewed_old_lingers=answer)
    made = world.create()
    world.renew(made, "key-two")
    assert world.ask(made.keys[1].key) == found
    world.wait(11)
    assert world.ask(made.keys[1].key) == 401


def test_the_secrets_of_a_deleted_key_can_linger(world_of: Worlds) -> None:
    world = world_of(delete_delay=10.0)
    made = world.create()
    world.client.delete_api_key(made.id)
    assert world.ask(made.keys[0].key) == 200
    world.wait(11)
    assert world.ask(made.keys[0].key) == 401


def test_nodes_can_disagree_while_a_change_is_under_way(world_of: Worlds) -> None:
    world = world_of(new_secret_delay=HOUR, nodes_disagree=True)
    secret = world.create().keys[0].key
    assert {world.ask(secret) for _ in range(40)} == {200, 401}
    world.wait(HOUR + 1)
    assert {world.ask(secret) for _ in range(40)} == {200}


def test_a_later_decision_is_not_overtaken_by_a_slower_one(world_of: Worlds) -> None:
    world = world_of(activate_delay=60.0)
    made = world.create()
    for state in ("INACTIVE", "ACTIVE", "INACTIVE"):
        world.set_state(made, "key-one", state)
    world.wait(61)
    assert world.ask(made.keys[0].key) == 401


def test_the_truth_tells_what_is_accepted_everywhere(world_of: Worlds) -> None:
    world = world_of(new_secret_delay=10.0)
    made = world.create()
    slots = world.sandbox.truth()["keys"][0]["slots"]
    assert [slot["accepted"] for slot in slots] == [False, False]
    world.wait(11)
    world.set_state(made, "key-two", "INACTIVE")
    slots = world.sandbox.truth()["keys"][0]["slots"]
    assert [slot["accepted"] for slot in slots] == [True, False]
    assert slots[0]["keyMask"] == slot_of(world.get(made), "key-one").key_mask
