"""A client of server-sent events, written from the specification of the format."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EVENTS = "/api/v1/events"
PATIENCE = 10.0  # seconds: less than the time between two comments


@dataclass
class Listener:
    connection: socket.socket
    head: bytes = b""
    rest: bytes = b""
    last: str = ""  #: the id to come back with
    events: list[dict[str, Any]] = field(default_factory=list)
    comments: int = 0

    def read_head(self) -> None:
        while b"\r\n\r\n" not in self.rest:
            self._more()
        self.head, self.rest = self.rest.split(b"\r\n\r\n", 1)

    def _more(self) -> None:
        data = self.connection.recv(65536)
        if not data:
            raise EOFError
        self.rest += data

    def _chunk(self) -> bytes:
        while b"\r\n" not in self.rest:
            self._more()
        size, self.rest = self.rest.split(b"\r\n", 1)
        length = int(size, 16)
        while len(self.rest) < length + 2:
            self._more()
        chunk, self.rest = self.rest[:length], self.rest[length + 2 :]
        if not length:
            raise EOFError
        return chunk

    def hear(self, count: int = 1) -> list[dict[str, Any]]:
        """The next so many events, with their names and ids."""
        first = len(self.events)
        while len(self.events) < first + count:
            self.hear_more()
        return self.events[first:]

    def hear_more(self) -> None:
        """One chunk of the answer, which holds whole events."""
        for block in self._chunk().decode().split("\n\n")[:-1]:
            said = {}
            for line in block.split("\n"):
                key, _, value = line.partition(": ")
                said[key] = value
            self.comments += "" in said
            self.last = said.get("id", self.last)
            if "data" in said:
                data = json.loads(said["data"])
                self.events.append({"event": said["event"], "id": said["id"], "data": data})

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(one["id"], one["event"]) for one in self.events]


@contextlib.contextmanager
def listening(path: Path, query: str = "", *, after: str | None = None) -> Iterator[Listener]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        last = "" if after is None else f"Last-Event-ID: {after}\r\n"
        asked = f"GET {EVENTS}{query} HTTP/1.1\r\nHost: x\r\n{last}\r\n"
        connection.sendall(asked.encode())
        listener = Listener(connection)
        listener.read_head()
        if listener.head.startswith(b"HTTP/1.1 200"):
            while not listener.last:
                listener.hear_more()
        yield listener
