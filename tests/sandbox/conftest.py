"""Fixtures for the tests of the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keyman.sandbox.behaviour import Behaviour
from tests.sandbox.world import World


@pytest.fixture
def world_of() -> Iterator[Callable[..., World]]:
    """Worlds with answers of one's choice: `world_of(renew_state="INACTIVE")`."""
    worlds: list[World] = []

    def make(options: dict[str, Any] | None = None, **answers: Any) -> World:
        worlds.append(World(Behaviour(**answers), **(options or {})))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(world_of: Callable[..., World]) -> World:
    """The kindest cloud there is."""
    return world_of()
