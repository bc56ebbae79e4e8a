"""Homes that are not as they should be: somebody else's, closed, open, full, or not writable."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.commands.world import GENEROUS, Done, Home

# Runs the rest of its arguments without root's right to pass by the rights of files.
WEAK = """
import ctypes, os, sys
if sys.platform == "linux" and os.geteuid() == 0:
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

# In a namespace of its own, where nobody else sees what is mounted.
ALONE = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
MOUNTED = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'


def can_mount() -> bool:
    try:
        return subprocess.run([*ALONE, "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


need_mounts = pytest.mark.skipif(
    not can_mount(), reason="no mount namespaces for this user: sudo make test, on Linux"
)


def without_rights(place: Home, *words: str) -> Done:
    return ran(place, [sys.executable, "-c", WEAK, "-P", "-m", "keyman", *words])


def on_a_file_system(place: Home, options: str, *words: str) -> Done:
    """The home is a small file system of its own while the command runs."""
    place.state.mkdir(mode=0o700)
    where = ["sh", "-c", MOUNTED, "sh", f"mode=0700,{options}", str(place.state)]
    return ran(place, [*ALONE, *where, sys.executable, "-P", "-m", "keyman", *words])


def ran(place: Home, command: list[str]) -> Done:
    done = subprocess.run(
        command, env=place.variables, capture_output=True, text=True, check=False, timeout=GENEROUS
    )
    return Done(done.returncode, done.stdout, done.stderr)


def found(done: Done) -> dict[str, tuple[str, str]]:
    """Code → (severity, message)."""
    said: list[dict[str, Any]] = done.json["findings"]
    return {one["code"]: (one["severity"], one["message"]) for one in said}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("get", "genai"),
        ("status",),
        ("status", "genai"),
        ("check",),
        ("policy", "genai", "--one-key"),
        ("rotate", "genai", "--dry-run"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("socket", ["inside", "elsewhere"])
def test_a_home_that_can_not_be_entered_is_said_in_two_lines(
    place: Home, words: tuple[str, ...], socket: str
) -> None:
    """Wherever the socket is: nobody answers on it."""
    if socket == "elsewhere":
        place.config.write_text(
            place.config.read_text() + f"agent: {{socket: {place.folder}/agent.sock}}\n"
        )
    place.start()
    place.state.chmod(0)
    try:
        done = without_rights(place, *words)
    finally:
        place.state.chmod(0o700)
    first, second = done.err.splitlines()
    assert done.status == 5
    assert first.startswith("keyman: error: this user may not ")
    assert str(place.state) in first
    assert second == "keyman: hint: ask as the user who runs keyman, or have a grant added"


@pytest.mark.parametrize(
    "words", [("get", "genai"), ("check",), ("daemon", "--once")], ids=" ".join
)
def test_a_store_that_can_not_be_reached_is_said_in_two_lines(
    place: Home, words: tuple[str, ...]
) -> None:
    elsewhere = place.folder / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    place.config.write_text(place.config.read_text() + f"store: {{path: {elsewhere}/secrets.db}}\n")
    place.start()
    elsewhere.chmod(0)
    try:
        done = without_rights(place, *words)
    finally:
        elsewhere.chmod(0o700)
    said = f"keyman: error: this user may not look into {elsewhere}: Permission denied"
    assert (done.status, done.err.splitlines()[0]) == (5, said)


def test_a_home_that_can_not_be_entered_is_a_finding_too(place: Home) -> None:
    place.start()
    place.state.chmod(0)
    try:
        done = without_rights(place, "check", "--json")
    finally:
        place.state.chmod(0o700)
    assert done.json["error"]["code"] == "not_allowed"
    assert found(done)["not_allowed"][0] == "error"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away: sudo make test")
def test_check_finds_a_home_of_somebody_else(place: Home) -> None:
    place.start()
    os.chown(place.state, 65534, 65534)
    done = place.keyman("check", "--json")
    assert done.status == 1
    severity, message = found(done)["home_not_ours"]
    assert severity == "error"
    assert "belongs to uid 65534" in message
    refused = place.run("daemon")
    assert "belongs to uid 65534" in refused.err


def test_check_finds_a_home_that_is_open_and_leaves_it_so(place: Home) -> None:
    place.start()
    place.state.chmod(0o750)
    done = place.keyman("check", "--json")
    assert done.status == 0
    assert found(done)["home_open"] == (
        "warning",
        f"the home {place.state} is open to others (0750)",
    )
    assert place.state.stat().st_mode & 0o777 == 0o750


@pytest.mark.slow
def test_check_finds_a_home_that_can_not_be_written(place: Home) -> None:
    place.start()
    place.state.chmod(0o500)
    try:
        done = without_rights(place, "check", "--json")
    finally:
        place.state.chmod(0o700)
    assert done.status == 1
    severity, message = found(done)["not_writable"]
    assert severity == "error"
    assert message == f"the home: this user may not write to {place.state}"


@pytest.mark.slow
def test_check_finds_where_a_home_can_not_be_made(place: Home) -> None:
    place.folder.chmod(0o500)
    try:
        done = without_rights(place, "check", "--json")
    finally:
        place.folder.chmod(0o700)
    assert found(done)["not_writable"][1].endswith(f"may not write to {place.folder}")


@need_mounts
@pytest.mark.slow
def test_check_finds_a_read_only_file_system(place: Home) -> None:
    done = on_a_file_system(place, "ro", "check", "--json")
    assert found(done)["not_writable"][0] == "error"


@need_mounts
def test_check_finds_a_full_file_system(place: Home) -> None:
    done = on_a_file_system(place, "size=64k", "check", "--json")
    assert done.status == 1
    severity, message = found(done)["no_space"]
    assert (severity, message.split()[2:5]) == ("error", ["65536", "bytes", "are"])


@need_mounts
@pytest.mark.slow
def test_check_finds_a_file_system_without_inodes(place: Home) -> None:
    done = on_a_file_system(place, "nr_inodes=1", "check", "--json")
    assert found(done)["no_space"][1].startswith("the home: no file more")


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("agent.socket", "agent: {{socket: {0}/agent.sock}}\n"),
        ("store.path", "store: {{path: {0}/secrets.db}}\n"),
        ("database", "database: sqlite:///{0}/keyman.db\n"),
    ],
)
def test_check_finds_a_folder_that_is_not_there(place: Home, key: str, more: str) -> None:
    gone = place.folder / "gone"
    place.config.write_text(more.format(gone) + place.config.read_text())
    assert found(place.keyman("check", "--json"))["no_folder"] == (
        "error",
        f"{key}: there is no folder {gone}",
    )
