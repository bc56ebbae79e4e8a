"""The image: what its Dockerfile says, and, where somebody asks for it, what that comes to."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path

import oci
import pytest
import yaml

from tests.commands.world import ROOT, until
from tests.deploy.container import IMAGE, USER, container, volume
from tests.deploy.dockerfile import stages
from tests.deploy.dockerignore import context
from tests.deploy.scratch import scratch_image
from tests.test_house import entries

BUILD, FINAL = stages(ROOT / "Dockerfile")
PROJECT = (ROOT / "pyproject.toml").read_text()


def test_nobody_in_it_is_root() -> None:
    assert FINAL.given("USER") == [f"{USER}:{USER}"]
    [made] = [step for step in FINAL.given("RUN") if "useradd" in step]
    assert f"--uid {USER} --gid {USER}" in made


def test_manifests_name_its_user() -> None:
    pod = yaml.safe_load((ROOT / "deploy/kubernetes/statefulset.yaml").read_text())
    who = pod["spec"]["template"]["spec"]["securityContext"]
    assert (who["runAsUser"], who["runAsGroup"], who["fsGroup"]) == (USER, USER, USER)
    assert f"chown -R {USER}:{USER} oci" in (ROOT / "deploy/compose/compose.yaml").read_text()


def test_both_stages_have_the_python_that_the_tests_run() -> None:
    assert BUILD.base == FINAL.base == "python:${PYTHON}"
    assert "ARG PYTHON=3.11-" in (ROOT / "Dockerfile").read_text()
    assert 'requires-python = ">=3.11"' in PROJECT


def test_packages_come_by_hash_and_as_wheels() -> None:
    installs = [step for step in BUILD.given("RUN") if "pip install" in step]
    assert "--only-binary :all: --require-hashes -r packages.lock" in installs[0]
    assert "--no-index --no-deps dist/*.whl" in installs[1]
    assert len(installs) == 2
    assert not any("pip install" in step for step in FINAL.given("RUN"))


def test_what_builds_wheels_is_not_left_in_it() -> None:
    """hatchling, and whatever the lock has for its sake alone."""
    gone = re.findall(r"pip uninstall --yes ([\w -]+?)(?: &&|$)", BUILD.given("RUN")[-1])
    wanted = {"hatchling"}
    needs = {entry.split("==")[0]: needed_by(entry) for entry in entries_with_remarks()}
    while more := {name for name, by in needs.items() if by and by <= wanted} - wanted:
        wanted |= more
    assert set(" ".join(gone).split()) == wanted | {"pip", "setuptools"}
    assert "uninstall --yes" in FINAL.given("RUN")[0]


def entries_with_remarks() -> list[str]:
    text = (ROOT / "requirements/daemon.lock").read_text()
    return [entry for entry in re.split(r"\n(?=\w)", text) if "==" in entry.split("\n")[0]]


def needed_by(entry: str) -> set[str]:
    via = entry.partition("# via")[2]
    return {re.split(r"[ (]", line.strip(" #"))[0] for line in via.splitlines() if line.strip(" #")}


def test_the_lock_reads_as_it_is_read_here() -> None:
    names = {entry.split("==")[0] for entry in entries(ROOT / "requirements/daemon.lock")}
    assert {entry.split("==")[0] for entry in entries_with_remarks()} == names


@pytest.mark.slow
def test_no_part_of_oracle_s_sdk_is_missed() -> None:
    """What keyman imports of it, and what those parts import themselves."""
    [drops] = [step for step in BUILD.given("RUN") if "*/models" in step]
    kept = set(re.findall(r"([\w|]+)\) ;;", drops)[0].split("|"))
    every = {path.parent.name for path in SDK.glob("*/models")}
    base = [part for part in SDK.iterdir() if part.name not in every | ASKED_FOR_BY_NAME]
    stays = [path for part in base for path in code_of(part)]
    ours = sorted((ROOT / "keyman").rglob("*.py"))
    used = {name for path in [*ours, *stays] for name in imported(path)} & every
    while more := {name for service in used for name in of_service(service)} & every - used:
        used |= more
    assert used == kept


SDK = Path(oci.__file__).parent
ASKED_FOR_BY_NAME = {"addons", "encryption"}  # nothing of the SDK's own imports them


def code_of(part: Path) -> list[Path]:
    """Without what only says which names there are: `__init__` has all, and is asked for one."""
    every = [part] if part.suffix == ".py" else part.glob("[!m]*/**/*.py")
    return [path for path in [*every, *part.glob("*.py")] if path != SDK / "__init__.py"]


def of_service(service: str) -> set[str]:
    """Models import each other only, and are very many."""
    return {name for path in code_of(SDK / service) for name in imported(path)}


def imported(path: Path) -> set[str]:
    """The parts of `oci` that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if is_part(name.name)}
        elif isinstance(node, ast.ImportFrom):
            above = path.relative_to(SDK).parts[: -node.level] if node.level else ()
            start = ".".join(("oci", *above) if node.level else ())
            whole = ".".join(filter(None, (start, node.module)))
            names = [f"{whole}.{name.name}" for name in node.names]
            found |= {name.split(".")[1] for name in names if is_part(name)}
    return found


def is_part(name: str) -> bool:
    return name.startswith("oci.")


def test_the_context_has_what_the_wheel_is_made_of_and_nothing_else() -> None:
    names = context(ROOT)
    assert {name.split("/")[0] for name in names} == {
        *("LICENSE", "README.md", "config.example.yaml", "deploy", "keyman", "migrations"),
        *("pyproject.toml", "requirements", "scripts"),
    }
    included = re.findall(r'^"([\w./-]+)" = "', PROJECT, re.MULTILINE)
    assert included
    for path in included:
        assert any(name == path or name.startswith(f"{path}/") for name in names), path
    assert BUILD.given("ARG")[0].split("=")[1] in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("KEYMAN_BUILDS_IMAGE"),
    reason="fetches packages: KEYMAN_BUILDS_IMAGE=1 .venv/bin/pytest tests/deploy/test_image.py",
)
def test_its_steps_come_to_something_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    """Carried out one by one; then a demo, as process 1, on a root that is read-only."""
    with scratch_image() as box:
        box.done("umount", "-l", "/opt/python")
        for name in ("pip", "pip3", "hatchling"):
            looks = f"test ! -e /opt/keyman/bin/{name} -a ! -e /usr/local/bin/{name}"
            assert box.run("sh", "-c", looks).status == 0
        size = box.done("du", "-sm", "/opt/keyman").split()[0]
        with capsys.disabled():
            print(f"\n/opt/keyman: {size} MB")
        volume(box, "/var/lib/keyman", "0700", f"{USER}:{USER}")
        box.write("/etc/keyman/config.yaml", "{}\n")
        with container(box, IMAGE.command, {}) as one:
            until(lambda: one.exec(*IMAGE.health).status == 0, one.log.read_text)
            assert one.exec("keyman", "status").status == 0
            shown = one.exec("keyman", "demo", "--rotations", "1", "--seconds", "60", "--json")
            assert shown.status == 0, shown.err
            assert json.loads(shown.out)["rejected"] == 0
            everything = "import oci.auth.signers, oci.vault, oci.secrets, oci.generative_ai"
            assert one.exec("python", "-P", "-c", everything).status == 0
            assert one.stop() == 0
