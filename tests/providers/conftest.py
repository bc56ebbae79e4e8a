from collections.abc import Iterator

import pytest

from tests.providers import google_world
from tests.providers.oci_world import World, world


@pytest.fixture
def oci() -> Iterator[World]:
    """A kind cloud with no key in it."""
    with world() as made:
        yield made


@pytest.fixture
def google() -> Iterator[google_world.World]:
    """A kind Google, with credentials of each kind."""
    with google_world.world() as made:
        yield made
