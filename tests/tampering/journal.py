"""The journal: every two cells of a column exchanged, and every cell something else.

The journal holds no secret and no seal: who may write to it may say that an earlier version is the
current one. What it may not do is to have a name answered with another name's secret, or a version
with another version's: lookups give what was put under that name and number, or nothing, or refuse.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from keyman import errors
from tests.tampering.house import SECRETS, opened

TABLES = {"versions": "name, number", "credentials": "name", "meta": "key"}
ODD: tuple[Any, ...] = (None, "", "x", -1, 0, 2**62, 1.5, b"\xff\x00", "[]", "2026-11-21")


class Edits:
    """Every edit of that file, made and unmade."""

    def __init__(self, path: Path) -> None:
        self._path, self._whole = path, path.read_bytes()

    def made(self, mine: Callable[[int], bool]) -> Iterator[str]:
        """Those whose number is `mine`. In front of each the file is whole again; says what was
        done.
        """
        for number, edit in enumerate(self._every()):
            if mine(number):
                yield self._edit(*edit)

    def _every(self) -> Iterator[tuple[str, str, str, str, list[tuple[Any, ...]]]]:
        for table, keys in TABLES.items():
            rows, columns = self._read(table)
            where = " AND ".join(f"{key} IS ?" for key in keys.split(", "))
            known = [columns.index(key) for key in keys.split(", ")]
            for column in columns:
                at = columns.index(column)
                for one, two in itertools.combinations(rows, 2):
                    if one[at] != two[at]:
                        said = f"{table}.{column} swapped"
                        cells = [(two[at], *_keys(one, known)), (one[at], *_keys(two, known))]
                        yield said, table, column, where, cells
                for row, odd in itertools.product(rows[:2], ODD):
                    said, cells = f"{table}.{column} = {odd!r}", [(odd, *_keys(row, known))]
                    yield said, table, column, where, cells

    def _read(self, table: str) -> tuple[list[Any], list[str]]:
        with closing(sqlite3.connect(self._path)) as db:
            found = db.execute(f"SELECT * FROM {table}")
            return found.fetchall(), [one[0] for one in found.description]

    def _edit(
        self, said: str, table: str, column: str, where: str, cells: list[tuple[Any, ...]]
    ) -> str:
        for beside in ("-wal", "-shm"):
            self._path.with_name(self._path.name + beside).unlink(missing_ok=True)
        self._path.write_bytes(self._whole)
        with (
            closing(sqlite3.connect(self._path, isolation_level=None)) as db,
            suppress(sqlite3.IntegrityError),
        ):
            for cell in cells:
                db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", cell)
        return said


def _keys(row: Any, known: list[int]) -> list[Any]:
    return [row[at] for at in known]


def looked_up(here: Path) -> list[str]:
    """What is wrong with the answers of an application that is opened on it."""
    wrong = []
    try:
        with opened(here) as app:
            for name, managed in app.rotator.managed.items():
                with suppress(errors.Error):
                    record, _ = app.journal.load(managed.spec)
                    app.publisher.publish(managed, record)
                wire = app.snapshot.wire(name, plain=False)
                wrong += _judged(name, wire)
    except errors.Error:
        return wrong
    except Exception as error:  # noqa: BLE001 (that is what is looked for)
        wrong.append(f"{type(error).__name__} is no error of keyman's: {str(error)[:160]}")
    return wrong


def _judged(name: str, wire: bytes | None) -> list[str]:
    if wire is None or b" 200 " not in wire[:15]:
        return []
    said = json.loads(wire.partition(b"\r\n\r\n")[2])
    if said["value"] != SECRETS.get((name, said["version"])):
        return [f"{name} is answered with what was not put under version {said['version']}"]
    return []
