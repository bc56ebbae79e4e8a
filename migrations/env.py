"""Alembic's way in, always over a connection that keyman.db.migrate has opened, so that the
scripts run in its transaction.

For the next schema: change keyman/db/tables.py, then have the script drafted, with `connection`
one to a database at the newest schema,

    alembic.command.revision(keyman.db.migrate.config(connection), "what changes",
                             rev_id="0002", autogenerate=True)

and read what it wrote. A script that was released is never changed again.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import TypeDecorator

from keyman.db.tables import METADATA


def run() -> None:
    connection = context.config.attributes.get("connection")
    if connection is None:
        raise SystemExit("keyman: error: migrations run through `keyman db upgrade`")
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        transactional_ddl=True,  # SQLite can, since keyman.db.sqlite says when to begin
        render_as_batch=True,
        render_item=_plain_type,
    )
    with context.begin_transaction():
        context.run_migrations()


def _plain_type(kind: str, item: object, _context: Any) -> str | bool:
    """A script stands for itself: it names what the database holds, not our types of today."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    return False


run()
