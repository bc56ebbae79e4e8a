"""Requests that came before in the same bytes: answered as the parser would have it, or by it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from keyman.serving import again
from tests.serving import world as worlds
from tests.serving.world import World, nothing_usable, secret_of

GET = b"GET /api/v1/secrets/genai HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n"
AS_JSON = b"GET /api/v1/secrets/genai HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = b"GET /api/v1/credentials/genai HTTP/1.1\r\nHost: x\r\n\r\n"


class Asking:
    """One connection."""

    def __init__(self, connection: socket.socket, answers: BinaryIO) -> None:
        self._connection = connection
        self._read = answers

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def answer(self) -> tuple[int, bytes]:
        """The next answer: its status and its body."""
        status = int(self._read.readline().split()[1])
        length = 0
        while (line := self._read.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self._read.read(length)

    def ask(self, data: bytes) -> bytes:
        self.send(data)
        status, body = self.answer()
        assert status == 200, body
        return body


@contextmanager
def asking(world: World) -> Iterator[Asking]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(world.path))
        with connection.makefile("rb") as answers:
            yield Asking(connection, answers)


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    again._known.clear()


def value(version: int) -> bytes:
    return f"{secret_of('genai', version)}\n".encode()


def test_the_same_bytes_get_what_is_current_then(world: World) -> None:
    with asking(world) as one, asking(world) as other:
        for version in range(8, 20):
            world.serve("genai", version)
            assert one.ask(GET) == other.ask(GET) == value(version)
            assert secret_of("genai", version).encode() in one.ask(AS_JSON)
    assert again._known == {
        GET: again.Lookup("genai", plain=True),
        AS_JSON: again.Lookup("genai", plain=False),
    }


@pytest.mark.parametrize(
    "other",
    [
        GET + GET,
        GET + SLOW,
        GET + b"GET /api/v1/secrets/genai HTTP/1.1\r\nHo",
        GET[:-1],
        SLOW,
        b"HEAD" + GET[3:],
        GET.replace(b"genai", b"nobody"),
        GET.replace(b"genai", b"genai?stage=previous"),
        GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
        GET.replace(b"Host", b"Connection: close\r\nHost"),
        GET.replace(b"Host", b"If-None-Match: 7\r\nHost"),
        GET.replace(b"Host", b"User-Agent: " + b"x" * again.LONGEST + b"\r\nHost"),
    ],
)
def test_nothing_else_is_learned(world: World, other: bytes) -> None:
    with asking(world) as one:
        one.send(other)
        if other != GET[:-1] and not other.startswith(b"HEAD"):
            one.answer()
    assert again._known == {}


def test_a_request_in_the_middle_of_another_is_part_of_it(world: World) -> None:
    """The bytes of a known lookup, as the body of a report: they are a body."""
    with asking(world) as one:
        one.ask(GET)
        head = (
            b"POST /api/v1/secrets/genai/rejected HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        )
        one.send(head % len(GET))
        one.send(GET)
        assert one.answer()[0] == 400


def test_the_end_of_one_head_and_a_known_request(world: World) -> None:
    with asking(world) as one:
        one.ask(GET)
        one.send(b"GET /healthz HTTP/1.1\r\nX: ")
        one.send(GET)
        assert b'"ok"' in one.answer()[1], "its request line ended the other's header"
        assert one.ask(GET) == value(7)


def test_it_waits_for_its_turn(world: World) -> None:
    """A long poll comes first, and is answered first."""
    with asking(world) as one:
        one.ask(GET)
        one.send(b"GET /api/v1/secrets/genai?after=7&wait=30s HTTP/1.1\r\nHost: x\r\n\r\n")
        one.send(GET)
        with asking(world) as other:
            other.ask(GET)
        world.serve("genai", 8)
        assert b'"version": 8' in one.answer()[1]
        assert one.answer() == (200, value(8))


def test_what_can_not_be_handed_out_is_refused_in_full(world: World) -> None:
    with asking(world) as one:
        one.ask(GET)
        world.snapshot.publish("genai", nothing_usable(8))
        one.send(GET)
        status, body = one.answer()
        assert (status, b"no_usable_secret" in body) == (503, True)
        world.snapshot.withdraw("genai")
        one.send(GET)
        assert one.answer()[0] == 404
        world.serve("genai", 9)
        assert one.ask(GET) == value(9)


def test_a_user_who_may_not_see_the_name_is_told_nothing() -> None:
    """What an owner has asked is known, and is looked at anew for everybody else."""
    with worlds.world() as here:
        with asking(here) as owner:
            owner.ask(GET)
        doors = here.agent.doors
        uid = next(iter(doors.owners - {0}), 0)
        doors.owners = frozenset()
        with asking(here) as user:
            assert user.ask(GET) == value(7)
            doors.narrow({"genai": [uid + 1]})
            for _ in range(3):
                user.send(GET)
                assert user.answer()[0] == 404
            doors.narrow({"genai": [uid]})
            assert user.ask(GET) == value(7)
            assert user.ask(GET) == value(7)


def test_strangers_are_told_that_they_are(world: World) -> None:
    with asking(world) as owner:
        owner.ask(GET)
    doors = world.agent.doors
    doors.uids, doors.owners = frozenset(), frozenset()
    with asking(world) as stranger:
        stranger.send(GET)
        assert stranger.answer()[0] == 403


def test_only_so_many_requests_are_remembered(world: World) -> None:
    again._known.update(
        {b"%d" % number: again.Lookup("x", plain=True) for number in range(again.REMEMBERED)}
    )
    with asking(world) as one:
        one.ask(GET)
    assert list(again._known) == [GET]


def test_a_connection_that_only_repeats_itself_is_not_idle() -> None:
    """Where there is little room left, those who are idle have to go."""
    with worlds.world(limits=worlds.HASTY) as here, contextlib.ExitStack() as open_ones:
        many = [open_ones.enter_context(asking(here)) for _ in range(worlds.HASTY.connections)]
        for _ in range(60):
            assert [one.ask(GET) for one in many] == [value(7)] * len(many)
            here.clock.sleep(0.05)
