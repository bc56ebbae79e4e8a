"""What the journal's tests start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keyman.db.journal import Journal
from tests.blank_journal import lay_down


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where a journal may be made."""
    return f"sqlite:///{tmp_path}/keyman.db"


@pytest.fixture
def journal(url: str, tmp_path: Path) -> Iterator[Journal]:
    lay_down(tmp_path / "keyman.db")
    opened = Journal.open(url)
    yield opened
    opened.close()
