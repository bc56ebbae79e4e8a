"""A configuration that has mistakes as seen from this shell, while a daemon runs that read it well.

`!env NAME` is the usual way there: the daemon's service has the variable, a person's shell doesn't.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.commands.world import Cloud, Home, home, until

WITHOUT = "the environment variable PARTNER_URL is not set"
PARTNER = "  partner: {provider: static, base_url: !env PARTNER_URL}\n"


@pytest.fixture(scope="module")
def served(sky: Cloud) -> Iterator[Home]:
    """A daemon that has the variable; commands don't."""
    with home(sky, overlap="1s") as place:
        place.config.write_text(place.config.read_text() + PARTNER)
        place.environ["PARTNER_URL"] = "https://api.example.com/v1"
        place.start()
        with place.daemon():
            del place.environ["PARTNER_URL"]
            yield place


@pytest.mark.parametrize(
    ("words", "stdin", "shown"),
    [
        (["list"], "", "genai\npartner\n"),
        (["status", "partner"], "", "partner"),
        (["put", "partner"], "by-hand", "version 1 is current now"),
        (["rotate", "genai"], "", "replaced by version"),
        (["rotate", "genai", "--new-key"], "", "replaced by version"),
        (["revoke", "genai", "--yes"], "", "revoked"),
        (["client", "add", "build", "--allow", "partner"], "", "kmc_"),
    ],
    ids=" ".join,
)
def test_what_the_daemon_does_goes_on(
    served: Home, words: list[str], stdin: str, shown: str
) -> None:
    done = served.keyman(*words, stdin=stdin)
    assert (done.status, shown in done.out) == (0, True), done
    assert done.err.count("keyman: warning: 1 mistake in") == 1
    assert WITHOUT in done.err
    assert "the daemon goes by what it has read itself" in done.err


def test_reload_is_judged_by_the_daemon(served: Home) -> None:
    done = served.keyman("reload", "--json")
    assert (done.status, done.json, done.err) == (0, {"credentials": ["genai", "partner"]}, "")


def test_a_name_that_the_daemon_does_not_know(served: Home) -> None:
    assert served.keyman("rotate", "nobody").status == 3
    assert served.keyman("client", "add", "other", "--allow", "nobody").status == 3


@pytest.mark.parametrize(
    "words", [["check"], ["policy", "genai"], ["rotate", "genai", "--dry-run"]]
)
def test_what_is_read_here_says_what_to_do(served: Home, words: list[str]) -> None:
    done = served.keyman(*words)
    assert done.status == 2
    assert WITHOUT in done.err
    assert "hint: export it where this runs, or write `!file PATH`" in done.err


def test_the_socket_is_found_where_the_configuration_puts_it(sky: Cloud) -> None:
    with home(sky) as place:
        text = f"agent: {{socket: {place.folder}/elsewhere.sock}}\n"
        place.config.write_text(text + place.config.read_text())
        with place.process("daemon") as daemon:
            until((place.folder / "elsewhere.sock").exists)
            place.edit("region:", "regoin:")
            until(lambda: place.keyman("list").out == "genai\n")
            daemon.terminate()
            daemon.communicate()


def test_nobody_answers(place: Home) -> None:
    """Then the mistakes are what there is to say, and nothing is done."""
    place.edit("region:", "regoin:")
    for words in (["rotate", "genai"], ["list"], ["reload"], ["put", "genai"]):
        done = place.keyman(*words)
        assert (done.status, "regoin" in done.err) == (2, True)
    assert not place.state.exists()


def test_a_file_that_is_not_there_is_no_mistake_in_it(served: Home) -> None:
    done = served.keyman("--config", "nowhere.yaml", "rotate", "genai")
    assert (done.status, "there is no configuration file" in done.err) == (2, True)


def test_checks_own_hint_does_not_lead_back_to_it(place: Home) -> None:
    place.edit("region:", "regoin:")
    hint = place.keyman("check").err.partition("hint:")[2]
    assert "config.example.yaml" in hint
    assert "keyman check" not in hint


@pytest.mark.slow
def test_a_daemon_that_hangs_is_an_error(place: Home) -> None:
    """Every lookup fails then: `check` must not say that all is well, nor `reload` that all is
    done.
    """
    place.start()
    with place.daemon() as daemon:
        os.kill(daemon.pid, signal.SIGSTOP)
        checked, reloaded = place.keyman("check", "--json"), place.keyman("reload")
    said = [one for one in checked.json["findings"] if one["code"] == "silent_daemon"]
    assert [one["severity"] for one in said] == ["error"]
    assert str(daemon.pid) in said[0]["message"]
    assert checked.status == 1
    assert reloaded.status == 6
    assert "works on this home, but its socket does not answer" in reloaded.err
    assert "nothing to do" not in reloaded.err


def test_a_url_is_for_lookups(place: Home) -> None:
    place.environ["KEYMAN_URL"] = "https://keys.example.com"
    for words in (["status"], ["list"], ["rotate", "nobody"]):
        assert "KEYMAN_URL is for lookups only" in place.keyman(*words).err
