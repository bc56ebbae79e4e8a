"""The processes of one life: the cloud, which survives, and the daemon, which does not.

Both are the real programs, started as anybody would start them, with an environment of their own.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keyman import client
from keyman.config import Settings, load
from keyman.core.model import Credential
from keyman.db.journal import Journal
from keyman.errors import Error
from keyman.stores import open_store
from tests.power_cut.evidence import digest

ROOT = Path(__file__).resolve().parent.parent.parent
NAME = "genai"
PREFIX = "sk-powercut"
COMPARTMENT = "ocid1.compartment.oc1..sandbox"
BOUNDS_OFF = {"min_expiry_seconds": None, "max_expiry_days": None, "calls_per_minute": None}
STARTS_WITHIN = 60.0  # seconds; two cores may be shared by many

# Months are seconds here, and what holds between them holds here too: a slot is filled again well
# before the secret in it expires, the second probe comes later than the slowest node hears of a
# change (0.3 s), and no call is held back for longer (3 s) than `late_after`.
POLICY = "{lifetime: 24s, rotate_before: 16s, overlap: 2500ms}"
PEACE = "{lifetime: 1h, rotate_before: 20m, overlap: 2500ms}"
OVERLAP = 2.5
CONFIG = """\
log: {{level: debug, format: {log_format}}}
defaults:
  max_client_staleness: 1s
  observe_every: {observe_every}
  retry: {{first: 100ms, max: 1s}}
credentials:
  genai:
    provider: oci-genai
    region: us-chicago-1
    compartment_id: {compartment}
    endpoint: {endpoint}
    base_url: {endpoint}/20231130/actions/v1
    auth: {{kind: config-file, file: {profile}, profile: DEFAULT}}
    verify: {{successes: 2, every: 400ms, within: 6s}}
    policy: {policy}
    late_after: 3500ms
"""


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Nothing of this process' own but where programs and our code are."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(folder), "PYTHONPATH": str(ROOT), **more}


class Cloud:
    """The sandbox in a process of its own, with its doors for tests."""

    def __init__(self, folder: Path, seed: int) -> None:
        command = [sys.executable, "-m", "keyman.sandbox", "--seed", str(seed)]
        command += ["--secret-prefix", PREFIX, "--profile-dir", str(folder / "oci")]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment(folder), stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the sandbox did not start"
        self.profile = folder / "oci" / "config"
        self.ask("POST", "behaviour", BOUNDS_OFF)

    def ask(self, method: str, door: str, body: object = None) -> Any:
        """One request to a door under /sandbox/."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        with closing(connection):
            sent = None if body is None else json.dumps(body)
            connection.request(method, f"/sandbox/{door}", sent)
            answer = connection.getresponse()
            said = json.loads(answer.read())
        if answer.status != 200:
            raise RefusedByConsoleError(said)
        return said

    def log(self, operation: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(
            "GET", f"log?operation={operation}" if operation else "log"
        )
        return found

    def truth(self) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = self.ask("GET", "truth")["keys"]
        return keys

    def accepted(self) -> set[str]:
        """Every secret (by SHA-256) that all of the cloud takes now."""
        return {s["sha256"] for key in self.truth() for s in key["secrets"] if s["accepted"]}

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class RefusedByConsoleError(Exception):
    """The sandbox would not do what a person in the console asked."""


@dataclass(frozen=True, slots=True)
class Resting:
    """What a home holds while nobody runs on it."""

    record: Credential
    secrets: dict[int, str]  # what the store has, by version number, as SHA-256


class Keyman:
    """One home and the daemon on it. `start` and `kill` belong to one thread."""

    def __init__(self, folder: Path, cloud: Cloud, *, log_format: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.socket = self.home / "agent.sock"
        self.log_file = folder / "daemon.log"
        self._config = folder / "config.yaml"
        self._cloud = cloud
        self._log_format = log_format
        self._process: subprocess.Popen[bytes] | None = None
        assert len(str(self.socket)) <= 100, "too long for a socket: use a shorter folder"

    def configure(self, *, policy: str = POLICY, observe_every: str = "1500ms") -> None:
        """Write the configuration, replaced whole as an editor does."""
        text = CONFIG.format(
            log_format=self._log_format,
            policy=policy,
            observe_every=observe_every,
            compartment=COMPARTMENT,
            endpoint=self._cloud.url,
            profile=self._cloud.profile,
        )
        fresh = self._config.with_suffix(".new")
        fresh.write_text(text)
        fresh.chmod(0o600)
        fresh.replace(self._config)

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "keyman", "daemon"],
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _environment(self) -> dict[str, str]:
        places = {"KEYMAN_HOME": str(self.home), "KEYMAN_CONFIG": str(self._config)}
        return environment(self.folder, **places)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """The exit status of a daemon that ended by itself."""
        return self._process.poll() if self._process else None

    def hang_up(self) -> None:
        """SIGHUP, as `systemctl reload` sends it once the service is up."""
        process = self._process
        if self.status() is not None and process is not None and process is self._process:
            process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Ask the agent. Raises keyman's errors if nobody answers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.call(
            method, path, body, timeout=8, headers=named, path_to_socket=str(self.socket)
        )

    def status(self) -> dict[str, Any] | None:
        """`keyman status` as the daemon answers it; None while nobody does."""
        try:
            code, said = self.call("GET", f"/api/v1/credentials/{NAME}")
        except Error:
            return None
        return said if code == 200 else None

    def answers_within(self, seconds: float = STARTS_WITHIN) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.ended is None:
            with suppress(Error):
                if self.call("GET", "/healthz")[0] == 200:
                    return True
            time.sleep(0.02)
        return False

    # While nobody runs on the home.

    def at_rest(self) -> Resting | None:
        """What a fresh process reads; None before the first record. Changes nothing."""
        if not (self.home / "keyman.db").exists():
            return None
        settings = load(self._config, home=self.home, environ=self._environment())
        try:
            with closing(Journal.open(settings.database, migrate=False, read_only=True)) as journal:
                return _resting(settings, journal)
        except Error:
            return None  # killed before the first start had made everything

    def stages(self) -> set[tuple[int, str]]:
        """The versions and stages in the journal, read beside the running daemon."""
        path = self.home / "keyman.db"
        if not path.exists():
            return set()
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)) as journal:
            try:
                return set(journal.execute("select number, stage from versions"))
            except sqlite3.OperationalError:
                return set()  # the first start has not made the tables yet

    def history(self, limit: int = 40) -> list[str]:
        """The newest lines of the journal's history, oldest first."""
        path = self.home / "keyman.db"
        if not path.exists():
            return []
        wanted = "select seq, kind, version, slot, reason, detail from events"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)) as journal:
            try:
                rows = journal.execute(f"{wanted} order by seq desc limit ?", (limit,)).fetchall()
            except sqlite3.OperationalError:
                return []
        return [" ".join(str(part) for part in row if part not in (None, "")) for row in rows[::-1]]


def _resting(settings: Settings, journal: Journal) -> Resting:
    record, _ = journal.load(settings.credentials[NAME].spec(journal.installation))
    options = {"installation": journal.installation, "home": settings.home, "read_only": True}
    with closing(open_store(settings.store.kind, settings.store.options() | options)) as store:
        found = {number: store.get(name, number) for name, number in store.list(NAME)}
    return Resting(record, {number: digest(s.reveal()) for number, s in found.items() if s})


class Line:
    """One application's connection to inference: kept open, made anew when it breaks."""

    def __init__(self) -> None:
        self._connection: HTTPConnection | None = None

    def call(self, base_url: str, secret: str) -> int | None:
        """The status of one chat completion; None if there was no answer."""
        address = urlsplit(base_url)
        body = b'{"model": "meta.llama-3.3-70b-instruct", "messages": [{"role": "user", '
        body += b'"content": "hi"}]}'
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        self._connection = self._connection or HTTPConnection(address.netloc, timeout=5)
        try:
            self._connection.request("POST", f"{address.path}/chat/completions", body, headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            self._connection.close()
            self._connection = None
            return None
        return answer.status
