"""docs/oci.md promises a test for each pitfall."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/oci.md").read_text(encoding="utf-8")))
    elsewhere = (
        "tests/contract/test_provider.py",
        "tests/commands/test_others_at_the_key.py",
        "tests/test_rules.py",
    )
    files = [*ROOT.glob("tests/providers/test_*.py"), *(ROOT / name for name in elsewhere)]
    there = {n for f in files for n in re.findall(r"^def (test_\w+)", f.read_text(), re.MULTILINE)}
    assert len(named) > 40
    assert named - there == set()
