"""What the journal's tests start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keyman.db.journal import Journal


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where a journal may be made."""
    return f"sqlite:///{tmp_path}/keyman.db"


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    opened = Journal.open(url)
    yield opened
    opened.close()
