from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.oci_world import World, world


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[World]:
    """A kind cloud with no key in it."""
    with world(tmp_path) as made:
        yield made
