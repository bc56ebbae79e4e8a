"""Text from outside in a terminal and a log: what acts there or hides is made visible."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keyman.telemetry import STACKED_AT_MOST, escaped

UNSEEN = {
    "no width": "\u200b",
    "joiners": "\u200c\u200d\u2060",
    "a byte order mark": "\ufeff",
    "a soft hyphen": "\u00ad",
    "tags": "\U000e0041\U000e007f",
    "fillers": "\u3164\u115f\u1160\uffa0",
    "other forms of the letter before": "\ufe00\ufe0f\U000e0100\U000e01ef\u180b\u180f",
    "a mark that joins nothing": "\u034f",
    "vowels that are not written": "\u17b4\u17b5",
    "what is kept for more of these": "\u2065\ufff0\U000e0080\U000e0fff",
    "a blank of Braille": "\u2800",
    "marks that turn": "\u202e\u2066\u061c\u200f",
    "an escape sequence": "\x1b\x9b\x07",
    "breaks": "\n\r\u2028\u2029\x85",
    "halves": "\ud800",
    "private": "\ue000",
}


@pytest.mark.parametrize("text", UNSEEN.values(), ids=UNSEEN)
def test_it_is_shown_as_a_number(text: str) -> None:
    said = escaped(f"a{text}b")
    assert said == "a" + "".join(f"\\x{ord(c):02x}" for c in text) + "b"


@example("a" + "\u0301" * 40)
@example("a" + "\u20dd\u0301" * 40)
@given(st.text())
def test_whatever_it_is(text: str) -> None:
    said = escaped(text)
    kinds = "".join("^" if unicodedata.category(c) in ("Mn", "Me") else "." for c in said)
    assert "^" * (STACKED_AT_MOST + 1) not in kinds
    assert said.isascii() or not {unicodedata.category(c) for c in said} & {"Cc", "Cf", "Cs", "Co"}
    assert escaped(said) == said


@pytest.mark.parametrize(
    "text",
    ["plain: https://example.com/x?y=1", "é e\u0301 ü", "日本語", "हिन्दी", "עִבְרִית", "✓ … ───"],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert escaped(text) == text
