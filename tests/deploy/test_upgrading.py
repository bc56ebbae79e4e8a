"""Homes of every earlier schema, brought to the newest, and what each command makes of them after.

An earlier home is made thus: this program lives in it for a while against the sandbox; then its
journal is put into a database that the earlier schema's own scripts made, with as much of each row
as that schema has a place for. A new schema is tried from the day it is added.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command

from keyman.cli.main import COMMANDS
from keyman.core.model import OrderKind
from keyman.db import migrate, sqlite
from keyman.desk import Wish
from tests.commands.world import GENEROUS, ROOT, Done, Home

EARLIER, NEWEST = migrate.revisions()[:-1], migrate.head()
PARTNER = "  partner:\n    provider: static\n    base_url: https://api.example.com/v1\n"
SHOWS = (
    *("list", "status", "status genai", "get genai", "get partner"),
    *("env genai", "history", "plan", "audit verify", "client list", "store check", "db upgrade"),
    "backup --to {folder}/backup --passphrase-env WORDS",
)
ORDERS = (
    *("rotate genai --timeout 60s", "rollback genai", "revoke genai --yes --timeout 60s"),
    "client add other --all",
    *("put partner", "daemon --once", "audit verify"),
)
REFUSED = ("daemon", "daemon --once", "db upgrade", "get genai", "status", "rotate genai")


@pytest.fixture
def lived(place: Home) -> Home:
    """A rotated key, an order under a key of its own, a secret that came by hand, a client."""
    place.edit("overlap: 1d", "overlap: 2s")
    place.environ["WORDS"] = "correct horse battery staple"
    place.config.write_text(place.config.read_text() + PARTNER)
    place.start()
    works(place.keyman("put", "partner", stdin="sk-by-hand\n"))
    with place.open_as_command() as app:
        app.desk.order("genai", Wish(OrderKind.ROTATE, "a test", "a second version"), key="k")
    works(place.keyman("daemon", "--once"))
    works(place.keyman("client", "add", "build", "--all"))
    return place


def works(done: Done) -> Done:
    assert done.status == 0, done.err
    return done


def refuses(done: Done) -> str:
    """The two lines, after making sure that they are two."""
    assert (done.status, done.err.count("\n")) == (2, 2), done.err
    return done.err


def made_earlier(journal: Path, revision: str) -> None:
    """The same rows, in a database of that schema."""
    aside = journal.with_name("lived.db")
    journal.rename(aside)
    assert not journal.with_name("keyman.db-wal").exists()
    sqlite.make_file(journal)
    engine = sqlite.engine(journal)
    with sqlite.writing(engine).begin() as connection:
        command.upgrade(migrate.config(connection), revision)
    engine.dispose()
    with closing(sqlite3.connect(journal)) as earlier:
        earlier.execute("ATTACH ? AS lived", (str(aside),))
        for table in tables(earlier, "main"):
            kept = [f'"{name}"' for name in columns(earlier, "main", table)]
            assert set(kept) <= {f'"{name}"' for name in columns(earlier, "lived", table)}
            every = ", ".join(kept)
            earlier.execute(f"INSERT INTO main.{table} ({every}) SELECT {every} FROM lived.{table}")
            assert earlier.execute(f"SELECT count(*) FROM main.{table}").fetchone() != (0,), table
        earlier.commit()
    aside.unlink()


def tables(database: sqlite3.Connection, schema: str) -> list[str]:
    asked = f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table'"
    found = [name for (name,) in database.execute(asked)]
    return [name for name in found if not name.startswith(("sqlite_", migrate.VERSION_TABLE))]


def columns(database: sqlite3.Connection, schema: str, table: str) -> list[str]:
    asked = database.execute(f"SELECT name FROM pragma_table_info('{table}', '{schema}')")
    return [name for (name,) in asked]


def revision_of(journal: Path) -> str:
    with closing(sqlite3.connect(journal)) as database:
        [(found,)] = database.execute(f"SELECT version_num FROM {migrate.VERSION_TABLE}")
    return str(found)


def words_of(place: Home, line: str) -> list[str]:
    return line.format(folder=place.folder).split()


def known(line: str) -> bool:
    return line.split(maxsplit=1)[0] in COMMANDS


@pytest.mark.slow
@pytest.mark.parametrize("earlier", EARLIER)
def test_a_home_of_every_earlier_schema_goes_on(lived: Home, earlier: str) -> None:
    journal = lived.state / "keyman.db"
    before = {
        line: works(lived.keyman(*line.split())).out
        for line in ("get genai", "get partner", "env genai")
    }
    made_earlier(journal, earlier)
    for line in ("get genai", "status"):
        assert "`keyman db upgrade`" in refuses(lived.keyman(*line.split()))
    assert revision_of(journal) == earlier  # whoever only looks changes nothing
    upgraded = works(lived.keyman("db", "upgrade")).out
    assert upgraded == f"the journal is at revision {NEWEST}\n"
    assert {line: works(lived.keyman(*line.split())).out for line in before} == before
    for line in filter(known, (*SHOWS, *ORDERS)):
        works(lived.keyman(*words_of(lived, line), stdin="sk-another\n"))
    status = lived.keyman("status", "genai", "--json").json
    assert (status["health"], status["current"]["version"]) == ("ok", 5)
    assert lived.keyman("get", "partner").out == "sk-another\n"


def test_the_daemon_upgrades_when_it_starts(lived: Home) -> None:
    secret = works(lived.keyman("get", "genai")).out
    made_earlier(lived.state / "keyman.db", EARLIER[0])
    with lived.daemon():
        assert works(lived.keyman("get", "genai")).out == secret
        works(lived.keyman("rotate", "genai"))
        assert works(lived.keyman("get", "genai")).out != secret
    assert revision_of(lived.state / "keyman.db") == NEWEST


def test_an_older_program_leaves_a_newer_journal_alone(lived: Home) -> None:
    """Also the daemon, and also what only looks: two lines, and not a byte is changed."""
    journal = lived.state / "keyman.db"
    with closing(sqlite3.connect(journal)) as database, database:
        database.execute(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9998'")
    before = journal.read_bytes()
    for line in REFUSED:
        said = refuses(lived.keyman(*line.split()))
        assert f"schema 9998 is newer than this keyman, which knows up to {NEWEST}" in said
        assert "install the newer keyman again, or restore the backup made before it" in said
    with lived.process("daemon") as daemon:
        _, said = daemon.communicate(timeout=GENEROUS)
    assert "9998 is newer" in refuses(Done(daemon.returncode, "", said))
    assert journal.read_bytes() == before


def test_going_back_with_the_backup_that_was_made_before(lived: Home) -> None:
    """What docs/upgrading.md tells: the newer journal is kept aside, and nothing is handed out
    before the provider was seen to accept it.
    """
    secret = works(lived.keyman("get", "genai")).out
    backup = words_of(lived, SHOWS[-1])
    works(lived.keyman(*backup))
    journal = lived.state / "keyman.db"
    with closing(sqlite3.connect(journal)) as database, database:
        database.execute(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9998'")
    works(lived.keyman("restore", *backup[2:], "--replace", "--trust", "partner"))
    works(lived.keyman("daemon", "--once"))
    assert works(lived.keyman("get", "genai")).out == secret
    [aside] = lived.state.glob("before-restore-*/keyman.db")
    assert revision_of(aside) == "9998"


def test_the_page_tells_what_each_schema_brought() -> None:
    page = (ROOT / "docs/upgrading.md").read_text()
    assert re.findall(r"^\| (\d{4}) \| \w", page, re.MULTILINE) == migrate.revisions()
