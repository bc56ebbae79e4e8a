"""kill -9 hits the real daemon at random instants; whatever it was doing, nobody is cut off.

This is a slice, with a life of all kinds at once, some of one kind and some with other kinds of
stores; `python -m tests.power_cut --kills 200` is the long run, `--store` and `--mirror` say where
secrets rest in it. tests/power_cut says how the lives are led and how they are judged.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import servers
from tests.power_cut.kinds import ALL
from tests.power_cut.life import Report
from tests.power_cut.runs import Wanted, run, told
from tests.vaults.kinds import REMOTE

# Even seeds are calm; in the others people meddle in the console too.
EVERYTHING = Wanted(5, ALL, 3)
TRIES = 4
ONE_KIND = (Wanted(4, "oci", 2), Wanted(11, "openai", 1), Wanted(12, "google", 1))
STORES = (
    Wanted(12, "openai", 2, "vault"),
    Wanted(18, "static", 2, "keyring"),
    Wanted(22, "static", 1, "oci-vault"),
    Wanted(24, "static", 1, "aws-secrets-manager"),
    Wanted(20, "static", 2, mirror="vault"),
)


def lived(life: Wanted, folder: Path) -> Report:
    """As often as it takes until something was rotated: where the machine is busy all kills may
    come before. Nothing may break in any of them.
    """
    said = ""
    for attempt in range(TRIES):
        own = folder / str(attempt)
        own.mkdir()
        (report,) = run([life], own, at_once=1)
        assert not report.broken, told(report)
        if report.rotations:
            return report
        said = told(report)
    pytest.fail(f"nothing was rotated in {TRIES} lives: {said}")


def test_no_kill_breaks_an_invariant(tmp_path: Path) -> None:
    report = lived(EVERYTHING, tmp_path)
    assert report.lookups > 20, "hardly anybody asked"
    assert report.kills == EVERYTHING.kills


@pytest.mark.slow
def test_nor_where_there_is_one_kind_alone(tmp_path: Path) -> None:
    reports = list(run(ONE_KIND, tmp_path, at_once=2))
    for report in reports:
        assert not report.broken, told(report)
    assert sum(report.lookups for report in reports) > 20, "hardly anybody asked"
    assert sum(report.kills for report in reports) == sum(life.kills for life in ONE_KIND)
    assert sum(report.rotations for report in reports) > 0, "nothing was rotated"


@pytest.mark.slow
@pytest.mark.parametrize("life", STORES, ids=lambda life: life.mirror or life.store)
def test_nor_wherever_secrets_rest(tmp_path: Path, life: Wanted) -> None:
    if life.store == "keyring":
        here = shutil.which("gnome-keyring-daemon")
        servers.require(servers.GNOME_KEYRING, found=here, hint=servers.GNOME_KEYRING_HINT)
    report = lived(life, tmp_path)
    if {life.store, life.mirror} & {*REMOTE}:
        assert report.shown > 1, f"strangers saw hardly anything: {told(report)}"
