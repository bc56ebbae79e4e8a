"""Who may look up over the network: names, what each may look up, and digests of their tokens.

The tokens themselves are never seen here. A name whose token was revoked may be given a new one;
until then its row stays, and says when it ended.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, case, delete, insert, literal, select, update

from keyman.db.decoding import decoding
from keyman.db.tables import CLIENTS, Moment
from keyman.errors import Conflict, NotFound

EVERY = "*"  #: as the only grant: every name that there is or will be


@dataclass(frozen=True, slots=True)
class Client:
    name: str
    digest: str = field(repr=False)  #: SHA-256 of the token, in hex
    grants: tuple[str, ...]  #: the names it may look up, or EVERY
    created_at: datetime
    used_at: datetime | None = None  #: within a minute
    revoked_at: datetime | None = None


def every(connection: Connection) -> list[Client]:
    """All that were ever added, sorted by name; those with `revoked_at` may not ask any more."""
    found = connection.execute(select(CLIENTS).order_by(CLIENTS.c.name))
    with decoding():
        return [_client(row) for row in found]


def add(connection: Connection, client: Client) -> Client:
    """Raises Conflict if the name has a token that was not revoked, or if this token was given to
    anybody before; the same client twice is one.
    """
    known = _find(connection, client.name)
    if known and known.revoked_at is None:
        if (known.digest, known.grants) == (client.digest, client.grants):
            return known
        raise Conflict(
            f"there is a client {client.name} already",
            hint=f"`keyman client revoke {client.name}` ends its token, then add it again",
        )
    if connection.execute(select(CLIENTS).where(CLIENTS.c.digest == client.digest)).first():
        raise Conflict("this token was given to somebody before", hint="make another one")
    connection.execute(delete(CLIENTS).where(CLIENTS.c.name == client.name))
    values = {**asdict(client), "grants": " ".join(client.grants)}
    connection.execute(insert(CLIENTS), values)
    return client


def revoke(connection: Connection, name: str, at: datetime) -> tuple[Client, bool]:
    """The client as it is now, and whether it was not revoked before. Raises NotFound."""
    known = _find(connection, name)
    if known is None:
        raise NotFound(f"no client {name!r}", hint="`keyman client list` shows them")
    if known.revoked_at is not None:
        return known, False
    ended = update(CLIENTS).where(CLIENTS.c.name == name)
    connection.execute(ended, {"revoked_at": at})
    found = _find(connection, name)
    assert found, "it was there a moment ago, in this transaction"
    return found, True


def used(connection: Connection, digests: Collection[str], at: datetime) -> None:
    """These tokens were shown until now; one that has ended meanwhile, until then."""
    until = case(
        (CLIENTS.c.revoked_at.is_(None), literal(at, Moment())), else_=CLIENTS.c.revoked_at
    )
    connection.execute(update(CLIENTS).where(CLIENTS.c.digest.in_(digests)).values(used_at=until))


def _find(connection: Connection, name: str) -> Client | None:
    found = connection.execute(select(CLIENTS).where(CLIENTS.c.name == name))
    with decoding():
        row = found.one_or_none()
        return _client(row) if row else None


def _client(row: Row[Any]) -> Client:
    values = row._asdict()
    return Client(**{**values, "grants": tuple(values["grants"].split())})
