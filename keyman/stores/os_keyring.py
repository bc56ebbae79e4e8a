"""The keyring of the operating system, through the `keyring` package, its backend built by name.

Which backend is decided here and by the configuration alone: PYTHON_KEYRING_BACKEND,
KEYRING_PROPERTY_*, keyringrc.cfg and entry points have no say, and the null, failing, chaining and
plaintext backends cannot be named. Every write is read back over a fresh connection. Nothing here
ever opens a prompt: a daemon has nobody to answer it.

One entry a secret, `<name>/<number>`, and one named `index` that lists them, because most keyrings
cannot be searched. The index is written before an entry and trimmed after it: a crash may leave an
address without a secret, never a secret without its address. Callers take turns by a file lock.
Programs of the same user can read all of it; that is what such a keyring is.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from keyring.backend import KeyringBackend
from keyring.errors import InitError, KeyringLocked

from keyman.core.model import Secret
from keyman.errors import ConfigError, StoreFailed
from keyman.stores.limits import fitting

BACKENDS = {
    "secret-service": "keyring.backends.SecretService:Keyring",
    "macos": "keyring.backends.macOS:Keyring",
    "windows": "keyring.backends.Windows:WinVaultKeyring",
    "kwallet": "keyring.backends.kwallet:DBusKeyring",
}
INDEX = "index"
ANSWER_SECONDS = 20.0

_OF_PLATFORM = {"darwin": "macos", "win32": "windows"}


class OsKeyring:
    durable = True

    def __init__(self, backend: str | None, service: str, *, lock: Path) -> None:
        """`service` is what the entries are filed under; `lock` a file by which writers take turns.

        A backend of None is the platform's own. Raises ConfigError for one that is not in BACKENDS,
        StoreFailed if it does not answer.
        """
        self._kind = backend or _OF_PLATFORM.get(sys.platform, "secret-service")
        if self._kind not in BACKENDS:
            raise ConfigError(
                f"there is no keyring backend {self._kind!r}",
                hint=f"the backends are: {', '.join(BACKENDS)}",
            )
        self._service, self._lock = service, lock
        self._vendor: KeyringBackend | None = None
        self._read(INDEX)

    def ready(self, name: str) -> None:
        """It answers, is unlocked, and its index and the lock of its writers are in order."""
        with self._turn(make=True):
            self._index()

    def put(self, name: str, number: int, secret: Secret, *, slot: str | None = None) -> None:
        value = fitting(name, secret)
        with self._turn(make=True):
            self._save_index(self._index() | {(name, number)})
            self._write(_entry(name, number), value)

    def get(self, name: str, number: int) -> Secret | None:
        value = self._read(_entry(name, number))
        return None if value is None else Secret(value)

    def drop(self, name: str, number: int) -> None:
        with self._turn(make=True):
            self._erase(_entry(name, number))
            self._save_index(self._index() - {(name, number)})

    def list(self, name: str | None = None) -> list[tuple[str, int]]:
        named = sorted(address for address in self._index() if name in (None, address[0]))
        return [address for address in named if self._read(_entry(*address)) is not None]

    def place(self, name: str, number: int) -> str | None:
        return f"{self._kind} {self._service}"

    def close(self) -> None:
        with _one_thread:
            vendor, self._vendor = self._vendor, None
            _end(vendor)

    def _index(self) -> set[tuple[str, int]]:
        text = self._read(INDEX)
        try:
            numbers: dict[str, list[int]] = json.loads(text) if text else {}
            return {(name, int(number)) for name, found in numbers.items() for number in found}
        except (ValueError, TypeError, AttributeError):
            raise StoreFailed(
                f"the index of {self._service!r} in the keyring is damaged",
                hint=f"look at the entry {INDEX!r} of that service with the keyring's own program",
            ) from None

    def _save_index(self, addresses: set[tuple[str, int]]) -> None:
        if addresses == self._index():
            return
        numbers: dict[str, list[int]] = {}
        for name, number in sorted(addresses):
            numbers.setdefault(name, []).append(number)
        self._write(INDEX, json.dumps(numbers, separators=(",", ":")))

    def _read(self, entry: str) -> str | None:
        with self._asking() as vendor:
            return vendor.get_password(self._service, entry)

    def _write(self, entry: str, value: str) -> None:
        with self._asking() as vendor:
            vendor.set_password(self._service, entry, value)
        if self._read_afresh(entry) != value:
            raise StoreFailed(f"the keyring did not give back what was put under {entry!r}")

    def _erase(self, entry: str) -> None:
        if self._read(entry) is None:
            return
        with self._asking() as vendor:
            vendor.delete_password(self._service, entry)
        if self._read_afresh(entry) is not None:
            raise StoreFailed(f"the keyring still has {entry!r} after it was deleted")

    def _read_afresh(self, entry: str) -> str | None:
        """Over a new connection, which then replaces the old.

        In this order, and no more connections than that: gnome-keyring can abort, and be locked
        from then on, when a caller arrives in the moment in which another leaves.
        """
        with self._turn():
            before, self._vendor = self._vendor, None
            try:
                return self._read(entry)
            finally:
                _end(before)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[KeyringBackend]:
        with self._turn(), _translated(self._kind), contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)  # the next call tries a connection of its own
            if self._vendor is None:
                self._vendor = _backend_class(self._kind)()
            yield self._vendor
            on_failure.pop_all()

    @contextlib.contextmanager
    def _turn(self, *, make: bool = False) -> Iterator[None]:
        """One caller at a time, over threads and processes; the kernel frees a dead one's turn.

        Readers too, for gnome-keyring's sake. They make no file for it: as long as nobody ever
        wrote, they go without.
        """
        with _one_thread, contextlib.ExitStack() as held:
            if self._lock not in _held:
                descriptor = self._open_lock(make=make)
                if descriptor is not None:
                    _wait_for(held.enter_context(os.fdopen(descriptor, "rb")))
                    _held.add(self._lock)
                    held.callback(_held.discard, self._lock)
            yield

    def _open_lock(self, *, make: bool) -> int | None:
        try:
            return os.open(self._lock, os.O_RDWR | (os.O_CREAT if make else 0), 0o600)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not make:
                return None
            raise StoreFailed(
                f"{self._lock} could not be opened: {error.strerror}",
                hint="the folder must exist and be writable",
            ) from error


_one_thread = threading.RLock()
_held: set[Path] = set()  #: locks that the thread within has; taken anew it would wait for itself


def _wait_for(file: BinaryIO) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def _entry(name: str, number: int) -> str:
    return f"{name}/{number}"


@functools.cache
def _backend_class(backend: str) -> Callable[[], KeyringBackend]:
    module, _, name = BACKENDS[backend].partition(":")
    with _translated(backend):
        theirs = getattr(import_module(module), name)
        ours: dict[str, Any] = {"set_properties_from_env": lambda _self: None}
        if backend == "secret-service":
            ours |= _unprompted()
        return type(name, (theirs,), ours)


def _unprompted() -> dict[str, Any]:
    """The two doors by which the Secret Service backend would wait for a person, closed."""
    import secretstorage

    def open_collection(self: Any) -> Any:
        if not hasattr(self, "connection"):
            self.connection = _LastingConnection(secretstorage.dbus_init())
        try:
            collection = secretstorage.Collection(self.connection)
        except secretstorage.ItemNotFoundException:
            raise InitError("it has no default collection") from None
        if collection.is_locked():  # or it would say of all that is in it: absent
            raise KeyringLocked("it is locked")
        return collection

    def refuse_locked(_self: Any, item: Any) -> None:
        if item.is_locked():
            raise KeyringLocked("the entry is locked")

    return {"get_preferred_collection": open_collection, "unlock": refuse_locked}


class _LastingConnection:
    """A D-Bus connection that is not closed after each call, and never waited on for ever."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def send_and_get_reply(self, message: Any) -> Any:
        return self._connection.send_and_get_reply(message, timeout=ANSWER_SECONDS)

    def close(self) -> None:
        """Left to end()."""

    def end(self) -> None:
        self._connection.close()


def _end(vendor: KeyringBackend | None) -> None:
    connection = getattr(vendor, "connection", None)
    if isinstance(connection, _LastingConnection):
        connection.end()


@contextlib.contextmanager
def _translated(backend: str) -> Iterator[None]:
    """Each backend fails in its own vendor's words; whatever it was, only StoreFailed gets out."""
    try:
        yield
    except StoreFailed:
        raise
    except UnicodeError:
        raise StoreFailed("a name of a secret is not valid text") from None
    except Exception as error:  # noqa: BLE001
        # Without the cause: a vendor's exception may carry the call, and with it the secret.
        raise StoreFailed(
            f"the keyring ({backend}) refused: {type(error).__name__}: {_first_line(error)}",
            hint=_HINTS.get(backend, "unlock it, and check that it is there at all"),
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


_HINTS = {
    "secret-service": "log in to a desktop session or start and unlock gnome-keyring, and have "
    "DBUS_SESSION_BUS_ADDRESS set; without one, `store: {kind: sealed-file}` needs no keyring",
    "macos": "unlock the login keychain, and allow this program there",
}
