"""`keyman store copy` of a thousand secrets from one sealed file into another, beside bare fsyncs.

The peer is what the copy would cost if each secret were made durable by itself: as many fsyncs of
one page on the same disk as a `put` needs, a thousand times, in the same run.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.figure import Figure
from keyman.clock import SystemClock
from keyman.config import DEFAULT, AgentSettings, SealedFile, Settings, StoreKey, StoreSettings
from keyman.core.model import Credential, Secret, Spec, Stage, Version
from keyman.db.journal import Journal
from keyman.housekeeping.house import alone
from keyman.housekeeping.moving import copy
from keyman.stores.sealed_file import SealedFile as Store

SECRETS, EACH = 1_000, 10  # versions, of so many a credential
STORE_FSYNCS = 5  # of one put; see rotation_cost
SECONDS = 10.0


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("KEYMAN_BENCH_DIR")) as folder:
        settings = _settings(Path(folder))
        fill(settings)
        with alone(settings) as house:
            began = time.monotonic()
            done = copy(house, "second")
            spent = time.monotonic() - began
            began = time.monotonic()
            again = copy(house, "second")
            repeated = time.monotonic() - began
        assert (len(done.copied), len(again.same)) == (SECRETS, SECRETS)
        bare = _fsyncs(Path(folder) / "bare", SECRETS * STORE_FSYNCS)
    yield Figure("copying 1000 secrets into another sealed file", spent, SECONDS, "s")
    yield Figure("the same again, nothing being new", repeated, SECONDS, "s")
    yield Figure(
        "copying 1000 secrets, beside the bare fsyncs of as many puts",
        spent / bare,
        2.0,
        detail=f"{spent:.2f} s against {bare:.2f} s",
    )


def _settings(home: Path) -> Settings:
    key = StoreKey("file", home / "store.key")
    stores = {
        name: StoreSettings(name, "sealed-file", SealedFile(home / f"{name}.db", key))
        for name in (DEFAULT, "second")
    }
    address = f"sqlite:///{home}/keyman.db"
    return Settings(home, None, address, stores, AgentSettings(home / "agent.sock"))


def fill(settings: Settings) -> None:
    """A journal and a store with as many secrets as usual ones are long."""
    now = SystemClock().now()
    journal = Journal.open(settings.database)
    for n in range(SECRETS // EACH):
        wished = (Version(i + 1, Stage.RETIRED, f"{n}-{i}", now, None) for i in range(EACH))
        versions = tuple(replace(version, issued_at=now) for version in wished)
        journal.save(Credential(Spec(f"c{n}", "oci-genai"), versions=versions), None)
    journal.close()
    with alone(settings) as house:
        store = house.stores[DEFAULT]
        assert isinstance(store, Store)
        numbers = range(1, EACH + 1)
        names = (f"c{n}" for n in range(SECRETS // EACH))
        store.put_all(
            [(c, i, Secret(f"sk-{c}-{i}-{'x' * 80}"), None) for c in names for i in numbers]
        )


def _fsyncs(path: Path, many: int) -> float:
    page = os.urandom(4096)
    with path.open("wb", buffering=0) as file:
        began = time.monotonic()
        for _ in range(many):
            os.pwrite(file.fileno(), page, 0)
            os.fsync(file.fileno())
        return time.monotonic() - began
