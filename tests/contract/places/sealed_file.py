"""A sealed file in the test's own folder."""

from pathlib import Path
from typing import Any

import pytest


def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    folder: Path = request.getfixturevalue("tmp_path")
    return {
        "path": folder / "secrets.db",
        "key": {"kind": "file", "path": folder / "store.key"},
    }
