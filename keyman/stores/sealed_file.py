"""Secrets in one file, sealed: a SQLite database that is worthless without the key from outside.

    key from outside ──seals──> master key ──seals──> data key ──seals──> secret
    (sealing_key.py)            one a file            one a put

Each seal is AES-256-GCM over a random nonce, bound to what it is (format, installation, purpose,
name, number, slot) and to the id of the key that made it: a blob moved to another row, or a file to
another installation, does not open. Another outside key takes one more row in `keys`, no secret
sealed anew.

A rollback journal, not WAL: a reader then creates no file beside the database, and what a killed
writer left is undone by whoever comes next. With TRUNCATE and synchronous=FULL a commit has reached
the disk, the journal's end included. Noticing that the whole file was put back to an older state is
beyond this file, since it only knows itself.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag

from keyman.core.model import Secret
from keyman.errors import SecretDamaged, StoreFailed
from keyman.stores import private_file
from keyman.stores.limits import fitting
from keyman.stores.protocol import Kept
from keyman.stores.seals import FORMAT, KEY_BYTES, fresh_key, key_id
from keyman.stores.seals import seal as _seal
from keyman.stores.seals import unseal as _open

try:
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:  # no wheel for this platform
    import sqlite3

APPLICATION = 0x6B6D7366  # tells this file from any other SQLite database
BUSY_SECONDS = 10.0
READ_ONLY = 8  # SQLITE_READONLY, whatever the reason
ROOM = 256 * 1024  # bytes: the largest secret with its pages and their journal, several times over

_PRAGMAS: dict[str, str | int] = {
    "journal_mode": "truncate",
    "synchronous": 2,  # FULL: a commit is on the disk before it is reported
    "secure_delete": 1,
    "trusted_schema": 0,
    "temp_store": 2,  # no temporary files
}
_SCHEMA = (
    "CREATE TABLE header (installation TEXT NOT NULL)",
    # The master key, once for each outside key that opens it.
    "CREATE TABLE keys (id BLOB PRIMARY KEY, master BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TABLE secrets (
        name TEXT, number INTEGER, slot TEXT, data_key BLOB NOT NULL, sealed BLOB NOT NULL,
        PRIMARY KEY (name, number)
    ) WITHOUT ROWID""",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)


class SealedFile:
    durable = True
    room = ROOM  #: bytes that must be free on its disk for it to be ready

    def __init__(
        self, path: Path, key: bytes, installation: str, *, read_only: bool = False
    ) -> None:
        """Open the file, making it (mode 0600) if it is missing, unless `read_only`.

        One that can't be written to for now is read all the same; each write tries again.
        Raises StoreFailed if the key (32 bytes) or the installation is not the file's.
        """
        if len(key) != KEY_BYTES:
            raise StoreFailed(f"the key that seals {path} must have {KEY_BYTES} bytes")
        self._path, self._installation, self._read_only = path, installation, read_only
        self._turn = threading.RLock()
        if not read_only:
            private_file.make(path)
        private_file.refuse_shared(path)
        with self._translated(), contextlib.ExitStack() as on_failure:
            self._db = self._connected()
            on_failure.callback(self._db.close)
            self._opened = self.place("", 0)
            self._master = self._unlock(key)
            on_failure.pop_all()

    def ready(self, name: str) -> None:
        """Writes something and takes it back: file, folder and disk must allow it."""
        with self._transaction():  # which begins by writing
            self._db.execute("ROLLBACK")
        if _free_bytes(self._path.parent) < self.room:
            raise StoreFailed(
                f"there is no room left for another secret in {self._path}",
                hint="make room on its disk",
            )

    def put(self, name: str, number: int, secret: Secret, *, slot: str | None = None) -> None:
        self.put_all([(name, number, secret, slot)])

    def put_all(self, secrets: Sequence[Kept]) -> None:
        """Put them in one transaction: all are durable then, or none is there."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO secrets (name, number, slot, data_key, sealed)"
                " VALUES (?, ?, ?, ?, ?)",
                [self._row(*one) for one in secrets],
            )
        for name, number, secret, _ in secrets:
            if self.get(name, number) != secret:
                what = f"{self._path} did not give back what was put under {name}/{number}"
                raise StoreFailed(what)

    def _row(self, name: str, number: int, secret: Secret, slot: str | None) -> tuple[Any, ...]:
        value, data_key = fitting(name, secret), fresh_key()
        bound = self._address(name, number, slot)
        sealed_key = _seal(self._master, data_key, b"data key", *bound)
        return name, number, slot, sealed_key, _seal(data_key, value.encode(), b"secret", *bound)

    def get(self, name: str, number: int) -> Secret | None:
        with self._turn, self._translated():
            row = self._db.execute(
                "SELECT slot, data_key, sealed FROM secrets WHERE name = ? AND number = ?",
                (name, number),
            ).fetchone()
            if row is None:
                return None
            slot, data_key, sealed = row
            bound = self._address(name, number, slot)
            try:
                opened = _open(self._master, data_key, b"data key", *bound)
                return Secret(_open(opened, sealed, b"secret", *bound).decode())
            except InvalidTag:
                what = f"the secret {name}/{number} in {self._path} was damaged or tampered with"
                raise SecretDamaged(what) from None

    def drop(self, name: str, number: int) -> None:
        self.drop_all([(name, number)])

    def drop_all(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Forget them in one transaction."""
        # If they are gone, an earlier try may have failed at its last sync: what it did can be
        # seen, and a power cut would undo it. This commit, which always writes, syncs that as well.
        with self._transaction():
            self._db.executemany(
                "DELETE FROM secrets WHERE name = ? AND number = ?", list(addresses)
            )

    def list(self, name: str | None = None) -> list[tuple[str, int]]:
        with self._turn, self._translated():
            rows = self._db.execute(
                "SELECT CAST(name AS TEXT), CAST(number AS INTEGER) FROM secrets"
                " WHERE :name IS NULL OR name = :name",
                {"name": name},
            ).fetchall()
        # SQLite's word that a primary key has no NULL holds only for what SQLite wrote.
        return sorted(row for row in rows if None not in row)

    def place(self, name: str, number: int) -> str | None:
        with private_file.translated(self._path, "examined"):
            there = self._path.stat()
        return f"{there.st_dev}:{there.st_ino}"

    # Other keys from outside.

    def keys(self) -> int:
        """How many keys from outside open the file; more than one while they are exchanged."""
        with self._turn, self._translated():
            found: int = self._db.execute("SELECT count(*) FROM keys").fetchone()[0]
            return found

    def admit(self, key: bytes) -> None:
        """From now on this key (32 bytes) opens the file as well."""
        with self._transaction():
            self._grant(key)

    def close_to_others(self, key: bytes) -> None:
        """From now on this key alone opens the file, which has another master key: who kept an
        earlier key, or the file as it was, has nothing of what is put from here on.

        One transaction. Raises SecretDamaged, with nothing changed, if a secret can't be read.
        """
        before = self._master
        with self._transaction(), contextlib.ExitStack() as on_failure:
            on_failure.callback(setattr, self, "_master", before)
            asked = "SELECT name, number, slot, data_key FROM secrets"
            self._master = fresh_key()
            for name, number, slot, sealed in self._db.execute(asked).fetchall():
                self._reseal(before, name, number, slot, sealed)
            self._db.execute("DELETE FROM keys")
            self._grant(key)
            self._db.execute("COMMIT")
            on_failure.pop_all()

    def _grant(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise StoreFailed(f"the key that seals {self._path} must have {KEY_BYTES} bytes")
        master = _seal(key, self._master, b"master key", *self._house())
        row = (key_id(key), master)
        self._db.execute("INSERT OR REPLACE INTO keys (id, master) VALUES (?, ?)", row)

    def _reseal(self, before: bytes, name: str, number: int, slot: str | None, sealed: Any) -> None:
        bound = self._address(name, number, slot)
        try:
            data_key = _open(before, sealed, b"data key", *bound)
        except InvalidTag:
            raise SecretDamaged(
                f"the secret {name}/{number} in {self._path} was damaged or tampered with",
                hint="put back the file from a backup, or start the daemon, which replaces it",
            ) from None
        self._db.execute(
            "UPDATE secrets SET data_key = ? WHERE name = ? AND number = ?",
            (_seal(self._master, data_key, b"data key", *bound), name, number),
        )

    def close(self) -> None:
        with self._turn:
            self._db.close()

    def _connected(self) -> sqlite3.Connection:
        made = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(made.close)
            for name, value in _PRAGMAS.items():
                _set(made, name, value)
            if self._read_only:
                made.execute("PRAGMA query_only = 1")
            on_failure.pop_all()
        return made

    def _reconnect(self) -> None:
        with contextlib.ExitStack() as one_of_them:
            made = self._connected()
            one_of_them.callback(made.close)
            if self.place("", 0) != self._opened:  # whose master key is another one, maybe
                raise StoreFailed(
                    f"{self._path} is another file than the one that was opened",
                    hint="restart keyman, which then reads what lies there now",
                )
            one_of_them.pop_all()
            one_of_them.callback(self._db.close)
            self._db = made

    def _unlock(self, key: bytes) -> bytes:
        """The master key, after making sure that the file is ours and the key is its own."""
        if self._empty() and not self._read_only:
            self._begin(key)
        found = self._pragma("application_id"), self._pragma("user_version")
        if found != (APPLICATION, FORMAT):
            raise StoreFailed(
                f"{self._path} is not a sealed store of format {FORMAT}",
                hint="run the keyman that made it, or `keyman daemon` if it was never started",
            )
        self._refuse_another_installation()
        row = self._db.execute("SELECT master FROM keys WHERE id = ?", (key_id(key),)).fetchone()
        if row is None:
            raise StoreFailed(
                f"{self._path} is sealed with another key",
                hint="put back the key that belongs to it (store.key in the configuration); "
                "without it its secrets cannot be read",
            )
        try:
            return _open(key, row[0], b"master key", *self._house())
        except InvalidTag:
            raise StoreFailed(
                f"the master key in {self._path} was damaged or tampered with",
                hint="put back the file from a backup; moved away, every secret is issued anew",
            ) from None

    def _empty(self) -> bool:
        return not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]

    def _begin(self, key: bytes) -> None:
        with self._transaction():
            if not self._empty():  # another process was faster
                self._db.execute("ROLLBACK")
                return
            for statement in _SCHEMA:
                self._db.execute(statement)
            self._db.execute("INSERT INTO header VALUES (?)", (self._installation,))
            self._master = fresh_key()
            self._grant(key)

    def _refuse_another_installation(self) -> None:
        # The seals hold this by themselves; the header is for saying it plainly.
        row = self._db.execute("SELECT installation FROM header").fetchone()
        if row is None or row[0] != self._installation:
            raise StoreFailed(
                f"{self._path} belongs to another installation",
                hint="put back this installation's own file; secrets move between installations "
                "by `keyman adopt`, not by copying files",
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """One that has written already, so what it does meets no file that only can be read."""
        if self._read_only:
            raise StoreFailed(f"{self._path} was opened for reading only")
        with self._turn, self._translated():
            try:
                self._begin_to_write()
            except sqlite3.Error as error:
                if not _cannot_write(error):
                    raise
                self._reconnect()
                self._begin_to_write()
            try:
                yield
                if self._db.in_transaction:
                    self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _begin_to_write(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")  # which SQLite grants where it can only read, too
        try:
            self._db.execute(f"PRAGMA user_version = {FORMAT}")  # begins SQLite's journal
        except BaseException:
            if self._db.in_transaction:  # SQLite ends it by itself where the disk fails
                self._db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """SQLite's messages name tables and files, never what was put in."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreFailed(
                f"the sealed store {self._path} failed: {error}",
                hint="is the disk full, the folder read-only, or another program holding the file?",
            ) from error
        except UnicodeError:
            raise StoreFailed("a name of a secret is not valid text") from None

    def _pragma(self, name: str) -> Any:
        return self._db.execute(f"PRAGMA {name}").fetchone()[0]

    def _house(self) -> tuple[bytes, ...]:
        return (self._installation.encode(),)

    def _address(self, name: str, number: int, slot: str | None) -> tuple[bytes, ...]:
        place = b"" if slot is None else f"slot {slot}".encode()
        return (*self._house(), name.encode(), str(number).encode(), place)


def _set(db: sqlite3.Connection, pragma: str, value: str | int) -> None:
    db.execute(f"PRAGMA {pragma} = {value}")
    found = db.execute(f"PRAGMA {pragma}").fetchone()[0]
    if found != value:
        raise StoreFailed(
            f"SQLite keeps {pragma} at {found} where {value} is needed",
            hint="install pysqlite3, which brings a SQLite of its own",
        )


def _cannot_write(error: sqlite3.Error) -> bool:
    """What SQLite could not open for writing it reads for good, however well the disk is by now."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == READ_ONLY


def _free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise StoreFailed(f"the folder {folder} can't be looked at: {error.strerror}") from error
