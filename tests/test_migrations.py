"""The journal's schema: from every earlier one to the newest, whatever happens on the way."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, insert

from keyman.db import meta, migrate, sqlite, tables
from tests.children import PROCESSES

ROOT = Path(__file__).resolve().parent.parent

# The next schema, as a later keyman may bring it: a table that others refer to is rebuilt.
NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9998"
down_revision = "{head}"

def upgrade():
    with op.batch_alter_table("credentials", recreate="always") as credentials:
        credentials.add_column(sa.Column("more", sa.Text()))
"""

SAVE = """
import sys
from keyman.core.model import Credential, Spec, Stage, Version
from keyman.db.journal import Journal
from datetime import UTC, datetime
now = datetime(2026, 11, 21, tzinfo=UTC)
journal = Journal.open(sys.argv[1])
version = Version(1, Stage.CURRENT, "attempt", now, now)
journal.save(Credential(Spec("genai", "oci-genai"), versions=(version,)), None)
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An empty database."""
    sqlite.make_file(tmp_path / "keyman.db")
    made = sqlite.engine(tmp_path / "keyman.db")
    yield made
    made.dispose()


def current(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return migrate.current(connection)


def bring_to(engine: Engine, revision: str | None) -> None:
    if revision:
        with sqlite.writing(engine).begin() as connection:
            command.upgrade(migrate.config(connection), revision)


@pytest.mark.parametrize("earlier", [None, *migrate.revisions()[:-1]])
def test_every_earlier_schema_becomes_the_newest(engine: Engine, earlier: str | None) -> None:
    bring_to(engine, earlier)
    assert current(engine) == earlier
    assert migrate.upgrade(engine) is True
    assert current(engine) == migrate.head()
    assert migrate.upgrade(engine) is False


def test_keys_claimed_by_the_first_schema_still_stand_for_their_orders(engine: Engine) -> None:
    """It kept no wish, so any wish will do."""
    bring_to(engine, "0001")
    now = datetime(2026, 11, 21, tzinfo=UTC)
    with sqlite.writing(engine).begin() as connection:
        claimed = {"key": "k", "name": "genai", "order_id": "o1", "at": now}
        connection.execute(insert(tables.IDEMPOTENCY), claimed)
    migrate.upgrade(engine)
    with sqlite.writing(engine).begin() as connection:
        assert meta.claim_key(connection, "k", "genai", "any", "o2", now) == "o1"
        assert meta.claim_key(connection, "k2", "genai", "any", "o2", now) == "o2"


def test_the_newest_is_the_one_that_alembic_means(engine: Engine) -> None:
    with engine.connect() as connection:
        script = ScriptDirectory.from_config(migrate.config(connection))
    assert script.get_current_head() == migrate.head()
    known = [revision.revision for revision in script.walk_revisions()]
    assert sorted(known) == migrate.revisions()


def test_the_migrations_build_what_the_program_works_with(engine: Engine) -> None:
    migrate.upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, tables.METADATA) == []


def test_they_build_it_to_the_letter(engine: Engine, tmp_path: Path) -> None:
    migrate.upgrade(engine)
    sqlite.make_file(tmp_path / "direct.db")
    direct = sqlite.engine(tmp_path / "direct.db")
    tables.METADATA.create_all(direct)
    migrated = schema(engine)
    del migrated[migrate.VERSION_TABLE]
    assert migrated == schema(direct)
    direct.dispose()


def schema(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        asked = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        found = connection.exec_driver_sql(asked).all()
    # A table that was rebuilt is renamed, and SQLite writes its name in quotes then.
    return {name: re.sub(r"\s+", " ", sql).replace(f'"{name}"', name) for name, sql in found}


@pytest.mark.slow
def test_an_upgrade_is_killed_at_each_of_its_statements(tmp_path: Path) -> None:
    """What is left is the old schema or the new one, and the next upgrade finishes the job."""
    fates = []
    for statements in range(1, 200):
        path = tmp_path / f"{statements}.db"
        sqlite.make_file(path)
        process = PROCESSES.Process(target=die_after, args=(path, statements))
        process.start()
        process.join()
        engine = sqlite.engine(path)
        found = current(engine)
        assert found is not None or schema(engine) == {}
        assert migrate.upgrade(engine) is (found is None)
        engine.dispose()
        fates.append(found)
        if process.exitcode == 0:
            break
    assert fates == [None] * (len(fates) - 1) + [migrate.head()]
    assert len(fates) > len(tables.METADATA.tables)


def die_after(path: Path, statements: int) -> None:
    engine = sqlite.engine(path)
    left = iter(range(statements))

    @event.listens_for(engine, "after_cursor_execute")
    def _count(*_: object) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    migrate.upgrade(engine)


@pytest.mark.slow
def test_two_upgrades_at_once_are_one(tmp_path: Path) -> None:
    path = tmp_path / "keyman.db"
    sqlite.make_file(path)
    sqlite.engine(path).connect().close()
    processes = [PROCESSES.Process(target=upgrade, args=(path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]


def upgrade(path: Path) -> None:
    migrate.upgrade(sqlite.engine(path))


# ------------------------------------------------------------------- another keyman, as a copy


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """A copy of the program whose schema is one further than ours."""
    ignored = shutil.ignore_patterns("__pycache__", "_migrations")
    for folder in ("keyman", "migrations"):
        shutil.copytree(ROOT / folder, tmp_path / "later 100%" / folder, ignore=ignored)
    script = tmp_path / "later 100%/migrations/versions/9998_next.py"
    script.write_text(NEXT.format(head=migrate.head()))
    return tmp_path / "later 100%"


def run(program: str, *arguments: str, tree: Path = ROOT) -> str:
    ran = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout + ran.stderr


@pytest.mark.slow
def test_rebuilding_a_table_keeps_the_rows_that_refer_to_it(tmp_path: Path, later: Path) -> None:
    url = f"sqlite:///{tmp_path}/keyman.db"
    assert run(SAVE, url) == ""
    open_it = "import sys; from keyman.db.journal import Journal; Journal.open(sys.argv[1])"
    assert run(open_it, url, tree=later) == ""
    engine = sqlite.engine(tmp_path / "keyman.db")
    assert current(engine) == "9998"
    with engine.connect() as connection:
        asked = "SELECT c.name, c.more, v.number FROM credentials c JOIN versions v USING (name)"
        assert connection.exec_driver_sql(asked).all() == [("genai", None, 1)]
    engine.dispose()
    assert "9998 is newer" in run(open_it, url)


@pytest.mark.slow
def test_an_upgrade_that_would_leave_strays_is_not_made(tmp_path: Path, later: Path) -> None:
    url = f"sqlite:///{tmp_path}/keyman.db"
    assert run(SAVE, url) == ""
    script = later / "migrations/versions/9998_next.py"
    script.write_text(script.read_text() + '    op.execute("DELETE FROM credentials")\n')
    open_it = "import sys; from keyman.db.journal import Journal; Journal.open(sys.argv[1])"
    assert "would have lost rows" in run(open_it, url, tree=later)
    engine = sqlite.engine(tmp_path / "keyman.db")
    assert current(engine) == migrate.head()
    engine.dispose()


def test_an_installed_wheel_carries_its_migrations(later: Path) -> None:
    (later / "migrations").rename(later / "keyman/_migrations")
    told = run("from keyman.db import migrate; print(migrate.head())", tree=later)
    assert told == "9998\n"


def test_a_program_without_its_migrations_says_so(later: Path) -> None:
    shutil.rmtree(later / "migrations")
    assert "migrations are missing" in run(
        "from keyman.db import migrate; migrate.head()", tree=later
    )


def test_opening_a_finished_journal_does_not_import_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/keyman.db"
    assert run(SAVE, url) == ""
    program = (
        "import sys; from keyman.db.journal import Journal;"
        " Journal.open(sys.argv[1]).check(); print('alembic' in sys.modules)"
    )
    assert run(program, url) == "False\n"


def test_the_switch_for_foreign_keys_is_on_again_afterwards(engine: Engine) -> None:
    migrate.upgrade(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    assert sqlalchemy.inspect(engine).has_table("credentials")
