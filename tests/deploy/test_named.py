"""What deploy/ and the Dockerfile name is there: commands, options, variables, files, keys."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from keyman.config import load
from keyman.errors import ConfigError, Error
from keyman.probe import QUESTIONS
from keyman.stores.sealing_key import CREDENTIAL
from tests.commands.world import ROOT
from tests.deploy.dockerfile import stages
from tests.servers import require
from tests.test_docs import parse

UNITS = ROOT / "deploy/systemd"
SOURCE = "".join(path.read_text() for path in sorted((ROOT / "keyman").rglob("*.py")))
TYPED = re.compile(r"(?:bin/|`|-- |exec keyman |--rm )keyman ([a-z][^`|&\n]*)")
LISTED = re.compile(r"(?:command|args|CMD|ENTRYPOINT):? (\[.*\])")
VARIABLE = re.compile(r"\bKEYMAN_\w+")
FILE = re.compile(
    r"(?<![\w/.…-])((?:docs|deploy|requirements|tests)/[\w./-]+\w|config\.example\.yaml)"
)


def files() -> list[Path]:
    found = [ROOT / "Dockerfile", ROOT / ".dockerignore"]
    return found + sorted(path for path in (ROOT / "deploy").rglob("*") if path.is_file())


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_whatever_a_file_names_is_there(file: Path) -> None:
    assert list(wrong_in(file.read_text())) == []


def wrong_in(text: str) -> Iterator[str]:
    """What nobody finds who goes by it."""
    yield from wrong_commands(text)
    variables = set(VARIABLE.findall(text))
    for name in sorted(variables):
        if not known_variable(name):
            yield f"no variable {name}"
    for path in sorted(set(FILE.findall(text))):
        if not (ROOT / path).exists():
            yield f"no file {path}"
    for fragment in re.findall(r"^#? *(\w+: \{.*\})$", text, re.MULTILINE):
        yield from wrong_keys(fragment)


def wrong_commands(text: str) -> Iterator[str]:
    named = re.sub(r"\{\{.*?\}\}", "genai", text)  # Prometheus fills that in
    typed = [shlex.split(line.rstrip(" )."), comments=True) for line in TYPED.findall(named)]
    listed = [yaml.safe_load(line) for line in LISTED.findall(text)]
    for words in [*typed, *(words for words in listed if words != ["keyman"])]:
        if "-m" in words:
            yield from wrong_module(*words[words.index("-m") + 1 :])
            continue
        try:
            parse(shlex.join(words))
        except (click.UsageError, Error) as error:
            yield f"keyman {shlex.join(words)}: {error}"


def wrong_module(name: str, *words: str) -> Iterator[str]:
    if not importlib.util.find_spec(name):
        yield f"no module {name}"
    if name == "keyman.probe" and not (len(words) == 1 and words[0] in QUESTIONS):
        yield f"{name} knows no {words}"


def known_variable(name: str) -> bool:
    if not name.startswith("KEYMAN__"):
        return f'"{name}"' in SOURCE
    return not list(wrong_variables({name: "/run/x" if name.endswith(("SOCKET", "PATH")) else "1"}))


def wrong_variables(environ: dict[str, str]) -> Iterator[str]:
    try:
        load(None, home=Path("/var/lib/keyman"), environ=environ)
    except ConfigError as error:
        yield from (line for line in error.problems if "unknown" in line)


def wrong_keys(fragment: str) -> Iterator[str]:
    """Of a line of keyman's configuration, in a remark."""
    [(key, value)] = yaml.safe_load(fragment.replace("…", "")).items()
    if key in ("store", "agent", "log"):
        yield from wrong_variables({f"KEYMAN__{key.upper()}": json.dumps(value)})


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        ("ExecStart=/opt/keyman/bin/keyman deamon", "keyman deamon: there is no command deamon"),
        ("ExecReload=/opt/keyman/bin/keyman reload --now", "No such option '--now'"),
        ("kubectl exec keyman-0 -- keyman client add a --alow b", "No such option '--alow'"),
        ("args: [demon]", "there is no command demon"),
        ('CMD ["daemon", "--onse"]', "No such option '--onse'"),
        ("command: [python, -P, -m, keyman.prob, /healthz]", "no module keyman.prob"),
        ("command: [python, -P, -m, keyman.probe, /health]", "keyman.probe knows no ('/health',)"),
        ("Environment=KEYMAN_HOMES=%S/keyman", "no variable KEYMAN_HOMES"),
        ("ENV KEYMAN__AGENT__SOKET=/run/x", "no variable KEYMAN__AGENT__SOKET"),
        ("# see docs/deploing.md", "no file docs/deploing.md"),
        ("#     store: {key: {kynd: systemd-credential}}", "kynd"),
    ],
)
def test_a_misspelling_is_seen(planted: str, says: str) -> None:
    [found] = wrong_in(planted)
    assert says in found


# ------------------------------------------------------------------------------- configurations


@pytest.mark.parametrize("which", ["compose", "kubernetes"])
def test_the_configurations_load(which: str, tmp_path: Path) -> None:
    copied = shutil.copy(ROOT / "deploy" / which / "config.yaml", tmp_path)
    image = stages(ROOT / "Dockerfile")[-1].environment
    settings = load(Path(copied), home=tmp_path / "home", environ=image)
    assert list(settings.credentials) == ["genai"]
    assert settings.agent.socket == Path("/run/keyman/agent.sock")


def test_the_kubernetes_configuration_is_found_where_it_names_its_files() -> None:
    """Each of them lies in something that the pod mounts, and comes under that name."""
    folder = ROOT / "deploy/kubernetes"
    pod = yaml.safe_load((folder / "statefulset.yaml").read_text())["spec"]["template"]["spec"]
    [container] = pod["containers"]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    made = (folder / "kustomization.yaml").read_text()
    for path in re.findall(r"/etc/keyman-[\w/.-]+\w", (folder / "config.yaml").read_text()):
        above, _, name = path.rpartition("/")
        assert mounts[above] in {each["name"] for each in pod["volumes"]}
        assert f"={name}" in made, path
    told = {each["name"]: each["value"] for each in container["env"]}
    assert mounts[told["CREDENTIALS_DIRECTORY"]] == "credentials"
    assert f"--from-file={CREDENTIAL} " in made


def test_kubernetes_manifests_refer_to_each_other() -> None:
    folder = ROOT / "deploy/kubernetes"
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())
    others = {path.name for path in folder.iterdir()} - {"kustomization.yaml", "config.yaml"}
    assert set(listed["resources"]) == others
    found: dict[str, Any] = {
        each["kind"]: each
        for each in (yaml.safe_load((folder / name).read_text()) for name in others)
    }
    [port] = found["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    [served] = found["Service"]["spec"]["ports"]
    [ingress] = found["NetworkPolicy"]["spec"]["ingress"]
    assert port["name"] == served["targetPort"] == ingress["ports"][0]["port"]
    assert f":{served['port']}\n" in (folder / "config.yaml").read_text()
    assert found["StatefulSet"]["spec"]["serviceName"] == found["Service"]["metadata"]["name"]
    assert found["StatefulSet"]["spec"]["replicas"] == 1


def test_what_the_network_policy_may_let_out_besides_is_a_few_marks_away() -> None:
    """Mail, a vault, a proxy: whoever needs one takes away the # before it, and nothing else."""
    text = (ROOT / "deploy/kubernetes/networkpolicy.yaml").read_text()
    opened = re.sub(r"(?m)^    # (?=- ports:|    )", "    ", text)
    usual, all_of_it = (
        [port["port"] for rule in yaml.safe_load(said)["spec"]["egress"] for port in rule["ports"]]
        for said in (text, opened)
    )
    assert usual == [53, 53, 443]
    assert all_of_it == [*usual, 587, 465, 8200, 3128]


# ------------------------------------------------------------------------------------- systemd


@pytest.mark.parametrize(("unit", "manager"), [("", "--system"), ("user", "--user")])
def test_systemd_finds_nothing_wrong(unit: str, manager: str, tmp_path: Path) -> None:
    """Nor much that it would take away besides."""
    command = shutil.which("systemd-analyze")
    require("systemd-analyze", found=command, hint="apt-get install systemd")
    assert command
    text = (UNITS / unit / "keyman.service").read_text()
    file = tmp_path / "keyman.service"
    file.write_text(re.sub(r"=\S+/bin/keyman", f"={shutil.which('true')}", text))
    environ = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    asked = [command, "verify", manager, str(file)]
    ran = subprocess.run(asked, env=environ, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    if unit:
        return
    exposed = [command, "security", "--offline=yes", "--threshold=20", "--no-pager", str(file)]
    judged = subprocess.run(exposed, check=False, capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout


def test_the_user_s_unit_keeps_what_needs_no_mounts() -> None:
    """Whatever is in it stands in the service's as well, but for where keyman lies."""
    system, user = (
        {line for line in (UNITS / part / "keyman.service").read_text().splitlines() if "=" in line}
        for part in ("", "user")
    )
    assert {line.partition("=")[0] for line in user - system} == {
        *("ExecStart", "ExecReload", "WantedBy"),
    }


def test_the_credentials_have_the_names_that_keyman_asks_for() -> None:
    text = (UNITS / "credentials.conf").read_text()
    assert f"--name={CREDENTIAL} " in text
    assert f"\nLoadCredentialEncrypted={CREDENTIAL}:" in text
