"""What `keyman status` shows on a screen: how much, of which, in what order, and how it reads."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest
from rich.cells import cell_len
from rich.text import Text

from keyman.cli.screen_bars import BLOCKS, PLAIN, Life, bar, glyphs_for, life_of
from keyman.cli.screen_lanes import details, lanes
from keyman.cli.screen_layout import Picture, Room, overview
from keyman.cli.screen_looks import Found, tell_changes
from keyman.cli.screen_rows import URGENCY, Chosen, by_urgency, is_pattern, tally, unwell
from keyman.core.model import Credential, Observed, OrderKind, Stage, Version
from keyman.views import Json, credential_view
from tests.credentials import (
    BY_HAND,
    DAY,
    KEYLESS,
    NOW,
    SPEC,
    at,
    credential,
    empty,
    looks,
    order,
    pending,
    seen,
    version,
)

SCREEN = Room(80, 24)
RUNS = {"running": True, "since": "2026-11-21T09:00:00Z"}
CURRENT = version(1, Stage.CURRENT)
ON = seen(looks(CURRENT), empty())
DUE = replace(CURRENT, expires_at=at(10 * DAY))
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e<b>\r\nkeyman: hint: run me\u200f"


def row(name: str, c: Credential, o: Observed | None = ON, **more: Any) -> Json:
    """As the agent answers for it."""
    named = replace(c, spec=replace(c.spec, name=name))
    return credential_view(named, o, NOW) | {"mirrors": [], "clients": None} | more


def ok(name: str = "genai", expires: float = 80 * DAY) -> Json:
    v = replace(CURRENT, expires_at=at(expires))
    return row(name, credential(v), seen(looks(v), empty()))


def down(name: str) -> Json:
    return row(name, credential(replace(CURRENT, dead_at=at(-5))))


def at_risk(name: str) -> Json:
    return row(name, _failing(replace(CURRENT, expires_at=at(20 * DAY))))


def failing(name: str, error: str = "503 ServiceUnavailable", hint: str = "wait") -> Json:
    return row(name, _failing(CURRENT, last_error=error, last_hint=hint))


def _failing(v: Version, **more: Any) -> Credential:
    told: dict[str, Any] = {"failures": 3, "failed_step": "observe", "retry_at": at(2)}
    return credential(v, **told | {"last_error": "503", "last_hint": "wait"} | more)


def due(name: str) -> Json:
    return row(name, credential(DUE), seen(looks(DUE), empty()))


def rotating(name: str) -> Json:
    return row(name, credential(CURRENT, pending(2)))


def picture(*rows: Json, total: int | None = None, **more: Any) -> Picture:
    return Picture(rows, len(rows) if total is None else total, RUNS, **more)


def shown(lines: list[Text]) -> list[str]:
    return [line.plain.rstrip() for line in lines]


def names_in(lines: list[Text]) -> list[str]:
    """Of the rows, in the order of the screen."""
    return [line.split()[0] for line in shown(lines)[2:] if line[:1].isalpha()]


# Bars.

HUNDRED = Life(at(0), at(100), at(60))


@pytest.mark.parametrize(
    ("minutes", "drawn"),
    [
        (0, "░░░░░░┃░░░"),
        (9, "░░░░░░┃░░░"),
        (10, "█░░░░░┃░░░"),
        (50, "█████░┃░░░"),
        (60, "██████┃░░░"),
        (70, "██████┃░░░"),
        (80, "██████┃█░░"),
        (100, "██████┃███"),
        (900, "██████┃███"),
        (-9, "░░░░░░┃░░░"),
    ],
)
def test_a_bar_shows_how_much_is_gone_and_where_rotation_begins(minutes: int, drawn: str) -> None:
    assert bar(HUNDRED, at(minutes), 10).plain == drawn


def test_a_bar_turns_yellow_when_rotation_is_due_and_red_when_it_is_late() -> None:
    assert [HUNDRED.style(at(m)) for m in (0, 59, 60, 79, 80, 101)] == [
        *("green", "green", "yellow", "yellow", "red", "red"),
    ]
    unmarked = replace(HUNDRED, due=None)
    assert [unmarked.style(at(m)) for m in (99, 100)] == ["green", "red"]


def test_every_bar_is_as_wide_as_asked() -> None:
    for width in (1, 5, 16, 48):
        for minutes in (-1000, 0, 33, 60, 99.9, 100, 5000):
            assert len(bar(HUNDRED, at(minutes), width).plain) == width
    assert bar(None, NOW, 16).plain == " " * 16
    assert bar(Life(at(5), at(5), at(5)), NOW, 4).plain.count("┃") == 1  # no life at all


def test_a_terminal_that_knows_no_blocks_gets_plain_characters() -> None:
    assert bar(HUNDRED, at(50), 10, glyphs_for("ascii")).plain == "#####-|---"
    assert glyphs_for("utf-8") == BLOCKS
    assert glyphs_for(None) == glyphs_for("latin-1") == glyphs_for("no-such") == PLAIN


def test_the_mark_of_a_credential_is_where_its_rotation_begins() -> None:
    current = ok()["current"]
    life = life_of(current)
    assert life
    assert (life.begins, life.ends) == (at(-30 * DAY), at(80 * DAY))
    assert life.due
    told = datetime.fromisoformat(ok()["next"]["at"])
    assert life.due == told


# Which, and in what order.

EVERY = (ok("o"), due("u"), rotating("r"), failing("f"), at_risk("a"), down("d"))


def test_the_most_urgent_come_first() -> None:
    assert [one["health"] for one in by_urgency(EVERY)] == list(URGENCY)
    for seed in range(5):
        mixed = random.Random(seed).sample(EVERY, len(EVERY))
        assert [one["name"] for one in by_urgency(mixed)] == ["d", "a", "f", "u", "r", "o"]


def test_equals_come_in_the_order_of_what_happens_next_and_then_of_their_names() -> None:
    late, soon, same = ok("late", 85 * DAY), ok("soon", 75 * DAY), ok("b") | {"next": None}
    never = ok("a") | {"next": None}
    found = by_urgency([same, late, never, soon])
    assert [one["name"] for one in found] == ["soon", "late", "a", "b"]


def test_filters_hold_together() -> None:
    rows = [*EVERY, row("vertex", credential(CURRENT, spec=replace(SPEC, provider="google")))]

    def found(**asked: Any) -> set[str]:
        return {one["name"] for one in rows if Chosen(**asked).takes(one)}

    assert found() == {"o", "u", "r", "f", "a", "d", "vertex"}
    assert found(unwell=True) == {"d", "a", "f"}
    assert found(healths=("due", "rotating")) == {"u", "r"}
    assert found(provider="google") == {"vertex"}
    assert found(pattern="[a-d]*") == {"a", "d"}
    assert found(pattern="v*x", provider="google", healths=("ok",)) == {"vertex"}
    assert found(unwell=True, healths=("ok",)) == set()


def test_whose_mirror_fails_needs_somebody() -> None:
    mirror = {"store": "vault", "state": "failing", "version": 1, "error": "sealed", "since": None}
    assert unwell(ok() | {"mirrors": [mirror]})
    assert not unwell(ok() | {"mirrors": [mirror | {"state": "behind"}]})
    line = shown(
        overview(picture(*(ok(f"x{n}") | {"mirrors": [mirror]} for n in range(9))), NOW, SCREEN)
    )[2]
    assert "mirror vault: sealed" in line


def test_a_name_with_a_star_is_a_pattern() -> None:
    assert [is_pattern(name) for name in ("genai", "gen*", "gen?i", "[ab]", "a-b_c")] == [
        *(False, True, True, True, False),
    ]


def test_a_health_that_this_version_does_not_know_comes_first() -> None:
    odd = ok("odd") | {"health": "on-fire"}
    assert [one["name"] for one in by_urgency([ok("a"), odd])] == ["odd", "a"]
    assert tally([odd, ok(), ok()]) == "1 on-fire, 2 ok"


# A screen of them.


def fits(lines: list[Text], room: Room) -> None:
    assert room.height is None or len(lines) <= room.height
    assert [line.plain for line in lines if line.cell_len > room.width] == []
    assert [line.plain for line in lines if "\n" in line.plain] == []


def test_one_credential_has_its_slots_under_it() -> None:
    lines = overview(picture(ok()), NOW, SCREEN)
    fits(lines, SCREEN)
    assert shown(lines) == [
        "1 credential: 1 ok  daemon runs, up 3h 0m",
        "NAME   HEALTH    LIFE              LEFT      NEXT",
        "genai  ok        ████░░░┃░░░░░░░░  80d 0h    request in 24d 14h",
        "  one         ACTIVE     v1 current, issued 30d 0h ago",
        "  two         INACTIVE   nothing of keyman's",
        "█ gone  ░ left  ┃ rotation begins",
    ]


def test_five_credentials_are_one_screen_with_slots_and_trouble() -> None:
    lines = overview(picture(*(make(make.__name__) for make in FIVE)), NOW, SCREEN)
    fits(lines, SCREEN)
    assert names_in(lines) == ["down", "failing", "due", "rotating", "ok"]
    said = shown(lines)
    assert sum(line.startswith("  one ") for line in said) == 5
    assert "  failed 3 times: 503 ServiceUnavailable" in said
    assert "  hint: wait" in said
    assert said[0].startswith("5 credentials: 1 down, 1 failing, 1 due, 1 rotating, 1 ok")


FIVE = (ok, due, rotating, failing, down)


def test_a_dozen_have_only_their_trouble_under_them() -> None:
    lines = overview(picture(failing("f"), *(ok(f"ok-{n}") for n in range(11))), NOW, SCREEN)
    fits(lines, SCREEN)
    assert not [line for line in shown(lines) if line.startswith("  one ")]
    assert shown(lines)[3:5] == ["  failed 3 times: 503 ServiceUnavailable", "  hint: wait"]
    assert len(names_in(lines)) == 12


@cache
def many(number: int) -> list[Json]:
    """Of every hundred one is down, one at risk, two fail, six are due; the others are well."""
    makes = {0: down, 1: at_risk, 2: failing, 3: failing, **dict.fromkeys(range(4, 10), due)}
    return [makes.get(n % 100, ok)(f"genai-{n:03}") for n in range(number)]


def test_five_hundred_are_one_screen_and_a_count_of_the_others() -> None:
    rows = many(500)
    lines = overview(picture(*rows), NOW, SCREEN)
    fits(lines, SCREEN)
    assert len(lines) == SCREEN.height
    said = shown(lines)
    assert said[0].startswith("500 credentials: 5 down, 5 at-risk, 10 failing, 30 due, 450 ok")
    shown_rows = [line.split()[1] for line in said[2:-2]]
    assert shown_rows == ["down"] * 5 + ["at-risk"] * 5 + ["failing"] * 10
    assert said[-2].startswith("480 more: 30 due, 450 ok")
    assert len(shown_rows) + 480 == 500


def test_what_is_left_out_and_needs_somebody_is_in_colour() -> None:
    lines = overview(picture(*(down(f"d{n:02}") for n in range(40))), NOW, SCREEN)
    assert lines[-2].plain.startswith("20 more: 20 down")
    assert lines[-2].style == "red"


def test_filters_are_told_with_how_many_there_are_in_all() -> None:
    rows = [one for one in many(500) if Chosen(unwell=True, pattern="gen*").takes(one)]
    chosen = Chosen(unwell=True, pattern="gen*")
    lines = overview(picture(*rows[:7], total=500, chosen=chosen), NOW, SCREEN)
    assert shown(lines)[0].startswith("7 of 500 ('gen*' --unwell): 2 down, 2 at-risk, 3 failing")


@pytest.mark.parametrize("number", [0, 1, 2, 5, 7, 12, 22, 23, 100, 500])
@pytest.mark.parametrize("size", [(20, 5), (40, 10), (80, 24), (132, 50), (250, 80), (80, 3)])
def test_nothing_is_ever_wider_or_longer_than_the_screen(
    number: int, size: tuple[int, int]
) -> None:
    room = Room(*size)
    lines = overview(picture(*many(number), notes=("a warning " * 30,)), NOW, room)
    fits(lines, room)
    if number and size[1] > 5:
        assert names_in(lines) or size[0] < 30


def test_all_of_them_where_there_is_no_end_of_the_page() -> None:
    lines = overview(picture(*many(500)), NOW, Room(80, None))
    assert len(names_in(lines)) == 500


def test_a_long_name_is_cut_and_keeps_the_columns() -> None:
    lines = overview(picture(ok("a" * 63), ok("short")), NOW, SCREEN)
    fits(lines, SCREEN)
    starts = {
        line.index(" ok ") for line in shown(lines) if " ok " in line and "credential" not in line
    }
    assert len(starts) == 1
    assert "a" * 23 + "…" in "\n".join(shown(lines))


def test_what_a_provider_says_moves_no_cursor() -> None:
    rows = [failing("f", error=HOSTILE, hint=HOSTILE), ok()]
    slot = rows[0]["slots"][0]
    slot["state"] = slot["name"] = HOSTILE
    for lines in (
        overview(picture(*rows), NOW, SCREEN),
        overview(picture(*rows, *many(30)), NOW, SCREEN),
        details(picture(rows[0]), NOW, SCREEN),
    ):
        fits(lines, SCREEN)
        said = "\n".join(shown(lines))
        assert not [mark for mark in "\x1b\x07\r\u202e\u200f" if mark in said]
        assert not [line for line in shown(lines) if line.startswith("keyman: hint")]


def test_wide_characters_are_counted_as_they_are_shown() -> None:
    lines = overview(picture(failing("f", error="鍵" * 60), *many(30)), NOW, SCREEN)
    fits(lines, SCREEN)
    assert max(cell_len(line.plain) for line in lines) <= 80


def test_who_is_not_there_yet_is_told_what_to_do() -> None:
    bare = row("static", Credential(replace(BY_HAND, provider="static")), None)
    adopted = row("theirs", Credential(replace(SPEC, key_id="ocid1.key")), None)
    said = shown(overview(picture(bare, adopted), NOW, SCREEN))
    assert "  nobody has given its secret yet" in said
    assert "  hint: give the secret: keyman put static" in said
    assert "  not adopted" in said
    assert "  hint: give the secret in use: keyman adopt theirs --slot SLOT" in said


def test_an_old_picture_says_so() -> None:
    old = picture(ok(), at=NOW - timedelta(seconds=7), notes=("nobody answers", "hint: start it"))
    lines = shown(overview(old, NOW, SCREEN))
    assert lines[0].endswith("as of 11:59:53Z")
    assert lines[-3:-1] == ["nobody answers", "hint: start it"]


# One in full.


def test_slots_are_lanes() -> None:
    old = version(1, Stage.PREVIOUS, replaced_at=at(-60))
    new = version(2, Stage.CURRENT, "two", issued_at=at(-60), promoted_at=at(-60))
    used = looks(old, last_used_at=at(-2))
    one = row("genai", credential(old, new), seen(used, looks(new)))
    said = shown(details(picture(one), NOW, SCREEN))
    assert said[:9] == [
        "genai  oci-genai  ok  version 2 in two",
        "",
        "one         ACTIVE     v1 previous     ██████░░░░░░░░░░░░░░░░░░  80d 0h left",
        "  issued 30d 0h ago, ends 2027-02-09 12:00Z, last used 2m 0s ago",
        "  next: switched off in 23h 0m: overlap",
        "two         ACTIVE     v2 current      ░░░░░░░┃░░░░░░░░░░░░░░░░  80d 0h left",
        "  issued 1h 0m ago, ends 2027-02-09 12:00Z",
        "  next: replaced in 24d 14h: rotate_before 60d",
        "█ gone  ░ left  ┃ rotation begins",
    ]


def test_what_is_to_be_done_to_the_key_left_behind_is_not_said_of_the_new_one() -> None:
    """Its slots have the same names."""
    left = version(1, Stage.PREVIOUS, handle="left", replaced_at=at(-60))
    new = version(2, Stage.CURRENT, promoted_at=at(-60))
    found = lanes(row("genai", credential(left, new), seen(looks(new), empty())))
    assert [lane.next and lane.next["step"] for lane in found] == ["request", "request"]


def test_a_standby_slot_says_when_it_is_filled() -> None:
    said = "\n".join(shown(details(picture(ok()), NOW, SCREEN)))
    assert "\ntwo         INACTIVE   -" in said
    assert "  next: filled in 24d 14h: rotate_before 60d" in said


def test_versions_are_lanes_where_there_are_no_slots() -> None:
    old = version(1, Stage.PREVIOUS, None, handle="a", replaced_at=at(-60))
    new = version(2, Stage.CURRENT, None, handle="b", promoted_at=at(-60))
    found = lanes(row("openai", credential(old, new, spec=KEYLESS, home=None), None))
    assert [(lane.name, lane.stage) for lane in found] == [
        ("version 2", "current"),
        ("version 1", "previous"),
    ]
    assert [lane.next and lane.next["step"] for lane in found] == ["request", "retire"]


def test_everything_else_that_is_known_is_written_under_the_lanes() -> None:
    mirror = {"store": "vault", "state": "failing", "version": 1, "error": "sealed", "since": "…"}
    more = {"mirrors": [mirror], "clients": {"connected": 3, "behind": 1}}
    wish = order(OrderKind.ROTATE)
    one = row("genai", _failing(CURRENT, orders=(wish,), last_error="503 from there"), ON, **more)
    said = "\n".join(shown(details(picture(one), NOW, SCREEN)))
    for fact in (
        "key:         key",
        "order:       rotate waiting (wish)",
        "mirror:      vault failing, version 1, since …: sealed",
        "clients:     3 connected, 1 with an older version",
        "failed:      3 times: 503 from there",
        "hint:        wait",
    ):
        assert fact in said


def test_what_somebody_changed_at_the_provider_is_told() -> None:
    changed = seen(looks(CURRENT, state="INACTIVE"), empty(), minutes=-1)
    one = row("genai", credential(CURRENT), changed)
    assert one["drift"] == [
        {
            "version": 1,
            "slot": "one",
            "what": "its slot is INACTIVE",
            "seen_at": "2026-11-21T11:59:00Z",
        }
    ]
    said = "\n".join(shown(details(picture(one), NOW, SCREEN)))
    assert "changed:     version 1: its slot is INACTIVE (seen 2026-11-21T11:59:00Z)" in said


def test_long_words_are_folded_and_a_small_screen_counts_what_it_leaves_out() -> None:
    one = failing("genai", error="word " * 100)
    full = details(picture(one), NOW, Room(80, None))
    fits(full, SCREEN)
    assert sum("word word" in line for line in shown(full)) > 5
    short = details(picture(one), NOW, Room(80, 10))
    assert shown(short)[-1] == f"{len(full) - 9} more lines"


def test_what_is_refused_is_not_shown_as_in_use() -> None:
    """Its key is gone, so nothing is seen; the last picture shows it ACTIVE, good for months."""
    dead = replace(CURRENT, dead_at=at(-5))
    old = version(2, Stage.PREVIOUS, "two", replaced_at=at(-30))
    was = seen(looks(CURRENT), looks(old), minutes=-20)
    one = row("genai", _failing(dead, last_error="404"), was)
    text = "\n".join(shown(details(picture(one), NOW, Room(80, None))))
    lane = text.partition("\ntwo")[0]
    assert "v1 refused" in lane
    assert "refused since 2026-11-21 11:55Z" in lane
    assert not any(word in lane for word in ("current", "left"))
    assert "v1 refused" in "\n".join(shown(overview(picture(one), NOW, SCREEN)))
    assert "observe in 2m" in text


def test_where_nothing_works_nothing_is_switched_off() -> None:
    dead = replace(CURRENT, dead_at=at(-5))
    old = version(2, Stage.PREVIOUS, "two", replaced_at=at(-30))
    lost = credential(dead, old)
    assert "retire" not in [one["step"] for one in row("genai", lost)["coming"]]
    failing = replace(lost, failures=1, failed_step="observe", retry_at=at(1), last_error="404")
    assert [one["step"] for one in row("genai", failing)["coming"]] == ["observe"]
    well = replace(failing, versions=(CURRENT, old))
    assert {"observe", "retire"} <= {one["step"] for one in row("genai", well)["coming"]}
    assert row("genai", well)["next"]["step"] == "observe"


def test_off_a_terminal_there_are_no_bars() -> None:
    said = "\n".join(shown(details(picture(ok()), NOW, Room(400, None, None))))
    assert "█" not in said
    assert "80d 0h" in said


# Off a terminal, again and again.


def test_only_what_changed_is_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    looks = [ok("a"), ok("a"), ok("a", 79 * DAY), down("a"), down("a"), ok("a")]
    found = [Found({}, [one], 1, RUNS, at(minute)) for minute, one in enumerate(looks)]
    told: list[Found] = []
    tell_changes(found, told.append)
    assert [one.at for one in told] == [at(0), at(3), at(5)]
    assert capsys.readouterr().out.split() == [
        *("2026-11-21T12:00:00Z", "2026-11-21T12:03:00Z", "2026-11-21T12:05:00Z"),
    ]
