"""One connection: who is asking, how much they may send, and the answer to a plain lookup.

uvicorn's protocol class does the parsing (llhttp) and hands requests to the framework. On top of
that this class asks the kernel, once a connection, for the peer's uid; turns strangers away
whatever they ask for; bounds head, body, time and number; and answers the plain lookup itself
from the snapshot's finished bytes. Rests on internals of uvicorn, which is why its version is
pinned; the tests of this folder fail if they move.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from keyman.errors import STATUSES, Error, NotAllowed, TooMany, UsageError
from keyman.serving.snapshot import JSON, Snapshot

if TYPE_CHECKING:
    import socket

    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
    from uvicorn.server import ServerState

LOOKUP = b"/api/v1/secrets/"
JSON_WANTED = (b"*/*", JSON.encode())
PLAIN_WANTED = (b"text/plain",)
INDIFFERENT = (b"host", b"user-agent", b"accept-encoding", b"connection")  #: to a plain lookup


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take (bytes, seconds), and how many there may be."""

    head: int = 8 * 1024
    body: int = 64 * 1024
    read_within: float = 5.0  #: from a request's first byte to its last
    idle: float = 75.0
    connections: int = 4096
    strangers: int = 64  #: connections of those who are not allowed, at once


@dataclass(slots=True)
class Gate:
    """What the connections of one agent share. `uids` may look up; nobody else may ask at all.

    `owners` among them may do whatever the API offers.
    """

    snapshot: Snapshot
    uids: frozenset[int]
    owners: frozenset[int] = frozenset()
    limits: Limits = Limits()
    strangers: set[Wire] = field(default_factory=set)


class TooSlow(UsageError):
    default_hint = "send the whole request at once"


def peer_uid(connection: socket.socket) -> int:
    """The uid that the other side had when it connected, from the kernel."""
    if sys.platform == "linux":
        import socket

        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("iII", raw)[1])
    else:  # noqa: RET505 mypy reads the branches as two platforms
        # macOS: struct xucred begins with its version and the uid.
        sol_local, local_peercred = 0, 1
        raw = connection.getsockopt(sol_local, local_peercred, 128)
        return int(struct.unpack_from("II", raw)[1])


class Wire(HttpToolsProtocol):
    def __init__(
        self, gate: Gate, config: Config, state: ServerState, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(config, state, {}, loop)
        self._gate = gate
        self._limits = gate.limits
        self._allowed = False
        self._head = 0  # bytes of a head that is not complete yet
        self._body = 0
        self._reading: float | None = None  # since when a request has been arriving
        self._quiet = loop.time()  # since when nothing has been asked
        self._answered = False  # the request under way was answered from the snapshot
        self._refusal: Error | None = None

    # Who is asking.

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        uid = peer_uid(transport.get_extra_info("socket"))
        self.app_state = {"peer": uid, "owner": uid in self._gate.owners}
        self._allowed = uid in self._gate.uids
        if not self._allowed:
            self._gate.strangers.add(self)
        strangers = len(self._gate.strangers)
        if strangers > self._limits.strangers and not self._allowed:
            transport.abort()
        elif len(self.connections) - strangers > self._limits.connections:
            self._refuse(TooMany("too many connections at once", hint="close some"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.strangers.discard(self)
        super().connection_lost(exc)

    # What they send.

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._head += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as the plain request that it also is; whatever follows is not HTTP
        except httptools.HttpParserError:
            self._refuse(self._refusal or UsageError("this is not a request of HTTP/1.1"))
            return
        if self._reading is not None and self._head > self._limits.head:
            self._refuse(UsageError("the head of the request is too long"), 431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading = self.loop.time()

    def on_headers_complete(self) -> None:
        self._head = self._body = 0
        if not self._allowed:
            self._stop(NotAllowed("this user may not ask keyman"))
        if len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers) > self._limits.head:
            self._stop(UsageError("the head of the request is too long"))
        found = self._finished_answer()
        self._answered = found is not None
        if found is None:
            super().on_headers_complete()
        else:
            self.transport.write(found)

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if self._body > self._limits.body:
            self._stop(UsageError("the body of the request is too long"))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._reading = None
        self._quiet = self.loop.time()
        self._head = 0
        if not self._answered:
            super().on_message_complete()

    @property
    def _busy(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return bool(self.pipeline) or (cycle is not None and not cycle.response_complete)

    def _finished_answer(self) -> bytes | None:
        """The whole answer, if the request is a plain lookup and it is this one's turn."""
        if self._busy or self.parser.get_method() != b"GET" or not self.url.startswith(LOOKUP):
            return None
        if self.flow.write_paused or not self.parser.should_keep_alive():
            return None
        wanted = JSON_WANTED[0]
        for name, value in self.headers:
            if name == b"accept":
                wanted = value
            elif name not in INDIFFERENT:
                return None
        if wanted in JSON_WANTED or wanted in PLAIN_WANTED:
            name_asked = self.url[len(LOOKUP) :].decode("latin-1")
            return self._gate.snapshot.wire(name_asked, plain=wanted in PLAIN_WANTED)
        return None

    # What they are told if it won't do.

    def _stop(self, error: Error) -> None:
        """End the parsing from inside one of its callbacks."""
        self._refusal = error
        raise error

    def _refuse(self, error: Error, status: int | None = None) -> None:
        """Say why and hang up. A stranger learns nothing but that."""
        if not self._allowed:
            error, status = NotAllowed("this user may not ask keyman"), None
        if self.transport.is_closing():
            return
        body = json.dumps(error.as_json()).encode()
        head = (
            f"content-type: {JSON}\r\ncontent-length: {len(body)}\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        line = STATUS_LINE[status or STATUSES[error.code][1]]
        self.transport.write(line + head.encode() + body)
        self.transport.close()

    def look_after(self, now: float) -> None:
        """Called every second: hang up on who is too slow or has been silent for long."""
        limits = self._limits
        if self._reading is not None:
            if now - self._reading > limits.read_within:
                self._refuse(TooSlow("the request did not arrive in time"), 408)
        elif not self._busy:
            patience = limits.idle if self._allowed else limits.read_within
            if now - self._quiet > patience:
                self.transport.abort()
