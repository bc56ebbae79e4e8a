"""The HTTP/1.1 listener every sandbox stands on.

A `Service` turns a `Request` into a `Reply`; this file moves both over sockets, keeps connections
alive, and can break a line the way networks do: hang up without an answer (`HangUpError`) or stop
in the middle of a body (`Reply.cut`). It knows no vendor and listens on the loopback address only.
"""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    import ssl
    from datetime import datetime

Json = dict[str, Any]
HOST = "127.0.0.1"


class HangUpError(Exception):
    """The connection is to be closed without an answer."""


class RefusedError(Exception):
    """The service answers with an error; whoever renders it decides what the body looks like."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Request:
    """One request, with the target exactly as it was sent, because signatures cover it."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))

    def json_value(self) -> object:
        """The body, whatever JSON it is."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise RefusedError(400, "CannotParseRequest", "The body is not JSON.") from error

    def json(self) -> Json:
        """The body, which must be an object."""
        body = self.json_value()
        if not isinstance(body, dict):
            raise RefusedError(400, "CannotParseRequest", "The body is not a JSON object.")
        return body


@dataclass(frozen=True)
class Reply:
    """One answer; `cut` is how many bytes of the body go out before the line breaks."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None


def json_reply(status: int, body: object, headers: Mapping[str, str] | None = None) -> Reply:
    """An answer with a JSON body."""
    given = {"content-type": "application/json", **(headers or {})}
    return Reply(status, json.dumps(body, ensure_ascii=False).encode(), given)


class _Handler(BaseHTTPRequestHandler):
    # Keep-alive, and one packet per answer without waiting for the peer's acknowledgement: with
    # Nagle's algorithm on, every second call would take 40 ms.
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(length))
        try:
            reply = self.server.answer(request)
        except HangUpError:
            self.close_connection = True
            return
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        cut = reply.cut
        headers = {
            "date": format_datetime(self.server.now(), usegmt=True),
            "content-length": str(len(reply.body)),
            **reply.headers,
        }
        lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body[:cut])
        if cut is not None:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_LIST = _answer  # noqa: N815 (their names)

    def log_message(self, *_: object) -> None:
        """Say nothing: what tests need to know is in the sandbox's own log."""


def _phrase(status: int) -> str:
    with suppress(ValueError):
        return HTTPStatus(status).phrase
    return "Unknown"


class _Listener(socketserver.ThreadingTCPServer):
    # Not http.server.HTTPServer: that one asks DNS for its own name when it starts.
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(
        self,
        answer: Callable[[Request], Reply],
        now: Callable[[], datetime],
        port: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.answer = answer
        self.now = now
        self._open: set[socket.socket] = set()
        super().__init__((HOST, port), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Close what is still open, so that clients notice that the service is gone."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Peers that go away are everyday life here; anything else is a bug worth a traceback.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Service:
    """Start and stop of a sandbox; a subclass brings `answer`.

    After a stop it may start again, on the same port, with all it remembered.
    """

    def __init__(self, now: Callable[[], datetime], tls: ssl.SSLContext | None = None) -> None:
        self.now = now
        self.tls = tls
        self._port = 0
        self._listener: _Listener | None = None

    def answer(self, request: Request) -> Reply:
        """Turn a request into a reply."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{HOST}:{self._port}"

    def start(self, port: int | None = None) -> str:
        """Listen in a thread (port 0: any free one) and return the address."""
        assert self._listener is None, "already started"
        listener = _Listener(self.answer, self.now, self._port if port is None else port, self.tls)
        self._listener = listener
        self._port = int(listener.server_address[1])
        threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
        return self.url

    def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.shutdown()
            listener.hang_up()
            listener.server_close()

    @contextmanager
    def serve(self, port: int | None = None) -> Iterator[str]:
        """Serve for the length of a `with` block."""
        try:
            yield self.start(port)
        finally:
            self.stop()
