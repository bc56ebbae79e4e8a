"""Who may advance a credential: one owner at a time, each with a fence number of its own.

The fence grows with every change of owner, so a write that still carries an older one is known
to come from an owner that lost its lease. Each function runs inside the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, exists, insert, select, update

from keyman.db.prepared import Prepared
from keyman.db.tables import EPOCH, LEASES

LONG_AGO = EPOCH
_COLUMNS = ("owner", "home", "fence", "lease_until", "released")
_THIS = LEASES.c.name == bindparam("of_name")
# FOR UPDATE says nothing on SQLite, whose writers exclude each other anyway.
_READ = Prepared(select(LEASES).where(_THIS).with_for_update())
_ADD = Prepared(insert(LEASES), ("name", *_COLUMNS))
_CHANGE = Prepared(update(LEASES).where(_THIS), _COLUMNS)
_RELEASE = Prepared(
    update(LEASES).where(_THIS, LEASES.c.fence == bindparam("of_fence")),
    ("lease_until", "released"),
)
Terms = dict[str, Any]  # the values that `held` is asked with


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to advance one credential until it runs out or is released."""

    name: str
    owner: str
    fence: int
    clean: bool  #: the owner before released it, or there was none, or it was us


def take(
    connection: Connection, name: str, owner: str, home: str, ttl: timedelta, now: datetime
) -> Lease | None:
    found = _READ.rows(connection, {"of_name": name})
    row = {"owner": owner, "home": home, "lease_until": now + ttl, "released": False}
    if not found:
        _ADD.run(connection, {"name": name, "fence": 1, **row})
        return Lease(name, owner, 1, clean=True)
    before = found[0]
    ours = before["owner"] == owner
    if not ours and not before["released"] and before["lease_until"] > now:
        return None
    fence = before["fence"] if ours else before["fence"] + 1
    _CHANGE.run(connection, {"of_name": name, "fence": fence, **row})
    return Lease(name, owner, fence, clean=ours or before["released"])


def release(connection: Connection, lease: Lease) -> None:
    ended = {"lease_until": LONG_AGO, "released": True}
    _RELEASE.run(connection, {"of_name": lease.name, "of_fence": lease.fence, **ended})


def void(connection: Connection, home: str | None) -> None:
    """End the leases of that home's dead owners, of every home's with None; who takes one next
    learns that it wasn't clean.
    """
    abandoned = ~LEASES.c.released if home is None else (LEASES.c.home == home) & ~LEASES.c.released
    connection.execute(update(LEASES).where(abandoned), {"lease_until": LONG_AGO})


def end(connection: Connection, name: str) -> None:
    """Nobody holds it any more, and whoever thought so is fenced out."""
    ended = {"fence": LEASES.c.fence + 1, "lease_until": LONG_AGO, "released": True}
    connection.execute(update(LEASES).where(LEASES.c.name == name).values(ended))


def held() -> ColumnElement[bool]:
    """SQL: on these `Terms`, the lease still stands."""
    mine = (LEASES.c.name == bindparam("of_name")) & (LEASES.c.fence == bindparam("fence"))
    return exists().where(mine & (LEASES.c.lease_until > bindparam("now")))


def terms(lease: Lease, now: datetime) -> Terms:
    return {"of_name": lease.name, "fence": lease.fence, "now": now}
