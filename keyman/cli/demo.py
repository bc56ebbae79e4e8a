"""`keyman demo`: the whole system against the sandbox clouds, here and now, without any account.

The cloud is an imitation; everything else is the real thing: a daemon in a process of its own
with its scheduler, journal and sealed store, the oci SDK signing its calls over HTTP, and one
client per credential that looks its secret up and calls inference with it all the time. Lifetimes
are seconds instead of months. All state lies in a temporary home that is removed at the end, and
nothing that the user has set for another keyman or another cloud is looked at.
"""

from __future__ import annotations

import json
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

import keyman
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
DAEMON = """\
import ctypes, os, signal, sys
if sys.platform == "linux":  # should the demo be killed, this ends too
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    from keyman.__main__ import main
    sys.exit(main(["daemon"]))
"""
DAEMONS_LINES = "daemon.log"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST_FOLDER = 60  # characters
CLOCK = SystemClock()
STARTS_WITHIN = 30.0  # seconds
A_CALL = (
    b'{"model": "meta.llama-3.3-70b-instruct", "messages": [{"role": "user", "content": "hi"}]}'
)
TOO_MANY = 429
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
        self.count.rejected += 400 <= answer.status < 500 and answer.status != TOO_MANY


@click.command("demo")
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=30, show_default=True, help="ends then …"
)
@click.option(
    "--rotations",
    type=click.IntRange(min=1),
    help="… or after so many rotations of each credential",
)
@click.option("--json", "as_json", is_flag=True, help="only the summary, for programs")
def command(*, seconds: float, rotations: int | None, as_json: bool) -> int:
    """See a key rotate through its two slots while a client keeps calling with it.

    Example: keyman demo --seconds 30
    """
    for number in ENDINGS:
        signal.signal(number, _interrupt)
    with (
        tempfile.TemporaryDirectory(prefix="keyman-demo-", dir=_roomy()) as folder,
        _cloud() as cloud,
    ):
        home = Path(folder) / "home"
        with _daemon(cloud, Path(folder), home) as process:
            counts, spent = _run(process, home, seconds, rotations, as_json=as_json)
    return _report(counts, spent, as_json=as_json)


def _roomy() -> str | None:
    """Where temporary folders go; a socket's path must be short, and some systems' are not."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= LONGEST_FOLDER else "/tmp"  # noqa: S108 - made 0700 by tempfile


@contextmanager
def _cloud() -> Iterator[OciGenaiSandbox]:
    """A cloud that takes a moment to hear of changes, as real ones do."""
    hears_late = Behaviour(new_secret_delay=0.3, activate_delay=0.2, deactivate_delay=0.2)
    sandbox = OciGenaiSandbox(behaviour=hears_late)
    with sandbox.serve():
        yield sandbox


@contextmanager
def _daemon(cloud: OciGenaiSandbox, folder: Path, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon as a process of its own; gone, whatever happens, when this is left."""
    config = folder / "config.yaml"
    config.write_text(
        CONFIG.format(
            compartment=cloud.compartment,
            endpoint=cloud.url,
            base_url=cloud.base_url,
            profile=json.dumps(str(cloud.make_profile(folder / "oci"))),
        )
    )
    config.chmod(0o600)
    _look_away_from_the_users_own()
    os.environ["KEYMAN_SOCKET"] = str(home / "agent.sock")
    package = str(Path(keyman.__file__).parents[1])
    path = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "KEYMAN_HOME": str(home),
        "KEYMAN_CONFIG": str(config),
        "PYTHONPATH": os.pathsep.join(path),
    }
    with (folder / DAEMONS_LINES).open("wb") as lines:
        # The command line is our own interpreter and module. A session of its own: Ctrl-C is for
        # the demo alone, which then stops the daemon.
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", DAEMON, str(os.getpid())],
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=lines,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)  # an impatient second Ctrl-C leaves no daemon
        _end(process)


def _look_away_from_the_users_own() -> None:
    """This process is the demo and nothing else, so its environment may be cleared for good."""
    for name in list(os.environ):
        if name.startswith(("KEYMAN_", "OCI_")) and name != "KEYMAN_TRACEBACK":
            del os.environ[name]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


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
        if process.poll() is not None:
            raise _ended_early(home)
        watch.show(_statuses(home), counts, spent, seconds)
    return counts, spent


def _ended_early(home: Path) -> NotRunning:
    """The daemon is gone: its own lines say why."""
    lines = (home.parent / DAEMONS_LINES).read_text(errors="replace").splitlines()
    for line in lines[-10:]:
        terminal.note(line)
    return NotRunning("the demo's daemon ended by itself", hint="its last lines are above")


def _wait_for_secrets(process: subprocess.Popen[bytes], home: Path, watch: Watch) -> None:
    """Until the first version of every credential is there."""
    deadline = CLOCK.monotonic() + STARTS_WITHIN
    while CLOCK.monotonic() < deadline:
        if process.poll() is not None:
            raise _ended_early(home)
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
    if total["rotations"] == 0:
        terminal.warn(f"{spent:.0f} s are too short to see a rotation: try --seconds 30")
    return 1 if failed else 0


def _figures(count: Count, spent: float) -> dict[str, Any]:
    return {
        "rotations": count.rotations,
        "lookups": count.lookups,
        "requests": count.requests,
        "rejected": count.rejected,
        "seconds": round(spent, 1),
    }
