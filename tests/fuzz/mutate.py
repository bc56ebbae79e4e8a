"""From inputs that are right to inputs that are nearly right: seeded, and the same each time.

Knows bytes and JSON, and a parser's own words to throw in; no parser.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

ODD = (
    *(b"", b"\x00", b"\n", b"\r\n", b"\r", b"\t", b" ", b"\xff\xfe", b"\xed\xa0\x80", b"\x85"),
    *("\u2028".encode(), "\u202e".encode(), "٣".encode(), "ﬀ".encode(), "İ".encode(), b"\x1b[2J"),
    *(b"-1", b"0", b"1e308", b"nan", b"inf", b"9" * 30, b"18446744073709551616", b"%00", b"%s%n"),
    *(
        b"'",
        b'"',
        b"\\",
        b"`",
        b"$(",
        b"${A}",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"#",
        b"&",
        b"*",
        b"!",
    ),
    *(b"../", b"//", b"\\u0000", b"A" * 300, b"null", b"true"),
)
STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1e308, float("nan"), float("inf"), 2**63, 10**400, "", " "),
    *([], {}, [[]], [None], {"": None}, {"id": {}}, "\x00", "\ud800", "A" * 5000, "<html>", "null"),
    *("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-13-45T99:99:99Z", "1e9"),
)


def mutated(dice: random.Random, corpus: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One of the corpus, changed in one to four places."""
    made = dice.choice(corpus)
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
        made = dice.choice(_WAYS)(dice, made, corpus, words)
    return made[:70_000]


Way = Callable[[random.Random, bytes, Sequence[bytes], Sequence[bytes]], bytes]


def _place(dice: random.Random, text: bytes) -> tuple[int, int]:
    begin = dice.randint(0, len(text))
    return begin, min(len(text), begin + dice.choice((0, 1, 1, 2, 4, 9, 30)))


def _bit(dice: random.Random, text: bytes, *_: object) -> bytes:
    if not text:
        return b"\x00"
    at = dice.randrange(len(text))
    return text[:at] + bytes([text[at] ^ 1 << dice.randrange(8)]) + text[at + 1 :]


def _cut(dice: random.Random, text: bytes, *_: object) -> bytes:
    begin, end = _place(dice, text)
    return text[:begin] + text[end:]


def _end(dice: random.Random, text: bytes, *_: object) -> bytes:
    return text[: dice.randint(0, len(text))]


def _again(dice: random.Random, text: bytes, *_: object) -> bytes:
    begin, end = _place(dice, text)
    return text[:end] + text[begin:end] * dice.choice((1, 1, 2, 50)) + text[end:]


def _odd(dice: random.Random, text: bytes, *_: object) -> bytes:
    begin, end = _place(dice, text)
    return text[:begin] + dice.choice(ODD) + text[end:]


def _word(
    dice: random.Random, text: bytes, corpus: Sequence[bytes], words: Sequence[bytes]
) -> bytes:
    begin, end = _place(dice, text)
    return text[:begin] + (dice.choice(words) if words else b"") + text[end:]


def _splice(
    dice: random.Random, text: bytes, corpus: Sequence[bytes], words: Sequence[bytes]
) -> bytes:
    other = dice.choice(corpus)
    return text[: dice.randint(0, len(text))] + other[dice.randint(0, len(other)) :]


def _random(dice: random.Random, text: bytes, *_: object) -> bytes:
    begin, end = _place(dice, text)
    return text[:begin] + dice.randbytes(end - begin + 1) + text[end:]


_WAYS: tuple[Way, ...] = (_bit, _cut, _end, _again, _odd, _odd, _word, _word, _splice, _random)


def strange(dice: random.Random, value: Any) -> Any:
    """The JSON value with one to three of its parts replaced, removed, moved or doubled."""
    made = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 2, 3))):
        made = _one_strange(dice, made)
    return made


def _one_strange(dice: random.Random, value: Any) -> Any:
    """Somewhere on a way down."""
    if not isinstance(value, dict | list) or not value or dice.random() < 0.15:
        return copy.deepcopy(dice.choice(STRANGE))
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = dice.choice(keys)
    what = dice.random()
    if what < 0.55:
        value[key] = _one_strange(dice, value[key])
    elif what < 0.7:
        del value[key]
    elif what < 0.8 and isinstance(value, list):
        value.append(copy.deepcopy(value[key]))
    else:
        value[key] = copy.deepcopy(value[dice.choice(keys)])
    return value
