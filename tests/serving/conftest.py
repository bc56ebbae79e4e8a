from collections.abc import Iterator

import pytest

from tests.serving import world as worlds


@pytest.fixture
def world() -> Iterator[worlds.World]:
    with worlds.world() as here:
        yield here
