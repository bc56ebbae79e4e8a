"""Whoever is on the other side of a connection: whether they may ask, and for how long they stay.

Each connection is a pair of sockets within one loop, without an agent around it. What a user of
another uid or a client over TCP is answered by a whole agent: test_wire.py and test_tcp.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Collection, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from uvicorn.server import ServerState

from keyman.serving.crowd import Crowd, Room
from keyman.serving.doors import Caller, Client, Doors, User
from keyman.serving.local import Local
from keyman.serving.remote import SLOWED, Remote
from keyman.serving.snapshot import Snapshot
from keyman.serving.wire import Gate, Limits, Wire
from tests.serving.tcp_world import Authority
from tests.serving.test_doors import Recorded, recorded
from tests.serving.world import SetClock, version_is

ME = os.geteuid()
PATIENCE = 20  # seconds
PEER = "192.0.2.7"
ONE, OTHER, WRONG = (f"kmc_{letter * 43}" for letter in "ovw")
STATUS = "GET /api/v1/credentials/genai HTTP/1.1"
LOOKUP = "GET /api/v1/secrets/genai HTTP/1.1"
POLL = "GET /poll HTTP/1.1"
NO_HTTP = b"no HTTP at all\r\n\r\n"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def request(call: str, *headers: str) -> bytes:
    return "\r\n".join([call, "Host: keyman", *headers, "", ""]).encode()


class Talk(NamedTuple):
    """One connection: the agent's end of it, and the one of whoever asks."""

    wire: Any
    reads: asyncio.StreamReader
    writes: asyncio.StreamWriter

    def send(self, call: str, *headers: str) -> None:
        self.writes.write(request(call, *headers))

    async def ask(self, call: str = STATUS, *headers: str) -> Reply:
        self.send(call, *headers)
        return await self.reply()

    async def show(self, token: str) -> int:
        """The status of a lookup with this token."""
        return (await self.ask(LOOKUP, f"Authorization: Bearer {token}")).status

    async def reply(self) -> Reply:
        head = (await self.reads.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        body = await self.reads.readexactly(int(headers["content-length"]))
        return Reply(int(first.split()[1]), headers, body.decode())

    async def rest(self) -> bytes:
        """Whatever is said before the agent hangs up."""
        with contextlib.suppress(ConnectionResetError):
            return await self.reads.read()
        return b""


class Hall:
    """The door of one agent; what is behind it notes who asked."""

    def __init__(self, doors: Doors, limits: Limits) -> None:
        snapshot = Snapshot(SetClock())
        snapshot.publish("genai", version_is("genai", 7))
        snapshot.beat()
        self.gate = Gate(snapshot, doors, limits)
        self.crowd = Crowd(Room(in_all=99, of_a_peer=99, strangers=99))
        self.asked: list[Caller] = []
        self.polled = asyncio.Event()
        self._config = uvicorn.Config(
            self._app, http=Wire, ws="none", lifespan="off", interface="asgi3", log_config=None
        )
        self._config.load()
        self._state = ServerState()
        self._loop = asyncio.get_running_loop()
        self._talks: list[Talk] = []

    async def _app(self, scope: Any, _receive: Any, send: Any) -> None:
        self.asked.append(scope["state"]["caller"])
        if scope["path"] == "/poll":
            self.polled.set()
            await self._loop.create_future()
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    async def local(self) -> Talk:
        """Somebody on this machine, who is this process's own user."""
        return await self._connected(lambda: Local(*self._shared))

    async def remote(
        self, hosts: Collection[bytes] = (b"keyman",), tls: ssl.SSLContext | None = None
    ) -> Talk:
        """Somebody in the network."""
        visit = self.crowd.enter(PEER)
        assert visit
        return await self._connected(lambda: Remote(*self._shared, visit=visit, hosts=hosts), tls)

    @property
    def _shared(self) -> tuple[Gate, uvicorn.Config, ServerState, asyncio.AbstractEventLoop]:
        return self.gate, self._config, self._state, self._loop

    async def _connected(self, make: Any, tls: ssl.SSLContext | None = None) -> Talk:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        if tls is None:
            _, wire = await self._loop.connect_accepted_socket(make, ours)
            reads, writes = await asyncio.open_unix_connection(sock=theirs)
        else:
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            taken = self._loop.connect_accepted_socket(make, ours, ssl=tls)
            coming = asyncio.open_unix_connection(sock=theirs, ssl=trusting, server_hostname="x")
            (_, wire), (reads, writes) = await asyncio.gather(taken, coming)
        self._talks.append(Talk(wire, reads, writes))
        return self._talks[-1]

    async def polling(self, *headers: str, remote: bool = False) -> Talk:
        """Somebody whose request is under way."""
        talk = await (self.remote() if remote else self.local())
        self.polled.clear()
        talk.send(POLL, *headers)
        await self.polled.wait()
        return talk

    async def close(self) -> None:
        for talk in self._talks:
            talk.writes.close()
            talk.wire.transport.abort()
        for task in self._state.tasks:
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def hall(
    *clients: Recorded,
    uids: Collection[int] = (),
    owners: Collection[int] = (),
    limits: Limits | None = None,
) -> AsyncIterator[Hall]:
    doors = Doors(uids, owners)
    doors.admit(clients)
    here = Hall(doors, limits or Limits())
    try:
        yield here
    finally:
        await here.close()


def run(scene: Coroutine[Any, Any, None]) -> None:
    """Who is never answered doesn't wait for ever, and nothing goes wrong behind the scene."""
    wrong: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: wrong.append(told))
        await asyncio.wait_for(scene, PATIENCE)

    asyncio.run(watched())
    assert wrong == []


def token(name: str, shown: str, *grants: str) -> Recorded:
    return recorded(name, shown, *(grants or ("genai",)))


def code(reply: Reply) -> tuple[int, str]:
    return reply.status, json.loads(reply.body)["error"]["code"]


# On this machine.


@pytest.mark.parametrize(
    ("uids", "owners", "who"),
    [((), (ME,), User(ME, owner=True)), ((ME,), (), User(ME, owner=False)), ((), (), None)],
    ids=["an owner", "one who is let in", "a stranger"],
)
def test_a_user_is_who_the_kernel_says(
    uids: Collection[int], owners: Collection[int], who: User | None
) -> None:
    async def seen() -> None:
        async with hall(uids=uids, owners=owners) as here:
            talk = await here.local()
            assert (talk.wire.uid, talk.wire.process) == (ME, os.getpid())
            reply = await talk.ask()
            if who is None:
                assert code(reply) == (403, "not_allowed")
                assert (here.asked, here.gate.guests) == ([], set())
            else:
                assert (reply.status, here.asked) == (200, [who])
                assert (here.gate.guests, here.gate.strangers) == ({talk.wire}, set())

    run(seen())


def test_a_stranger_hears_the_same_whatever_they_send() -> None:
    async def heard() -> None:
        async with hall() as here:
            talks = [await here.local() for _ in range(3)]
            assert here.gate.strangers == {talk.wire for talk in talks}
            talks[0].send(LOOKUP)
            talks[1].send("POST /api/v1/credentials/genai/rotate HTTP/1.1", "Content-Length: 0")
            talks[2].writes.write(NO_HTTP)
            (answer,) = {await talk.rest() for talk in talks}
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert here.asked == []

    run(heard())


def test_who_may_ask_is_told_what_was_wrong_with_their_request() -> None:
    async def told() -> None:
        async with hall(owners=[ME]) as here:
            talk = await here.local()
            talk.writes.write(NO_HTTP)
            assert code(await talk.reply()) == (400, "usage")

    run(told())


def test_only_so_many_strangers_are_kept_waiting() -> None:
    async def kept() -> None:
        async with hall(limits=Limits(strangers=2)) as here:
            talks = [await here.local() for _ in range(3)]
            assert [talk.wire.transport.is_closing() for talk in talks] == [False, False, True]
            assert await talks[2].rest() == b""

    run(kept())


@pytest.mark.parametrize(
    ("owner", "own", "others", "remote", "comes_in"),
    [
        (False, 0, 0, 0, True),
        (False, 3, 0, 0, True),
        (False, 4, 0, 0, False),
        (False, 3, 3, 0, True),
        (False, 3, 0, 3, True),
        (False, 0, 4, 3, False),
        (True, 7, 0, 0, True),
        (True, 0, 4, 3, True),
        (True, 8, 0, 0, False),
        (True, 0, 4, 4, False),
    ],
    ids=[
        *("a first", "a fourth of one user", "a fifth of one user takes half of the room"),
        *("users are counted apart", "clients are counted apart"),
        *(
            "an eighth where one is kept for owners",
            "an owner may have all",
            "an owner beside others",
        ),
        *("an owner's ninth of eight", "an owner where all is taken"),
    ],
)
def test_no_user_but_an_owner_may_take_all_the_room(
    owner: bool, own: int, others: int, remote: int, comes_in: bool
) -> None:
    """Eight connections, of which one is kept for owners."""

    async def come() -> None:
        limits = Limits(connections=8)
        assert limits.owners == 1
        async with hall(token("one", ONE), owners=[ME], limits=limits) as here:
            for _ in range(remote):
                assert await (await here.remote()).show(ONE) == 200
            for number in range(own + others):
                (await here.local()).wire.uid = ME if number < own else ME + 1
            if not owner:
                here.gate.doors.uids, here.gate.doors.owners = frozenset([ME]), frozenset()
            talk = await here.local()
            if comes_in:
                assert (await talk.ask()).status == 200
            else:
                assert code(await talk.reply()) == (429, "too_many")
                assert await talk.rest() == b""

    run(come())


@pytest.mark.parametrize(
    ("took", "guests", "stays"),
    [(True, 1, True), (True, 3, True), (True, 4, False), (False, 1, False)],
    ids=["alone", "less than half", "half of the room is taken", "has taken nothing"],
)
def test_who_took_a_secret_stays_while_there_is_room(took: bool, guests: int, stays: bool) -> None:
    async def stay() -> None:
        async with hall(owners=[ME], limits=Limits(connections=8)) as here:
            talks = [await here.local() for _ in range(guests)]
            if took:
                assert (await talks[0].ask(LOOKUP)).status == 200
            limits = here.gate.limits
            talks[0].wire.look_after(asyncio.get_running_loop().time() + limits.idle + 1)
            assert talks[0].wire.transport.is_closing() == (not stays)

    run(stay())


def test_a_connection_follows_the_rights_of_its_user() -> None:
    async def follow() -> None:
        async with hall(uids=[ME]) as here:
            talk = await here.local()
            for narrowed in ({}, {"genai": frozenset[int]()}, {"genai": frozenset([ME])}):
                here.gate.doors.narrow(narrowed)
                who = User(ME, owner=False, narrowed=narrowed)
                assert (await talk.ask()).status == 200
                assert here.asked.pop() == who

    run(follow())


@pytest.mark.parametrize(
    ("uids", "owners", "polls", "change", "goes_on"),
    [
        ((ME,), (), True, "narrow", False),
        ((ME,), (), True, "admit", True),
        ((ME,), (), False, "narrow", True),
        ((), (ME,), True, "narrow", True),
        ((), (), False, "narrow", True),
    ],
    ids=[
        *("a user who waits for a name", "whom the change is not about", "who waits for nothing"),
        *("an owner", "a stranger, who has nothing to lose"),
    ],
)
def test_where_names_are_narrowed_a_wait_for_one_ends(
    uids: Collection[int], owners: Collection[int], polls: bool, change: str, goes_on: bool
) -> None:
    async def wait() -> None:
        async with hall(uids=uids, owners=owners) as here:
            talk = await (here.polling() if polls else here.local())
            if change == "narrow":
                here.gate.doors.narrow({"genai": []})
            else:
                here.gate.doors.admit([token("one", ONE)])
            talk.wire.look_again()
            assert talk.wire.transport.is_closing() == (not goes_on)

    run(wait())


# In the network.


def test_a_client_is_known_by_its_token_and_its_use_is_noted() -> None:
    async def known() -> None:
        async with hall(token("one", ONE)) as here:
            talk = await here.remote()
            assert (dict(here.crowd.strangers), here.gate.guests) == ({PEER: 1}, set())
            digest = hashlib.sha256(ONE.encode()).digest()
            for _ in range(2):
                await talk.ask(STATUS, f"Authorization: Bearer {ONE}")
            assert here.asked == [Client("one", digest, frozenset(["genai"]))] * 2
            assert here.gate.used == {digest}
            assert (dict(here.crowd.strangers), here.gate.guests) == ({}, {talk.wire})
            talk.wire.connection_lost(None)
            assert (here.crowd.count, dict(here.crowd.peers)) == (0, {})
            assert here.gate.guests == set()

    run(known())


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ((), (401, "not_allowed")),
        ((f"Authorization: Bearer {WRONG}",), (401, "not_allowed")),
        ((f"X-Odd: Bearer {ONE}",), (401, "not_allowed")),
        ((f"Authorization: Bearer {ONE}", f"Authorization: Bearer {ONE}"), (401, "not_allowed")),
        ((f"Authorization: Bearer {ONE}", "Origin: null"), (403, "not_allowed")),
        ((f"Authorization: Bearer {ONE}", "Host: evil.example"), (403, "not_allowed")),
    ],
    ids=["no token", "a wrong one", "elsewhere", "two", "a page", "two hosts"],
)
def test_who_shows_no_right_token_is_turned_away(
    headers: tuple[str, ...], refused: tuple[int, str]
) -> None:
    async def turned() -> None:
        async with hall(token("one", ONE)) as here:
            for call in (LOOKUP, STATUS):
                talk = await here.remote()
                reply = await talk.ask(call, *headers)
                assert code(reply) == refused
                assert reply.headers.get("www-authenticate") == (
                    "bearer" if refused[0] == 401 else None
                )
                assert await talk.rest() == b""
            assert (here.asked, here.gate.guests, here.gate.used) == ([], set(), set())
            assert dict(here.crowd.strangers) == {PEER: 2}

    run(turned())


def test_every_request_is_looked_at_for_its_own_token() -> None:
    async def looked() -> None:
        async with hall(token("one", ONE), token("other", OTHER, "vertex")) as here:
            talk = await here.remote()
            for shown in (ONE, OTHER, ONE):
                await talk.ask(STATUS, f"Authorization: Bearer {shown}")
            names = [who.name for who in here.asked if isinstance(who, Client)]
            assert names == ["one", "other", "one"]
            assert await talk.show(WRONG) == 401

    run(looked())


def test_a_token_that_has_ended_is_not_taken_again() -> None:
    async def ended() -> None:
        async with hall(token("one", ONE)) as here:
            talk = await here.remote()
            assert await talk.show(ONE) == 200
            here.gate.doors.admit([])
            assert await talk.show(ONE) == 401

    run(ended())


def test_clients_leave_room_for_owners_and_stay_where_an_owner_took_it() -> None:
    async def leave() -> None:
        limits = Limits(connections=8)
        async with hall(token("one", ONE), owners=[ME], limits=limits) as here:
            talks = [await here.remote() for _ in range(8)]
            assert [await talk.show(ONE) for talk in talks] == [200] * 7 + [429]
            assert await talks[7].rest() == b""
            talks[7].wire.connection_lost(None)
            assert (await (await here.local()).ask()).status == 200
            assert await talks[0].show(ONE) == 200

    run(leave())


def test_wrong_tokens_without_end_are_held_up(caplog: pytest.LogCaptureFixture) -> None:
    async def held() -> None:
        async with hall(token("one", ONE)) as here:
            statuses = [(await (await here.remote()).ask(LOOKUP)).status for _ in range(11)]
            assert statuses == [401] * 11, "who shows none has guessed nothing"
            for _ in range(10):
                assert await (await here.remote()).show(WRONG) == 401
            assert caplog.messages == []
            talk = await here.remote()
            talk.wire.data_received(request(LOOKUP, f"Authorization: Bearer {WRONG}"))
            refusal = talk.wire._refusal
            assert (refusal.error.code, refusal.after) == ("too_many", SLOWED)
            assert refusal.error.hint == "wait as long as Retry-After says"
            name, _, wait = refusal.headers.partition(": ")
            assert (name, wait[-2:]) == ("retry-after", "\r\n")
            assert 0 < int(wait) <= 60
            assert PEER in caplog.text
            assert WRONG not in caplog.text
            assert await (await here.remote()).show(ONE) == 200, "the right one is not held up"

    run(held())


@pytest.mark.parametrize(
    ("shown", "left", "goes_on"),
    [(None, (), True), (ONE, ("one", "other"), True), (ONE, ("other",), False)],
    ids=["has shown no token yet", "its token is there", "its token has ended"],
)
def test_whose_token_has_ended_is_hung_up_on(
    shown: str | None, left: tuple[str, ...], goes_on: bool
) -> None:
    async def hung() -> None:
        clients = [token("one", ONE), token("other", OTHER)]
        async with hall(*clients) as here:
            talk = await here.remote()
            if shown:
                assert await talk.show(shown) == 200
            here.gate.doors.admit([one for one in clients if one.name in left])
            talk.wire.look_again()
            assert talk.wire.transport.is_closing() == (not goes_on)

    run(hung())


def test_after_a_refusal_the_rest_is_still_read_so_that_no_reset_takes_it_along() -> None:
    async def read() -> None:
        async with hall() as here:
            talk = await here.remote()
            assert (await talk.ask()).status == 401
            assert await talk.rest() == b""
            assert not talk.wire.transport.is_closing()

    run(read())


def test_an_encrypted_connection_is_closed_after_a_refusal(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("agent")

    async def closed() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert, files.key)
        async with hall() as here:
            talk = await here.remote(tls=context)
            assert (await talk.ask()).status == 401
            assert await talk.rest() == b""
            assert talk.wire.transport.is_closing()

    run(closed())
