"""A sandbox cloud in a process of its own, and homes of keyman that work against it.

Nothing of the user's is looked at: each home has its configuration, its profile and a short path
(a socket's must be). Commands run as processes, the way people start them, or, where only their
words and exit status count, inside the test's own process.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.request import Request, urlopen

from keyman import client
from keyman.__main__ import main
from keyman.app import App, open_app
from keyman.cli import AT_ONCE
from keyman.config import Settings, load
from keyman.errors import Error
from keyman.lock import COMMAND
from keyman.once import do_what_is_due
from keyman.telemetry import QUIET
from tests.blank_journal import lay_down
from tests.commands.forked import Forked, fits
from tests.scratch import short_folder

ROOT = Path(__file__).parents[2]
COMPARTMENT = "ocid1.compartment.oc1..sandbox"
GENEROUS = 60.0  # seconds for what takes one or two
FORKED = {"stdin", "stdout", "stderr", "env", "cwd"}  # what a fork is told
CONFIG = """\
log: {{level: warning}}
defaults: {{max_client_staleness: 1s, retry: {{first: 200ms, max: 2s}}}}
credentials:
  genai:
    provider: oci-genai
    region: us-chicago-1
    compartment_id: {compartment}
    endpoint: {url}
    base_url: {url}/20231130/actions/v1
    auth: {{file: {profile}}}
    verify: {{successes: 1, every: 100ms, within: 120s}}
    policy: {{lifetime: 60d, rotate_before: 35d, overlap: {overlap}}}
    late_after: 1s
"""


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Cloud:
    """The sandbox, reached through its doors for tests."""

    url: str
    profile: Path

    def ask(self, method: str, door: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}/sandbox/{door}", data=data, method=method)
        with urlopen(request, timeout=GENEROUS) as answer:
            return json.load(answer)

    def calls(self) -> int:
        """How many calls the control plane and inference have seen."""
        counts = self.ask("GET", "counts")
        return len(self.ask("GET", "log")) + int(counts["accepted"]) + int(counts["rejected"])

    def rests(self) -> None:
        """Until nobody has called for a while, as who begins does."""
        before, now = -1, self.calls()
        while now != before:
            time.sleep(0.5)
            before, now = now, self.calls()

    def key(self, key_id: str) -> dict[str, Any]:
        keys: list[dict[str, Any]] = self.ask("GET", "truth")["keys"]
        return next(key for key in keys if key["id"] == key_id)

    def states(self, key_id: str) -> dict[str, str]:
        """Slot → state, as the cloud itself knows it."""
        return {slot["keyName"]: slot["state"] for slot in self.key(key_id)["slots"]}

    def by_hand(self) -> tuple[str, dict[str, str]]:
        """A key that somebody made in the console, and its secrets by slot."""
        made = self.ask("POST", "keys", {"name": "by_hand"})
        return made["id"], made["keys"]

    def console(self, action: str, key_id: str, slot: str) -> Any:
        body = {"action": action, "key_id": key_id, "slot": slot}
        return self.ask("POST", "drift", body)

    @contextmanager
    def fault(self, **rule: Any) -> Iterator[None]:
        self.ask("POST", "faults", rule)
        try:
            yield
        finally:
            self.ask("DELETE", "faults")


@contextmanager
def cloud() -> Iterator[Cloud]:
    """A sandbox with the kindest answers, until the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="keyman-test-"))
    words = ["--profile-dir", str(folder / "oci")]
    with Forked("keyman.sandbox", words, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield Cloud(process.stdout.readline().strip(), folder / "oci" / "config")
        finally:
            process.terminate()
            shutil.rmtree(folder)


@dataclass
class Home:
    """One installation of keyman: its folder, configuration and processes."""

    cloud: Cloud
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.folder / "home"

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    def configure(self, *, overlap: str = "1d", **more: str) -> None:
        """Write the configuration; `more` are further keys of the credential genai."""
        text = CONFIG.format(
            compartment=COMPARTMENT,
            url=self.cloud.url,
            profile=json.dumps(str(self.cloud.profile)),
            overlap=overlap,
        )
        self.config.write_text(text + "".join(f"    {k}: {v}\n" for k, v in more.items()))
        self.config.chmod(0o600)

    def edit(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    @property
    def variables(self) -> dict[str, str]:
        ours = {"KEYMAN_HOME": str(self.state), "KEYMAN_CONFIG": str(self.config)}
        strange = ("KEYMAN_", "OCI_", "COLUMNS", "LINES")  # a terminal's size is its own to say
        kept = {k: v for k, v in os.environ.items() if not k.startswith(strange)}
        return {**kept, "PYTHONPATH": str(ROOT), "HOME": str(self.folder), **ours, **self.environ}

    @property
    def settings(self) -> Settings:
        return load(self.config, home=self.state, environ=self.variables)

    def open(self) -> App:
        """All of keyman in this process, under the home's lock."""
        if not self.state.exists():
            self.state.mkdir(mode=0o700)
            lay_down(self.state / "keyman.db")
        return open_app(self.settings)

    def open_as_command(self) -> App:
        return open_app(self.settings, role=COMMAND)

    def start(self) -> str:
        """See the first version through, or whatever is due; returns the key's id."""
        with self.open() as app:
            do_what_is_due(app)
            return str(app.desk.status("genai")["key_id"])

    def start_all(self) -> None:
        """The same, whatever is in it and whoever issues it."""
        with self.open() as app:
            do_what_is_due(app)

    def keyman(self, *words: str, stdin: str = "") -> Done:
        """Run one command in this process, as `keyman WORDS`."""
        out, err = io.StringIO(), io.StringIO()
        read = io.TextIOWrapper(io.BytesIO(stdin.encode()))
        with (
            mock.patch.dict(os.environ, self.variables, clear=True),
            mock.patch.object(sys, "stdin", read),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            held = signal.pthread_sigmask(signal.SIG_BLOCK, [])
            status = main(list(words))
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        for name in ("", *QUIET):  # what it set for a process of its own is not for the next test
            logging.getLogger(name).setLevel(logging.NOTSET if name else logging.WARNING)
        return Done(status, out.getvalue(), err.getvalue())

    def process(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        """Start `keyman WORDS` as a process; as a fork, where no test could tell."""
        usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        how = {"env": self.variables, **usual, **how}
        if words[:1] and words[0] not in AT_ONCE and how.keys() <= FORKED and fits(how["env"]):
            return Forked("keyman", words, **how)
        return self.started(*words, **how)

    def started(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        """Start `keyman WORDS` as a process that begins with an interpreter, always."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-P", "-m", "keyman", *words]
        return subprocess.Popen(command, **{"env": self.variables, **streams, **how})

    def run(self, *words: str, stdin: str = "") -> Done:
        """Run `keyman WORDS` as a process, to its end."""
        with self.process(*words, stdin=subprocess.PIPE) as process:
            out, err = process.communicate(stdin, timeout=GENEROUS)
        return Done(process.returncode, out, err)

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[str]]:
        """A daemon that answers, until the end of the block."""
        lines = self.folder / "daemon.log"
        with lines.open("w") as log:
            process = self.process("daemon", stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            until(self.answers, lines.read_text)
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(GENEROUS)

    def answers(self) -> bool:
        try:
            path = str(self.state / "agent.sock")
            return client.call("GET", "/healthz", path_to_socket=path)[0] == 200
        except Error:
            return False


@contextmanager
def home(made_for: Cloud, **config: str) -> Iterator[Home]:
    """A fresh home, removed at the end. Its path is short, whatever the tests' folder is."""
    folder = short_folder()
    try:
        made = Home(made_for, folder)
        made.configure(**config)
        yield made
    finally:
        shutil.rmtree(folder)


def until(so: Any, explain: Any = lambda: "") -> None:
    """Wait until `so()` holds; generously, since the machine may be busy."""
    deadline = time.monotonic() + GENEROUS
    while not so():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.02)
