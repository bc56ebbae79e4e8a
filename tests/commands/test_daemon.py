"""The daemon as a process: one a home, prompt to go, quick to come back, and obedient."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keyman.__main__ import _starts_the_daemon
from keyman.db.tables import EPOCH, TICK
from tests.commands.world import GENEROUS, ROOT, Cloud, Done, Home, until

PROMPT = 2.0  # seconds that the interface allows for stopping
BUSY = 1.0  # and what a busy machine may add


def test_a_second_daemon_is_refused_and_names_the_first(place: Home) -> None:
    with place.daemon() as first:
        second = place.run("daemon")
    assert second.status == 1
    assert f"(pid {first.pid})" in second.err
    assert second.err.count("\n") == 2


def test_after_a_kill_the_next_one_takes_over_at_once(place: Home) -> None:
    place.start()
    with place.daemon() as first:
        first.kill()
        first.wait()
        assert not place.answers()
        with place.daemon():
            assert place.keyman("get", "genai").status == 0
            made = place.keyman("rotate", "genai", "--json")
    assert (made.status, made.json["state"]) == (0, "done"), made.err


def test_it_stops_promptly_also_while_the_provider_hangs(place: Home, sky: Cloud) -> None:
    place.start()
    with sky.fault(effect="delay", seconds=15, operation="GetApiKey"), place.daemon() as daemon:
        seen = len(sky.ask("GET", "log?operation=GetApiKey"))
        place.keyman("rotate", "genai", "--no-wait")
        until(lambda: place.keyman("status", "genai", "--json").json["order"])
        began = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
        assert time.monotonic() - began < PROMPT + BUSY
        assert seen >= 0
    assert not (place.state / "agent.sock").exists()
    assert place.keyman("get", "genai").status == 0


def test_reload_and_sighup_take_up_a_changed_configuration(place: Home) -> None:
    place.start()
    with place.daemon() as daemon:
        place.edit("overlap: 1d", "overlap: 2d")
        done = place.keyman("reload", "--json")
        assert (done.status, done.json) == (0, {"credentials": ["genai"]})
        place.edit("  genai:", "  renamed:")
        daemon.send_signal(signal.SIGHUP)
        log = place.folder / "daemon.log"
        until(lambda: place.keyman("status", "renamed").status == 0, log.read_text)
        assert place.keyman("get", "genai").status == 3


@pytest.mark.slow
def test_a_sighup_during_the_start_is_heard_once_the_daemon_runs(place: Home) -> None:
    """The journal is locked meanwhile, so the start cannot get past opening it."""
    place.start()
    log = place.folder / "daemon.log"
    with closing(sqlite3.connect(place.state / "keyman.db")) as journal, log.open("w") as lines:
        journal.execute("BEGIN IMMEDIATE")
        daemon = place.process("daemon", stdout=lines, stderr=lines)
        try:
            until(lambda: (place.state / "daemon.lock").read_text().startswith(f"{daemon.pid} "))
            place.edit("  genai:", "  renamed:")
            daemon.send_signal(signal.SIGHUP)
            journal.rollback()
            until(lambda: daemon.poll() is not None or place.answers(), log.read_text)
            assert daemon.poll() is None
            until(lambda: place.keyman("status", "renamed").status == 0, log.read_text)
        finally:
            daemon.terminate()
            daemon.wait(GENEROUS)


@pytest.mark.slow
def test_a_sighup_does_not_end_a_daemon_that_is_still_importing(place: Home) -> None:
    """It comes with the first package, which is long before anything of the daemon's is there."""
    (place.folder / "sitecustomize.py").write_text(HANGS_UP)
    place.environ["PYTHONPATH"] = f"{place.folder}:{ROOT}"
    with place.daemon() as daemon:
        assert daemon.poll() is None
        assert (place.folder / "hung-up").exists()


HANGS_UP = """\
import os, pathlib, signal, sys

class HangsUp:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            sys.meta_path.remove(self)
            pathlib.Path(__file__).with_name("hung-up").touch()
            os.kill(os.getpid(), signal.SIGHUP)

sys.meta_path.insert(0, HangsUp())
"""


@pytest.mark.parametrize(
    ("words", "held"),
    [
        ("daemon", True),
        ("--log-level info --log-format=json daemon", True),
        ("daemon --once", False),
        ("--config daemon status", False),
        ("rotate daemon", False),
        ("--version", False),
    ],
)
def test_only_the_daemon_holds_a_sighup_back(words: str, held: bool) -> None:
    assert _starts_the_daemon(words.split()) == held


def test_a_mistake_leaves_the_configuration_as_it_was(place: Home) -> None:
    place.start()
    with place.daemon() as daemon:
        place.edit("lifetime:", "lifetme:")
        done = place.keyman("reload", "--json")
        assert (done.status, done.json["error"]["code"]) == (2, "config")
        assert "did you mean lifetime?" in done.err
        daemon.send_signal(signal.SIGHUP)
        log = place.folder / "daemon.log"
        until(lambda: "the configuration stays as it was" in log.read_text())
        assert place.keyman("get", "genai").status == 0


def test_once_brings_the_first_version_and_is_gone(place: Home) -> None:
    done = place.run("daemon", "--once")
    assert (done.status, done.out, done.err) == (0, "", "")
    assert place.keyman("get", "genai").status == 0
    assert place.run("daemon", "--once").status == 0


def test_once_says_what_it_could_not_do(place: Home, sky: Cloud) -> None:
    place.edit("first: 200ms, max: 2s", "first: 30s, max: 60s")
    with sky.fault(effect="status", status=404, operation="*ApiKey*"):
        done = place.run("daemon", "--once")
    [(error, hint)] = complaints(done)
    assert done.status == 1
    assert error.startswith("genai: OCI refused")
    assert hint
    assert "not tried again" not in error


def test_once_that_keeps_a_rest_says_how_long_and_how_to_end_it(place: Home, sky: Cloud) -> None:
    place.edit("first: 200ms, max: 2s", "first: 1h, max: 1h")
    with sky.fault(effect="status", status=404, operation="*ApiKey*"):
        [(error, hint)] = complaints(place.run("daemon", "--once"))
    [(again, move)] = complaints(place.run("daemon", "--once"))
    assert re.fullmatch(re.escape(error) + "; not tried again before [0-9TZ:-]{20}", again)
    assert move == f"mended since? `keyman rotate genai` tries at once; else: {hint}"
    assert place.keyman("rotate", "genai").status == 0


def complaints(done: Done) -> list[tuple[str, str]]:
    """What a command said went wrong, with the hints, apart from the lines of its log."""
    return re.findall("^keyman: error: (.*)\nkeyman: hint: (.*)$", done.err, re.MULTILINE)


def test_once_leaves_a_credential_that_fails_and_does_the_others(place: Home, sky: Cloud) -> None:
    """It tries again after a short pause, as a passing fault deserves, and not for ever."""
    before, genai = place.config.read_text().split("  genai:")
    wrong = profile_with_a_wrong_key(place, sky)
    place.config.write_text(
        f"{before}  wrong:{genai.replace(str(sky.profile), wrong)}"
        f"  missing:{genai.replace(str(sky.profile), '/nowhere')}  genai:{genai}"
    )
    done = place.run("daemon", "--once")
    [wrong_error, _], [missing_error, _] = complaints(done)
    assert done.status == 1
    assert wrong_error.startswith("wrong: OCI refused")
    assert missing_error.startswith("missing: cannot sign as profile DEFAULT of /nowhere")
    assert place.keyman("get", "genai").status == 0
    assert place.keyman("status", "wrong", "--json").json["failures"] == 3


def test_once_passes_by_what_another_installation_drives_on_the_same_journal(place: Home) -> None:
    before, genai = place.config.read_text().split("  genai:")
    place.config.write_text(f"{before}  theirs:{genai}")
    assert place.run("daemon", "--once").status == 0
    with closing(sqlite3.connect(place.state / "keyman.db")) as journal, journal:
        year_2100 = (datetime(2100, 1, 1, tzinfo=UTC) - EPOCH) // TICK
        journal.execute(
            f"UPDATE leases SET home = '/their', released = 0, lease_until = {year_2100}"
        )
    place.config.write_text(f"{before}  theirs:{genai}  genai:{genai}")
    done = place.run("daemon", "--once")
    assert done.status == 1
    assert complaints(done) == [("theirs: theirs is being driven by another process", "wait")]
    assert place.keyman("get", "genai").status == 0


def test_once_gets_over_a_passing_fault(place: Home, sky: Cloud) -> None:
    with sky.fault(effect="status", status=503, operation="CreateApiKey", count=2):
        done = place.run("daemon", "--once")
    assert (done.status, complaints(done)) == (0, [])


@pytest.mark.slow
def test_once_tries_one_version_and_says_why_it_came_to_nothing(place: Home, sky: Cloud) -> None:
    place.edit("within: 120s", "within: 8s")
    with sky.fault(effect="status", status=401, operation="ChatCompletions"):
        done = place.run("daemon", "--once")
    error = "genai: version 1 was given up: the provider did not accept it in time"
    assert done.status == 1
    assert complaints(done) == [(error, "`keyman check` tells what is wrong")]
    place.edit("within: 8s", "within: 120s")
    assert place.run("daemon", "--once").status == 0
    assert place.keyman("get", "genai", "--json").json["version"] == 2


def profile_with_a_wrong_key(place: Home, sky: Cloud) -> str:
    profile = place.folder / "wrong"
    fingerprint = re.compile("^fingerprint *=.*", re.MULTILINE)
    profile.write_text(fingerprint.sub("fingerprint=" + "00:" * 15 + "00", sky.profile.read_text()))
    return str(profile)


@pytest.mark.slow
def test_a_daemon_that_stands_still_is_not_passed_by(place: Home) -> None:
    """Its socket is there and silent: nobody acts beside it."""
    place.start()
    with place.daemon() as daemon:
        daemon.send_signal(signal.SIGSTOP)
        said = [
            place.keyman(*words, "--json")
            for words in (("rotate", "genai"), ("status",), ("get", "genai"))
        ]
    for done in said:
        assert (done.status, done.json["error"]["code"]) == (6, "not_running")
        assert str(daemon.pid) in done.err


def test_a_command_that_works_by_itself_keeps_nobody_from_looking(place: Home) -> None:
    """It has the lock, not a socket; what is read past it is as of its last record."""
    place.start()
    with place.open_as_command():
        assert place.keyman("get", "genai").status == 0
        assert place.keyman("status").status == 0
        assert place.keyman("rotate", "genai").status == 6


def test_log_lines_as_asked_for(place: Home) -> None:
    place.start()
    process = place.process("--log-level", "info", "--log-format", "json", "daemon")
    assert process.stderr is not None
    line = process.stderr.readline()
    process.terminate()
    process.communicate(timeout=30)
    assert line.startswith('{"at": "')
    assert '"level": "info"' in line


def test_an_interrupted_command_says_so_by_its_status(place: Home) -> None:
    place.start()
    place.keyman("rotate", "genai")
    with place.process("rotate", "genai", stdin=subprocess.DEVNULL) as waits:
        order = place.folder / "home" / "daemon.lock"
        until(lambda: order.read_text().startswith(f"{waits.pid} "))
        time.sleep(0.3)
        waits.send_signal(signal.SIGINT)
        _, err = waits.communicate(timeout=30)
    assert waits.returncode == 130
    assert "Traceback" not in err


@pytest.mark.slow
def test_an_interrupted_demo_leaves_nothing(place: Home, tmp_path: Path) -> None:
    """Neither its daemon nor its folder; and what the user set for keyman and OCI is ignored.

    Each of its lines comes through the pipe when it is said, without Python's own help.
    """
    place.environ["PYTHONUNBUFFERED"] = ""
    place.environ |= {"TMPDIR": str(place.folder), "OCI_REGION": "moon-1"}
    place.environ |= {"KEYMAN__STORE__KIND": "nonsense", "KEYMAN_SOCKET": "/nowhere"}
    with place.process("demo", "--seconds", "60") as demo:
        assert demo.stdout is not None
        lines = iter(demo.stdout.readline, "")
        assert any("version 1 is current" in line for line in lines)
        [temporary] = place.folder.glob("keyman-demo-*")
        daemon = int((temporary / "home" / "daemon.lock").read_text().split()[0])
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert not temporary.exists()
    assert not Path(f"/proc/{daemon}").exists()
