"""The history: entries that are added in the transaction they tell of, each sealed by a hash over
the one before, and never changed.

    hash = SHA-256(the hash before, in hex + the entry's other columns as one JSON array), in hex

Where the chain ends stands in a row of its own, and so does the last entry that was forgotten: what
is kept is a piece of the chain, from there to the end. keyman/audit_verify.py judges all this and
shares no line with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from keyman.core.news import News
from keyman.db.decoding import decoding
from keyman.db.prepared import Prepared
from keyman.db.tables import CHAIN, EPOCH, EVENTS, TICK
from keyman.errors import StoreFailed


@dataclass(frozen=True, slots=True)
class Event:
    """One entry. No field ever carries a secret; a name that is empty means the whole home."""

    at: datetime
    name: str
    kind: str
    by: str = ""
    version: int | None = None
    slot: str | None = None
    reason: str = ""
    detail: str = ""
    took: timedelta | None = None  #: at provider and store; None where nobody was asked


def of_news(one: News, by: str = "") -> Event:
    return Event(one.at, one.name, one.what, by, one.version, one.slot, one.reason)


class Head(NamedTuple):
    """The chain's last entry, or the last one of a part of it."""

    seq: int
    hash: str


class Pruned(NamedTuple):
    """What was forgotten of the chain: so `many` entries, those after `begin` up to `end`."""

    many: int
    begin: Head
    end: Head


KEPT_FOR = timedelta(days=400)
# The newest stay whatever their age, and age is counted from the earliest of them: one wrong clock
# ages nothing before so many entries were written by it. Small enough to keep for ever.
KEPT_AT_LEAST = 1_000
# All credentials together, since only a piece without holes can be verified. One rotation is about
# ten entries and a credential in trouble adds one an hour, so a hundred that fail for two months
# on end fit, or ten thousand rotations: some 50 megabytes.
KEPT_AT_MOST = 200_000
PRUNED = "pruned"
NOTHING_BEFORE = "0" * 64
FIELDS = tuple(field.name for field in fields(Event))
SEALED = ("seq", *FIELDS)

# What is ignored is counted and refused below, whatever the reason was.
_ADD = Prepared(insert(EVENTS).prefix_with("OR IGNORE"), (*SEALED, "hash"))
_HEAD = Prepared(select(CHAIN.c.seq, CHAIN.c.hash))
_GO_ON = Prepared(
    update(CHAIN)
    .where(CHAIN.c.seq == bindparam("was"), CHAIN.c.hash == bindparam("before"))
    .values(seq=bindparam("seq"), hash=bindparam("hash"), count=CHAIN.c.count + bindparam("more"))
)
_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Chain:
    """Adds to it. `head` is where it ended when this process last committed, as a first guess:
    others may have gone on since, and then it is looked up.
    """

    def __init__(self) -> None:
        self.head: Head | None = None

    def write(self, connection: Connection, events: Sequence[Event]) -> Head | None:
        """Its new end, once the transaction is committed; None if there is nothing to add.

        Raises StoreFailed if what stands in the database does not fit together.
        """
        if not events:
            return None
        guess = self.head
        if guess and (head := _add(connection, guess, events)):
            return head
        head = _add(connection, _looked_up(connection), events)
        assert head, "nobody else writes during this transaction"
        return head

    def committed(self, head: Head | None) -> None:
        if head and (self.head is None or head.seq > self.head.seq):
            self.head = head


def _add(connection: Connection, head: Head, events: Sequence[Event]) -> Head | None:
    """None, with nothing written, if the chain does not end there."""
    sealed: list[dict[str, Any]] = []
    before = head
    for event in events:
        values = {"seq": head.seq + 1, **{key: getattr(event, key) for key in FIELDS}}
        head = Head(head.seq + 1, _seal(head.hash, values))
        sealed.append({**values, "hash": head.hash})
    move = {"was": before.seq, "before": before.hash, "seq": head.seq, "hash": head.hash}
    if _GO_ON.run(connection, {**move, "more": len(sealed)}).rowcount != 1:
        return None
    added = sum(_ADD.run(connection, each).rowcount for each in sealed)
    if added != len(sealed):
        raise _does_not_fit("the database does not take what follows its end")
    return head


def _seal(before: str, values: dict[str, Any]) -> str:
    plain = [_plain(values[key]) for key in SEALED]
    return hashlib.sha256(f"{before}{_text(plain)}".encode()).hexdigest()


def _plain(value: Any) -> int | str | None:
    """As the column holds it."""
    if isinstance(value, datetime):
        return (value - EPOCH) // TICK
    if isinstance(value, timedelta):
        return value // TICK
    if value is None or isinstance(value, int | str):
        return value
    raise StoreFailed(f"history takes texts and numbers, no {type(value).__name__}")


def _looked_up(connection: Connection) -> Head:
    found = _HEAD.run(connection, {}).fetchall()
    if len(found) != 1:
        raise _does_not_fit("the row with its end is missing")
    return Head(*found[0])


def _does_not_fit(why: str) -> StoreFailed:
    return StoreFailed(
        f"nothing can be added to the history: {why}",
        hint="somebody changed the journal: `keyman audit verify`; a backup can be restored",
    )


def read(
    connection: Connection, name: str | None, limit: int, since: datetime | None = None
) -> list[tuple[Head, Event]]:
    """The newest so many, oldest first, each with its place in the chain."""
    columns = (EVENTS.c.seq, EVENTS.c.hash, *(EVENTS.c[key] for key in FIELDS))
    wanted = select(*columns).order_by(EVENTS.c.seq.desc()).limit(limit)
    if name is not None:
        wanted = wanted.where(EVENTS.c.name == name)
    if since is not None:
        wanted = wanted.where(EVENTS.c.at >= since)
    found = connection.execute(wanted)
    with decoding():
        newest_first = found.all()
    return [(Head(seq, seal), Event(*rest)) for seq, seal, *rest in reversed(newest_first)]


def prune(
    connection: Connection, now: datetime, most: int = KEPT_AT_MOST, least: int = KEPT_AT_LEAST
) -> Pruned | None:
    """Forget the oldest entries, without a hole; what went, or None if nothing did."""
    end = _last_to_forget(connection, now, most, least)
    if end is None:
        return None
    begin = Head(*connection.execute(select(CHAIN.c.anchor_seq, CHAIN.c.anchor_hash)).one())
    gone = connection.execute(delete(EVENTS).where(EVENTS.c.seq <= end.seq)).rowcount
    kept = {"anchor_seq": end.seq, "anchor_hash": end.hash, "count": CHAIN.c.count - gone}
    connection.execute(update(CHAIN).values(kept))
    return Pruned(gone, begin, end)


def of_pruning(done: Pruned, now: datetime) -> Event:
    """The entry that tells of it."""
    return Event(
        now, "", PRUNED, detail=f"{done.many} entries, up to {done.end.seq}, {done.end.hash}"
    )


def _last_to_forget(connection: Connection, now: datetime, most: int, least: int) -> Head | None:
    """Up to the first that is young enough, and whatever is too much."""
    newest_first = select(EVENTS.c.seq, EVENTS.c.at).order_by(EVENTS.c.seq.desc())
    newest = newest_first.limit(least).subquery()
    earliest = connection.execute(select(func.min(newest.c.at))).scalar_one()
    if earliest is None:
        return None
    young = EVENTS.c.at >= min(now, earliest) - KEPT_FOR
    first_young = connection.execute(select(func.min(EVENTS.c.seq)).where(young)).scalar_one()
    too_much = connection.execute(newest_first.offset(most).limit(1)).first()
    last = max(first_young - 1, too_much.seq if too_much else 0)
    found = connection.execute(
        select(EVENTS.c.seq, EVENTS.c.hash)
        .where(EVENTS.c.seq <= last)
        .order_by(EVENTS.c.seq.desc())
        .limit(1)
    ).one_or_none()
    return Head(*found) if found else None
