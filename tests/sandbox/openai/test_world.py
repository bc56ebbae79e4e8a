"""Faults, a person at the dashboard, doors, and the sandbox as a process."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import openai
import pytest

from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from tests.sandbox.openai.world import World

Worlds = Callable[..., World]


def door(world: World, method: str, name: str, body: object = None) -> Any:
    status, answer = world.http(method, f"/sandbox/{name}", body)
    assert status == 200, answer
    return answer


def test_every_question_is_asked_in_some_test_here() -> None:
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    questions = {question.name for question in fields(OpenAIBehaviour)}
    assert {name for name in questions if not any(f"{name}=" in text for text in texts)} == set()


def test_each_answer_comes_up_for_some_seed() -> None:
    worlds = [OpenAIBehaviour.from_seed(seed) for seed in range(100)]
    for question in fields(OpenAIBehaviour):
        answers = question.metadata.get("answers", (question.default,))
        assert {getattr(world, question.name) for world in worlds} == set(answers)


@pytest.mark.parametrize("seed", range(15))
def test_what_is_listed_is_what_is_taken_once_the_dust_has_settled(seed: int) -> None:
    dice = random.Random(seed)
    world = World(OpenAIBehaviour.from_seed(seed), seed=seed)
    values: dict[str, str] = {}
    for _ in range(12):
        if values and dice.random() < 0.4:
            unlucky = dice.choice(list(values))
            world.dashboard.delete_key(unlucky)
            del values[unlucky]
        else:
            made = world.create()
            values[made.id] = made.value
    world.wait(60)
    assert set(world.listed()) == set(values)
    assert {world.ask(value) for value in values.values()} <= {200}
    taken = {k["id"] for k in world.sandbox.truth()["keys"] if k["accepted"]}
    assert taken == set(values)
    world.close()


@pytest.mark.parametrize(
    ("effect", "made"), [("lost_before", 0), ("lost_after", 1), ("truncated", 1)]
)
def test_a_lost_answer_does_not_tell_whether_a_key_was_made(
    world: World, effect: str, made: int
) -> None:
    world.break_next(effect, "CreateApiKey")
    with pytest.raises((openai.APIConnectionError, openai.APIResponseValidationError, ValueError)):
        world.create()
    assert len(world.listed()) == made
    [call] = world.sandbox.calls("CreateApiKey")
    assert (call.fault, call.status) == (effect, 200 if made else None)


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_may_hide_a_key(world: World, status: int) -> None:
    world.break_next("status", "CreateApiKey", status=status)
    with pytest.raises(openai.InternalServerError):
        world.create()
    assert world.listed() == []
    world.break_next("status", "CreateApiKey", status=status, done=True)
    with pytest.raises(openai.InternalServerError):
        world.create()
    assert len(world.listed()) == 1


def test_throttling_says_how_long_to_wait(world: World) -> None:
    world.break_next("throttle", "ListApiKeys", retry_after=7)
    with pytest.raises(openai.RateLimitError) as caught:
        world.listed()
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "7"


def test_a_person_at_the_dashboard_changes_keys(world: World) -> None:
    key = world.create()
    foreign = door(
        world, "POST", "drift", {"action": "create_key", "account_id": world.account, "name": "x"}
    )
    human = door(world, "POST", "drift", {"action": "create_user_key", "name": "mine"})
    assert human["value"].startswith("sk-proj-sandbox-")
    assert world.ask(foreign["value"]) == world.ask(human["value"]) == 200
    owners = {k.id: k.owner.type for k in world.keys.list(world.project)}
    assert owners[human["id"]] == "user"
    door(world, "POST", "drift", {"action": "expire_key", "key_id": foreign["id"]})
    assert world.ask(foreign["value"]) == 401
    door(world, "POST", "drift", {"action": "delete_key", "key_id": key.id})
    assert world.ask(key.value) == 401
    by_hand = [call.operation for call in world.sandbox.calls() if call.actor == "dashboard"]
    assert by_hand[-3:] == ["CreateApiKey", "UpdateApiKey", "DeleteApiKey"]
    door(world, "POST", "drift", {"action": "delete_account", "account_id": world.account})
    assert world.ask(human["value"]) == 200


def test_another_process_reaches_the_rest(world: World) -> None:
    key = world.create(expires_in_seconds=50)
    world.ask(key.value)
    door(world, "POST", "clock", {"shift_seconds": 60})
    assert world.ask(key.value) == 401
    door(world, "POST", "faults", {"effect": "html", "operation": "ListApiKeys"})
    with pytest.raises(openai.InternalServerError):
        world.listed()
    door(world, "DELETE", "faults")
    told = [door(world, "GET", name) for name in ("truth", "log", "counts", "behaviour")]
    assert [each["accepted"] for each in told[0]["keys"] if not each["admin"]] == [False]
    assert told[2]["accepted"] == told[2]["rejected"] == 1
    assert "sk-" not in str(told[:3])
    assert door(world, "POST", "behaviour", {"list_lags": 5.0})["list_lags"] == 5.0


@pytest.mark.parametrize(
    "body",
    [
        {"action": "nonsense"},
        {"action": "delete_key", "key_id": "nobody"},
        {"action": "delete_key"},
        {},
    ],
)
def test_a_door_used_wrongly_says_so(world: World, body: object) -> None:
    status, answer = world.http("POST", "/sandbox/drift", body)
    assert status == 400
    assert answer["error"]


def test_many_callers_at_once_get_their_own_keys(world: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda n: world.create(f"k{n}").value, range(24)))
        assert set(pool.map(world.ask, values)) == {200}
    assert len(set(values)) == len(world.listed()) == 24


def test_it_runs_as_a_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "keyman.sandbox", "--service", "openai", "--mark", "canary"]
    process = subprocess.Popen(
        [*command, "--profile-dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    with process, process.stdout as out:
        try:
            url = out.readline().strip()
            told = json.loads((tmp_path / "openai.json").read_text())
            assert told["base_url"] == f"{url}/v1"
            admin = (tmp_path / "admin-key").read_text()
            assert admin.startswith("sk-admin-canary-")
            with openai.OpenAI(admin_api_key=admin, base_url=told["base_url"]) as client:
                projects = client.admin.organization.projects
                made = projects.service_accounts.create(told["project"], name="apps")
                assert made.api_key is not None
                assert "canary" in made.api_key.value
        finally:
            process.terminate()
        assert process.wait(5) == 0
