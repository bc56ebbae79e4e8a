"""Broken answers surface in the SDK as its errors do in real life, and effects are as announced."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import oci
import pytest

from keyman.sandbox.faults import Fault, FaultPlan
from keyman.sandbox.server import Request
from tests.sandbox.world import COMPARTMENT, World

ANY = Request("GET", "/anything", {}, b"")


def fails(call: Callable[[], object]) -> Any:
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("effect", "done"), [("lost_before", False), ("lost_after", True), ("truncated", True)]
)
def test_a_lost_answer_does_not_tell_whether_the_call_was_carried_out(
    world: World, effect: str, done: bool
) -> None:
    made = world.create()
    world.break_next(effect, "RenewApiKey")
    with pytest.raises(oci.exceptions.RequestException):
        world.renew(made, "key-two")
    assert (world.ask(made.keys[1].key) == 401) == done
    assert (world.sandbox.calls()[-1].status == 200) == done
    world.renew(made, "key-two")


@pytest.mark.parametrize("body", ["{}", "", "[1, 2]", "<html>", '{"keys": "none"}'])
def test_garbage_with_a_200_becomes_a_reply_without_content(world: World, body: str) -> None:
    made = world.create()
    world.break_next("garbage", "RenewApiKey", body=body)
    try:
        reply = world.renew(made, "key-two")
    except (oci.exceptions.RequestException, ValueError, TypeError, AttributeError):
        return
    assert getattr(reply, "id", None) is None


def test_throttling_says_how_long_to_wait(world: World) -> None:
    world.break_next("throttle", retry_after=7)
    error = fails(lambda: world.client.list_api_keys(COMPARTMENT))
    assert (error.status, error.code) == (429, "TooManyRequests")
    assert error.headers["retry-after"] == "7"
    world.break_next("throttle")
    assert "retry-after" not in fails(lambda: world.client.list_api_keys(COMPARTMENT)).headers


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_may_hide_a_call_that_worked(world: World, status: int) -> None:
    made = world.create()
    world.break_next("status", "SetApiKeyState", status=status)
    assert fails(lambda: world.set_state(made, "key-one", "INACTIVE")).status == status
    assert world.state(made, "key-one") == "ACTIVE"
    world.break_next("status", "SetApiKeyState", status=status, done=True)
    assert fails(lambda: world.set_state(made, "key-one", "INACTIVE")).status == status
    assert world.state(made, "key-one") == "INACTIVE"


def test_incorrect_state_is_a_409_without_effect(world: World) -> None:
    made = world.create()
    world.break_next("incorrect_state", "DeleteApiKey")
    error = fails(lambda: world.client.delete_api_key(made.id))
    assert (error.status, error.code) == (409, "IncorrectState")
    assert world.get(made).id == made.id


def test_a_gateway_in_between_answers_in_html(world: World) -> None:
    world.break_next("html")
    error = fails(lambda: world.client.list_api_keys(COMPARTMENT))
    assert (error.status, error.code) == (502, None)
    assert "Bad Gateway" in error.message


def test_a_delayed_call_takes_effect_after_the_caller_gave_up(world: World) -> None:
    made = world.create()
    world.client.base_client.timeout = (5, 0.1)
    world.break_next("delay", "SetApiKeyState", seconds=2)  # time enough for a look, however busy
    with pytest.raises(oci.exceptions.RequestException):
        world.set_state(made, "key-one", "INACTIVE")
    world.client.base_client.timeout = (5, 20)
    assert world.state(made, "key-one") == "ACTIVE"
    for _ in range(200):
        if world.state(made, "key-one") == "INACTIVE":
            break
        time.sleep(0.05)
    assert world.state(made, "key-one") == "INACTIVE"


def test_others_are_served_while_one_call_is_delayed(world: World) -> None:
    made = world.create()
    world.client.base_client.timeout = (5, 0.05)
    world.break_next("delay", "GetApiKey", seconds=30)
    with pytest.raises(oci.exceptions.RequestException):
        world.get(made)
    world.client.base_client.timeout = (5, 20)
    assert world.get(made).id == made.id


def test_inference_meets_faults_too(world: World) -> None:
    secret = world.create().keys[0].key
    world.break_next("status", "ChatCompletions", status=503)
    assert [world.ask(secret), world.ask(secret)] == [503, 200]


def test_a_rule_can_name_the_call_it_wants() -> None:
    plan = FaultPlan()
    plan.add(Fault("delay", "Renew*", nth=2))
    drawn = [plan.draw(name, ANY) is not None for name in ("GetApiKey", *["RenewApiKey"] * 3)]
    assert drawn == [False, False, True, False]


def test_a_rule_can_look_into_the_request() -> None:
    plan = FaultPlan()
    plan.add(Fault("delay", containing="key-two"))
    assert plan.draw("RenewApiKey", Request("POST", "/", {}, b'{"keyName": "key-two"}'))
    assert plan.draw("RenewApiKey", Request("POST", "/", {}, b'{"keyName": "key-one"}')) is None


def test_chance_is_the_seeds() -> None:
    def drawn(seed: int) -> list[bool]:
        plan = FaultPlan(seed)
        plan.add(Fault("delay", chance=0.5))
        return [plan.draw("any", ANY) is not None for _ in range(64)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 10 < sum(drawn(1)) < 54


def test_a_plan_tells_what_fired_and_forgets_when_told() -> None:
    plan = FaultPlan()
    plan.add(Fault("lost_after", count=1))
    assert [plan.draw("any", ANY) is not None for _ in range(2)] == [True, False]
    assert [(rule["met"], rule["fired"]) for rule in plan.to_json()] == [(2, 1)]
    plan.clear()
    assert plan.to_json() == []


def test_a_rule_with_an_unknown_effect_or_field_is_refused() -> None:
    for wrong in ({"effect": "nonsense"}, {"effect": "delay", "secs": 1}, {}, "delay"):
        with pytest.raises((ValueError, TypeError)):
            Fault.from_json(wrong)
