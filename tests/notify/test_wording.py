"""What people read: what, which, why and the next move, and nothing that could act on a reader."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyman.config import Told
from keyman.core.health import Health
from keyman.core.model import Stage
from keyman.notify.deciding import notices
from keyman.notify.harmless import harmless, hint, span
from keyman.notify.wording import TITLE_AT_MOST, trial
from tests.credentials import NOW, version
from tests.notify.story import Story, by_hand, named, target

DAYS = timedelta(days=1)
HOSTILE = {
    "an escape sequence": "\x1b]52;c;aGVsbG8=\x07\x1b[2J",
    "C1": "\x9b31m",
    "bidi": "\u202eevil\u2066x\u2069",
    "marks without width": "a\u200bb\u200f\ufeff\u061c\U000e0041",
    "HTML": "<script>alert(1)</script><img src=x onerror=y>",
    "an entity": "&lt;b&gt;",
    "calling a channel": "<!channel> <@U123> @everyone @here",
    "a link in Markdown": "[log in](http://evil.example)",
    "a picture in Markdown": "![x](http://evil.example/t.png)",
    "code": "``` `x` ```",
    "another line": "fine\nNext: nothing to do\r\nTold by: keyman",
    "other breaks": "a\u2028b\u2029c\x85d",
    "a bare link": "Sign in again: https://evil.example/x?y or WWW.evil.example",
    "what nobody sees": "a\u3164b\u2800c\uffa0\u115f\u00ad\u2060",
    "a tower of marks": "a" + "\u0301" * 60,
    "a surrogate": "\udc80",
    "a whole page": "word " * 5000,
    "a secret": "Incorrect API key provided: sk-proj-" + "a1B2" * 10,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_text_from_outside_is_one_plain_line(text: str) -> None:
    assert_harmless(harmless(text))
    assert "a1B2" not in harmless(text)


def assert_harmless(text: str) -> None:
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert not set("<>[]`*&@\u3164\u2800\uffa0\u1160\u115f") & set(text)
    assert not re.search(r"(?i)://|\bwww\.", text)
    assert not re.search("[\u0300-\u036f]{4}", text)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_whatever_it_is(text: str) -> None:
    said = harmless(text)
    assert_harmless(said)
    assert len(said) <= 300


def test_what_is_harmless_already_stays_as_it_is() -> None:
    plain = (
        "OCI answered 429 (TooManyRequests), retry in 30 s: docs.example.com/x_y, e\u0301t\u00e9"
    )
    assert harmless(plain) == plain


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("what", ["failing", "drift", "mirror-failing", "given-up"])
def test_no_message_carries_it_further(what: str, text: str) -> None:
    """From the news, and from the record's own last error."""
    failing = named("genai", last_error=text, last_hint=text, failures=1)
    story = Story(target(*Told), [failing])
    story.happens(what, reason=f"vault: {text}", slot="one", version=3)
    story.look()
    (said,) = story.said
    ours = said.body.replace("`keyman status genai`", "").replace("`keyman store check vault`", "")
    for line in [said.title, *ours.split("\n")]:
        if line.startswith("Next: ") and what in (
            "failing",
            "given-up",
        ):  # hints are ours: commands, extras
            assert "](" not in line
            line = re.sub(r"[`\[\]]", "", line)  # noqa: PLW2901
        assert_harmless(line)
    starts = [line.partition(":")[0] for line in said.body.split("\n")]
    assert starts.count("Next") == starts.count("Told by") == 1, "it can't pose as a line of ours"
    assert len(said.title) <= len("keyman: ") + TITLE_AT_MOST


def said_of(story: Story) -> str:
    assert story.look()
    return story.said[-1].title + "\n" + story.said[-1].body


def test_a_failing_credential() -> None:
    story = Story(credentials=[named("genai", failures=3, last_error="OCI answered 500")])
    story.credentials = [replace(story.credentials[0], last_hint="check the status page")]
    story.happens("failing", reason="OCI answered 500")
    assert said_of(story) == (
        "keyman: genai is failing: OCI answered 500\n"
        "What: genai (oci-genai): failing since 2026-11-21 12:00 UTC\n"
        "Left: version 1 ends in 80d 0h\n"
        "Why: OCI answered 500\n"
        "Next: check the status page\n"
        "Told by: keyman on host"
    )
    story.passes(days=60)
    assert said_of(story).startswith("keyman: genai is still at risk: version 1 ends in 20d 0h\n")


def test_an_expiring_secret_says_how_the_next_one_is_brought() -> None:
    story = Story(credentials=[by_hand("partner", 9 * DAYS)])
    assert said_of(story) == (
        "keyman: partner: version 1 ends in 9d 0h, and nothing replaces it\n"
        "What: partner (static): expiring since 2026-11-21 12:00 UTC\n"
        "Left: version 1 ends in 9d 0h\n"
        "Next: `keyman put partner` brings the next secret\n"
        "Told by: keyman on host"
    )
    story.passes(days=9, hours=1)
    assert "keyman: partner is still down: no usable secret" in said_of(story)
    assert "Next: `keyman put partner` brings the next secret" in story.said[-1].body


def test_a_storm_lists_ten_and_counts_the_rest() -> None:
    story = Story(credentials=[named(f"c{n}") for n in range(25)])
    for number in range(25):
        story.happens("failing", f"c{number}", "OCI answered 503")
    said = said_of(story)
    assert said.startswith("keyman: 25 credentials failing: OCI answered 503\n- c0, version 1 ends")
    assert "\n- and 15 more: `keyman status` shows all\nNext: " in said
    for number in range(25):
        story.happens("ok", f"c{number}")
    assert said_of(story).startswith("keyman: 25 credentials: over, all is well again\n")


def test_what_passed_by_itself() -> None:
    story = Story()
    story.happens("failing", reason="the answer was lost")
    story.passes(seconds=4)
    story.happens("ok")
    said = said_of(story)
    assert said.startswith("keyman: genai failed and is well again\n")
    assert "failing since 2026-11-21 12:00 UTC, over after 4s\n" in said
    assert "Why: the answer was lost\nNext: nothing to do\n" in said


def test_drift_says_what_somebody_changed_and_what_to_ask() -> None:
    story = Story()
    story.happens("drift", reason="its slot is INACTIVE", version=7, slot="key-one")
    said = said_of(story)
    assert said.startswith("keyman: genai: drift version 7 in key-one: its slot is INACTIVE\n")
    assert "Next: if it was not one of you, ask who has access" in said


def test_keyman_s_own_trouble_names_no_credential() -> None:
    story = Story(stalled="the journal fails: no space left")
    said = said_of(story)
    assert said.startswith("keyman: keyman's own work does not go on: the journal fails: no space")
    assert "Next: look at the daemon's log" in said


@pytest.mark.parametrize("event", list(Told))
def test_every_message_has_a_next_move(event: Told) -> None:
    story = Story(target(*Told), [by_hand("partner", 90 * DAYS), named("genai")])
    if event is Told.EXPIRING:
        story.replace(by_hand("partner", 1 * DAYS))
    elif event is Told.STALLED:
        story.stalled = "why"
    elif event in (Told.OK, Told.MIRROR_OK):
        story.happens("failing" if event is Told.OK else "mirror-failing", reason="vault: x")
        story.look()
        story.happens(event, reason="vault")
    else:
        story.happens(event, reason="vault: x", version=1)
    (notice,) = notices_of(story)
    assert notice.event is event
    assert "\nNext: " in story.said[-1].body
    assert set(map(str, Health)) & {str(one) for one in Told}, "the words of status are used"


def notices_of(story: Story) -> Any:
    before = story.memo
    pending = list(story.untold)
    heard = story.look()
    assert len(heard) == 1, heard
    from keyman.notify.following import followed, timed

    memo = followed(before, pending, story.target, story.records, story.now)
    memo = timed(memo, story.target, story.records, story.stalled, story.now)
    return notices(memo, story.target, story.records, story.now)


def test_the_end_of_a_version_is_said_as_people_say_it() -> None:
    over = version(1, Stage.CURRENT, expires_at=NOW - timedelta(hours=2))
    story = Story(credentials=[replace(named("genai"), versions=(over,))])
    story.happens("down", reason="the current secret expired")
    assert "Left: version 1 expired 2026-11-21 10:00 UTC\n" in said_of(story)
    assert [span(timedelta(seconds=s)) for s in (0, 59, 3600, 90061, -5)] == [
        "0s",
        "59s",
        "1h 0m",
        "1d 1h",
        "0s",
    ]


def test_a_test_message_says_that_it_is_one() -> None:
    assert "nothing is wrong" in trial("hook", "host").body


def test_a_command_in_a_next_move_can_be_pasted() -> None:
    said = hint(
        "`gcloud x --iam-account=keyman@project.iam.gserviceaccount.com`; @here @all.de", 300
    )
    assert "--iam-account=keyman@project.iam" in said
    assert said.count("@") == 1
