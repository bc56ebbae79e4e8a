"""One connection: how much it may send, how slowly, how oddly, and the answer to a plain lookup.

uvicorn's protocol class does the parsing (llhttp) and hands requests to the framework. On top of
that this class has each request's sender named before anything else of it counts; bounds head,
body, time and number; and answers the plain lookup itself from the snapshot's finished bytes.
What is special about a connection over the unix socket is in `local`, over TCP in `remote`. Rests
on internals of uvicorn, which is why its version is pinned; the tests of this folder fail if they
move.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NoReturn, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from keyman.errors import STATUSES, Error, TooMany, UsageError
from keyman.serving.crowd import Guesses
from keyman.serving.doors import Caller, Doors
from keyman.serving.snapshot import JSON, Snapshot

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
    from uvicorn.server import ServerState

LOOKUP = b"/api/v1/secrets/"
NAMES_REMEMBERED = 64  # of each connection: what it took last
JSON_WANTED = (b"*/*", JSON.encode())
PLAIN_WANTED = (b"text/plain",)
INDIFFERENT = (b"host", b"user-agent", b"accept-encoding", b"connection")  #: to a plain lookup


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take (bytes, seconds), and how many there may be."""

    head: int = 8 * 1024
    body: int = 64 * 1024
    read_within: float = 5.0  #: from a request's first byte to its last; TLS's handshake besides
    idle: float = 75.0
    connections: int = 4096  #: of those who may ask
    remote: int = 2048  #: over TCP, whoever they are
    of_a_peer: int = 1024  #: over TCP, from one address
    tokenless: int = 256  #: over TCP, from one address, that have shown no token yet
    strangers: int = 64  #: on the socket: of those who are not allowed, at once

    @property
    def owners(self) -> int:
        """Of the connections: those that only the daemon's own user and root may have."""
        return self.connections // 8


@dataclass(slots=True)
class Gate:
    """What the connections of one agent share."""

    snapshot: Snapshot
    doors: Doors
    limits: Limits = Limits()
    guests: set[Wire] = field(default_factory=set)  #: whoever may ask
    strangers: set[Wire] = field(default_factory=set)  #: on the socket
    guesses: Guesses = field(default_factory=Guesses)
    used: set[bytes] = field(default_factory=set)  #: digests shown since somebody last looked
    lookups: dict[str, int] = field(default_factory=lambda: {"plain": 0, "other": 0})

    @property
    def connections(self) -> int:
        return len(self.guests)

    def taken(self, name: str) -> list[int]:
        """The versions of that name that connected clients took last. From any thread.

        Threads of one process have a connection each, and hold one secret: the newest taken.
        """
        newest: dict[object, int] = {}
        for guest in tuple(self.guests):
            version, whose = guest.took.get(name), guest.process or guest
            if version is not None:
                newest[whose] = max(version, newest.get(whose, version))
        return list(newest.values())


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection is hung up on, and how that is said."""

    error: Error
    status: int | None = None  #: None: the one of the table
    headers: str = ""
    after: float = 0.0  #: seconds to let pass before it is said


FULL = Refusal(TooMany("too many connections at once", hint="close some"))


class TooSlow(UsageError):
    default_hint = "send the whole request at once"


class Wire(HttpToolsProtocol):
    indifferent: ClassVar[tuple[bytes, ...]] = INDIFFERENT

    def __init__(
        self, gate: Gate, config: Config, state: ServerState, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(config, state, {}, loop)
        self._gate = gate
        self._limits = gate.limits
        self._rights = gate.doors.rights  # as of which the caller below is who they are
        self._head = 0  # bytes of a head that is not complete yet
        self._body = 0
        self._reading: float | None = None  # since when a request has been arriving
        self._quiet = loop.time()  # since when nothing has been asked
        self._stuck: float | None = None  # since when nothing was taken of what we have to say
        self._refused: float | None = None  # since when all that is left to do is to hang up
        self._answered = False  # the request under way was answered from the snapshot
        self.took: dict[str, int] = {}  # name → version
        self.process = 0  # whose connection it is; 0: nobody knows
        self._refusal: Refusal | None = None

    # Who is asking.

    def _asking(self) -> Caller:
        """Who sends the request whose head has just come; stops the parsing if they may not."""
        raise NotImplementedError

    def look_again(self) -> None:
        """Rights have changed: hang up on whoever is being served and has lost theirs."""
        raise NotImplementedError

    def _let_in(self, *, owner: bool = False) -> bool:
        """False: there are too many already. Some room is kept for the owner, who may order."""
        self._gate.guests.add(self)
        kept = 0 if owner else self._limits.owners
        return len(self._gate.guests) <= self._limits.connections - kept

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.guests.discard(self)
        self._gate.strangers.discard(self)
        super().connection_lost(exc)

    # What they send.

    def data_received(self, data: bytes) -> None:
        if self._refused is not None:
            return
        self._unset_keepalive_if_required()
        self._head += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as the plain request that it also is; whatever follows is not HTTP
        except httptools.HttpParserError:
            odd = UsageError("this is not a request of HTTP/1.1")
            self._refuse(self._refusal or Refusal(odd))
            return
        if self._reading is not None and self._head > self._limits.head:
            self._refuse(Refusal(UsageError("the head of the request is too long"), 431))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading = self.loop.time()

    def on_headers_complete(self) -> None:
        self._head = self._body = 0
        caller = self._asking()
        if len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers) > self._limits.head:
            self._stop(Refusal(UsageError("the head of the request is too long")))
        found = self._finished_answer(caller)
        self._answered = found is not None
        if found is None:
            self._refuse_odd_shapes()
            self._gate.lookups["other"] += self.url.startswith(LOOKUP)
            self.scope["state"] |= {"caller": caller, "takes": self.takes}
            super().on_headers_complete()
            self.headers = []  # what a body's trailers say is nothing that was checked
        else:
            self._gate.lookups["plain"] += 1
            self.transport.write(found)

    def _refuse_odd_shapes(self) -> None:
        """What others on the way might read differently from us."""
        if not self.url.startswith(b"/"):
            self._stop(Refusal(UsageError("the target of a request is a path")))
        for name, value in self.headers:
            plain = value.lower() == b"chunked" and self.parser.get_http_version() != "1.0"
            if name == b"transfer-encoding" and not plain:
                self._stop(Refusal(UsageError("a body is sent as it is, or in plain chunks")))

    def on_body(self, body: bytes) -> None:
        self._head = 0
        self._body += len(body)
        if self._body > self._limits.body:
            self._stop(Refusal(UsageError("the body of the request is too long")))
        if not self._answered:
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

    def _finished_answer(self, caller: Caller) -> bytes | None:
        """The whole answer, if the request is a plain lookup and it is this one's turn."""
        if self._busy or self.parser.get_method() != b"GET" or not self.url.startswith(LOOKUP):
            return None
        if self.flow.write_paused or not self.parser.should_keep_alive():
            return None
        wanted = JSON_WANTED[0]
        for name, value in self.headers:
            if name == b"accept":
                wanted = value
            elif name not in self.indifferent:
                return None
        if wanted in JSON_WANTED or wanted in PLAIN_WANTED:
            name_asked = self.url[len(LOOKUP) :].decode("latin-1")
            if caller.owner or caller.sees(name_asked):
                ready = self._gate.snapshot.ready(name_asked)
                if ready is not None:
                    self.takes(name_asked, ready.version)
                    return ready.wire(plain=wanted in PLAIN_WANTED)
        return None

    # What they hold.

    def takes(self, name: str, version: int) -> None:
        """The client has this version from now on, as far as this connection knows."""
        self.took[name] = version
        if len(self.took) > NAMES_REMEMBERED:
            del self.took[next(iter(self.took))]

    def _is_kept(self) -> bool:
        """Whether to stay connected although nothing is asked."""
        return False

    def timeout_keep_alive_handler(self) -> None:
        """Who is silent is looked after below, whatever they asked last."""

    # What they are told if it won't do.

    def _stop(self, refusal: Refusal) -> NoReturn:
        """End the parsing from inside one of its callbacks."""
        self._refusal = refusal
        raise refusal.error

    def _refuse(self, refusal: Refusal) -> None:
        """Say why and hang up."""
        if self._refused is not None or self.transport.is_closing():
            return
        self._refused = self.loop.time()
        if self._out_of_turn:
            self.transport.abort()
        elif refusal.after:
            self.transport.pause_reading()
            self.loop.call_later(refusal.after, self._say, refusal)
        else:
            self._say(refusal)

    @property
    def _out_of_turn(self) -> bool:
        """An earlier request is still to be answered: what is said now would pass for that."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete:
            return bool(self.pipeline)
        return self._reading is None or cycle.scope is not self.scope or bool(self.pipeline)

    def _say(self, refusal: Refusal) -> None:
        if self.transport.is_closing():
            return
        body = json.dumps(refusal.error.as_json()).encode()
        head = (
            f"content-type: {JSON}\r\ncontent-length: {len(body)}\r\n{refusal.headers}"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        line = STATUS_LINE[refusal.status or STATUSES[refusal.error.code][1]]
        self.transport.write(line + head.encode() + body)
        self._hang_up()

    def _hang_up(self) -> None:
        self.transport.close()

    # How long they take.

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck = None

    def look_after(self, now: float) -> None:
        """Called every second: hang up on who is too slow or has been silent for long."""
        limits = self._limits
        if self._refused is not None:
            if now - self._refused > limits.read_within:
                self.transport.abort()
        elif self._stuck is not None:
            if now - self._stuck > limits.idle:
                self.transport.abort()
        elif self._reading is not None:
            if now - self._reading > limits.read_within:
                self._refuse(Refusal(TooSlow("the request did not arrive in time"), 408))
        elif not self._busy:
            patience = limits.idle if self in self._gate.guests else limits.read_within
            if now - self._quiet > patience and not self._is_kept():
                self.transport.abort()
