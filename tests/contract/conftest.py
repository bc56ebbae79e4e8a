"""What the journal's tests start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyman.db.journal import Journal
from tests.blank_journal import lay_down


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where a journal may be made."""
    return f"sqlite:///{tmp_path}/keyman.db"


class Nothing(dict[str, Any]):
    """Keeps nothing."""

    def __setitem__(self, key: str, value: Any) -> None:
        pass


@pytest.fixture
def journal(url: str, tmp_path: Path) -> Iterator[Journal]:
    """One that answers nothing from memory: what is loaded is what was written."""
    lay_down(tmp_path / "keyman.db")
    opened = Journal.open(url)
    opened._last = Nothing()
    yield opened
    opened.close()
