"""The history: lines that are added in the transaction they tell of, and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, or_, select

from keyman.db.prepared import Prepared
from keyman.db.tables import EVENTS


@dataclass(frozen=True, slots=True)
class Event:
    """One line of history. No field ever carries a secret."""

    at: datetime
    name: str
    kind: str
    by: str = ""
    version: int | None = None
    slot: str | None = None
    reason: str = ""
    detail: str = ""


KEPT_FOR = timedelta(days=400)
KEPT_AT_MOST = 2_000  # a credential; one rotation is about ten lines
FIELDS = tuple(field.name for field in fields(Event))
_ADD = Prepared(insert(EVENTS), FIELDS)


def write(connection: Connection, events: Sequence[Event]) -> None:
    for event in events:
        _ADD.run(connection, {key: getattr(event, key) for key in FIELDS})


def read(connection: Connection, name: str | None, limit: int) -> list[Event]:
    """The newest so many, oldest first."""
    wanted = select(*(EVENTS.c[key] for key in FIELDS)).order_by(EVENTS.c.seq.desc()).limit(limit)
    if name is not None:
        wanted = wanted.where(EVENTS.c.name == name)
    return [Event(*row) for row in reversed(connection.execute(wanted).all())]


def prune(connection: Connection, now: datetime) -> None:
    """Forget what is old, and of each credential all but its newest lines."""
    newest_first = func.row_number().over(partition_by=EVENTS.c.name, order_by=EVENTS.c.seq.desc())
    ranked = select(EVENTS.c.seq, EVENTS.c.at, newest_first.label("place")).subquery()
    over = select(ranked.c.seq).where(
        or_(ranked.c.place > KEPT_AT_MOST, ranked.c.at < now - KEPT_FOR)
    )
    connection.execute(delete(EVENTS).where(EVENTS.c.seq.in_(over)))
