"""What people hear, told as stories: once, early, again when it gets worse, and when it is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from keyman.config import Told
from keyman.core.model import Stage
from keyman.core.news import KINDS
from keyman.notify.deciding import WORST, degree, event_of
from keyman.notify.following import WAITING_AT_MOST, reconciled
from keyman.notify.memo import Memo, Storm, Trouble, memo_of, text_of
from tests.credentials import HOURLY, NOW, version
from tests.notify.story import Story, by_hand, named, target

DAYS = timedelta(days=1)
EVERYTHING = target(*Told)


def test_nothing_is_said_of_what_goes_well() -> None:
    story = Story()
    story.happens("promoted", version=2)
    story.happens("retired", version=1)
    assert story.looks(hours=3) == []


# ----------------------------------------------------------------------------------------- trouble


def test_a_trouble_is_told_once_and_so_is_its_end() -> None:
    story = Story()
    story.happens("failing", reason="OCI answered 500")
    assert story.look() == ["failing/trouble: genai"]
    assert story.looks(hours=8) == []
    story.happens("ok")
    assert story.look() == ["ok/over: genai"]
    assert story.looks(days=1) == []


def test_what_was_over_before_anybody_was_told_is_told_in_one() -> None:
    story = Story()
    story.happens("failing", reason="the answer was lost")
    story.passes(seconds=2)
    story.happens("ok")
    story.passes(seconds=5)
    assert story.look() == ["failing/passed: genai"]
    assert story.looks(days=1) == []


def test_it_is_told_again_as_less_and_less_is_left() -> None:
    """rotate_before is 60 days: half of them, a quarter, a tenth, and the end."""
    story = Story(credentials=[named("genai", ends=50 * DAYS)])
    story.happens("failing", reason="no answer")
    assert story.look() == ["failing/trouble: genai"]
    story.passes(days=18)
    assert story.look() == ["failing/trouble: genai"], "it stays, and a week is over"
    looked = [(day, story.looks(timedelta(hours=1), days=1)) for day in range(19, 52)]
    worse, reminded = [20, 35, 44, 50], [27, 34, 42]
    heard = {day: said for day, said in looked if said}
    assert heard.pop(51) == ["down/trouble: genai"] * 23
    assert heard.pop(50) == ["down/trouble: genai"]
    assert sorted(heard) == sorted({*worse[:-1], *reminded})
    assert set(map(tuple, heard.values())) == {("at-risk/trouble: genai",)}


def test_what_stays_as_it_is_is_told_again_daily_and_later_weekly() -> None:
    """A standstill of weeks must not be one message, and not a stream of them either."""
    story = Story(stalled="the journal fails: no space left")
    story.happens("failing", reason="no answer")
    story.happens("mirror-failing", reason="vault: it is sealed")
    assert len(story.look()) == 3
    assert story.looks(timedelta(hours=1), hours=23) == []
    days = [sorted(story.looks(timedelta(hours=1), days=1)) for _ in range(28)]
    every = ["failing/trouble: genai", "mirror-failing/trouble: genai@vault", "stalled/trouble"]
    assert [day for day, heard in enumerate(days, 1) if heard] == [*range(1, 7), 13, 20, 27]
    assert [heard for heard in days if heard] == [every] * 9
    assert [one.title for one in story.said[-3:]] == [
        "keyman: keyman's own work still does not go on: the journal fails: no space left",
        "keyman: genai is still failing: no answer",
        "keyman: the mirror vault of genai still fails: it is sealed",
    ]


def test_the_word_and_the_time_that_is_left_are_one_reason_to_tell_and_not_two() -> None:
    story = Story(credentials=[named("genai", ends=31 * DAYS)])
    story.happens("failing", reason="no answer")
    story.look()
    story.passes(days=1, minutes=1)
    assert story.look() == ["at-risk/trouble: genai"]
    story.happens("at-risk", reason="no answer")
    assert story.looks(timedelta(hours=1), hours=23) == []


def test_who_is_down_is_told_of_hourly_and_after_a_day_daily() -> None:
    story = Story()
    story.happens("down", reason="the current secret expired")
    assert story.looks(hours=5) == ["down/trouble: genai"] * 6
    story.looks(hours=19, every=timedelta(minutes=5))
    assert story.looks(timedelta(hours=1), days=3) == ["down/trouble: genai"] * 3
    story.happens("ok")
    assert story.look() == ["ok/over: genai"]


def test_getting_down_is_told_at_once_however_short_after_the_last_message() -> None:
    story = Story()
    story.happens("failing", reason="no answer")
    story.look()
    story.passes(seconds=30)
    story.happens("down", reason="it expired")
    assert story.look() == ["down/trouble: genai"]


def test_a_token_that_runs_out_within_minutes_is_no_stream_of_messages() -> None:
    short = version(1, Stage.CURRENT, issued_at=NOW, expires_at=NOW + timedelta(minutes=14))
    token = replace(named("vertex", spec=replace(HOURLY, provider="google")), versions=(short,))
    policy = replace(token.policy, rotate_before=timedelta(minutes=15))
    story = Story(credentials=[replace(token, spec=replace(token.spec, policy=policy))])
    story.happens("failing", "vertex", "403")
    assert story.looks(minutes=13) == ["failing/trouble: vertex"]
    assert story.looks(minutes=10) == ["down/trouble: vertex"]


def test_what_comes_and_goes_is_told_less_and_less_but_not_kept_silent_if_it_stays() -> None:
    story = Story()
    heard = []
    for _ in range(6 * 60):
        story.happens("failing", reason="no answer")
        heard += story.look()
        story.passes(seconds=30)
        story.happens("ok")
        heard += story.look()
        story.passes(seconds=30)
    assert heard[:2] == ["failing/trouble: genai", "ok/over: genai"]
    assert 2 <= len(heard) <= 16, heard
    story.happens("failing", reason="no answer")
    assert "failing/trouble: genai" in story.looks(hours=3)


def test_back_soon_and_for_long_is_told_within_half_an_hour() -> None:
    story = Story()
    story.happens("failing", reason="no answer")
    story.look()
    story.happens("ok")
    assert story.looks(minutes=2) == ["ok/over: genai"]
    story.happens("failing", reason="no answer")
    assert story.looks(minutes=25) == []
    assert story.looks(minutes=5) == ["failing/trouble: genai"]
    story.happens("ok")
    assert story.look() == ["ok/over: genai"]


def test_a_version_that_came_to_nothing_is_the_begin_of_one_trouble() -> None:
    story = Story()
    story.happens("given-up", reason="not accepted in time", version=2)
    assert story.look() == ["given-up/trouble: genai"]
    story.passes(minutes=2)
    story.happens("given-up", reason="not accepted in time", version=3)
    story.passes(minutes=2)
    story.happens("failing", reason="given up several times")
    assert story.looks(hours=3) == []
    story.happens("promoted", version=5)
    story.happens("ok")
    assert story.look() == ["ok/over: genai"]


def test_it_is_over_with_the_next_promotion_or_when_nobody_wishes_one() -> None:
    story = Story()
    story.happens("given-up", reason="409", version=2)
    story.passes(seconds=3)
    story.happens("promoted", version=3)
    assert story.look() == ["given-up/passed: genai"]
    story.passes(hours=3)
    story.happens("given-up", reason="409", version=4)
    assert story.look() == ["given-up/trouble: genai"]
    assert story.looks(minutes=20) == ["ok/over: genai"]


def test_an_end_that_nobody_heard_of_before_it_was_back_is_none() -> None:
    """As at a restart of the daemon: for a moment nothing is known to be wrong."""
    story = Story()
    story.happens("failing", reason="no answer")
    story.look()
    story.passes(minutes=1)
    story.happens("ok")
    story.happens("failing", reason="no answer")
    assert story.looks(hours=2) == []
    story.happens("ok")
    assert story.look() == ["ok/over: genai"]


# ------------------------------------------------------------------------------------------ storms


def many(count: int) -> Story:
    return Story(credentials=[named(f"c{number}") for number in range(count)])


@pytest.mark.slow
def test_many_that_fail_for_one_cause_are_one_message() -> None:
    story = many(100)
    for number in range(100):
        story.happens("failing", f"c{number}", f"c{number}: no answer within {number} s")
    (heard,) = story.look()
    assert heard.count("c") == 100
    assert story.looks(hours=2) == []
    for number in range(100):
        story.happens("ok", f"c{number}")
    assert len(story.looks(hours=2)) == 1


def test_those_who_join_them_wait_for_the_next_message_about_it() -> None:
    story = many(60)
    heard = []
    for number in range(60):
        story.happens("failing", f"c{number}", "OCI answered 503, request ABC/1/2")
        heard += story.looks(timedelta(seconds=15), minutes=0.5)
    heard += story.looks(minutes=15)
    assert 2 <= len(heard) <= 5, heard
    told = [name for one in heard for name in one.partition(": ")[2].split(", ")]
    assert sorted(told) == sorted(f"c{number}" for number in range(60)), "each once"


def test_another_cause_does_not_wait() -> None:
    story = many(2)
    story.happens("failing", "c0", "OCI answered 503")
    story.look()
    story.happens("failing", "c1", "the store is locked")
    assert story.look() == ["failing/trouble: c1"]


def test_of_what_passes_by_itself_fewer_and_fewer_are_told() -> None:
    story = many(50)
    heard = []
    for number in range(50):
        story.happens("failing", f"c{number}", "the answer was lost")
        story.happens("ok", f"c{number}")
        heard += story.looks(minutes=5)
    assert 2 <= len(heard) <= 6, heard


@pytest.mark.slow
def test_ten_thousand_at_once_are_quickly_decided() -> None:
    story = many(5_000)
    for number in range(5_000):
        story.happens("failing", f"c{number}", "no answer")
    assert len(story.look()) == 1
    assert len(story.said[0].body) < 2000


# -------------------------------------------------------------------------- what comes to its end


def test_a_secret_that_comes_by_hand_is_told_of_early_and_again() -> None:
    """rotate_before, 14 days, is the first warning; then 7, 3.5 and 1.4 days, and the end."""
    story = Story(credentials=[by_hand("partner", 20 * DAYS)])
    heard = [
        (day, found) for day in range(20) if (found := story.looks(timedelta(hours=1), days=1))
    ]
    assert [(day, one.partition("/")[0]) for day, found in heard for one in found] == [
        (5, "expiring"),
        (12, "expiring"),
        (16, "expiring"),
        (18, "expiring"),
        (19, "down"),
    ]
    story.replace(by_hand("partner", 60 * DAYS))
    assert story.look() == ["ok/over: partner"]


def test_so_is_one_whose_rotation_is_long_due_while_nothing_says_why() -> None:
    """Silence is the worst: what fails is told anyway, what just does not come would not be."""
    story = Story(credentials=[named("genai", ends=25 * DAYS)])
    assert story.look() == []
    story.passes(days=1, hours=1)
    assert story.look() == ["expiring/trouble: genai"]


def test_one_that_was_taken_over_an_hour_ago_has_time_to_be_rotated() -> None:
    fresh = version(1, Stage.CURRENT, promoted_at=NOW, expires_at=NOW + 5 * DAYS)
    story = Story(credentials=[replace(named("genai"), versions=(fresh,))])
    assert story.looks(hours=5) == []


def test_one_that_never_ends_is_never_told_of() -> None:
    endless = version(1, Stage.CURRENT, expires_at=None)
    story = Story(credentials=[replace(by_hand("partner", DAYS), versions=(endless,))])
    assert story.looks(timedelta(days=30), days=900) == []


def test_down_takes_over_from_expiring_and_is_over_when_the_next_one_comes() -> None:
    story = Story(credentials=[by_hand("partner", timedelta(hours=1))])
    assert story.look() == ["expiring/trouble: partner"]
    story.passes(hours=1)
    story.happens("down", "partner", "the current secret expired")
    assert story.look() == ["down/trouble: partner"]
    story.replace(by_hand("partner", 99 * DAYS))
    story.happens("ok", "partner")
    assert story.look() == ["ok/over: partner"]


# -------------------------------------------------------------------- mirrors, drift, keyman itself


def test_a_mirror_that_fails_is_told_and_that_it_follows_again() -> None:
    story = Story()
    story.happens("mirror-failing", reason="vault: it is sealed")
    story.happens("mirror-failing", reason="other: it is sealed")
    assert sorted(story.look()) == [
        "mirror-failing/trouble: genai@other",
        "mirror-failing/trouble: genai@vault",
    ]
    story.happens("mirror-ok", reason="vault")
    assert story.look() == ["mirror-ok/over: genai@vault"]


def test_a_mirror_of_many_is_one_message() -> None:
    story = many(30)
    for number in range(30):
        story.happens("mirror-failing", f"c{number}", f"vault: it is sealed ({number})")
    assert len(story.look()) == 1


def test_drift_is_told_each_time_and_with_the_trouble_that_it_makes() -> None:
    story = Story()
    story.happens("drift", reason="its slot is INACTIVE", version=1, slot="one")
    assert story.look() == ["drift/happened: genai"]
    story.passes(hours=1)
    story.happens("drift", reason="its slot is REVOKED", version=1, slot="one")
    story.happens("down", reason="the provider refuses the current secret")
    assert story.look() == ["down/trouble: genai +drift"]
    assert story.looks(minutes=30) == []


def test_keyman_s_own_standstill_is_told_once_and_its_end() -> None:
    story = Story(stalled="the journal fails: no space left")
    assert story.looks(hours=9) == ["stalled/trouble"]
    story.stalled = None
    assert story.look() == ["ok/over"]


def test_whatever_the_journal_tells_can_be_told_to_people() -> None:
    assert {str(kind) for kind in KINDS} < {str(told) for told in Told}
    story = Story(EVERYTHING)
    story.happens("invented-later", reason="x")
    assert story.look() == []


# ------------------------------------------------------------------------------------------ choice


def test_only_what_was_chosen_is_told() -> None:
    story = Story(target(Told.DOWN, Told.OK))
    story.happens("failing", reason="no answer")
    story.happens("drift", reason="x")
    assert story.look() == []
    story.happens("down", reason="it expired")
    assert story.look() == ["down/trouble: genai"]
    story.happens("ok")
    assert story.look() == ["ok/over: genai"]


def test_the_end_of_what_was_not_told_is_not_told_either() -> None:
    story = Story(target(Told.DOWN, Told.OK))
    story.happens("failing", reason="no answer")
    story.look()
    story.happens("ok")
    assert story.looks(hours=2) == []
    assert story.memo.troubles == {}


def test_the_end_is_told_only_to_whom_wants_it() -> None:
    story = Story(target(Told.FAILING))
    story.happens("failing", reason="no answer")
    story.look()
    story.happens("ok")
    assert story.looks(hours=3) == []
    assert story.memo.troubles == {}, "and what was told is forgotten in the end"


def test_of_some_credentials_alone() -> None:
    story = Story(target(credentials=["vertex"]), [named("genai"), by_hand("partner", DAYS)])
    story.happens("failing", reason="no answer")
    story.happens("drift", reason="x")
    assert story.looks(hours=1) == []
    assert story.memo.troubles == {}


def test_routine_is_told_to_whom_asks_for_it_except_of_tokens() -> None:
    story = Story(EVERYTHING, [named("genai"), named("vertex", spec=HOURLY)])
    story.happens("promoted", version=2, slot="two")
    story.happens("promoted", "vertex", version=9)
    assert story.look() == ["promoted/happened: genai"]
    for number in range(3, 30):
        story.happens("promoted", version=number)
        story.passes(seconds=10)
    assert len(story.looks(minutes=30)) == 1, "those that follow closely are one message"


def test_a_credential_that_left_the_configuration_is_spoken_of_no_more() -> None:
    story = Story()
    story.happens("down", reason="it expired")
    story.look()
    story.credentials = []
    assert story.looks(hours=5) == []
    assert story.memo.troubles == {}


# ------------------------------------------------------------------------------ who was not there


def test_weeks_later_what_came_and_went_is_one_message_and_what_is_still_wrong_another() -> None:
    story = Story(EVERYTHING, [named("genai"), named("vertex")])
    for _ in range(200):
        story.happens("promoted", version=2)
        story.happens("failing", reason="no answer")
        story.passes(hours=2)
        story.happens("ok")
    story.happens("failing", "vertex", "403")
    story.passes(days=2)
    assert story.look() == ["failing/trouble: vertex", "ok/missed"]
    assert story.said[-1].title == "keyman: 400 things happened that are over by now"
    assert "- failing: 200\n- promoted: 200\n" in story.said[-1].body
    assert story.looks(hours=23, every=timedelta(hours=1)) == []


def test_who_can_t_be_reached_hears_of_it_later_and_keeps_no_list_without_end() -> None:
    story = Story(EVERYTHING, fails=True)
    for number in range(1000):
        story.happens("drift", reason=f"change {number}")
        if number % 100 == 0:
            story.look()
    assert len(story.memo.waiting) == WAITING_AT_MOST
    story.fails = False
    assert story.look() == [f"drift/happened: {', '.join(['genai'] * 100)}", "ok/missed"]


def test_a_new_target_hears_of_what_is_wrong_and_of_nothing_that_was() -> None:
    story = Story(EVERYTHING, [named("genai", told="failing"), named("vertex", told="ok")])
    story.happens("failing", reason="no answer")
    story.happens("failing", "vertex", "403")
    story.happens("mirror-failing", reason="vault: sealed")
    story.happens("drift", reason="x")
    story.happens("ok", "vertex")
    story.passes(minutes=1)
    story.begins()
    assert sorted(story.look()) == [
        "failing/trouble: genai",
        "mirror-failing/trouble: genai@vault",
    ]


def test_what_is_wrong_is_known_without_news_as_well() -> None:
    story = Story(credentials=[named("genai", told="down", last_error="no answer")])
    story.begins()
    assert story.look() == ["down/trouble: genai"]
    story.replace(named("genai", told="ok"))
    story.memo = reconciled(story.memo, story.target, story.records, story.now)
    assert story.look() == ["ok/over: genai"]


# ---------------------------------------------------------------------------------------- the memo


def test_the_memo_comes_back_as_it_was_and_anything_else_begins_anew() -> None:
    trouble = Trouble(Told.DOWN, NOW, "why", told=0, told_at=NOW, times=2, over=NOW)
    memo = Memo(7, {"a@b": trouble}, storms={"x": Storm(NOW)}, missed={Told.OK: 3})
    assert memo_of(text_of(memo)) == memo
    wrong = (None, "", "{}", "[]", "null", "{", text_of(memo).replace("down", "sideways"))
    assert [memo_of(text) for text in wrong] == [None] * len(wrong)


@pytest.mark.parametrize(
    ("what", "bad", "event"),
    [
        (Told.FAILING, 0, Told.FAILING),
        (Told.FAILING, 1, Told.AT_RISK),
        (Told.FAILING, WORST, Told.DOWN),
        (Told.EXPIRING, 3, Told.EXPIRING),
        (Told.EXPIRING, WORST, Told.DOWN),
        (Told.MIRROR_FAILING, 0, Told.MIRROR_FAILING),
        (Told.STALLED, 0, Told.STALLED),
    ],
)
def test_under_which_name_it_is_chosen(what: Told, bad: int, event: Told) -> None:
    assert event_of(Trouble(what, NOW), bad) is event


def test_without_a_record_the_word_alone_counts() -> None:
    assert degree(Trouble(Told.DOWN, NOW), None, NOW) == WORST
    assert degree(Trouble(Told.FAILING, NOW), None, NOW) == 0


def test_what_comes_back_worse_breaks_the_silence_and_what_comes_back_as_bad_does_not() -> None:
    story = Story()
    story.happens("failing", reason="no answer")
    assert story.look() == ["failing/trouble: genai"]
    story.passes(minutes=2)
    story.happens("ok")
    assert story.look() == ["ok/over: genai"]
    story.passes(minutes=2)
    story.happens("down", reason="no usable secret")
    assert story.look() == ["down/trouble: genai"]
    for reason in ("failing", "down"):
        story.happens("ok")
        story.passes(minutes=2)
        story.happens(reason, reason="no answer")
        assert [one for one in story.look() if one.startswith(("failing", "down"))] == []


@pytest.mark.parametrize("first", ["failing", "down"])
def test_being_down_is_told_at_once_after_something_that_passed_by_itself(first: str) -> None:
    """That it "failed and is well again" said of neither that there was no secret."""
    story = Story()
    story.happens(first, reason="its slot is REVOKED")
    story.passes(seconds=1)
    story.happens("ok")
    story.passes(seconds=9)
    assert story.look() == ["failing/passed: genai" if first == "failing" else "down/passed: genai"]
    story.passes(minutes=2)
    story.happens("failing", reason="no answer")
    assert story.looks(minutes=2) == []
    story.happens("down", reason="the key is gone")
    assert story.look() == ["down/trouble: genai"]


def test_being_down_again_is_told_within_ten_minutes_and_flapping_less_and_less() -> None:
    story = Story()
    story.happens("down", reason="the key is gone")
    assert story.look() == ["down/trouble: genai"]
    story.passes(minutes=1)
    story.happens("ok")
    assert story.look() == ["ok/over: genai"]
    story.passes(minutes=4)
    story.happens("down", reason="the key is gone")
    assert story.looks(minutes=4) == []
    assert story.looks(minutes=2) == ["down/trouble: genai"]
    heard = []
    for _ in range(6 * 60):
        story.happens("ok")
        heard += story.looks(timedelta(seconds=30), seconds=30)
        story.happens("down", reason="the key is gone")
        heard += story.looks(timedelta(seconds=30), seconds=30)
    assert 2 <= len(heard) <= 20, heard


@pytest.mark.parametrize(("what", "said"), [("down", "down/trouble"), ("ok", "ok/over")])
def test_one_more_that_is_down_or_well_waits_a_minute_and_not_ten(what: str, said: str) -> None:
    story = many(2)
    if what == "ok":
        for name in ("c0", "c1"):
            story.happens("down", name, "404 not found")
        story.looks(hours=2)
    story.happens(what, "c0", "404 not found")
    assert story.look() == [f"{said}: c0"]
    story.passes(seconds=15)
    story.happens(what, "c1", "404 not found")
    assert story.looks(seconds=30) == []
    assert story.looks(seconds=20) == [f"{said}: c1"]


def test_many_that_go_down_one_by_one_are_few_messages_all_the_same() -> None:
    story = many(60)
    heard = []
    for number in range(60):
        story.happens("down", f"c{number}", "404 not found")
        heard += story.looks(minutes=1)
    assert 4 <= len(heard) <= 12, [one[:30] for one in heard]
