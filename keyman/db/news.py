"""What people and programs hear of: numbered lines, added in the transaction they tell of.

Only the newest are kept: whoever was away for longer looks at how things are instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from keyman.core.news import News
from keyman.db.prepared import Prepared
from keyman.db.tables import NEWS

KEPT = 20_000  # at most three megabytes; ten thousand tokens of an hour each make as many in two
FIELDS = tuple(field.name for field in fields(News))
_ADD = Prepared(insert(NEWS), FIELDS)
_FORGET = Prepared(delete(NEWS).where(NEWS.c.seq <= bindparam("last") - KEPT))
_AFTER = Prepared(
    select(NEWS).where(NEWS.c.seq > bindparam("seen")).order_by(NEWS.c.seq).limit(bindparam("many"))
)


def write(connection: Connection, news: Sequence[News]) -> None:
    last = None
    for one in news:
        values = {key: getattr(one, key) for key in FIELDS}
        last = _ADD.run(connection, values).lastrowid
    if last:
        _FORGET.run(connection, {"last": last})


def read(connection: Connection, seen: int, many: int) -> list[tuple[int, News]]:
    """So many that came after number `seen`, oldest first, each with its number."""
    found = _AFTER.rows(connection, {"seen": seen, "many": many})
    return [(row.pop("seq"), News(**row)) for row in found]


def span(connection: Connection) -> tuple[int, int]:
    """The numbers of the oldest and the newest that are kept; (0, 0) if none ever came."""
    oldest, newest = connection.execute(select(func.min(NEWS.c.seq), func.max(NEWS.c.seq))).one()
    return oldest or 0, newest or 0
