"""A machine on which keyman runs: its daemon, the clouds behind it, and programs that use it.

The credential genai is one that can be replaced and destroyed as often as a test likes; its old
secret is refused from that moment. Programs find `keyman` and `keyman-get` in PATH, as after an
installation, and nothing of the user's who runs the tests.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyman.sandbox.google import GoogleSandbox
from keyman.sandbox.keys import sha256
from keyman.sandbox.oci_genai import OciGenaiSandbox
from keyman.sandbox.openai import OpenAISandbox
from keyman.sandbox.witness import Count
from tests.commands.kinds import home_with
from tests.commands.world import GENEROUS, ROOT, Done, Home, until
from tests.recipes.program import EVALUATES, Program

CREDENTIALS = """\
  genai:
    provider: openai
    admin_key: !env ADMIN
    project_id: {openai.project}
    service_account_id: {account}
    base_url: {openai.base_url}
    verify: {{successes: 1, every: 100ms}}
    late_after: 1s
  genai-oci:
    provider: oci-genai
    region: us-chicago-1
    compartment_id: {oci.compartment}
    endpoint: {oci.url}
    base_url: {oci.base_url}
    auth: {{file: oci/config}}
    verify: {{successes: 1, every: 100ms}}
    late_after: 1s
  vertex:
    provider: google
    project: {google.project}
    location: {google.location}
    base_url: {google.base_url}
    source: {{kind: service-account, file: sa.json}}
    endpoints: {{token: '{google.url}/token'}}
  partner:
    provider: static
    base_url: {openai.base_url}
    verify: {{get: /models}}
"""
ISSUED = ("genai", "genai-oci", "vertex")
KEYMAN = """\
#!/bin/sh
PYTHONPATH='{root}' exec '{python}' {site} -P -m keyman "$@"
"""


@dataclass(frozen=True)
class Machine:
    place: Home
    openai: OpenAISandbox
    clouds: tuple[OpenAISandbox | GoogleSandbox | OciGenaiSandbox, ...]
    url: str  #: where the agent answers over TCP

    @property
    def folder(self) -> Path:
        return self.place.folder

    @property
    def bin(self) -> Path:
        """Where the commands are; in `alone` as `pip install keyman` leaves them, without any of
        the packages that the daemon needs.
        """
        return self.folder / "bin"

    @property
    def variables(self) -> dict[str, str]:
        """What a user's programs start with."""
        path = os.pathsep.join((str(self.bin), str(Path(sys.executable).parent), os.defpath))
        return {
            "PATH": path,
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "SHELL": "/bin/sh",
            "PYTHONPATH": str(ROOT),
            "KEYMAN_HOME": str(self.place.state),
            "KEYMAN_CONFIG": str(self.place.config),
            **self.place.environ,
        }

    # What becomes of secrets.

    def current(self, name: str = "genai") -> str:
        return self.done("get", name).out.removesuffix("\n")

    def rotate(self, name: str = "genai", *more: str) -> str:
        """Replace it; the old one is taken for as long as they overlap. The new one."""
        self.done("rotate", name, *more)
        return self.current(name)

    def revoke(self, name: str = "genai") -> str:
        """Replace it and have the old one destroyed. The new one."""
        self.done("revoke", name, "--yes")
        return self.current(name)

    def lose(self, name: str = "genai") -> None:
        """Somebody deletes the key in use at the provider's dashboard; keyman isn't told."""
        digest = sha256(self.current(name))
        keys = self.openai.truth()["keys"]
        self.openai.dashboard.delete_key(next(k["id"] for k in keys if k["sha256"] == digest))

    def put(self, name: str = "partner") -> str:
        """A person brings the next secret of theirs; it."""
        account = self.openai.dashboard.create_account("partner")["id"]
        value = str(self.openai.dashboard.create_key(account, "by hand")["value"])
        done = self.place.keyman("put", name, stdin=value)
        assert done.status == 0, done.err
        return value

    def done(self, *words: str) -> Done:
        """What a command said that went well."""
        done = self.place.keyman(*words)
        assert done.status == 0, done.err
        return done

    def seen(self, secret: str) -> Count:
        """How often its provider took and refused it so far."""
        said = [cloud.counts()["secrets"].get(sha256(secret)) for cloud in self.clouds]
        return next((Count(each["accepted"], each["rejected"]) for each in said if each), Count())

    # Programs.

    def python(self, text: str, only: Mapping[str, str] | None = None) -> Program:
        """Run the lines, then evaluate whatever is asked, until nobody asks any more."""
        return self.program(self.evaluating(text), only)

    def evaluating(self, text: str) -> list[str]:
        return [sys.executable, "-c", text + EVALUATES]

    def program(self, command: list[str], only: Mapping[str, str] | None = None) -> Program:
        """Start a command that is asked again and again; with the user's variables or `only`."""
        return Program(command, self.variables if only is None else only, self.folder)

    def sh(self, text: str, shell: str = "/bin/sh") -> Done:
        """Run the lines in a shell, to their end."""
        return self.run([shell, "-c", text])

    def run(self, command: list[str], only: Mapping[str, str] | None = None) -> Done:
        """Run a command to its end, with the user's variables or `only` those."""
        done = subprocess.run(
            command,
            check=False,
            env=self.variables if only is None else only,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GENEROUS,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def machine() -> Iterator[Machine]:
    """One on which every credential has a secret, until the end of the block."""
    with ExitStack() as stack:
        openai, google, oci = OpenAISandbox(seed=1), GoogleSandbox(seed=1), OciGenaiSandbox(seed=1)
        clouds = (openai, google, oci)
        for sandbox in clouds:
            stack.enter_context(sandbox.serve())
        address = f"127.0.0.1:{_free_port()}"
        account = openai.dashboard.create_account("apps")["id"]
        text = CREDENTIALS.format(openai=openai, google=google, oci=oci, account=account)
        place = stack.enter_context(home_with(text, ADMIN=openai.admin_key))
        place.edit("defaults:", f"agent: {{listen: '{address}'}}\ndefaults:")
        google.files.service_account(place.folder / "sa.json")
        oci.make_profile(place.folder / "oci")
        made = Machine(place, openai, clouds, f"http://{address}")
        _install(made.bin)
        stack.enter_context(place.daemon())
        made.put()
        until(lambda: all(place.keyman("get", name).status == 0 for name in ISSUED))
        yield made


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _install(folder: Path) -> None:
    """The commands, as the package's installation leaves them."""
    folder.mkdir()
    alone = folder / "alone"
    alone.mkdir()
    for command, site in ((folder / "keyman", ""), (alone / "keyman", "-S")):
        command.write_text(KEYMAN.format(root=ROOT, python=sys.executable, site=site))
        command.chmod(0o755)
    shutil.copy(ROOT / "scripts/keyman-get", folder)
