"""A real Secret Service, of this test run alone."""

from typing import Any

import pytest


def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    environment = request.getfixturevalue("monkeypatch")
    for name, value in request.getfixturevalue("secret_service").items():
        environment.setenv(name, value)
    return {}
