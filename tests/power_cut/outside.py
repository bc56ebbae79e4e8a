"""The daemon of one life and the home that it runs on, which survives it.

The real program, started as anybody would start it. One configuration serves every credential of
the life; what it says of each is that case's own business.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyman import client
from keyman.config import DEFAULT, Settings, load
from keyman.core.model import Credential
from keyman.db.journal import Journal
from keyman.errors import Error
from keyman.stores import open_store
from tests.power_cut.cloud import ROOT, environment
from tests.power_cut.evidence import digest

STARTS_WITHIN = 60.0  # seconds; two cores may be shared by many
HEAD = """\
log: {{level: debug, format: {log_format}}}
store: {store}
stores: {stores}
defaults:
  max_client_staleness: 1s
  observe_every: {observe_every}
  retry: {{first: 100ms, max: 1s}}
credentials:
"""


@dataclass(frozen=True, slots=True)
class Resting:
    """What a home holds of one credential while nobody runs on it."""

    record: Credential
    secrets: dict[int, str]  # what the store has, by version number, as SHA-256


class Keyman:
    """One home and the daemon on it. `start` and `kill` belong to one thread."""

    def __init__(self, folder: Path, *, log_format: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.socket = self.home / "agent.sock"
        self.log_file = folder / "daemon.log"
        self.sections: Mapping[str, str] = {}
        self.stores: dict[str, dict[str, Any]] = {DEFAULT: {"kind": "sealed-file"}}
        self.surroundings: dict[str, str] = {}  # more of the environment
        self._config = folder / "config.yaml"
        self._log_format = log_format
        self._process: subprocess.Popen[bytes] | None = None
        assert len(str(self.socket)) <= 100, "too long for a socket: use a shorter folder"

    def configure(self, *, observe_every: str = "1500ms") -> None:
        """Write the configuration with all `sections`, replaced whole as an editor does."""
        others = {name: said for name, said in self.stores.items() if name != DEFAULT}
        text = HEAD.format(
            log_format=self._log_format,
            store=json.dumps(self.stores[DEFAULT]),
            stores=json.dumps(others),
            observe_every=observe_every,
        )
        fresh = self._config.with_suffix(".new")
        fresh.write_text(text + "".join(self.sections.values()))
        fresh.chmod(0o600)
        fresh.replace(self._config)

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "keyman", "daemon"],
                cwd=ROOT,
                env=self.variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def variables(self) -> dict[str, str]:
        places = {"KEYMAN_HOME": str(self.home), "KEYMAN_CONFIG": str(self._config)}
        return environment(self.folder, **places, **self.surroundings)

    @property
    def process(self) -> int | None:
        """The process id of the daemon that was started last."""
        return self._process.pid if self._process else None

    @property
    def ended(self) -> int | None:
        """The exit status of a daemon that ended by itself."""
        return self._process.poll() if self._process else None

    def hang_up(self) -> None:
        """SIGHUP, as `systemctl reload` sends it once the service is up."""
        process = self._process
        if self.answers() and process is not None and process is self._process:
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

    def status(self, name: str) -> dict[str, Any] | None:
        """`keyman status NAME` as the daemon answers it; None while nobody does."""
        try:
            code, said = self.call("GET", f"/api/v1/credentials/{name}")
        except Error:
            return None
        return said if code == 200 else None

    def answers(self) -> bool:
        with suppress(Error):
            return self.call("GET", "/healthz")[0] == 200
        return False

    def answers_within(self, seconds: float = STARTS_WITHIN) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.ended is None:
            if self.answers():
                return True
            time.sleep(0.02)
        return False

    # While nobody runs on the home.

    def at_rest(self, name: str, store: str = DEFAULT) -> Resting | None:
        """What a fresh process reads; None before the first record. Changes nothing."""
        if not (self.home / "keyman.db").exists():
            return None
        settings = load(self._config, home=self.home, environ=self.variables())
        try:
            with closing(Journal.open(settings.database, migrate=False, read_only=True)) as journal:
                return _resting(settings, journal, name, store)
        except Error:
            return None  # killed before the first start had made everything

    def stages(self, name: str) -> set[tuple[int, str]]:
        """The versions and stages in the journal, read beside the running daemon."""
        return set(self._rows("select number, stage from versions where name = ?", name))

    def promoted(self, name: str) -> set[str]:
        """Fingerprints of the versions that were ever current, as the journal has them now."""
        asked = "select fingerprint from versions where name = ? and promoted_at is not null"
        return {fingerprint for (fingerprint,) in self._rows(asked, name)}

    def installation(self) -> str:
        ((found,),) = self._rows("select value from meta where key = ?", "installation")
        return str(found)

    def history(self, name: str, limit: int = 40) -> list[str]:
        """The newest lines of the journal's history, oldest first."""
        wanted = "select seq, kind, version, slot, reason, detail from events where name = ?"
        rows = self._rows(f"{wanted} order by seq desc limit {limit}", name)
        return [" ".join(str(part) for part in row if part not in (None, "")) for row in rows[::-1]]

    def _rows(self, query: str, name: str) -> list[Any]:
        path = self.home / "keyman.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)) as journal:
            try:
                return journal.execute(query, (name,)).fetchall()
            except sqlite3.OperationalError:
                return []  # the first start has not made the tables yet

    def places_with(self, needles: set[bytes]) -> list[str]:
        """The files in the home, and the log, in which one of them lies."""
        files = [self.log_file, *self.home.rglob("*")]
        contents = ((path, path.read_bytes()) for path in files if path.is_file())
        return [path.name for path, read in contents if any(needle in read for needle in needles)]


def _resting(settings: Settings, journal: Journal, name: str, where: str) -> Resting:
    record, _ = journal.load(settings.credentials[name].spec(journal.installation))
    options = {"installation": journal.installation, "home": settings.home, "read_only": True}
    place = settings.stores[where]
    with closing(open_store(place.kind, place.options() | options)) as store:
        found = {number: store.get(each, number) for each, number in store.list(name)}
    return Resting(record, {number: digest(s.reveal()) for number, s in found.items() if s})
