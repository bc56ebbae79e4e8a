"""What one connection may do to the agent: who it is, how much it sends, how slowly, how oddly."""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyman.serving.api import Api
from keyman.serving.local import peer_of
from keyman.serving.server import Agent
from keyman.serving.wire import Limits
from tests.commands.world import until
from tests.serving import world as worlds
from tests.serving.world import CANARY, HASTY, World, read_all, secret_of

LOOKUP = b"GET /api/v1/secrets/genai HTTP/1.1\r\nHost: keyman\r\nAccept: text/plain\r\n\r\n"
CLOSING = LOOKUP.replace(b"Host", b"Connection: close\r\nHost")
VALUE = secret_of("genai", 7).encode()
NOBODY = 65534

AS_ANOTHER = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(20)
try:
    connection.connect(sys.argv[1])
except PermissionError:
    print("no way in"); sys.exit()
connection.sendall(sys.argv[3].encode())
read = b""
try:
    while data := connection.recv(65536):
        read += data
except ConnectionResetError:
    pass
sys.stdout.write(read.decode())
"""

need_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can ask as somebody else: sudo make test"
)


def asked_by(uid: int, path: Path, request: bytes) -> str:
    """What another user is answered. The uid counts that a process has when it connects."""
    ran = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER, str(path), str(uid), request.decode()],
        capture_output=True,
        timeout=60,
        check=True,
    )
    return ran.stdout.decode()


@pytest.fixture
def shared() -> Iterator[World]:
    """An agent outside the home, for a user who may ask and others who may not."""
    with worlds.world(allow_uids=[12345]) as here:
        here.path.parent.chmod(0o755)
        yield here


@pytest.fixture
def hasty() -> Iterator[World]:
    with worlds.world(limits=HASTY) as here:
        yield here


# Who is asking.


@need_root
@pytest.mark.parametrize(
    "request_",
    [
        CLOSING,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/secrets/unknown HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/credentials/genai/rotate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
        b"no HTTP at all\r\n\r\n",
    ],
)
def test_a_stranger_gets_403_whatever_the_path(shared: World, request_: bytes) -> None:
    answer = asked_by(NOBODY, shared.path, request_)
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 403 ")
    assert json.loads(body)["error"]["code"] == "not_allowed"
    assert CANARY not in answer
    assert shared.desk.wishes == []


@need_root
def test_an_allowed_user_gets_the_secret(shared: World) -> None:
    assert asked_by(12345, shared.path, CLOSING).endswith(secret_of("genai", 7) + "\n")


@need_root
def test_root_gets_the_secret_from_whoevers_agent(shared: World) -> None:
    assert asked_by(0, shared.path, CLOSING).endswith(secret_of("genai", 7) + "\n")


@need_root
def test_without_allow_uids_others_do_not_even_reach_the_socket(world: World) -> None:
    world.path.parent.chmod(0o755)
    assert asked_by(NOBODY, world.path, CLOSING).strip() == "no way in"


LOOKS = (
    "GET /api/v1/secrets/genai",
    "GET /api/v1/secrets/genai?stage=previous",
    "GET /api/v1/secrets/genai?after=6",
    "GET /api/v1/credentials",
    "GET /api/v1/credentials/genai",
    "GET /healthz",
    "GET /readyz",
    "GET /api/openapi.json",
)
ORDERS = (
    *(
        f"POST /api/v1/credentials/genai/{verb}"
        for verb in (
            *("rotate", "revoke", "rollback", "activate", "deactivate"),
            *("adopt", "put", "forget", "whatever-comes-next"),
        )
    ),
    "POST /api/v1/reload",
    "GET /api/v1/orders/1",
    "DELETE /api/v1/secrets/genai",
    "POST /api/v1/secrets/genai",
    "GET /whatever-comes-next",
)


def asking(call: str, body: bytes = b"") -> bytes:
    head = f"{call} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\nContent-Type: application/json\r\n\r\n" + body


@need_root
@pytest.mark.parametrize("call", LOOKS)
def test_an_allowed_user_may_look(shared: World, call: str) -> None:
    assert asked_by(12345, shared.path, asking(call)).startswith("HTTP/1.1 200 ")


@need_root
def test_an_allowed_user_may_report_a_refusal(shared: World) -> None:
    call = asking("POST /api/v1/secrets/genai/rejected", b'{"version": 6}')
    assert asked_by(12345, shared.path, call).endswith('"quota_project": null}')


@need_root
@pytest.mark.parametrize("call", ORDERS)
def test_an_allowed_user_may_do_nothing_else(shared: World, call: str) -> None:
    """Nor learn from the answer what its body would have been good for."""
    body = b'{"secret": "s", "slot": "key-one"}' if "adopt" in call else b"not JSON"
    answer = asked_by(12345, shared.path, asking(call, body))
    head, _, said = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 403 ")
    assert json.loads(said)["error"] == {
        "code": "not_allowed",
        "message": "this user may look up secrets and their status, and nothing else",
        "hint": "ask as the user who runs keyman, or as root",
    }
    assert (shared.desk.wishes, shared.desk.adopted, shared.desk.puts) == ([], [], [])
    assert shared.reloads == 0


def test_who_is_no_owner_may_look_and_not_order(world: World) -> None:
    """The same without another user at hand: the daemon's own is taken for one."""
    world.agent.doors.owners = frozenset()
    assert world.ask("GET", "/api/v1/credentials/genai")[0] == 200
    assert world.ask("POST", "/api/v1/credentials/genai/rotate", {})[0] == 403
    assert world.desk.wishes == []


@need_root
def test_root_may_order(shared: World) -> None:
    call = asking("POST /api/v1/credentials/genai/rotate", b"{}")
    assert asked_by(0, shared.path, call).startswith("HTTP/1.1 202 ")
    assert shared.desk.wishes[0][1].by == "uid 0 (root)"


@pytest.mark.slow
@need_root
def test_strangers_cannot_take_the_room_of_others() -> None:
    limits = Limits(strangers=3, connections=8)
    with worlds.world(allow_uids=[12345], limits=limits) as here:
        here.path.parent.chmod(0o755)
        hold = AS_ANOTHER.replace(
            "connection.sendall", "print('in', flush=True); input(); (lambda x: 0)"
        )
        command = [sys.executable, "-c", hold, str(here.path), str(NOBODY), ""]
        crowd = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(6)
        ]
        try:
            for one in crowd:
                assert one.stdout is not None
                assert one.stdout.readline() == "in\n"
            assert VALUE in here.say(CLOSING)
            assert len(here.agent._gate.strangers) <= 3
        finally:
            for one in crowd:
                one.communicate("\n", timeout=20)


@need_root
def test_who_may_only_look_cannot_take_the_room_of_the_owner() -> None:
    limits = Limits(connections=16)
    with worlds.world(allow_uids=[NOBODY], limits=limits) as here:
        here.path.parent.chmod(0o755)
        hold = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
crowd = [socket.socket(socket.AF_UNIX) for _ in range(40)]
for one in crowd:
    one.connect(sys.argv[1])
print("in", flush=True)
input()
"""
        command = [sys.executable, "-c", hold, str(here.path), str(NOBODY)]
        crowd = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == "in\n"
            until(lambda: here.agent._gate.connections == 8)
            assert VALUE in here.say(CLOSING)
        finally:
            crowd.communicate("\n", timeout=20)


# How they ask.


class NoFramework:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("a plain lookup does not come here")


@pytest.mark.parametrize(
    "accept", ["", "Accept: */*", "Accept: application/json", "Accept: text/plain"]
)
def test_a_plain_lookup_is_answered_without_the_framework(world: World, accept: str) -> None:
    world.agent.stop()
    api = Api(world.desk, world.snapshot, reload=dict, since=world.clock.wall)
    api.app = NoFramework()  # type: ignore[assignment]
    world.agent = Agent(api, world.path)
    world.agent.start()
    lines = ["GET /api/v1/secrets/genai HTTP/1.1", "Host: x", "User-Agent: curl/8", accept]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(world.path))
        connection.sendall("\r\n".join([*filter(None, lines), "", ""]).encode())
        assert VALUE in connection.recv(65536)


def test_one_connection_serves_many_requests_in_order(world: World) -> None:
    pipelined = LOOKUP * 3 + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + LOOKUP + CLOSING
    read = world.say(pipelined)
    assert read.count(b"HTTP/1.1 200 OK") == 6
    assert read.count(VALUE) == 5
    assert read.index(b'"status"') > read.index(VALUE)
    assert read.rindex(VALUE) > read.index(b'"status"')


def test_a_lookup_behind_a_slow_request_waits_for_its_turn(world: World) -> None:
    wait = b"GET /api/v1/secrets/genai?after=7&wait=0.2s HTTP/1.1\r\nHost: x\r\n\r\n"
    read = world.say(wait + LOOKUP + CLOSING)
    assert read.startswith(b"HTTP/1.1 304 ")
    assert read.count(VALUE) == 2


def test_a_request_may_come_in_pieces(world: World) -> None:
    assert VALUE in world.say(*(bytes([byte]) for byte in CLOSING))


def test_the_old_protocol_is_answered_and_closed(world: World) -> None:
    assert VALUE in world.say(b"GET /api/v1/secrets/genai HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /api/v1/secrets/genai HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /api/v1/secrets/gen\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/secrets/gen\x00ai HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /x HTTP/1.1\r\nA: b\x00c\r\n\r\n",
        b"GET /x HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"GET /x HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT keyman:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_hung_up_on(
    world: World, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    read = world.say(raw)
    assert read.startswith(b"HTTP/1.1 4"), read
    assert VALUE not in read
    assert "Traceback" not in caplog.text
    assert VALUE in world.say(CLOSING), "others are served as before"


def test_an_upgrade_is_answered_as_the_plain_request_it_also_is(world: World) -> None:
    raw = LOOKUP.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: websocket\r\nHost")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(world.path))
        connection.sendall(raw)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_random_bytes_never_harm_the_agent(world: World) -> None:
    dice = random.Random(4)
    for _ in range(150):
        raw = bytearray(LOOKUP)
        for _ in range(dice.randrange(1, 12)):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(world.path))
            connection.sendall(bytes(raw))
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection)[:9] in (b"", b"HTTP/1.1 ")
    assert VALUE in world.say(CLOSING)


# How much, how slowly, how many.


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /api/v1/secrets/genai HTTP/1.1\r\nX: " + b"a" * 9_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: aaaa\r\n" % n for n in range(900)) + b"\r\n",
        b"GET /api/v1/secrets/genai HTTP/1.1\r\nX: " + b"a" * 200_000,
    ],
)
def test_a_head_beyond_8_kib_is_refused(world: World, raw: bytes) -> None:
    read = world.say(raw)
    assert read.split()[1] in (b"400", b"431")
    assert VALUE not in read


def test_a_head_dribbled_without_end_is_refused_once_it_is_too_long(world: World) -> None:
    pieces = [b"a" * 1_000] * 12
    assert world.say(b"GET / HTTP/1.1\r\nX: ", *pieces).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_64_kib_is_refused(world: World, chunked: bool) -> None:
    head = b"POST /api/v1/credentials/genai/rotate HTTP/1.1\r\nHost: x\r\n"
    size = 70_000
    if chunked:
        raw = (
            head
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + (b"1000\r\n" + b"a" * 4096 + b"\r\n") * 20
        )
    else:
        raw = head + b"Content-Length: %d\r\n\r\n" % size + b"a" * size
    assert world.say(raw).startswith(b"HTTP/1.1 400 ")
    assert world.desk.wishes == []


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /api/v1/secrets/genai HTTP/1.1\r\nHo",
        b"POST /api/v1/credentials/genai/rotate HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_who_stops_in_the_middle_is_hung_up_on(hasty: World, raw: bytes) -> None:
    assert hasty.say(raw).startswith(b"HTTP/1.1 408 ")
    assert hasty.desk.wishes == []


def test_who_is_silent_for_long_is_hung_up_on(hasty: World) -> None:
    assert hasty.say(b"") == b""
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    assert b"200 OK" in hasty.say(health), "after an answer as well"


def test_a_long_poll_is_not_silence(hasty: World) -> None:
    raw = CLOSING.replace(b"genai", b"genai?after=7&wait=2.5s")
    assert hasty.say(raw).startswith(b"HTTP/1.1 304 ")


def test_too_many_connections_are_refused_and_those_that_are_open_go_on(hasty: World) -> None:
    crowd = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    try:
        for one in crowd:
            one.settimeout(20)
            one.connect(str(hasty.path))
            one.sendall(LOOKUP)
            assert VALUE in one.recv(65536)
        assert hasty.say(LOOKUP).startswith(b"HTTP/1.1 429 ")
        crowd[0].sendall(LOOKUP)
        assert VALUE in crowd[0].recv(65536)
    finally:
        for one in crowd:
            one.close()


def test_who_never_reads_does_not_hold_up_others(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(world.path))
        deaf.settimeout(1)
        with pytest.raises(TimeoutError):  # nothing more is taken from who takes nothing
            send_without_end(deaf)
        assert VALUE in world.say(CLOSING)


def send_without_end(connection: socket.socket) -> None:
    for _ in range(1_000):  # 80 MB
        connection.send(LOOKUP * 1_000)


# Readers and a writer.


def test_value_and_version_belong_together_and_never_go_back(world: World) -> None:
    """Readers over the wire while versions are published as fast as they can be."""
    done = threading.Event()
    wrong: list[str] = []

    def read() -> None:
        last = 0
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(world.path))
            while not done.is_set():
                connection.sendall(LOOKUP)
                head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
                version = int(head.partition(b'etag: "')[2].partition(b'"')[0])
                if body.decode() != secret_of("genai", version) + "\n" or version < last:
                    wrong.append(f"{version} after {last}: {body!r}")
                last = version

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for version in range(8, 2_000):
        world.serve("genai", version, previous=version - 1)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_peer_credentials_are_what_the_kernel_says() -> None:
    """The layout that peer_of reads, checked against who we are."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/s")
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{folder}/s")
            server, _ = listener.accept()
            with server:
                assert peer_of(server) == (os.geteuid(), os.getpid())
