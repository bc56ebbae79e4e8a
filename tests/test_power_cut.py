"""kill -9 hits the real daemon at random instants; whatever it was doing, nobody is cut off.

This is a slice, with a life of each kind and one of all at once; `python -m tests.power_cut --kills
200` is the long run. tests/power_cut says how the lives are led and how they are judged.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power_cut.kinds import ALL
from tests.power_cut.runs import Wanted, run, told

# Even seeds are calm; in the others people meddle in the console too.
LIVES = (
    Wanted(5, ALL, 3),
    Wanted(4, "oci", 3),
    Wanted(11, "openai", 3),
    Wanted(12, "google", 2),
    Wanted(13, "static", 2),
)


@pytest.mark.slow
def test_no_kill_breaks_an_invariant(tmp_path: Path) -> None:
    reports = list(run(LIVES, tmp_path, at_once=2))
    for report in reports:
        assert not report.broken, told(report)
        assert report.lookups > 20, f"hardly anybody asked: {told(report)}"
    assert sum(report.kills for report in reports) == sum(life.kills for life in LIVES)
    assert sum(report.rotations for report in reports) > len(LIVES), "hardly anything was rotated"
