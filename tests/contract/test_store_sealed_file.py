"""The sealed file against whoever can read it, write to it, copy it, or pull the plug."""

import base64
import itertools
import os
import resource
import shutil
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

import pytest

from keyman.core.model import Secret
from keyman.errors import StoreFailed
from keyman.stores.sealed_file import SealedFile, _free_bytes, _set
from keyman.stores.seals import seal as _seal
from keyman.stores.seals import unseal as _open
from tests.contract.store_process import nth_value, process

KEY, OTHER_KEY = b"k" * 32, b"K" * 32
HOUSE = "0123456789abcdef"
CANARY = "sk-canary-9f2b7c41d8"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secrets.db"


@pytest.fixture
def store(path: Path) -> Iterator[SealedFile]:
    with closing(SealedFile(path, KEY, HOUSE)) as opened:
        yield opened


def edit(path: Path, statement: str, *values: object) -> None:
    """What somebody does who can write to the file but has no key."""
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(statement, values).rowcount == 1


def refused(path: Path, key: bytes = KEY, installation: str = HOUSE) -> str:
    with pytest.raises(StoreFailed) as failed, closing(SealedFile(path, key, installation)):
        pass
    assert failed.value.hint != StoreFailed.default_hint
    return failed.value.message


def with_each_bit_flipped(blob: bytes) -> Iterator[bytes]:
    for position, bit in itertools.product(range(len(blob)), range(8)):
        yield blob[:position] + bytes([blob[position] ^ (1 << bit)]) + blob[position + 1 :]


# ------------------------------------------------------------------------------------- tampering


@pytest.mark.parametrize("column", ["data_key", "sealed"])
def test_a_secret_with_any_bit_flipped_is_refused(
    path: Path, store: SealedFile, column: str
) -> None:
    store.put("genai", 1, Secret("sk-one"), slot="key-one")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        (blob,) = db.execute(f"SELECT {column} FROM secrets").fetchone()
        for flipped in with_each_bit_flipped(blob):
            db.execute("PRAGMA synchronous = OFF")
            db.execute(f"UPDATE secrets SET {column} = ?", (flipped,))
            with pytest.raises(StoreFailed, match="damaged or tampered"):
                store.get("genai", 1)
        db.execute(f"UPDATE secrets SET {column} = ?", (blob,))
    assert store.get("genai", 1) == Secret("sk-one")


@pytest.mark.parametrize("column", ["id", "master"])
def test_a_file_whose_key_row_has_any_bit_flipped_does_not_open(
    path: Path, store: SealedFile, column: str
) -> None:
    with closing(sqlite3.connect(path)) as db:
        (blob,) = db.execute(f"SELECT {column} FROM keys").fetchone()
    for flipped in with_each_bit_flipped(blob):
        edit(path, f"UPDATE keys SET {column} = ?", flipped)
        assert ("another key" if column == "id" else "damaged") in refused(path)
    edit(path, f"UPDATE keys SET {column} = ?", blob)
    SealedFile(path, KEY, HOUSE).close()


@pytest.mark.parametrize("cut", [b"", b"short", None, "text", 7])
def test_a_cell_that_is_no_blob_is_refused(path: Path, store: SealedFile, cut: object) -> None:
    store.put("genai", 1, Secret("sk-one"))
    edit(path, "UPDATE secrets SET sealed = coalesce(?, x'')", cut)
    with pytest.raises(StoreFailed, match="damaged or tampered"):
        store.get("genai", 1)


def test_no_two_rows_can_be_exchanged(path: Path, store: SealedFile) -> None:
    addresses = list(itertools.product(("a", "ab", "b"), (1, 11), (None, "", "key-one")))
    spread = [
        (f"{name}{index}", number, slot) for index, (name, number, slot) in enumerate(addresses)
    ]
    for name, number, slot in spread:
        store.put(name, number, Secret(f"{name}{number}{slot}"), slot=slot)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        rows = {
            row[0]: row[1:]
            for row in db.execute("SELECT name, slot, data_key, sealed FROM secrets")
        }
        change = "UPDATE secrets SET slot = ?, data_key = ?, sealed = ? WHERE name = ?"
        for (here, number, _), (there, _, _) in itertools.permutations(spread, 2):
            slot, data_key, sealed = rows[there]
            mixtures = [
                (slot, data_key, sealed),
                (rows[here][0], data_key, sealed),
                (rows[here][0], rows[here][1], sealed),
                (rows[here][0], data_key, rows[here][2]),
            ]
            for mixture in mixtures[:: 1 if here == spread[0][0] else 3]:
                db.execute(change, (*mixture, here))
                with pytest.raises(StoreFailed, match="damaged or tampered"):
                    store.get(here, number)
            db.execute(change, (*rows[here], here))


@pytest.mark.parametrize(
    ("column", "value"), [("name", "openai"), ("number", 2), ("slot", "key-two"), ("slot", None)]
)
def test_a_row_given_another_address_is_refused(
    path: Path, store: SealedFile, column: str, value: object
) -> None:
    store.put("genai", 1, Secret("sk-one"), slot="key-one")
    edit(path, f"UPDATE secrets SET {column} = ?", value)
    ((name, number),) = store.list()
    with pytest.raises(StoreFailed, match="damaged or tampered"):
        store.get(name, number)


def test_addresses_that_look_alike_when_run_together_are_not_the_same(
    path: Path, store: SealedFile
) -> None:
    store.put("genai1", 2, Secret("sk-one"))
    edit(path, "UPDATE secrets SET name = 'genai', number = 12")
    with pytest.raises(StoreFailed, match="damaged or tampered"):
        store.get("genai", 12)


def test_no_slot_is_not_an_empty_slot(path: Path, store: SealedFile) -> None:
    store.put("genai", 1, Secret("sk-one"), slot=None)
    edit(path, "UPDATE secrets SET slot = ''")
    with pytest.raises(StoreFailed, match="damaged or tampered"):
        store.get("genai", 1)


def test_no_byte_of_the_file_changes_what_an_address_gives(path: Path, store: SealedFile) -> None:
    store.put("genai", 1, Secret("sk-one"), slot="key-one")
    store.put("genai", 2, Secret("sk-two"), slot="key-two")
    store.close()
    whole = path.read_bytes()
    outcomes = set()
    for position in range(0, len(whole), 61):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            with closing(SealedFile(path, KEY, HOUSE, read_only=True)) as again:
                outcomes.add((again.get("genai", 1), again.get("genai", 2)))
        except StoreFailed:
            pass
    assert {one for one, _ in outcomes} <= {None, Secret("sk-one")}
    assert {two for _, two in outcomes} <= {None, Secret("sk-two")}


# ------------------------------------------------------------------------- whose key, whose file


def test_a_wrong_key_is_told_apart_from_damage(path: Path, store: SealedFile) -> None:
    assert "sealed with another key" in refused(path, key=OTHER_KEY)
    with pytest.raises(StoreFailed, match="32 bytes"):
        SealedFile(path, b"short", HOUSE)


def test_a_file_of_another_installation_is_refused(path: Path, store: SealedFile) -> None:
    store.put("genai", 1, Secret("sk-one"))
    copied = path.with_name("copied.db")
    shutil.copy(path, copied)
    assert "another installation" in refused(copied, installation="another")
    edit(copied, "UPDATE header SET installation = 'another'")
    assert "damaged or tampered" in refused(copied, installation="another")


def test_a_row_of_another_installation_with_the_same_key_is_refused(
    path: Path, store: SealedFile
) -> None:
    store.put("genai", 1, Secret("ours"))
    foreign = path.with_name("foreign.db")
    with closing(SealedFile(foreign, KEY, "another")) as other:
        other.put("genai", 1, Secret("theirs"))
    with closing(sqlite3.connect(foreign)) as db:
        row = db.execute("SELECT data_key, sealed FROM secrets").fetchone()
    edit(path, "UPDATE secrets SET data_key = ?, sealed = ?", *row)
    with pytest.raises(StoreFailed, match="damaged or tampered"):
        store.get("genai", 1)


def test_a_row_is_bound_to_its_installation_even_under_the_same_keys(
    path: Path, store: SealedFile
) -> None:
    """As somebody could have it who knows the outside key, or a clone that was sealed anew."""
    store.put("genai", 1, Secret("ours"))
    edit(path, "UPDATE header SET installation = 'another'")
    edit(path, "UPDATE keys SET master = ?", _seal(KEY, store._master, b"master key", b"another"))
    with closing(SealedFile(path, KEY, "another")) as other:
        assert other.list() == [("genai", 1)]
        with pytest.raises(StoreFailed, match="damaged or tampered"):
            other.get("genai", 1)


def test_each_put_has_a_data_key_of_its_own(path: Path, store: SealedFile) -> None:
    keys = set()
    for number in (1, 1, 2):
        store.put("genai", number, Secret("x"), slot="key-one")
        with closing(sqlite3.connect(path)) as db:
            row = db.execute("SELECT data_key FROM secrets WHERE number = ?", (number,)).fetchone()
        bound = store._address("genai", number, "key-one")
        keys.add(_open(store._master, row[0], b"data key", *bound))
    assert len(keys | {store._master, KEY}) == 5


def test_a_store_opened_for_the_first_time_by_many_at_once_is_one_store(path: Path) -> None:
    def begin(worker: int) -> None:
        together.wait()
        with closing(SealedFile(path, KEY, HOUSE)) as store:
            store.put("genai", worker, Secret(str(worker)))

    for _ in range(10):
        together = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(begin, range(4)))
        with closing(SealedFile(path, KEY, HOUSE)) as store:
            assert [store.get("genai", n) for n in range(4)] == [Secret(str(n)) for n in range(4)]
        path.unlink()


def test_what_another_began_meanwhile_is_left_as_it_is(path: Path, store: SealedFile) -> None:
    """Found empty, and the lock came when somebody else had made something of it."""
    other = store._db  # of the same SQLite library: another one here would not see its locks
    for table in ("header", "keys", "secrets"):
        other.execute(f"DROP TABLE {table}")
    other.execute("PRAGMA application_id = 0")
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(refused, path)
        while not any(waits_for_the_lock(frame) for frame in sys._current_frames().values()):
            assert not late.done(), late.exception()
        other.execute("CREATE TABLE theirs (x)")
        other.execute("PRAGMA user_version = 7")
        other.execute("COMMIT")
        assert "not a sealed store" in late.result()
    assert store._pragma("user_version") == 7
    assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def waits_for_the_lock(frame: FrameType) -> bool:
    return frame.f_code is SealedFile._begin_to_write.__code__


def test_another_format_and_another_program_s_file_are_refused(
    path: Path, store: SealedFile
) -> None:
    store.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    assert "format" in refused(path)
    path.write_bytes(b"not a database at all" * 100)
    assert "not a database" in refused(path)
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    path.chmod(0o600)
    assert "not a sealed store" in refused(path)


# ------------------------------------------------------------------------------- files and rights


def test_every_file_is_the_owner_s_alone_under_a_usual_umask(path: Path) -> None:
    before = os.umask(0o022)
    try:
        with closing(SealedFile(path, KEY, HOUSE)) as store:
            store.put("genai", 1, Secret("x"))
            modes = {
                found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()
            }
    finally:
        os.umask(before)
    assert modes.pop("secrets.db") == 0o600
    assert set(modes.values()) <= {0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_file_open_to_others_is_refused(path: Path, store: SealedFile, mode: int) -> None:
    path.chmod(mode)
    assert "open to other users" in refused(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away: sudo make test")
def test_a_file_of_another_user_is_refused(path: Path, store: SealedFile) -> None:
    os.chown(path, 65534, -1)
    assert "belongs to another user" in refused(path)


def test_a_symbolic_link_is_refused_and_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    assert "not a plain file" in refused(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_folder_is_an_error_with_a_hint(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none" / "secrets.db")


def test_reading_makes_no_file(path: Path) -> None:
    with pytest.raises(StoreFailed):
        SealedFile(path, KEY, HOUSE, read_only=True)
    assert list(path.parent.iterdir()) == []
    with closing(SealedFile(path, KEY, HOUSE)) as store:
        store.put("genai", 1, Secret("sk-one"))
    for left in set(path.parent.iterdir()) - {path}:
        left.unlink()
    before = path.read_bytes()
    with closing(SealedFile(path, KEY, HOUSE, read_only=True)) as reader:
        assert reader.get("genai", 1) == Secret("sk-one")
        assert reader.list() == [("genai", 1)]
        with pytest.raises(StoreFailed):
            reader.put("genai", 2, Secret("x"))
        with pytest.raises(StoreFailed):
            reader.drop("genai", 1)
        with pytest.raises(StoreFailed, match="reading only"):
            reader.ready("genai")
        assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == before


def test_without_its_file_it_is_not_ready(tmp_path: Path) -> None:
    """It was unmounted, or somebody put another folder in its place: what is put would be gone."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    with closing(SealedFile(folder / "secrets.db", KEY, HOUSE)) as store:
        shutil.rmtree(folder)
        with pytest.raises(StoreFailed):
            store.ready("genai")
        folder.mkdir()
        with pytest.raises(StoreFailed):
            store.ready("genai")


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process takes a byte more, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_nobody_from_reading(path: Path, store: SealedFile) -> None:
    store.put("genai", 1, Secret("sk-one"))
    store.close()
    with full_disk():
        opened = SealedFile(path, KEY, HOUSE)
        read = opened.get("genai", 1)
        for _ in range(2):  # and says so each time
            with pytest.raises(StoreFailed, match="disk I/O error"):
                opened.ready("genai")
            with pytest.raises(StoreFailed, match="disk I/O error"):
                opened.put("genai", 2, Secret("sk-two"))
    with closing(opened):
        assert (read, opened.list()) == (Secret("sk-one"), [("genai", 1)])
        opened.ready("genai")
        opened.put("genai", 2, Secret("sk-two"))


WRITES: dict[str, Callable[[SealedFile], object]] = {
    "ready": lambda store: store.ready("genai"),
    "put": lambda store: store.put("genai", 2, Secret("sk-two")),
    "drop": lambda store: store.drop("genai", 1),
    "admit": lambda store: store.admit(OTHER_KEY),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_could_only_be_read_when_it_was_opened_is_written_to_later(
    store: SealedFile, write: Callable[[SealedFile], object]
) -> None:
    store.put("genai", 1, Secret("sk-one"))
    store._db.execute("PRAGMA query_only = 1")  # it stays like that, as one from a bad day does
    assert store.get("genai", 1) == Secret("sk-one")
    write(store)
    assert store._pragma("query_only") == 0
    assert not store._db.in_transaction


def test_another_file_in_its_place_is_not_written_to(path: Path, store: SealedFile) -> None:
    """It has another master key: what is put would be sealed for nobody."""
    beside = path.with_name("beside.db")
    with closing(SealedFile(beside, KEY, HOUSE)):
        pass
    beside.replace(path)
    for query_only in (0, 1):
        store._db.execute(f"PRAGMA query_only = {query_only}")
        with pytest.raises(StoreFailed, match="another file") as failed:
            store.put("genai", 1, Secret("sk-one"))
        assert "restart" in failed.value.hint
        assert not store._db.in_transaction
    with closing(SealedFile(path, KEY, HOUSE)) as there:
        assert there.list() == []


def test_without_room_on_its_disk_it_is_not_ready(store: SealedFile) -> None:
    store.ready("genai")
    store.room = 2**62
    with pytest.raises(StoreFailed, match="no room left"):
        store.ready("genai")


def test_a_folder_that_is_gone_has_no_room(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="gone can't be looked at: No such file"):
        _free_bytes(tmp_path / "gone")


def test_an_empty_file_is_a_beginning_for_writers_only(path: Path) -> None:
    path.touch(mode=0o600)
    with pytest.raises(StoreFailed, match="not a sealed store"):
        SealedFile(path, KEY, HOUSE, read_only=True)
    with closing(SealedFile(path, KEY, HOUSE)) as store:
        assert store.list() == []


# --------------------------------------------------------------------------------- what lies there


def spelt(value: str) -> Iterator[bytes]:
    raw = value.encode()
    yield from (raw, raw[::-1], raw.hex().encode(), value.encode("utf-16-le"))
    for shift in range(3):  # base64 of it, wherever it begins
        yield base64.b64encode(b"\0" * shift + raw)[4:-4]


def test_no_secret_lies_in_any_file_in_clear(path: Path, store: SealedFile) -> None:
    def scan() -> None:
        for found in path.parent.iterdir():
            content = found.read_bytes()
            assert not [form for form in spelt(CANARY) if form in content], found.name
            assert KEY not in content

    store.put("genai", 1, Secret(CANARY), slot="key-one")
    scan()
    with closing(
        sqlite3.connect(path)
    ) as beside:  # holds the journal back while a put is under way
        beside.execute("BEGIN")
        beside.execute("SELECT * FROM secrets").fetchall()
        scan()
    store.put("genai", 1, Secret(CANARY + "!"))
    store.drop("genai", 1)
    scan()
    assert CANARY not in repr(store)


def test_each_put_is_sealed_anew(path: Path, store: SealedFile) -> None:
    seen = set()
    for _ in range(3):
        store.put("genai", 1, Secret("the same"))
        with closing(sqlite3.connect(path)) as db:
            seen.update(db.execute("SELECT data_key FROM secrets").fetchone())
            seen.update(db.execute("SELECT sealed FROM secrets").fetchone())
    assert len(seen) == 6
    assert len({blob[:12] for blob in seen}) == 6


def test_what_was_dropped_is_overwritten_in_the_file(path: Path, store: SealedFile) -> None:
    store.put("genai", 1, Secret("x" * 64))
    with closing(sqlite3.connect(path)) as db:
        (sealed,) = db.execute("SELECT sealed FROM secrets").fetchone()
    assert sealed in path.read_bytes()
    store.drop("genai", 1)
    assert sealed not in path.read_bytes()


def test_a_sqlite_that_does_not_do_what_is_needed_is_refused(store: SealedFile) -> None:
    with pytest.raises(StoreFailed, match="keeps journal_mode at truncate") as failed:
        _set(store._db, "journal_mode", "none_needed")
    assert "pysqlite3" in failed.value.hint


def test_another_writer_is_waited_for(store: SealedFile) -> None:
    assert store._pragma("busy_timeout") == 10_000


def test_a_row_without_an_address_is_not_listed(path: Path, store: SealedFile) -> None:
    """As SQLite would never have written it; but somebody else may have made the table."""
    store.put("genai", 1, Secret("sk-one"))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE loose AS SELECT * FROM secrets")
        db.execute("INSERT INTO loose VALUES (NULL, 2, NULL, x'', x''), ('genai', NULL, '', 1, 2)")
        db.execute("DROP TABLE secrets")
        db.execute("ALTER TABLE loose RENAME TO secrets")
    assert store.list() == [("genai", 1)]


def test_what_makes_a_commit_durable_is_on(store: SealedFile) -> None:
    asked = {name: store._pragma(name) for name in ("synchronous", "journal_mode", "secure_delete")}
    assert asked == {"synchronous": 2, "journal_mode": "truncate", "secure_delete": 1}


# ---------------------------------------------------------------------------------- being killed


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_the_old_or_the_new(
    path: Path, tmp_path: Path
) -> None:
    key_file = tmp_path / "store.key"
    options = {"installation": HOUSE, "home": tmp_path, "path": path}
    options["key"] = {"kind": "file", "path": key_file}
    journal = path.with_name("secrets.db-journal")
    taken, undone = -1, 0
    for kill in range(30):
        task = {"kind": "sealed-file", "options": options, "churn": taken + 1}
        with process(task) as writer:
            assert writer.stdout is not None
            acknowledged = [writer.stdout.readline() for _ in range(1 + kill % 5)]
            while kill % 3 and not journal.stat().st_size and writer.poll() is None:
                pass  # two of three kills are aimed at the middle of a put
            writer.kill()
            acknowledged += writer.stdout.readlines()  # what it said before it died
        taken = int([line for line in acknowledged if line.endswith("\n")][-1])
        undone += journal.stat().st_size > 0
        key = base64.urlsafe_b64decode(key_file.read_bytes())
        with closing(SealedFile(path, key, HOUSE, read_only=bool(kill % 2))) as after:
            assert after.list() == [("churn", 1)]
            assert after.get("churn", 1) in (Secret(nth_value(taken)), Secret(nth_value(taken + 1)))
    assert undone, "no kill came in the middle of a put: this test showed nothing"


# ------------------------------------------------------------------------------------- read back


@pytest.mark.parametrize(
    "what",
    [
        "DELETE FROM secrets WHERE name = new.name",
        """UPDATE secrets SET data_key = old.data_key, sealed = old.sealed FROM secrets AS old
           WHERE secrets.name = new.name AND old.name = 'other'""",
    ],
    ids=["lost", "exchanged"],
)
def test_what_does_not_come_back_was_not_put(path: Path, store: SealedFile, what: str) -> None:
    """A shown-once secret counts as kept once it was read again, whatever the disk said."""
    store.put("other", 1, Secret("sk-other"))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"CREATE TRIGGER bad AFTER INSERT ON secrets BEGIN {what}; END")
    with pytest.raises(StoreFailed, match=r"did not give back|damaged or tampered"):
        store.put("genai", 1, Secret("sk-one"))


# ------------------------------------------------------------------------------------ other keys


def opened(path: Path, key: bytes) -> list[Secret | None]:
    with closing(SealedFile(path, key, HOUSE)) as store:
        return [store.get("genai", number) for number in (1, 2)]


def test_an_admitted_key_opens_the_file_beside_the_first(path: Path, store: SealedFile) -> None:
    store.put_all([("genai", n, Secret(f"sk-{n}"), f"key-{n}") for n in (1, 2)])
    assert store.keys() == 1
    store.admit(OTHER_KEY)
    store.admit(OTHER_KEY)
    assert store.keys() == 2
    assert opened(path, KEY) == opened(path, OTHER_KEY) == [Secret("sk-1"), Secret("sk-2")]
    with pytest.raises(StoreFailed, match="must have 32 bytes"):
        store.admit(b"short")
    assert store.keys() == 2


def test_closed_to_others_it_opens_with_one_key_and_another_master_key(
    path: Path, store: SealedFile
) -> None:
    store.put_all([("genai", n, Secret(f"sk-{n}"), f"key-{n}") for n in (1, 2)])
    with closing(SealedFile(path, KEY, HOUSE)) as kept:  # who has the master key of before
        store.close_to_others(OTHER_KEY)
        assert store.keys() == 1
        assert "another key" in refused(path)
        assert opened(path, OTHER_KEY) == [Secret("sk-1"), Secret("sk-2")]
        store.put("genai", 2, Secret("sk-later"))
        assert opened(path, OTHER_KEY) == [Secret("sk-1"), Secret("sk-later")]
        with pytest.raises(StoreFailed, match="damaged or tampered"):
            kept.get("genai", 2)


@pytest.mark.parametrize("key", [OTHER_KEY, b"short"])
def test_where_it_cannot_be_closed_to_others_nothing_has_changed(
    path: Path, store: SealedFile, key: bytes
) -> None:
    store.put("genai", 1, Secret("sk-1"))
    store.put("other", 1, Secret("sk-other"))
    if key == OTHER_KEY:
        edit(path, "UPDATE secrets SET data_key = x'00' WHERE name = 'other'")
    with pytest.raises(StoreFailed, match=r"damaged or tampered|must have 32 bytes") as failed:
        store.close_to_others(key)
    assert failed.value.hint
    store.put("genai", 2, Secret("sk-2"))
    assert store.keys() == 1
    assert opened(path, KEY) == [Secret("sk-1"), Secret("sk-2")]


def test_a_closed_store_is_closed(path: Path, store: SealedFile) -> None:
    store.close()
    for use in ("put", "drop", "admit"):
        with pytest.raises(StoreFailed, match="failed"):
            WRITES[use](store)
    with pytest.raises(StoreFailed, match="failed"):
        store.get("genai", 1)


def test_a_file_that_says_of_no_installation_is_another_s(path: Path, store: SealedFile) -> None:
    edit(path, "DELETE FROM header")
    assert "another installation" in refused(path)
