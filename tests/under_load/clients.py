"""The applications: one kind a process, all for one credential, until they are told to stop.

    python -m tests.under_load.clients KIND FILE

Each looks up in the way that its users find natural, as fast as leaves the others some of the
machine, and notes what it was given. What a daemon that is away leaves them without is no fault.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2

import keyman
from keyman import client
from tests.under_load.seen import Seen

NAME, MODEL = "genai", "meta.llama-3.3-70b-instruct"
BATCH = 2_000  # lookups of one thread before it lets the others have the machine
PAUSE = 0.02  # seconds between two calls, or batches
QUESTION = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
BESIDE = frozenset({"command", "file"})  #: they look without the daemon, or at what it wrote

_stopping = threading.Event()


def in_threads(seen: Seen) -> None:
    """`keyman.get` in three threads, without a pause."""

    def one(mine: Seen) -> None:
        while not _stopping.wait(PAUSE):
            _many(mine)

    notes = [Seen(seen.file.with_suffix(f".{n}")) for n in range(3)]
    threads = [threading.Thread(target=one, args=(mine,)) for mine in notes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine in notes:
        mine.write()


def after_a_fork(seen: Seen) -> None:
    """The parent holds a secret; its child goes on with what it inherited."""
    while not _stopping.is_set():
        with suppress(keyman.Error):
            seen.note(keyman.get(NAME), time.time())
            break
        _stopping.wait(PAUSE)
    parent = os.getpid()
    child = os.fork()
    mine = Seen(seen.file.with_suffix(".child")) if child == 0 else seen
    while not _stopping.wait(PAUSE) and parent in (os.getpid(), os.getppid()):
        _many(mine)
    mine.write()
    if child == 0:
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)


def _many(seen: Seen) -> None:
    for _ in range(BATCH):
        asked = time.time()
        try:
            value = keyman.get(NAME)
        except keyman.Error:
            return
        seen.note(value, asked)
    seen.write(every=1.0)


def openai_sdk(seen: Seen) -> None:
    """OpenAI's own client with a callable key: one lookup for each attempt."""
    from openai import AuthenticationError, OpenAI, OpenAIError

    given: list[str] = []

    def key() -> str:
        asked = time.time()
        given[:] = [keyman.get(NAME)]
        seen.note(given[0], asked)
        return given[0]

    with OpenAI(api_key=key, base_url=_base_url(), max_retries=0) as openai:
        for _ in _calls(seen):
            try:
                openai.chat.completions.create(**QUESTION)
            except AuthenticationError:
                seen.refused(given[0])
            except (OpenAIError, keyman.Error):
                pass  # the cloud was away, or nothing was there to ask with


def async_openai_sdk(seen: Seen) -> None:
    from openai import AsyncOpenAI, AuthenticationError, OpenAIError

    given: list[str] = []

    async def key() -> str:
        asked = time.time()
        given[:] = [await keyman.provider(NAME).aio()]
        seen.note(given[0], asked)
        return given[0]

    async def run() -> None:
        async with AsyncOpenAI(api_key=key, base_url=_base_url(), max_retries=0) as openai:
            for _ in _calls(seen):
                try:
                    await openai.chat.completions.create(**QUESTION)
                except AuthenticationError:
                    seen.refused(given[0])
                except (OpenAIError, keyman.Error):
                    pass

    asyncio.run(run())


def http_with_auth(seen: Seen) -> None:
    """httpx2 with `keyman.auth`: the header is put in, and a refusal answered with a newer key."""
    with httpx2.Client(base_url=_base_url(), auth=keyman.auth(NAME)) as http:
        for _ in _calls(seen):
            asked = time.time()
            try:
                answer = http.post("chat/completions", json=QUESTION)
            except (httpx2.HTTPError, keyman.Error):
                continue
            sent = answer.request.headers["authorization"].removeprefix("Bearer ")
            seen.note(sent, asked)
            if answer.status_code == 401:
                seen.refused(sent)


def plain_http(seen: Seen) -> None:
    """Another language: HTTP over the socket, on one connection, with the last ETag."""
    [path] = client.addresses()
    last: tuple[str, str] | None = None
    over = httpx2.HTTPTransport(uds=path, limits=httpx2.Limits(max_connections=1))
    with httpx2.Client(transport=over, base_url="http://keyman") as http:
        for _ in _calls(seen):
            asked = time.time()
            headers = {"If-None-Match": last[0]} if last else {}
            with suppress(httpx2.HTTPError):
                answer = http.get(f"/api/v1/secrets/{NAME}", headers=headers)
                if answer.status_code == 200:
                    last = (answer.headers["etag"], answer.json()["value"])
                if last and answer.status_code in (200, 304):
                    seen.note(last[1], asked)


def long_poll(seen: Seen) -> None:
    """Waits for each version to be exceeded."""
    version = 0
    for _ in _calls(seen):
        path, asked = f"/api/v1/secrets/{NAME}?after={version}&wait=3s", time.time()
        with suppress(keyman.Error):
            status, said = client.call("GET", path, timeout=8)
            if status == 200:
                version = said["version"]
                seen.note(said["value"], asked)


def shell(seen: Seen) -> None:
    """A loop of a shell's around `keyman-get`."""
    _run_again_and_again(seen, ["keyman-get", NAME])


def command(seen: Seen) -> None:
    """`keyman get`, which looks for itself while no daemon answers."""
    _run_again_and_again(seen, [sys.executable, "-m", "keyman", "get", NAME])


def _run_again_and_again(seen: Seen, words: list[str]) -> None:
    for _ in _calls(seen):
        asked = time.time()
        done = subprocess.run(
            words, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode == 0:
            seen.note(done.stdout.removesuffix("\n"), asked)


def file(seen: Seen) -> None:
    """Reads a file that `keyman write --watch` keeps."""
    kept = seen.file.with_suffix(".secret")
    words = ["write", NAME, "--to", str(kept), "--format", "raw", "--watch"]
    writer = subprocess.Popen([sys.executable, "-m", "keyman", *words])
    try:
        for _ in _calls(seen):
            asked = time.time()
            with suppress(FileNotFoundError):
                seen.note(kept.read_text().removesuffix("\n"), asked)
            if writer.poll() is not None:  # nobody answered at its start
                writer = subprocess.Popen([sys.executable, "-m", "keyman", *words])
                _stopping.wait(0.5)
    finally:
        writer.terminate()
        writer.wait()


def _calls(seen: Seen) -> Iterator[None]:
    while not _stopping.wait(PAUSE):
        yield
        seen.write(every=1.0)


def _base_url() -> str:
    while not _stopping.wait(PAUSE):
        with suppress(keyman.Error):
            return str(keyman.secret(NAME).base_url)
    sys.exit(0)


KINDS: dict[str, Callable[[Seen], None]] = {
    "threads": in_threads,
    "forked": after_a_fork,
    "openai": openai_sdk,
    "async-openai": async_openai_sdk,
    "httpx2": http_with_auth,
    "http": plain_http,
    "long-poll": long_poll,
    "shell": shell,
    "command": command,
    "file": file,
}


def main(kind: str, notes: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _stopping.set())
    seen = Seen(Path(notes))
    KINDS[kind](seen)
    seen.write()


if __name__ == "__main__":
    main(*sys.argv[1:])
