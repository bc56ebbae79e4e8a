"""What applications fetch secrets with: the agent's socket, a few lines of HTTP, and a memory.

    get(name) ─ secret(name) ─ lookup over this thread's kept connection ─ remember
                     └ nobody answers: what this process holds, until it expires

Imports the standard library and keyman.errors only, and of the former only what costs next to
nothing: `keyman get` is called in shells' loops. So `_socket` (what socket wraps) instead of
socket, and json or datetime not before they are needed. Thread-safe and fork-safe: connections
belong to one thread of one process, and one that is in use is nowhere to be found.
"""

from __future__ import annotations

import _socket
import os
import sys
from _thread import _local, allocate_lock
from time import monotonic, time

from keyman import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any, NoReturn

TIMEOUT = 5.0  # seconds for one question and its answer
LONGEST_HEAD = 16 * 1024
LONGEST_BODY = 64 * 1024 * 1024
NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
FIELDS = (
    "name",
    "value",
    "version",
    "slot",
    "stage",
    "expires_at",
    "base_url",
    "provider",
    "principal",
    "quota_project",
)


def get(name: str) -> str:
    """The current secret of the credential.

    Raises NotFound, NotAllowed, NoUsableSecret or NotRunning (nobody answers, and this process
    holds nothing that is still valid).
    """
    return secret(name).value


def secret(name: str, *, previous: bool = False) -> Secret:
    """The current secret and what goes with it; raises as `get` does.

    With `previous`, the version before it while that is still valid.
    """
    if previous:
        return Secret(lookup(name, stage="previous"))
    asked_at = monotonic()
    try:
        found = Secret(lookup(name))
    except errors.NotRunning:
        kept = _memory().held(name)
        if kept is None:
            raise
        return kept
    except (errors.NotFound, errors.NotAllowed, errors.NoUsableSecret):
        # The agent has spoken: what this process holds must not outlive that.
        _memory().note(name, None, asked_at)
        raise
    _memory().note(name, found, asked_at)
    return found


def lookup(name: str, *, stage: str = "current", timeout: float = TIMEOUT) -> dict[str, Any]:
    """The object of `keyman get --json` as the agent answers it now; raises as `get` does.

    Nothing that this process holds stands in for an agent that is away, and none is waited for
    longer than `timeout` (seconds).
    """
    said = _get(_path(name, stage), timeout)
    if not isinstance(said, dict):
        raise _not_keyman()
    return said


class provider:  # noqa: N801 used like a function: `OpenAI(api_key=keyman.provider("genai"))`
    """A callable that gives the current secret of one credential each time it is called."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self) -> str:
        return get(self.name)

    async def aio(self) -> str:
        """The same for those who await it; the question is asked in a worker thread."""
        import asyncio

        return await asyncio.to_thread(get, self.name)

    def __repr__(self) -> str:
        return f"keyman.provider({self.name!r})"


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
    head = {"Accept": "application/json", **(headers or {})}
    content = b""
    if body is not None:
        import json

        content = json.dumps(body).encode()
        head["Content-Type"] = "application/json"
    if method != "GET":
        head["Content-Length"] = str(len(content))
    question = _request(method, path, head) + content
    end = monotonic() + timeout
    connection = _Connection([path_to_socket] if path_to_socket else socket_paths(), end)
    try:
        answer = connection.ask(question, end)
    except _Closed:
        raise _nobody("the agent hung up without an answer") from None
    finally:
        connection.close()
    return answer.status, _json(answer.body) if answer.body else None


def checked(status: int, said: Any) -> Any:
    """What was said, unless it stands for an error: that is raised."""
    if status < 400:
        return said
    parts = said.get("error") if isinstance(said, dict) else None
    if not isinstance(parts, dict):
        raise _not_keyman()
    raise errors.from_code(*(str(parts.get(part)) for part in ("code", "message", "hint")))


def socket_paths() -> list[str]:
    """Where the agent's socket may be. One that is named in the environment is the only one."""
    environ = os.environ
    named = environ.get("KEYMAN_SOCKET")
    if named:
        return [named]
    home = environ.get("KEYMAN_HOME")
    if home:
        return [f"{home}/agent.sock"]
    return [f"{_data_folder()}/keyman/agent.sock", "/run/keyman/agent.sock"]


def _data_folder() -> str:
    named = os.environ.get("XDG_DATA_HOME", "").strip()
    if named.startswith("/"):
        return named
    mac = sys.platform == "darwin"
    folder = "~/Library/Application Support" if mac else "~/.local/share"
    return os.path.expanduser(folder)  # noqa: PTH111 pathlib would double the time of the import


class Secret:
    """One version of a credential's secret and what goes with it. Shows no value when printed."""

    __slots__ = (*FIELDS[:5], "_expires_at", *FIELDS[6:])

    name: str
    value: str
    version: int
    slot: str | None
    stage: str
    base_url: str | None
    provider: str
    principal: str | None
    quota_project: str | None
    _expires_at: str | None

    def __init__(self, said: Any) -> None:
        if not isinstance(said, dict) or not isinstance(said.get("value"), str):
            raise _not_keyman()
        for field, slot in zip(FIELDS, self.__slots__, strict=True):
            object.__setattr__(self, slot, said.get(field))

    @property
    def expires_at(self) -> datetime | None:
        """When the provider stops taking it (aware, UTC); None if it never does."""
        if self._expires_at is None:
            return None
        from datetime import datetime

        return datetime.fromisoformat(self._expires_at)

    def as_dict(self) -> dict[str, Any]:
        """The object of `keyman get --json`, the value included."""
        return {
            field: getattr(self, slot) for field, slot in zip(FIELDS, self.__slots__, strict=True)
        }

    def __setattr__(self, field: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __repr__(self) -> str:
        return f"<keyman.Secret {self.name!r} version {self.version} ···>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


# What this process holds for the time that nobody answers.


class _Memory:
    """Name → the last secret that the agent gave, or None with the time it refused one."""

    def __init__(self, pid: int, said: dict[str, tuple[Secret | None, float]]) -> None:
        self.pid = pid
        self._said = said
        self._writing = allocate_lock()

    def after_fork(self, pid: int) -> _Memory:
        return _Memory(pid, dict(self._said))

    def note(self, name: str, found: Secret | None, asked_at: float) -> None:
        """Remember an answer to a question asked then. A refusal counts from when it came in."""
        with self._writing:
            last = self._said.get(name)
            if found is None or last is None or asked_at > last[1] or _newer(found, last[0]):
                self._said[name] = (found, monotonic())

    def held(self, name: str) -> Secret | None:
        """The last secret, unless it was refused since or has expired."""
        kept = self._said.get(name, (None,))[0]
        if kept is None:
            return None
        expires_at = kept.expires_at
        return kept if expires_at is None or time() < expires_at.timestamp() else None


def _newer(found: Secret, last: Secret | None) -> bool:
    """Of two answers whose questions overlapped only the version tells which is newer; and a
    refusal is never taken back by a question that was under way.
    """
    return last is not None and found.version >= last.version


_remembered = _Memory(os.getpid(), {})


def _memory() -> _Memory:
    global _remembered  # noqa: PLW0603 a forked child must not wait for a lock of its parent's
    if _remembered.pid != os.getpid():
        _remembered = _remembered.after_fork(os.getpid())
    return _remembered


# One question, one answer.


class _Answer:
    __slots__ = ("body", "headers", "keep", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.keep = headers.get("connection", "").lower() != "close"


class Silent(errors.NotRunning):
    """Somebody took the question and said nothing."""


class _Closed(Exception):
    """The agent hung up before it said anything."""


_kept = _local()


def _get(path: str, timeout: float) -> Any:
    """Look up over this thread's kept connection, or a new one if that is closed by now."""
    question = _request("GET", path, {"Accept": "application/json"})
    end = monotonic() + timeout
    paths = socket_paths()
    # Taken out while in use: a signal handler or finalizer that asks meanwhile finds none.
    connection: _Connection | None = _kept.__dict__.pop("connection", None)
    answer: _Answer | None = None
    if connection is not None and connection.suits(paths):
        try:
            answer = connection.ask(question, end)
        except _Closed:
            answer = None
    if connection is None or answer is None:
        connection = _Connection(paths, end)
        try:
            answer = connection.ask(question, end)
        except _Closed:
            raise _nobody("the agent hung up without an answer") from None
    if answer.keep:
        _kept.connection = connection
    try:
        return checked(answer.status, _json(answer.body))
    except errors.NoUsableSecret as error:
        wait = answer.headers.get("retry-after", "")
        error.retry_after = float(wait) if wait.isdigit() else None
        raise


class _Connection:
    """One connection to the agent; belongs to the process and the socket path it was made for."""

    def __init__(self, paths: list[str], end: float) -> None:
        self._made_for = (os.getpid(), paths)
        self._socket = _connect(paths, end)

    def suits(self, paths: list[str]) -> bool:
        return self._made_for == (os.getpid(), paths)

    def close(self) -> None:
        self._socket.close()

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self.close()

    def ask(self, question: bytes, end: float) -> _Answer:
        """Send and read. Raises _Closed if not a byte came back, NotRunning for the rest."""
        try:
            return self._ask(question, end)
        except TimeoutError:
            raise Silent("the agent does not answer in time") from None
        except OSError as error:
            raise _nobody(f"the agent broke off: {error.strerror}") from None

    def _ask(self, question: bytes, end: float) -> _Answer:
        try:
            self._socket.settimeout(max(0.001, end - monotonic()))
            self._socket.sendall(question)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have said why before it hung up
        read = b""
        while b"\r\n\r\n" not in read:
            if len(read) > LONGEST_HEAD:
                raise _not_keyman()
            read += self._some(end, begun=bool(read))
        head, _, body = read.partition(b"\r\n\r\n")
        status, headers = _head(head)
        wanted = _length(status, headers)
        pieces, got = [body], len(body)
        while got < wanted:
            pieces.append(self._some(end, begun=True))
            got += len(pieces[-1])
        if got > wanted:
            raise _not_keyman()
        return _Answer(status, headers, b"".join(pieces))

    def _some(self, end: float, *, begun: bool) -> bytes:
        self._socket.settimeout(max(0.001, end - monotonic()))
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if data:
            return data
        if begun:
            raise _nobody("the agent hung up in the middle of its answer")
        raise _Closed


def _connect(paths: list[str], end: float) -> _socket.socket:
    """A connection to the first socket that somebody answers on."""
    if not hasattr(_socket, "AF_UNIX"):
        raise errors.NotRunning("this platform has no unix sockets", hint="")
    for path in paths:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.settimeout(max(0.001, end - monotonic()))
            connection.connect(path)
        except PermissionError:
            connection.close()
            raise errors.NotAllowed(f"this user may not connect to {path}") from None
        except (OSError, ValueError):  # ValueError: a NUL in the path
            connection.close()
        else:
            return connection
    raise _nobody(f"nobody answers on {' or '.join(paths)}")


def _request(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: keyman"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or path.split() != [path] or not text.isascii():
        raise errors.UsageError("this can't be asked of the agent")
    return f"{text}\r\n\r\n".encode()


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    line, *rest = head.decode("latin-1").split("\r\n")
    protocol, _, status = line.partition(" ")
    if not protocol.startswith("HTTP/1.") or not status[:3].isdigit():
        raise _not_keyman()
    fields = (field.partition(":") for field in rest)
    return int(status[:3]), {name.lower(): value.strip() for name, _, value in fields}


def _length(status: int, headers: dict[str, str]) -> int:
    if status in (204, 304):
        return 0
    said = headers.get("content-length", "")
    if not (said.isascii() and said.isdigit()) or len(said) > 9 or int(said) > LONGEST_BODY:
        raise _not_keyman()
    return int(said)


def _path(name: str, stage: str) -> str:
    """The lookup's path. A name that can't be one is a name that nobody has."""
    if not 0 < len(name) <= 63 or name[0] in "_-" or not NAME_LETTERS.issuperset(name):
        raise errors.NotFound(f"no credential {name!r}")
    return f"/api/v1/secrets/{name}{'' if stage == 'current' else f'?stage={stage}'}"


def _json(body: bytes) -> Any:
    import json

    try:
        return json.loads(body)
    except ValueError:
        raise _not_keyman() from None


def _nobody(what: str) -> errors.NotRunning:
    return errors.NotRunning(what)


def _not_keyman() -> errors.NotRunning:
    return errors.NotRunning(
        "what answers is not keyman's agent", hint="look at KEYMAN_SOCKET and KEYMAN_HOME"
    )
