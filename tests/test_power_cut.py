"""kill -9 hits the real daemon at random instants; whatever it was doing, nobody is cut off.

This is a slice; `python -m tests.power_cut --kills 200` is the long run. tests/power_cut says how
the lives are led and how they are judged.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power_cut.runs import run, told

KILLS = 6  # in each of two lives


@pytest.mark.slow
def test_no_kill_breaks_an_invariant(tmp_path: Path) -> None:
    """A calm life (no changes in the console) and one that people meddle with."""
    reports = list(run((4, 9), KILLS, tmp_path, at_once=2))
    for report in reports:
        assert not report.broken, told(report)
        assert report.kills == KILLS, told(report)
    assert sum(report.rotations for report in reports) > 0, "nothing was rotated"
    assert sum(report.lookups for report in reports) > 100, "hardly anybody asked"
