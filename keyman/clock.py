"""The only file that asks the system for the time, sleeps, or draws an identifier.

Everything else is handed a `Clock`, so that tests and the simulator can be the time.
"""

from __future__ import annotations

import secrets
import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for what other parties agree on, boot time for how long something took."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""

    def boot(self) -> float:
        """Seconds since boot, suspend included; never goes back."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back and stands still during suspend."""

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
        """Wait that long, or until `wake` is set."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def boot(self) -> float:
        # macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC already counts sleep.
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
        (wake or threading.Event()).wait(max(0.0, seconds))


def new_id() -> str:
    """A fresh, unguessable name for a wish, an order or an installation: 32 hex digits."""
    return secrets.token_hex(16)
