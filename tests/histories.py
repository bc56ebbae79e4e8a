"""Histories to judge: written by the real journal, then read, and forged, with Python's own SQLite,
as the judge reads them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from keyman import audit_verify
from keyman.audit_verify import Said, judge
from keyman.core.model import Credential
from keyman.db.journal import Event, Head, Journal
from tests.blank_journal import lay_down
from tests.contract.journal_cases import MINUTE, NOW, SPEC, full

COLUMNS = [
    *("seq", "at", "name", "kind", "by", "version", "slot", "reason", "detail", "took", "hash")
]
ODD = ("", "'", '"', "\\", "\n", "\x00", "\x7f", "\u2028", "é☂𝄞", "null", "1", "[]", "\x1b[2J")


def entry(number: int) -> Event:
    """One with something in every column, or with nothing in any that may be empty."""
    at = NOW + number * MINUTE
    if number % 3 == 0:
        return Event(at, "", f"kind {number % 4}")
    odd = ODD[number % len(ODD)]
    made: Event = full(
        Event,
        number,
        at=at,
        name="genai",
        detail=f"detail {number}{odd}",
        took=timedelta(microseconds=number * 1_000_001),
    )
    return made


def write(folder: Path, many: int = 24) -> Head:
    """A journal with that many entries, in transactions of different sizes; where it ends."""
    with closing(Journal.open(lay_down(folder / "keyman.db"))) as journal:
        credential, written = journal.load(SPEC)[0], 0
        while written < many:
            size = 1 + written % 3
            entries = [entry(number) for number in range(written, min(many, written + size))]
            credential = journal.save(credential, None, events=entries)
            written += size
        head = journal.head
    assert head
    assert isinstance(credential, Credential)
    return head


def in_memory(path: Path) -> sqlite3.Connection:
    """A copy to edit, of a journal that nobody has open."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as there:
        there.backup(made)
    return made


def misfit(journal: sqlite3.Connection, *said: Said) -> str | None:
    """What the judge says was done, in its word; None if nothing."""
    found = judge(journal, said)["misfit"]
    return found["what"] if found else None


def misfit_in(path: Path, *said: Said) -> str | None:
    with closing(in_memory(path)) as journal:
        return misfit(journal, *said)


# What somebody may do to one.


def swap(journal: sqlite3.Connection, one: int, other: int, columns: list[str]) -> None:
    names = ", ".join(f'"{column}"' for column in columns)
    asked = f"SELECT {names} FROM events WHERE seq = ?"
    found = [journal.execute(asked, [seq]).fetchone() for seq in (one, other)]
    marks = ", ".join(f'"{column}" = ?' for column in columns)
    for seq, values in zip((other, one), found, strict=True):
        journal.execute(f"UPDATE events SET {marks} WHERE seq = ?", [*values, seq])


def cut_beginning(journal: sqlite3.Connection, last: int) -> None:
    seal = journal.execute("SELECT hash FROM events WHERE seq = ?", [last]).fetchone()[0]
    journal.execute("DELETE FROM events WHERE seq <= ?", [last])
    count = "(SELECT count(*) FROM events)"
    journal.execute(
        f"UPDATE chain SET anchor_seq = ?, anchor_hash = ?, count = {count}", [last, seal]
    )


def forge_pruning(
    journal: sqlite3.Connection, last: int, seal: str | None = None, count: int | None = None
) -> None:
    """All up to there is gone, and an entry behind the end tells of it, as keyman's would; what
    stood there need not have been, if there is a `seal`.
    """
    if seal is None:
        [seal] = journal.execute("SELECT hash FROM events WHERE seq = ?", [last]).fetchone()
    end, before = journal.execute("SELECT seq, hash FROM chain").fetchone()
    if last >= end:
        end, before = last, seal
    journal.execute("DELETE FROM events WHERE seq <= ?", [last])
    detail = f"{last if count is None else count} entries, up to {last}, {seal}"
    values = [end + 1, 1, "", "pruned", "", None, None, "", detail, None]
    head = audit_verify._sealed(before, [*values, None])
    journal.execute(f"INSERT INTO events VALUES ({', '.join('?' * 11)})", [*values, head])
    journal.execute(
        "UPDATE chain SET seq = ?, hash = ?, count = (SELECT count(*) FROM events),"
        " anchor_seq = ?, anchor_hash = ?",
        [end + 1, head, last, seal],
    )


def forge(journal: sqlite3.Connection, seq: int) -> None:
    """An entry that fits behind the last one."""
    values = [seq, 1, "genai", "promote", "", 9, None, "", "", None]
    [before] = journal.execute("SELECT hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    seal = audit_verify._sealed(before, [*values, None])
    journal.execute(f"INSERT INTO events VALUES ({', '.join('?' * 11)})", [*values, seal])


def reseal(journal: sqlite3.Connection) -> None:
    before, last = "0" * 64, 0
    for row in journal.execute(audit_verify.ENTRIES).fetchall():
        before, last = audit_verify._sealed(before, row), row[0]
        journal.execute("UPDATE events SET hash = ? WHERE seq = ?", [before, last])
    count = "(SELECT count(*) FROM events)"
    journal.execute(f"UPDATE chain SET seq = ?, hash = ?, count = {count}", [last, before])
