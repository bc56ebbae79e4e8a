"""`keyman demo`: the whole system against the sandbox clouds, here and now, without any account.

The cloud is an imitation; everything else is the real thing: a daemon in a process of its own
with its scheduler, journal and sealed store, the oci SDK signing its calls over HTTP, and one
client per credential that looks its secret up and calls inference with it all the time. Lifetimes
are seconds instead of months. All state lies in a temporary home that is removed at the end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from keyman import client
from keyman.cli import terminal
from keyman.cli.demo_view import Watch
from keyman.clock import SystemClock
from keyman.errors import Error, NotRunning
from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.oci_genai import OciGenaiSandbox

CONFIG = """\
# Made by `keyman demo`: months are seconds here.
log: {{level: warning}}
defaults:
  max_client_staleness: 1s
  observe_every: 2s
  retry: {{first: 0.2s, max: 2s}}
credentials:
  genai:
    provider: oci-genai
    region: us-chicago-1
    compartment_id: {compartment}
    endpoint: {endpoint}
    base_url: {base_url}
    auth: {{kind: config-file, file: {profile}, profile: DEFAULT}}
    verify: {{successes: 2, every: 0.2s, within: 8s}}
    policy: {{lifetime: 14s, rotate_before: 9s, overlap: 2s}}
    late_after: 1s
"""
CLOCK = SystemClock()
STARTS_WITHIN = 30.0  # seconds
A_CALL = (
    b'{"model": "meta.llama-3.3-70b-instruct", "messages": [{"role": "user", "content": "hi"}]}'
)
PAUSE = 0.004  # seconds between two calls of one client


@dataclass
class Count:
    """What one client met so far."""

    lookups: int = 0
    requests: int = 0
    rejected: int = 0
    faults: int = 0  # no answer at all; not a rejection
    versions: set[int] = field(default_factory=set)

    @property
    def rotations(self) -> int:
        return max(len(self.versions) - 1, 0)


class Caller(threading.Thread):
    """An application: before every call it asks keyman for the current secret."""

    def __init__(self, name: str, stop: threading.Event) -> None:
        super().__init__(name=f"client-{name}", daemon=True)
        self.credential = name
        self.count = Count()
        self._stopped = stop

    def run(self) -> None:
        connection: HTTPConnection | None = None
        while not self._stopped.wait(PAUSE):
            try:
                secret = client.secret(self.credential)
            except Error:
                continue
            self.count.lookups += 1
            self.count.versions.add(secret.version)
            address = urlsplit(str(secret.base_url))
            connection = connection or HTTPConnection(address.netloc, timeout=10)
            try:
                self._call(connection, address.path, secret.value)
            except (OSError, HTTPException):
                self.count.faults += 1
                connection.close()

    def _call(self, connection: HTTPConnection, path: str, secret: str) -> None:
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        connection.request("POST", f"{path}/chat/completions", A_CALL, headers)
        answer = connection.getresponse()
        answer.read()
        self.count.requests += 1
        self.count.rejected += answer.status in (401, 403)


@click.command("demo")
@click.option("--seconds", type=click.FloatRange(min=1), default=30, help="ends then, or …")
@click.option("--rotations", type=click.IntRange(min=1), help="… after so many rotations")
@click.option("--json", "as_json", is_flag=True, help="only the summary, for programs")
def command(*, seconds: float, rotations: int | None, as_json: bool) -> int:
    """See a key rotate through its two slots while a client keeps calling with it.

    Example: keyman demo --seconds 30
    """
    with tempfile.TemporaryDirectory(prefix="keyman-demo-") as folder, _cloud() as cloud:
        home = Path(folder) / "home"
        with _daemon(cloud, Path(folder), home) as process:
            counts, spent = _run(process, home, seconds, rotations, as_json=as_json)
    return _report(counts, spent, as_json=as_json)


@contextmanager
def _cloud() -> Iterator[OciGenaiSandbox]:
    """A cloud that takes a moment to hear of changes, as real ones do."""
    hears_late = Behaviour(new_secret_delay=0.3, activate_delay=0.2, deactivate_delay=0.2)
    sandbox = OciGenaiSandbox(behaviour=hears_late)
    with sandbox.serve():
        yield sandbox


@contextmanager
def _daemon(cloud: OciGenaiSandbox, folder: Path, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / "config.yaml"
    config.write_text(
        CONFIG.format(
            compartment=cloud.compartment,
            endpoint=cloud.url,
            base_url=cloud.base_url,
            profile=cloud.make_profile(folder / "oci"),
        )
    )
    config.chmod(0o600)
    outside = {k: v for k, v in os.environ.items() if not k.startswith("KEYMAN_")}
    environment = {**outside, "KEYMAN_HOME": str(home), "KEYMAN_CONFIG": str(config)}
    os.environ["KEYMAN_SOCKET"] = str(home / "agent.sock")
    command_line = [sys.executable, "-m", "keyman", "daemon"]
    # The command line is our own interpreter and module.
    process = subprocess.Popen(  # noqa: S603
        command_line, env=environment, stdin=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)


def _run(
    process: subprocess.Popen[bytes],
    home: Path,
    seconds: float,
    rotations: int | None,
    *,
    as_json: bool,
) -> tuple[dict[str, Count], float]:
    """Let clients call until the earlier limit; returns what they met."""
    stop = threading.Event()
    callers = [Caller("genai", stop)]
    with Watch(quiet=as_json) as watch:
        _wait_for_secrets(process, home, watch)
        began = CLOCK.monotonic()
        for caller in callers:
            caller.start()
        counts = {caller.credential: caller.count for caller in callers}
        while (spent := CLOCK.monotonic() - began) < seconds and process.poll() is None:
            watch.show(_statuses(home), counts, spent, seconds)
            if rotations and min(count.rotations for count in counts.values()) >= rotations:
                break
            CLOCK.sleep(0.1)
        stop.set()
        for caller in callers:
            caller.join(timeout=10)
        watch.show(_statuses(home), counts, spent, seconds)
    return counts, spent


def _wait_for_secrets(process: subprocess.Popen[bytes], home: Path, watch: Watch) -> None:
    """Until the first version of every credential is there."""
    deadline = CLOCK.monotonic() + STARTS_WITHIN
    while CLOCK.monotonic() < deadline:
        if process.poll() is not None:
            raise NotRunning(
                "the demo's daemon ended before it answered", hint="see its lines above"
            )
        statuses = _statuses(home)
        watch.show(statuses, {}, 0, 0)
        if statuses and all(one["current"] for one in statuses):
            return
        CLOCK.sleep(0.05)
    raise NotRunning(f"the demo's daemon gave no secret within {STARTS_WITHIN:.0f} s")


def _statuses(home: Path) -> list[dict[str, Any]]:
    try:
        socket = str(home / "agent.sock")
        _, found = client.call("GET", "/api/v1/credentials", path_to_socket=socket, timeout=5)
    except Error:
        return []
    statuses: list[dict[str, Any]] = found.get("credentials", [])
    return statuses


def _report(counts: dict[str, Count], spent: float, *, as_json: bool) -> int:
    each = {name: _figures(count, spent) for name, count in counts.items()}
    keys = ("rotations", "lookups", "requests", "rejected")
    total: dict[str, Any] = {key: sum(one[key] for one in each.values()) for key in keys}
    total["seconds"] = round(spent, 1)
    failed = total["rejected"] > 0 or total["rotations"] == 0
    if as_json:
        terminal.show_json({**total, "credentials": each})
        return 1 if failed else 0
    terminal.say(
        f"{total['rotations']} rotations, {total['lookups']} lookups and {total['requests']} "
        f"requests in {spent:.0f} s: {total['rejected']} rejected"
    )
    return 1 if failed else 0


def _figures(count: Count, spent: float) -> dict[str, Any]:
    return {
        "rotations": count.rotations,
        "lookups": count.lookups,
        "requests": count.requests,
        "rejected": count.rejected,
        "seconds": round(spent, 1),
    }
