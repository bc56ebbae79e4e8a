"""One question to the agent and its answer: a few lines of HTTP over a connection that is kept.

    lookup(path) ─ this thread's kept connection, or a new one ─ Answer
    call(…)      ─ a connection of its own, since what changes something is not sent twice

Knows where the agent may be and how it is spoken to, and nothing of what is said. Imports of the
standard library what costs next to nothing, since `keyman get` is called in shells' loops: so
`_socket` (what socket wraps) instead of socket, and json not before it is needed. Thread-safe and
fork-safe: connections belong to one thread of one process, and one that is in use is nowhere to
be found.
"""

from __future__ import annotations

import _socket
import os
import sys
from _thread import _local
from time import monotonic

from keyman import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

TIMEOUT = 5.0  # seconds for one question and its answer
LONGEST_HEAD = 16 * 1024
LONGEST_BODY = 64 * 1024 * 1024
QUESTIONS = 4096  # that are kept written out
REMEMBERED = 64  # answers of one connection: whoever is told the same again need not read it
JSON = "application/json"
UNIX = {"Host": "keyman"}


class Silent(errors.NotRunning):
    """Somebody took the question and said nothing."""


class _Closed(Exception):
    """The agent hung up before it said anything."""


# Where the agent is.


def addresses() -> tuple[str, ...]:
    """Where the agent may be: paths of sockets, or a URL. What the environment names is the only
    one.
    """
    environ = os.environ
    named = environ.get("KEYMAN_SOCKET")
    if named:
        return (named,)
    url = environ.get("KEYMAN_URL")
    if url:
        return (url if "://" in url else f"://{url}",)
    home = environ.get("KEYMAN_HOME")
    if home:
        return (f"{home}/agent.sock",)
    return (f"{_data_folder()}/keyman/agent.sock", "/run/keyman/agent.sock")


def _data_folder() -> str:
    named = os.environ.get("XDG_DATA_HOME", "").strip()
    if named.startswith("/"):
        return named
    mac = sys.platform == "darwin"
    folder = "~/Library/Application Support" if mac else "~/.local/share"
    return os.path.expanduser(folder)  # noqa: PTH111 pathlib would double the time of the import


def is_remote(address: str) -> bool:
    return "://" in address


def _introduction(address: str) -> Mapping[str, str]:
    """The headers that every request to this address carries."""
    if not is_remote(address):
        return UNIX
    from keyman.client import remote

    return remote.headers(address)


# What is asked.

_questions: dict[str, bytes] = {}  # by path


def lookup(path: str, *, patience: float = TIMEOUT) -> Answer:
    """Ask over this thread's kept connection, or a new one if that is closed by now.

    `patience` in seconds. Raises NotRunning, or NotAllowed where the socket is closed to us;
    what the answer says is the caller's to judge.
    """
    where = addresses()
    if "://" in where[0]:  # is_remote, written out: this is the way of every question
        return _over_the_network(where, path, patience)
    question = _questions.get(path)
    if question is None:
        question = request("GET", path, {**UNIX, "Accept": JSON})
        if len(_questions) >= QUESTIONS:
            _questions.clear()
        _questions[path] = question
    return _exchange(where, question, patience)


def _over_the_network(where: tuple[str, ...], path: str, patience: float) -> Answer:
    """The same with a token, which is read anew if it is refused: somebody may have replaced it."""
    told = _introduction(where[0])
    answer = _exchange(where, request("GET", path, {**told, "Accept": JSON}), patience)
    if answer.status == 401:
        from keyman.client import remote

        remote.forget_token()
        again = _introduction(where[0])
        if again != told:
            return _exchange(where, request("GET", path, {**again, "Accept": JSON}), patience)
    return answer


def call(
    method: str,
    path: str,
    body: object = None,
    *,
    timeout: float = TIMEOUT,
    headers: Mapping[str, str] | None = None,
    path_to_socket: str | None = None,
) -> tuple[int, Any]:
    """Ask the agent anything: the status and the JSON of its answer, None if it has no body.

    `timeout` in seconds covers the whole exchange. Raises NotRunning or NotAllowed if there is no
    answer; what the answer says is the caller's to judge, `checked` does. Every call has a
    connection of its own: what changes something must not be sent twice because a kept
    connection turned out to be closed.
    """
    where = (path_to_socket,) if path_to_socket else addresses()
    head = {**_introduction(where[0]), "Accept": JSON, **(headers or {})}
    content = b""
    if body is not None:
        import json

        content = json.dumps(body).encode()
        head["Content-Type"] = JSON
    if method != "GET":
        head["Content-Length"] = str(len(content))
    question = request(method, path, head) + content
    connection = Connection(where, timeout)
    try:
        answer = connection.ask(question, timeout)
    except _Closed:
        raise _hung_up() from None
    finally:
        connection.close()
    return answer.status, answer.said() if answer.body else None


def checked(status: int, said: Any) -> Any:
    """What was said, unless it stands for an error: that is raised."""
    if status < 400:
        return said
    parts = said.get("error") if isinstance(said, dict) else None
    if not isinstance(parts, dict):
        raise not_keyman()
    raise errors.from_code(*(str(parts.get(part)) for part in ("code", "message", "hint")))


def request(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    """The head of a request. Raises UsageError for what would not be one."""
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or path.split() != [path] or not text.isascii():
        raise errors.UsageError("this can't be asked of the agent")
    return f"{text}\r\n\r\n".encode()


# What is answered.


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


# One connection.

_kept = _local()


def _exchange(where: tuple[str, ...], question: bytes, patience: float) -> Answer:
    # Taken out while in use: a signal handler or finalizer that asks meanwhile finds none.
    connection: Connection | None = _kept.__dict__.pop("connection", None)
    answer = None
    if connection is not None and connection.made_for == (os.getpid(), where):
        try:
            answer = connection.ask(question, patience)
        except _Closed:
            connection = None  # the agent has grown tired of it: once more over another one
    if connection is None or answer is None:
        connection = Connection(where, patience)
        try:
            answer = connection.ask(question, patience)
        except _Closed:
            raise _hung_up() from None
    if answer.keep:
        _kept.connection = connection
    return answer


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
        """Send and read. Raises _Closed if not a byte came back, NotRunning for the rest."""
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
            raise _Closed
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


def _hung_up() -> errors.NotRunning:
    return _nobody("the agent hung up without an answer")


def not_keyman() -> errors.NotRunning:
    return errors.NotRunning(
        "what answers is not keyman's agent", hint="look at KEYMAN_SOCKET and KEYMAN_HOME"
    )
