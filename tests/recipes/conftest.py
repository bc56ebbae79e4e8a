"""One machine for all recipes, and for each test the lines of the page that name it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.recipes.page import Block, blocks_of
from tests.recipes.world import Machine, machine


@pytest.fixture(scope="package")
def box() -> Iterator[Machine]:
    with machine() as made:
        yield made


@pytest.fixture
def pasted(request: pytest.FixtureRequest) -> list[Block]:
    """What docs/recipes.md says is run by this test; one block or several, in their order."""
    found = blocks_of(request.function.__name__)
    assert found, "no lines of docs/recipes.md name this test"
    return found
