"""Services and containers. Their managers are not here: units and manifests are read by the tools
that judge them where those are installed, and the commands in them are run in their environment.
"""

from __future__ import annotations

import base64
import configparser
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from keyman.sandbox.keys import sha256
from tests.commands.world import GENEROUS
from tests.recipes.page import Block
from tests.recipes.program import Program, here
from tests.recipes.world import Machine

SHOWS = """\
#!/bin/sh
trap 'exit 0' TERM
printf %s "$OPENAI_API_KEY" | sha256sum | cut -d' ' -f1
while read -r _; do :; done
"""
DIGEST_OF_FILE = "while read -r _; do sha256sum < {file} | cut -d' ' -f1; done"


@pytest.fixture
def app(box: Machine) -> Iterator[Path]:
    """A service's program: says which secret it was started with."""
    program = box.folder / "app"
    program.write_text(SHOWS)
    program.chmod(0o755)
    yield program
    program.unlink()


# ----------------------------------------------------------------------------------------- systemd


def test_systemd_runs_the_service(
    box: Machine, pasted: list[Block], app: Path, tmp_path: Path
) -> None:
    unit = unit_in(box, pasted[0], {"/opt/app/bin/app": app}, tmp_path / "app.service")
    with box.program(**started(unit)) as service:
        assert service.says() == sha256(box.current())
        new = box.rotate()
        assert service.says() == sha256(new)


def test_systemd_keeps_a_file(box: Machine, pasted: list[Block], app: Path, tmp_path: Path) -> None:
    kept = box.folder / "app-secrets"
    kept.mkdir()
    writer, reader = pasted
    there = {"/run/app-secrets": kept}
    unit = unit_in(box, writer, there, tmp_path / "app-secrets.service")
    begins = started(unit, "ExecStartPre")
    assert box.run(**begins).status == 0
    assert (kept / "genai").read_text() == box.current()  # the program's own unit may start now
    box.revoke()
    with box.program(**started(unit)) as service:
        for comes in (box.current, box.revoke):
            secret = comes()
            service.until_it_says("written to")
            assert (kept / "genai").read_text() == secret
    as_lines = ["dotenv" if word == "raw" else word for word in begins["command"]]
    assert box.run(as_lines, begins["only"]).status == 0
    assert f"OPENAI_API_KEY={box.current()}\n" in (kept / "genai").read_text()
    names = {**there, "/opt/app/bin/app": app}
    program = unit_in(box, reader, names, tmp_path / "app.service")
    name, _, file = program["Service"]["LoadCredential"].partition(":")
    assert (name, file) == ("genai", str(kept / "genai"))
    assert program["Unit"]["Requires"] == "app-secrets.service"


def unit_in(
    box: Machine, block: Block, names: dict[str, Path], file: Path
) -> configparser.ConfigParser:
    """The unit with its paths filled in, after systemd's own judgement of it."""
    ours = {"/run/keyman": box.place.state, "/opt/keyman/bin": box.bin}
    given = {old: new for old, new in {**ours, **names}.items() if old in block.text}
    file.write_text(block.filled(given))
    if found := shutil.which("systemd-analyze"):
        judged = subprocess.run(
            [found, "verify", str(file)], check=False, capture_output=True, text=True
        )
        assert (judged.returncode, judged.stderr) == (0, "")
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(file.read_text())
    return unit


def started(unit: configparser.ConfigParser, line: str = "ExecStart") -> dict[str, Any]:
    """As systemd starts it: no shell, and hardly any environment."""
    service = unit["Service"]
    name, _, value = service["Environment"].partition("=")
    poor = {"PATH": os.defpath, name: value}
    return {"command": shlex.split(service[line]), "only": poor}


# -------------------------------------------------------------------------------------- containers


def test_compose_with_the_socket(box: Machine, pasted: list[Block]) -> None:
    """The folder mounted read-only is enough to connect, and to hear at the next call."""
    service = yaml.safe_load(pasted[0].text)["services"]["app"]
    source, target, mode = service["volumes"][0].split(":")
    assert (source, mode) == ("/run/keyman", "ro")
    lines = f"mount -t tmpfs none /run && mkdir {target} && {mounted(box.place.state, target)}"
    poor = {"PATH": os.defpath, "PYTHONPATH": box.variables["PYTHONPATH"]}
    with inside(box, lines, box.evaluating("import keyman\n"), only=poor) as app:
        for comes in (box.current, box.revoke):
            secret = comes()
            assert app.ask("keyman.get('genai')") == secret


def test_compose_secrets(box: Machine, pasted: list[Block]) -> None:
    """What is mounted is a file, and the next secret is another file of that name."""
    line, compose = pasted
    read = yaml.safe_load(compose.text)
    file = read["secrets"]["genai"]["file"]
    assert file.removeprefix("./") in line.text
    assert read["services"]["app"]["environment"]["OPENAI_API_KEY_FILE"] == "/run/secrets/genai"
    (box.folder / "secrets").mkdir()
    assert box.sh(line.text).status == 0
    old = box.current()
    one = f"touch one && mount --bind {file} one"
    folder = f"mkdir two && {mounted('secrets', 'two')}"
    digests = DIGEST_OF_FILE.format
    with (
        inside(box, one, ["/bin/sh", "-c", digests(file="one")]) as by_file,
        inside(box, folder, ["/bin/sh", "-c", digests(file="two/genai")]) as by_folder,
    ):
        assert by_file.ask() == by_folder.ask() == sha256(old)
        new = box.rotate()
        assert box.sh(line.text).status == 0
        assert (by_file.ask(), by_folder.ask()) == (sha256(old), sha256(new))


def mounted(source: object, target: str) -> str:
    return f"mount --bind {source} {target} && mount -o remount,bind,ro {target}"


def inside(box: Machine, lines: str, command: list[str], **how: Any) -> Program:
    """Run a command where these lines have changed what is mounted, for it alone."""
    alone = ["unshare", "--map-root-user", "--mount"]
    works = subprocess.run([*alone, "true"], check=False, capture_output=True).returncode == 0
    here("a mount namespace of our own", works, "sudo .venv/bin/pytest tests/recipes")
    return box.program([*alone, "sh", "-c", f'{lines} && exec "$@"', "sh", *command], **how)


# -------------------------------------------------------------------------------------- Kubernetes


def test_kubernetes_client(box: Machine, pasted: list[Block]) -> None:
    here("kubectl", shutil.which("kubectl"), "apt-get install kubernetes-client")
    made = box.sh(f"{pasted[0].text.rstrip()} --dry-run=client -o json")
    token = base64.b64decode(json.loads(made.out)["data"]["token"]).decode()
    asked = {"KEYMAN_URL": box.url, "KEYMAN_TOKEN": token, "PATH": os.defpath}
    keyman = str(box.bin / "alone/keyman")
    assert box.run([keyman, "get", "genai"], asked).out == f"{box.current()}\n"
    assert box.run([keyman, "get", "vertex"], asked).status == 3


def test_kubernetes_environment(
    box: Machine, pasted: list[Block], app: Path, token: Path, tmp_path: Path
) -> None:
    pod = manifest(pasted[0], tmp_path)
    [container] = pod["spec"]["containers"]
    with running(box, container, token, {"/app/server": app}) as server:
        assert server.says() == sha256(box.current())
        new = box.rotate()
        assert server.says() == sha256(new)


def test_kubernetes_file(box: Machine, pasted: list[Block], token: Path, tmp_path: Path) -> None:
    pod = manifest(pasted[0], tmp_path)
    [sidecar], [container] = pod["spec"]["initContainers"], pod["spec"]["containers"]
    file = container["env"][0]["value"]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert str(Path(file).parent) in mounts
    there = {file: tmp_path / "genai"}
    probe = [str(there.get(word, word)) for word in sidecar["startupProbe"]["exec"]["command"]]
    assert box.run(probe).status != 0
    with running(box, sidecar, token, there) as writer:
        for comes in (box.current, box.revoke):
            secret = comes()
            writer.until_it_says("written to")
            assert (tmp_path / "genai").read_text() == secret
            assert box.run(probe).status == 0


@pytest.fixture
def token(box: Machine, tmp_path: Path) -> Path:
    """What the pod is given to look up with; no more than the page says."""
    file = tmp_path / "token"
    file.write_text(
        box.done("client", "add", tmp_path.name.replace("_", "-"), "--allow", "genai").out
    )
    return file


def running(
    box: Machine, container: dict[str, Any], token: Path, there: dict[str, Path]
) -> Program:
    """As the container's runtime starts it, from an image with the client and nothing else."""
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["KEYMAN_TOKEN_FILE"] == "/run/keyman/token"
    assert environment["KEYMAN_URL"].startswith("https://")
    poor = {"PATH": f"{box.bin / 'alone'}:{os.defpath}"}
    poor |= {"KEYMAN_URL": box.url, "KEYMAN_TOKEN_FILE": str(token)}
    command = [str(there.get(word, word)) for word in container["command"]]
    return box.program(command, poor)


def manifest(block: Block, tmp_path: Path) -> dict[str, Any]:
    """The pod. Where kubectl is installed nothing in it may be unknown to that."""
    read: dict[str, Any] = yaml.safe_load(block.text)
    file = tmp_path / "pod.yml"
    file.write_text(block.text)
    if found := shutil.which("kubectl"):
        command = [found, "set", "image", "--local", "-f", str(file), "*=other", "-o", "json"]
        said = subprocess.run(command, check=True, capture_output=True, timeout=GENEROUS).stdout
        known = set(leaves(json.loads(said)))
        assert [leaf for leaf in leaves(read) if leaf not in known and leaf[-2] != "image"] == []
    return read


def leaves(of: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    if isinstance(of, dict | list):
        for key, value in of.items() if isinstance(of, dict) else enumerate(of):
            yield from leaves(value, *path, key)
    else:
        yield (*path, of)
