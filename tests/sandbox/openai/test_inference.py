"""Which keys inference takes, and when it has heard of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from keyman.sandbox.keys import sha256
from tests.sandbox.openai.world import ASK, World

Worlds = Callable[..., World]


def test_the_openai_client_talks_to_it(world: World) -> None:
    client = world.user_of(world.create().value)
    assert "gpt-5" in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-5").id == "gpt-5"
    done = client.chat.completions.create(model="gpt-5", messages=ASK)
    assert done.choices[0].message.content == "pong"
    stream = client.chat.completions.create(model="gpt-5", messages=ASK, stream=True)
    assert "".join(e.choices[0].delta.content or "" for e in stream) == "pong"
    assert client.responses.create(model="gpt-5", input="?").output_text == "pong"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-2", messages=ASK)


@pytest.mark.parametrize("shown", [True, False])
def test_an_unknown_key_is_refused(openai_of: Worlds, shown: bool) -> None:
    world = openai_of(unknown_key_shown=shown)
    with pytest.raises(openai.AuthenticationError) as caught:
        world.user_of("sk-nonsense-nonsense").models.list()
    assert caught.value.code == "invalid_api_key"
    assert ("sk-nonse" in caught.value.message) is shown
    assert "nonsense-nonsense" not in caught.value.message
    assert world.ask("") == 401
    assert world.sandbox.counts()["rejected"] == 2


@pytest.mark.parametrize("operation", ["ListModels", "ChatCompletions", "Responses"])
def test_a_new_key_is_taken_after_a_while(openai_of: Worlds, operation: str) -> None:
    world = openai_of(new_key_delay=30.0)
    value = world.create().value
    assert world.ask_for(value, operation)[0] == 401
    world.wait(31)
    assert world.ask_for(value, operation)[0] == 200


def test_a_deleted_key_is_taken_for_a_while(openai_of: Worlds) -> None:
    world = openai_of(deleted_key_lingers=30.0)
    key = world.create()
    world.delete(key)
    assert world.ask(key.value) == 200
    world.wait(31)
    assert world.ask(key.value) == 401


@pytest.mark.parametrize("code", ["invalid_api_key", "api_key_expired"])
def test_an_expired_key_is_taken_for_a_while(openai_of: Worlds, code: str) -> None:
    world = openai_of(expired_key_lingers=30.0, expired_key_code=code)
    key = world.create(expires_in_seconds=10)
    world.wait(20)
    assert world.ask(key.value) == 200
    world.wait(30)
    status, said = world.ask_for(key.value, "ListModels")
    assert (status, said["error"]["code"]) == (401, code)


def test_nodes_may_hear_of_it_one_by_one(openai_of: Worlds) -> None:
    world = openai_of(new_key_delay=30.0, nodes_disagree=True)
    value = world.create().value
    assert {world.ask(value) for _ in range(30)} == {200, 401}
    world.wait(31)
    assert {world.ask(value) for _ in range(10)} == {200}


def test_scopes_limit_a_key(world: World) -> None:
    key = world.create(scopes=["api.model.request"])
    assert world.ask(key.value) == 200
    status, said = world.ask_for(key.value, "ListModels")
    assert (status, said["error"]["code"]) == (403, "missing_scope")
    assert "api.model.read" in said["error"]["message"]
    update: Any = world.keys.update
    update(key.id, project_id=world.project, scopes=["api.all.read"])
    assert (world.ask(key.value), world.ask_for(key.value, "ListModels")[0]) == (403, 200)
    update(key.id, project_id=world.project, scopes=[])
    assert world.ask(key.value) == world.ask_for(key.value, "ListModels")[0] == 200


def test_an_exhausted_quota_still_proves_the_key(world: World) -> None:
    value = world.create().value
    world.dashboard.exhaust_quota()
    status, said = world.ask_for(value, "ChatCompletions")
    assert (status, said["error"]["code"]) == (429, "insufficient_quota")
    assert said["error"]["type"] == "insufficient_quota"
    assert world.ask_for(value, "ListModels")[0] == 200
    assert world.ask("sk-nonsense") == 401
    world.dashboard.exhaust_quota(exhausted=False)
    assert world.ask(value) == 200


@pytest.mark.parametrize("status", [403, 401])
def test_an_owner_without_access_has_no_use_of_its_keys(openai_of: Worlds, status: int) -> None:
    world = openai_of(no_access_status=status)
    value = world.create().value
    world.dashboard.set_role(world.account, "none")
    assert world.ask(value) == status
    world.dashboard.set_role(world.account, "member")
    assert world.ask(value) == 200
    world.dashboard.archive_project()
    assert world.ask(value) == status


def test_a_request_may_say_whom_it_is_meant_for(world: World) -> None:
    value = world.create().value
    ids = {"organization": world.sandbox.org_id, "project": world.project}
    assert world.user_of(value, **ids).models.list().data
    for wrong in ids:
        with pytest.raises(openai.AuthenticationError) as caught:
            world.user_of(value, **{**ids, wrong: "elsewhere"}).models.list()
        assert caught.value.code == f"mismatched_{wrong}"


def test_calls_are_counted_by_secret(world: World) -> None:
    first, second = world.create().value, world.create().value
    for value in (first, first, second, "sk-nonsense"):
        world.ask(value)
    counts = world.sandbox.counts()
    assert (counts["accepted"], counts["rejected"]) == (3, 1)
    assert counts["secrets"][sha256(first)]["accepted"] == 2
    assert first not in str(counts)


@pytest.mark.parametrize(("last_used", "soon", "late"), [("present", 1, 1), ("lagging", 0, 1)])
def test_the_last_use_may_be_told_late(
    openai_of: Worlds, last_used: str, soon: int, late: int
) -> None:
    world = openai_of(last_used=last_used, last_used_lag=30.0)
    key = world.create()
    assert world.get(key).last_used_at is None
    world.ask(key.value)
    assert (world.get(key).last_used_at is not None) == soon
    world.wait(31)
    assert (world.get(key).last_used_at is not None) == late


def test_the_last_use_may_never_be_told(openai_of: Worlds) -> None:
    world = openai_of(last_used="absent")
    key = world.create()
    world.ask(key.value)
    world.wait(3600)
    assert world.get(key).last_used_at is None


def test_the_last_use_may_be_told_coarsely(openai_of: Worlds) -> None:
    world = openai_of(last_used_step=60)
    key = world.create()
    world.ask(key.value)
    assert world.get(key).last_used_at % 60 == 0


@pytest.mark.parametrize("counts", [True, False])
def test_a_refused_call_may_count_as_a_use(openai_of: Worlds, counts: bool) -> None:
    world = openai_of(failures_count_as_use=counts)
    key = world.create(scopes=["api.model.read"])
    assert world.ask(key.value) == 403
    assert (world.get(key).last_used_at is not None) is counts
