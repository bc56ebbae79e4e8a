"""Which agent lookups of this process go to while one benchmark lasts: the next has its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keyman import client
from keyman.errors import Error

PATIENCE = 30.0  # seconds


@contextmanager
def lookups_go_to(home: Path) -> Iterator[None]:
    """Lookups go to the agent of that home."""
    os.environ["KEYMAN_SOCKET"] = str(home / "agent.sock")
    try:
        yield
    finally:
        del os.environ["KEYMAN_SOCKET"]


def wait_for_secret(name: str) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            client.get(name)
        except Error:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the daemon gave no secret")
