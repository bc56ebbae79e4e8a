"""Clients that put a secret where none belongs, and break every rule on the way.

What the agent answers them is kept: an error must not repeat what it was told.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.canary.scan import Blob

ADOPT = "/api/v1/credentials/genai/adopt"
ENOUGH = 1 << 20


def answers(path: Path, secret: str) -> Iterator[Blob]:
    """Send each hostile request on a connection of its own."""
    for number, request in enumerate(_requests(secret)):
        yield f"the answer to hostile request {number}", _say(path, request)


def _requests(secret: str) -> Iterator[bytes]:
    url, quoted = quote(secret, safe=""), json.dumps(secret)
    bodies = [
        f'{{"slot": "key-one", "secret": {quoted}',  # ends too soon
        f'{{"slot": "key-one", "secret": {quoted}, "more": {quoted}}}',
        f'{{"slot": {quoted}, "secret": {quoted}}}',
        f'{{"slot": "key-one", "secret": [{quoted}]}}',
        f'{{"slot": "key-one", "secret": "{secret[:3]}\\n{url}"}}',
        f'{{"slot": "key-two", "secret": {quoted}}}',  # well said, and managed already
        quoted,
        f"[{quoted}]",
        secret,
    ]
    for body in bodies:
        yield _post(ADOPT, body)
        yield _post(ADOPT, body, kind="text/plain")
    for verb in ("rotate", "revoke", "rollback", "activate", "deactivate", "forget"):
        yield _post(f"/api/v1/credentials/genai/{verb}", f'{{"nonsense": {quoted}}}')
        yield _post(f"/api/v1/credentials/{url}/{verb}", "{}")
    yield _post("/api/v1/secrets/genai/rejected", f'{{"version": {quoted}}}')
    for path in (f"/api/v1/secrets/{url}", f"/{url}", f"/api/v1/orders/{url}"):
        yield _get(path)
    for query in (f"stage={url}", f"after={url}", f"wait={url}", f"{url}=1"):
        yield _get(f"/api/v1/secrets/genai?{query}")
    yield _get("/api/v1/credentials", f"Authorization: Bearer {secret}")
    yield _get("/api/v1/nothing", f"Authorization: Bearer {secret}", f"X-{url}: {secret}")
    yield _get("/api/v1/credentials/genai", f"Idempotency-Key: {secret}")
    yield f"{secret}\r\n\r\n".encode()
    yield f"GET /{secret} HTTP/9.9\r\n\r\n".encode()
    yield f"GET / HTTP/1.1\r\n{secret}\r\n\r\n".encode()
    yield _post(ADOPT, "{}").replace(b"Content-Length: 2", f"Content-Length: {url}".encode())


def _get(target: str, *headers: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: keyman", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def _post(target: str, body: str, kind: str = "application/json") -> bytes:
    head = [f"POST {target} HTTP/1.1", "Host: keyman", "Connection: close"]
    head += [f"Content-Type: {kind}", f"Content-Length: {len(body.encode())}"]
    return "\r\n".join([*head, "", body]).encode()


def _say(path: Path, request: bytes) -> bytes:
    read = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while (data := connection.recv(65536)) and len(read) < ENOUGH:
                read += data
        except ConnectionError:
            return read  # it hung up on us, which is an answer too
    return read
