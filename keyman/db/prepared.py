"""Statements built in SQLAlchemy, compiled once, and then handed to the driver as they are.

A record is read and saved several times in every rotation, and executing a statement object costs
some forty microseconds of SQLAlchemy's own each time, of the order of the fsync itself; the driver
needs one or two. Values still pass through the columns' types, and only as bound parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

from sqlalchemy import Connection, Delete, Insert, Select, Update
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from keyman.db.decoding import decoding

Convert = Callable[[Any], Any]
DIALECT = sqlite.dialect(paramstyle="qmark")


class Prepared:
    """One statement. `columns` are those that an INSERT or UPDATE is given values for."""

    def __init__(
        self, statement: Select[Any] | Insert | Update | Delete, columns: Iterable[str] = ()
    ) -> None:
        self._statement = statement
        self._columns = tuple(columns) or None

    def run(self, connection: Connection, values: Mapping[str, Any]) -> DBAPICursor:
        """Execute it in the connection's transaction; every parameter must be among the values."""
        assert connection.in_transaction(), "nobody began"
        given = {**self._constants, **values} if self._constants else values
        bound = [given[name] for name in self._names]
        for at, convert in self._conversions:
            if bound[at] is not None:  # NULL, whatever the type
                bound[at] = convert(bound[at])
        cursor = connection.connection.cursor()
        cursor.execute(self._text, bound)
        return cursor

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What a SELECT finds, column by name, converted by the columns' types."""
        return [self.converted(row) for row in self.run(connection, values).fetchall()]

    def converted(self, row: Sequence[Any]) -> dict[str, Any]:
        """One row as the driver gave it, likewise. Raises StoreFailed if it can't be read."""
        results = self._results
        with decoding():
            return {
                name: convert(value) if convert else value
                for (name, convert), value in zip(results, row, strict=True)
            }

    @cached_property
    def _compiled(self) -> SQLCompiler:
        keys = list(self._columns) if self._columns else None
        return self._statement.compile(dialect=DIALECT, column_keys=keys)

    @cached_property
    def _text(self) -> str:
        return str(self._compiled)

    @cached_property
    def _names(self) -> list[str]:
        return list(self._compiled.positiontup or ())

    @cached_property
    def _conversions(self) -> list[tuple[int, Convert]]:
        """Place of a parameter → what makes of its value what the driver takes."""
        binds = self._compiled.binds
        each = ((at, _to_driver(binds[name].type)) for at, name in enumerate(self._names))
        return [(at, convert) for at, convert in each if convert]

    @cached_property
    def _constants(self) -> dict[str, Any]:
        binds = self._compiled.binds
        return {name: bind.effective_value for name, bind in binds.items() if not bind.required}

    @cached_property
    def _results(self) -> list[tuple[str, Convert | None]]:
        columns = cast("Select[Any]", self._statement).selected_columns
        return [(column.name, _from_driver(column.type)) for column in columns]


def _to_driver(kind: TypeEngine[Any]) -> Convert | None:
    return kind.dialect_impl(DIALECT).bind_processor(DIALECT)


def _from_driver(kind: TypeEngine[Any]) -> Convert | None:
    return kind.dialect_impl(DIALECT).result_processor(DIALECT, None)
