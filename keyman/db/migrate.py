"""Brings the journal's schema to what this program needs, or refuses.

The scripts lie in migrations/ of the source tree and in keyman/_migrations of an installed wheel;
their names begin with their revision (0001, 0002, …), so the newest is known without alembic,
which is imported only when there is something to do. One upgrade is one transaction: killed at
any point, it leaves the old schema or the new one. Two at once are harmless as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy import Connection, Engine

from keyman.db.sqlite import writing
from keyman.errors import ConfigError, StoreFailed

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "alembic_version"  # alembic's own name for it


def scripts() -> Path:
    """The folder of the migration scripts."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise ConfigError("keyman's migrations are missing", hint="install keyman again")


def revisions() -> list[str]:
    """Every schema this program knows, oldest first."""
    return sorted(path.name[:4] for path in scripts().glob("versions/[0-9]*_*.py"))


def head() -> str:
    """The schema this program works with."""
    return revisions()[-1]


def current(connection: Connection) -> str | None:
    """The schema that the database has; None for an empty one."""
    if not sqlalchemy.inspect(connection).has_table(VERSION_TABLE):
        return None
    told = sqlalchemy.table(VERSION_TABLE, sqlalchemy.column("version_num"))
    return connection.execute(sqlalchemy.select(told)).scalar_one_or_none()


def require_head(connection: Connection) -> None:
    """ConfigError unless the database has exactly the schema this program works with."""
    if is_behind(connection):
        raise ConfigError(
            "the journal's schema is older than this keyman",
            hint="`keyman db upgrade`, or start `keyman daemon`, which upgrades it",
        )


def is_behind(connection: Connection) -> bool:
    """Is there something to upgrade? ConfigError for a schema this program doesn't know."""
    found = current(connection)
    if found is not None and found not in revisions():
        raise ConfigError(
            f"the journal's schema {found} is newer than this keyman, which knows up to {head()}",
            hint="install the newer keyman again, or restore the backup made before it",
        )
    if found is None and sqlalchemy.inspect(connection).get_table_names():
        raise ConfigError(
            "the database holds something else than keyman's journal",
            hint="give `database` a file of its own",
        )
    return found != head()


def upgrade(engine: Engine) -> bool:
    """Bring the database to `head()`; False if it was there already."""
    with engine.connect() as connection:
        if not is_behind(connection):
            return False
    with writing(engine).connect() as connection:
        driver = connection.connection
        # Rebuilding a table (SQLite can't alter much) drops the old one, which would take along
        # the rows that refer to it. The switch has no effect once a transaction has begun.
        driver.cursor().execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                changed = _run(connection)
        finally:
            driver.cursor().execute("PRAGMA foreign_keys=ON")
    return changed


def _run(connection: Connection) -> bool:
    from alembic import command

    if not is_behind(connection):  # somebody else did it while we waited for our turn
        return False
    command.upgrade(config(connection), "head")
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise StoreFailed("the upgrade would have lost rows, and was not made")
    return True


def config(connection: Connection) -> Config:
    """What alembic needs for any of its commands on this connection."""
    from alembic.config import Config

    made = Config(attributes={"connection": connection})
    made.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    return made
