"""What the journal's tests put into it, and the other processes that use it meanwhile."""

from __future__ import annotations

import typing
from collections.abc import Callable
from contextlib import closing
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from keyman.core.model import (
    Credential,
    KeySeen,
    Observed,
    Order,
    OrderKind,
    OrderState,
    SlotSeen,
    Spec,
    Stage,
    Version,
)
from keyman.db import sqlite
from keyman.db.journal import Journal, Lease
from tests.children import PROCESSES

SPEC = Spec("genai", "oci-genai")
NOW = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CANARY = "sk-canary-5d1e0c7b"


def version(number: int = 1, **changes: Any) -> Version:
    return Version(number, Stage.REQUESTED, f"attempt-{number}", NOW, NOW, **changes)


def order(order_id: str = "o1", **changes: Any) -> Order:
    return Order(order_id, OrderKind.ROTATE, NOW, **changes)


def full(kind: type[Any], seed: int = 0, /, **fixed: Any) -> Any:
    """One of those values with no field at its default, and no two fields alike."""
    hints = typing.get_type_hints(kind)
    made: dict[str, Any] = {}
    for at, field in enumerate(fields(kind)):
        words = str(hints[field.name])
        if field.name in fixed:
            made[field.name] = fixed[field.name]
        elif "timedelta" in words:
            made[field.name] = timedelta(hours=seed, microseconds=at)
        elif "datetime" in words:
            made[field.name] = NOW + timedelta(days=seed, hours=at, microseconds=at)
        elif "bool" in words:
            made[field.name] = not field.default
        elif "int" in words:
            made[field.name] = 100 * seed + at
        else:
            assert "str" in words, f"say how to fill {kind.__name__}.{field.name}: {words}"
            made[field.name] = f"{field.name} of {seed} ☂ 'quoted'"
    for field in fields(kind):
        assert field.default is MISSING or made[field.name] != field.default, field.name
    return kind(**made)


def full_observed() -> Observed:
    slots = (full(SlotSeen, 1), full(SlotSeen, 2, name=None))
    return Observed(NOW, (full(KeySeen, 3, slots=slots), full(KeySeen, 4, slots=())), (1, 2))


def full_credential() -> Credential:
    versions = tuple(full(Version, n, number=n, stage=stage) for n, stage in enumerate(Stage, 1))
    orders = tuple(
        full(Order, n, kind=kind, state=OrderState.RUNNING, targets=(1, 2, n))
        for n, kind in enumerate(OrderKind)
    )
    rest = {"spec": SPEC, "versions": versions, "orders": orders, "revision": 9}
    made: Credential = replace(full(Credential, 5, **rest), revision=0, numbered=0)
    return made


def taken(journal: Journal, owner: str, at: datetime = NOW, home: str = "/home/a") -> Lease:
    lease = journal.take_lease("genai", owner, home, MINUTE, at)
    assert lease is not None
    return lease


def start(target: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Pipe]:
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def look(folder: Path, statement: str) -> list[Any]:
    # By the journal's own SQLite: two libraries in one process would not see each other's locks.
    engine = sqlite.engine(folder / "keyman.db")
    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(statement)
        found = list(cursor.fetchall())
    engine.dispose()
    return found
