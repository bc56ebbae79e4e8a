"""One sandbox for each file of tests, a fresh home for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.commands.world import Cloud, Home, cloud, home


@pytest.fixture(scope="module")
def sky() -> Iterator[Cloud]:
    with cloud() as made:
        yield made


@pytest.fixture
def place(sky: Cloud) -> Iterator[Home]:
    """A home where nothing ran yet."""
    with home(sky) as made:
        yield made
