"""One connection to the agent, and an answer as it comes over it: a few lines of HTTP.

Knows nothing of what is asked and answered. Imports of the standard library what costs next to
nothing, since `keyman get` is called in shells' loops: so `_socket` (what socket wraps) instead of
socket, and json not before there is something that the interpreter's own scanner can't read.
"""

from __future__ import annotations

import _socket
import os
from time import monotonic

from keyman import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LONGEST_HEAD = 16 * 1024
LONGEST_BODY = 64 * 1024 * 1024
REMEMBERED = 64  # answers of one connection: whoever is told the same again need not read it


class Silent(errors.NotRunning):
    """Somebody took the question and said nothing."""


class Closed(Exception):
    """The agent hung up before it said anything."""


def is_remote(address: str) -> bool:
    return "://" in address


class Answer:
    """A whole answer. `source` is the address that it came from."""

    __slots__ = ("_said", "body", "headers", "keep", "raw", "source", "status")

    def __init__(
        self, status: int, headers: dict[str, str], raw: bytes, head: int, source: str
    ) -> None:
        self.status = status
        self.headers = headers
        self.raw = raw
        self.body = raw[head:]
        self.source = source
        self.keep = headers.get("connection", "").lower() != "close"
        self._said: Any = None

    def said(self) -> Any:
        """The JSON of the body, which is not the caller's to change. Raises NotRunning."""
        if self._said is None:
            self._said = _json(self.body)
        return self._said


def _json(body: bytes) -> Any:
    """What json.loads gives, without importing it where the interpreter has its scanner alone:
    the package costs as much as half of a bare start.
    """
    try:
        from _json import make_scanner

        text = body.decode()
        value, end = make_scanner(_AsJsonDoes)(text, 0)  # type: ignore[arg-type]
        if end == len(text):
            return value
    except (AttributeError, ImportError, StopIteration, SystemError, ValueError):
        pass  # not quite JSON, or no such scanner: the package has the last word
    import json

    try:
        return json.loads(body)
    except ValueError:
        raise not_keyman() from None


class _AsJsonDoes:
    """The decoder's usual settings, as the scanner reads them."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


class Connection:
    """A connection to the agent; belongs to the process and the addresses it was made for."""

    __slots__ = ("_answers", "_patience", "_socket", "made_for", "source")

    def __init__(self, where: tuple[str, ...], patience: float) -> None:
        end = monotonic() + patience
        self._socket, self.source = _connected(where, end)
        self._socket.settimeout(_left(end))
        self._patience = patience
        self._answers: dict[bytes, Answer] = {}
        self.made_for = (os.getpid(), where)

    def close(self) -> None:
        self._socket.close()

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self.close()

    def ask(self, question: bytes, patience: float) -> Answer:
        """Send and read. Raises Closed if not a byte came back, NotRunning for the rest."""
        begun = monotonic()
        try:
            if patience != self._patience:
                self._socket.settimeout(patience)
                self._patience = patience
            data = self._first(question)
            before = self._answers.get(question)
            if before is not None and before.raw == data:
                return before
            return self._whole(question, data, begun + patience)
        except TimeoutError:
            raise Silent("the agent does not answer in time") from None
        except OSError as error:
            raise _nobody(f"the agent broke off: {error.strerror}") from None

    def _first(self, question: bytes) -> bytes:
        """What comes first of the answer, which mostly is all of it."""
        try:
            self._socket.sendall(question)
            data = self._socket.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            data = self._last_words()
        if not data:
            raise Closed
        return data

    def _last_words(self) -> bytes:
        """It may have said why before it hung up on us."""
        try:
            return self._socket.recv(65536)
        except ConnectionResetError:
            return b""

    def _remember(self, question: bytes, answer: Answer) -> None:
        if len(self._answers) >= REMEMBERED:
            self._answers.clear()
        self._answers[question] = answer

    def _whole(self, question: bytes, data: bytes, end: float) -> Answer:
        """The answer that begins so, once all of it is there."""
        while b"\r\n\r\n" not in data:
            if len(data) > LONGEST_HEAD:
                raise not_keyman()
            data += self._more(end)
        head, _, body = data.partition(b"\r\n\r\n")
        status, headers = _parsed(head)
        missing = _length(status, headers) - len(body)
        pieces = [data]
        while missing > 0:
            pieces.append(self._more(end))
            missing -= len(pieces[-1])
        if missing < 0:
            raise not_keyman()
        answer = Answer(status, headers, b"".join(pieces), len(head) + 4, self.source)
        if status == 200:
            self._remember(question, answer)
        return answer

    def _more(self, end: float) -> bytes:
        self._socket.settimeout(_left(end))
        self._patience = 0.0  # the next question has another one
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise _nobody("the agent hung up in the middle of its answer")
        return data


def _left(end: float) -> float:
    return max(0.001, end - monotonic())


def _connected(where: tuple[str, ...], end: float) -> tuple[_socket.socket, str]:
    """A connection to the first address that somebody answers on, and that address."""
    if is_remote(where[0]):
        from keyman.client import remote

        return remote.connect(where[0], _left(end)), where[0]
    if not hasattr(_socket, "AF_UNIX"):
        raise errors.NotRunning("this platform has no unix sockets", hint="set KEYMAN_URL")
    for path in where:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.settimeout(_left(end))
            connection.connect(path)
        except PermissionError:
            connection.close()
            raise errors.NotAllowed(f"this user may not connect to {path}") from None
        except (OSError, ValueError):  # ValueError: a NUL in the path
            connection.close()
        else:
            return connection, path
    raise _nobody(f"nobody answers on {' or '.join(where)}")


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    line, *rest = head.decode("latin-1").split("\r\n")
    protocol, _, status = line.partition(" ")
    if not protocol.startswith("HTTP/1.") or not status[:3].isdigit():
        raise not_keyman()
    fields = (field.partition(":") for field in rest)
    return int(status[:3]), {name.lower(): value.strip() for name, _, value in fields}


def _length(status: int, headers: dict[str, str]) -> int:
    if status in (204, 304):
        return 0
    said = headers.get("content-length", "")
    if not (said.isascii() and said.isdigit()) or len(said) > 9 or int(said) > LONGEST_BODY:
        raise not_keyman()
    return int(said)


def _nobody(what: str) -> errors.NotRunning:
    return errors.NotRunning(what)


def not_keyman() -> errors.NotRunning:
    return errors.NotRunning(
        "what answers is not keyman's agent", hint="look at KEYMAN_SOCKET and KEYMAN_HOME"
    )
