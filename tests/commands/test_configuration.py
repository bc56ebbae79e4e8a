"""Configurations that are not there, empty, or mistaken: where to write one, and what goes on."""

from __future__ import annotations

import re
import shlex
import signal
import time
from pathlib import Path

import pytest

from tests.commands.shapes import STATUS, mistakes
from tests.commands.world import Home

PATIENCE = 3.0  # seconds that `get` waits for a daemon that says nothing
BUSY = 3.0  # and what a busy machine may add: less than was once waited for


def test_a_file_that_is_not_there_hints_at_the_usual_place_and_an_example(place: Home) -> None:
    place.environ["XDG_CONFIG_HOME"] = str(place.folder / "usual")
    for words in (("--config", "/nowhere", "list"), ("list",)):
        place.environ["KEYMAN_CONFIG"] = "/nowhere"
        done = place.keyman(*words)
        error, hint = done.err.splitlines()
        assert (done.status, error) == (
            2,
            "keyman: error: there is no configuration file /nowhere",
        )
        assert f"is expected at {usual(place)};" in hint
        assert example(hint).read_text().startswith("# ")
        assert "`keyman init` writes a first one" in hint


def usual(place: Home) -> Path:
    return place.folder / "usual/keyman/config.yaml"


def example(hint: str) -> Path:
    """The file that a hint says to look at."""
    found = re.search(r": cat (.+)$", hint, re.MULTILINE)
    assert found, hint
    [path] = shlex.split(found[1])
    return Path(path)


@pytest.mark.parametrize("words", [("status",), ("list",), ("check",), ("daemon", "--once")])
def test_without_any_configuration_its_place_is_named_once(
    place: Home, words: tuple[str, ...]
) -> None:
    place.environ |= {"KEYMAN_CONFIG": "", "XDG_CONFIG_HOME": str(place.folder / "usual")}
    done = place.run(*words)
    assert done.status == 0
    said = done.out + done.err
    assert said.count(f"the configuration is expected at {usual(place)};") == 1
    assert example(said).exists()


def test_an_empty_configuration_is_named_itself(place: Home) -> None:
    place.config.write_text("{}\n")
    for words in (("status",), ("list",), ("check",)):
        done = place.keyman(*words)
        assert f"the configuration is {place.config};" in done.out + done.err


def test_a_daemon_with_nothing_to_do_says_so_in_one_line(place: Home) -> None:
    place.config.write_text("{}\n")
    with place.daemon():
        [line] = [
            line
            for line in (place.folder / "daemon.log").read_text().splitlines()
            if "WARNING" in line
        ]
        assert f"no credentials are configured: the configuration is {place.config};" in line
        assert place.keyman("status").out == "no credentials are configured\n"


def test_a_daemon_that_has_credentials_says_nothing(place: Home) -> None:
    place.start()
    with place.daemon():
        assert "no credentials" not in (place.folder / "daemon.log").read_text()


def test_status_shows_what_the_daemon_answers_in_spite_of_a_mistake(place: Home) -> None:
    place.start()
    with place.daemon():
        place.edit("lifetime:", "lifetme:")
        place.edit("region:", "regoin:")
        shown = place.keyman("status")
        assert (shown.status, re.findall(r"^genai +oci-genai +(\w+)", shown.out, re.MULTILINE)) == (
            0,
            ["ok"],
        )
        [warning] = shown.err.splitlines()
        assert warning.startswith(f"keyman: warning: 2 mistakes in {place.config}; the daemon")
        told = place.keyman("status", "--json")
        assert mistakes(told.json, STATUS) == []
        assert told.json["daemon"]["running"] is True
        assert place.keyman("status", "genai").status == 0
        assert place.keyman("status", "nobody").status == 3
    refused = place.keyman("status")
    assert (refused.status, refused.err.count("did you mean lifetime?")) == (2, 1)


def test_a_mistake_is_told_first_if_nobody_may_be_asked_or_answers(place: Home) -> None:
    place.start()
    with place.daemon() as daemon:
        place.edit("lifetime:", "lifetme:")
        daemon.send_signal(signal.SIGSTOP)
        done = place.keyman("status", "--json")
    assert (done.status, done.json["error"]["code"]) == (2, "config")


def test_get_does_not_wait_long_for_a_daemon_that_says_nothing(place: Home) -> None:
    place.start()
    with place.daemon() as daemon:
        daemon.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        done = place.run("get", "genai")
        spent = time.monotonic() - began
    assert (done.status, done.out) == (6, "")
    assert f"(pid {daemon.pid})" in done.err
    assert spent < 5 * (PATIENCE + BUSY)  # a loaded machine is slow, and not as slow as that
