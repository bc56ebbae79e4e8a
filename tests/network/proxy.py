"""A proxy that carries requests one by one to a provider, and breaks the one it was told to.

A fault meets a request at one of three places: `before` it reached the provider, `under way` while
the provider has it, `after` its effect while the answer comes back. What it did is written down in
a `Hit`, which is all that a judge needs: was the request carried, and was its answer given whole?

                before                   under way                   after
    rst, close  read, not carried        at once, while carried      instead of the answer
    silence     never carried            while carried               instead of the answer
    truncate    not even its first line  the answer ends in its head ... ends in its body
    garbage     a 200 of nobody          the true head, another body no HTTP at all
    delay       carried minutes later    the answer comes too late   its body comes too late
    duplicate   first answer given       both at once                second answer given
    half-close  not carried              while carried               in the answer's middle
    dribble     a head without end       the answer without end      slow, and in time

Knows nothing of keyman. It never carries twice, or late, what was not drawn for it.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.network import wire

FAULTS = (
    "rst",
    "close",
    "silence",
    "truncate",
    "garbage",
    "delay",
    "duplicate",
    "half-close",
    "dribble",
)
BEFORE, UNDER_WAY, AFTER = POSITIONS = ("before", "under way", "after")
PATIENCE = 5.0  # seconds: nobody who asks waits longer than that
A_DROP = 0.03  # between two bytes
NONSENSE = (
    b"{}",
    b"[]",
    b"null",
    b"<html><body>Sign in to the guest network</body></html>",
    b'{"id": "somebody-else", "keys": [], "deleted": true, "data": [], "has_more": false}',
    b"\x00\xff\xfe" * 40,
)


@dataclass(frozen=True, slots=True)
class Aim:
    """Which request is broken, and how: the n-th of that operation from now on."""

    operation: str
    fault: str
    position: str
    nth: int = 1


@dataclass(slots=True)
class Hit:
    """What was done to one request. `held`: it is carried by a later `let_go`."""

    aim: Aim
    statuses: list[int] = field(default_factory=list)  #: of the provider's answers to it
    whole: bool = False  #: the true answer was given, complete and in time
    held: bool = False


Landed = Callable[[str, int, bytes], None]
"""Told of every request that was carried: operation, status, body of the answer."""


class Proxy:
    """Listens on the loopback address; `address` is where a client goes."""

    def __init__(
        self, upstream: int, name: Callable[[str, str], str], dice: random.Random, landed: Landed
    ) -> None:
        self._upstream, self._name, self._dice, self._landed = upstream, name, dice, landed
        self._lock = threading.Lock()
        self._carrying = threading.RLock()
        self._aim: Aim | None = None
        self._met = 0
        self._late: list[tuple[int, bytes, str, Hit]] = []
        self._asked = 0
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.hits: list[Hit] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._start(self._listen)

    def aim(self, aim: Aim | None) -> None:
        with self._lock:
            self._aim, self._met = aim, 0

    @property
    def waiting(self) -> bool:
        """Is something still to be broken, or to be carried late?"""
        return self._aim is not None or bool(self._late)

    def let_go(self, *, everything: bool = False) -> None:
        """Carry what was held back, if its time has come; nobody hears the answer."""
        with self._lock:
            due = [one for one in self._late if everything or one[0] <= self._asked]
            self._late = [one for one in self._late if one not in due]
        for _, request, operation, hit in due:
            self._carry(request, operation, hit)

    def settle(self) -> None:
        """Return once nothing is under way any more that was broken."""
        for thread in [t for t in self._threads if t.name == "carrying"]:
            thread.join(PATIENCE)
        self._threads = [t for t in self._threads if t.is_alive()]

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in list(self._open):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    # Carrying.

    def _start(self, work: Callable[[], object], name: str = "listening") -> threading.Thread:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.add(line)
                self._start(lambda line=line: self._serve(line))  # type: ignore[misc]

    def _serve(self, line: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while (request := wire.message(line)) is not None:
                operation = self._name(*wire.target(request))
                hit = self._drawn(operation)
                self.let_go()
                if hit is None:
                    line.sendall(self._carry(request, operation))
                elif not self._break(line, request, operation, hit):
                    break
        self._open.discard(line)
        line.close()

    def _drawn(self, operation: str) -> Hit | None:
        with self._lock:
            self._asked += 1
            if self._aim is None or self._aim.operation != operation:
                return None
            self._met += 1
            if self._met < self._aim.nth:
                return None
            hit = Hit(self._aim)
            self._aim = None
            self.hits.append(hit)
            return hit

    def _carry(self, request: bytes, operation: str, hit: Hit | None = None) -> bytes:
        with socket.create_connection(("127.0.0.1", self._upstream), PATIENCE) as up:
            up.sendall(request)
            answer = wire.message(up)
        assert answer is not None, "the sandbox breaks no line of its own here"
        if hit is not None:
            hit.statuses.append(wire.status(answer))
        # One at a time, so that who is told can compare what is with what was.
        with self._carrying:
            self._landed(operation, wire.status(answer), wire.body(answer))
        return answer

    # Breaking. Each returns whether the line goes on.

    def _break(self, line: socket.socket, request: bytes, operation: str, hit: Hit) -> bool:
        carry = lambda: self._carry(request, operation, hit)  # noqa: E731 (the same everywhere)
        match hit.aim.fault:
            case "duplicate":
                return self._twice(line, carry, hit)
            case "garbage":
                return self._nonsense(line, carry, hit)
            case "truncate":
                return self._cut(line, request, carry, hit)
            case "delay":
                return self._delay(line, request, carry, hit, operation)
            case "dribble":
                return self._dribble(line, carry, hit)
            case _:
                return self._end(line, carry, hit)

    def _end(self, line: socket.socket, carry: Callable[[], bytes], hit: Hit) -> bool:
        """rst, close, silence, half-close: the answer never begins, or stops in its middle."""
        fault, position = hit.aim.fault, hit.aim.position
        answer = b""
        if position == UNDER_WAY:
            self._start(carry, "carrying")
        elif position == AFTER:
            answer = carry()
        if fault == "rst":
            wire.reset(line)
        elif fault == "silence":
            wire.until_gone(line, PATIENCE)
        elif fault == "half-close":
            line.sendall(answer[: len(answer) // 2])
            line.shutdown(socket.SHUT_WR)
            wire.until_gone(line, PATIENCE)
        return False

    def _twice(self, line: socket.socket, carry: Callable[[], bytes], hit: Hit) -> bool:
        hit.whole = True
        if hit.aim.position == UNDER_WAY:
            other = self._start(carry, "carrying")
            answer = carry()
            other.join(PATIENCE)
        else:
            answers = carry(), carry()
            answer = answers[hit.aim.position == AFTER]
        line.sendall(answer)
        return True

    def _nonsense(self, line: socket.socket, carry: Callable[[], bytes], hit: Hit) -> bool:
        said = self._dice.choice(NONSENSE)
        if hit.aim.position == BEFORE:
            line.sendall(wire.framed(said))
            return True
        answer = carry()
        if hit.aim.position == AFTER:
            line.sendall(self._dice.randbytes(200))
            return False
        size = wire.length(answer)
        hit.whole = size == 0 or wire.status(answer) >= 400  # the status is true, and tells all
        line.sendall(wire.head(answer) + said[:size].ljust(size))
        return True

    def _cut(
        self, line: socket.socket, request: bytes, carry: Callable[[], bytes], hit: Hit
    ) -> bool:
        if hit.aim.position == BEFORE:
            with socket.create_connection(("127.0.0.1", self._upstream), PATIENCE) as up:
                up.sendall(request[: self._dice.randrange(1, request.index(b"\r\n"))])
            return False
        answer = carry()
        top = len(wire.head(answer))
        in_head = hit.aim.position == UNDER_WAY or top == len(answer)
        end = self._dice.randrange(1, top) if in_head else self._dice.randrange(top, len(answer))
        # What refuses is told by the first words, and may be believed.
        hit.whole = wire.status(answer) >= 400 and end >= len(b"HTTP/1.1 400")
        line.sendall(answer[:end])
        return False

    def _delay(
        self,
        line: socket.socket,
        request: bytes,
        carry: Callable[[], bytes],
        hit: Hit,
        operation: str,
    ) -> bool:
        if hit.aim.position == BEFORE:
            wire.until_gone(line, PATIENCE)
            hit.held = True
            with self._lock:
                later = self._asked + self._dice.randrange(0, 6)
                self._late.append((later, request, operation, hit))
            return False
        answer = carry()
        early = len(wire.head(answer)) if hit.aim.position == AFTER else 0
        hit.whole = early == len(answer)  # it has no body to wait for
        line.sendall(answer[:early])
        wire.until_gone(line, PATIENCE)
        with suppress(OSError):
            line.sendall(answer[early:])
        return False

    def _dribble(self, line: socket.socket, carry: Callable[[], bytes], hit: Hit) -> bool:
        position, ends = hit.aim.position, time.monotonic() + PATIENCE
        if position == AFTER:
            answer, hit.whole = carry(), True
            step = len(answer) // 5 + 1
            for at in range(0, len(answer), step):
                line.sendall(answer[at : at + step])
                time.sleep(A_DROP / 3)
            return True
        answer = carry() if position == UNDER_WAY else b""
        given = answer[:17] or b"HTTP/1.1 200 OK\r\n"
        line.sendall(given)
        with suppress(OSError):
            while time.monotonic() < ends:
                line.sendall(b"x" if position == BEFORE or len(given) % 40 else b"\r\ny: ")
                given += b"x"
                time.sleep(A_DROP)
        return False
