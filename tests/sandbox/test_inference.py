"""Inference behind a secret, judged by the openai client."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import openai
import pytest

from tests.sandbox.world import World

MODEL = "meta.llama-3.3-70b-instruct"


@contextmanager
def openai_client(world: World, secret: str, base: str | None = None) -> Iterator[openai.OpenAI]:
    base_url = base or world.sandbox.base_url
    with openai.OpenAI(api_key=secret, base_url=base_url, max_retries=0) as client:
        yield client


def say(client: openai.OpenAI, model: str = MODEL) -> str | None:
    messages = [{"role": "user", "content": "ping"}]
    answer = client.chat.completions.create(model=model, messages=messages)
    said: str | None = answer.choices[0].message.content
    return said


def test_a_good_secret_is_answered(world: World) -> None:
    with openai_client(world, world.create().keys[0].key) as client:
        assert say(client) == "pong"


def test_the_newer_base_address_works_too(world: World) -> None:
    secret = world.create().keys[0].key
    with openai_client(world, secret, f"{world.url}/openai/v1") as client:
        assert say(client) == "pong"


def test_a_bad_secret_is_an_authentication_error_with_the_services_body(world: World) -> None:
    with (
        openai_client(world, "sk-bogus") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        say(client)
    assert caught.value.code == "401"
    assert str(caught.value.body).startswith("{'code': '401', 'message': 'The required")


def test_there_is_no_list_of_models(world: World) -> None:
    secret = world.create().keys[0].key
    with openai_client(world, secret) as client, pytest.raises(openai.NotFoundError):
        client.models.list()


def test_an_unknown_model_and_an_empty_request_are_told_apart_from_a_bad_secret(
    world: World,
) -> None:
    secret = world.create().keys[0].key
    with openai_client(world, secret) as client, pytest.raises(openai.NotFoundError):
        say(client, "impossible-model")
    assert world.ask(secret, {}) == 400
    assert world.ask(secret, {"model": MODEL}) == 400


def test_answers_can_be_streamed(world: World) -> None:
    with openai_client(world, world.create().keys[0].key) as client:
        stream = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "ping"}], stream=True
        )
        with stream:
            said = [chunk.choices[0].delta.content for chunk in stream]
    assert said == ["pong", None]


def test_responses_are_answered_as_well(world: World) -> None:
    with openai_client(world, world.create().keys[0].key) as client:
        assert client.responses.create(model="xai.grok-4", input="ping").output_text == "pong"


def test_every_call_is_counted_by_the_hash_of_its_secret(world: World) -> None:
    secret = world.create().keys[0].key
    assert [world.ask(s) for s in (secret, secret, "sk-bogus")] == [200, 200, 401]
    counts = world.sandbox.counts()
    assert (counts["accepted"], counts["rejected"]) == (2, 1)
    mine = counts["secrets"][hashlib.sha256(secret.encode()).hexdigest()]
    assert (mine["accepted"], mine["rejected"]) == (2, 0)
    assert secret not in str(counts)


def test_secrets_are_marked_and_repeat_only_with_the_seed(world_of: Callable[..., World]) -> None:
    def secrets(seed: int | None) -> list[str]:
        world = world_of({"seed": seed, "secret_prefix": "sk-canary"})
        return [item.key for item in world.create().keys]

    assert all(secret.startswith("sk-canary-") for secret in secrets(1))
    assert secrets(1) == secrets(1) != secrets(2)
    assert secrets(None) != secrets(None)
