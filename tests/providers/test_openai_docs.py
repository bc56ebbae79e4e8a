"""docs/openai.md promises a test for each pitfall."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("tests/providers/test_openai*.py", "tests/sandbox/openai/test_*.py")


def test_every_test_that_the_openai_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/openai.md").read_text(encoding="utf-8")))
    files = [path for folder in FOLDERS for path in ROOT.glob(folder)]
    files.append(ROOT / "tests/contract/test_provider.py")
    there = {n for f in files for n in re.findall(r"^def (test_\w+)", f.read_text(), re.MULTILINE)}
    assert len(named) > 60
    assert named - there == set()
