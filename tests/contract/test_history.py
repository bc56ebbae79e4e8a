"""The history in a real file: in one transaction with what it tells of, or neither; and a chain
that the judge follows, whoever wrote it, whatever was pruned, restored or migrated.
"""

from __future__ import annotations

import resource
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text

from keyman.audit_verify import Pruning
from keyman.core.model import Credential
from keyman.core.news import News
from keyman.db import audit, migrate, sqlite
from keyman.db.copying import copy_to, end_of_history
from keyman.db.journal import Event, Head, Journal, Pruned
from keyman.errors import Conflict, Error, StoreFailed
from tests.contract.journal_cases import MINUTE, NOW, SPEC, look, start
from tests.histories import COLUMNS, cut_beginning, in_memory, misfit, misfit_in

YOUNG, OLD = NOW, NOW - audit.KEPT_FOR - MINUTE


def at(*moments: object, kind: str = "turn") -> list[Event]:
    return [Event(moment, "genai", kind, version=n) for n, moment in enumerate(moments, 1)]  # type: ignore[arg-type]


def kinds(journal: Journal, limit: int = 1000) -> list[str]:
    return [event.kind for event in journal.events(limit=limit)]


def test_entries_are_numbered_without_a_gap_and_say_where_the_chain_is(journal: Journal) -> None:
    saved = journal.save(Credential(SPEC), None, events=at(NOW, NOW))
    first = journal.head
    journal.save(saved, None)  # nothing happened
    assert journal.head == first
    journal.note(*at(NOW, kind="noted"))
    heads = [head for head, _ in journal.history()]
    assert [head.seq for head in heads] == [1, 2, 3]
    assert [heads[1], heads[2]] == [first, journal.head]


def test_how_long_a_step_took_is_kept(journal: Journal) -> None:
    took = timedelta(seconds=1, microseconds=234567)
    journal.note(replace(Event(NOW, "genai", "issue"), took=took))
    assert journal.events()[-1].took == took


def test_what_was_not_written_leaves_no_trace_in_the_chain(
    journal: Journal, tmp_path: Path
) -> None:
    saved = journal.save(Credential(SPEC), None, events=at(NOW))
    for _ in range(3):
        with pytest.raises(Conflict):
            journal.save(Credential(SPEC), None, events=at(NOW, kind="lie"))
    journal.save(saved, None, events=at(NOW, kind="truth"))
    assert kinds(journal) == ["turn", "truth"]
    journal.close()
    assert misfit_in(tmp_path / "keyman.db") is None


# ----------------------------------------------------------------------------- it can't be written

REFUSES = "CREATE TRIGGER closed BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'full'); END"
SWALLOWS = "CREATE TRIGGER closed BEFORE INSERT ON events BEGIN SELECT RAISE(IGNORE); END"


@pytest.mark.parametrize("trigger", [REFUSES, SWALLOWS])
def test_without_its_history_nothing_is_written(
    journal: Journal, tmp_path: Path, trigger: str
) -> None:
    saved = journal.save(Credential(SPEC), None, events=at(NOW))
    look(tmp_path, trigger)
    told = News(NOW, "genai", "promoted")
    with pytest.raises(StoreFailed):
        journal.save(replace(saved, failures=7), None, events=at(NOW), told=[told])
    with pytest.raises(StoreFailed):
        journal.forget("genai", at(NOW))
    with pytest.raises(StoreFailed):
        journal.note(*at(NOW))
    assert journal.load(SPEC)[0] == saved
    assert journal.news(0, 10) == []
    look(tmp_path, "DROP TRIGGER closed")
    journal.save(replace(saved, failures=7), None, events=at(NOW))
    journal.close()
    assert misfit_in(tmp_path / "keyman.db") is None


def test_an_entry_that_was_not_committed_is_not_the_end(journal: Journal, tmp_path: Path) -> None:
    """Else the log would tell of one that there never was."""
    journal.note(*at(NOW))
    head = journal.head
    look(tmp_path, "CREATE TABLE strays (id REFERENCES chain (id) DEFERRABLE INITIALLY DEFERRED)")
    look(
        tmp_path,
        "CREATE TRIGGER late AFTER INSERT ON events BEGIN INSERT INTO strays VALUES (9); END",
    )
    with pytest.raises(StoreFailed, match="FOREIGN KEY"):
        journal.note(*at(NOW))
    assert journal.head == head
    look(tmp_path, "DROP TRIGGER late")
    journal.note(*at(NOW))
    assert [head.seq for head, _ in journal.history()] == [1, 2]


@pytest.mark.parametrize(
    "done",
    [
        "DELETE FROM chain",
        "UPDATE chain SET seq = 1",
        "UPDATE events SET seq = 3 WHERE seq = 2",
    ],
)
def test_nothing_is_added_to_what_does_not_fit(
    journal: Journal, url: str, tmp_path: Path, done: str
) -> None:
    journal.note(*at(NOW, NOW))
    look(tmp_path, done)
    with closing(Journal.open(url)) as other:
        for each in (journal, other):
            with pytest.raises(StoreFailed) as refused:
                each.note(*at(NOW))
            assert "keyman audit verify" in refused.value.hint


def test_a_disk_that_is_full_stops_changes_and_no_reader(
    journal: Journal, url: str, tmp_path: Path
) -> None:
    """The system itself refuses to let the file grow, in the middle of a commit."""
    saved = journal.save(Credential(SPEC), None, events=at(NOW))
    process, pipe = start(write_on_a_full_disk, url, tmp_path)
    assert pipe.recv() == ["StoreFailed", saved, "StoreFailed", "written"]
    process.join()
    assert kinds(journal) == ["turn", "after"]
    journal.close()
    assert misfit_in(tmp_path / "keyman.db") is None


def write_on_a_full_disk(url: str, folder: Path, pipe: Pipe) -> None:
    seen: list[object] = []
    with closing(Journal.open(url, migrate=False)) as journal:
        credential = journal.load(SPEC)[0]
        full = (folder / "keyman.db-wal").stat().st_size
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, most))
        seen += [attempt(journal, credential), journal.load(SPEC)[0]]
        seen.append(attempt(journal, credential))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        seen.append(attempt(journal, credential))
    pipe.send(seen)


def attempt(journal: Journal, credential: Credential) -> str:
    try:
        journal.save(replace(credential, failures=7), None, events=at(NOW, kind="after"))
    except Error as error:
        return type(error).__name__
    return "written"


def test_it_is_known_whether_it_could_be_written_when_that_was_tried_last(
    journal: Journal, tmp_path: Path
) -> None:
    saved = journal.save(Credential(SPEC), None)
    assert not recorded(journal), "nothing was written into it so far"
    journal.note(*at(NOW))
    with pytest.raises(Conflict):
        journal.save(Credential(SPEC), None, events=at(NOW))
    assert recorded(journal), "somebody else was first: that is no trouble"
    look(tmp_path, REFUSES)
    with pytest.raises(StoreFailed):
        journal.note(*at(NOW))
    assert not recorded(journal)
    look(tmp_path, "DROP TRIGGER closed")
    saved = journal.save(saved, None)
    assert not recorded(journal), "a record without an entry says nothing of the history"
    journal.save(saved, None, events=at(NOW))
    assert recorded(journal)


def recorded(journal: Journal) -> bool:
    """As it is now."""
    return journal.recorded


# ------------------------------------------------------------------------------------ who writes it


def test_two_processes_write_one_chain(journal: Journal, url: str, tmp_path: Path) -> None:
    workers = [start(write_some, url, which) for which in ("one", "other")]
    for number in range(20):
        journal.note(Event(NOW, "ours", f"{number}"))
    for process, pipe in workers:
        assert pipe.recv() == "written"
        process.join()
    events = journal.events(limit=1000)
    assert len(events) == 60
    for name in ("ours", "one", "other"):
        assert [e.kind for e in events if e.name == name] == [f"{n}" for n in range(20)]
    journal.close()
    assert misfit_in(tmp_path / "keyman.db") is None


def write_some(url: str, name: str, pipe: Pipe) -> None:
    with closing(Journal.open(url, migrate=False)) as journal:
        for number in range(20):
            journal.note(Event(NOW, name, f"{number}"))
    pipe.send("written")


def test_of_two_journals_of_one_file_each_goes_on_where_the_other_ended(
    journal: Journal, url: str
) -> None:
    with closing(Journal.open(url)) as other:
        for _ in range(3):
            journal.note(*at(NOW))
            other.note(*at(NOW))
        assert [head.seq for head, _ in journal.history()] == [1, 2, 3, 4, 5, 6]
        assert other.head == journal.history()[-1][0]


# ------------------------------------------------------------------------------- what is forgotten


STAY = audit.KEPT_AT_LEAST


def test_what_is_old_is_forgotten_up_to_the_first_that_is_not(
    journal: Journal, tmp_path: Path
) -> None:
    """Else there would be holes in the chain."""
    journal.note(*at(OLD, OLD, YOUNG, OLD, *[YOUNG] * STAY))
    before = [head for head, _ in journal.history(limit=2 * STAY)]
    told = pruned(journal, NOW)
    assert [head for head, _ in journal.history(limit=2 * STAY)][:-1] == before[2:]
    entry = journal.events()[-1]
    assert (entry.kind, entry.detail) == ("pruned", f"2 entries, up to 2, {before[1].hash}")
    assert told == [Pruned(2, Head(0, "0" * 64), before[1])]
    assert pruned(journal, NOW) == []  # nothing more to do, nothing to tell
    assert len(kinds(journal, 2 * STAY)) == STAY + 3
    again = pruned(journal, NOW + audit.KEPT_FOR + MINUTE)
    assert again == [], "the newest stay"
    journal.close()
    assert misfit_in(tmp_path / "keyman.db", *before[2:]) is None
    assert misfit_in(tmp_path / "keyman.db", *before, *in_the_log(told)) is None


def test_so_many_are_kept_over_all(journal: Journal, tmp_path: Path) -> None:
    journal.note(*at(*[YOUNG] * (STAY + 10)))
    assert [one.end.seq for one in pruned(journal, NOW, most=STAY + 4)] == [6]
    assert [one.begin.seq for one in pruned(journal, NOW, most=STAY + 4)] == [6]
    kept = [e.version for e in journal.events(limit=2 * STAY)]
    assert (kept[0], kept[-2:]) == (8, [None, None])
    journal.close()
    assert misfit_in(tmp_path / "keyman.db") is None


def test_a_wrong_clock_forgets_nothing_before_it_has_written_very_many(journal: Journal) -> None:
    """Whichever way it was wrong, and however often keyman was started by it."""
    journal.note(*at(*[YOUNG] * 50))
    far = NOW + 10 * audit.KEPT_FOR
    for wrong in (far, far, NOW - 10 * audit.KEPT_FOR):
        journal.note(Event(wrong, "", "daemon started"))
        assert pruned(journal, wrong) == []
    journal.note(*at(*[far] * (STAY - 4)))
    assert pruned(journal, far) == [], "the one of long ago is among the newest still"
    journal.note(*at(*[far] * 5))
    assert [one.end.seq for one in pruned(journal, far)] == [50]


def test_it_is_told_before_it_is_gone(journal: Journal, tmp_path: Path) -> None:
    """Who ends in between must not have pruned in silence."""
    journal.note(*at(OLD, *[YOUNG] * STAY))
    seen: list[object] = []

    def tell(_: Pruned) -> None:
        seen.extend(look(tmp_path, "SELECT count(*), (SELECT anchor_seq FROM chain) FROM events"))
        raise ConnectionError("the log's pipe is broken")

    with pytest.raises(ConnectionError):
        journal.prune(NOW, tell)
    assert seen == [(STAY + 1, 0)]
    assert len(kinds(journal, 2 * STAY)) == STAY + 1


def test_an_entry_that_was_pruned_by_somebody_else_is_missed(
    journal: Journal, tmp_path: Path
) -> None:
    journal.note(*at(OLD, OLD, *[YOUNG] * STAY))
    pruned(journal, NOW)
    journal.close()
    with closing(in_memory(tmp_path / "keyman.db")) as forged:
        cut_beginning(forged, 4)
        assert misfit(forged) == "beginning"


def pruned(journal: Journal, now: datetime, most: int = audit.KEPT_AT_MOST) -> list[Pruned]:
    """What was told of while it pruned."""
    told: list[Pruned] = []
    if most == audit.KEPT_AT_MOST:
        journal.prune(now, told.append)
        return told
    entries: list[Event] = []
    with journal._recording(entries) as connection:
        done = audit.prune(connection, now, most)
        if done:
            told.append(done)
            entries.append(audit.of_pruning(done, now))
    return told


def in_the_log(told: list[Pruned]) -> list[Pruning]:
    return [
        Pruning(one.many, (one.begin.seq, one.begin.hash), (one.end.seq, one.end.hash))
        for one in told
    ]


def test_the_newest_since_then(journal: Journal) -> None:
    journal.note(*at(NOW - 3 * MINUTE, NOW - 2 * MINUTE, NOW - MINUTE, NOW))
    journal.note(Event(NOW, "other", "turn"))
    found = journal.history("genai", 10, NOW - 2 * MINUTE)
    assert [event.version for _, event in found] == [2, 3, 4]
    assert [event.version for _, event in journal.history("genai", 2)] == [3, 4]


# --------------------------------------------------------------------------- copies and migrations


def test_a_copy_goes_on_where_it_was_taken(journal: Journal, url: str, tmp_path: Path) -> None:
    journal.note(*at(NOW, NOW))
    copy_to(url, tmp_path / "copy.db")
    journal.note(*at(NOW))
    with closing(Journal.open(f"sqlite:///{tmp_path}/copy.db")) as copy:
        copy.note(Event(NOW, "", "backup restored"), *at(NOW))
        lost, other = journal.head, copy.head
    assert lost
    assert other
    assert misfit_in(tmp_path / "copy.db", other) is None
    with closing(in_memory(tmp_path / "copy.db")) as judged:
        assert misfit(judged, lost) == "log"


def test_where_a_history_ends_by_the_word_of_its_file(
    journal: Journal, url: str, tmp_path: Path
) -> None:
    assert end_of_history(url) == Head(0, "0" * 64)
    journal.note(*at(NOW))
    ended = journal.head
    journal.close()
    assert end_of_history(url) == ended
    look(tmp_path, "UPDATE chain SET hash = 'x\x1b[2J'")
    assert end_of_history(url) is None
    (tmp_path / "garbage.db").write_bytes(b"garbage" * 1000)
    for name in ("garbage.db", "nothing.db"):
        assert end_of_history(f"sqlite:///{tmp_path}/{name}") is None


@pytest.mark.parametrize("earlier", migrate.revisions()[: migrate.revisions().index("0006")])
@pytest.mark.parametrize("many", [0, 1, 12])
def test_what_an_earlier_schema_knew_is_chained(tmp_path: Path, earlier: str, many: int) -> None:
    """With the holes that pruning left in it then."""
    path = tmp_path / "keyman.db"
    sqlite.make_file(path)
    engine = sqlite.engine(path)
    rows = [
        (3 * n + 7, n, "genai", "☂'\"\n\x00", "uid 0", n, None, "", f"{n}") for n in range(many)
    ]
    names = ", ".join(f'"{name}"' for name in COLUMNS[:9])
    with sqlite.writing(engine).begin() as connection:
        command.upgrade(migrate.config(connection), earlier)
        for row in rows:
            marks = ", ".join(f":{at}" for at in COLUMNS[:9])
            values = dict(zip(COLUMNS, row, strict=False))
            connection.execute(text(f"INSERT INTO events ({names}) VALUES ({marks})"), values)
    engine.dispose()
    with closing(Journal.open(f"sqlite:///{path}")) as journal:
        assert [event.detail for event in journal.events()] == [row[-1] for row in rows]
        journal.note(*at(NOW))
        head = journal.head
    assert head
    assert head.seq == many + 1
    assert misfit_in(path, head) is None
    look(tmp_path, "UPDATE events SET \"by\" = '' WHERE seq = (SELECT min(seq) FROM events)")
    if many:
        assert misfit_in(path) == "edited"


def test_no_secret_and_nothing_odd_is_sealed(journal: Journal) -> None:
    with pytest.raises(Error):
        journal.note(Event(NOW, "genai", "turn", detail=object()))  # type: ignore[arg-type]
    assert journal.events() == []
