"""Lives as processes of their own, so many at a time, none left behind whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

from tests.power_cut.life import Report
from tests.power_cut.outside import ROOT, environment

KILLS_A_LIFE = 10
SECONDS_A_KILL = 20.0  # at the very most, on a machine shared by many
SECONDS_TO_REST = 240.0


def run(seeds: Iterable[int], kills: int, folder: Path, *, at_once: int) -> Iterator[Report]:
    """One life per seed; yields each report as it comes."""
    running: list[subprocess.Popen[str]] = []
    with ThreadPoolExecutor(at_once) as pool:
        try:
            lives = [pool.submit(_live, seed, kills, folder, running) for seed in seeds]
            for life in as_completed(lives):
                yield life.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                _end(process)


def _live(seed: int, kills: int, folder: Path, running: list[subprocess.Popen[str]]) -> Report:
    command = [sys.executable, "-m", "tests.power_cut.life", "--bound-to-stdin"]
    command += ["--seed", str(seed), "--kills", str(kills), "--folder", str(folder / str(seed))]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    running.append(process)
    try:
        return _report(process, seed, kills)
    finally:
        _end(process)


def _report(process: subprocess.Popen[str], seed: int, kills: int) -> Report:
    # Not communicate(): that would close the input, and the life is bound to it.
    assert process.stdout is not None
    assert process.stderr is not None
    with ThreadPoolExecutor(2) as reading, process.stdout as out, process.stderr as err:
        said, complaints = reading.submit(out.read), reading.submit(err.read)
        try:
            process.wait(SECONDS_TO_REST + kills * SECONDS_A_KILL)
        except subprocess.TimeoutExpired:
            _end(process)
            return Report(seed, broken=[f"L: the life does not end; {complaints.result()[-2000:]}"])
        lines = said.result().splitlines()
        if not lines:
            return Report(seed, broken=[f"the harness failed: {complaints.result()[-2000:]}"])
        return Report(**json.loads(lines[-1]))


def _end(process: subprocess.Popen[str]) -> None:
    """The life and all that it started: they are one process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def told(report: Report) -> str:
    """What one life came to; if an invariant broke, all that helps to find out why."""
    figures = (
        f"seed {report.seed}: {report.kills} kills, {report.rotations} rotations,"
        f" {report.lookups} lookups, {report.requests} requests, {report.explained_refusals}"
        f" refused after leaks or changes from outside, {report.seconds:.0f} s"
    )
    if not report.broken:
        return figures
    again = f"python -m tests.power_cut --seed {report.seed} --kills {report.kills}"
    parts = [figures, *report.broken, "-- kills", *report.how, *report.tail, f"again: {again}"]
    return "\n".join(parts)
