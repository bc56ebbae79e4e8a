"""HTTP messages as bytes, read whole from a socket: all that the proxy knows of what it carries.

Knows one length (content-length), because nobody here sends another, and no vendor.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

END = b"\r\n\r\n"
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a close becomes a reset


def message(line: socket.socket) -> bytes | None:
    """One request or answer with its body; None if the other side ended before or within it."""
    got = b""
    while END not in got:
        more = line.recv(65536)
        if not more:
            return None
        got += more
    size = len(head(got)) + length(got)
    while len(got) < size:
        more = line.recv(65536)
        if not more:
            return None
        got += more
    return got


def head(message: bytes) -> bytes:
    return message[: message.index(END) + len(END)]


def body(message: bytes) -> bytes:
    return message[message.index(END) + len(END) :]


def length(message: bytes) -> int:
    for line in head(message).split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def target(message: bytes) -> tuple[str, str]:
    """Method and target of a request."""
    method, path, _ = message.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    return method, path


def status(message: bytes) -> int:
    return int(message.split(b" ", 2)[1])


def framed(content: bytes, kind: bytes = b"application/json") -> bytes:
    """A 200 with that body."""
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n" % (kind, len(content))
        + content
    )


def reset(line: socket.socket) -> None:
    """End it so that the other side meets ECONNRESET."""
    with suppress(OSError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    line.close()


def until_gone(line: socket.socket, seconds: float) -> None:
    """Wait for the other side to hang up, so long at most."""
    line.settimeout(seconds)
    with suppress(OSError):
        while line.recv(65536):
            pass
