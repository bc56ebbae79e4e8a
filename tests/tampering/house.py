"""What is tampered with: a sealed file with its key, a backup, and a journal beside its store.

Made by keyman's own code, small, and kept in memory as bytes, so that each attempt starts whole.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from keyman.app import App, open_app
from keyman.core.model import Secret
from keyman.housekeeping import backup_file
from keyman.stores.sealed_file import SealedFile
from keyman.stores.sealing_key import load_key
from tests.configs import read
from tests.scratch import MEMORY

INSTALLATION = "0123456789abcdef0123456789abcdef"
SECRETS = {
    (name, number): f"{name}-secret-{number}-" + "x" * (10 * number)
    for name in ("alpha", "beta")
    for number in (1, 2, 3)
}
SLOTS = {1: "key-one", 2: "key-two", 3: None}
PASSPHRASE = Secret("a passphrase of some length")
PIECES = 3
CONTENT = b"".join(bytes([n]) * backup_file.PIECE for n in range(PIECES - 1)) + b"the end" * 9
CONFIG = """\
store: {kind: sealed-file, path: sealed.db, key: {kind: file, path: sealed.key}}
credentials:
  alpha: {provider: static}
  beta: {provider: static}
"""


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="keyman-tampering-", dir=MEMORY) as made:
        yield Path(made)


@dataclass(frozen=True)
class Sealed:
    """A sealed file and its key file, whole."""

    file: bytes
    key: bytes


def options(here: Path) -> dict[str, Any]:
    return {"kind": "file", "path": here / "sealed.key"}


def written(key: bytes) -> bytes:
    """As it stands in a key file."""
    return base64.b64encode(key) + b"\n"


def sealed(installation: str = INSTALLATION, mark: str = "", key: bytes | None = None) -> Sealed:
    """With every secret in it; `mark` makes them others."""
    with folder() as here:
        path = here / "sealed.db"
        if key is not None:
            (here / "sealed.key").touch(0o600)
            (here / "sealed.key").write_bytes(key)
        found = load_key(options(here), make=key is None)
        with closing(SealedFile(path, found, installation)) as store:
            for (name, number), text in SECRETS.items():
                store.put(name, number, Secret(mark + text), slot=SLOTS[number])
        return Sealed(path.read_bytes(), (here / "sealed.key").read_bytes())


def backup() -> tuple[bytes, bytes]:
    """A backup of three pieces, sealed at the lowest cost that is read, and its key."""
    costs = backup_file.LOWEST_COST, backup_file.BLOCK, 1
    header = backup_file.HEADER.pack(backup_file.MAGIC, backup_file.FORMAT, *costs, bytes(32))
    key = backup_file._key(header, PASSPHRASE)
    return b"".join((header, *backup_file._sealed(CONTENT, key, header))), key


@contextmanager
def home() -> Iterator[Path]:
    """A home with the journal of two credentials of three versions each, closed."""
    with folder() as here:
        with opened(here) as app:
            for (name, _), text in SECRETS.items():
                app.rotator.put(
                    name, Secret(text), app.clock.now() + timedelta(days=9), by="a test"
                )
        yield here


def opened(here: Path) -> App:
    (here / "home").mkdir(0o700, exist_ok=True)
    return open_app(read(CONFIG.replace("path: ", f"path: {here}/"), here / "home"))
