"""One credential's record in SQL: read whole, written as far as it changed.

Each function runs inside the caller's transaction and knows no other credential.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import zip_longest

from sqlalchemy import (
    BindParameter,
    Connection,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from keyman.core.frozen import replace
from keyman.core.model import Credential, Observed, Order, OrderState, Spec, Version
from keyman.db import leases, meta, rows
from keyman.db.prepared import Prepared
from keyman.db.tables import CREDENTIALS, ORDERS, VERSIONS
from keyman.errors import ConfigError, Conflict

RECEIPTS_KEPT_FOR = timedelta(days=400)
RECEIPTS_KEPT = 500  # a credential

_NAME: BindParameter[str] = bindparam("of_name")
_OF_NAME = CREDENTIALS.c.name == _NAME
_OPEN = or_(ORDERS.c.state == OrderState.WAITING, ORDERS.c.state == OrderState.RUNNING)
_OVER_LOADED = update(CREDENTIALS).where(_OF_NAME, CREDENTIALS.c.revision == bindparam("loaded"))
_THIS_VERSION = (VERSIONS.c.name == _NAME) & (VERSIONS.c.number == bindparam("of_number"))
_THIS_ORDER = (ORDERS.c.name == _NAME) & (ORDERS.c.id == bindparam("of_id"))

_READ_RECORD = Prepared(select(CREDENTIALS).where(_OF_NAME))
_STAMP = (CREDENTIALS.c.revision, CREDENTIALS.c.driver)
_READ_STAMP = Prepared(select(*_STAMP).where(_OF_NAME))
_READ_STAMPS = Prepared(select(CREDENTIALS.c.name, *_STAMP))
_READ_VERSIONS = Prepared(
    select(VERSIONS).where(VERSIONS.c.name == _NAME).order_by(VERSIONS.c.number)
)
_READ_OPEN_ORDERS = Prepared(
    select(ORDERS).where(ORDERS.c.name == _NAME, _OPEN).order_by(ORDERS.c.seq)
)
_READ_ORDER = Prepared(select(ORDERS).where(ORDERS.c.id == bindparam("of_id")))
_READ_HELD = Prepared(select(leases.held()))
_CHANGE_RECORD = Prepared(_OVER_LOADED, rows.RECORD_COLUMNS)
_CHANGE_RECORD_IF_HELD = Prepared(_OVER_LOADED.where(leases.held()), rows.RECORD_COLUMNS)
_ADD_VERSION = Prepared(insert(VERSIONS), ("name", *rows.VERSION_FIELDS))
_DROP_VERSION = Prepared(delete(VERSIONS).where(_THIS_VERSION))
_CHANGE_VERSION = Prepared(update(VERSIONS).where(_THIS_VERSION), rows.VERSION_FIELDS)
_ADD_ORDER = Prepared(insert(ORDERS), ("name", *rows.ORDER_FIELDS))
_CHANGE_ORDER = Prepared(update(ORDERS).where(_THIS_ORDER), rows.ORDER_FIELDS)


# A record's revision and its driver. Once somebody drives it no two savings have the same, were it
# even forgotten and begun anew between them: a fence comes again only with a backup, and then no
# process of before goes on.
Stamp = tuple[int, int]


def read(connection: Connection, spec: Spec) -> tuple[Credential, Observed | None]:
    named = {"of_name": spec.name}
    found = _READ_RECORD.rows(connection, named)
    if not found:
        return Credential(spec, numbered=meta.numbered(connection, spec.name)), None
    row = found[0]
    if row["provider"] != spec.provider:
        raise ConfigError(
            f"credential {spec.name!r} is recorded with provider {row['provider']},"
            f" but configured with {spec.provider}",
            hint=f"give the new one another name, or `keyman forget {spec.name}` first",
        )
    orders = tuple(map(rows.order_of, _READ_OPEN_ORDERS.rows(connection, named)))
    credential = rows.credential_of(spec, row, _versions(connection, spec.name), orders)
    if not credential.versions:
        credential = replace(credential, numbered=meta.numbered(connection, spec.name))
    return credential, rows.observed_of(row["observed"])


def _versions(connection: Connection, name: str) -> tuple[Version, ...]:
    return tuple(map(rows.version_of, _READ_VERSIONS.rows(connection, {"of_name": name})))


def revision(connection: Connection, name: str) -> int:
    """0 if there is no record."""
    found = stamp(connection, name)
    return found[0] if found else 0


def stamp(connection: Connection, name: str) -> Stamp | None:
    found = _READ_STAMP.run(connection, {"of_name": name}).fetchone()
    return (found[0], found[1]) if found else None


def stamps(connection: Connection) -> dict[str, Stamp]:
    found = _READ_STAMPS.run(connection, {}).fetchall()
    return {name: (revision, driver) for name, revision, driver in found}


def write(
    connection: Connection,
    credential: Credential,
    observed: Observed | None,
    known: Credential | None,
    held: leases.Terms | None,
) -> Credential:
    """Write over the revision that was loaded, or raise Conflict; `held` are the terms on which
    the lease must still stand. `known` is what was loaded, None if nobody remembers.
    """
    saved = replace(credential, revision=credential.revision + 1)
    row = rows.record_row(saved, observed)
    if credential.revision == 0:
        _insert(connection, saved, row, held)
    else:
        _overwrite(connection, credential, row, held)
    _write_versions(connection, saved, known)
    _write_orders(connection, saved, known)
    return saved


def _insert(
    connection: Connection, saved: Credential, row: rows.Row, held: leases.Terms | None
) -> None:
    if held and not _READ_HELD.run(connection, held).fetchall()[0][0]:
        raise _lost(saved.name)
    if revision(connection, saved.name):
        raise _overtaken(saved.name)
    added = row | {"name": saved.name, "provider": saved.spec.provider}
    connection.execute(insert(CREDENTIALS), added)


def _overwrite(
    connection: Connection, loaded: Credential, row: rows.Row, held: leases.Terms | None
) -> None:
    named = {"of_name": loaded.name, "loaded": loaded.revision}
    statement = _CHANGE_RECORD_IF_HELD if held else _CHANGE_RECORD
    if statement.run(connection, row | named | (held or {})).rowcount == 1:
        return
    if revision(connection, loaded.name) == loaded.revision:
        raise _lost(loaded.name)
    raise _overtaken(loaded.name)


def _overtaken(name: str) -> Conflict:
    return Conflict(f"someone else wrote the record of {name!r} first")


def _lost(name: str) -> Conflict:
    return Conflict(f"the lease of {name!r} ran out or was taken over")


def _write_versions(connection: Connection, saved: Credential, known: Credential | None) -> None:
    before = known.versions if known else _versions(connection, saved.name)
    # Most are the very objects that were read, at the same place: what is over no longer changes.
    differ = [(was, v) for was, v in zip_longest(before, saved.versions) if was is not v]
    written = {was.number: was for was, _ in differ if was}
    changed = [v for _, v in differ if v]
    for number in written.keys() - {version.number for version in changed}:
        _DROP_VERSION.run(connection, {"of_name": saved.name, "of_number": number})
    for version in changed:
        there = written.get(version.number)
        if there is None:
            _ADD_VERSION.run(connection, rows.version_row(version) | {"name": saved.name})
        elif there != version:
            which = {"of_name": saved.name, "of_number": version.number}
            _CHANGE_VERSION.run(connection, rows.version_row(version) | which)


def _write_orders(connection: Connection, saved: Credential, known: Credential | None) -> None:
    written = known.orders if known else ()
    for order in saved.orders:
        if order in written:
            continue
        # Not in `written` may also mean: finished before that was loaded.
        changed = rows.order_row(order) | {"of_id": order.id, "of_name": saved.name}
        if _CHANGE_ORDER.run(connection, changed).rowcount == 0:
            _ADD_ORDER.run(connection, rows.order_row(order) | {"name": saved.name})


def order(connection: Connection, order_id: str) -> tuple[str, Order] | None:
    found = _READ_ORDER.rows(connection, {"of_id": order_id})
    return (found[0]["name"], rows.order_of(found[0])) if found else None


def names(connection: Connection) -> list[str]:
    found = select(CREDENTIALS.c.name).order_by(CREDENTIALS.c.name)
    return list(connection.execute(found).scalars())


def providers(connection: Connection) -> dict[str, str]:
    found = select(CREDENTIALS.c.name, CREDENTIALS.c.provider).order_by(CREDENTIALS.c.name)
    return {row.name: row.provider for row in connection.execute(found)}


def prune_orders(connection: Connection, now: datetime) -> None:
    """Forget receipts that are old, and of each credential all but the newest. Open ones stay."""
    newest_first = func.row_number().over(partition_by=ORDERS.c.name, order_by=ORDERS.c.seq.desc())
    finished = select(ORDERS.c.seq, ORDERS.c.recorded_at, newest_first.label("place")).where(~_OPEN)
    ranked = finished.subquery()
    old = ranked.c.recorded_at < now - RECEIPTS_KEPT_FOR
    over = select(ranked.c.seq).where(or_(ranked.c.place > RECEIPTS_KEPT, old))
    connection.execute(delete(ORDERS).where(ORDERS.c.seq.in_(over)))


def forget(connection: Connection, name: str) -> None:
    """The record with its versions and open orders; receipts, history and the numbering stay."""
    highest = select(func.max(VERSIONS.c.number)).where(VERSIONS.c.name == name)
    number = connection.execute(highest).scalar_one()
    if number is not None:
        meta.number(connection, name, number)
    connection.execute(delete(CREDENTIALS).where(CREDENTIALS.c.name == name))
    connection.execute(delete(ORDERS).where(ORDERS.c.name == name, _OPEN))
    leases.end(connection, name)
