"""What a look at 500 credentials costs the agent: `keyman status`, and `--watch` again and again.

    python -m benchmarks.status SOCKET COUNT      an agent with so many records, till told to end

The records are made up: API keys with two slots, a year of rotations behind each. The journal, the
desk and the agent are the real ones; no provider is asked, so none is there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import psutil

from benchmarks.figure import Figure
from keyman import client
from keyman.clock import SystemClock, new_id
from keyman.core.model import (
    Credential,
    KeySeen,
    Observed,
    SlotSeen,
    Spec,
    Stage,
    Version,
)
from keyman.db.journal import Journal
from keyman.desk import Desk
from keyman.performer import Managed
from keyman.rotator import Rotator
from keyman.serving.api import Api
from keyman.serving.page import open_page
from keyman.serving.server import Agent
from keyman.serving.snapshot import Snapshot

CREDENTIALS, LOOKS = 500, 20
LIMIT = 300.0  # milliseconds
ROTATIONS, APART, OVERLAP, LIFE = 12, timedelta(days=30), timedelta(days=1), timedelta(days=90)
SLOTS = ("key-one", "key-two")


def figures() -> Iterator[Figure]:
    with _agent(CREDENTIALS) as (socket, process):
        first = _cost(process, socket, looks=1)
        later = _cost(process, socket, looks=LOOKS)
        idle = process.cpu_times()
    what = f"status of {CREDENTIALS} credentials: the agent's processor time"
    total = f"{idle.user + idle.system:.1f} s since its start"
    yield Figure(f"{what}, the first time", first, LIMIT, "ms")
    yield Figure(f"{what}, each further time", later, LIMIT, "ms", total)


def _cost(process: psutil.Process, socket: str, *, looks: int) -> float:
    """Milliseconds of the agent for one look."""
    before = process.cpu_times()
    for _ in range(looks):
        status, said = client.call("GET", "/api/v1/credentials", path_to_socket=socket)
        assert status == 200
        assert len(said["credentials"]) == CREDENTIALS
    after = process.cpu_times()
    spent = (after.user - before.user) + (after.system - before.system)
    return 1000 * spent / looks


@contextmanager
def _agent(count: int) -> Iterator[tuple[str, psutil.Process]]:
    with tempfile.TemporaryDirectory(prefix="kb-", dir="/tmp") as folder:
        socket = str(Path(folder) / "agent.sock")
        command = [sys.executable, "-m", "benchmarks.status", socket, str(count)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout
            assert process.stdin
            assert process.stdout.readline() == "up\n"
            yield socket, psutil.Process(process.pid)
            process.stdin.close()


def serve(socket: Path, count: int) -> None:
    clock = SystemClock()
    journal = Journal.open(f"sqlite:///{socket.parent / 'keyman.db'}")
    managed = {}
    for number in range(count):
        credential, observed = record(f"genai-{number:03}", clock.now(), journal.installation)
        journal.save(credential, observed)
        managed[credential.name] = Managed(credential.spec, None, None)  # type: ignore[arg-type]
    rotator = Rotator(
        journal, managed, clock, new_id, owner="bench", home="bench", changed=lambda _: None
    )
    desk = Desk(journal, rotator, clock, new_id, None)  # type: ignore[arg-type]
    snapshot = Snapshot(
        clock, open_page(socket.parent, key=b"benchmark", shared=False, now=clock.now)
    )
    serving = Agent(Api(desk, snapshot, reload=dict, since=clock.now()), socket)
    serving.start()
    print("up", flush=True)
    sys.stdin.read()
    serving.stop()


def record(name: str, now: datetime, installation: str) -> tuple[Credential, Observed]:
    """An API key that has rotated for a year, and how the provider shows it."""
    spec = Spec(name, "oci-genai", slots=SLOTS, installation=installation)
    key = f"ocid1.generativeaiapikey.oc1.us-chicago-1.{name}"
    issued = [now - timedelta(days=10) - APART * ago for ago in reversed(range(ROTATIONS))]
    versions = tuple(_version(number, at, key) for number, at in enumerate(issued, start=1))
    seen = tuple(
        SlotSeen(v.slot, "ACTIVE" if v.stage is Stage.CURRENT else "INACTIVE", v.mask, v.expires_at)
        for v in versions[-2:]
    )
    picture = Observed(now, (KeySeen(key, "ACTIVE", seen, "etag", installation, 65536),))
    told = {"home": key, "driver": 1, "epoch": 65536, "claimed": 65536, "told": "ok"}
    return Credential(spec, versions, **told), picture  # type: ignore[arg-type]


def _version(number: int, at: datetime, key: str) -> Version:
    newest, standby = number == ROTATIONS, number == ROTATIONS - 1
    stage = Stage.CURRENT if newest else Stage.RETIRED if standby else Stage.REVOKED
    return Version(
        number,
        stage,
        f"attempt-{number}",
        requested_at=at,
        expires_at=at + LIFE,
        slot=SLOTS[number % 2],
        handle=key,
        mask=f"sk-…{number:04}",
        fingerprint="hmac:0123456789ab",
        issued_at=at,
        activated_at=at,
        verified_at=at,
        promoted_at=at,
        replaced_at=None if newest else at + APART,
        overlap=None if newest else OVERLAP,
        retired_at=None if newest else at + APART + OVERLAP,
        revoked_at=None if newest or standby else at + 2 * APART,
        stored=newest or standby,
    )


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
