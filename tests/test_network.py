"""A slice of the network faults; all of them: `python -m tests.network`."""

from __future__ import annotations

import pytest

from tests.network.__main__ import Task, aims, run, tasks
from tests.network.life import journal, live
from tests.network.machine import Change
from tests.network.proxy import FAULTS, POSITIONS, Aim
from tests.network.worlds import KINDS

V = "keyman.vendors."
LOST_IS_NOT_DONE: Change = (
    V + "oci_outcomes",
    "    if asked.changes and sent:\n",
    "    if False:\n",
)
ANYTHING_IS_DELETED: Change = (
    V + "openai_keys",
    '    if data["deleted"] is not True or data["id"] != handle:\n',
    "    if False:\n",
)
ALL_OF_IT: Change = (
    "keyman.providers.openai",
    "        self._sweep(openai_orphans.of_earlier_wishes(",
    "        list(openai_orphans.of_earlier_wishes(",
)


@pytest.mark.parametrize(
    "kind", ["oci", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("openai", "google"))]
)
def test_a_life_over_a_broken_network(kind: str) -> None:
    _, lived = run(Task(kind, 0, 1))
    assert lived.broken == []
    assert len(lived.hits) == 9


def test_a_round_of_lives_meets_every_fault_of_every_operation() -> None:
    for kind, (_, operations) in KINDS.items():
        mine = [task for task in tasks(1000, 1) if task.kind == kind]
        met = {(a.operation, a.fault, a.position) for task in mine for a in aims(task)}
        assert len(met) == len(operations) * len(FAULTS) * len(POSITIONS)


@pytest.mark.parametrize(
    ("kind", "aim"),
    [
        ("openai", Aim("DeleteApiKey", "close", "after")),
        ("oci", Aim("SetApiKeyState", "close", "under way")),
    ],
)
def test_what_was_done_without_an_answer_failed_no_longer(kind: str, aim: Aim) -> None:
    """Nothing else comes after it that could clear the failure, for weeks."""
    with journal() as books:
        assert live(kind, 1, [aim], books).broken == []


@pytest.mark.parametrize(
    ("kind", "aim", "bug", "said"),
    [
        ("oci", Aim("RenewApiKey", "close", "after"), LOST_IS_NOT_DONE, "is taken for not done"),
        ("openai", Aim("DeleteApiKey", "garbage", "before"), ANYTHING_IS_DELETED, "retire"),
        ("openai", Aim("CreateApiKey", "duplicate", "after"), ALL_OF_IT, "nobody is handed"),
    ],
)
def test_a_planted_bug_is_caught(kind: str, aim: Aim, bug: Change, said: str) -> None:
    with journal() as books:
        lived = live(kind, 1, [aim], books, bug)
    assert said in str(lived.broken)
