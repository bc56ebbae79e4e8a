"""Transactions over connections that are kept, since having SQLAlchemy check one out for each costs
more than most of what is then said in it. Knows nothing of the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine

from keyman.db.sqlite import read_only

KEPT = 4  # more threads than that at once are rare


class Transactions:
    """Any thread may enter one, and has its connection for itself until it leaves.

    `keeps` says how many connections stay open meanwhile; none, where each must look anew at
    what is on disk.
    """

    def __init__(self, engine: Engine, keeps: int = KEPT) -> None:
        self._engine = engine
        self._keeps = keeps
        self._idle: list[Connection] = []

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Committed at the end; rolled back, and its connection given up, if anything is raised."""
        connection = self._taken()
        try:
            with connection.begin():
                yield connection
        except BaseException as error:
            raw: Any = connection.connection.driver_connection
            # A commit that failed, kept, would hold up every writer. And what was opened while the
            # disk could not be written to stays read-only for good: only another one may write.
            if raw is not None and (raw.in_transaction or read_only(error)):
                connection.invalidate()
            connection.close()
            raise
        if len(self._idle) < self._keeps:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Those that are under way end by themselves."""
        while self._idle:
            self._taken().close()

    def _taken(self) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:  # none, or another thread was quicker
            return self._engine.connect()
