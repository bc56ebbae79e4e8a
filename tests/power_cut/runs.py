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
from dataclasses import dataclass
from pathlib import Path

from tests.power_cut.cloud import ROOT, environment
from tests.power_cut.life import Report

KILLS_A_LIFE = 10
SECONDS_A_KILL = 20.0  # at the very most, on a machine shared by many
SECONDS_TO_REST = 240.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A life that is to be led."""

    seed: int
    kind: str
    kills: int
    store: str = "sealed-file"
    mirror: str | None = None

    @property
    def words(self) -> list[str]:
        """What to say to lead it, but for where."""
        said = ["--kind", self.kind, "--seed", str(self.seed), "--kills", str(self.kills)]
        said += ["--store", self.store] if self.store != "sealed-file" else []
        return said + (["--mirror", self.mirror] if self.mirror else [])


def run(wanted: Iterable[Wanted], folder: Path, *, at_once: int) -> Iterator[Report]:
    """Leads each life; yields each report as it comes."""
    running: list[subprocess.Popen[str]] = []
    with ThreadPoolExecutor(at_once) as pool:
        try:
            lives = [pool.submit(_live, one, folder, running) for one in wanted]
            for life in as_completed(lives):
                yield life.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                _end(process)


def _live(one: Wanted, folder: Path, running: list[subprocess.Popen[str]]) -> Report:
    command = [sys.executable, "-m", "tests.power_cut.life", "--bound-to-stdin"]
    command += [*one.words, "--folder", str(folder / f"{one.kind}-{one.seed}")]
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
        return _report(process, one)
    finally:
        _end(process)


def _report(process: subprocess.Popen[str], one: Wanted) -> Report:
    # Not communicate(): that would close the input, and the life is bound to it.
    assert process.stdout is not None
    assert process.stderr is not None
    with ThreadPoolExecutor(2) as reading, process.stdout as out, process.stderr as err:
        said, complaints = reading.submit(out.read), reading.submit(err.read)
        try:
            process.wait(SECONDS_TO_REST + one.kills * SECONDS_A_KILL)
        except subprocess.TimeoutExpired:
            _end(process)
            said_last = complaints.result()[-2000:]
            return _failed(one, f"L: the life does not end; {said_last}")
        lines = said.result().splitlines()
        if not lines:
            said_last = complaints.result()[-2000:]
            return _failed(one, f"the harness failed: {said_last}")
        return Report(**json.loads(lines[-1]))


def _failed(one: Wanted, why: str) -> Report:
    return Report(one.seed, one.kind, one.store, one.mirror, broken=[why])


def _end(process: subprocess.Popen[str]) -> None:
    """The life and all that it started: they are one process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def told(report: Report) -> str:
    """What one life came to; if an invariant broke, all that helps to find out why."""
    where = f"{report.store}, mirror {report.mirror}" if report.mirror else report.store
    figures = (
        f"seed {report.seed} ({report.kind}, {where}): {report.kills} kills,"
        f" {report.rotations} rotations, {report.lookups} lookups, {report.requests} requests,"
        f" {report.explained_refusals} refused after leaks or changes from outside,"
        f" {report.store_calls} calls to vaults, {report.seconds:.0f} s"
    )
    if not report.broken:
        return figures
    life = Wanted(report.seed, report.kind, report.kills, report.store, report.mirror)
    again = " ".join(["python -m tests.power_cut", *life.words])
    parts = [figures, *report.broken, "-- kills", *report.how, *report.tail, f"again: {again}"]
    return "\n".join(parts)
