"""The applications of `keyman demo`: each asks keyman before every call, and calls all the time."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from keyman import client
from keyman.errors import Error

PAUSE = 0.01  # seconds between two calls of one client
TOO_MANY = 429


@dataclass
class Count:
    """What one client met so far."""

    lookups: int = 0
    requests: int = 0
    rejected: int = 0
    faults: int = 0  # no answer at all; not a rejection
    versions: set[int] = field(default_factory=set)

    @property
    def rotations(self) -> int:
        return max(len(self.versions) - 1, 0)


class Caller(threading.Thread):
    """An application: before every call it asks keyman for the current secret."""

    def __init__(self, name: str, model: str, stop: threading.Event) -> None:
        super().__init__(name=f"client-{name}", daemon=True)
        self.credential = name
        self.count = Count()
        question = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        self._question = json.dumps(question).encode()
        self._stopped = stop

    def run(self) -> None:
        connection: HTTPConnection | None = None
        while not self._stopped.wait(PAUSE):
            try:
                secret = client.secret(self.credential)
            except Error:
                continue
            self.count.lookups += 1
            self.count.versions.add(secret.version)
            address = urlsplit(str(secret.base_url))
            connection = connection or HTTPConnection(address.netloc, timeout=10)
            try:
                self._call(connection, address.path, secret.value)
            except (OSError, HTTPException):
                self.count.faults += 1
                connection.close()

    def _call(self, connection: HTTPConnection, path: str, secret: str) -> None:
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        connection.request("POST", f"{path}/chat/completions", self._question, headers)
        answer = connection.getresponse()
        answer.read()
        self.count.requests += 1
        self.count.rejected += 400 <= answer.status < 500 and answer.status != TOO_MANY
