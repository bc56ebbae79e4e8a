"""A webhook on this machine, and what it was sent. It can be told to refuse or to hang."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    port: int = 0
    got: list[dict[str, Any]] = field(default_factory=list)  #: with the path under "path"
    status: int = 200
    hangs: threading.Event = field(default_factory=threading.Event)  #: set: it answers
    elsewhere: str = ""  #: where a redirect leads
    asked: int = 0

    def url(self, path: str = "hook", *, more: str = "") -> str:
        return f"json://127.0.0.1:{self.port}/{path}{more}"

    @property
    def titles(self) -> list[str]:
        return [str(one["title"]).removeprefix("keyman: ") for one in self.got]


@contextmanager
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.hangs.set()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.asked += 1
            made.hangs.wait(60)
            if made.status == 200:
                made.got.append(json.loads(body) | {"path": self.path})
            self.send_response(made.status)
            if 300 <= made.status < 400:
                self.send_header("location", made.elsewhere)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.daemon_threads = True
        made.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield made
        finally:
            made.hangs.set()
            server.shutdown()
