"""An agent to ask: the real server on a real socket, with a desk that remembers what it is told."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from keyman import errors
from keyman.clock import SystemClock
from keyman.core.model import Secret, Stage
from keyman.core.news import News
from keyman.desk import Entrusted, Wish
from keyman.errors import Error
from keyman.providers.protocol import Lookup
from keyman.serving.api import Api
from keyman.serving.server import Agent
from keyman.serving.snapshot import Answer, Handout, Snapshot
from keyman.serving.wire import Limits
from keyman.views import Json

START = datetime(2026, 11, 21, 9, tzinfo=UTC)
CANARY = "sk-canary-Zq7"  # begins every secret of these tests, and appears nowhere else


class SetClock(SystemClock):
    """The system's clock, but the wall shows what a test sets."""

    def __init__(self) -> None:
        self.wall = START

    def now(self) -> datetime:
        return self.wall


def secret_of(name: str, version: int) -> str:
    return f"{CANARY}-{name}-{version}"


def handout(
    name: str, version: int, stage: Stage = Stage.CURRENT, expires_at: datetime | None = None
) -> Handout:
    return Handout(
        name,
        Secret(secret_of(name, version)),
        version,
        ("key-one", "key-two")[version % 2],
        stage,
        expires_at,
        "oci-genai",
        Lookup(base_url="https://inference.example/v1"),
    )


def version_is(
    name: str, version: int, *, previous: int | None = None, expires_at: datetime | None = None
) -> Answer:
    """The answer while this version is current."""
    before: Handout | Error = errors.NoUsableSecret(f"{name} has no previous version")
    if previous is not None:
        before = handout(name, previous, Stage.PREVIOUS)
    return Answer(version, handout(name, version, expires_at=expires_at), before, version)


def nothing_usable(revision: int, error: Error | None = None) -> Answer:
    error = error or errors.NoUsableSecret("genai: version 7 is refused by the provider")
    return Answer(revision, error, errors.NoUsableSecret("genai has no previous version"))


@dataclass
class MemoryDesk:
    """Takes orders and reports, and remembers them; `finish` lets an order come true."""

    snapshot: Snapshot
    credentials: dict[str, Json] = field(default_factory=dict)
    orders: dict[str, Json] = field(default_factory=dict)
    wishes: list[tuple[str, Wish, str | None]] = field(default_factory=list)
    reports: list[tuple[str, int, str]] = field(default_factory=list)
    adopted: list[tuple[str, Entrusted, str]] = field(default_factory=list)
    puts: list[tuple[str, Secret, datetime | None, str]] = field(default_factory=list)
    told: list[News] = field(default_factory=list)
    forgotten: int = 0  #: how many of these the journal does not have any more
    readings: int = 0
    trouble: BaseException | None = None  #: raised by whatever is asked next
    reported: threading.Event = field(default_factory=threading.Event)

    def _known(self, name: str) -> Json:
        if self.trouble is not None:
            raise self.trouble
        if name not in self.credentials:
            raise errors.NotFound(f"no credential {name!r}")
        return self.credentials[name]

    def names(self) -> list[str]:
        return sorted(self.credentials)

    def status(self, name: str) -> Json:
        return self._known(name)

    def statuses(self) -> list[Json]:
        return [self.status(name) for name in self.names()]

    def notified(self) -> list[Json]:
        return []

    def order(self, name: str, wish: Wish, *, key: str | None = None) -> Json:
        self._known(name)
        for receipt in self.orders.values():
            if key is not None and receipt["key"] == key:
                return receipt
            if receipt["state"] == "running" and receipt["kind"] != wish.kind:
                raise errors.Conflict(f"{name}: a {receipt['kind']} is under way")
        self.wishes.append((name, wish, key))
        order = f"{len(self.orders) + 1:032x}"
        said = {"order": order, "name": name, "kind": str(wish.kind), "state": "running"}
        self.orders[order] = {**said, "key": key}
        return self.orders[order]

    def finish(self, order: str) -> None:
        self.orders[order] = {**self.orders[order], "state": "done"}
        name = self.orders[order]["name"]
        version = self.snapshot.look_up(name).version + 1
        self.snapshot.publish(name, version_is(name, version, previous=version - 1))

    def receipt(self, order_id: str) -> Json:
        if order_id not in self.orders:
            raise errors.NotFound("no such order")
        return self.orders[order_id]

    def rejected(self, name: str, version: int, by: str) -> None:
        self._known(name)
        self.reports.append((name, version, by))
        self.reported.set()

    def adopt(self, name: str, key: Entrusted, by: str) -> Json:
        self._known(name)
        self.adopted.append((name, key, by))
        return self.credentials[name]

    def put(self, name: str, secret: Secret, expires_at: datetime | None, by: str) -> Json:
        self._known(name)
        self.puts.append((name, secret, expires_at, by))
        return self.credentials[name]

    def forget(self, name: str, by: str, *, revoke: bool = False) -> Json:
        if name in self.credentials:
            raise errors.Conflict(f"{name} is still in the configuration")
        return {"name": name, "forgotten": True}

    def ready(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def news(self, seen: int, many: int) -> list[tuple[int, News]]:
        self.readings += 1
        return [(n, one) for n, one in enumerate(self.told, 1) if n > seen][:many]

    def news_kept(self) -> tuple[int, int]:
        return self.forgotten + 1, len(self.told)


class World:
    """One home with an agent that can be stopped and started again."""

    def __init__(self, home: Path, **agent: Any) -> None:
        self.clock = SetClock()
        self.snapshot = Snapshot(self.clock)
        self.desk = MemoryDesk(self.snapshot)
        self.path = home / "agent.sock"
        self.reloads = 0
        self._options = agent
        for name in ("genai", "vertex"):
            self.desk.credentials[name] = {"name": name, "health": "ok"}
        self.agent = self.start()

    def start(self) -> Agent:
        api = Api(self.desk, self.snapshot, reload=self._reload, since=START)
        self.agent = Agent(api, self.path, **self._options)
        self.agent.start()
        return self.agent

    def _reload(self) -> Json:
        self.reloads += 1
        return {"credentials": self.desk.names()}

    def serve(self, name: str, version: int, **options: Any) -> None:
        self.snapshot.publish(name, version_is(name, version, **options))

    def tell(self, *news: News) -> None:
        """As the rotator does it, from a thread of its own."""
        self.desk.told.extend(news)
        self.agent._api.heard(news)

    def expire_in(self, name: str, version: int, left: timedelta) -> None:
        self.serve(name, version, expires_at=self.clock.wall + left)

    def ask(
        self, method: str, target: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """One request by the standard library's client: status, headers, JSON or text."""
        connection = UnixConnection(self.path)
        sent = None if body is None else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if sent is not None:
            named["Content-Type"] = "application/json"
        try:
            connection.request(method, target, sent, named)
            answer = connection.getresponse()
            read = answer.read().decode()
        finally:
            connection.close()
        kind = answer.headers.get("content-type", "")
        found = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, found, json.loads(read) if read and "json" in kind else read

    def say(self, raw: bytes, *more: bytes) -> bytes:
        """Send bytes as they are, then read until the agent hangs up."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.path))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for piece in (raw, *more):
                    connection.sendall(piece)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    read = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            read += data
    return read


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("keyman", timeout=40)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@contextlib.contextmanager
def world(**agent: Any) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as home:  # short: a socket's path has at most 100 bytes
        here = World(Path(home), **agent)
        here.serve("genai", 7, previous=6)
        here.serve("vertex", 1)
        try:
            yield here
        finally:
            here.agent.stop()


HASTY = Limits(read_within=0.2, idle=0.3, connections=8)
