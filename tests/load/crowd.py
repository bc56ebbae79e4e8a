"""Very many credentials in one daemon: python -m tests.load.crowd [--credentials 10000 100000]

A home with so many secrets that were put in by hand (each with a first version, stored and current)
is made, and the real daemon started on it. Measured: seconds until it answers, memory, processor
time at rest (its tick over everything, in per cent of one core), lookups of all names by their
clients' own call, and how long it takes to stop. Judged: every name answers with its own secret, a
new secret is handed out at once, it rests, and it stops within two seconds of a lookup.

Not tried here: that so many rotate at the same time; a provider's limits come long before.
The home lies in memory where there is room (/dev/shm), so that it is made in minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Connection, Table, create_engine, insert, select

from keyman import client
from keyman.app import open_app
from keyman.config import load
from keyman.core.model import Secret
from keyman.db.tables import CREDENTIALS, VERSIONS
from keyman.errors import Error
from keyman.stores.sealed_file import SealedFile
from tests.proof.report import conclude

ROOT = Path(__file__).parents[2]
FIRST = "app-000000"
SHARE = 5_000  # rows and secrets in one transaction
UP_WITHIN = 600.0  # seconds
STOPS_WITHIN = 2.0
AT_REST = 0.05  # of one core, at most, with 100,000
WATCHED = 20.0  # seconds at rest


def secret(name: str) -> str:
    return f"made-up-secret-of-{name}"


def names(count: int) -> list[str]:
    return [f"app-{n:06d}" for n in range(count)]


@dataclass(slots=True)
class Found:
    """What a daemon with so many took."""

    count: int
    seconds: float = 0.0
    memory: int = 0  # bytes
    at_rest: float = 0.0
    lookups: int = 0
    stopped: float = 0.0
    descriptors: int = 0
    broken: list[str] = field(default_factory=list)

    def told(self) -> str:
        return (
            f"{self.count:,} credentials: answers after {self.seconds:.1f} s, "
            f"{self.memory / 1e6:.0f} MB ({self.memory / self.count / 1e3:.1f} kB each), "
            f"{100 * self.at_rest:.2f} % of a core at rest, {self.descriptors} descriptors, "
            f"{self.lookups:,} lookups, stopped in {self.stopped:.2f} s: {len(self.broken)} broken"
        )


@dataclass(frozen=True, slots=True)
class Place:
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def socket(self) -> str:
        return str(self.home / "agent.sock")

    @property
    def variables(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KEYMAN_")}
        ours = {"KEYMAN_HOME": str(self.home), "KEYMAN_CONFIG": str(self.config)}
        return {**kept, **ours, "PYTHONPATH": str(ROOT)}


@contextmanager
def place() -> Iterator[Place]:
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="kmc-", dir=where))
    try:
        yield Place(folder)
    finally:
        shutil.rmtree(folder)


def fill(at: Place, count: int) -> None:
    """A home in which so many have their first secret: one was put in, the others are like it."""
    every = names(count)
    at.config.write_text(
        "credentials:\n" + "".join(f"  {n}: {{provider: static}}\n" for n in every)
    )
    at.config.chmod(0o600)
    only_one = at.folder / "one.yaml"
    only_one.write_text(f"credentials:\n  {FIRST}: {{provider: static}}\n")
    only_one.chmod(0o600)
    with open_app(load(only_one, home=at.home, environ=at.variables)) as app:
        app.desk.put(FIRST, Secret(secret(FIRST)), None, "tests.load.crowd")
        installation, database = app.journal.installation, load_url(at)
        store = app.store
        assert isinstance(store, SealedFile)
        for start in range(1, count, SHARE):
            some = every[start : start + SHARE]
            store.put_all([(name, 1, Secret(secret(name)), None) for name in some])
    engine = create_engine(database)
    with engine.begin() as db:
        for start in range(1, count, SHARE):
            for table in (CREDENTIALS, VERSIONS):
                alike = _alike(db, table, every[start : start + SHARE], installation)
                db.execute(insert(table), alike)
    engine.dispose()


def load_url(at: Place) -> str:
    return load(at.folder / "one.yaml", home=at.home, environ=at.variables).database


def _alike(
    db: Connection, table: Table, some: list[str], installation: str
) -> list[dict[str, Any]]:
    row = dict(db.execute(select(table).where(table.c.name == FIRST)).one()._mapping)
    made = [{**row, "name": name} for name in some]
    if table is VERSIONS:
        for one, name in zip(made, some, strict=True):
            one["fingerprint"] = Secret(secret(name)).fingerprint(installation)
    return made


def measure(at: Place, count: int, watched: float) -> Found:
    found = Found(count)
    command = [sys.executable, "-m", "keyman", "daemon"]
    began = time.monotonic()
    with (
        (at.folder / "daemon.log").open("wb") as log,
        subprocess.Popen(command, env=at.variables, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_until_it_answers(at, process)
            found.seconds = time.monotonic() - began
            _look_it_over(at, psutil.Process(process.pid), found, watched)
        finally:
            ends = time.monotonic()
            process.terminate()
            process.wait(60)
            found.stopped = time.monotonic() - ends
    if found.stopped > STOPS_WITHIN:
        found.broken.append(f"it took {found.stopped:.1f} s to stop")
    return found


def _wait_until_it_answers(at: Place, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + UP_WITHIN
    while time.monotonic() < ends and process.poll() is None:
        try:
            if client.call("GET", "/readyz", path_to_socket=at.socket)[0] == 200:
                return
        except Error:
            pass
        time.sleep(0.05)
    raise AssertionError(f"no answer: {(at.folder / 'daemon.log').read_text()[-2000:]}")


def _look_it_over(at: Place, process: psutil.Process, found: Found, watched: float) -> None:
    every = names(found.count)
    everybody_has_their_own(every, found, lambda name: looked_up(at, name))
    _a_new_one_is_handed_out(at, every[-1], found)
    found.memory = process.memory_info().rss
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(watched)
    found.at_rest = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
    found.descriptors = process.num_fds()
    if found.at_rest > AT_REST:
        found.broken.append(f"{100 * found.at_rest:.1f} % of a core at rest")


def everybody_has_their_own(every: list[str], found: Found, look: Callable[[str], str]) -> None:
    for name in every:
        if look(name) != secret(name):
            found.broken.append(f"{name} got another's secret")
        found.lookups += 1


def looked_up(at: Place, name: str) -> str:
    status, said = client.call("GET", f"/api/v1/secrets/{name}", path_to_socket=at.socket)
    return str(said["value"]) if status == 200 else f"status {status}"


def _a_new_one_is_handed_out(at: Place, name: str, found: Found) -> None:
    put = [sys.executable, "-m", "keyman", "put", name]
    subprocess.run(put, env=at.variables, input=b"quite-another", check=True, capture_output=True)
    if looked_up(at, name) != "quite-another":
        found.broken.append(f"{name}: what was put is not handed out")
    found.lookups += 1


def run(count: int, *, watched: float = WATCHED) -> Found:
    with place() as at:
        fill(at, count)
        return measure(at, count, watched)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.crowd", description=__doc__)
    parser.add_argument("--credentials", type=int, nargs="+", default=[10_000, 100_000])
    asked = parser.parse_args()
    began, broken, lookups = time.monotonic(), 0, 0
    for count in asked.credentials:
        found = run(count)
        print("\n".join([*found.broken[:10], found.told()]), flush=True)
        broken, lookups = broken + len(found.broken), lookups + found.lookups
    most = max(asked.credentials)
    return conclude({"credentials in one daemon": most, "lookups of each": lookups}, broken, began)


if __name__ == "__main__":
    sys.exit(main())
