"""What the daemon weighs at rest.

Memory beside a process that only imports the same libraries, and processor time while nothing
is due.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.asked_agent import lookups_go_to, wait_for_secret
from benchmarks.figure import Figure
from keyman.sandbox.oci_genai import OciGenaiSandbox

IDLE_SECONDS = 30.0
LIBRARIES = (
    "alembic.config, apscheduler.schedulers.background, click,"
    "cryptography.hazmat.primitives.ciphers,"
    "fastapi, httpx2, httptools, oci.generative_ai, oci.auth.signers, oci.retry, oci.pagination,"
    "platformdirs, pydantic, sqlalchemy, uvicorn, uvloop, yaml"
)
CONFIG = """\
credentials:
  genai:
    provider: oci-genai
    region: us-chicago-1
    compartment_id: {compartment}
    endpoint: {endpoint}
    base_url: {base_url}
    auth: {{kind: config-file, file: {profile}}}
"""


def figures() -> Iterator[Figure]:
    sandbox = OciGenaiSandbox()
    with tempfile.TemporaryDirectory() as folder, sandbox.serve() as url:
        home = Path(folder) / "home"
        config = Path(folder) / "config.yaml"
        profile = sandbox.make_profile(Path(folder) / "oci")
        config.write_text(
            CONFIG.format(
                compartment=sandbox.compartment,
                endpoint=url,
                base_url=sandbox.base_url,
                profile=profile,
            )
        )
        config.chmod(0o600)
        environment = {**os.environ, "KEYMAN_HOME": str(home), "KEYMAN_CONFIG": str(config)}
        daemon = _start([sys.executable, "-m", "keyman", "daemon"], environment)
        peer = _start(
            [sys.executable, "-c", f"import {LIBRARIES}, signal; signal.pause()"], environment
        )
        try:
            with lookups_go_to(home):
                wait_for_secret("genai")
            yield from _weigh(psutil.Process(daemon.pid), psutil.Process(peer.pid))
        finally:
            for process in (daemon, peer):
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=10)


def _weigh(daemon: psutil.Process, peer: psutil.Process) -> Iterator[Figure]:
    time.sleep(5)
    before = daemon.cpu_times()
    time.sleep(IDLE_SECONDS)
    after = daemon.cpu_times()
    busy = (after.user - before.user) + (after.system - before.system)
    mine, theirs = daemon.memory_info().rss, peer.memory_info().rss
    yield Figure(
        "the daemon's memory beside a process that imports the same libraries",
        mine / theirs,
        1.3,
        detail=f"{mine / 2**20:.0f} MiB beside {theirs / 2**20:.0f} MiB",
    )
    yield Figure("the daemon's processor time at rest", 100 * busy / IDLE_SECONDS, 0.5, "%")


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
