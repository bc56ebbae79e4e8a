"""What lies at a provider: a sentence, what is listed and known, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from keyman.core.inventory import OLD, UNUSED, Known, Origin, There, unmanaged
from keyman.core.model import KeySeen, SlotSeen
from tests.credentials import NOW

HERE, ELSEWHERE = "0123456789ab" + "c" * 20, "fedcba987654" + "3" * 20
IDLE = SlotSeen("one", "INACTIVE", expires_at=NOW + timedelta(days=1))
KEY = KeySeen("key", "ACTIVE", (IDLE,))
FRESH = There(KEY, "theirs", created_at=NOW - timedelta(days=1))
MADE = replace(FRESH, made_by=HERE, made_for="genai")
KNOWN = Known(HERE)


def driven_by(owner: str) -> There:
    return replace(FRESH, key=replace(KEY, owner=owner))


TABLE: list[tuple[str, There, Known, tuple[Origin, str | None, str | None] | None]] = [
    ("somebody made it by hand", FRESH, KNOWN, (Origin.PEOPLE, None, None)),
    ("it is managed", FRESH, Known(HERE, frozenset({"key"})), None),
    ("it is gone", replace(FRESH, key=replace(KEY, state="DELETED")), KNOWN, None),
    (
        "it is configured, and nobody brought its secret",
        FRESH,
        Known(HERE, waiting={"key": "genai"}),
        (Origin.WAITING, "genai", None),
    ),
    (
        "another keyman drives it",
        driven_by(ELSEWHERE),
        KNOWN,
        (Origin.ANOTHER, None, ELSEWHERE),
    ),
    (
        "another keyman drives what is configured here",
        driven_by(ELSEWHERE),
        Known(HERE, waiting={"key": "genai"}),
        (Origin.ANOTHER, "genai", ELSEWHERE),
    ),
    (
        "another keyman made it and drives it no more",
        replace(MADE, made_by=ELSEWHERE),
        KNOWN,
        (Origin.ANOTHER, "genai", ELSEWHERE),
    ),
    ("ours by its tag, and unknown", MADE, KNOWN, (Origin.LOST, "genai", None)),
    ("ours by its mark, and unknown", driven_by(HERE), KNOWN, (Origin.LOST, None, None)),
    (
        "ours by the beginning of a name",
        replace(MADE, made_by=HERE[:12]),
        KNOWN,
        (Origin.LOST, "genai", None),
    ),
    (
        "too short a name is nobody's that is known",
        replace(MADE, made_by="0"),
        KNOWN,
        (Origin.ANOTHER, "genai", "0"),
    ),
    (
        "nothing ever ran here",
        MADE,
        Known(""),
        (Origin.ANOTHER, "genai", HERE),
    ),
    (
        "it was ours before",
        driven_by(HERE),
        Known(HERE, earlier={"key": "genai"}),
        (Origin.EARLIER, "genai", None),
    ),
    (
        "its credential left the configuration",
        driven_by(HERE),
        Known(HERE, left={"key": "genai"}),
        (Origin.LEFT, "genai", None),
    ),
]


@pytest.mark.parametrize(("sentence", "there", "known", "said"), TABLE, ids=[r[0] for r in TABLE])
def test_whose_it_is(
    sentence: str,
    there: There,
    known: Known,
    said: tuple[Origin, str | None, str | None] | None,
) -> None:
    found = [
        (one.origin, one.credential, one.installation) for one in unmanaged([there], known, NOW)
    ]
    assert found == ([said] if said else [])


def test_what_two_lists_show_is_said_once() -> None:
    assert len(list(unmanaged([FRESH, FRESH], KNOWN, NOW))) == 1


def aged(made: timedelta | None, used: timedelta | None, ends: datetime | None = None) -> There:
    slot = replace(IDLE, last_used_at=NOW - used if used else None, expires_at=ends)
    return replace(FRESH, key=replace(KEY, slots=(slot,)), created_at=NOW - made if made else None)


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("there", "notes"),
    [
        (aged(DAY, None), ()),
        (aged(UNUSED, None), ("never-used",)),
        (aged(None, None), ()),
        (aged(UNUSED, DAY), ()),
        (aged(UNUSED + DAY, UNUSED), ("unused",)),
        (aged(OLD, DAY), ("old",)),
        (aged(DAY, DAY, NOW), ("expired",)),
        (aged(DAY, DAY, NOW + DAY), ()),
    ],
)
def test_whether_anybody_needs_it(there: There, notes: tuple[str, ...]) -> None:
    assert [one.notes for one in unmanaged([there], KNOWN, NOW)] == [notes]


def test_of_several_slots_the_last_use_counts() -> None:
    used = [replace(IDLE, last_used_at=NOW - days * DAY) for days in (40, 2, 50)]
    both = replace(FRESH, key=replace(KEY, slots=(IDLE, *used)))
    found = [(one.last_used_at, one.notes) for one in unmanaged([both], KNOWN, NOW)]
    assert found == [(NOW - 2 * DAY, ())]


def test_a_key_of_which_no_slot_is_shown_is_not_said_to_be_expired() -> None:
    bare = replace(FRESH, key=replace(KEY, slots=()))
    assert [one.notes for one in unmanaged([bare], KNOWN, NOW)] == [()]


def test_one_slot_that_lives_keeps_a_key_alive() -> None:
    dead = replace(IDLE, name="two", state="REVOKED")
    both = replace(FRESH, key=replace(KEY, slots=(IDLE, dead)))
    gone = replace(FRESH, key=replace(KEY, slots=(dead,)))
    found = {one.notes for one in unmanaged([both], KNOWN, NOW)}
    assert found == {()}
    assert {one.notes for one in unmanaged([gone], KNOWN, NOW)} == {("expired",)}
