"""What others take for the same: their own commands and libraries, fed with a secret of ours.

A peer that is not on this machine is None where it would have been, and `absent` says what brings
it. Nothing of the user's is touched: servers, buses and keyrings are made for the run.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from google.oauth2.credentials import Credentials

from tests.servers import GNOME_KEYRING_HINT, secret_service

SERVICE, USER = "keyman", "genai"
KEYRING = str(Path(sys.executable).with_name("keyring"))
LABEL = ("--label", "a secret of a benchmark")
PACKAGES = {
    "keyring get": GNOME_KEYRING_HINT,
    "secret-tool": "apt-get install libsecret-tools",
    "redis": "apt-get install redis-server",
}


def absent(name: str) -> str:
    return f"{name} is not here: {PACKAGES[name]}"


def google_hit() -> Callable[[], object]:
    """google-auth with a token that is fresh: it looks at the end of it and makes the header."""
    ends = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)  # it wants naive UTC
    held = Credentials("ya29.of-a-benchmark", expiry=ends)  # type: ignore[no-untyped-call]

    def hit() -> object:
        headers: dict[str, str] = {}
        held.before_request(None, "GET", "https://example.com", headers)  # type: ignore[no-untyped-call]
        return headers

    assert "authorization" in hit()  # type: ignore[operator]
    return hit


@contextmanager
def redis(folder: Path, value: bytes) -> Iterator[Callable[[], object] | None]:
    """One GET of this value over a unix socket, by a blocking socket here."""
    program, place = shutil.which("redis-server"), folder / "redis.sock"
    if program is None:
        yield None
        return
    words = ["--port", "0", "--unixsocket", str(place), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)
    try:
        with _connected(place) as connection:
            asked = _command(b"GET", b"genai")
            connection.sendall(_command(b"SET", b"genai", value))
            assert connection.recv(65536) == b"+OK\r\n"

            def get() -> object:
                connection.sendall(asked)
                return connection.recv(65536)

            assert value in get()  # type: ignore[operator]
            yield get
    finally:
        server.terminate()
        server.wait()


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def _connected(place: Path) -> socket.socket:
    """Once somebody listens there."""
    deadline = time.monotonic() + 30
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(place))
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return connection


@contextmanager
def keyrings(folder: Path) -> Iterator[tuple[dict[str, list[str] | None], dict[str, str]]]:
    """Commands that print a secret of the desktop's keyring, and the environment they need."""
    commands: dict[str, list[str] | None] = {"keyring get": None, "secret-tool": None}
    if not all(map(shutil.which, ("gnome-keyring-daemon", "dbus-daemon"))):
        yield commands, {}
        return
    with secret_service(folder) as environment:
        _fed([KEYRING, "set", SERVICE, USER], environment)
        commands["keyring get"] = [KEYRING, "get", SERVICE, USER]
        if tool := shutil.which("secret-tool"):
            named = ["service", f"{SERVICE}-tool", "username", USER]
            _fed([tool, "store", *LABEL, *named], environment)
            commands["secret-tool"] = [tool, "lookup", *named]
        yield commands, environment


def _fed(command: list[str], environment: dict[str, str]) -> None:
    said = "sk-of-a-benchmark\n"
    subprocess.run(command, input=said, text=True, env=environment, check=True)
