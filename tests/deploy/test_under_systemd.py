"""The unit as it is in deploy/systemd, run by a real systemd, against the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from keyman import client
from keyman.errors import Error
from tests.commands.world import COMPARTMENT, CONFIG, ROOT, Cloud, Done, until
from tests.deploy.booted import Machine, booted

UNITS = ROOT / "deploy/systemd"
HOME, SOCKET, CONFIGURATION = "/var/lib/keyman", "/run/keyman/agent.sock", "/etc/keyman/config.yaml"
KEYMAN, LOG = "/opt/keyman/bin/keyman", "/run/keyman.log"
CREDENTIALS = "/run/credentials/keyman.service"
ALLOWED, STRANGER = 4242, 4243
AGENT = f"agent: {{socket: {SOCKET}, allow_uids: [{ALLOWED}]}}\n"
ADMIN = f"""\
  openai:
    provider: openai
    admin_key: !file {CREDENTIALS}/openai-admin-key
    project_id: proj_x
    service_account_id: svc_acct_x
    base_url: http://127.0.0.1:9
"""


@pytest.fixture(scope="module")
def machine(sky: Cloud) -> Iterator[Machine]:
    """The service is installed as docs/operations.md has it, with a profile for the sandbox."""
    with booted() as one:
        one.write("/srv/config.yaml", configuration(sky))
        install = "\n".join(["set -e", f"echo > {LOG}", *lines_of_the_page()])
        edit(one, "")
        one.done("sh", "-c", install, HOME="/srv")
        one.shared(sky.profile, "/etc/keyman/oci")
        one.done("chown", "-R", "keyman:", "/etc/keyman/oci")
        one.done("chmod", "-R", "go=", "/etc/keyman/oci")
        yield one


def lines_of_the_page() -> list[str]:
    """All but the first, which has pip fetch what lies there already."""
    page = (ROOT / "docs/operations.md").read_text().partition("## Running as a service")[2]
    lines = page.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("python3 -m venv /opt/keyman")
    same = (ROOT / "docs/deploying.md").read_text()
    assert "\n".join(lines) in same
    return lines[1:]


@pytest.fixture
def installed(machine: Machine, sky: Cloud) -> Iterator[Machine]:
    """With a configuration, and nothing else of an earlier start."""
    stopped(machine)
    configure(machine, sky)
    edit(machine, "")
    yield machine
    stopped(machine)


@pytest.fixture
def service(machine: Machine, sky: Cloud) -> Machine:
    """Running, and lookups have something to answer; perhaps since an earlier test."""
    configure(machine, sky)
    edit(machine, "")
    started(machine)
    return machine


def stopped(machine: Machine) -> None:
    machine.systemctl("stop", "keyman")
    machine.systemctl("reset-failed", "keyman")
    machine.done("rm", "-rf", HOME, "/run/keyman", LOG)


def configure(machine: Machine, sky: Cloud, above: str = "", below: str = "") -> None:
    machine.write(CONFIGURATION, above + configuration(sky) + below)


def configuration(sky: Cloud) -> str:
    options = {"compartment": COMPARTMENT, "url": sky.url, "overlap": "1d"}
    return AGENT + CONFIG.format(profile="/etc/keyman/oci/config", **options)


def edit(machine: Machine, lines: str) -> None:
    """What `systemctl edit` would write. Nobody waits here as long as an operator would."""
    output = f"StandardOutput=append:{LOG}\nStandardError=append:{LOG}"
    text = f"[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=100ms\n{output}\n{lines}"
    machine.write("/etc/systemd/system/keyman.service.d/test.conf", text)
    machine.systemctl("daemon-reload")


def started(machine: Machine) -> None:
    done = machine.systemctl("start", "keyman")
    assert done.status == 0, done.err + said(machine)
    until(lambda: serves(machine), lambda: said(machine))


def serves(machine: Machine) -> bool:
    """Asked from outside, past the commands, since it may be asked often."""
    try:
        socket = str(machine.path(SOCKET))
        return client.call("GET", "/api/v1/secrets/genai", path_to_socket=socket)[0] == 200
    except Error:
        return False


def got(machine: Machine, uid: int = 0) -> Done:
    """What an application of that user gets, which knows the socket and nothing else."""
    return machine.run(KEYMAN, "get", "genai", uid=uid, environ={"KEYMAN_SOCKET": SOCKET})


def keyman(machine: Machine, *words: str) -> str:
    """As the user of the service, which is how docs/deploying.md has it typed."""
    uid = int(machine.done("id", "-u", "keyman"))
    variables = {"KEYMAN_HOME": HOME, "KEYMAN_CONFIG": CONFIGURATION}
    done = machine.run(KEYMAN, *words, uid=uid, environ=variables)
    assert done.status == 0, done.err
    return done.out.strip()


def said(machine: Machine) -> str:
    return machine.path(LOG).read_text()[-4000:]


def pid_of(machine: Machine) -> str:
    return machine.shows("keyman", "MainPID")


@pytest.mark.slow
def test_what_the_page_installs_is_started_at_boot(machine: Machine) -> None:
    assert machine.systemctl("is-enabled", "keyman").out == "enabled\n"
    assert machine.path(CONFIGURATION).stat().st_mode & 0o777 == 0o640


def test_it_is_started_when_the_agent_answers(installed: Machine) -> None:
    """Not before; whatever is ordered after the unit finds it there."""
    assert installed.systemctl("start", "keyman").status == 0
    socket = str(installed.path(SOCKET))
    assert client.call("GET", "/healthz", path_to_socket=socket)[0] == 200


def test_it_rotates_with_what_the_unit_leaves_it_and_nothing_else(service: Machine) -> None:
    receipt = json.loads(keyman(service, "rotate", "genai", "--json"))
    assert (receipt["state"], receipt["to"]["version"]) == ("done", 2)
    lines = service.path(f"/proc/{pid_of(service)}/status").read_text().splitlines()
    kept = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert set(kept["Uid"]) == {service.done("id", "-u", "keyman")}
    assert [kept[each] for each in ("CapPrm", "CapEff", "CapBnd", "CapAmb")] == [["0" * 16]] * 4
    assert (kept["NoNewPrivs"], kept["Seccomp"]) == (["1"], ["2"])
    assert "core dumps" not in said(service)
    assert "may read this one's memory" not in said(service)


def test_what_it_sees_of_the_machine(service: Machine) -> None:
    """Even root could change nothing where it lives."""
    there = ["nsenter", "-t", pid_of(service), "-m"]
    for folder in ("/usr", "/etc/keyman", "/opt/keyman", "/var"):
        tried = service.run(*there, "touch", f"{folder}/x")
        assert tried.err.endswith("Read-only file system\n")
    for hidden in ("/proc/sys", "/proc/meminfo", "/dev/kmsg"):
        assert service.run(*there, "ls", "-d", hidden).err.endswith("No such file or directory\n")
    empty = service.done(*there, "ls", "-A", "/home", "/root", "/tmp")
    assert empty == "/home:\n\n/root:\n\n/tmp:"


def test_other_users_are_told_apart(service: Machine) -> None:
    assert got(service, ALLOWED).status == 0
    assert got(service, STRANGER).status == 5
    assert service.run("ls", HOME, uid=ALLOWED).status != 0


def test_a_reload_fails_with_the_mistakes_and_the_daemon_goes_on(
    service: Machine, sky: Cloud
) -> None:
    assert service.systemctl("reload", "keyman").status == 0
    before = pid_of(service)
    configure(service, sky, below="    lifetme: 60d\n")
    assert service.systemctl("reload", "keyman").status != 0
    assert "lifetme: unknown" in said(service)
    assert service.shows("keyman", "ActiveState") == "active"
    assert "the last reload was refused" in service.shows("keyman", "StatusText")
    assert (pid_of(service), serves(service)) == (before, True)


def test_a_mistake_at_the_start_is_not_tried_again(installed: Machine) -> None:
    installed.write(CONFIGURATION, "credentails: {}\n")
    assert installed.systemctl("start", "keyman").status != 0
    assert "did you mean credentials?" in said(installed)
    assert installed.shows("keyman", "ActiveState") == "failed"
    assert installed.shows("keyman", "NRestarts") == "0"


@pytest.mark.slow
def test_what_is_killed_comes_back(service: Machine) -> None:
    before = pid_of(service)
    service.systemctl("kill", "--signal=KILL", "keyman")
    until(lambda: pid_of(service) not in ("0", before) and serves(service))


@pytest.mark.slow
def test_the_watchdog_ends_what_nobody_can_reach(installed: Machine) -> None:
    """The daemon runs on, but its socket was taken away: it is killed, and comes back with one."""
    edit(installed, "WatchdogSec=3")
    started(installed)
    before = pid_of(installed)
    installed.done("rm", SOCKET)
    until(lambda: pid_of(installed) not in ("0", before) and serves(installed))
    assert "is not told that all is well: nobody answers" in said(installed)


@pytest.mark.slow
def test_the_page_beside_the_socket_outlives_a_stop(service: Machine) -> None:
    """Applications have it mapped; one that is made anew would show them nothing any more."""
    page = service.path("/run/keyman/generation")
    before = page.stat().st_ino
    assert service.systemctl("stop", "keyman").status == 0
    assert service.shows("keyman", "Result") == "success"
    assert page.stat().st_ino == before
    keyman(service, "revoke", "genai", "--now", "--yes")
    assert page.stat().st_ino == before
    started(service)
    assert page.stat().st_ino == before


@pytest.mark.slow
def test_systemd_hands_over_the_secrets_that_it_needs(installed: Machine, sky: Cloud) -> None:
    lines = (UNITS / "credentials.conf").read_text()
    made = [
        line[6:].rstrip("|").strip() for line in lines.splitlines() if line.startswith("#     ")
    ]
    store_key, admin_key = f"{made[0]} | {made[1]}", f"echo sk-admin-x | {made[2]}"
    for command in (store_key, admin_key):
        installed.done("sh", "-c", command.replace("encrypt", "encrypt --with-key=host"))
    edit(installed, lines.replace("# Load", "Load"))
    configure(installed, sky, "store: {key: {kind: systemd-credential}}\n", ADMIN)
    started(installed)
    assert not installed.path(f"{HOME}/store.key").exists()
    assert installed.path(f"{HOME}/secrets.db").exists()
    assert installed.systemctl("reload", "keyman").status == 0, said(installed)
    assert keyman(installed, "list") == "genai\nopenai"
