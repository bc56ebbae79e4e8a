"""What a person types and sees: tests/transcripts/*.txt, run against the real command.

    $ keyman get nobody          typed into a shell; what it prints on standard output follows,
    2> keyman: error: …          its standard error marked so,
    [exit 3]                     and the status unless it is 0
    % console revoke key-one     something that happens elsewhere (WORLD below)
    # …                          a remark

Each transcript has a home of its own; all share one sandbox. What differs from run to run is
written as a placeholder (MASKS), and columns are held apart by two spaces, however wide.

KEYMAN_TRANSCRIPTS=write pytest tests/test_transcripts.py writes what is seen into the files: read
the difference before you keep it.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from keyman import __version__
from keyman.cli import AT_ONCE
from keyman.cli.main import COMMANDS, keyman
from tests.commands.forked import stub
from tests.commands.world import COMPARTMENT, GENEROUS, ROOT, Cloud, Home, cloud, home
from tests.notify.receiver import receiver

ALONE = "ocid1.compartment.oc1..alone"
FILES = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
LONG = {"backup", "demo", "env", "notify", "put", "silent", "store", "write"}
REWRITE = os.environ.get("KEYMAN_TRANSCRIPTS") == "write"
COMMAND = """\
#!/bin/sh
case "$1" in
{at_once}|demo) exec {python} -P -m keyman "$@" ;;
*) exec {python} -IS {folder}/forked.py "$@" ;;
esac
"""
SPAN = r"\d+(?:ms|[dhms])(?: \d+[hms])?"
MASKS = (
    (re.escape(__version__), "<version>"),
    (r"sk-sandbox-\w{48}", "<secret>"),
    (r"hmac:[0-9a-f]{12}", "<fingerprint>"),
    (r"kmc_[\w-]{43}", "<token>"),
    (r"ocid1\.generativeaiapikey\.[\w.-]+", "<key>"),
    (r", request [A-Za-z0-9/_-]+", ", request <request>"),
    (r"\b[0-9a-f]{64}\b", "<hash>"),
    (r"\b[0-9a-f]{32}\b", "<order>"),
    (r"before-restore-\w+-[0-9a-f]{6}", "before-restore-<time>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(?:Z| UTC)", "<date>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<moment>"),
    (rf"  {re.escape(pwd.getpwuid(os.getuid()).pw_name)} (?= )", "  <user> "),
    (r"  (?:\d+ms|\d+\.\ds)(?=  |$)", "  <took>"),
    (rf"\bin {SPAN}", "in <span>"),
    (rf"\b{SPAN} ago", "<span> ago"),
    (r"\b\d+ s after", "<n> s after"),
    (r"127\.0\.0\.1:\d+", "<sandbox>"),
    (rf"{re.escape(tempfile.gettempdir())}/keyman-test-\w+/oci", "<oci>"),
    (r"\(pid \d+\)", "(pid <pid>)"),
    (r" {2,}", "  "),
    (r" +$", ""),
)


class World:
    """A home and what may happen around it. Each method is a `%` line's first word."""

    def __init__(self, home: Home, around: ExitStack) -> None:
        self.home = home
        self._around = around
        self._key = ""

    def started(self) -> None:
        """The first version is there; no daemon runs."""
        self._knows(self.home.start())

    def daemon(self) -> None:
        """A daemon runs until the transcript ends."""
        self._around.enter_context(self.home.daemon())

    def by_hand(self) -> None:
        """Somebody made a key in the console; the configuration names it. $SECRET is key-one's."""
        key, secrets = self.home.cloud.by_hand()
        self.home.configure(api_key_id=key)
        self.home.environ["SECRET"] = secrets["key-one"]
        self._knows(key)

    def nothing(self) -> None:
        """No configuration yet; a profile of OCI's lies where its tools would put it. $URL leads to
        the sandbox.
        """
        self.home.config.unlink()
        self.home.environ["OCI_CONFIG_FILE"] = str(self.home.cloud.profile)
        self.home.environ["URL"] = self.home.cloud.url

    def alone(self) -> None:
        """In a compartment that no other transcript has keys in."""
        self.home.edit(f"compartment_id: {COMPARTMENT}", f"compartment_id: {ALONE}")

    def elsewhere(self, name: str) -> None:
        """Somebody makes a key of that name there."""
        self.home.cloud.ask("POST", "keys", {"name": name, "compartment": ALONE})

    def partner(self) -> None:
        """Somebody else's API beside it, whose secrets come by hand."""
        static = "  partner:\n    provider: static\n    base_url: https://api.example.com/v1\n"
        self.home.config.write_text(self.home.config.read_text() + static)

    def hook(self) -> None:
        """Two are told what happens: a webhook that answers, and one that is not there."""
        hook = self._around.enter_context(receiver())
        told = f"- {{url: '{hook.url('Token1234')}', name: on-call}}\n"
        about = "events: [down, ok], credentials: [genai], name: json"
        gone = f"- {{url: 'json://127.0.0.1:9/Token5678', {about}}}\n"
        self.home.config.write_text(f"notify:\n{told}{gone}{self.home.config.read_text()}")

    def console(self, action: str, slot: str) -> None:
        """A person changes a slot in the provider's console."""
        self.home.cloud.console(action, self._key, slot)

    def held(self) -> None:
        """Some process holds the home's lock and answers nobody."""
        self.home.state.mkdir(mode=0o700, exist_ok=True)
        lock = self._around.enter_context((self.home.state / "daemon.lock").open("w"))
        lock.write("4711 daemon")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)

    def refuses(self, operation: str) -> None:
        """The provider answers 403 to this call from now on."""
        fault = {"effect": "status", "status": 403, "operation": operation}
        self.home.cloud.ask("POST", "faults", fault)
        self._around.callback(self.home.cloud.ask, "DELETE", "faults")

    def _knows(self, key: str) -> None:
        self._key = key


@pytest.fixture(scope="module")
def sky() -> Iterator[Cloud]:
    with cloud() as made:
        yield made


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, id=file.stem, marks=[pytest.mark.slow] * (file.stem in LONG))
        for file in FILES
    ],
)
def test_transcript(file: Path, sky: Cloud, tmp_path: Path) -> None:
    written = file.read_text()
    with home(sky) as place, ExitStack() as around:
        place.environ["PATH"] = f"{command_in(tmp_path)}:{os.environ['PATH']}"
        world = World(place, around)
        seen = "".join(f"{line}\n" for line in replay(written.splitlines(), world))
    if REWRITE:
        file.write_text(seen)
    assert seen == written


def command_in(folder: Path) -> Path:
    """A folder to put first in PATH: `keyman` runs this checkout, as a fork where none can tell."""
    script = folder / "keyman"
    stub("keyman", folder / "forked.py")
    script.write_text(
        COMMAND.format(python=sys.executable, at_once="|".join(AT_ONCE), folder=folder)
    )
    script.chmod(0o755)
    return folder


def replay(lines: list[str], world: World) -> Iterator[str]:
    """The transcript as it is seen now."""
    for line in lines:
        if line.startswith(("#", "%")):
            yield line
        if line.startswith("% "):
            word, *given = line[2:].split()
            happens: Callable[..., None] = getattr(world, word)
            happens(*given)
        if line.startswith("$ "):
            yield line
            yield from typed(line[2:], world)


def typed(line: str, world: World) -> Iterator[str]:
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        env=world.home.variables,
        cwd=world.home.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=GENEROUS,
        check=False,
    )
    yield from (masked(said, world) for said in done.stdout.splitlines())
    yield from (masked(f"2> {said}", world) for said in done.stderr.splitlines())
    if done.returncode:
        yield f"[exit {done.returncode}]"


def masked(line: str, world: World) -> str:
    line = line.replace(str(world.home.state), "<home>").replace(str(world.home.folder), "<folder>")
    line = line.replace(str(ROOT), "<keyman>")
    for pattern, placeholder in MASKS:
        line = re.sub(pattern, placeholder, line)
    return line


def test_every_command_has_a_transcript() -> None:
    lines = [line for file in FILES for line in file.read_text().splitlines()]
    typed_lines = "\n".join(line for line in lines if line.startswith("$"))
    assert [name for name in COMMANDS if f"keyman {name}" not in typed_lines] == []


def test_every_command_has_an_example() -> None:
    context = click.Context(keyman)
    helps = {name: keyman.get_command(context, name) for name in COMMANDS}
    texts = {name: command.help or "" for name, command in helps.items() if command}
    texts |= {"demo --seconds": keyman.help or ""}
    assert [name for name, text in texts.items() if f"keyman {name.split()[0]}" not in text] == []
