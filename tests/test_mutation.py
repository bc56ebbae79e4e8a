"""Mutation testing in a slice: which mistakes are made, and that a test which looks away is found.

`python -m tests.mutation` makes them all; tests/mutation/explained.py has what may survive.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.mutation.explained import EXPLAINED
from tests.mutation.mutants import mutants_of
from tests.mutation.rooms import ROOMS, ROOT

RULE = """
from dataclasses import dataclass

KINDS = ("slow", "fast")


@dataclass(frozen=True)
class Lamp:
    volts: int

    @property
    def bright(self) -> bool:
        return self.volts > 3


def count(lamps: list[Lamp]) -> int:
    lit = 0
    while lamps:
        lit += 1 if lamps.pop().bright else 0
    return lit
"""
CAREFUL = """
import rule


def test_a_lamp() -> None:
    assert [rule.Lamp(v).bright for v in (2, 3, 4, 5)] == [False, False, True, True]
    assert rule.count([rule.Lamp(5), rule.Lamp(5), rule.Lamp(1)]) == 2
    assert rule.KINDS == ("slow", "fast")
"""
CARELESS = """
import rule


def test_a_lamp() -> None:
    assert rule.Lamp(9).bright
    assert rule.count([]) == 0
"""
RUN = """
import json, sys, time
from pathlib import Path
from tests.mutation.mutants import mutants_of
from tests.mutation import running

running.PATIENCE = 2.0
rule = Path("rule.py").resolve()
judge = running.Judge([rule], mutants_of(rule, "rule.py"), 2, time.monotonic() + 100)
judge.run(["test_rule.py"])
print("told " + json.dumps([[v.outcome, v.mutant.name] for v in judge.verdicts]))
print("failed " + judge.measured.failed)
"""


def run(folder: Path, tests: str) -> tuple[dict[str, str], str]:
    """What became of each mutant of RULE; what was wrong without any."""
    (folder / "rule.py").write_text(RULE)
    (folder / "test_rule.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{ROOT}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert "told" in lines, done.stdout + done.stderr
    return {name: outcome for outcome, name in json.loads(lines["told"])}, lines["failed"].strip()


@pytest.mark.slow
def test_what_careful_tests_assert_is_killed_and_what_never_ends_is_ended(tmp_path: Path) -> None:
    found, failed = run(tmp_path, CAREFUL)
    assert failed == ""
    assert set(found.values()) == {"killed", "timed out"}
    assert found["rule.py:Lamp.bright: self.volts > 3 -> self.volts >= 3"] == "killed"
    assert found["rule.py:count: lamps -> True"] == "killed"  # nothing is left to take


@pytest.mark.slow
def test_what_careless_tests_miss_survives(tmp_path: Path) -> None:
    found, _ = run(tmp_path, CARELESS)
    assert found["rule.py:Lamp.bright: self.volts > 3 -> self.volts >= 3"] == "survived"
    assert found["rule.py:KINDS: 'slow' -> nothing"] == "survived"
    assert "unreached" in found.values()  # nobody ever lit one in a list
    assert found["rule.py:Lamp.bright: self.volts > 3 -> self.volts <= 3"] == "killed"


@pytest.mark.slow
def test_tests_that_fail_anyway_judge_nothing(tmp_path: Path) -> None:
    found, failed = run(tmp_path, CAREFUL.replace("== 2", "== 3"))
    assert found == {}
    assert "fails without any mutant" in failed


@pytest.fixture(scope="module")
def made() -> Counter[str]:
    """The names of all mutants there are."""
    return Counter(
        one.name
        for room in ROOMS
        for path in room.paths()
        for one in mutants_of(path, path.relative_to(ROOT / "keyman").as_posix())
    )


@pytest.mark.slow
def test_each_mutant_has_a_name_of_its_own(made: Counter[str]) -> None:
    assert len(made) > 5000
    assert set(made.values()) == {1}


@pytest.mark.slow
def test_what_is_explained_exists(made: Counter[str]) -> None:
    """A reason for a mutant that is not made any more is stale: the code it spoke of changed."""
    named = [name for names in EXPLAINED.values() for name in names]
    assert [name for name in named if name not in made] == []
    assert len(named) == len(set(named))
