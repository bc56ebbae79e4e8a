"""Raw bytes for the agent: over its socket as the owner, over TCP without a token.

Whatever is sent, what comes back is HTTP without a 5xx, nobody is given a secret over TCP, and the
agent goes on: it is asked for a lookup now and then.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from keyman.serving.wire import Limits
from tests.fuzz.parser import Parser, Try, must
from tests.serving import tcp_world

AFTER = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HASTY = Limits(read_within=2.0, idle=2.0)
QUIET = 0.004  # seconds after which nothing more is expected
ANSWER = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
SEEN = b"sk-"  # in the secrets of these worlds
EVERY = 200  # inputs


@contextmanager
def listening() -> Iterator[Try]:
    with tcp_world.network(limits=HASTY) as net:
        token = net.client("reader", "genai")
        asked, secret = 0, net.over_tcp("GET /api/v1/secrets/genai", token).json["value"]

        def attempt(data: bytes) -> None:
            nonlocal asked
            asked += 1
            over_tcp = data[-1:] in b"02468ace\n\x00"
            answer = said(net, data, remote=over_tcp, number=asked)
            statuses = [int(found) for found in ANSWER.findall(answer)]
            must(not answer or answer.startswith(b"HTTP/1.1 "), "what it says is no HTTP")
            must(not [one for one in statuses if one >= 500], f"it answers {statuses}")
            must(not over_tcp or secret.encode() not in answer, "a secret without a token")
            if asked % EVERY == 0:
                again = net.over_tcp("GET /api/v1/secrets/genai", token)
                must((again.status, again.json["value"]) == (200, secret), "it does not go on")

        yield attempt


def said(net: tcp_world.Network, data: bytes, *, remote: bool, number: int) -> bytes:
    """What comes back for these bytes, and for a plain request after them."""
    with contextlib.closing(_line(net, remote=remote, number=number)) as line:
        answer = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(data + AFTER)
            line.settimeout(QUIET)
            try:
                while more := line.recv(65536):
                    answer += more
            except TimeoutError:
                line.settimeout(20)
                line.shutdown(socket.SHUT_WR)
                while more := line.recv(65536):
                    answer += more
        return answer


def _line(net: tcp_world.Network, *, remote: bool, number: int) -> socket.socket:
    """Over TCP each from another address, since who goes on guessing is held up."""
    if remote:
        return net.connect(f"127.{number >> 14 & 127}.{number >> 7 & 127}.{number % 128 + 1}")
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(20)
    line.connect(str(net.path))
    return line


_ORDER = b'{"reason": "it"}'
_REPORT = b'e\r\n{"version": 7}\r\n0\r\n\r\n'
_JSON = b"Host: localhost\r\nContent-Type: application/json\r\n"
_CORPUS = (
    b"GET /api/v1/secrets/genai HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
    b"GET /api/v1/credentials HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer kmc_x\r\n\r\n",
    b"POST /api/v1/credentials/genai/rotate HTTP/1.1\r\n%sContent-Length: 16\r\n\r\n%s"
    % (_JSON, _ORDER),
    b"POST /api/v1/secrets/genai/rejected HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n%s"
    % (_JSON, _REPORT),
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"GET http://evil.example/api/v1/secrets/genai HTTP/1.0\r\n\r\n",
)
_WORDS = (
    *(b"\r\n", b"\r\n\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Expect: 100-continue\r\n", b"\r\n ", b"HTTP/1.1", b"HTTP/2.0", b"%2e%2e/", b"?", b"#"),
    *(b"Host: 127.0.0.1\r\n", b"Origin: https://evil.example\r\n", b"Cookie: a=b\r\n"),
)
PARSERS = (Parser("HTTP of the agent", _CORPUS, listening, _WORDS),)
