"""The picture of a plan: what is on which lane, where its dates are; and that it is harmless."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from keyman.core.model import Credential, OrderKind, Stage
from keyman.core.orders import record
from keyman.core.outlook import Outlook, look_ahead
from keyman.planning import Plan
from keyman.planning.picture import LEFT, RIGHT, WIDTH, svg
from keyman.planning.rows import rows
from keyman.planning.svg import LIGHT
from keyman.planning.timeline import Timeline, ticks, timeline
from tests.credentials import (
    BY_HAND,
    DAY,
    KEYLESS,
    NOW,
    POLICY,
    SPEC,
    at,
    credential,
    empty,
    looks,
    order,
    seen,
    version,
)
from tests.test_plan import HOURLY_TOKENS

SVG = "{http://www.w3.org/2000/svg}"
CURRENT = version(1, Stage.CURRENT)
ON = seen(looks(CURRENT), empty())
UNTIL = at(365 * DAY)
HOSTILE = {
    "markup": "<script>alert(1)</script>&\"']]>",
    "a terminal's sequences": "alert(1)\x1b[31m\x00\x9b2J",
    "the direction of writing": "alert(1)\u202e\u200f\u2066",
    "half a character": "alert(1)\ud800\ufffe",
}


def named(name: str, until: datetime = UNTIL) -> Outlook:
    c = credential(CURRENT, spec=replace(SPEC, name=name))
    return look_ahead(c, ON, NOW, until)


def static(ends: datetime) -> Outlook:
    held = version(1, Stage.CURRENT, None, expires_at=ends)
    return look_ahead(credential(held, spec=replace(BY_HAND, name="partner")), None, NOW, UNTIL)


def tokens() -> Outlook:
    return look_ahead(Credential(replace(HOURLY_TOKENS, name="vertex")), None, NOW, UNTIL)


def plan(*outlooks: Outlook) -> Plan:
    return Plan(NOW, outlooks[0].until, outlooks)


def drawn(*outlooks: Outlook) -> ET.Element:
    return ET.fromstring(svg(timeline(plan(*outlooks))))


def texts(picture: ET.Element) -> list[str]:
    return [found.text or "" for found in picture.iter(f"{SVG}text")]


# Lanes and bars.


def test_slots_are_lanes_and_versions_change_between_them() -> None:
    (track,) = timeline(plan(named("genai"))).tracks
    assert track.lanes == ("one", "two")
    assert [bar.lane for bar in track.bars[:4]] == [0, 1, 0, 1]
    assert [bar.version for bar in track.bars] == list(range(1, len(track.bars) + 1))


def test_both_bars_are_there_in_an_overlap() -> None:
    (track,) = timeline(plan(named("genai"))).tracks
    for old, new in pairwise(track.bars):
        assert old.replaced == new.begins
        assert old.ends - old.replaced == POLICY.overlap


def test_what_lives_on_goes_to_the_edge() -> None:
    line = timeline(plan(named("genai")))
    last = line.tracks[0].bars[-1]
    assert (last.ends, last.goes_on) == (UNTIL, True)
    assert not any(bar.goes_on for bar in line.tracks[0].bars[:-1])
    assert line.tracks[0].bars[0].begins == line.begins  # promoted a month ago


def test_what_the_provider_refuses_works_no_longer() -> None:
    dead = version(1, Stage.CURRENT, None, expires_at=at(90 * DAY), dead_at=at(-60))
    gone = credential(dead, spec=replace(BY_HAND, name="partner"))
    (track,) = timeline(plan(look_ahead(gone, None, NOW, UNTIL))).tracks
    assert [(bar.ends, bar.goes_on) for bar in track.bars] == [(at(-60), False)]


def test_keys_of_their_own_share_lanes_but_for_overlaps() -> None:
    own = version(1, Stage.CURRENT, None, handle="first")
    shown = replace(ON, keys=(replace(ON.keys[0], handle="first", slots=(looks(own),)),))
    outlook = look_ahead(credential(own, spec=KEYLESS, home=None), shown, NOW, UNTIL)
    (track,) = timeline(plan(outlook)).tracks
    assert track.lanes == ("", "")
    for lane in (0, 1):
        bars = [bar for bar in track.bars if bar.lane == lane]
        assert all(a.ends < b.begins for a, b in pairwise(bars))


def test_a_key_that_takes_anothers_place_has_lanes_of_its_own() -> None:
    c, _ = record(credential(CURRENT), ON, order(OrderKind.NEW_KEY, recorded_at=NOW))
    (track,) = timeline(plan(look_ahead(c, ON, NOW, at(20 * DAY)))).tracks
    assert track.lanes == ("one", "two", "one, new key")
    assert [bar.lane for bar in track.bars] == [0, 2]


# The axis.


@pytest.mark.parametrize("hours", [1, 6, 24, 30, 72, 24 * 10, 24 * 60, 24 * 365, 24 * 3650])
def test_dates_are_round_and_not_too_many(hours: int) -> None:
    line = Timeline(NOW, NOW, NOW + timedelta(hours=hours), ())
    marks = ticks(line)
    assert 1 <= len(marks) <= 16
    assert all(line.begins <= mark.at <= line.ends for mark in marks)
    assert all(mark.at.minute == mark.at.second == 0 for mark in marks)
    assert len({mark.label for mark in marks}) == len(marks)
    if hours > 2000:
        assert all(mark.at.day == 1 for mark in marks)


# The picture.


def test_it_says_what_it_is() -> None:
    picture = drawn(named("genai"), tokens())
    title = picture.find(f"{SVG}title")
    assert title is not None
    assert title.text == "keyman plan: 2 credentials"
    said = texts(picture)
    assert {"genai", "vertex", "one", "two", "handed out", "now", "2027-01"} <= set(said)
    assert any("2026-11-21 12:00Z to 2027-11-21 12:00Z" in one for one in said)


def test_every_mark_lies_within_the_sheet() -> None:
    picture = drawn(named("genai"), static(at(30 * DAY)), tokens())
    height = float(picture.attrib["height"])
    for box in picture.iter(f"{SVG}rect"):
        x, y = float(box.get("x", 0)), float(box.get("y", 0))
        assert 0 <= x <= x + float(box.attrib["width"]) <= WIDTH + 0.2
        assert 0 <= y <= y + float(box.attrib["height"]) <= height


def test_a_gap_is_drawn_and_written_out() -> None:
    picture = drawn(static(at(73 * DAY)))
    (gap,) = [box for box in picture.iter(f"{SVG}rect") if box.get("class") == "gap"][1:]
    share = (float(gap.attrib["x"]) - LEFT) / (WIDTH - LEFT - RIGHT)
    assert share == pytest.approx((73 + 0.04 * 365) / (1.04 * 365), abs=0.001)
    assert "! 2027-02-02 12:00Z: no usable secret from then on" in texts(picture)


def test_tokens_are_one_bar_that_says_how_often() -> None:
    picture = drawn(tokens())
    (said,) = [one for one in texts(picture) if one.startswith("a new token every ")]
    assert "11," in said
    assert len(svg(timeline(plan(tokens())))) < 6000


@pytest.mark.parametrize("many", [1, 5, 40, pytest.param(500, marks=pytest.mark.slow)])
def test_the_sheet_grows_with_what_is_on_it(many: int) -> None:
    until = at(120 * DAY)
    picture = drawn(*(named(f"genai-{number}", until) for number in range(many)))
    height = float(picture.attrib["height"])
    assert 40 * many < height < 50 * many + 150
    found = [one for one in texts(picture) if one.startswith("genai-")]
    assert len(found) == many
    dates = sum(one == "2026-12" for one in texts(picture))
    assert dates >= height / 1100  # nobody has to scroll far for the next date


def test_five_credentials_for_a_year_are_a_small_file() -> None:
    assert len(svg(timeline(plan(*(named(f"genai-{n}") for n in range(5)))))) < 30_000


def test_the_picture_in_the_documentation_is_one_of_ours() -> None:
    text = (Path(__file__).parents[1] / "docs/plan.svg").read_text(encoding="utf-8")
    assert len(text) < 30_000
    assert LIGHT in text
    assert "keyman plan: 5 credentials" in texts(ET.fromstring(text))


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_names_are_harmless(said: str) -> None:
    """Names and slots are checked elsewhere; a provider's words and others' records are not."""
    name = said.replace("\ud800", "")
    spec = replace(SPEC, name=name, provider=said, slots=(said, "two"))
    held = replace(CURRENT, slot=said)
    outlook = look_ahead(credential(held, spec=spec), seen(looks(held), empty()), NOW, UNTIL)
    told = replace(outlook, troubles=(replace(static(at(9 * DAY)).troubles[0], what=said),))
    text = svg(timeline(plan(told)))
    text.encode()
    picture = ET.fromstring(text)
    assert {element.tag.removeprefix(SVG) for element in picture.iter()} == {
        *("svg", "title", "style", "defs", "pattern", "path", "rect", "text", "g"),
    }
    marks = "\x1b\x9b\x00\u202e\u200f\u2066\ud800\ufffe"
    assert not [mark for mark in marks if mark in text]
    assert "alert(1)" in "".join(picture.itertext())  # shown, and nothing but shown


def test_nothing_in_it_is_fetched_or_run() -> None:
    text = svg(timeline(plan(named("genai"))))
    links = [part for part in text.split('"') if "://" in part]
    assert links == ["http://www.w3.org/2000/svg"]
    assert "<script" not in text
    assert "@import" not in text


# The table.


def test_a_rotation_is_one_line() -> None:
    lines = rows(plan(named("genai", at(40 * DAY))))
    assert [(line.step, line.slot) for line in lines] == [
        ("request…promote", "two"),
        ("retire", "one"),
    ]
    assert lines[0].why == "rotate_before reached"
    assert lines[0].cells[0].endswith("Z")


def test_lines_of_all_credentials_are_in_the_order_of_time() -> None:
    lines = rows(plan(*(named(f"genai-{number}") for number in range(7))))
    assert [line.at for line in lines] == sorted(line.at for line in lines)


def test_what_a_rollback_left_under_two_numbers_is_one_line() -> None:
    """Both end with the one secret, which is noted of both."""
    ends = at(5 * DAY)
    old = version(1, Stage.RETIRED, expires_at=ends)
    again = replace(old, number=3, carries=1)
    current = version(4, Stage.CURRENT, "two")
    shown = seen(looks(old, "INACTIVE"), looks(current))
    outlook = look_ahead(credential(old, again, current), shown, NOW, at(9 * DAY))
    assert [one.step for one in outlook.steps] == ["accept", "accept"]
    assert [(row.step, row.slot) for row in rows(plan(outlook))] == [("accept", "one")]


def test_a_year_of_tokens_is_two_lines() -> None:
    first, again = rows(plan(tokens()))
    assert first.step == "request…promote"
    assert again.step == "and again"
    assert again.why.startswith("every ")


def test_json_has_every_step_and_tokens_once() -> None:
    said = plan(named("genai", at(40 * DAY)), tokens()).as_json()
    of_genai = [one for one in said["steps"] if one["credential"] == "genai"]
    assert [one["step"] for one in of_genai] == [
        *("request", "issue", "verify", "verify", "promote", "retire"),
    ]
    assert {"at", "credential", "step", "slot", "reason"} <= of_genai[0].keys()
    (again,) = [one for one in said["steps"] if one["repeats"]]
    assert again["repeats"]["times"] > 10_000
    assert [one["at"] for one in said["steps"]] == sorted(one["at"] for one in said["steps"])


def test_json_has_the_troubles() -> None:
    (trouble,) = plan(static(at(9 * DAY))).as_json()["troubles"]
    assert trouble["credential"] == "partner"
    assert trouble["until"] is None
    assert "keyman put partner" in trouble["hint"]
