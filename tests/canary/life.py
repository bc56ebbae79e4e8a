"""Everything that happens to a credential, through real processes that log all they can.

The cloud is the sandbox; it hands out secrets that are easy to recognise, and so are all the other
secrets that people type here. What the processes say is kept in files, each with its command.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyman import client
from keyman.errors import Error
from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.faults import Fault
from keyman.sandbox.oci_genai import OciGenaiSandbox
from keyman.sandbox.profiles import write_profile
from tests.canary import hostile
from tests.canary.scan import Blob, columns, files

ROOT = Path(__file__).resolve().parent.parent.parent
NAME = "genai"
# Shaped as OCI's secrets are, with characters that JSON, URLs and base64 each write differently.
PREFIX = 'sk-CANARY0leak/+"'
TYPED = "CANARY1typed/+by~a^person"  # what a person writes into a configuration or a prompt
PATIENCE = 40.0  # seconds
GARBAGE = (
    '{{"id": "x", "keys": "{secret}"}}',
    '{{"id": "{key}", "keys": [{{"keyName": "{slot}", "key": 17, "state": "{secret}"}}]}}',
    '{{"id": "{key}", "keys": [{{"keyName": "{slot}", "key": "{secret} and more"}}]}}',
    '{{"id": "{key}", "keys": [{{"keyName": "{slot}", "key": "{secret}", "timeExpiry": "soon"}}]}}',
    '{{"code": "{secret}", "message": "{secret}"}}',
    "{secret}",
)
CONFIG = """\
log: {{level: debug, format: {log_format}}}
{store}
defaults:
  max_client_staleness: 1s
  observe_every: 500ms
  retry: {{first: 50ms, max: 200ms}}
credentials:
  genai:
    provider: oci-genai
    region: us-chicago-1
    compartment_id: {compartment}
    api_key_id: {key}
    endpoint: {url}
    base_url: {url}/20231130/actions/v1
    auth: {{kind: config-file, file: {profile}, profile: {user}}}
    verify: {{successes: 2, every: 100ms, within: 3s}}
    policy: {{lifetime: 1h, rotate_before: 20m, overlap: 1s}}
    late_after: 300ms
"""
SEALED = "store: {{kind: sealed-file, key: {{kind: passphrase, passphrase: '{typed}'}}}}"
MISTAKES = (
    "store: {{kind: sealed-file, key: {{kind: passphrase, passphrase: ['{typed}']}}}}",
    "store: {{kind: sealed-file, key: {{kind: {typed}, passphrase: '{typed}'}}}}",
    "store: {{kind: '{typed}'}}",
    "store: {{kind: sealed-file, key: {{kind: passphrase, passprase: '{typed}'}}}}",
    "store: {{kind: sealed-file, key: {{kind: passphrase, passphrase: '{typed}\n",
    "store: '{typed}'",
    "network: {{proxy: 'http://user:{typed}@proxy.example:1'}}",
)


@dataclass
class Life:
    """One home, its cloud, and what its processes said."""

    folder: Path
    sandbox: OciGenaiSandbox
    log_format: str
    key: str = "null"
    user: str = "DEFAULT"
    said: list[Path] = field(default_factory=list)
    answers: list[Blob] = field(default_factory=list)
    handed: set[str] = field(default_factory=set)
    daemon: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        (self.folder / "tmp").mkdir(parents=True)
        (self.folder / "out").mkdir()
        self.profile = self.sandbox.make_profile(self.folder.parent / f"{self.folder.name}-oci")
        # A user whose public key nobody has uploaded: keyman's own credentials are wrong.
        stranger = ("ocid1.tenancy.oc1..stranger", "ocid1.user.oc1..stranger", "us-chicago-1")
        write_profile(self.profile.parent, "STRANGER", *stranger)
        self.configure()

    # Processes.

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def configure(self, store: str = SEALED) -> None:
        text = CONFIG.format(
            log_format=self.log_format,
            store=store.format(typed=TYPED),
            compartment=self.sandbox.compartment,
            key=self.key,
            url=self.sandbox.url,
            profile=self.profile,
            user=self.user,
        )
        # It holds a passphrase, so it lies outside of what is scanned.
        self._config.unlink(missing_ok=True)
        with os.fdopen(os.open(self._config, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text)

    @property
    def _config(self) -> Path:
        return self.folder.parent / f"{self.folder.name}.yaml"

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        places = {"HOME": str(self.folder), "TMPDIR": str(self.folder / "tmp")}
        places |= {"KEYMAN_HOME": str(self.home), "KEYMAN_CONFIG": str(self._config)}
        return {**kept, **places, "PYTHONPATH": str(ROOT)}

    def _output(self, what: str) -> Path:
        path = self.folder / "out" / f"{len(self.said)}-{what}"
        self.said.append(path)
        return path

    def keyman(self, *words: str, typed: str | None = None, secret: bool = False) -> int:
        """Run a command to its end. With `secret` its standard output may show one: not kept."""
        errors, out = self._output(f"{words[0]}.err"), self._output(f"{words[0]}.out")
        done = subprocess.run(
            [sys.executable, "-m", "keyman", "--log-level", "debug", *words]
            if words[0] != "get"
            else [sys.executable, "-m", "keyman", *words],
            cwd=ROOT,
            env=self._environment(),
            input=(typed or "").encode(),
            capture_output=True,
            timeout=PATIENCE + 20,
            check=False,
        )
        errors.write_bytes(done.stderr)
        if secret:
            self.handed.add(done.stdout.decode().strip())
        else:
            out.write_bytes(done.stdout)
        return done.returncode

    def start(self) -> None:
        with self._output("daemon").open("wb") as log:
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", "keyman", "daemon"],
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.until(lambda: self.ask("GET", "/healthz")[0] == 200)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.daemon is not None:
            self.daemon.send_signal(number)
            try:
                self.daemon.wait(10)
            finally:
                self.daemon.kill()
                self.daemon.wait()
                self.daemon = None

    # The agent.

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        try:
            return client.call(
                method, path, body, timeout=10, path_to_socket=str(self.home / "agent.sock")
            )
        except Error:
            return 0, None

    def until(self, true: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(KeyError, TypeError):
                if true():
                    return
            time.sleep(0.03)
        raise AssertionError(f"not within {PATIENCE:.0f} s; see {self.said[-1]}")

    def look_up(self) -> int:
        """The current version, 0 if there is none; its secret is remembered."""
        status, said = self.ask("GET", f"/api/v1/secrets/{NAME}")
        if status != 200:
            return 0
        self.handed.add(said["value"])
        version: int = said["version"]
        return version

    def order(self, verb: str, **body: object) -> None:
        """Give an order and wait until the loop has done with it."""
        before = self.look_up()
        status, _ = self.ask("POST", f"/api/v1/credentials/{NAME}/{verb}", body)
        assert status == 202, (verb, status)
        self.until(self.calm)
        if verb in ("rotate", "rollback"):
            assert self.look_up() > before, verb

    def calm(self) -> bool:
        status = self.ask("GET", f"/api/v1/credentials/{NAME}")[1]
        return not status["order"] and status["failures"] == 0 and bool(self.look_up())

    def slot(self) -> str:
        slot: str = self.ask("GET", f"/api/v1/credentials/{NAME}")[1]["current"]["slot"]
        return slot

    def key_id(self) -> str:
        key: str = self.ask("GET", f"/api/v1/credentials/{NAME}")[1]["key_id"]
        return key

    def faults(self, *faults: Fault) -> None:
        for fault in faults:
            self.sandbox.faults.add(fault)

    # What can be found.

    def evidence(self) -> Iterator[Blob]:
        """Everything of this life that anybody could read: files, rows, outputs, answers."""
        yield from files(self.folder)
        for name in ("keyman.db", "secrets.db"):
            if (self.home / name).exists():
                yield from columns(self.home / name)
        yield from self.answers

    def output(self) -> Iterator[Blob]:
        return ((path.name, path.read_bytes()) for path in self.said if path.exists())


@contextmanager
def life(folder: Path, log_format: str) -> Iterator[Life]:
    """A life with its cloud; whatever happens, no process of it is left."""
    lags = Behaviour(new_secret_delay=0.1, deactivate_delay=0.1, error_codes="numbers")
    sandbox = OciGenaiSandbox(behaviour=lags, secret_prefix=PREFIX)
    with sandbox.serve():
        lived = Life(folder, sandbox, log_format)
        try:
            yield lived
        finally:
            if lived.daemon is not None:
                lived.daemon.kill()
                lived.daemon.wait()


# What happens.


def mistakes_in_the_configuration(lived: Life) -> None:
    for mistake in MISTAKES:
        lived.configure(store=mistake)
        assert lived.keyman("check", "--json") == 2, mistake
    assert lived.keyman("daemon") == 2
    lived.configure()


def wrong_credentials_of_our_own(lived: Life) -> None:
    lived.user = "STRANGER"
    lived.configure()
    lived.start()
    lived.until(lambda: lived.ask("GET", f"/api/v1/credentials/{NAME}")[1]["failures"] > 0)
    lived.keyman("check", "--json")
    lived.stop()
    lived.user = "DEFAULT"
    lived.configure()


def first_start(lived: Life) -> None:
    lived.start()
    lived.until(lived.look_up)
    lived.order("rotate", reason="routine")


def garbage_and_lost_answers(lived: Life) -> None:
    """One rotation meets them all, one after another: each is tried again."""
    secret = PREFIX.replace('"', "") + "0123456789abcdefghij"
    for body in GARBAGE:
        named = body.format(secret=secret, key=lived.key_id(), slot="key-one")
        other = body.format(secret=secret, key=lived.key_id(), slot="key-two")
        lived.faults(
            Fault("garbage", "RenewApiKey", body=named, count=1),
            Fault("garbage", "RenewApiKey", body=other, count=1),
            Fault("garbage", "GetApiKey", body=named, count=1),
            Fault("garbage", "UpdateApiKey", body=named, count=1),
        )
    for effect in ("truncated", "lost_after", "lost_before", "html", "throttle", "incorrect_state"):
        for operation in ("RenewApiKey", "SetApiKeyState", "GetApiKey", "ChatCompletions"):
            lived.faults(Fault(effect, operation, count=1))
    lived.order("rotate", reason="garbage")
    lived.sandbox.faults.clear()


def a_store_that_fails(lived: Life) -> None:
    """Somebody else holds the file; then a row of it is damaged."""
    with closing(sqlite3.connect(lived.home / "secrets.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        lived.ask("POST", f"/api/v1/credentials/{NAME}/rotate", {})
        lived.until(lambda: lived.ask("GET", f"/api/v1/credentials/{NAME}")[1]["failures"] > 0)
        other.execute("ROLLBACK")
    lived.until(lived.calm)
    lived.stop()
    with closing(sqlite3.connect(lived.home / "secrets.db")) as other:
        other.execute("UPDATE secrets SET sealed = zeroblob(64) WHERE number = 1 OR number > 2")
        other.commit()
    lived.start()
    lived.until(lambda: lived.ask("GET", f"/api/v1/secrets/{NAME}")[0] == 503)
    lived.keyman("get", NAME)
    lived.keyman("status", "--json")
    lived.ask("POST", f"/api/v1/credentials/{NAME}/rotate", {})
    lived.until(lived.calm)


def orders(lived: Life) -> None:
    lived.order("rollback")
    lived.order("rotate")
    lived.keyman("rotate", NAME, "--json")
    lived.keyman("revoke", NAME, "--yes", "--json")
    lived.until(lived.calm)
    lived.keyman("rotate", NAME, "--new-key")
    lived.until(lived.calm)
    lived.keyman("activate", NAME, "--slot", "key-two")
    lived.keyman("deactivate", NAME, "--slot", "key-two", "--json")


def a_hand_in_the_console(lived: Life) -> None:
    """Somebody makes a new secret in the slot in use; a client tells us that it is refused."""
    version = lived.look_up()
    lived.handed.add(lived.sandbox.console.renew(lived.key_id(), lived.slot()))
    lived.ask("POST", f"/api/v1/secrets/{NAME}/rejected", {"version": version})
    lived.until(lambda: lived.look_up() > version)


def hostile_clients(lived: Life) -> None:
    secret = max(lived.handed, key=len)
    lived.answers += hostile.answers(lived.home / "agent.sock", secret)
    told = [content for where, content in lived.answers if where.startswith("the answer")]
    assert any(b" 400 " in said for said in told)
    assert all(b"HTTP/1.1 2" not in said[:12] for said in told)


def sudden_death(lived: Life) -> None:
    lived.faults(Fault("delay", "RenewApiKey", count=1, seconds_after=0.5))
    lived.ask("POST", f"/api/v1/credentials/{NAME}/rotate", {})
    lived.until(lambda: lived.sandbox.faults.to_json()[-1]["fired"])
    lived.stop(signal.SIGKILL)
    lived.start()
    lived.until(lived.calm)


def questions(lived: Life) -> None:
    for words in (("check",), ("status",), ("status", "--json"), ("list",), ("policy", NAME)):
        lived.keyman(*words)
    lived.keyman("reload")
    lived.keyman("get", "nothing", "--json")
    lived.keyman("get", NAME, secret=True)
    lived.stop()
    lived.keyman("get", NAME, secret=True)
    for words in (("check", "--json"), ("status", "--json"), ("db", "upgrade")):
        lived.keyman(*words)


def adoption(lived: Life) -> None:
    """A key that somebody else made: its secret typed wrongly, typed rightly, then rotated."""
    lived.key, secrets = lived.sandbox.console.create("theirs", lived.sandbox.compartment)
    lived.handed |= set(secrets.values())
    lived.configure()
    wrong = f"{secrets['key-one'][:-1]}!"
    assert lived.keyman("adopt", NAME, "--slot", "key-one", typed=f"{wrong}\n") == 1
    lived.keyman("adopt", NAME, "--slot", "key-one", typed=f"{wrong}\n{wrong}\n")
    lived.start()
    lived.keyman("adopt", NAME, "--slot", "key-one", "--json", typed=wrong)
    assert lived.keyman("adopt", NAME, "--slot", "key-one", typed=secrets["key-one"]) == 0
    lived.keyman("adopt", NAME, "--slot", "key-one", typed=secrets["key-one"])
    lived.order("rotate")
    lived.stop()
