"""The system's keyring: which backend speaks, what a crash leaves, what a shut one says."""

import contextlib
import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import secretstorage
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import Proxy
from keyring.errors import KeyringLocked
from secretstorage.defines import SS_PATH
from secretstorage.util import SERVICE_IFACE, DBusAddressWrapper

from keyman.clock import new_id
from keyman.core.model import Secret
from keyman.errors import ConfigError, StoreFailed
from keyman.stores import os_keyring
from keyman.stores.os_keyring import BACKENDS, INDEX, OsKeyring
from tests import servers
from tests.contract.store_process import ROOT

# The variables of keyring's own that could send secrets elsewhere; the file is written by the test.
LURES = {
    "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    "KEYRING_PROPERTY_PREFERRED_COLLECTION": "/org/freedesktop/secrets/collection/session",
    "KEYRING_PROPERTY_SCHEME": "KeePassXC",
    "KEYRING_PROPERTY_APPID": "lured",
}


@pytest.fixture(autouse=True)
def at_first() -> None:
    """Each test begins as a process does, before any backend was looked up."""
    os_keyring._backend_class.cache_clear()


@pytest.fixture
def bus(secret_service: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in secret_service.items():
        monkeypatch.setenv(name, value)
    return secret_service


@pytest.fixture
def store(bus: dict[str, str], tmp_path: Path) -> Iterator[OsKeyring]:
    service, lock = f"keyman/{new_id()}", tmp_path / "keyring.lock"
    with contextlib.closing(OsKeyring("secret-service", service, lock=lock)) as opened:
        yield opened


@contextlib.contextmanager
def collection() -> Iterator[Any]:
    with contextlib.closing(secretstorage.dbus_init()) as connection:
        yield secretstorage.Collection(connection)


def entries(store: OsKeyring) -> dict[str, str]:
    """What another program sees under the store's service."""
    with collection() as opened:
        found = opened.search_items({"service": store._service})
        return {item.get_attributes()["username"]: item.get_secret().decode() for item in found}


def test_other_programs_find_the_secret_where_the_name_says(store: OsKeyring) -> None:
    store.put("genai", 7, Secret("sk-one"))
    assert entries(store) == {"genai/7": "sk-one", INDEX: '{"genai":[7]}'}
    store.drop("genai", 7)
    assert entries(store) == {INDEX: "{}"}


@pytest.mark.parametrize("name", ["null", "fail", "chainer", "plaintext", "keyring.backends.null"])
def test_a_backend_that_keeps_nothing_cannot_be_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        OsKeyring(name, "keyman/x", lock=tmp_path / "lock")
    assert all(known in refused.value.hint for known in BACKENDS)


def test_no_backend_of_the_list_is_a_null_or_plaintext_one() -> None:
    modules = [target.partition(":")[0].rpartition(".")[2] for target in BACKENDS.values()]
    assert not set(modules) & {"null", "fail", "chainer"}
    assert all(target.startswith("keyring.backends.") for target in BACKENDS.values())


def test_what_the_environment_says_of_keyring_is_ignored(
    store: OsKeyring, monkeypatch: pytest.MonkeyPatch, bus: dict[str, str]
) -> None:
    for name, value in LURES.items():
        monkeypatch.setenv(name, value)
    settings = Path(bus["XDG_CONFIG_HOME"]) / "python_keyring" / "keyringrc.cfg"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("[backend]\ndefault-keyring=keyring.backends.null.Keyring\n")
    try:
        store.put("genai", 1, Secret("sk-one"))
    finally:
        settings.unlink()
    assert entries(store)["genai/1"] == "sk-one"
    with collection() as opened:
        (item,) = opened.search_items({"service": store._service, "username": "genai/1"})
        assert item.get_attributes()["application"] != "lured"


def test_the_environment_is_ignored_from_the_first_import_on(
    store: OsKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LURES.items():
        monkeypatch.setenv(name, value)
    program = (
        "import sys; from pathlib import Path; from keyman.core.model import Secret;"
        "from keyman.stores.os_keyring import OsKeyring;"
        "OsKeyring(None, sys.argv[1], lock=Path(sys.argv[2])).put('genai', 1, Secret('of a child'))"
    )
    command = [sys.executable, "-c", program, store._service, str(store._lock)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert entries(store)["genai/1"] == "of a child"


def test_an_address_without_its_secret_is_not_listed_and_heals(store: OsKeyring) -> None:
    store.put("genai", 1, Secret("one"))
    store.put("genai", 2, Secret("two"))
    store._erase("genai/2")  # as a crash between index and entry leaves it
    assert store.list() == [("genai", 1)]
    assert store.get("genai", 2) is None
    store.put("genai", 2, Secret("two again"))
    assert store.list() == [("genai", 1), ("genai", 2)]
    store._erase("genai/2")
    store.drop("genai", 2)
    assert entries(store)[INDEX] == '{"genai":[1]}'


def test_reading_makes_no_lock_and_writing_makes_it_the_owner_s_alone(store: OsKeyring) -> None:
    assert store.get("genai", 1) is None
    assert store.list() == []
    assert not store._lock.exists()
    store.put("genai", 1, Secret("one"))
    assert stat.S_IMODE(store._lock.stat().st_mode) == 0o600


class _Breaks(Exception):
    pass


class _Crashing(OsKeyring):
    """Dies, as a process would, before its n-th change to the keyring."""

    changes_left = 0

    def _write(self, entry: str, value: str) -> None:
        self._step()
        super()._write(entry, value)

    def _erase(self, entry: str) -> None:
        self._step()
        super()._erase(entry)

    def _step(self) -> None:
        if not self.changes_left:
            raise _Breaks
        self.changes_left -= 1


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
def test_a_crash_never_leaves_a_secret_that_is_not_listed(
    store: OsKeyring, tmp_path: Path, after: int
) -> None:
    crashing = _Crashing("secret-service", store._service, lock=tmp_path / "keyring.lock")
    crashing.changes_left = after
    with contextlib.suppress(_Breaks):
        crashing.put("genai", 1, Secret("one"))
        crashing.drop("genai", 1)
    crashing.close()
    kept = {entry for entry in entries(store) if entry != INDEX}
    assert kept == {f"{name}/{number}" for name, number in store.list()}


def test_a_damaged_index_is_said_and_not_written_over(store: OsKeyring) -> None:
    store.put("genai", 1, Secret("one"))
    for damaged in ('{"genai":', "[]", '{"genai": 1}', '{"genai": ["x"]}'):
        store._write(INDEX, damaged)
        with pytest.raises(StoreFailed, match="index"):
            store.list()
        with pytest.raises(StoreFailed, match="index"):
            store.put("genai", 2, Secret("two"))
        assert entries(store) == {"genai/1": "one", INDEX: damaged}


def test_without_a_bus_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address = f"unix:path={tmp_path}/nobody"
    for setting in (address, None, "nonsense"):
        if setting is None:
            monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        else:
            monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", setting)
        with pytest.raises(StoreFailed) as failed:
            OsKeyring("secret-service", "keyman/x", lock=tmp_path / "lock")
        assert "sealed-file" in failed.value.hint
        assert "secret-service" in failed.value.message


def test_a_backend_of_another_platform_fails_as_a_store(tmp_path: Path) -> None:
    other = "kwallet" if sys.platform == "darwin" else "macos"
    with pytest.raises(StoreFailed, match=other):
        OsKeyring(other, "keyman/x", lock=tmp_path / "lock")


@pytest.fixture
def breakable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OsKeyring]:
    """A store at a Secret Service of its own, which the test may break."""
    with servers.secret_service(tmp_path / "service") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        lock = tmp_path / "keyring.lock"
        with contextlib.closing(OsKeyring("secret-service", "keyman/x", lock=lock)) as opened:
            yield opened


def test_a_locked_keyring_is_refused_without_a_prompt(breakable: OsKeyring) -> None:
    breakable.put("genai", 1, Secret("one"))
    with collection() as opened:
        opened.lock()
    with pytest.raises(StoreFailed, match="locked") as failed:
        breakable.get("genai", 1)
    assert "unlock" in failed.value.hint
    with pytest.raises(StoreFailed, match="locked"):
        breakable.put("genai", 1, Secret("two"))
    with pytest.raises(StoreFailed, match="locked"):
        breakable.ready("genai")
    with pytest.raises(StoreFailed, match="locked"):  # nobody can know that it is absent
        breakable.get("never", 1)


def test_a_keyring_that_hangs_ends_as_an_error(
    breakable: OsKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(secretstorage.dbus_init()) as connection:
        bus = Proxy(message_bus, connection)
        (process,) = bus.GetConnectionUnixProcessID("org.freedesktop.secrets")
    monkeypatch.setattr(os_keyring, "ANSWER_SECONDS", 0.3)
    os.kill(process, signal.SIGSTOP)
    try:
        with pytest.raises(StoreFailed, match="Timeout"):
            breakable.get("genai", 1)
    finally:
        os.kill(process, signal.SIGCONT)
    assert breakable.get("genai", 1) is None, "it does not go on with the connection it gave up"


def test_a_keyring_whose_bus_went_away_is_an_error_then_used_again(store: OsKeyring) -> None:
    store.put("genai", 1, Secret("one"))
    assert store._vendor is not None
    vars(store._vendor)["connection"].sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(StoreFailed):
        store.get("genai", 1)
    assert store.get("genai", 1) == Secret("one")


class _Forgetful(OsKeyring):
    """A keyring that accepts and keeps nothing, as some do when they are full."""

    def _read_afresh(self, entry: str) -> str | None:
        self._vendor.delete_password(self._service, entry)  # type: ignore[union-attr]
        return super()._read_afresh(entry)


def test_what_is_not_there_over_a_new_connection_was_not_put(
    store: OsKeyring, tmp_path: Path
) -> None:
    forgetful = _Forgetful("secret-service", store._service, lock=tmp_path / "keyring.lock")
    with contextlib.closing(forgetful), pytest.raises(StoreFailed, match="did not give back"):
        forgetful.put("genai", 1, Secret("one"))


def test_each_write_is_read_back_over_another_connection(store: OsKeyring) -> None:
    store.put("genai", 1, Secret("one"))
    before = store._vendor
    store.put("genai", 1, Secret("two"))
    assert store._vendor is not before


def test_whoever_writes_makes_the_lock_and_all_give_it_back(store: OsKeyring) -> None:
    calls: dict[str, Callable[[], object]] = {
        "ready": lambda: store.ready("genai"),
        "drop": lambda: store.drop("genai", 1),
        "put": lambda: store.put("genai", 1, Secret("one")),
        "get": lambda: store.get("genai", 1),
        "list": store.list,
    }
    made = {}
    for name, call in calls.items():
        call()
        assert os_keyring._held == set()
        made[name] = store._lock.exists()
        store._lock.unlink(missing_ok=True)
    assert made == {"ready": True, "drop": True, "put": True, "get": False, "list": False}


class _Watched(OsKeyring):
    """Looks, in the middle of each call, whether anybody else could have the turn."""

    free: list[bool]

    def _read(self, entry: str) -> str | None:
        with self._turn(), self._lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.free.append(False)
            else:
                self.free.append(True)
        return super()._read(entry)


def test_nobody_else_has_a_turn_meanwhile(store: OsKeyring, tmp_path: Path) -> None:
    _Watched.free = []
    store.ready("genai")
    with contextlib.closing(
        _Watched("secret-service", store._service, lock=tmp_path / "keyring.lock")
    ) as watched:
        watched.put("genai", 1, Secret("one"))
        watched.list()
        watched.drop("genai", 1)
    assert set(watched.free) == {False}
    with store._lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_that_cannot_be_opened_is_an_error(
    store: OsKeyring, bus: dict[str, str], tmp_path: Path
) -> None:
    def at(lock: Path) -> OsKeyring:
        return OsKeyring("secret-service", store._service, lock=lock)

    with contextlib.closing(at(tmp_path / "missing" / "lock")) as nowhere:
        assert nowhere.get("genai", 1) is None
        with pytest.raises(StoreFailed, match="missing/lock could not be opened: ") as failed:
            nowhere.put("genai", 1, Secret("one"))
        assert failed.value.hint == "the folder must exist and be writable"
    with pytest.raises(StoreFailed, match="could not be opened: "):
        at(tmp_path)
    assert entries(store) == {}


def test_one_connection_serves_until_something_is_written_and_is_then_closed(
    store: OsKeyring,
) -> None:
    def connection() -> Any:
        return vars(store._vendor)["connection"]

    store.put("genai", 1, Secret("one"))
    vendor, first = store._vendor, connection()
    assert (store.get("genai", 1), store.list("genai")) == (Secret("one"), [("genai", 1)])
    assert (store._vendor, connection()) == (vendor, first)
    assert first.sock.fileno() != -1
    store.put("genai", 1, Secret("two"))
    second = connection()
    assert (first.sock.fileno(), second.sock.fileno() == -1) == (-1, False)
    store.close()
    assert second.sock.fileno() == -1
    assert store._vendor is None
    store.close()
    assert store.get("genai", 1) == Secret("two")


def test_the_index_lists_every_name_with_its_numbers(store: OsKeyring) -> None:
    for name, number in (("vertex", 2), ("genai", 10), ("genai", 9)):
        store.put(name, number, Secret("x"))
    assert entries(store)[INDEX] == '{"genai":[9,10],"vertex":[2]}'
    assert store.list() == [("genai", 9), ("genai", 10), ("vertex", 2)]
    assert store.list("vertex") == [("vertex", 2)]
    assert store.place("genai", 9) == f"secret-service {store._service}"


class _Stubborn(OsKeyring):
    """A keyring that says it has deleted something, and has not."""

    def _read_afresh(self, entry: str) -> str | None:
        self._vendor.set_password(self._service, entry, "still here")  # type: ignore[union-attr]
        return super()._read_afresh(entry)


def test_what_is_still_there_over_a_new_connection_was_not_dropped(
    store: OsKeyring, tmp_path: Path
) -> None:
    store.put("genai", 1, Secret("one"))
    stubborn = _Stubborn("secret-service", store._service, lock=tmp_path / "keyring.lock")
    with (
        contextlib.closing(stubborn),
        pytest.raises(StoreFailed, match="still has 'genai/1' after it was deleted"),
    ):
        stubborn.drop("genai", 1)
    assert store.list() == [("genai", 1)]


def test_an_entry_that_is_locked_is_not_asked_for(breakable: OsKeyring) -> None:
    """Some lock single entries: the backend would open a prompt for that."""
    breakable.put("genai", 1, Secret("one"))
    vendor: Any = breakable._vendor
    with collection() as opened:
        (item,) = opened.search_items({"service": "keyman/x", "username": "genai/1"})
        vendor.unlock(item)
        opened.lock()
        with pytest.raises(KeyringLocked, match="the entry is locked"):
            vendor.unlock(item)


def test_without_a_default_collection_there_is_no_place_for_secrets(
    breakable: OsKeyring,
) -> None:
    with contextlib.closing(secretstorage.dbus_init()) as connection:
        service = DBusAddressWrapper(SS_PATH, SERVICE_IFACE, connection)
        service.call("SetAlias", "so", "default", "/")
    with pytest.raises(StoreFailed, match="it has no default collection"):
        breakable.get("genai", 1)


def test_what_a_vendor_says_is_told_up_to_its_first_line_and_no_further() -> None:
    for said, told in (("a" * 201, "a" * 200), ("no\nsk-one", "no"), ("", "")):
        with pytest.raises(StoreFailed) as failed, os_keyring._translated("kwallet"):
            raise OSError(said)
        assert failed.value.message == f"the keyring (kwallet) refused: OSError: {told}"
        assert failed.value.hint == "unlock it, and check that it is there at all"
        assert failed.value.__cause__ is None
    no_text = pytest.raises(StoreFailed, match="a name of a secret is not valid text")
    with no_text, os_keyring._translated("kwallet"):
        "\ud83d".encode()
    ours = StoreFailed("ours")
    with pytest.raises(StoreFailed) as failed, os_keyring._translated("kwallet"):
        raise ours
    assert failed.value is ours


def test_unless_one_is_named_the_platform_s_own_is_asked(
    bus: dict[str, str], tmp_path: Path
) -> None:
    with contextlib.closing(OsKeyring(None, "keyman/x", lock=tmp_path / "lock")) as opened:
        assert opened.place("genai", 1) == "secret-service keyman/x"


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        ("secret-service", {"set_properties_from_env", "get_preferred_collection", "unlock"}),
        ("kwallet", {"set_properties_from_env"}),
    ],
)
def test_a_backend_is_the_vendor_s_but_for_what_reads_the_environment_or_prompts(
    kind: str, ours: set[str]
) -> None:
    made: Any = os_keyring._backend_class(kind)
    (theirs,) = made.__bases__
    assert f"{theirs.__module__}:{theirs.__name__}" == BACKENDS[kind]
    assert {name for name in vars(made) if not name.startswith("__")} >= ours
    assert ("unlock" in vars(made)) == ("unlock" in ours)
