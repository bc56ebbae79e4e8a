"""How the journal's SQLite file is made, opened and held to its promises.

The file is made for its owner alone before SQLite sees it (its -wal and -shm then inherit that),
commits are durable before they are acknowledged, and what a transaction locks is decided when it
begins. Knows nothing of the tables.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Engine, NullPool, QueuePool, event
from sqlalchemy.exc import ArgumentError, DBAPIError

from keyman.errors import ConfigError, Conflict, NotRunning, StoreFailed

try:  # brings a recent SQLite along; not every platform has a wheel of it
    from pysqlite3 import dbapi2 as driver
except ImportError:
    from sqlite3 import dbapi2 as driver

BUSY_SECONDS = 10  # how long a writer waits for another one
WAL_RESET_FIXED = (3, 51, 3)  # older ones can damage a WAL database when it is reset
FULL = 2
READ_ONLY = 8  # SQLite's own code for it; others that end in these eight bits say why
PRAGMAS = (
    "PRAGMA synchronous=FULL",  # NORMAL would lose acknowledged commits at a power cut
    "PRAGMA foreign_keys=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA secure_delete=ON",
    "PRAGMA mmap_size=0",
)


def sqlite_version() -> tuple[int, ...]:
    """The version of the SQLite in use, e.g. (3, 51, 3)."""
    return tuple(driver.sqlite_version_info)


def path_of(url: str) -> Path:
    """The file that a database URL names. ConfigError for anything but an SQLite file."""
    try:
        parsed = sqlalchemy.make_url(url)
    except ArgumentError:  # not chained: its text repeats the URL, which may hold a password
        raise ConfigError("`database` is not a database URL", hint=_URL_HINT) from None
    if parsed.get_backend_name() != "sqlite":
        raise ConfigError(
            f"`database` names {parsed.get_backend_name()}: not in this version", hint=_URL_HINT
        )
    if not parsed.database or parsed.database == ":memory:" or parsed.query or parsed.host:
        raise ConfigError("`database` must name a file and nothing else", hint=_URL_HINT)
    return Path(parsed.database)


_URL_HINT = "write it as sqlite:////absolute/path/keyman.db"


def make_file(path: Path) -> None:
    """Make the empty database file, for its owner alone, unless there is one."""
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_RDWR
    try:
        os.close(os.open(path, flags, 0o600))
        _sync_folder(path.parent)
    except FileExistsError:
        return
    except OSError as error:
        raise ConfigError(
            f"the journal {path} can't be made: {error.strerror}",
            hint="make its folder, owned by the user who runs keyman",
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_file(path: Path) -> None:
    """Refuse a file that is missing (NotRunning), or that isn't ours alone (ConfigError)."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        raise NotRunning(f"there is no journal at {path} yet") from None
    except OSError as error:
        raise ConfigError(f"the journal {path} can't be reached: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"the journal {path} is not a plain file", hint=_URL_HINT)
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"the journal {path} belongs to another user",
            hint="run keyman as its owner, or choose another home",
        )
    if found.st_mode & 0o077:
        raise ConfigError(f"the journal {path} is open to other users", hint=f"chmod 600 {path}")


def engine(path: Path) -> Engine:
    """Connections that read and write. Transactions read unless taken from `writing(engine)`."""
    made = sqlalchemy.create_engine(
        sqlalchemy.URL.create("sqlite", database=str(path)),
        module=driver,
        poolclass=QueuePool,
        pool_reset_on_return=None,  # every transaction here ends itself
        max_overflow=-1,  # SQLite makes writers wait; the pool has no reason to
        connect_args={"timeout": BUSY_SECONDS},
        hide_parameters=True,
    )
    event.listen(made, "connect", _prepare)
    event.listen(made, "begin", _begin)
    return made


def read_only_engine(path: Path) -> Engine:
    """Connections that change nothing on disk, and make no file beside it either."""
    made = sqlalchemy.create_engine(
        "sqlite://",
        module=driver,
        poolclass=NullPool,
        creator=lambda: _connect_read_only(path),
        hide_parameters=True,
    )
    event.listen(made, "begin", _begin)
    return made


def _connect_read_only(path: Path) -> Any:
    # Reading a WAL database makes -wal and -shm where there are none, and leaves them there. It
    # has none exactly when nobody has it open, and then nothing changes while we look.
    unused = not path.with_name(path.name + "-wal").exists()
    mode = "immutable=1" if unused else "mode=ro"
    address = f"file:{quote(str(path.absolute()))}?{mode}"
    connection = driver.connect(
        address, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def plain(path: Path) -> Any:
    """A connection of the driver's own, for what SQLAlchemy has no word for; makes no file."""
    # Not read-only: that would take a journal that nobody has open for one that cannot change.
    address = f"file:{quote(str(path.absolute()))}?mode=rw"
    return driver.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def writing(made: Engine) -> Engine:
    """The same connections; a transaction locks out other writers from its beginning."""
    return made.execution_options(begins="BEGIN IMMEDIATE")


def _begin(connection: sqlalchemy.Connection) -> None:
    # A deferred transaction that turns to writing fails at once if someone else wrote meanwhile,
    # however long it would wait; the driver itself begins one, and none at all before DDL.
    begins: str = connection.get_execution_options().get("begins", "BEGIN")
    connection.connection.cursor().execute(begins)


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver leaves transactions to `_begin`
    with closing(connection.cursor()) as cursor:
        for pragma in PRAGMAS:
            cursor.execute(pragma)
        # Asked first: switching needs the file for itself, and it stays switched.
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode=WAL")
    check_promises(connection)


def check_promises(connection: Any) -> None:
    """StoreFailed unless this connection of the driver's keeps commits through a power cut."""
    with closing(connection.cursor()) as cursor:
        synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        keys = cursor.execute("PRAGMA foreign_keys").fetchone()[0]
    if (synchronous, mode, keys) != (FULL, "wal", 1):
        raise StoreFailed(
            f"the journal is not durable: synchronous={synchronous}, journal_mode={mode}",
            hint="put keyman's home on a local disk",
        )


@contextmanager
def translated() -> Iterator[None]:
    """The border: what the database says becomes one of our errors, without any parameter."""
    try:
        yield
    except DBAPIError as error:
        raise _as_ours(str(error.orig)) from error
    except driver.Error as error:
        raise _as_ours(str(error)) from error
    except UnicodeEncodeError:  # not chained: it quotes what could not be written
        raise StoreFailed(
            "the journal can't keep what it was given: text that is none",
            hint="please report this, with what `keyman check` says of the provider",
        ) from None


def read_only(error: BaseException) -> bool:
    """Did a connection fail because it can't write, however well the disk is by now?"""
    cause = error.orig if isinstance(error, DBAPIError) else error  # our own BEGIN is not wrapped
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF == READ_ONLY


def _as_ours(said: str) -> Conflict | StoreFailed:
    if "locked" in said or "busy" in said:
        return Conflict(
            "another process keeps the journal busy", hint="wait a little, then ask again"
        )
    return StoreFailed(
        f"the journal failed: {said}", hint="check the disk that keyman's home is on"
    )
