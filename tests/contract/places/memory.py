"""The memory: it needs no place."""

from typing import Any

import pytest


def options(_: pytest.FixtureRequest) -> dict[str, Any]:
    return {}
