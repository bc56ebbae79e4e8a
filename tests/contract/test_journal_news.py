"""News in the journal: numbered as they are written, saved with the record they tell of or not."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import pytest

from keyman.core.model import Credential
from keyman.core.news import News
from keyman.db import news as lines
from keyman.db.journal import Journal
from keyman.errors import Conflict
from tests.contract.journal_cases import NOW, SPEC, full, start


def some(number: int) -> News:
    told: News = full(News, number)
    return told


def write(journal: Journal, count: int, *, first: int = 1) -> None:
    for number in range(first, first + count):
        journal.save(journal.load(SPEC)[0], None, told=(some(number),))


def test_nothing_was_ever_told(journal: Journal) -> None:
    assert journal.news(0, 10) == []
    assert journal.news_kept() == (0, 0)


def test_what_is_told_comes_back_in_order_with_its_numbers(journal: Journal) -> None:
    told = (some(1), some(2), News(NOW, "genai", "ok"))
    journal.save(Credential(SPEC), None, told=told)
    write(journal, 1, first=3)
    assert journal.news(0, 10) == list(enumerate((*told, some(3)), 1))
    assert journal.news(2, 1) == [(3, told[2])]
    assert journal.news(4, 10) == []
    assert journal.news_kept() == (1, 4)


def test_a_record_that_was_not_saved_is_not_told_of(journal: Journal) -> None:
    loaded = journal.load(SPEC)[0]
    write(journal, 1)
    with pytest.raises(Conflict):
        journal.save(loaded, None, told=(some(2),))
    assert journal.news(0, 10) == [(1, some(1))]


def test_only_the_newest_are_kept(journal: Journal) -> None:
    told = (some(1),) * (lines.KEPT + 5)
    journal.save(Credential(SPEC), None, told=told)
    assert journal.news_kept() == (6, lines.KEPT + 5)
    assert [number for number, _ in journal.news(0, 2)] == [6, 7]


def test_no_number_is_given_out_twice(journal: Journal, url: str) -> None:
    write(journal, 3)
    journal.forget(SPEC.name)
    with journal._writing() as connection:
        connection.exec_driver_sql("DELETE FROM news")
    journal.close()
    again = Journal.open(url)
    write(again, 1)
    assert again.news_kept() == (4, 4)
    again.close()


def test_after_a_kill_whatever_record_is_there_was_told_of(url: str, tmp_path: Path) -> None:
    """One line a record: as many lines as the record has revisions, whenever the power went."""
    process, pipe = start(save_for_ever, url)
    pipe.recv()
    while (tmp_path / "keyman.db-wal").stat().st_size < 200_000:
        pass
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with closing(Journal.open(url)) as journal:
        numbers = [number for number, _ in journal.news(0, lines.KEPT)]
        assert numbers == list(range(1, journal.load(SPEC)[0].revision + 1))
    assert len(numbers) > 5


def save_for_ever(url: str, pipe: Pipe) -> None:
    journal = Journal.open(url)
    pipe.send("begun")
    number = 0
    while True:
        write(journal, 1, first=(number := number + 1))
