"""What a probe is asked although nothing certain speaks against a secret: what somebody revoked
right after our own change, when pictures may be old, and what comes by hand, which nobody shows.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from keyman.core import transitions
from keyman.core.health import Health, health, usable
from keyman.core.model import (
    NOT_SHOWN,
    Credential,
    KeySeen,
    Observed,
    Stage,
    Verdict,
    Version,
)
from keyman.core.news import DRIFT, Record, news
from keyman.core.rotation import next_step
from keyman.core.situation import ASKED_AGAIN_AFTER
from keyman.core.steps import Examine, Observe, Request, Step, Wait
from tests.credentials import (
    BY_HAND,
    DAY,
    NOW,
    POLICY,
    SPEC,
    at,
    credential,
    looks,
    pending,
    seen,
    version,
)

HIDDEN = Observed(NOW, (KeySeen("key", NOT_SHOWN, ()),))
SETTLED = POLICY.verify.within / 2
OLD = version(1, Stage.PREVIOUS, replaced_at=at(-0.5))
FRESH = version(2, Stage.CURRENT, "two", issued_at=at(-1), promoted_at=at(-0.5), refusals=3)
AFTER_ALL = credential(OLD, FRESH)
BROUGHT = version(1, Stage.CURRENT, None, handle="wish-1", promoted_at=at(-1))
PROBED = replace(BY_HAND, probes=True)
STATIC = credential(BROUGHT, spec=PROBED, home=None)
OFTEN = POLICY.observe_every


def shown(state: str) -> Observed:
    return seen(looks(OLD), looks(FRESH, state))


def probed(c: Credential, o: Observed | None, verdict: Verdict, now: datetime) -> Credential:
    """As the rules ask for it at that moment."""
    step = next_step(c, o, now)
    assert isinstance(step, Examine), step
    return transitions.examined(c, step.version, verdict, o, now)


def waits_until(c: Credential, o: Observed | None, now: datetime) -> datetime:
    step = next_step(c, o, now)
    assert isinstance(step, Wait), step
    return step.until


# Right after a change of ours.


@pytest.mark.parametrize("state", ["REVOKED", "EXPIRED", "DELETED", "INACTIVE"])
def test_what_is_revoked_right_after_its_promotion_is_known_dead_in_seconds(state: str) -> None:
    """A fresh picture isn't believed, nor one refusal; both and a second refusal are."""
    proven = replace(FRESH, stage=Stage.PENDING)
    c = transitions.promoted(credential(OLD, proven), proven, at(-0.5))
    o = shown(state)
    c = probed(c, o, Verdict.REFUSED, NOW)
    assert usable(c.current, NOW)
    again = waits_until(c, o, NOW)
    assert again == NOW + ASKED_AGAIN_AFTER
    c = probed(c, o, Verdict.REFUSED, again)
    assert not usable(c.current, again)
    assert health(c, o, again) is Health.DOWN
    assert carries(next_step(c, o, again)) == 1  # the one before takes its place


def carries(step: Step) -> int | None:
    return step.carries if isinstance(step, Request) else None


def test_an_old_picture_of_a_secret_that_works_does_no_harm() -> None:
    o = shown("REVOKED")
    c = probed(AFTER_ALL, o, Verdict.ACCEPTED, NOW)
    assert (usable(c.current, NOW), health(c, o, NOW)) == (True, Health.OK)
    settles = at(-0.5) + SETTLED
    assert waits_until(c, o, NOW) == settles
    assert next_step(c, o, settles) == Observe(("key",))
    well = replace(shown("ACTIVE"), at=settles)
    assert waits_until(c, well, settles) > settles + timedelta(minutes=10)


def test_a_node_that_lags_refuses_once_and_is_outvoted() -> None:
    o, again = shown("INACTIVE"), NOW + ASKED_AGAIN_AFTER
    c = probed(AFTER_ALL, o, Verdict.REFUSED, NOW)
    c = probed(c, o, Verdict.ACCEPTED, again)
    assert usable(c.current, again)
    later = again + ASKED_AGAIN_AFTER
    c = probed(c, replace(o, at=later), Verdict.REFUSED, later)
    assert usable(c.current, later)


def test_without_a_verdict_the_picture_decides_once_it_counts() -> None:
    o, settles = shown("REVOKED"), at(-0.5) + SETTLED
    c = probed(AFTER_ALL, o, Verdict.SILENT, NOW)
    assert waits_until(c, o, NOW) == settles
    c = probed(c, replace(o, at=settles), Verdict.SILENT, settles)
    assert not usable(c.current, settles)


def test_a_refusal_of_long_ago_is_not_the_first_of_two() -> None:
    first = replace(FRESH, refusals=1, examined_at=at(-30))
    c = credential(OLD, first)
    c = probed(c, shown("REVOKED"), Verdict.REFUSED, NOW)
    assert usable(c.current, NOW)


def test_beside_a_client_s_report_or_a_picture_that_counts_one_refusal_is_enough() -> None:
    for before in (AFTER_ALL.with_version(2, reported_at=NOW), credential(OLD, settled_long_ago())):
        c = probed(before, shown("REVOKED"), Verdict.REFUSED, NOW)
        assert not usable(c.current, NOW)


def settled_long_ago() -> Version:
    return replace(FRESH, issued_at=at(-DAY), promoted_at=at(-DAY))


def test_where_no_probe_is_possible_the_provider_is_asked_again_as_soon_as_it_counts() -> None:
    c = credential(OLD, FRESH, spec=replace(SPEC, probes=False))
    assert waits_until(c, shown("REVOKED"), NOW) == at(-0.5) + SETTLED


# What a client reported, and nobody answers.


@pytest.mark.parametrize("reported_at", [at(0), at(60)], ids=["just now", "a clock set back since"])
def test_a_report_without_a_verdict_is_asked_about_again_later_and_later(
    reported_at: datetime,
) -> None:
    c, now, gaps = STATIC.with_version(1, reported_at=reported_at), NOW, []
    for _ in range(12):
        c = probed(c, None, Verdict.SILENT, now)
        until = waits_until(c, None, now)
        gaps.append(until - now)
        now = until
    assert gaps[0] == ASKED_AGAIN_AFTER
    assert gaps == sorted(gaps)
    assert gaps[-1] == OFTEN
    c = probed(c, None, Verdict.REFUSED, now)
    assert not usable(c.current, now), "one refusal is enough beside the report"


def test_any_verdict_answers_a_report() -> None:
    for verdict in (Verdict.ACCEPTED, Verdict.FORBIDDEN, Verdict.REFUSED):
        c = probed(STATIC.with_version(1, reported_at=NOW), None, verdict, NOW)
        assert c.versions[0].reported_at is None


# Something else is waited for.

ONCE = version(1, Stage.CURRENT, "one", refusals=1, examined_at=NOW)
WAITING = pending(2, probe_from=at(-1), probed_at=NOW, successes=1)
SLOW = replace(
    SPEC, policy=replace(POLICY, verify=replace(POLICY.verify, every=timedelta(hours=1)))
)
SHOWN = seen(looks(ONCE), looks(WAITING))
SOON = NOW + ASKED_AGAIN_AFTER


def test_a_second_opinion_comes_in_time_while_a_new_one_is_proven() -> None:
    c = credential(ONCE, WAITING, spec=SLOW)
    assert waits_until(c, SHOWN, NOW) == SOON
    assert isinstance(next_step(c, SHOWN, SOON), Examine)
    assert waits_until(c.with_version(1, refusals=0), SHOWN, NOW) == at(60)


@pytest.mark.parametrize(
    ("failed_step", "asked"),
    [("issue", True), ("examine", False)],
    ids=["another step rests", "the question itself rests"],
)
def test_a_report_is_examined_while_another_step_rests(failed_step: str, asked: bool) -> None:
    rests = {"failures": 1, "failed_step": failed_step, "retry_at": at(4)}
    c = credential(replace(ONCE, reported_at=NOW, refusals=0), spec=SLOW, **rests)
    assert waits_until(c, SHOWN, NOW) == (SOON if asked else at(4))


def test_a_second_opinion_rests_with_everything_else() -> None:
    c = credential(ONCE, spec=SLOW, failures=1, failed_step="issue", retry_at=at(4))
    assert waits_until(c, SHOWN, NOW) == at(4)


def test_nobody_asks_about_one_that_has_expired() -> None:
    brought = replace(BROUGHT, expires_at=at(0), examined_at=at(-1), reported_at=at(-2))
    c = credential(brought, spec=PROBED, home=None)
    assert waits_until(c, None, NOW) > SOON


# A key that the provider says isn't there, as it may be left by order.


def test_what_is_hidden_with_its_key_is_probed_once_a_picture_and_one_refusal_is_enough() -> None:
    c = AFTER_ALL
    c = probed(c, HIDDEN, Verdict.ACCEPTED, NOW)
    assert usable(c.current, NOW)
    assert not isinstance(next_step(c, HIDDEN, NOW), Examine)
    later = replace(HIDDEN, at=at(1))
    c = probed(c, later, Verdict.REFUSED, at(1))
    assert not usable(c.current, at(1))


# What comes by hand.


def test_a_secret_that_came_by_hand_is_probed_as_often_as_others_are_looked_at() -> None:
    due = at(-1) + OFTEN
    assert waits_until(STATIC, None, NOW) == due
    c = probed(STATIC, None, Verdict.ACCEPTED, due)
    assert waits_until(c, None, due) == due + OFTEN


def test_nothing_is_probed_where_the_configuration_names_no_address() -> None:
    c = credential(BROUGHT, spec=BY_HAND, home=None)
    assert isinstance(next_step(c, None, at(-1) + OFTEN), Wait)


def test_what_is_refused_twice_is_told_once_with_what_to_do() -> None:
    due = at(-1) + OFTEN
    c, _ = news(Record(STATIC, None), Record(STATIC, None), NOW)
    c = once = probed(c, None, Verdict.REFUSED, due)
    assert (usable(c.current, due), told(c, once, due)) == (True, [])
    again = waits_until(c, None, due)
    c = probed(once, None, Verdict.REFUSED, again)
    assert not usable(c.current, again)
    c, heard = news(Record(once, None), Record(c, None), again)
    assert [(one.what, one.reason) for one in heard] == [
        (DRIFT, "the provider refuses it"),
        ("down", "the provider refuses the current secret"),
    ]
    assert told(c, c, again + OFTEN) == []


def told(before: Credential, after: Credential, now: datetime) -> list[str]:
    return [one.what for one in news(Record(before, None), Record(after, None), now)[1]]


def test_an_address_that_refused_everybody_for_a_while_is_asked_again_soon() -> None:
    dead = STATIC.with_version(1, dead_at=NOW, examined_at=NOW, refusals=1)
    again = waits_until(dead, None, NOW)
    assert again == NOW + OFTEN / 8
    c = probed(dead, None, Verdict.ACCEPTED, again)
    assert usable(c.current, again)


def test_an_outage_is_no_refusal_and_no_reason_to_ask_all_the_time() -> None:
    due = at(-1) + OFTEN
    c = probed(STATIC, None, Verdict.REFUSED, due)
    c = probed(c, None, Verdict.SILENT, due + ASKED_AGAIN_AFTER)
    assert usable(c.current, due)
    assert waits_until(c, None, due + ASKED_AGAIN_AFTER) == due + ASKED_AGAIN_AFTER + OFTEN


def test_the_one_brought_before_it_is_not_taken_back() -> None:
    """A person replaced it, and a door may have refused everybody: the dead one is asked again."""
    before = version(1, Stage.PREVIOUS, None, handle="wish-1")
    dead = version(2, Stage.CURRENT, None, handle="wish-2", dead_at=NOW, examined_at=NOW)
    c = credential(before, dead, spec=PROBED, home=None)
    assert waits_until(c, None, NOW) == NOW + OFTEN / 8
    assert isinstance(next_step(c, None, NOW + OFTEN / 8), Examine)
    lost = credential(before, replace(dead, dead_at=None, stored=False), spec=PROBED, home=None)
    assert carries(next_step(lost, None, NOW)) == 1


def test_a_clock_set_back_does_not_stop_the_probes() -> None:
    """Once each time, and not until the clock has caught up with what was recorded."""
    c = probed(STATIC, None, Verdict.ACCEPTED, at(-60))
    assert waits_until(c, None, at(-60)) == at(-60) + OFTEN
