"""The judge of the history: whatever was done to the table, by whomever, is seen."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from keyman import audit_verify
from keyman.audit_verify import Pruning, Said, judge, said_in
from keyman.db import audit
from keyman.db.journal import Journal as RealJournal
from tests.contract.journal_cases import NOW
from tests.histories import (
    COLUMNS,
    cut_beginning,
    entry,
    forge,
    forge_pruning,
    in_memory,
    misfit,
    reseal,
    swap,
    write,
)

MANY = 24  # entries

Journal = sqlite3.Connection
Head = tuple[int, str]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal's file, whole, that nobody has open."""
    folder = tmp_path_factory.mktemp("history")
    write(folder, MANY)
    return folder / "keyman.db"


@pytest.fixture
def journal(written: Path) -> Iterator[Journal]:
    """The same to be edited."""
    with closing(in_memory(written)) as made:
        yield made


def end_of(journal: Journal) -> tuple[int, str]:
    found: tuple[int, str] = journal.execute("SELECT seq, hash FROM chain").fetchone()
    return found


def test_what_keyman_wrote_is_whole(journal: Journal) -> None:
    said = judge(journal)
    seq, seal = end_of(journal)
    end = f"{seq}:{seal}"
    assert said == {"entries": MANY, "head": end, "heads": 0, "pruned": 0, "misfit": None}
    every = journal.execute("SELECT seq, hash FROM events").fetchall()
    assert judge(journal, every) == said | {"heads": MANY}


# ------------------------------------------------------------------------------ what was done to it


def test_an_edited_entry(journal: Journal) -> None:
    journal.execute("UPDATE events SET \"by\" = 'nobody' WHERE seq = 7")
    assert judge(journal)["misfit"]["entry"] == 7
    assert misfit(journal) == "edited"


@pytest.mark.parametrize("same", ["CAST(reason AS BLOB)", "CAST(x'ff' AS TEXT)", "reason || x'00'"])
def test_an_entry_of_other_bytes_or_of_another_type(journal: Journal, same: str) -> None:
    journal.execute(f"UPDATE events SET reason = {same} WHERE seq = 7")
    assert (judge(journal)["misfit"]["entry"], misfit(journal)) == (7, "edited")


def test_an_edited_hash(journal: Journal) -> None:
    journal.execute("UPDATE events SET hash = ? WHERE seq = 7", ["ab" * 32])
    assert (judge(journal)["misfit"]["entry"], misfit(journal)) == (7, "edited")


def test_removed_entries(journal: Journal) -> None:
    journal.execute("DELETE FROM events WHERE seq IN (7, 8)")
    assert (judge(journal)["misfit"]["entry"], misfit(journal)) == (9, "removed")


def test_an_inserted_entry(journal: Journal) -> None:
    """Those after it take the next numbers, so what belongs here stands one further."""
    journal.execute("UPDATE events SET seq = seq + 1000 WHERE seq >= 7")
    journal.execute("UPDATE events SET seq = seq - 999 WHERE seq >= 1000")
    journal.execute(
        "INSERT INTO events SELECT 7, at, name, kind, by, version, slot, reason,"
        " detail, took, hash FROM events WHERE seq = 3"
    )
    assert (judge(journal)["misfit"]["entry"], misfit(journal)) == (7, "reordered")


def test_an_entry_in_a_hole(tmp_path: Path) -> None:
    """Numbers may have been left out by what was pruned before there was a chain."""
    write(tmp_path, 3)
    with closing(in_memory(tmp_path / "keyman.db")) as journal:
        journal.execute(
            "INSERT INTO events SELECT 0, at, name, kind, by, version, slot, reason,"
            " detail, took, hash FROM events WHERE seq = 3"
        )
        assert (judge(journal)["misfit"]["entry"], misfit(journal)) == (0, "inserted")


def test_entries_in_another_order(journal: Journal) -> None:
    swap(journal, 5, 19, COLUMNS[1:])
    found = judge(journal)["misfit"]
    assert (found["entry"], found["what"]) == (5, "reordered")
    assert "entry 19" in found["means"]


def test_a_tail_that_was_cut_off(journal: Journal) -> None:
    journal.execute("DELETE FROM events WHERE seq > 20")
    assert (judge(journal)["misfit"]["entry"], misfit(journal)) == (21, "cut")


def test_nothing_left(journal: Journal) -> None:
    journal.execute("DELETE FROM events")
    assert misfit(journal) == "cut"


def test_entries_behind_the_end(journal: Journal) -> None:
    forge(journal, MANY + 1)
    assert misfit(journal) == "end"


def test_a_beginning_that_was_cut_off(journal: Journal) -> None:
    """Even with the row moved along: nobody pruned."""
    cut_beginning(journal, 9)
    assert (judge(journal)["misfit"]["entry"], misfit(journal)) == (10, "beginning")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM chain",
        "INSERT INTO chain SELECT 2, seq, hash, count, anchor_seq, anchor_hash FROM chain",
        "UPDATE chain SET seq = 'x'",
        "UPDATE chain SET hash = x'00'",
    ],
)
def test_a_forged_end(journal: Journal, statement: str) -> None:
    journal.execute(statement)
    assert judge(journal)["head"] is None
    assert misfit(journal) == "end"


def test_a_history_written_anew_fits_but_for_a_head_that_was_kept(journal: Journal) -> None:
    kept = end_of(journal)
    journal.execute("UPDATE events SET detail = 'another' WHERE seq = 12")
    reseal(journal)
    assert misfit(journal) is None
    assert misfit(journal, kept) == "log"
    journal.execute("DELETE FROM events WHERE seq > 20")
    reseal(journal)
    assert misfit(journal) is None
    found = judge(journal, [kept])["misfit"]
    assert (found["entry"], found["what"]) == (MANY, "log")
    assert "tail" in found["means"]


def test_what_was_written_anew_after_the_last_head_is_not_seen(journal: Journal) -> None:
    """This is what the chain does not prove."""
    kept = journal.execute("SELECT seq, hash FROM events WHERE seq = 15").fetchone()
    journal.execute("UPDATE events SET detail = 'another' WHERE seq = 16")
    reseal(journal)
    assert misfit(journal, kept) is None


# ------------------------------------------------------------------------------- what was forgotten

LONG = audit.KEPT_AT_LEAST + 100
WENT = 60  # of them, in two prunings
FIRST: Head = 0, "0" * 64


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Said]]:
    """A long journal before and after keyman pruned it twice, and all that its log says then."""
    folder = tmp_path_factory.mktemp("pruned")
    said: list[Said] = []
    with closing(RealJournal.open(f"sqlite:///{folder}/keyman.db")) as journal:
        journal.note(*map(entry, range(LONG)))
        said += [(head.seq, head.hash) for head, _ in journal.history(limit=LONG)[9::10]]
    shutil.copy(folder / "keyman.db", folder / "before.db")
    with closing(RealJournal.open(f"sqlite:///{folder}/keyman.db")) as journal:
        for most in (LONG - WENT // 2, LONG - WENT + 1):  # one entry tells of the first
            said += prune(journal, most)
            assert journal.head
            said.append((journal.head.seq, journal.head.hash))
    return folder / "before.db", folder / "keyman.db", said


def prune(journal: RealJournal, most: int) -> list[Said]:
    entries: list[audit.Event] = []
    with journal._recording(entries) as connection:
        done = audit.prune(connection, NOW, most)
        assert done
        entries.append(audit.of_pruning(done, NOW))
    begin, end = done.begin, done.end
    return [Pruning(done.many, (begin.seq, begin.hash), (end.seq, end.hash))]


def test_the_judge_knows_how_many_stay() -> None:
    assert audit_verify.STAY == audit.KEPT_AT_LEAST


def head_at(path: Path, seq: int) -> Head:
    with closing(in_memory(path)) as journal:
        asked = "SELECT seq, hash FROM events WHERE seq = ?"
        found: Head = journal.execute(asked, [seq]).fetchone()
        return found


def test_what_keyman_pruned_is_whole_if_all_of_the_log_says_so(
    pruned: tuple[Path, Path, list[Said]],
) -> None:
    _, after, said = pruned
    first, second = (one for one in said if isinstance(one, Pruning))
    assert (first.begin, first.end, second.end[0]) == (FIRST, second.begin, WENT)
    with closing(in_memory(after)) as journal:
        found = judge(journal, said)
        assert (found["heads"], found["pruned"], found["misfit"]) == (106, 6, None)
        heads = [one for one in said if not isinstance(one, Pruning)]
        assert misfit(journal, *heads[6:]) is None, "a log from after that says nothing of it"
        never_done = Pruning(second.many - 5, second.begin, (WENT - 5, "ab" * 32))
        at = said.index(second)
        assert misfit(journal, *said[:at], never_done, *said[at:]) is None, "it was cut short"


def test_what_is_gone_must_have_been_pruned_by_the_log(
    pruned: tuple[Path, Path, list[Said]],
) -> None:
    """After it was there, up to the beginning, and without a gap."""
    _, after, said = pruned
    first, second = (one for one in said if isinstance(one, Pruning))
    for wrong in (
        [one for one in said if not isinstance(one, Pruning)],
        [one for one in said if one != first],
        [one for one in said if one != second],
        [second, first, *(one for one in said if not isinstance(one, Pruning))],
        [second._replace(many=second.many - 1) if one == second else one for one in said],
        [second._replace(end=(WENT, "ab" * 32)) if one == second else one for one in said],
        [(WENT, "ab" * 32), *said],
        [first, said[7]],
    ):
        with closing(in_memory(after)) as journal:
            assert misfit(journal, *wrong) == "log", wrong[:1]


@pytest.mark.parametrize("how", ["what was there", "what was not there", "nothing but itself"])
def test_a_forged_pruning_is_seen_by_the_log(
    pruned: tuple[Path, Path, list[Said]], how: str
) -> None:
    """It fits the rest, and says of itself what keyman's would."""
    before, _, said = pruned
    heads = [one for one in said if not isinstance(one, Pruning)][:-2]
    with closing(in_memory(before)) as journal:
        if how == "what was there":
            forge_pruning(journal, 50)
        else:
            forge_pruning(journal, 5000, "ab" * 32)
        if how == "what was not there":
            lie_anew(journal)
        alone = misfit(journal)
        assert alone == ("beginning" if how == "nothing but itself" else None)
        assert misfit(journal, *heads) == (alone or "log")
        assert misfit(journal, heads[-1]) == (None if how == "what was there" else alone or "log")
        assert misfit(journal, heads[0]) == (alone or "log")


def lie_anew(journal: Journal) -> None:
    """A thousand entries behind that beginning, and then the one that tells of it."""
    told = list(journal.execute(audit_verify.ENTRIES).fetchone())
    begin, before = journal.execute("SELECT anchor_seq, anchor_hash FROM chain").fetchone()
    journal.execute("DELETE FROM events")
    for seq in range(begin + 1, begin + audit_verify.STAY + 2):
        row = [seq, 1, "genai", "promote", "", 9, None, "", "", None, None]
        if seq == begin + audit_verify.STAY + 1:
            row = [seq, *told[1:]]
        before = audit_verify._sealed(before, row)
        journal.execute(f"INSERT INTO events VALUES ({', '.join('?' * 11)})", [*row[:-1], before])
    count = "(SELECT count(*) FROM events)"
    journal.execute(f"UPDATE chain SET seq = ?, hash = ?, count = {count}", [seq, before])


def test_a_forged_pruning_is_seen_though_keyman_pruned_since(
    pruned: tuple[Path, Path, list[Said]],
) -> None:
    before, _, said = pruned
    with closing(in_memory(before)) as journal:
        forge_pruning(journal, 50)
        forge_pruning(journal, 55, count=5)
        assert misfit(journal) is None
        since = Pruning(5, head_at(before, 50), head_at(before, 55))
        assert misfit(journal, *said[:9], since) == "log"
        assert misfit(journal, said[10], since) is None, "the log knows nothing from before"


@pytest.mark.parametrize("count", [0, 49, 51])
def test_a_pruning_that_can_not_have_been(
    pruned: tuple[Path, Path, list[Said]], count: int
) -> None:
    before, _, _ = pruned
    with closing(in_memory(before)) as journal:
        forge_pruning(journal, 10)
        forge_pruning(journal, 60, count=count)
        assert misfit(journal) == "beginning"


# ------------------------------------------------------------------------------------ heads in logs

HEAD = "ab" * 32
OURS = f"audit: entry 57, head {HEAD}"


@pytest.mark.parametrize(
    "line",
    [
        OURS,
        f"2026-11-21 09:00:00,123 INFO    keyman.audit: {OURS}",
        f"Nov 21 09:00:00 host keyman[4711]: 2026-11-21 09:00:00,123 INFO    keyman.audit: {OURS}",
        f'{{"level": "info", "logger": "keyman.audit", "message": "{OURS}"}}',
    ],
)
def test_a_head_is_found_in_every_form_of_the_log(tmp_path: Path, line: str) -> None:
    (tmp_path / "log").write_text(f"something else\n{line}\n")
    assert said_in(tmp_path / "log") == [(57, HEAD)]


GONE = f"audit: pruned 3 entries, after entry 4, {HEAD}, up to entry 7, {'cd' * 32}"


def test_a_pruning_is_found_as_well_and_in_its_place(tmp_path: Path) -> None:
    lines = (OURS, f"2026-11-21 09:00:00,123 INFO    keyman.audit: {GONE}", OURS)
    (tmp_path / "log").write_text("\n".join(lines))
    pruning = Pruning(3, (4, HEAD), (7, "cd" * 32))
    assert said_in(tmp_path / "log") == [(57, HEAD), pruning, (57, HEAD)]


@pytest.mark.parametrize(
    "line",
    [
        f"2026-11-21 09:00:00,123 WARNING keyman.rotator: genai: issue failed: {GONE}",
        GONE.replace("pruned 3", "pruned x"),
        GONE[:-1],
        f"2026-11-21 09:00:00,123 WARNING keyman.rotator: genai: issue failed: {OURS}",
        f"2026-11-21 09:00:00,123 WARNING keyman.rotator: genai: failed: keyman.audit: {OURS}",
        f'{{"logger": "keyman.rotator", "message": "\\"logger\\": \\"keyman.audit\\", {OURS}"}}',
        OURS.replace("57", "x"),
        OURS[:-1],
        f"{OURS}0",
    ],
)
def test_what_only_looks_like_a_head_is_none(tmp_path: Path, line: str) -> None:
    """A provider may write what it likes into its errors."""
    (tmp_path / "log").write_text(f"{line}\n{OURS.replace('57', '58')}\n")
    assert said_in(tmp_path / "log") == [(58, HEAD)]
    (tmp_path / "log").write_text(f"{line}\n")
    with pytest.raises(OSError, match="has no line"):
        said_in(tmp_path / "log")


# --------------------------------------------------------------------------- as a program by itself


def judged(*words: str, alone: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it; `alone`: as a copy in that folder, where nothing of keyman's can be imported."""
    program = Path(audit_verify.__file__)
    if alone:
        program = alone / "judge.py"
        shutil.copy(audit_verify.__file__, program)
    command = [sys.executable, "-I", "-S", str(program), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=alone)


def test_it_stands_alone(written: Path, tmp_path: Path, journal: Journal) -> None:
    seq, seal = end_of(journal)
    (tmp_path / "log").write_text(f"audit: entry {seq}, head {seal}\n")
    done = judged(str(written), "--log", "log", "--head", f"{seq}:{seal}", alone=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    said = f"whole: {MANY} entries; of heads kept elsewhere fit: 2\nhead: {seq}:{seal}\n"
    assert done.stdout == said


def test_it_names_the_misfit_in_two_lines_and_in_json(tmp_path: Path) -> None:
    write(tmp_path, 5)
    path = tmp_path / "keyman.db"
    with closing(sqlite3.connect(path)) as journal, journal:
        journal.execute("DELETE FROM events WHERE seq = 3")
    before = {one: one.stat().st_mtime_ns for one in tmp_path.iterdir()}
    done = judged("--json", str(path))
    said = json.loads(done.stdout)
    assert done.returncode == 1
    assert (said["ok"], said["misfit"]["entry"], said["misfit"]["what"]) == (False, 4, "removed")
    first, second = done.stderr.splitlines()
    assert first == f"keyman: error: {said['error']['message']}"
    assert second == f"keyman: hint: {said['error']['hint']}"
    assert {one: one.stat().st_mtime_ns for one in tmp_path.iterdir()} == before


@pytest.mark.parametrize("what", ["nothing", "garbage", "another", "log"])
def test_what_cannot_be_judged_is_said_in_two_lines(
    written: Path, tmp_path: Path, what: str
) -> None:
    path, log = tmp_path / "it\x1b[2J.db", tmp_path / "l\x1b[2Jog"
    log.write_text("nothing of ours\n")
    if what == "garbage":
        path.write_bytes(b"garbage" * 1000)
    if what == "another":
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("CREATE TABLE news (seq INTEGER)")
    words = [str(written), f"--log={log}"] if what == "log" else [str(path)]
    done = judged(*words)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == ["error", "hint"]
    assert "\x1b" not in done.stderr
    assert not done.stdout
    assert path.exists() == (what in ("garbage", "another"))
