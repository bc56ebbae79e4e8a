"""When things are due, how long to rest, and how a credential is in one word."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from keyman.core.health import Health, health, usable
from keyman.core.model import Credential, Observed, Spec, Stage, Version
from keyman.core.policy import JITTER, Policy, RetireBy, Retry, Window, fraction
from tests.credentials import (
    BY_HAND,
    DAY,
    HOURLY,
    NOW,
    POLICY,
    SPEC,
    TOKENS,
    at,
    credential,
    empty,
    looks,
    pending,
    seen,
    version,
    what_next,
    wish,
)

DAYS = timedelta(days=1)
OFFICE = Window(frozenset(range(5)), time(9), time(17), ZoneInfo("Asia/Tokyo"))
CURRENT = version(1, Stage.CURRENT)
QUIET = seen(looks(CURRENT), empty())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, None),
        ({"rotate_before": 90 * DAYS}, "rotate_before must be less than lifetime"),
        ({"overlap": 31 * DAYS}, "overlap must not exceed lifetime - rotate_before"),
        ({"overlap": 30 * DAYS}, None),
        (
            {"overlap": timedelta(seconds=59)},
            "overlap must be at least max_client_staleness, which is 60s",
        ),
        ({"overlap": timedelta(seconds=60)}, None),
        ({"max_overlap": timedelta(hours=1)}, "max_overlap must be at least overlap"),
        ({"max_overlap": timedelta(hours=24)}, None),
        ({"max_overlap": timedelta(hours=25)}, None),
    ],
)
def test_policies_that_cannot_be_held(changes: dict[str, Any], complaint: str | None) -> None:
    assert replace(Policy(), **changes).problems() == ([complaint] if complaint else [])


def test_every_mistake_of_a_policy_is_said_at_once() -> None:
    wrong = Policy(lifetime=DAYS, rotate_before=2 * DAYS, overlap=timedelta(0))
    assert len(wrong.problems()) == 2


@pytest.mark.parametrize(
    ("share", "life", "lead"),
    [
        (0.0, 10 * DAYS, timedelta(hours=2)),
        (0.5, 10 * DAYS, 5 * DAYS),
        (0.5, timedelta(hours=3), timedelta(hours=2)),
        (0.5, None, timedelta(hours=2)),
    ],
    ids=["told as a time", "or as a share of its life", "whichever is longer", "life not known"],
)
def test_how_long_before_its_end_a_secret_is_replaced(
    share: float, life: timedelta | None, lead: timedelta
) -> None:
    policy = Policy(rotate_before=timedelta(hours=2), rotate_before_share=share)
    assert policy.lead(life) == lead


def test_due_times_of_different_names_spread_over_a_tenth_of_the_lead() -> None:
    expires = at(90 * DAY)
    due = [POLICY.rotate_at(expires, f"name-{n}") for n in range(300)]
    first, last = expires - POLICY.rotate_before, expires - POLICY.rotate_before * (1 - JITTER)
    assert all(first <= moment < last for moment in due)
    assert max(due) - min(due) > (last - first) * 0.9


def test_jitter_is_no_dice() -> None:
    assert fraction("genai") == fraction("genai") != fraction("genai-osaka")
    assert 0 <= fraction("") < 1


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2026-11-20T03:00", "2026-11-20T03:00"),  # Friday noon in Tokyo
        ("2026-11-20T07:59", "2026-11-20T07:59"),
        ("2026-11-20T08:00", "2026-11-23T00:00"),  # Friday 17:00: next Monday
        ("2026-11-21T12:00", "2026-11-23T00:00"),
        ("2026-11-22T23:59", "2026-11-23T00:00"),
    ],
)
def test_a_window_opens_in_its_own_zone(moment: str, opens: str) -> None:
    def utc(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    assert OFFICE.opening(utc(moment)) == utc(opens)


def test_a_window_on_one_day_opens_a_week_after_it_closed() -> None:
    fridays = replace(OFFICE, days=frozenset({4}))
    closed = datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert fridays.opening(closed) == datetime(2026, 11, 27, tzinfo=UTC)
    with pytest.raises(AssertionError):
        replace(OFFICE, days=frozenset()).opening(closed)


def test_a_window_follows_summer_time() -> None:
    berlin = Window(frozenset(range(7)), time(9), time(10), ZoneInfo("Europe/Berlin"))
    before = berlin.opening(datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert before == datetime(2026, 3, 29, 7, tzinfo=UTC), "an hour earlier than the day before"


def test_a_window_in_the_hour_that_a_night_skips_waits_for_the_next() -> None:
    sundays = Window(frozenset({6}), time(2, 30), time(3), ZoneInfo("Europe/Berlin"))
    for before in (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 22, 12, tzinfo=UTC)):
        assert sundays.opening(before) == datetime(2026, 4, 5, 0, 30, tzinfo=UTC)


def test_a_window_that_opens_too_late_does_not_cost_half_of_the_margin() -> None:
    rare = Window(frozenset({0}), time(9), time(17), UTC)
    hasty = replace(POLICY, lifetime=4 * DAYS, rotate_before=2 * DAYS, window=rare)
    expires = datetime(2026, 11, 27, tzinfo=UTC)  # a Friday: the window opens after it
    assert hasty.rotate_at(expires, "genai") == expires - DAYS


def test_the_rest_doubles_up_to_its_limit() -> None:
    retry = Retry(first=timedelta(seconds=1), factor=2.0, max=timedelta(seconds=60))
    rests = [retry.delay(n, "genai").total_seconds() for n in range(1, 12)]
    assert all(
        0.8 * full <= rest <= full
        for rest, full in zip(rests, [2**n for n in range(6)], strict=False)
    )
    assert all(48 <= rest <= 60 for rest in rests[6:])
    assert retry.delay(10_000, "genai") <= retry.max, "and never overflows"


def test_a_rest_grows_for_sixty_failures_however_slowly_it_does() -> None:
    slow = Retry(first=timedelta(seconds=1), factor=1.1, max=DAYS)
    rests = [slow.delay(failures, "genai") for failures in range(1, 200)]
    assert 1.1**59 < max(rests).total_seconds() <= 1.1**60


@pytest.mark.parametrize(
    ("most", "longest"),
    [(timedelta(minutes=1), timedelta(hours=1)), (timedelta(hours=2), timedelta(hours=2))],
)
def test_a_provider_may_ask_for_an_hour_of_rest_at_least(
    most: timedelta, longest: timedelta
) -> None:
    assert Retry(max=most).longest == longest


def test_the_two_slots_of_a_new_key_never_run_out_together() -> None:
    expires = NOW + POLICY.lifetime
    standby = POLICY.standby_expiry(NOW)
    assert abs(expires - standby) > POLICY.overlap
    assert standby > POLICY.rotate_at(expires, "genai"), "the rotation fills it in time"
    assert standby == NOW + 60 * DAYS, "half of rotate_before less than a lifetime"


# Health.

FAILING: dict[str, Any] = {
    "failures": 3,
    "failed_step": "observe",
    "retry_at": at(5),
    "last_error": "503",
}
TABLE: list[tuple[str, Credential, Observed | None, Health]] = [
    ("all is well", credential(CURRENT), QUIET, Health.OK),
    ("nothing yet", Credential(SPEC), None, Health.DOWN),
    ("dead", credential(replace(CURRENT, dead_at=at(-1))), QUIET, Health.DOWN),
    ("expired", credential(replace(CURRENT, expires_at=at(0))), QUIET, Health.DOWN),
    (
        "revoked first, on purpose",
        credential(replace(CURRENT, compromised_at=at(-1), revoke_first=True)),
        QUIET,
        Health.DOWN,
    ),
    (
        "leaked, and still handed out until it is replaced",
        credential(replace(CURRENT, compromised_at=at(-1))),
        QUIET,
        Health.DUE,
    ),
    ("due", credential(replace(CURRENT, expires_at=at(40 * DAY))), QUIET, Health.DUE),
    ("rotating", credential(CURRENT, wish(2)), QUIET, Health.ROTATING),
    ("failing with time left", credential(CURRENT, **FAILING), QUIET, Health.FAILING),
    (
        "failing with little time left",
        credential(replace(CURRENT, expires_at=at(20 * DAY)), **FAILING),
        QUIET,
        Health.AT_RISK,
    ),
    (
        "no slot can be filled again",
        credential(
            version(1, Stage.REVOKED, "two", slot_refused=True, given_up="revoked"),
            replace(CURRENT, number=2, mask="mask-1"),
        ),
        seen(looks(CURRENT), empty(state="REVOKED")),
        Health.AT_RISK,
    ),
    (
        "somebody else's key",
        credential(CURRENT),
        seen(looks(CURRENT), empty(), owner="elsewhere"),
        Health.AT_RISK,
    ),
]


@pytest.mark.parametrize(
    ("c", "o", "expected"), [pytest.param(*row, id=sentence) for sentence, *row in TABLE]
)
def test_health(c: Credential, o: Observed | None, expected: Health) -> None:
    assert health(c, o, NOW) is expected


def test_every_word_for_health_is_in_the_table() -> None:
    assert {expected for *_, expected in TABLE} == set(Health)


@pytest.mark.parametrize("stage", [s for s in Stage if s not in (Stage.CURRENT, Stage.PREVIOUS)])
def test_only_current_and_previous_are_ever_handed_out(stage: Stage) -> None:
    assert not usable(version(1, stage), NOW)


def test_what_comes_next_is_the_earliest_thing_a_person_would_ask_about() -> None:
    old = version(1, Stage.PREVIOUS)
    newer = version(2, Stage.CURRENT, "two")
    coming = what_next(credential(old, newer), seen(looks(old), looks(newer)), NOW)
    assert coming is not None
    assert (coming.step, coming.at) == ("retire", at(-60) + POLICY.overlap)
    begun = what_next(credential(CURRENT, pending(2)), QUIET, NOW)
    assert begun is not None
    assert begun.step == "promote"


OLD, NEWER = version(1, Stage.PREVIOUS), version(2, Stage.CURRENT, "two", expires_at=None)


@pytest.mark.parametrize(
    ("spec", "old"),
    [
        (replace(BY_HAND, policy=HOURLY.policy), OLD),
        (HOURLY, OLD),
        (replace(TOKENS, policy=POLICY), OLD),
        (replace(SPEC, policy=replace(POLICY, retire=RetireBy.KEEP)), OLD),
        (SPEC, replace(OLD, compromised_at=NOW)),
        (TOKENS, replace(OLD, compromised_at=NOW)),
    ],
    ids=["by hand", "tokens", "unseen", "kept", "leaked", "leaked token"],
)
def test_nothing_is_announced_that_never_comes(spec: Spec, old: Version) -> None:
    """Neither before the overlap ends nor for ever after."""
    c = credential(old, NEWER, spec=spec)
    for minutes in (0.0, 60.0 * 24, 60.0 * 24 * 29):
        coming = what_next(c, seen(looks(old), looks(NEWER)), at(minutes))
        assert coming is None or coming.step != "retire"
