"""Moments that are handed out one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from keyman.pace import REMEMBERS, Pace

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_who_is_alone_gets_what_was_asked_for() -> None:
    odd = NOW + timedelta(microseconds=123_457)
    assert Pace(15).moment(odd, NOW) == odd


def test_ten_thousand_at_once_are_spread_evenly() -> None:
    pace = Pace(15)
    moments = [pace.moment(NOW, NOW) for _ in range(10_000)]
    assert moments == sorted(set(moments))
    last = (moments[-1] - NOW).total_seconds()
    assert last == (10_000 - 1) // 15 + (10_000 - 1) % 15 / 15 or abs(last - 9_999 / 15) < 0.001


@given(st.lists(st.floats(0, 20), min_size=1, max_size=200))
def test_nobody_is_early_and_no_second_is_crowded(asked: list[float]) -> None:
    pace = Pace(4)
    wanted = [NOW + timedelta(seconds=seconds) for seconds in asked]
    given_out = [pace.moment(at, NOW) for at in wanted]
    assert all(got >= at for got, at in zip(given_out, wanted, strict=True))
    times = sorted(got.timestamp() for got in given_out)
    assert all(sum(at <= t < at + 1 for t in times) <= 5 for at in times)


def test_what_is_past_is_forgotten() -> None:
    pace = Pace(15)
    for n in range(REMEMBERS + 2):
        at = NOW + timedelta(seconds=n)
        pace.moment(at, at)
    assert len(pace._later) < 100
