"""The page and its tests hold together: no lines without a test, and it says what is not run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.recipes.page import PAGE, ROOT, SHAPE, Block, blocks, sections

TESTS = sorted(Path(__file__).parent.glob("test_*.py"))


def test_every_block_names_a_test_that_takes_it() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in TESTS)
    taking = set(re.findall(r"^def (test_\w+)\([^)]*\bpasted\b", text, re.MULTILINE))
    assert [block for block in blocks() if block.test not in taking] == []
    assert taking - {block.test for block in blocks()} == set()


def test_every_mark_stands_above_a_block() -> None:
    assert PAGE.read_text(encoding="utf-8").count("<!--") == len(blocks())


def test_a_section_says_whether_only_the_shape_is_checked() -> None:
    for heading, text in sections().items():
        shaped = any(b.kind == SHAPE for b in blocks() if b.section == heading)
        assert shaped == ("Shape checked" in text), heading


def test_the_page_can_be_found() -> None:
    assert "(docs/recipes.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_filling_in_replaces_what_is_there() -> None:
    block = Block("somewhere", "sh", "keyman get genai\n", "run", "test_x")
    assert block.filled({"genai": "other"}) == "keyman get other\n"
    with pytest.raises(AssertionError, match="not in the lines"):
        block.filled({"vertex": "other"})
