"""The agent's door to the network: an address, its certificate, and whom there is room for.

Connections are taken one by one instead of by the loop's own server, so that each is counted
before its first byte, also while it still owes us its part of a handshake.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection
from ipaddress import ip_address

from keyman.config import Listen
from keyman.errors import ConfigError
from keyman.serving.crowd import Crowd, Room, Visit, peer_of
from keyman.serving.doors import hosts
from keyman.serving.tls import context_of
from keyman.serving.wire import Limits

BACKLOG = 1024
AT_A_TIME = 64  # connections, before those that are there already are heard again
PAUSE = 0.5  # seconds, where no connection can be taken
GOODBYE_WITHIN = 2.0  # seconds for TLS's last words

log = logging.getLogger("keyman.serving")

Make = Callable[[Visit, Collection[bytes]], asyncio.Protocol]


class Tcp:
    """Raises ConfigError if there can be no answering at that place, or with that certificate."""

    def __init__(self, at: Listen, limits: Limits) -> None:
        self._at = at
        self._handshake_within = limits.read_within
        self._context = context_of(at.tls) if at.tls else None
        self._usual = 443 if at.tls else 80
        self._crowd = Crowd(Room(limits.remote, limits.of_a_peer, limits.tokenless))
        self._coming: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._listener = _listen(at)

    @property
    def address(self) -> tuple[str, int]:
        """Where it answers."""
        host, port, *_ = self._listener.getsockname()
        return host, port

    def reread(self) -> None:
        """Show new connections the certificate as it is now. Raises ConfigError, and goes on
        showing the one before.
        """
        if self._at.tls:
            self._context = context_of(self._at.tls)

    def start(self, make: Make) -> None:
        """Take connections from now on. On the loop."""
        self._make = make
        self._take_again()

    def _take_again(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._listener, self._take)

    def _take(self) -> None:
        for _ in range(AT_A_TIME):
            try:
                connection, (host, *_) = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor is left, most likely
                log.warning("no connection can be taken: %s", error.strerror)
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(PAUSE, self._take_again)
                return
            visit = self._crowd.enter(peer_of(host))
            if visit is None:
                connection.close()
            else:
                self._welcome(connection, visit)

    def _welcome(self, connection: socket.socket, visit: Visit) -> None:
        task = self._loop.create_task(self._shake_hands(connection, visit))
        self._coming.add(task)

        def came(task: asyncio.Task[None]) -> None:
            self._coming.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                log.debug("a connection of %s came to nothing: %s", visit.peer, error)
            if task.cancelled() or error:
                visit.leave()
                connection.close()

        task.add_done_callback(came)

    async def _shake_hands(self, connection: socket.socket, visit: Visit) -> None:
        connection.setblocking(False)  # noqa: FBT003 the standard library's way
        tls, names = self._context is not None, self._names(connection)
        await self._loop.connect_accepted_socket(
            lambda: self._make(visit, names),
            connection,
            ssl=self._context,
            ssl_handshake_timeout=self._handshake_within if tls else None,
            ssl_shutdown_timeout=GOODBYE_WITHIN if tls else None,
        )

    def _names(self, connection: socket.socket) -> frozenset[bytes]:
        """Where we answer on every address, the one that this connection was made to counts."""
        host = self._at.host
        if ip_address(host).is_unspecified:
            host = connection.getsockname()[0].partition("%")[0]
        return hosts(self._at.hosts, host, self.address[1], usual=self._usual)

    def stop(self) -> None:
        """Take no more connections. On the loop."""
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()
        for task in self._coming:
            task.cancel()

    def close(self) -> None:
        self._listener.close()


def _listen(at: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((at.host, at.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        where = f"[{at.host}]" if ":" in at.host else at.host
        raise ConfigError(
            f"nobody can be answered on {where}:{at.port}: {error.strerror}",
            hint="agent.listen names an address of this machine, and a port that is free",
        ) from error
    listener.setblocking(False)  # noqa: FBT003 the standard library's way
    return listener
