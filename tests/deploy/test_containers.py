"""The manifests for Compose and Kubernetes: what they start, started as they say, in a sandbox."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands.test_daemon import BUSY, PROMPT
from tests.commands.world import COMPARTMENT, ROOT, Cloud, until
from tests.deploy.box import Box, boxed
from tests.deploy.container import IMAGE, USER, Container, container, volume
from tests.serving.tcp_world import Authority

DEPLOY = ROOT / "deploy"
APPLICATION, STRANGER = 10002, 10003


@pytest.fixture(scope="module")
def machine() -> Iterator[Box]:
    with boxed() as one:
        yield one


def configured(text: str, sky: Cloud) -> str:
    """The example's configuration, with the sandbox in place of the cloud."""
    fast = "verify: {successes: 1, every: 100ms, within: 120s}"
    where = f"endpoint: {sky.url}\n    base_url: {sky.url}/20231130/actions/v1\n    {fast}"
    told = text.replace("ocid1.compartment.oc1..your-compartment", COMPARTMENT)
    assert told != text
    return f"{told.rstrip()}\n    {where}\n"


def works(one: Container) -> None:
    """As soon as there is a first version, and until it is asked to stop."""
    until(lambda: one.exec("keyman", "get", "genai").status == 0, one.log.read_text)
    assert one.exec(*IMAGE.health).status == 0
    receipt = json.loads(one.exec("keyman", "rotate", "genai", "--json").out)
    assert receipt["state"] == "done"
    said = one.log.read_text()
    assert "may read this one's memory" not in said
    assert "was open to others" not in said


def ends(one: Container) -> None:
    began = time.monotonic()
    assert one.stop() == 0, one.log.read_text()
    assert time.monotonic() - began < PROMPT + BUSY


# --------------------------------------------------------------------------------------- Compose


@pytest.mark.slow
def test_compose(machine: Box, sky: Cloud) -> None:
    """Both services, over the folder that they share."""
    compose = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    keyman, app = compose["services"]["keyman"], compose["services"]["app"]
    assert app["user"] == f"{APPLICATION}:{APPLICATION}"
    for source, target, *_ in (each.split(":") for each in keyman["volumes"]):
        if source in compose["volumes"]:  # made as the image has that folder
            mode = "0700" if source == "state" else "0755"
            volume(machine, target, mode, f"{USER}:{USER}")
        elif source == "./config.yaml":
            text = (DEPLOY / "compose" / source).read_text()
            machine.write(target, configured(text, sky))
        else:
            machine.shared(sky.profile, target)
            machine.done("chown", "-R", f"{USER}:{USER}", target)
    with container(machine, IMAGE.command, keyman.get("environment", {})) as one:
        works(one)
        asks = [*IMAGE.command[:1], *app["command"]]
        inside, told = one.inside, one.variables
        assert inside.run(*asks, uid=APPLICATION, environ=told).out.startswith(sky.url)
        assert inside.run(*asks, uid=STRANGER, environ=told).status == 5
        ends(one)
        assert machine.path("/var/lib/keyman/home/keyman.db").exists()


# ------------------------------------------------------------------------------------ Kubernetes


def manifest(name: str) -> Any:
    return yaml.safe_load((DEPLOY / "kubernetes" / f"{name}.yaml").read_text())


@pytest.mark.slow
def test_kubernetes(machine: Box, sky: Cloud, tmp_path: Path) -> None:
    """The pod with its volumes, the probes, an application elsewhere, and another pod after it."""
    pod = manifest("statefulset")["spec"]["template"]["spec"]
    [spec] = pod["containers"]
    for mount in spec["volumeMounts"]:
        path = mount["mountPath"]
        if mount["name"] in ("credentials", "tls", "config"):
            machine.done("rm", "-rf", path)
            volume(machine, path, "0755")
        else:
            volume(machine, path, "2775")
    filled(machine, sky, tmp_path)
    told = {each["name"]: each["value"] for each in spec["env"]}
    command = [IMAGE.command[0], *spec["args"]]
    with container(machine, command, told) as one:
        until(lambda: probe(one, spec, "startupProbe") == 0, one.log.read_text)
        works(one)
        assert probe(one, spec, "livenessProbe") == probe(one, spec, "readinessProbe") == 0
        token = one.exec("keyman", "client", "add", "app", "--allow", "genai").out.strip()
        asked = {"KEYMAN_URL": "https://keyman.keyman.svc:8425", "KEYMAN_TOKEN": token}
        asked |= {"KEYMAN_CA_BUNDLE": "/srv/ca.pem", "PATH": "/opt/keyman/bin:/usr/bin:/bin"}
        here = one.exec("keyman", "get", "genai").out
        got = machine.run("keyman", "get", "genai", uid=APPLICATION, environ=asked)
        assert got.out == here
        ends(one)
    assert not list(machine.path("/var/lib/keyman/home").glob("store.key"))
    with container(machine, command, told) as another:
        until(lambda: probe(another, spec, "readinessProbe") == 0, another.log.read_text)
        assert another.exec("keyman", "get", "genai").out == here
        assert "WARNING" not in another.log.read_text()


def filled(machine: Box, sky: Cloud, folder: Path) -> None:
    """What the remarks in kustomization.yaml have a person make, as a kubelet mounts it."""
    authority = Authority(folder)
    issued = authority.issue("keyman", "keyman.keyman.svc")
    certificate = {"tls.crt": issued.cert.read_text(), "tls.key": issued.key.read_text()}
    machine.write("/srv/ca.pem", authority.file.read_text())
    machine.write("/etc/hosts", "127.0.0.1 localhost keyman.keyman.svc\n")
    mounted(machine, "/etc/keyman-tls", certificate, 0o440)
    store_key = machine.done("sh", "-c", "head -c 32 /dev/urandom | base64")
    [key_file] = sky.profile.parent.glob("*.pem")
    named = sky.profile.read_text().replace(str(key_file), "/etc/keyman-credentials/oci-key.pem")
    files = {
        "keyman-store-key": store_key,
        "oci-config": named,
        "oci-key.pem": key_file.read_text(),
    }
    mounted(machine, "/etc/keyman-credentials", files, 0o440)
    config = configured((DEPLOY / "kubernetes/config.yaml").read_text(), sky)
    mounted(machine, "/etc/keyman", {"config.yaml": config}, 0o644)


def mounted(machine: Box, path: str, files: dict[str, str], mode: int) -> None:
    """Root's, for the pod's group; each name is a link into a folder that is changed as a whole."""
    for name, text in files.items():
        machine.write(f"{path}/..2026/{name}", text, mode)
        machine.path(f"{path}/{name}").symlink_to(f"..data/{name}")
    machine.path(f"{path}/..data").symlink_to("..2026")
    machine.done("chown", "-R", "root:10001", path)


def probe(one: Container, spec: Any, which: str) -> int:
    return one.exec(*spec[which]["exec"]["command"]).status
