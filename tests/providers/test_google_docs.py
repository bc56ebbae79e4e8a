"""docs/google.md promises a test for each trap."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_google_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/google.md").read_text(encoding="utf-8")))
    files = ROOT.glob("tests/providers/test_google*.py")
    there = {n for f in files for n in re.findall(r"^def (test_\w+)", f.read_text(), re.MULTILINE)}
    assert len(named) > 60
    assert named - there == set()
