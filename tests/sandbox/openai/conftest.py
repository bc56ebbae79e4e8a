"""Fixtures for the tests of the OpenAI sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from tests.sandbox.openai.world import World


@pytest.fixture
def openai_of() -> Iterator[Callable[..., World]]:
    """Worlds with answers of one's choice: `openai_of(new_key_delay=2.0)`."""
    worlds: list[World] = []

    def make(options: dict[str, Any] | None = None, **answers: Any) -> World:
        worlds.append(World(OpenAIBehaviour(**answers), **(options or {})))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(openai_of: Callable[..., World]) -> World:
    """The kindest OpenAI there is."""
    return openai_of()
