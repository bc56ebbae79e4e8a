"""Random edits of a history, ten thousand where all is run, by who knows how it is made and by who
does not: each is seen by the judge, the former's with the head that a log has.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from keyman.audit_verify import judge
from tests.histories import (
    COLUMNS,
    ODD,
    cut_beginning,
    forge,
    forge_pruning,
    in_memory,
    reseal,
    swap,
    write,
)

MANY = 24  # entries
Journal = sqlite3.Connection
Dice = random.Random


@pytest.mark.parametrize("edits", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_each_is_seen(tmp_path: Path, edits: int) -> None:
    """Half of them in a table without any constraint, as who forges one may make it."""
    write(tmp_path, MANY)
    with (
        closing(in_memory(tmp_path / "keyman.db")) as journal,
        closing(without_constraints(journal)) as loose,
    ):
        kinds = edited_and_judged((journal, loose), edits)
    words = {"edited", "removed", "inserted", "reordered", "cut", "beginning", "end", "log"}
    assert set(kinds) == words
    assert len(kinds) > edits * 0.9  # few change nothing


def edited_and_judged(journals: tuple[Journal, Journal], edits: int) -> list[str]:
    """What was done, in the words of the judge."""
    dice, kinds = Dice(20261121), list[str]()
    truth = journals[0].execute("SELECT seq, hash FROM chain").fetchone()
    whole = contents(journals[0])
    for number in range(edits):
        edited = journals[number % 2]
        edit = dice.choice(SMART if number % 4 == 0 else CRUDE)
        edited.execute("BEGIN")
        with suppress(sqlite3.IntegrityError):
            edit(edited, dice)
        changed = contents(edited) != whole
        found = judge(edited, [truth] if edit in SMART else [])["misfit"]
        assert (found is not None) == changed, (number, edit.__name__, contents(edited))
        if found:
            kinds.append(found["what"])
        edited.execute("ROLLBACK")
    return kinds


def contents(journal: Journal) -> list[Any]:
    """Values and types: a text that becomes the same bytes is an edit."""
    journal.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    rows = journal.execute("SELECT * FROM events ORDER BY seq").fetchall()
    return [*map(repr, rows), *map(repr, journal.execute("SELECT * FROM chain").fetchall())]


def without_constraints(journal: Journal) -> Journal:
    made = sqlite3.connect(":memory:", isolation_level=None)
    for table in ("events", "chain"):
        found = journal.execute(f"SELECT * FROM {table}")
        names = ", ".join(f'"{column[0]}"' for column in found.description)
        made.execute(f"CREATE TABLE {table} ({names})")
        marks = ", ".join("?" * len(found.description))
        made.executemany(f"INSERT INTO {table} VALUES ({marks})", found.fetchall())
    return made


def some(journal: Journal, dice: Dice) -> int:
    """The number of an entry."""
    return int(dice.choice(journal.execute("SELECT seq FROM events").fetchall())[0])


def odd_value(dice: Dice, is_: Any) -> Any:
    near: list[Any] = [f"{is_} ", f"x{is_}"]
    near = [is_ + 1, is_ - 1, -is_, str(is_)] if isinstance(is_, int) else near
    if isinstance(is_, str) and is_:
        place = dice.randrange(len(is_))
        near += [is_[:place] + is_[place + 1 :], is_.swapcase(), is_.encode()]
    return dice.choice([*near, None, 0, 1, 2**60, 0.5, b"", b"\xff", *ODD])


def edit_a_column(journal: Journal, dice: Dice) -> None:
    column, seq = dice.choice(COLUMNS), some(journal, dice)
    is_ = journal.execute(f'SELECT "{column}" FROM events WHERE seq = ?', [seq]).fetchone()[0]
    journal.execute(f'UPDATE events SET "{column}" = ? WHERE seq = ?', [odd_value(dice, is_), seq])


def copy_a_column(journal: Journal, dice: Dice) -> None:
    column, one, other = dice.choice(COLUMNS[1:]), some(journal, dice), some(journal, dice)
    said = f'SELECT "{column}" FROM events WHERE seq = ?'
    journal.execute(f'UPDATE events SET "{column}" = ({said}) WHERE seq = ?', [one, other])


def remove(journal: Journal, dice: Dice) -> None:
    gone = [(some(journal, dice),) for _ in range(dice.randint(1, 5))]
    journal.executemany("DELETE FROM events WHERE seq = ?", gone)


def cut_off(journal: Journal, dice: Dice) -> None:
    end = dice.choice(("seq > ?", "seq >= ?", "seq < ?"))
    journal.execute(f"DELETE FROM events WHERE {end}", [some(journal, dice)])


def insert(journal: Journal, dice: Dice) -> None:
    """A copy of an entry under another number: behind the end, before the beginning, doubled."""
    seq = dice.choice((MANY + 1, 0, -5, MANY + 40, some(journal, dice)))
    rest = ", ".join(f'"{column}"' for column in COLUMNS[1:])
    said = f"SELECT ?, {rest} FROM events WHERE seq = ?"
    journal.execute(f"INSERT INTO events {said}", [seq, some(journal, dice)])


def squeeze_in(journal: Journal, dice: Dice) -> None:
    """An entry between two others, which all move one further."""
    at = some(journal, dice)
    journal.execute("UPDATE events SET seq = -seq WHERE seq >= ?", [at])
    journal.execute("UPDATE events SET seq = 1 - seq WHERE seq < 0")
    rest = ", ".join(f'"{column}"' for column in COLUMNS[1:])
    said = f"SELECT ?, {rest} FROM events WHERE seq = ?"
    journal.execute(f"INSERT INTO events {said}", [at, some(journal, dice)])


def close_up(journal: Journal, dice: Dice) -> None:
    """An entry is removed, and those after it take its number."""
    at = some(journal, dice)
    journal.execute("DELETE FROM events WHERE seq = ?", [at])
    journal.execute("UPDATE events SET seq = -seq WHERE seq > ?", [at])
    journal.execute("UPDATE events SET seq = -seq - 1 WHERE seq < 0")


def swap_two(journal: Journal, dice: Dice) -> None:
    columns = dice.choice((COLUMNS[1:], COLUMNS[1:-1], [dice.choice(COLUMNS[1:])]))
    swap(journal, some(journal, dice), some(journal, dice), columns)


def edit_the_end(journal: Journal, dice: Dice) -> None:
    column = dice.choice(("seq", "hash", "count", "anchor_seq", "anchor_hash"))
    is_ = journal.execute(f"SELECT {column} FROM chain").fetchone()[0]
    entries = journal.execute("SELECT seq, hash FROM events").fetchall()
    likely = dice.choice(entries)[column.endswith("hash")]
    value = dice.choice((likely, odd_value(dice, is_)))
    journal.execute(f"UPDATE chain SET {column} = ?", [value])


def cut_and_edit_the_count(journal: Journal, dice: Dice) -> None:
    """A tail cut off, and the end's row moved, but not wholly."""
    last = some(journal, dice)
    journal.execute("DELETE FROM events WHERE seq > ?", [last])
    journal.execute("UPDATE chain SET count = (SELECT count(*) FROM events)")
    if dice.random() < 0.5:
        journal.execute("UPDATE chain SET seq = ?", [last])


def cut_the_beginning(journal: Journal, dice: Dice) -> None:
    cut_beginning(journal, some(journal, dice))


def forge_a_pruning(journal: Journal, dice: Dice) -> None:
    forge_pruning(journal, some(journal, dice))


def forge_behind(journal: Journal, dice: Dice) -> None:
    forge(journal, MANY + 1)


CRUDE: tuple[Callable[[Journal, Dice], None], ...] = (
    edit_a_column,
    edit_a_column,
    edit_a_column,
    copy_a_column,
    remove,
    cut_off,
    insert,
    squeeze_in,
    close_up,
    swap_two,
    edit_the_end,
    cut_and_edit_the_count,
    cut_the_beginning,
    forge_behind,
)


def rewritten(crude: Callable[[Journal, Dice], None]) -> Callable[[Journal, Dice], None]:
    """By somebody who knows how it is made: all hashes anew, and the end's row with them."""

    def smart(journal: Journal, dice: Dice) -> None:
        crude(journal, dice)
        reseal(journal)

    return smart


SMART = (
    *map(rewritten, (edit_a_column, remove, cut_off, squeeze_in, close_up, swap_two)),
    forge_a_pruning,
)
