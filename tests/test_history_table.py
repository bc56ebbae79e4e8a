"""`keyman history` on a terminal: a table that fits, whatever somebody else wrote into it."""

from __future__ import annotations

from typing import Any

import pytest

from keyman.cli.history import ROOM, table

WIDTH = 80
AT = "2026-11-21T09:00:03Z"


def entry(what: str = "issue", **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"at": AT, "credential": "genai", "what": what, "version": 8}
    told |= {"slot": "key-two", "by": "daemon", "reason": "", "detail": "", "took": None}
    return told | more


ROTATION = [
    entry("ordered rotate", version=None, slot=None, by="uid 1000 (ada)", reason="suspicious bill"),
    entry("request", reason="ordered: suspicious bill"),
    entry(
        "issue failed", detail="429: too many requests; the limit resets at noon " * 3, took=1.25
    ),
    entry("issue", took=0.3217),
    entry("promote", took=0.0042),
    entry("new configuration", credential=None, version=None, slot=None, by=None, detail="gone: a"),
    entry("client added", credential="client build", version=None, slot=None, by="uid 4711"),
]


def test_a_rotation_in_eighty_columns() -> None:
    assert table(ROTATION, WIDTH) == [
        "WHEN (UTC)           CREDENTIAL    WHAT               VERSION    BY        TOOK",
        "2026-11-21 09:00:03  genai         ordered rotate     -          ada       -",
        "    suspicious bill",
        "2026-11-21 09:00:03  genai         request            8 key-two  daemon    -",
        "    ordered: suspicious bill",
        "2026-11-21 09:00:03  genai         issue failed       8 key-two  daemon    1.2s",
        "    429: too many requests; the limit resets at noon 429: too many requests; the",
        "    limit resets at noon 429: too many requests; the limit resets at noon",
        "2026-11-21 09:00:03  genai         issue              8 key-two  daemon    322ms",
        "2026-11-21 09:00:03  genai         promote            8 key-two  daemon    4ms",
        "2026-11-21 09:00:03  -             new configuration  -          -         -",
        "    gone: a",
        "2026-11-21 09:00:03  client build  client added       -          uid 4711  -",
    ]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize("one", [False, True])
def test_it_is_never_wider_than_the_terminal(width: int, *, one: bool) -> None:
    long = [entry(credential="n" * 63, reason="word " * 80, detail="x" * 500), *ROTATION]
    lines = table(long, width, one=one)
    assert max(map(len, lines)) <= width
    assert "x" * 500 in "".join(line.strip() for line in lines)


def test_a_reason_stands_beside_where_there_is_room() -> None:
    lines = table([entry(reason="because " * 12)], 120)
    begins = lines[0].index("WHY")
    assert 120 - begins >= ROOM
    assert [line[:begins].strip() for line in lines[2:]] == [""] * (len(lines) - 2)
    assert len(lines) > 2


def test_off_a_terminal_an_entry_is_a_line() -> None:
    lines = table(ROTATION, None)
    assert len(lines) == len(ROTATION) + 1
    assert lines[1].endswith("suspicious bill")


def test_of_one_credential_its_name_is_left_out() -> None:
    lines = table(ROTATION[:2], WIDTH, one=True)
    assert "genai" not in "".join(lines)
    assert lines[1].endswith("suspicious bill")


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x1b]0;title\x07", "\u202egnp", "a\nb", "\x9b1m"])
def test_nothing_in_it_moves_a_cursor(hostile: str) -> None:
    for column in ("credential", "slot", "by", "reason", "detail"):
        for width in (WIDTH, None):
            lines = table([entry(**{column: f"x{hostile}y"})], width)
            assert all(line.isprintable() for line in lines)
            assert len(lines) <= 3
