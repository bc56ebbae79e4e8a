from collections.abc import Iterator

import pytest

from tests.providers.oci_world import World, world


@pytest.fixture
def oci() -> Iterator[World]:
    """A kind cloud with no key in it."""
    with world() as made:
        yield made
