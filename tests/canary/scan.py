"""Looks for secrets in whatever bytes it is given: in clear and in the usual disguises.

Base64 is looked for at each of the three offsets at which a secret may begin inside of something
longer. A part of a secret counts as much as the whole, so callers give recognisable parts.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

SHORTEST = 10  # characters; less would be found by chance
Blob = tuple[str, bytes]  # where it was found, and what was there
MASK = "···"  # what the last resort puts where a secret was


def shapes(secret: str) -> dict[str, bytes]:
    """How the secret looks in clear and encoded."""
    assert len(secret) >= SHORTEST, "too short to be told from chance"
    plain = secret.encode()
    quoted = json.dumps(secret)[1:-1]
    found = {
        "clear": plain,
        "reversed": plain[::-1],
        "hex": plain.hex().encode(),
        "HEX": plain.hex().upper().encode(),
        "url": quote(secret, safe="").encode(),
        "json": quoted.encode(),
        "json in json": json.dumps(quoted)[1:-1].encode(),
        "repr": repr(secret)[1:-1].encode(),
    }
    for offset in range(3):
        part = _base64_at(plain, offset)
        found[f"base64+{offset}"] = part
        found[f"url-safe base64+{offset}"] = part.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def _base64_at(plain: bytes, offset: int) -> bytes:
    """The characters that depend on the secret alone when it begins at that offset."""
    encoded = base64.b64encode(bytes(offset) + plain)
    whole = (offset + len(plain)) * 8 // 6  # those filled by the secret's bits to the last
    return encoded[(0, 2, 3)[offset] : whole]


def leaks(blobs: Iterable[Blob], secrets: Iterable[str]) -> list[str]:
    """Where any of the secrets lies, in words that do not repeat it."""
    looked_for = [
        (shape, part) for secret in set(secrets) for shape, part in shapes(secret).items()
    ]
    return [
        f"{where}: a secret in {shape}, at byte {content.find(part)}"
        for where, content in blobs
        for shape, part in looked_for
        if part in content
    ]


def masked(blobs: Iterable[Blob]) -> list[str]:
    """Where the last resort had to hide something: a secret came as far as the log."""
    marks = (MASK.encode(), json.dumps(MASK)[1:-1].encode())
    return [
        f"{where}: {line.decode(errors='replace')[:200]}"
        for where, content in blobs
        for line in content.splitlines()
        if any(mark in line for mark in marks)
    ]


def files(folder: Path) -> Iterator[Blob]:
    """Every file below, with what it holds and what it is called."""
    for path in sorted(folder.rglob("*")):
        yield f"the name of {path}", path.name.encode()
        if path.is_file() and not path.is_symlink():
            try:
                yield str(path), path.read_bytes()
            except FileNotFoundError:
                continue  # temporary, and gone by now


def columns(database: Path) -> Iterator[Blob]:
    """Every value of every table, as SQLite gives it; pages may split what rows hold together."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        tables = connection.execute("select name from sqlite_master where type = 'table'")
        for (table,) in tables.fetchall():
            for row in connection.execute(f'select * from "{table}"'):
                for value in row:
                    content = value if isinstance(value, bytes) else str(value).encode()
                    yield f"{database.name}, table {table}", content
