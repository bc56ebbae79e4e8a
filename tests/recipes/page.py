"""docs/recipes.md as the tests read it: every block of lines, and the test that runs it.

A block is announced by the line above it, which a reader of the rendered page doesn't see:

    <!-- run: test_openai_sdk -->        the test does with the lines what the reader would
    <!-- shape: test_codex -->           the test does not have the tool that reads them

Nothing of a block is written down a second time here: tests replace names and paths in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/recipes.md"
RUN, SHAPE = "run", "shape"

_SECTION = re.compile(r"^##+ (.+)$")
_MARK = re.compile(r"^<!-- (run|shape): (test_\w+) -->$")
_FENCE = re.compile(r"^```(\w*)$")


@dataclass(frozen=True)
class Block:
    section: str
    language: str
    text: str
    kind: str | None  # None: nobody says who runs it
    test: str | None

    def filled(self, names: Mapping[str, object]) -> str:
        """The lines with other words in place of the page's; each must be there."""
        text = self.text
        for old, new in names.items():
            assert old in text, f"{old!r} is not in the lines of {self.section!r}"
            text = text.replace(old, str(new))
        return text


def blocks() -> list[Block]:
    """All of them, in the order of the page."""
    found, section, above = [], "", ""
    lines = iter(PAGE.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if heading := _SECTION.match(line):
            section = heading[1]
        if fence := _FENCE.match(line):
            inside = list(iter(lambda: next(lines), "```"))
            mark = _MARK.match(above)
            kind, test = (mark[1], mark[2]) if mark else (None, None)
            found.append(Block(section, fence[1], "\n".join(inside) + "\n", kind, test))
        above = line
    return found


def blocks_of(test: str) -> list[Block]:
    return [block for block in blocks() if block.test == test]


def sections() -> dict[str, str]:
    """Heading → all that stands below it, up to the next one."""
    found: dict[str, list[str]] = {}
    here: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if heading := _SECTION.match(line):
            here = found.setdefault(heading[1], [])
        else:
            here.append(line)
    return {heading: "\n".join(lines) for heading, lines in found.items()}
