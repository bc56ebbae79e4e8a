"""What an outcome that is not `done` leaves on record."""

from __future__ import annotations

from datetime import datetime

from keyman import errors
from keyman.clock import SystemClock
from keyman.core.health import health, trouble
from keyman.core.steps import Issue
from keyman.performer import Performer
from tests.credentials import CURRENT, NOW, QUIET, WISH, at, credential


class Stopped(SystemClock):
    def now(self) -> datetime:
        return NOW


def test_a_secret_that_nobody_saw_is_wished_anew_and_not_in_silence() -> None:
    """A provider may never show one: that is told, and asked later and later."""
    wishes = iter(["second", "third", "fourth"])
    performer, c = Performer(Stopped(), lambda: next(wishes), "here"), credential(CURRENT, WISH)
    rests = []
    for _ in range(3):
        c = performer.failed(c, Issue(c.versions[1]), errors.SecretLost("its secret is not shown"))
        assert c.retry_at
        rests.append(c.retry_at)
    assert c.versions[1].attempt == "fourth"
    assert at(0) < rests[0] < rests[1] < rests[2]
    assert (health(c, QUIET, NOW), c.failures) == ("failing", 3)
    assert (trouble(c, QUIET, NOW) or [""])[0] == "its secret is not shown"
