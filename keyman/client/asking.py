"""A question to the agent: where it may be, over which connection, and what an error says.

    lookup(path) ─ this thread's kept connection, or a new one ─ Answer
    call(…)      ─ a connection of its own, since what changes something is not sent twice

Thread-safe and fork-safe: connections belong to one thread of one process, and one that is in use
is nowhere to be found.
"""

from __future__ import annotations

import os
import sys
from _thread import _local

from keyman import errors
from keyman.client.connection import Answer, Closed, Connection, is_remote, not_keyman

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

TIMEOUT = 5.0  # seconds for one question and its answer
QUESTIONS = 4096  # that are kept written out
JSON = "application/json"
STRANGER = (401, 429)  # to a token that is wrong, and to one that was wrong too often
UNIX = {"Host": "keyman"}


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
    def exchanged(told: Mapping[str, str]) -> Answer:
        return _exchange(where, request("GET", path, {**told, "Accept": JSON}), patience)

    return _introduced(where[0], exchanged)


def _introduced(address: str, exchanged: Callable[[Mapping[str, str]], Answer]) -> Answer:
    """What is answered to who we are. A token that is refused is read anew, since somebody may
    have replaced it: then once more, as nothing was done for a stranger.
    """
    told = _introduction(address)
    answer = exchanged(told)
    if answer.status in STRANGER and is_remote(address):
        from keyman.client import remote

        remote.forget_token()
        again = _introduction(address)
        if again != told:
            return exchanged(again)
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
    connection turned out to be closed. Where a token is refused that was replaced meanwhile, the
    other one gets an exchange of its own.
    """
    where = (path_to_socket,) if path_to_socket else addresses()
    more, content = {"Accept": JSON, **(headers or {})}, b""
    if body is not None:
        import json

        content = json.dumps(body).encode()
        more["Content-Type"] = JSON
    if method != "GET":
        more["Content-Length"] = str(len(content))

    def exchanged(told: Mapping[str, str]) -> Answer:
        return _once(where, request(method, path, {**told, **more}) + content, timeout)

    answer = _introduced(where[0], exchanged)
    return answer.status, answer.said() if answer.body else None


def _once(where: tuple[str, ...], question: bytes, timeout: float) -> Answer:
    """Over a connection of its own."""
    connection = Connection(where, timeout)
    try:
        return connection.ask(question, timeout)
    except Closed:
        raise errors.NotRunning("the agent hung up without an answer") from None
    finally:
        connection.close()


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


# Over which connection.

_kept = _local()


def _exchange(where: tuple[str, ...], question: bytes, patience: float) -> Answer:
    # Taken out while in use: a signal handler or finalizer that asks meanwhile finds none.
    connection: Connection | None = _kept.__dict__.pop("connection", None)
    answer = None
    if connection is not None and connection.made_for == (os.getpid(), where):
        try:
            answer = connection.ask(question, patience)
        except Closed:
            connection = None  # the agent has grown tired of it: once more over another one
    if connection is None or answer is None:
        connection = Connection(where, patience)
        try:
            answer = connection.ask(question, patience)
        except Closed:
            raise errors.NotRunning("the agent hung up without an answer") from None
    if answer.keep:
        _kept.connection = connection
    return answer
