"""Durations, windows and addresses: what is one and what is not."""

from __future__ import annotations

from datetime import time, timedelta

import pytest

from keyman.config import values


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [("90d", 7776000), ("12h", 43200), ("0.2s", 0.2), ("250ms", 0.25), ("2w", 1209600), ("0s", 0)],
)
def test_durations(raw: str, seconds: float) -> None:
    assert values.duration(raw) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "raw",
    ["", "90", "d", "-1d", "1 d", "1h30m", "1D", "1.d", "\u0661d", "99999999d", "1e3s", "1d\n"],
)
def test_what_is_no_duration(raw: str) -> None:
    with pytest.raises(ValueError, match="must"):
        values.duration(raw)


def test_switches() -> None:
    assert (values.switch("true"), values.switch("false")) == (True, False)


@pytest.mark.parametrize("raw", ["", "yes", "1", "True", "on", "true "])
def test_what_is_no_switch(raw: str) -> None:
    with pytest.raises(ValueError, match="must be true or false"):
        values.switch(raw)


@pytest.mark.parametrize(
    ("raw", "days", "end"),
    [
        ("Mon-Fri 09:00-17:00 UTC", {0, 1, 2, 3, 4}, time(17)),
        ("sat,Sun 00:00-24:00 Asia/Tokyo", {5, 6}, time.max),
        ("Fri-Mon 01:30-02:00 Etc/GMT+3", {4, 5, 6, 0}, time(2)),
        ("Mon,Wed-Thu  09:00-09:01  UTC", {0, 2, 3}, time(9, 1)),
    ],
)
def test_windows(raw: str, days: set[int], end: time) -> None:
    found = values.window(raw)
    assert (set(found.days), found.end) == (days, end)


@pytest.mark.parametrize(
    "raw",
    [
        "09:00-17:00 UTC",
        "Mon 09:00-17:00",
        "Mun 09:00-17:00 UTC",
        "Mon 17:00-09:00 UTC",
        "Mon 09:00-25:00 UTC",
        "Mon 24:00-24:00 UTC",
        "Mon, 09:00-10:00 UTC",
        "Mon 09:00-10:00 Mars/Base",
        "Mon 09:00-10:00 America",
    ],
)
def test_what_is_no_window(raw: str) -> None:
    with pytest.raises(ValueError, match=r"must|names"):
        values.window(raw)


@pytest.mark.parametrize("zone", ["../../etc/passwd", "/etc/passwd", "a.b/c", "x" * 500])
def test_only_what_can_be_a_zone_is_looked_up(zone: str) -> None:
    with pytest.raises(ValueError, match="must end with a time zone"):
        values.window(f"Mon 09:00-10:00 {zone}")


@pytest.mark.parametrize(
    "raw",
    ["https://a.example/v1", "http://127.0.0.1:80/x", "http://[::1]:8080", "http://localhost:1"],
)
def test_addresses(raw: str) -> None:
    assert values.url(raw + "/") == raw


@pytest.mark.parametrize(
    "raw",
    [
        "http://a.example",
        "http://127.0.0.1.a.example",
        "http://localhost@a.example",
        "https://u:p@a.example",
        "https://a.example/?q",
        "https://a.example/#",
        "https://a.example:99999",
        "https://a.example\\@b",
        "https://a b",
        "https:///x",
        "https://",
        "ftp://a.example",
        "file:///etc/passwd",
        "https://[::1",
        "https://a.example:0",
        "https://ä.example",
    ],
)
def test_what_is_no_address(raw: str) -> None:
    with pytest.raises(ValueError, match="must"):
        values.url(raw)
