"""What connected clients took last: known as long as they are connected, and bounded."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

import pytest

from keyman.serving.wire import NAMES_REMEMBERED
from tests.commands.world import until
from tests.serving import tcp_world
from tests.serving import world as worlds
from tests.serving.world import HASTY, World, version_is

PLAIN = "GET /api/v1/secrets/{} HTTP/1.1\r\nHost: x\r\n{}\r\n"


class Kept:
    """A client that keeps its connection."""

    def __init__(self, connection: socket.socket, answers: BinaryIO) -> None:
        self._connection = connection
        self._answers = answers

    def ask(self, name: str = "genai", headers: str = "") -> int:
        """Look up; the status of the answer."""
        self.send(name, headers)
        return self.answer()

    def send(self, name: str = "genai", headers: str = "", method: str = "GET") -> None:
        asked = PLAIN.format(name, headers).replace("GET", method, 1)
        self._connection.sendall(asked.encode())

    def answer(self, *, of_a_head: bool = False) -> int:
        status, length = int(self._answers.readline().split()[1]), 0
        while (line := self._answers.readline()).strip():
            key, _, value = line.lower().partition(b":")
            length = int(value) if key == b"content-length" else length
        self._answers.read(0 if of_a_head else length)
        return status

    @property
    def hung_up(self) -> bool:
        return self._answers.read(1) == b""


PASSES_ON = """
import socket, sys, threading
a, b = socket.socket(fileno=int(sys.argv[1])), socket.socket(socket.AF_UNIX)
b.connect(sys.argv[2])
def pump(one, other):
    while data := one.recv(65536):
        other.sendall(data)
    other.shutdown(socket.SHUT_WR)
threading.Thread(target=pump, args=(b, a)).start()
pump(a, b)
"""


@contextmanager
def client(world: World) -> Iterator[Kept]:
    """One of this process."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(world.path))
        with connection.makefile("rb") as answers:
            yield Kept(connection, answers)


@contextmanager
def elsewhere(world: World) -> Iterator[Kept]:
    """One of another process."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    words = [sys.executable, "-c", PASSES_ON, str(theirs.fileno()), str(world.path)]
    with ours, theirs, subprocess.Popen(words, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        with ours.makefile("rb") as answers:
            yield Kept(ours, answers)
        ours.shutdown(socket.SHUT_RDWR)
        process.wait(20)


def taken(world: World, name: str = "genai") -> list[int]:
    return sorted(world.agent.taken(name))


def shown(world: World) -> object:
    return world.ask("GET", "/api/v1/credentials/genai")[2]["clients"]


@pytest.fixture(autouse=True)
def current_is_known(world: World) -> None:
    world.desk.credentials["genai"]["current"] = {"version": 7}


def test_what_each_connected_client_took_last(world: World) -> None:
    assert taken(world) == []
    with client(world) as one, elsewhere(world) as other:
        assert one.ask() == one.ask() == other.ask() == 200
        assert taken(world) == [7, 7]
        assert shown(world) == {"connected": 2, "behind": 0}
        world.serve("genai", 8, previous=7)
        world.desk.credentials["genai"]["current"] = {"version": 8}
        assert one.ask() == 200
        assert taken(world) == [7, 8]
        assert shown(world) == {"connected": 2, "behind": 1}
        assert taken(world, "vertex") == []
    until(lambda: taken(world) == [])
    assert shown(world) == {"connected": 0, "behind": 0}


def test_threads_of_one_process_hold_what_the_newest_took(world: World) -> None:
    """Each has a connection of its own, and most of them never ask again."""
    with client(world) as one, client(world) as other:
        assert one.ask() == other.ask() == 200
        world.serve("genai", 8, previous=7)
        world.desk.credentials["genai"]["current"] = {"version": 8}
        assert other.ask() == 200
        assert taken(world) == [8]
        assert shown(world) == {"connected": 1, "behind": 0}


@pytest.mark.parametrize(
    "headers", ["", "Accept: text/plain\r\n", "X-Other: 1\r\n", 'If-None-Match: "7"\r\n']
)
def test_however_it_is_asked_for(world: World, headers: str) -> None:
    with client(world) as one:
        assert one.ask(headers=headers) in (200, 304)
        assert taken(world) == [7]


@pytest.mark.parametrize("asked", ["genai?stage=previous", "nobody", "genai?after=x"])
def test_what_is_no_taking(world: World, asked: str) -> None:
    with client(world) as one:
        one.ask(asked)
        assert taken(world) == taken(world, "nobody") == []


def test_a_head_takes_nothing(world: World) -> None:
    with client(world) as one:
        one.send(method="HEAD")
        assert one.answer(of_a_head=True) == 200
        assert taken(world) == []


def test_who_waits_for_news_has_what_they_say_until_it_comes(world: World) -> None:
    with client(world) as one:
        one.send("genai?after=7&wait=20s")
        until(lambda: taken(world) == [7])
        world.serve("genai", 8, previous=7)
        assert one.answer() == 200
        assert taken(world) == [8]
        one.send("genai?after=8&wait=1ms")
        assert one.answer() == 304
        assert taken(world) == [8]


def test_who_reports_a_refusal_takes_what_comes_instead(world: World) -> None:
    world.serve("genai", 8, previous=7)
    with client(world) as one:
        body = '{"version": 7}'
        head = f"Content-Length: {len(body)}\r\n"
        one.send("genai/rejected", head, "POST")
        one._connection.sendall(body.encode())
        assert one.answer() == 200
        assert taken(world) == [8]


def test_clients_over_tcp_count_as_well() -> None:
    with tcp_world.network() as net, net.connect() as connection:
        connection.sendall(net.request("GET /api/v1/secrets/genai", net.client("one")))
        assert tcp_world.read_reply(connection).status == 200
        assert taken(net) == [7]


def test_only_so_many_names_are_remembered_of_each(world: World) -> None:
    names = [f"n{number}" for number in range(NAMES_REMEMBERED + 3)]
    for name in names:
        world.snapshot.publish(name, version_is(name, 1))
    with client(world) as one:
        for _ in range(2):
            assert all(one.ask(name) == 200 for name in names)
        assert [name for name in names if taken(world, name)] == names[3:]


# Who took a secret may stay, so that it is known.


@pytest.mark.parametrize("headers", ["", "Accept: application/json, text/plain, */*\r\n"])
def test_who_took_something_is_not_hung_up_on_for_being_silent(headers: str) -> None:
    with worlds.world(limits=HASTY) as here, client(here) as one, client(here) as idle:
        assert one.ask(headers=headers) == 200
        assert idle.hung_up
        assert taken(here) == [7]
        assert one.ask() == 200


def test_but_not_where_room_runs_short() -> None:
    with worlds.world(limits=HASTY) as here, ExitStack() as stack:
        crowd = [stack.enter_context(elsewhere(here)) for _ in range(HASTY.connections // 2)]
        for one in crowd:
            assert one.ask() == 200
        until(lambda: len(taken(here)) < len(crowd))
        assert crowd


def test_nor_over_tcp_where_a_client_may_be_gone_unseen() -> None:
    with tcp_world.network(limits=HASTY) as net, net.connect() as connection:
        connection.sendall(net.request("GET /api/v1/secrets/genai", net.client("one")))
        assert tcp_world.read_reply(connection).status == 200
        until(lambda: taken(net) == [])
