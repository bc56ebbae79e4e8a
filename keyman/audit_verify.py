"""Judges the history in a journal: is it the chain that was written, whole and in its order?

    python -m keyman.audit_verify keyman.db --log daemon.log

Stands alone: needs nothing of keyman's and the standard library only, so it may be copied to where
the judging is done. Reads, and changes nothing. The `hash` of an entry is SHA-256 over the hash
before it, in hex, and its other columns as a JSON array without spaces, in UTF-8. Who can write the
journal can make another chain that fits, and a pruning that tells of itself: only what was kept
elsewhere shows that, as the log, which has heads and each pruning.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

ENTRIES = """SELECT seq, at, name, kind, "by", version, slot, reason, detail, took, hash
             FROM events ORDER BY seq"""
CHAIN = "SELECT seq, hash, count, anchor_seq, anchor_hash FROM chain"
KIND, DETAIL = 3, 8  # columns
IN_LOG = re.compile(r"audit: entry (\d{1,18}), head ([0-9a-f]{64})(?![0-9a-f])")
PRUNING = re.compile(
    r"audit: pruned (\d{1,18}) entries, after entry (\d{1,18}), ([0-9a-f]{64}),"
    r" up to entry (\d{1,18}), ([0-9a-f]{64})(?![0-9a-f])"
)
LOGGER = re.compile(r'\bkeyman\.[a-z_]+(?=: |", "message")')  # the first says whose line it is
PRUNED = re.compile(r"(\d{1,18}) entries, up to (\d{1,18}), ([0-9a-f]{64})")
STAY = 1_000  # the newest so many are never pruned
NOTHING_BEFORE = 0, "0" * 64

# Of a file that was changed by hand, SQLite's words may be no text, and its lengths beyond memory.
UNREADABLE = (sqlite3.Error, UnicodeError, MemoryError)

Head = tuple[int, str]  # the number of an entry, and its hash


class Pruning(NamedTuple):
    """As the log tells of one: so `many` entries went, those after `begin` up to `end`."""

    many: int
    begin: Head
    end: Head

    def took(self, head: Head) -> bool:
        seq = head[0]
        return self.begin[0] < seq < self.end[0] or head == self.end


Said = Head | Pruning  # elsewhere, as long as the journal was whole
Row = Sequence[Any]  # of `events`, as selected
Misfit = tuple[int, str, str]  # the entry, what was done in a word, what that means
Misfits = Iterator[Misfit]


def judge(journal: sqlite3.Connection, said: Iterable[Said] = ()) -> dict[str, Any]:
    """The number of `entries`, the `head`, how many `heads` were found of those that were `said`
    elsewhere (in that order), how many were `pruned` since, and the first `misfit`, or None.
    Raises one of UNREADABLE if there is nothing to read.
    """
    journal.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    ends, rows = journal.execute(CHAIN).fetchall(), journal.execute(ENTRIES).fetchall()
    types = [[type(one) for one in end] for end in ends]
    if types != [[int, str, int, int, str]] or not all(type(row[0]) is int for row in rows):
        forged = {"entry": 0, "what": "end", "means": "what says where the history ends is forged"}
        return {"entries": len(rows), "head": None, "heads": 0, "pruned": 0, "misfit": forged}
    seq, seal, count, *begin = ends[0]
    anchor, end, said = (begin[0], begin[1]), (seq, seal), list(said)
    gone = [one for one in said if not isinstance(one, Pruning) and one[0] <= anchor[0]]
    kept = [one for one in said if not isinstance(one, Pruning) and one[0] > anchor[0]]
    misfits = (
        _in_the_chain(rows, anchor, end, count),
        _at_the_beginning(rows, anchor),
        _in_the_log(rows, end, kept),
        _of_prunings(said, anchor),
    )
    misfit = next((one for each in misfits for one in each), None)
    found = {"entries": len(rows), "head": f"{seq}:{seal}", "heads": len(kept), "pruned": len(gone)}
    return found | {"misfit": misfit and dict(zip(("entry", "what", "means"), misfit, strict=True))}


def _in_the_chain(rows: list[Row], begin: Head, end: Head, count: int) -> Misfits:
    before = begin
    for place, row in enumerate(rows):
        if _sealed(before[1], row) != row[-1]:
            yield _explained(rows, row, before, rows[place + 1 : place + 2])
        before = row[0], row[-1]
    if end[0] > before[0]:
        yield before[0] + 1, "cut", f"the history went on to entry {end[0]}: its tail is cut off"
    if (end, count) != (before, len(rows)):
        yield before[0], "end", f"the history ended with entry {end[0]}, of another hash or count"


def _at_the_beginning(rows: list[Row], begin: Head) -> Misfits:
    """It begins where the last pruning ended, and each was one that keyman may have done."""
    last, before = NOTHING_BEFORE, 0 if begin[0] == 0 else None
    for row in rows:
        if row[KIND] != "pruned":
            continue
        told = PRUNED.fullmatch(str(row[DETAIL]))
        count, last = (int(told[1]), (int(told[2]), told[3])) if told else (0, last)
        went = last[0] if before is None else last[0] - before
        if not 0 < count <= went or (before is not None and count != went):
            yield row[0], "beginning", "it tells of a pruning of entries that there never were"
        if row[0] - 1 - last[0] < STAY:
            yield row[0], "beginning", f"it tells of a pruning of some of the newest {STAY}"
        before = last[0]
    if begin != last:
        yield begin[0] + 1, "beginning", "no entry tells of such a pruning: what was before is cut"


def _in_the_log(rows: list[Row], end: Head, kept: Iterable[Head]) -> Misfits:
    known = {row[0]: row[-1] for row in rows}
    back = [f"; entry {r[0]} says: backup restored" for r in rows if r[KIND] == "backup restored"]
    for seq, seal in sorted(kept):
        if known.get(seq) != seal:
            how = "the tail is cut off" if seq > end[0] else "the history was rewritten"
            yield seq, "log", f"another head was kept of it: {how}{''.join(back[-1:])}"


def _of_prunings(said: Sequence[Said], begin: Head) -> Misfits:
    """What is gone was pruned after it was said to be there, and nothing else was."""
    later: list[Pruning] = []
    for one in reversed(said):
        if isinstance(one, Pruning):
            later.append(one)
        elif one[0] <= begin[0] and not any(pruning.took(one) for pruning in later):
            yield one[0], "log", "it is gone, and no log that was given tells of its pruning"
    for pruning in later:
        if pruning.many != pruning.end[0] - pruning.begin[0]:
            yield pruning.end[0], "log", "when it was pruned, entries before it were missing"
    firsts = (one.begin[0] if isinstance(one, Pruning) else one[0] - 1 for one in said)
    oldest = min(firsts, default=begin[0])
    if oldest < begin[0] and begin not in [pruning.end for pruning in later]:
        yield (
            begin[0],
            "log",
            "it begins after this, and the log tells of no pruning that ended here",
        )


def _sealed(before: str, row: Row, seq: int | None = None) -> str:
    plain = [row[0] if seq is None else seq, *row[1:-1]]
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"), default=repr)
    return hashlib.sha256(f"{before}{text}".encode("utf-8", "surrogatepass")).hexdigest()


def _explained(rows: list[Row], row: Row, before: Head, after: list[Row]) -> Misfit:
    """What must have been done where an entry does not follow from the one before."""
    for other in rows:
        if other is not row and _sealed(before[1], other, row[0]) in (other[-1], row[-1]):
            return row[0], "reordered", f"what belongs here stands at entry {other[0]}"
    if any(_sealed(before[1], one) == one[-1] for one in after):
        return row[0], "inserted", "the entry after it follows from the one before it"
    if row[0] > before[0] + 1 and all(_sealed(row[-1], one) == one[-1] for one in after):
        return row[0], "removed", f"what stood between entry {before[0]} and this one is gone"
    return row[0], "edited", "it, its hash or the hash before was changed after it was written"


def said_in(log: Path) -> list[Said]:
    """What a log of the daemon's says; text of others' in it can't pose as that. Raises OSError."""
    said: list[Said] = []
    for line in log.read_text(errors="replace").split("\n"):
        found = IN_LOG.search(line) or PRUNING.search(line)
        logger = LOGGER.search(line[: found.start()]) if found else None
        if found and (logger is None or logger[0] == "keyman.audit"):
            said.append(_as_said(found))
    if not said:
        raise OSError(f"{log} has no line that says `audit: entry N, head HEX`")
    return said


def _as_said(found: re.Match[str]) -> Said:
    if found.re is IN_LOG:
        return int(found[1]), found[2]
    return Pruning(int(found[1]), (int(found[2]), found[3]), (int(found[4]), found[5]))


def verify(path: Path, said: Iterable[Said]) -> dict[str, Any]:
    """The same of a file that others may be writing to. Raises sqlite3.Error."""
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    address = f"file:{quote(str(path.absolute()))}?{how}"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as journal:
        journal.execute("BEGIN")  # both tables as of one moment
        return judge(journal, said)


def head(text: str) -> Head:
    seq, _, seal = text.partition(":")
    return int(seq), seal.lower()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("keyman audit verify", description="Is the history whole?")
    parser.add_argument("journal", type=Path)
    parser.add_argument("--log", type=Path, help="the daemon's, whole: what it says is looked for")
    parser.add_argument("--head", type=head, action="append", default=[], metavar="N:HEX")
    parser.add_argument("--json", action="store_true")
    asked, said, wrong = parser.parse_args(arguments), dict[str, Any](), ""
    hint = "leave the file as it is, and compare it with a backup: docs/audit.md"
    try:  # the log first, since the history goes on meanwhile
        said = verify(asked.journal, [*asked.head, *(said_in(asked.log) if asked.log else ())])
        wrong = "entry {entry}: {what}: {means}".format(**said["misfit"]) if said["misfit"] else ""
    except (OSError, *UNREADABLE) as error:
        wrong, hint = (
            f"it can't be judged: {str(error) or type(error).__name__}",
            "name keyman's journal, and the daemon's log",
        )
    if wrong:
        print(f"keyman: error: {ascii(wrong)[1:-1]}\nkeyman: hint: {hint}", file=sys.stderr)
        said["error"] = {"code": "store_failed", "message": wrong, "hint": hint}
    if asked.json:
        print(json.dumps({"ok": not wrong, **said}))
    elif not wrong:
        fit = f"; of heads kept elsewhere fit: {said['heads']}" if asked.log or asked.head else ""
        since = f"; were pruned since: {said['pruned']}" if said["pruned"] else ""
        print("whole: {entries} entries".format(**said) + fit + since)
        print("head: {head}".format(**said))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
