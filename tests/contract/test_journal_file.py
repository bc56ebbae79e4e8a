"""The journal's file: whose it is, who may read it, that it is durable."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keyman.core.model import Credential, Spec
from keyman.core.news import News
from keyman.db import sqlite
from keyman.db.journal import Client, Event, Journal
from keyman.errors import ConfigError, Conflict, NotRunning, StoreFailed
from tests.contract.journal_cases import (
    MINUTE,
    NOW,
    SPEC,
    full_credential,
    full_observed,
    look,
    order,
    version,
)


@pytest.fixture
def careless_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_every_file_is_its_owners_alone(tmp_path: Path, url: str, careless_umask: None) -> None:
    journal = Journal.open(url)
    journal.save(Credential(SPEC), None)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("keyman.db", "keyman.db-wal", "keyman.db-shm"), 0o600)
    journal.close()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o601])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_open_to_others_is_refused(
    tmp_path: Path, url: str, mode: int, read_only: bool
) -> None:
    Journal.open(url).close()
    (tmp_path / "keyman.db").chmod(mode)
    with pytest.raises(ConfigError, match="open to other users") as refused:
        Journal.open(url, read_only=read_only)
    assert refused.value.hint == f"chmod 600 {tmp_path}/keyman.db"


def test_a_file_of_another_owner_is_refused(tmp_path: Path, url: str) -> None:
    Journal.open(url).close()
    mine = os.geteuid() != 0
    path = Path("/etc/passwd") if mine else tmp_path / "keyman.db"
    if not mine:
        os.chown(path, 12345, -1)
    with pytest.raises(ConfigError, match="another user"):
        Journal.open(f"sqlite:///{path}")


@pytest.mark.parametrize("target", ["real.db", "absent.db"])
def test_a_link_is_not_followed(tmp_path: Path, url: str, target: str) -> None:
    Journal.open(f"sqlite:///{tmp_path}/real.db").close()
    (tmp_path / "keyman.db").symlink_to(tmp_path / target)
    with pytest.raises(ConfigError, match="plain file"):
        Journal.open(url)
    assert not (tmp_path / "absent.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////tmp/x.db?mode=memory",
        "postgresql+psycopg://keyman:hunter2@db/keyman",
        "mysql://keyman:hunter2@db/keyman",
        "hunter2",
        "",
    ],
)
def test_a_url_that_names_no_file_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Journal.open(url)
    assert "hunter2" not in f"{refused.value} {refused.value.hint}"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be made"):
        Journal.open(f"sqlite:///{tmp_path}/no/keyman.db")


def test_a_database_of_something_else_is_left_alone(tmp_path: Path, url: str) -> None:
    path = tmp_path / "keyman.db"
    sqlite.make_file(path)
    look(tmp_path, "CREATE TABLE theirs (a)")
    for read_only in (True, False):
        with pytest.raises(ConfigError, match="something else"):
            Journal.open(url, read_only=read_only)
    path.write_bytes(b"not a database at all, but long enough to be looked at " * 40)
    with pytest.raises(StoreFailed, match="not a database"):
        Journal.open(url)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    found = ((path.name, path.stat()) for path in folder.iterdir())
    return {name: (status.st_mtime_ns, status.st_size) for name, status in found}


@pytest.mark.parametrize("options", [{"read_only": True}, {"migrate": False}])
def test_no_file_is_made_where_there_is_none(
    tmp_path: Path, url: str, options: dict[str, bool]
) -> None:
    with pytest.raises(NotRunning):
        Journal.open(url, **options)
    assert listing(tmp_path) == {}


def test_reading_only_changes_nothing(tmp_path: Path, url: str, journal: Journal) -> None:
    saved = journal.save(full_credential(), full_observed())
    journal.close()
    before = listing(tmp_path)
    with closing(Journal.open(url, read_only=True)) as reader:
        assert reader.load(SPEC) == (saved, full_observed())
        reader.check()
        assert reader.installation == journal.installation
        assert listing(tmp_path) == before
        for write in (lambda: reader.save(saved, None), lambda: reader.forget("genai")):
            with pytest.raises(StoreFailed, match="readonly"):
                write()
    assert listing(tmp_path) == before


def test_a_reader_sees_what_a_running_writer_saved(url: str, journal: Journal) -> None:
    with closing(Journal.open(url, read_only=True)) as reader:
        for _ in range(3):
            saved = journal.save(journal.load(SPEC)[0], None)
            assert reader.load(SPEC)[0] == saved


@pytest.mark.parametrize("options", [{"read_only": True}, {"migrate": False}])
def test_an_empty_database_is_not_upgraded_unasked(
    tmp_path: Path, url: str, options: dict[str, bool]
) -> None:
    sqlite.make_file(tmp_path / "keyman.db")
    with pytest.raises(ConfigError, match="older") as refused:
        Journal.open(url, **options)
    assert "keyman db upgrade" in refused.value.hint


@pytest.mark.parametrize("options", [{}, {"read_only": True}, {"migrate": False}])
def test_a_newer_schema_is_refused(
    tmp_path: Path, url: str, journal: Journal, options: dict[str, bool]
) -> None:
    journal.save(Credential(SPEC), None)
    look(tmp_path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="9999 is newer"):
        Journal.open(url, **options)
    with pytest.raises(ConfigError, match="9999 is newer"):
        journal.check()


def test_every_connection_keeps_its_promises(journal: Journal) -> None:
    with journal._reading() as one, journal._reading() as other:
        for connection in (one, other):
            asked = ("synchronous", "foreign_keys", "trusted_schema", "secure_delete", "mmap_size")
            said = [connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in asked]
            assert said == [2, 1, 0, 1, 0]
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@pytest.mark.parametrize("pragma", ["synchronous=NORMAL", "foreign_keys=OFF"])
def test_a_connection_that_would_lose_commits_is_noticed(journal: Journal, pragma: str) -> None:
    journal.check()
    with journal._reading() as kept:
        raw = kept.connection
    raw.cursor().execute(f"PRAGMA {pragma}")
    with pytest.raises(StoreFailed, match="not durable"):
        sqlite.check_promises(raw)
    with pytest.raises(StoreFailed, match="not durable"):
        journal.check()


def test_a_writer_locks_out_others_from_its_beginning(journal: Journal, tmp_path: Path) -> None:
    """Not only from its first change: what it reads before that must still be so then."""
    other = sqlite.engine(tmp_path / "keyman.db")
    with other.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=1")
    with journal._writing(), pytest.raises(Conflict, match="busy"), sqlite.translated():
        sqlite.writing(other).connect().begin()
    other.dispose()


def test_a_writer_that_finds_the_journal_locked_says_so(journal: Journal, tmp_path: Path) -> None:
    with journal._writing() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=1")  # it is the next one's, too
    blocker = sqlite.engine(tmp_path / "keyman.db")
    blocking = sqlite.writing(blocker).connect()
    blocking.begin()
    with pytest.raises(Conflict, match="busy"):
        journal.save(Credential(SPEC), None)
    assert journal.load(SPEC)[0].revision == 0
    blocking.close()
    blocker.dispose()
    assert journal.save(Credential(SPEC), None).revision == 1


LEASE = ("genai", "owner", "home", MINUTE, NOW)
UNREADABLE: dict[str, tuple[str, Callable[[Journal], object]]] = {
    "a word": ("UPDATE versions SET stage = 'x'", lambda j: j.load(SPEC)),
    "a moment": ("UPDATE versions SET issued_at = 'x'", lambda j: j.load(SPEC)),
    "a span": ("UPDATE versions SET overlap = 9e99", lambda j: j.load(SPEC)),
    "numbers": ("UPDATE orders SET targets = '{'", lambda j: j.load(SPEC)),
    "what was observed": ("UPDATE credentials SET observed = '[]'", lambda j: j.load(SPEC)),
    "a slot of that": (
        """UPDATE credentials SET observed = '{"keys": [{"slots": ["x"]}]}'""",
        lambda j: j.load(SPEC),
    ),
    "an order": ("UPDATE orders SET kind = 7", lambda j: j.order("an order")),
    "the history": ("UPDATE events SET at = 'x'", lambda j: j.events()),
    "news": ("UPDATE news SET at = 'x'", lambda j: j.news(0, 9)),
    "a client": ("UPDATE clients SET used_at = 'x'", lambda j: j.clients()),
    "a client that goes": (
        "UPDATE clients SET used_at = 'x'",
        lambda j: j.revoke_client("app", NOW, "ada"),
    ),
    "a lease": ("UPDATE leases SET lease_until = 'x'", lambda j: j.take_lease(*LEASE)),
    "a numbering": (
        "UPDATE meta SET key = 'numbered other', value = 'x'",
        lambda j: j.load(Spec("other", "oci-genai")),
    ),
}


@pytest.mark.parametrize(("edit", "ask"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_cell_that_cannot_be_read_is_a_failing_journal(
    tmp_path: Path, journal: Journal, edit: str, ask: Callable[[Journal], object]
) -> None:
    made = Credential(SPEC, versions=(version(),), orders=(order("an order"),))
    journal.save(made, full_observed(), told=[News(NOW, "genai", "told")])
    journal.note(Event(NOW, "genai", "noted"))
    journal.add_client(Client("app", "digest", ("genai",), NOW), "ada")
    journal.take_lease(*LEASE)
    ask(journal)
    look(tmp_path, edit)
    journal._known.clear()
    with pytest.raises(StoreFailed, match="never wrote") as failed:
        ask(journal)
    assert "keyman restore" in failed.value.hint


@pytest.mark.parametrize("kind", [TypeError, ValueError, KeyError, OverflowError])
def test_a_mistake_of_whoever_asks_is_not_taken_for_one_in_the_journal(
    journal: Journal, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match="ours"), journal._reading():
        raise kind("ours")
    nonsense: Any = "ten"
    with pytest.raises((TypeError, ValueError)):
        journal.history(limit=nonsense)


def test_text_that_is_none_fails_the_save_like_a_disk(journal: Journal) -> None:
    """As half a surrogate pair from a provider's JSON: whoever saves learns that nothing was."""
    odd = replace(Credential(SPEC), last_error="half \ud800 pair")
    with pytest.raises(StoreFailed, match="text that is none"):
        journal.save(odd, None)
    assert journal.load(SPEC)[0].revision == 0
    told = StoreFailed("half \ud800 pair", hint="\udfff")
    assert (told.message, told.hint) == ("half ? pair", "?")
    assert journal.save(replace(odd, last_error=told.message), None).revision == 1
