"""Somebody on a unix socket who answers every request with the same bytes, whatever they are."""

from __future__ import annotations

import json
import shutil
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.scratch import short_folder

FIELDS = ("name", "value", "version", "slot", "stage", "expires_at", "base_url", "provider")


def lookup(value: str) -> bytes:
    """The agent's answer to a lookup, as JSON."""
    said = dict.fromkeys((*FIELDS, "principal", "quota_project"))
    return answer(json.dumps({**said, "name": "odd", "value": value, "version": 1}).encode())


def answer(body: bytes, *head: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *(head or (f"content-length: {len(body)}",))]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + body


@contextmanager
def odd_agent(reply: bytes) -> Iterator[Path]:
    """The socket's path. An empty reply: takes the request and hangs up."""

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                if line == b"\r\n":
                    self.wfile.write(reply)
                    return

    folder = short_folder()
    with _Server(str(folder / "agent.sock"), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield folder / "agent.sock"
        finally:
            server.shutdown()
            thread.join()
            shutil.rmtree(folder)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
