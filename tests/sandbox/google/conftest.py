"""Fixtures for the tests of the Google sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keyman.sandbox.google_behaviour import GoogleBehaviour
from tests.sandbox.google.world import World


@pytest.fixture
def google_of() -> Iterator[Callable[..., World]]:
    """Worlds with answers of one's choice: `google_of(expires_in_as_text=True)`."""
    worlds: list[World] = []

    def make(options: dict[str, Any] | None = None, **answers: Any) -> World:
        worlds.append(World(GoogleBehaviour(**answers), **(options or {})))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def google(google_of: Callable[..., World]) -> World:
    """The kindest Google there is."""
    return google_of()
