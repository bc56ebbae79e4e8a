"""Stands between a store and the imitation of AWS, and breaks what it is told to break.

Calls go through as they are, one connection each, and are counted. A fault is a function that gets
the call and decides what becomes of it: whether it is carried out, and what of the answer arrives.
"""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

REQUEST_ID = "8f1c2a34-1111-4222-8333-444455556666"


class Call(BaseHTTPRequestHandler):
    """One call, by which a fault does what it does."""

    server: "_Server"

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.operation = self.headers["X-Amz-Target"].partition(".")[2]
        self.close_connection = True
        self.server.between.next_fault(self.operation)(self)

    def carry_out(self) -> tuple[int, bytes]:
        beyond = HTTPConnection(urlsplit(self.server.between.beyond).netloc)
        try:
            beyond.request("POST", "/", self.body, dict(self.headers))
            answer = beyond.getresponse()
            return answer.status, answer.read()
        finally:
            beyond.close()

    def answer(self, status: int, body: bytes, *, sent: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("x-amzn-RequestId", REQUEST_ID)
        self.end_headers()
        self.wfile.write(body[:sent])

    def log_message(self, *_: Any) -> None:
        """Not to the terminal."""


Fault = Callable[[Call], None]


def none(call: Call) -> None:
    call.answer(*call.carry_out())


def lost_before(_: Call) -> None:
    """The connection ends; nothing was done."""


def lost_after(call: Call) -> None:
    """The connection ends; it was done."""
    call.carry_out()


def cut_short(call: Call) -> None:
    status, body = call.carry_out()
    call.answer(status, body, sent=len(body) // 2)


def garbled(call: Call) -> None:
    """Something on the way answers in AWS's place."""
    call.carry_out()
    call.answer(200, b"<html>please sign in</html>")


def refused(code: str, status: int = 400, message: str = "") -> Fault:
    def fault(call: Call) -> None:
        call.answer(status, json.dumps({"__type": code, "message": message}).encode())

    return fault


def absent(call: Call) -> None:
    """Not there yet, says one of AWS's machines."""
    refused("ResourceNotFoundException")(call)


class Held:
    """A call that nobody gets an answer to, and that is carried out when the test says so."""

    def __init__(self) -> None:
        self.call: Call | None = None

    def __call__(self, call: Call) -> None:
        self.call = call

    def arrive(self) -> int:
        assert self.call is not None, "nothing was held"
        return self.call.carry_out()[0]


class Silence:
    """Carried out, and the answer never comes."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self, call: Call) -> None:
        call.carry_out()
        self.over.wait(60)


class Trickle:
    """Answered a byte at a time, so that no socket ever waits long; whole only after a while."""

    def __init__(self, pause: float, pieces: int) -> None:
        self.pause, self.pieces = pause, pieces

    def __call__(self, call: Call) -> None:
        status, body = call.carry_out()
        call.answer(status, b" " * self.pieces + body, sent=0)
        for _ in range(self.pieces):
            call.wfile.write(b" ")
            threading.Event().wait(self.pause)
        call.wfile.write(body)


class Between:
    def __init__(self, beyond: str) -> None:
        self.beyond = beyond
        self.calls: list[str] = []
        self.address = ""
        self._faults: list[tuple[int, str | None, Fault]] = []
        self._turn = threading.Lock()

    def break_call(self, fault: Fault, *, nth: int = 0, of: str | None = None) -> None:
        """The n-th call from now on (the first is 0), of that operation only if one is named."""
        with self._turn:
            self._faults.append((nth, of, fault))

    def break_all(self, fault: Fault, *, of: str | None = None) -> None:
        for nth in range(100):
            self.break_call(fault, nth=nth, of=of)

    def next_fault(self, operation: str) -> Fault:
        with self._turn:
            self.calls.append(operation)
            mine = [each for each in self._faults if each[1] in (None, operation)]
            self._faults = [
                (nth - 1, of, fault) if of in (None, operation) else (nth, of, fault)
                for nth, of, fault in self._faults
                if nth or of not in (None, operation)
            ]
            return next((fault for nth, _, fault in mine if nth == 0), none)

    def heal(self) -> None:
        with self._turn:
            self._faults = []
            self.calls = []


class _Server(ThreadingHTTPServer):
    between: Between

    def handle_error(self, *_: Any) -> None:
        """A client that gave up is none of the test's business."""


@contextmanager
def between(beyond: str, *, tls: ssl.SSLContext | None = None) -> Iterator[Between]:
    with _Server(("127.0.0.1", 0), Call) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.between = Between(beyond)
        scheme = "https" if tls else "http"
        server.between.address = f"{scheme}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.between
        finally:
            server.shutdown()
            thread.join()
