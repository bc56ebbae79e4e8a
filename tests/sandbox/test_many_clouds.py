"""Whatever a cloud answers to the open questions, some things hold in all of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import oci
import pytest

from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.faults import Fault
from tests.sandbox.world import World, in_days, slot_of

ANSWERS = {200, 400, 404, 409, 412}


def status_of(call: Callable[[], object]) -> int:
    try:
        call()
    except oci.exceptions.ServiceError as error:
        return int(error.status)
    return 200


def stroll(world: World, dice: random.Random, expires: datetime) -> None:
    """Twenty calls at random; each works or is refused in a documented way."""
    made = world.create(expires=expires)
    for _ in range(20):
        slot = dice.choice(["key-one", "key-two"])
        state = dice.choice(["ACTIVE", "INACTIVE", "REVOKED"])
        again = dice.choice([{}, {"opc_retry_token": "a"}, {"if_match": "x"}])
        calls = [
            lambda: world.get(made),
            lambda: world.renew(made, slot, expires, **again),  # noqa: B023 (called at once)
            lambda: world.set_state(made, slot, state, **again),  # noqa: B023
        ]
        assert status_of(dice.choice(calls)) in ANSWERS
        world.wait(dice.choice([0, 0, 1]))


@pytest.mark.parametrize("seed", range(25))
def test_a_slot_never_has_two_living_secrets_once_the_dust_has_settled(seed: int) -> None:
    world = World(Behaviour.from_seed(seed), seed=seed)
    stroll(world, random.Random(seed), in_days(60))
    world.wait(60)
    for key in world.sandbox.truth()["keys"]:
        living = [secret["slot"] for secret in key["secrets"] if secret["accepted"]]
        active = [slot["keyName"] for slot in key["slots"] if slot["state"] == "ACTIVE"]
        assert sorted(living) == sorted(active)
    world.close()


def test_a_seed_repeats_everything() -> None:
    def told(seed: int) -> Any:
        # Real time must not decide how far a change has got.
        at = datetime(2099, 1, 1, tzinfo=UTC)
        world = World(Behaviour.from_seed(seed), seed=seed, now=lambda: at)
        stroll(world, random.Random(seed), at + timedelta(days=60))
        world.close()
        calls = world.sandbox.calls()
        return [(c.operation, c.slot, c.status, c.key_id, c.secret_after) for c in calls]

    assert told(4) == told(4) != told(5)


def test_many_callers_at_once_get_their_own_answers(world: World) -> None:
    def rotate(number: int) -> str:
        made = world.create(f"key{number}")
        for _ in range(5):
            secret = slot_of(world.renew(made, "key-two"), "key-two").key
            assert world.ask(secret) == 200
        return str(made.id)

    world.sandbox.faults.add(Fault("delay", chance=0.1, seconds=0.02))
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(rotate, range(16)))
    assert len(set(ids)) == 16
    assert len(world.sandbox.calls("RenewApiKey")) == 80
