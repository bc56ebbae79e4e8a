"""The sealed file, its key file and a backup: every byte of them changed, every two rows swapped.

A lookup then gives the very secret that was put there, or nothing, or an error of keyman's.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from keyman.core.model import Secret
from keyman.errors import ConfigError, SecretDamaged, StoreFailed
from keyman.housekeeping import backup_file
from keyman.stores.sealed_file import SealedFile
from keyman.stores.sealing_key import load_key
from tests.tampering.house import (
    CONTENT,
    INSTALLATION,
    PASSPHRASE,
    SECRETS,
    Sealed,
    options,
    sealed,
)

CHANGES: tuple[Callable[[int], int], ...] = (
    lambda one: one ^ 1,
    lambda one: one ^ 0x80,
    lambda one: 0 if one else 0xFF,
)
Opening = Callable[[Path, bytes], Any]
Wrong = list[str]


def real(path: Path, key: bytes) -> SealedFile:
    return SealedFile(path, key, INSTALLATION, read_only=True)


def for_writing(path: Path, key: bytes) -> SealedFile:
    return SealedFile(path, key, INSTALLATION)


def changed(whole: bytes, at: int, way: int) -> bytes:
    return whole[:at] + bytes([CHANGES[way](whole[at])]) + whole[at + 1 :]


def looked_up(here: Path, file: bytes, key: bytes, opening: Opening = real) -> Wrong:
    """What is wrong with what this file and key give; nothing, if all is well."""
    path, wrong = here / "sealed.db", Wrong()
    for name, content in (("sealed.db", file), ("sealed.key", key)):
        (here / name).touch(0o600)
        (here / name).write_bytes(content)
    (here / "sealed.db-journal").unlink(missing_ok=True)
    try:
        with closing(opening(path, load_key(options(here), make=False))) as store:
            with suppress(StoreFailed):
                store.list()
            for (name, number), text in SECRETS.items():
                with suppress(StoreFailed, SecretDamaged):
                    found = store.get(name, number)
                    if found is not None and found != Secret(text):
                        wrong.append(f"another secret under {name}/{number}")
    except (StoreFailed, ConfigError) as error:
        if any(text in f"{error} {error.hint}" for text in SECRETS.values()):
            wrong.append("a secret in an error")
    except Exception as error:  # noqa: BLE001 (that is what is looked for)
        wrong.append(f"{type(error).__name__} is no error of keyman's: {error}")
    return wrong


# Swaps.

COLUMNS = ("name", "number", "slot", "data_key", "sealed")


def swaps(here: Path, whole: Sealed) -> Iterator[tuple[str, bytes]]:
    """Every two rows with every set of columns exchanged; rows and master keys of other files."""
    several = [c for many in range(1, 5) for c in itertools.combinations(COLUMNS, many)]
    for one, two in itertools.combinations(SECRETS, 2):
        for columns in several:
            edit = lambda db, one=one, two=two, columns=columns: _swap(db, one, two, columns)  # noqa: E731
            yield f"{columns} of {one} and {two}", edited(here, whole.file, edit)
    others = {
        "of another installation": sealed("another", "other-", whole.key),
        "of the same installation and another key": sealed(INSTALLATION, "other-"),
        "of an earlier file with the same key": sealed(INSTALLATION, "other-", whole.key),
    }
    for said, other in others.items():
        if "earlier" not in said:  # what it was once, it may be again, for all it knows
            yield f"the whole file {said}", other.file
        rows, master = _rows(here, other.file)
        for row in rows:
            take = lambda db, row=row: db.execute(_INTO, row)  # noqa: E731
            yield f"{row[:2]} {said}", edited(here, whole.file, take)
        for id_, sealed_ in master:
            give = lambda db, sealed_=sealed_: db.execute("UPDATE keys SET master = ?", (sealed_,))  # noqa: E731
            yield f"the master key {said}", edited(here, whole.file, give)
            both = lambda db, id_=id_, sealed_=sealed_: db.execute(_KEYS, (id_, sealed_))  # noqa: E731
            yield f"the key's row {said}", edited(here, whole.file, both)
    for name, kind in itertools.product((*COLUMNS, "master", "installation"), ODD):
        table = {"master": "keys", "installation": "header"}.get(name, "secrets")
        odd = lambda db, name=name, kind=kind, table=table: db.execute(  # noqa: E731
            f"UPDATE OR IGNORE {table} SET {name} = {kind}"
        )
        yield f"{name} is {kind}", edited(here, whole.file, odd)


_INTO = "INSERT OR REPLACE INTO secrets VALUES (?, ?, ?, ?, ?)"
_KEYS = "UPDATE keys SET id = ?, master = ?"
ODD = ("''", "x''", "x'ff'", "1", "1.5", "'text'", "zeroblob(60)", "x'ff00'||'a'", "char(55296)")


def edited(here: Path, file: bytes, edit: Callable[[sqlite3.Connection], object]) -> bytes:
    path = here / "edited.db"
    path.write_bytes(file)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as db,
        suppress(sqlite3.IntegrityError),
    ):
        edit(db)
    return path.read_bytes()


def _swap(
    db: sqlite3.Connection, one: tuple[str, int], two: tuple[str, int], columns: tuple[str, ...]
) -> None:
    asked = f"SELECT {', '.join(COLUMNS)} FROM secrets WHERE (name, number) = (?, ?)"
    rows = [dict(zip(COLUMNS, db.execute(asked, at).fetchone(), strict=True)) for at in (one, two)]
    for column in columns:
        rows[0][column], rows[1][column] = rows[1][column], rows[0][column]
    db.execute("BEGIN")
    for at in (one, two):
        db.execute("DELETE FROM secrets WHERE (name, number) = (?, ?)", at)
    for row in rows:
        db.execute(_INTO, tuple(row.values()))
    db.execute("COMMIT")


def _rows(here: Path, file: bytes) -> tuple[list[Any], list[Any]]:
    path = here / "other.db"
    path.write_bytes(file)
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(f"SELECT {', '.join(COLUMNS)} FROM secrets").fetchall()
        return rows, db.execute("SELECT id, master FROM keys").fetchall()


# Backups.


def restored(here: Path, file: bytes, key: bytes | None) -> Wrong:
    """Read with that key, or with the passphrase where the header is not what it was."""
    path, size = here / "a.backup", backup_file.HEADER.size
    path.write_bytes(file)
    try:
        if key is None:
            found = backup_file.read(path, PASSPHRASE)
        else:
            with path.open("rb") as opened:
                header = opened.read(size)
                found = b"".join(backup_file._unsealed(opened, key, header, path))
    except StoreFailed:
        return []
    except Exception as error:  # noqa: BLE001 (that is what is looked for)
        return [f"{type(error).__name__} is no error of keyman's: {error}"]
    return [] if found == CONTENT else ["another content than was backed up"]


def pieces(file: bytes) -> Iterator[tuple[str, bytes]]:
    """Pieces in another order, missing, doubled, or cut."""
    size, long = backup_file.HEADER.size, backup_file.PIECE + backup_file.TAG_BYTES
    header, rest = file[:size], file[size:]
    parts = [rest[at : at + long] for at in range(0, len(rest), long)]
    for many in range(len(parts) + 2):
        for order in itertools.product(range(len(parts)), repeat=many):
            if order != tuple(range(len(parts))):
                yield f"pieces {order}", header + b"".join(parts[n] for n in order)
    for end in range(0, len(file), 97):
        yield f"cut after {end} bytes", file[:end]
