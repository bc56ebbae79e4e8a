"""The agent: the unix socket, the loop that serves it and TCP, and a stop that does not hang.

The loop lives in a thread of its own, so that no rotation, however slow its provider or store,
ever stands before a lookup. Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Collection
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import uvicorn
from uvicorn.server import ServerState

from keyman.config import Listen
from keyman.errors import Error
from keyman.serving.again import Again
from keyman.serving.api import Api
from keyman.serving.doors import Doors
from keyman.serving.remote import Remote
from keyman.serving.socket_file import BACKLOG, inode, listen
from keyman.serving.tcp import Tcp
from keyman.serving.wire import Gate, Limits, Wire

LOOK_AFTER_EVERY = 1.0  # seconds
NOTE_USES_EVERY = 60.0
STARTS_WITHIN = 10.0
ANSWERS_END_WITHIN = 1.0  # seconds that requests under way get when the agent stops
STOPS_WITHIN = 2.0
SPARE_FILES = 128  # descriptors that the rest of the process needs

log = logging.getLogger("keyman.serving")


class Agent:
    """Serves an Api on a unix socket, and on TCP if `listen` says where. The daemon's own uid and
    root may ask for anything; `allow_uids`, and over TCP the Api's clients, may look up. `doors`
    says which names.
    """

    def __init__(
        self,
        api: Api,
        path: Path,
        *,
        allow_uids: Collection[int] = (),
        listen: Listen | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.doors = Doors(allow_uids, {os.geteuid(), 0})
        self._api = api
        self._path = path
        self._mode = 0o600 if self.doors.uids == self.doors.owners else 0o666
        self._gate = Gate(api.snapshot, self.doors, limits or _room(remote=listen is not None))
        self._listen = listen
        self._tcp: Tcp | None = None
        self._state = ServerState()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        api.metrics.door = self._gate
        self._narrowed = self.doors.rights.narrowed
        self.doors.told = self._rights_changed
        if api.clients is not None:
            api.clients.subscribe(self.doors.admit)

    def start(self) -> None:
        """Return once lookups are answered.

        Raises Conflict if somebody answers on the socket already, ConfigError if it can't be made
        or if there can be no answering over TCP.
        """
        if self._listen is not None:
            self._tcp = Tcp(self._listen, self._gate.limits)
        try:
            listener = listen(self._path, self._mode)
        except Error:
            self._close_tcp()
            raise
        up: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(listener, up), name="keyman-agent", daemon=True
        )
        self._thread.start()
        up.result(STARTS_WITHIN)

    def stop(self) -> None:
        """Stop answering, within two seconds; long polls end at once. Harmless if stopped."""
        loop, stopping = self._loop, self._stopping
        if loop is None or stopping is None or self._thread is None:
            return
        with suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(stopping.set)
        self._thread.join(STOPS_WITHIN)

    def reread_certificate(self) -> None:
        """Show it as it is now to whoever connects. Raises ConfigError, with nothing changed."""
        if self._tcp is not None:
            self._tcp.reread()

    @property
    def address(self) -> tuple[str, int] | None:
        """Where TCP is answered, if it is."""
        return self._tcp.address if self._tcp else None

    def taken(self, name: str) -> list[int]:
        """The versions of that name that connected clients took last."""
        return self._gate.taken(name)

    @property
    def alive(self) -> bool:
        """Whether lookups are being answered."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self, listener: socket.socket, up: Future[None]) -> None:
        config = uvicorn.Config(
            self._api.app,
            http=Wire,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(self._gate.limits.idle),
        )
        try:
            config.load()
            with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
                runner.run(self._serve(config, listener, up))
        except Exception as error:
            log.error("the agent has ended: %s", type(error).__name__)
            if up.done():
                raise
            up.set_exception(error)
        finally:
            listener.close()
            self._close_tcp()

    def _close_tcp(self) -> None:
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None

    async def _serve(
        self, config: uvicorn.Config, listener: socket.socket, up: Future[None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._loop, self._stopping = loop, asyncio.Event()
        gate, state = self._gate, self._state
        server = await loop.create_unix_server(
            lambda: Again(gate, config, state, loop), sock=listener, backlog=BACKLOG
        )
        made = inode(self._path)
        if self._tcp is not None:
            self._tcp.start(
                lambda visit, hosts: Remote(gate, config, state, loop, visit=visit, hosts=hosts)
            )
        besides = (self._look_after_connections(), self._note_uses_now_and_then())
        tasks = [loop.create_task(task) for task in besides]
        up.set_result(None)
        await self._stopping.wait()
        if made is not None and inode(self._path) == made:
            self._path.unlink(missing_ok=True)
        server.close()
        if self._tcp is not None:
            self._tcp.stop()
        for task in tasks:
            task.cancel()
        self._gate.snapshot.rest()
        self._api.waiting.close()
        await self._hang_up()
        await self._note_uses()

    async def _look_after_connections(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._gate.snapshot.beat()
            await asyncio.sleep(LOOK_AFTER_EVERY)
            for connection in list(self._state.connections):
                if isinstance(connection, Wire):
                    connection.look_after(loop.time())

    async def _note_uses_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(NOTE_USES_EVERY)
            await self._note_uses()

    async def _note_uses(self) -> None:
        """Have it recorded which clients asked since this was last called."""
        digests, self._gate.used = [each.hex() for each in self._gate.used], set()
        if not digests or self._api.clients is None:
            return
        try:
            await asyncio.to_thread(self._api.clients.used, digests)
        except Error as error:
            log.warning("when clients last asked is not recorded: %s", error.message)

    def _rights_changed(self) -> None:
        """Called in the thread that changed them."""
        before, now = self._narrowed, self.doors.rights.narrowed
        self._narrowed = now
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        self._api.snapshot.ask_again(changed)
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._look_again)

    def _look_again(self) -> None:
        for connection in list(self._state.connections):
            if isinstance(connection, Wire):
                connection.look_again()

    async def _hang_up(self) -> None:
        for _ in range(2):  # whoever was let in last becomes one of the connections
            await asyncio.sleep(0)
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=ANSWERS_END_WITHIN)
        for connection in list(self._state.connections):
            connection.transport.abort()


def _room(*, remote: bool) -> Limits:
    """How many connections this process can hold, having asked for as many as it may."""
    import resource

    usual = Limits()
    wanted = usual.connections + SPARE_FILES + remote * usual.remote
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted or soft == resource.RLIM_INFINITY:
        top = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        soft = max(soft, top)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = max(16, soft - SPARE_FILES)
    over_tcp = min(usual.remote, room // 3) if remote else 0
    return Limits(connections=min(usual.connections, room - over_tcp), remote=over_tcp)
