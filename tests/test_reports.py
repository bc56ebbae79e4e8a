"""What a client says of a refusal is not lost, whoever writes the same record at that moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from keyman import errors
from keyman.clock import SystemClock, new_id
from keyman.core.model import Credential, Secret, Verdict
from keyman.db.journal import Journal
from keyman.performer import Managed
from keyman.rotator import STEPS_PER_TURN, Rotator
from tests.blank_journal import lay_down
from tests.credentials import BY_HAND
from tests.odd_store import Odd


class Interrupted(SystemClock):
    """Asked for the time between the reading and the writing of a record: others write then."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None

    def now(self) -> datetime:
        self.meanwhile()
        return super().now()


class AcceptsAll:
    def verify(self, secret: Secret) -> Verdict:
        return Verdict.ACCEPTED


class Somebody:
    """They write the record anew, so many times."""

    def __init__(self, journal: Journal, times: int) -> None:
        self.journal, self.times = journal, times

    def __call__(self) -> None:
        if self.times > 0:
            self.times -= 1
            self.journal.save(*self.journal.load(SPEC))


SPEC = replace(BY_HAND, probes=True)


@pytest.fixture
def clock() -> Interrupted:
    return Interrupted()


@pytest.fixture
def rotator(tmp_path: Path, clock: Interrupted) -> Iterator[Rotator]:
    provider: Any = AcceptsAll()
    with closing(Journal.open(lay_down(tmp_path / "keyman.db"))) as journal:
        managed = {SPEC.name: Managed(SPEC, provider, Odd(), "own", (), {})}
        made = Rotator(
            journal, managed, clock, new_id, owner="me", home="here", changed=lambda _: None
        )
        made.put(SPEC.name, Secret("sk-1"), None, "ada")
        yield made


def reported(rotator: Rotator) -> bool:
    return current(rotator).reported_at is not None


def current(rotator: Rotator) -> Any:
    record: Credential = rotator.journal.load(SPEC)[0]
    return record.current


@pytest.mark.parametrize("times", [0, 1, 3])
def test_whoever_else_writes_a_report_is_recorded(
    rotator: Rotator, clock: Interrupted, times: int
) -> None:
    clock.meanwhile = Somebody(rotator.journal, times)
    rotator.report(SPEC.name, 1)
    assert reported(rotator)


def test_one_that_never_gets_a_word_in_is_told_so_and_heard_the_next_time(
    rotator: Rotator, clock: Interrupted
) -> None:
    clock.meanwhile = Somebody(rotator.journal, 2 * STEPS_PER_TURN)
    with pytest.raises(errors.Conflict, match="being changed by others"):
        rotator.report(SPEC.name, 1)
    rotator.report(SPEC.name, 1)
    assert reported(rotator)


def test_what_was_replaced_meanwhile_is_not_reported_any_more(
    rotator: Rotator, clock: Interrupted
) -> None:
    def once() -> None:
        clock.meanwhile = lambda: None
        rotator.put(SPEC.name, Secret("sk-2"), None, "ada")

    clock.meanwhile = once
    rotator.report(SPEC.name, 1)
    assert current(rotator).number == 2
    assert not reported(rotator)
