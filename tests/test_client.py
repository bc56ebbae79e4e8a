"""The client against the real agent: what apps get, what they are told, what they keep."""

from __future__ import annotations

import ast
import asyncio
import copy
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import platformdirs
import pytest

import keyman
from keyman import client, errors
from keyman.client import connection, held
from tests.serving import world as worlds
from tests.serving.world import CANARY, World, nothing_usable, secret_of

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An agent that this process's client finds, and a client that remembers nothing."""
    with worlds.world() as here:
        monkeypatch.setenv("KEYMAN_SOCKET", str(here.path))
        held.HELD.clear()
        yield here


# Asking.


def test_get_and_secret(world: World) -> None:
    world.serve("genai", 8, previous=7, expires_at=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert keyman.get("genai") == secret_of("genai", 8)
    secret = keyman.secret("genai")
    assert (secret.value, secret.version, secret.slot) == (secret_of("genai", 8), 8, "key-one")
    assert (secret.name, secret.stage, secret.provider) == ("genai", "current", "oci-genai")
    assert secret.expires_at == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert secret.base_url == "https://inference.example/v1"
    assert (secret.principal, secret.quota_project) == (None, None)
    assert keyman.secret("genai", previous=True).version == 7
    assert keyman.secret("vertex").expires_at is None


def test_as_dict_is_the_object_of_get_json(world: World) -> None:
    answered = world.ask("GET", "/api/v1/secrets/genai")[2]
    assert keyman.secret("genai").as_dict() == answered == client.lookup("genai")
    assert client.lookup("genai", stage="previous")["version"] == 6


def test_every_get_sees_the_newest_version(world: World) -> None:
    for version in range(8, 20):
        world.serve("genai", version)
        assert keyman.get("genai") == secret_of("genai", version)


def test_a_provider_gives_the_current_secret_each_time_it_is_called(world: World) -> None:
    provider = keyman.provider("genai")
    assert provider() == secret_of("genai", 7)
    world.serve("genai", 8)
    assert provider() == secret_of("genai", 8)
    assert asyncio.run(provider.aio()) == secret_of("genai", 8)
    assert repr(provider) == "keyman.provider('genai')"


def test_errors_are_the_agents_with_code_and_hint(world: World) -> None:
    with pytest.raises(keyman.NotFound) as not_found:
        keyman.get("nobody")
    assert not_found.value.code == "not_found"
    assert not_found.value.hint
    world.snapshot.publish("genai", nothing_usable(8, errors.NotAdopted("not yet", hint="adopt")))
    with pytest.raises(keyman.NoUsableSecret) as not_adopted:
        keyman.get("genai")
    assert (not_adopted.value.code, not_adopted.value.hint) == ("not_adopted", "adopt")
    assert not_adopted.value.retry_after == 5


@pytest.mark.parametrize(
    "name", ["", "Genai", "a b", "../x", "a\r\nX: y", "a?stage=previous", "é", "x" * 64]
)
def test_a_name_that_cannot_be_one_is_not_found_and_never_sent(name: str) -> None:
    with pytest.raises(keyman.NotFound):
        keyman.get(name)


def test_an_answer_of_403_is_not_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = b'{"error": {"code": "not_allowed", "message": "no", "hint": "h"}}'
    head = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(said)
    with impostor(head + said) as path:
        monkeypatch.setenv("KEYMAN_SOCKET", path)
        with pytest.raises(keyman.NotAllowed):
            keyman.get("genai")


# Where the agent is.


def paths_with(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    for name in ("KEYMAN_SOCKET", "KEYMAN_URL", "KEYMAN_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return list(client.addresses())


def test_the_socket_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    named = paths_with(monkeypatch, KEYMAN_SOCKET="/a/s", KEYMAN_HOME="/b")
    assert named == ["/a/s"]
    assert paths_with(monkeypatch, KEYMAN_HOME="/b") == ["/b/agent.sock"]


@pytest.mark.parametrize("data", [{}, {"XDG_DATA_HOME": "/data"}, {"XDG_DATA_HOME": "rel"}])
def test_else_in_the_platforms_data_folder_or_in_run(
    monkeypatch: pytest.MonkeyPatch, data: dict[str, str]
) -> None:
    paths = paths_with(monkeypatch, **data)
    home = platformdirs.user_data_path("keyman", appauthor=False)
    assert paths == [str(home / "agent.sock"), "/run/keyman/agent.sock"]


@pytest.mark.parametrize("path", ["/nowhere/agent.sock", "/" + "x" * 300, "/etc/passwd"])
def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("KEYMAN_SOCKET", path)
    with pytest.raises(keyman.NotRunning) as raised:
        keyman.get("genai")
    assert raised.value.code == "not_running"
    assert "keyman daemon" in raised.value.hint


# The kept connection.


def connections(world: World) -> int:
    return len(world.agent._state.connections)


def test_a_thread_keeps_one_connection(world: World) -> None:
    for _ in range(5):
        keyman.get("genai")
        keyman.get("vertex")
    assert connections(world) == 1


def test_the_agent_may_restart_between_two_calls(world: World) -> None:
    keyman.get("genai")
    for version in (8, 9):
        world.agent.stop()
        world.serve("genai", version)
        world.start()
        assert keyman.get("genai") == secret_of("genai", version)


def test_a_signal_handler_may_ask_while_an_answer_is_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The agent answers the second question of the thread only after its third."""
    before = signal.signal(signal.SIGUSR1, lambda *_: answers.append(client.lookup("third")))
    answers: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/s")
        listener.listen()
        monkeypatch.setenv("KEYMAN_SOCKET", f"{folder}/s")

        def serve() -> None:
            listener.settimeout(20)
            first, _ = listener.accept()
            with first:
                first.recv(65536)
                first.sendall(OK + b'13\r\n\r\n{"name": "1"}')
                first.recv(65536)
                os.kill(os.getpid(), signal.SIGUSR1)
                with listener.accept()[0] as other:
                    other.recv(65536)
                    other.sendall(OK + b'13\r\n\r\n{"name": "3"}')
                    first.sendall(OK + b'13\r\n\r\n{"name": "2"}')

        thread = threading.Thread(target=serve)
        thread.start()
        answers.append(client.lookup("first"))
        answers.append(client.lookup("second"))
        thread.join()
    signal.signal(signal.SIGUSR1, before)
    assert [answer["name"] for answer in answers] == ["1", "3", "2"]


def test_a_changed_environment_is_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    keyman.get("genai")
    with worlds.world() as other:
        other.serve("genai", 70)
        monkeypatch.setenv("KEYMAN_SOCKET", str(other.path))
        assert keyman.get("genai") == secret_of("genai", 70)


def test_a_forked_child_asks_over_a_connection_of_its_own(world: World) -> None:
    program = f"""
import os, sys, threading, time
sys.path.insert(0, {str(ROOT)!r})
import keyman
from keyman.client import asking, held
keyman.get("genai")
parents = asking._kept.connection
read, write = os.pipe()
taken = threading.Event()
def note():
    with held._lock():
        taken.set()
        time.sleep(60)
threading.Thread(target=note, daemon=True).start()
taken.wait()  # another thread is noting something when we fork
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        right = all(keyman.get(n).split("-")[3] == n for n in ("genai", "vertex") * 50)
        right = right and asking._kept.connection is not parents
        os.write(write, b"1" if right else b"0")
        os._exit(0)
    children.append(pid)
held._writing = (os.getpid(), held.RLock())  # as that thread would in its time
mine = all(keyman.get(n).split("-")[3] == n for n in ("genai", "vertex") * 200)
for pid in children:
    os.waitpid(pid, 0)
print(mine and asking._kept.connection is parents, os.read(read, 9).decode())
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("True 1111\n", "")


def test_threads_see_no_older_version_after_a_newer_one(world: World) -> None:
    """50 clients while versions are published and the agent is restarted under them."""
    done = threading.Event()
    wrong: list[str] = []
    newest = threading.Barrier(51)

    def read() -> None:
        last = 0
        newest.wait()
        while not done.is_set():
            secret = keyman.secret("genai")
            if secret.value != secret_of("genai", secret.version) or secret.version < last:
                wrong.append(f"{secret.version} after {last}")
            last = secret.version

    def reader() -> None:
        try:
            read()
        except Exception as error:  # noqa: BLE001 whatever it is, it is wrong
            wrong.append(repr(error))

    readers = [threading.Thread(target=reader) for _ in range(50)]
    for one in readers:
        one.start()
    newest.wait()
    for version in range(8, 400):
        world.serve("genai", version, previous=version - 1)
        if version % 130 == 0:
            world.agent.stop()
            world.start()
        time.sleep(0.001)
    done.set()
    for one in readers:
        one.join(30)
    assert wrong == []


# While the agent is away.


def test_what_is_held_is_served_while_the_agent_is_away(world: World) -> None:
    keyman.get("genai")
    world.agent.stop()
    assert keyman.get("genai") == secret_of("genai", 7)
    assert keyman.secret("genai").version == 7
    with pytest.raises(keyman.NotRunning):
        keyman.get("vertex")
    with pytest.raises(keyman.NotRunning):
        client.lookup("genai")


def test_what_is_held_is_served_until_it_expires(world: World) -> None:
    world.clock.wall = datetime.now(UTC)
    world.expire_in("genai", 8, timedelta(seconds=2))
    keyman.get("genai")
    world.agent.stop()
    assert keyman.get("genai") == secret_of("genai", 8)
    time.sleep(2)
    with pytest.raises(keyman.NotRunning):
        keyman.get("genai")


@pytest.mark.parametrize(
    ("end", "said"), [("revoked", keyman.NoUsableSecret), ("withdrawn", keyman.NotRunning)]
)
def test_after_a_refusal_that_was_seen_nothing_is_held(
    world: World, end: str, said: type[keyman.Error]
) -> None:
    keyman.get("genai")
    if end == "revoked":
        world.snapshot.publish("genai", nothing_usable(8))
    else:
        world.snapshot.withdraw("genai")
    with pytest.raises((keyman.NoUsableSecret, keyman.NotFound)):
        keyman.get("genai")
    world.agent.stop()
    with pytest.raises(said):
        keyman.get("genai")


def test_what_one_agent_gave_does_not_stand_in_for_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyman.get("genai")
    monkeypatch.setenv("KEYMAN_SOCKET", "/nowhere/agent.sock")
    with pytest.raises(keyman.NotRunning):
        keyman.get("genai")


def test_names_that_nobody_has_are_not_remembered(world: World) -> None:
    for number in range(20):
        with pytest.raises(keyman.NotFound):
            keyman.get(f"nobody-{number}")
    assert held.HELD == {}


def test_an_agent_in_trouble_is_an_agent_that_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many connections, or something unforeseen inside: nothing is said of the secret."""
    said = b'{"error": {"code": "too_many", "message": "too many", "hint": "h"}}'
    head = b"HTTP/1.1 429 Busy\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(said)
    keyman.get("genai")
    world.agent.stop()
    with impostor(head + said) as path:
        Path(path).rename(world.path)
        try:
            assert keyman.get("genai") == secret_of("genai", 7)
            with pytest.raises(keyman.Error, match="too many"):
                keyman.get("vertex")
        finally:
            world.path.rename(path)


def holds(*notes: tuple[int | None, float]) -> int | None:
    """What is held after these answers; each came in when it was noted, and was asked for then."""
    held.HELD.clear()
    for version, asked_at in notes:
        found = held.refused(("here",), unusable=True)
        if version:
            body = json.dumps({"name": "genai", "value": str(version), "version": version})
            answer = connection.Answer(200, {}, body.encode(), 0, "here")
            found = held.given(answer, ("here",))
        held.note("genai", found, asked_at)
    kept = held.HELD["genai"].secret
    return kept.version if kept else None


def test_of_overlapping_answers_the_newer_version_stays() -> None:
    long_ago, later = time.monotonic() - 60, time.monotonic() + 60
    assert holds((8, long_ago), (7, long_ago)) == 8, "7 was under way when 8 came in"
    assert holds((7, long_ago), (8, long_ago)) == 8
    assert holds((8, long_ago), (3, later)) == 3, "asked later: the journal was restored"
    assert holds((7, long_ago), (None, long_ago), (7, long_ago)) is None, "7 was under way"
    assert holds((None, long_ago), (9, later)) == 9


# Answers that are none.


@contextmanager
def impostor(answer: bytes, *, hang: bool = False) -> Iterator[str]:
    """Something else that answers on a socket."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/s")
        listener.listen()
        end = threading.Event()

        def serve() -> None:
            while not end.is_set():
                connection, _ = listener.accept()
                with connection:
                    if end.is_set():
                        return
                    connection.recv(65536)
                    connection.sendall(answer)
                    if hang:
                        end.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"{folder}/s"
        finally:
            end.set()
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(f"{folder}/s")
            thread.join()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: "


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"2\r\n\r\n{}",
        OK + b"5\r\n\r\n{}",
        OK + b'13\r\n\r\n{"value": "x"} ',
        OK + b"1\r\n\r\n{}",
        OK + b"-1\r\n\r\n",
        OK + b"99999999999999\r\n\r\n",
        OK + b"7\r\n\r\nnonsens",
        OK + b"2\r\n\r\n[]",
        OK + b'11\r\n\r\n{"value":1}',
        b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{}",
        b"a" * 40_000,
    ],
)
def test_what_is_not_keymans_answer_is_nobody(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with impostor(answer) as path:
        monkeypatch.setenv("KEYMAN_SOCKET", path)
        with pytest.raises(keyman.NotRunning):
            keyman.get("genai")


@pytest.mark.parametrize("answer", [b"", OK + b"99\r\n\r\n{"])
def test_an_agent_that_hangs_is_given_up(answer: bytes) -> None:
    with (
        impostor(answer, hang=True) as path,
        pytest.raises(keyman.NotRunning, match="in time"),
    ):
        client.call("GET", "/healthz", timeout=0.3, path_to_socket=path)


# call, for the commands.


def test_call_gives_status_and_object(world: World) -> None:
    path = "/api/v1/credentials/genai"
    status, said = client.call("GET", path)
    assert (status, said["name"], said["health"]) == (200, "genai", "ok")
    status, receipt = client.call("POST", f"{path}/rotate", {"reason": "drill"})
    assert (status, receipt["state"]) == (202, "running")
    assert world.desk.wishes[0][1].reason == "drill"
    client.call("POST", f"{path}/rotate", headers={"Idempotency-Key": "k"})
    assert world.desk.wishes[1][2] == "k"
    assert client.call("GET", "/api/v1/secrets/genai?after=7") == (304, None)
    assert client.call("GET", "/healthz", path_to_socket=str(world.path))[0] == 200


def test_call_leaves_errors_to_checked(world: World) -> None:
    status, answer = client.call("POST", "/api/v1/credentials/nobody/rotate", {})
    assert status == 404
    with pytest.raises(keyman.NotFound, match="nobody"):
        client.checked(status, answer)
    assert client.checked(200, {"x": 1}) == {"x": 1}
    with pytest.raises(keyman.NotRunning):
        client.checked(500, "oops")


def test_call_has_a_timeout_of_its_own(world: World) -> None:
    with pytest.raises(keyman.NotRunning, match="in time"):
        client.call("GET", "/api/v1/secrets/genai?after=7&wait=30s", timeout=0.2)


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/é", ""])
def test_call_sends_no_path_that_is_none(world: World, path: str) -> None:
    with pytest.raises(errors.UsageError):
        client.call("GET", path)


# What is shown.


@pytest.mark.parametrize("show", [repr, str, "{}".format, lambda s: f"{s!r:>80}"])
def test_a_secret_shows_no_value(world: World, show: Callable[[object], str]) -> None:
    assert CANARY not in show(keyman.secret("genai"))
    assert "genai" in show(keyman.secret("genai"))


def test_a_secret_is_not_pickled_nor_changed(world: World) -> None:
    secret = keyman.secret("genai")
    for refused in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            refused(secret)
    with pytest.raises(AttributeError):
        secret.value = "other"


# What it costs.


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert keyman.__version__ == project["version"]


def test_the_import_takes_no_slow_module_along() -> None:
    """Each of these costs milliseconds at every `keyman get`; they wait until they are needed."""
    program = "import sys; sys.path.append(sys.argv[1]); import keyman; print(sorted(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(ROOT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    slow = {"socket", "ssl", "json", "re", "datetime", "typing", "dataclasses", "threading"}
    slow |= {"enum", "asyncio", "http", "pathlib", "inspect", "logging", "selectors"}
    assert slow.isdisjoint(ast.literal_eval(ran.stdout))
