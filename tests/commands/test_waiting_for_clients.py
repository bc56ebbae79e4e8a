"""The end of an overlap waits for clients that are connected, where the policy says so."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from tests.commands.world import Cloud, Home, until
from tests.serving.listener import listening

LOOKUP = b"GET /api/v1/secrets/genai HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def connected(place: Home) -> Iterator[tuple[socket.socket, BinaryIO]]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(place.state / "agent.sock"))
        with connection.makefile("rb") as answers:
            yield connection, answers


def look_up(client: tuple[socket.socket, BinaryIO]) -> None:
    connection, answers = client
    connection.sendall(LOOKUP)
    assert b"200 OK" in answers.readline()
    length = 0
    while (line := answers.readline()).strip():
        key, _, value = line.partition(b":")
        length = int(value) if key == b"content-length" else length
    answers.read(length)


def looks(sky: Cloud) -> int:
    return len(sky.ask("GET", "log?operation=GetApiKey"))


def stage_of(place: Home, version: int) -> str:
    slots = place.keyman("status", "genai", "--json").json["slots"]
    return str(next(slot["stage"] for slot in slots if slot["version"] == version))


@pytest.mark.parametrize("waits", [True, False])
def test_a_client_that_holds_the_old_one(place: Home, sky: Cloud, waits: bool) -> None:
    place.configure(overlap=f"1s, wait_for_clients: {str(waits).lower()}")
    place.edit("max_client_staleness: 1s", "max_client_staleness: 1s, observe_every: 500ms")
    place.start()
    with (
        place.daemon(),
        listening(place.state / "agent.sock") as listener,
        connected(place) as client,
    ):
        look_up(client)
        place.keyman("rotate", "genai")
        shown = place.keyman("status", "genai", "--json").json
        assert shown["clients"] == {"connected": 1, "behind": 1}
        if waits:
            before = looks(sky)
            until(lambda: looks(sky) > before + 6)  # more than the overlap takes
            assert stage_of(place, 1) == "previous"
            look_up(client)
            assert place.keyman("status", "genai", "--json").json["clients"]["behind"] == 0
        assert [one["event"] for one in listener.hear(2)] == ["promoted", "retired"]
        assert stage_of(place, 1) == "retired"
