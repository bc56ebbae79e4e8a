"""Kills at named failpoints, paused workers, homes put back and clock steps: a slice of each, and
keymans with a bug in them, which must be caught. `python -m tests.failpoints` is the whole.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.failpoints import clocks, kills, restores, zombies
from tests.failpoints.folders import Folders, folders
from tests.sim.bugs import PERFORMER, RETAKE, ROTATOR, SAVE, TRANSITIONS
from tests.sim.planting import Bug, planted

ACKNOWLEDGED_FIRST = Bug(
    "a record says that a secret is stored before it is",
    "I3",
    (
        (
            PERFORMER,
            "        self.put(managed, c.name, version, issued.secret)\n",
            "        self.late = (managed, c.name, version, issued.secret)\n",
        ),
        (
            ROTATOR,
            "        self._tell(credential, saved, step)\n",
            (
                "        late = getattr(self._performer, 'late', None)\n"
                "        if late:\n"
                "            self._performer.put(*late)\n"
                "        self._tell(credential, saved, step)\n"
            ),
        ),
    ),
)
NO_FENCE = Bug(
    "whoever was paused goes on without its lease",
    "I4",
    (
        (
            ROTATOR,
            SAVE,
            "        latest = self.journal.load(after.spec)[0].revision\n"
            "        after = replace(after, revision=latest)\n"
            + SAVE.replace(" lease=lease, now=now,", ""),
        ),
        (ROTATOR, RETAKE, "                pass\n"),
    ),
)
SHORTENED = Bug(
    "a clock that is set ahead ends an overlap",
    "I5",
    (
        (
            TRANSITIONS,
            "        if v.replaced_at is not None and by > NO_TIME:\n",
            "        if False:\n",
        ),
    ),
)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Folders]:
    with folders(tmp_path) as made:
        yield made


def dice() -> random.Random:
    return random.Random("make test")


def test_killed_anywhere_it_goes_on(places: Folders) -> None:
    plan = kills.begun(places, dice(), ("plain",))
    for history, life in kills.killed(places, plan, 8):
        assert not life.broken, (str(history), life.broken)
    assert plan.killed.total() >= 8


@pytest.mark.slow
def test_who_was_paused_finds_everything_shut(places: Folders) -> None:
    for history, woken in zombies.woken_often(places, dice(), 2, ("plain",)):
        assert woken.at, str(history)
        assert not woken.broken, (str(history), woken.broken)


@pytest.mark.slow
def test_an_older_home_is_not_believed(places: Folders) -> None:
    life = restores.instants(places, "plain")
    for pair in list(restores.pairs("plain", len(life)))[7::140]:
        assert not restores.restored(places, life, pair), str(pair)


@pytest.mark.slow
def test_a_clock_that_is_set_ends_nothing_early(places: Folders) -> None:
    for step in clocks.steps(places.machine, dice(), 12):
        assert not clocks.lived(places.machine, step).broken, str(step)


def test_a_history_is_told_so_that_it_can_be_replayed() -> None:
    for told in ("plain after-store-put#1 *#7", "first before-sealed-commit#2"):
        assert str(kills.History.heard(told)) == told
    for told in ("plain restored 3 12", "fresh copied 0 1"):
        assert str(restores.Restore.heard(told)) == told
    assert str(clocks.Step.heard("plain save#3 sleep-400d")) == "plain save#3 sleep-400d"


# Keymans with a bug in them.


def test_a_secret_that_is_stored_after_its_record_is_caught(places: Folders) -> None:
    places.machine = planted(ACKNOWLEDGED_FIRST)
    at = (kills.History.heard(f"plain after-journal-save#{nth}") for nth in (10, 9, 11, 8, 12))
    assert any(kills.lived(places, history).broken.startswith("I3") for history in at)


def test_a_worker_without_a_fence_is_caught(places: Folders) -> None:
    places.machine = planted(NO_FENCE)
    history = kills.History.heard("plain before-journal-save#3")
    assert zombies.woken(places, history).broken.startswith("I4")


def test_a_restore_that_is_believed_is_caught(places: Folders) -> None:
    """The files of a time before the rotation, put back when its first secret is destroyed."""
    life = restores.instants(places, "plain")
    pair = restores.Restore("plain", restores.AS_KEYMAN_DOES, 2, len(life) - 3)
    assert not restores.restored(places, life, pair)
    assert restores.restored(places, life, pair, careless=True).startswith("I1")


def test_an_overlap_that_only_the_clock_ends_is_caught() -> None:
    """A day ahead, which is all of it: clients still use what is to be switched off."""
    machine = planted(SHORTENED)
    steps = (clocks.Step("stubborn", "turn", nth, "+1d") for nth in range(66, 40, -1))
    assert any(clocks.lived(machine, each).broken.startswith("I5") for each in steps)
