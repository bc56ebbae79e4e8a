"""The agent: the unix socket, the loop that serves it, and a stop that does not hang.

The loop lives in a thread of its own, so that no rotation, however slow its provider or store,
ever stands before a lookup. Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
import threading
from collections.abc import Collection
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import uvicorn
from uvicorn.server import ServerState

from keyman.errors import ConfigError, Conflict
from keyman.serving.api import Api
from keyman.serving.wire import Gate, Limits, Wire

BACKLOG = 1024
LOOK_AFTER_EVERY = 1.0  # seconds
STARTS_WITHIN = 10.0
ANSWERS_END_WITHIN = 1.0  # seconds that requests under way get when the agent stops
STOPS_WITHIN = 2.0
SPARE_FILES = 128  # descriptors that the rest of the process needs

log = logging.getLogger("keyman.serving")


class Agent:
    """Serves an Api on a unix socket. The daemon's own uid and root may ask for anything,
    `allow_uids` may look up.
    """

    def __init__(
        self,
        api: Api,
        path: Path,
        *,
        allow_uids: Collection[int] = (),
        limits: Limits | None = None,
    ) -> None:
        owners = frozenset({os.geteuid(), 0})
        uids = owners | frozenset(allow_uids)
        self._api = api
        self._path = path
        self._mode = 0o600 if uids == owners else 0o666
        self._gate = Gate(api.snapshot, uids, owners, limits or Limits(connections=_room()))
        self._state = ServerState()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    def start(self) -> None:
        """Return once lookups are answered.

        Raises Conflict if somebody answers on the socket already, ConfigError if it can't be made.
        """
        listener = _listen(self._path, self._mode)
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

    async def _serve(
        self, config: uvicorn.Config, listener: socket.socket, up: Future[None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._loop, self._stopping = loop, asyncio.Event()
        server = await loop.create_unix_server(
            lambda: Wire(self._gate, config, self._state, loop), sock=listener, backlog=BACKLOG
        )
        inode = _inode(self._path)
        looking_after = loop.create_task(self._look_after_connections())
        up.set_result(None)
        await self._stopping.wait()
        if inode is not None and _inode(self._path) == inode:
            self._path.unlink(missing_ok=True)
        server.close()
        looking_after.cancel()
        self._api.waiting.close()
        await self._hang_up()

    async def _look_after_connections(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_AFTER_EVERY)
            for connection in list(self._state.connections):
                if isinstance(connection, Wire):
                    connection.look_after(loop.time())

    async def _hang_up(self) -> None:
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=ANSWERS_END_WITHIN)
        for connection in list(self._state.connections):
            connection.transport.abort()


def _room() -> int:
    """How many connections this process can hold, having asked for as many as it may."""
    import resource

    wanted = Limits().connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted or soft == resource.RLIM_INFINITY:
        top = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        soft = max(soft, top)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(16, min(Limits().connections, soft - SPARE_FILES))


def _listen(path: Path, mode: int) -> socket.socket:
    """A listening socket that is never open to more than it should be, not even for a moment."""
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
        listener.listen(BACKLOG)
        if mode != 0o600:
            path.chmod(mode)
    except OSError as error:
        listener.close()
        why = error.strerror or "it can't be bound"
        raise ConfigError(
            f"no socket can be made at {path}: {why}",
            hint="agent.socket must lie in an existing folder that keyman may write to",
        ) from error
    finally:
        os.umask(before)
    listener.setblocking(False)  # noqa: FBT003 the standard library's way
    return listener


def _clear(path: Path) -> None:
    """Remove what a dead daemon left behind; never a file, never a socket that answers."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{path} can't be looked at: {error.strerror}") from error
    if not stat.S_ISSOCK(kind):
        raise ConfigError(
            f"{path} is not a socket", hint="move it away, or name another agent.socket"
        )
    if _answers(path):
        raise Conflict(
            f"somebody answers on {path} already",
            hint="one daemon serves one socket: stop that one",
        )
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True


def _inode(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        found = path.lstat()
        return found.st_dev, found.st_ino
    return None
