"""Hints name what helps the one who reads them: here, with this command, with this provider."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.commands.world import Cloud, Home, home, until

TOKEN = f"kmc_{43 * 'x'}"


@pytest.fixture(scope="module")
def far(sky: Cloud) -> Iterator[Home]:
    """A daemon that listens on TCP too."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        where = f"127.0.0.1:{free.getsockname()[1]}"
    with home(sky) as place:
        place.config.write_text(f"agent: {{listen: '{where}'}}\n" + place.config.read_text())
        place.start()
        with place.daemon():
            place.environ |= {"KEYMAN_URL": f"http://{where}", "KEYMAN_TOKEN": TOKEN}
            yield place


def hint(place: Home, *words: str) -> str:
    done = place.keyman(*words)
    assert done.status, done
    return done.err.partition("hint: ")[2]


def test_a_wrong_token(far: Home) -> None:
    assert "KEYMAN_TOKEN, or in the file that KEYMAN_TOKEN_FILE names" in hint(far, "get", "genai")


def test_a_name_that_the_token_does_not_open(far: Home) -> None:
    added = far.keyman("client", "add", "narrow", "--allow", "genai")
    far.environ["KEYMAN_TOKEN"] = added.out.strip()
    try:
        until(lambda: far.keyman("get", "genai").status == 0)
        assert "this token may not look it up" in hint(far, "get", "other")
    finally:
        far.environ["KEYMAN_TOKEN"] = TOKEN


def test_nobody_at_the_url(place: Home) -> None:
    place.environ |= {"KEYMAN_URL": "http://127.0.0.1:9", "KEYMAN_TOKEN": TOKEN}
    said = hint(place, "get", "genai")
    assert "KEYMAN_URL" in said
    assert "keyman daemon" not in said


def test_there_is_no_previous_version(place: Home) -> None:
    place.start()
    assert "while an overlap runs" in hint(place, "get", "genai", "--previous")
    with place.daemon():
        assert "while an overlap runs" in hint(place, "get", "genai", "--previous")


def test_clients(place: Home) -> None:
    assert "keyman client add NAME --allow" in place.keyman("client", "list").err
    assert hint(place, "client", "add", "build") == "keyman client add --help\n"


def test_a_static_secret_that_nobody_brought_yet(place: Home) -> None:
    static = "  partner: {provider: static, base_url: https://api.example.com/v1}\n"
    place.config.write_text(place.config.read_text() + static)
    assert "give the secret: keyman put partner" in place.keyman("status", "partner").out
    place.keyman("put", "partner", stdin="by-hand")
    assert "give the secret" not in place.keyman("status", "partner").out


def test_a_daemon_that_dies_under_an_order(place: Home, sky: Cloud) -> None:
    """The order is recorded: to start the daemon again is not all there is to say."""
    place.start()
    with (
        sky.fault(effect="status", status=503, operation="RenewApiKey"),
        place.daemon() as daemon,
        place.process("rotate", "genai") as command,
    ):
        until(lambda: place.keyman("status", "genai", "--json").json["order"])
        daemon.kill()
        _, err = command.communicate()
    assert command.returncode == 6
    assert "the order may be recorded: `keyman status` tells" in err


def test_an_overlap_shorter_than_clients_hold_a_secret(place: Home) -> None:
    """It may be meant, and is not refused as it would be in the configuration."""
    place.start()
    done = place.keyman("rotate", "genai", "--overlap", "0s")
    assert done.status == 0
    assert "hold the old secret for 1s without asking, and the overlap is 0s" in done.err
    assert "without asking" not in place.keyman("rotate", "genai", "--overlap", "1s").err
