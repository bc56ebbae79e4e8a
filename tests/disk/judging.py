"""What the folder of a house says once its process is gone: opened as keyman opens it, then judged.

What was acknowledged is there; what was not may be there as well, whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from keyman import audit_verify, errors
from keyman.core.model import Credential, Stage
from keyman.db import sqlite
from tests.disk.house import House
from tests.sim.invariants import Broken
from tests.sim.rooms import Row

FILES = ("keyman.db", "store.sealed")


def judge(house: House) -> None:
    """Raises Broken. From then on the house knows what is there, acknowledged or not."""
    for name in FILES if house.row or house.secrets else ():
        if not (house.folder / name).exists():
            raise Broken("D", f"{name} is gone")
    try:
        with house.opened():
            assert house.journal is not None
            house.journal.check()
            _secrets_are_there(house)
            _record_is_there(house)
    except errors.Error as error:
        raise Broken("D", f"it does not open: {error.message}") from error
    for name in FILES:
        _is_whole(house.folder / name)
    said = audit_verify.verify(house.folder / "keyman.db", [])
    if said["misfit"]:
        raise Broken("A", f"the history does not fit: {said['misfit']}")


def _is_whole(path: Path) -> None:
    with closing(sqlite.plain(path)) as database:
        said = database.execute("PRAGMA integrity_check").fetchall()
    if said != [("ok",)]:
        raise Broken("D", f"{path.name} is damaged: {said[:2]}")


def _secrets_are_there(house: House) -> None:
    assert house.store is not None
    for (name, number), secret in house.secrets.items():
        if house.store.get(name, number) != secret:
            raise Broken("D", f"the secret of version {number} was stored, and is lost")
    house.secrets = {}
    for name, number in house.store.list():
        found = house.store.get(name, number)
        assert found is not None
        house.secrets[name, number] = found


def _record_is_there(house: House) -> None:
    """Or a newer one, whose saving was never acknowledged."""
    assert house.journal is not None
    assert house.spec is not None
    acknowledged = house.record.revision
    found, observed = house.journal.load(house.spec)
    if found.revision < acknowledged:
        raise Broken("D", f"revision {acknowledged} was saved, {found.revision} is there")
    _its_secrets_are_kept(house, found)
    if found.revision > acknowledged:
        known = [house.journal.order(order.id) for order in house.record.orders]
        row, orders = Row(found, observed), tuple(one[1] for one in known if one)
        with _as_of(house, found.current.promoted_at if found.current else None):
            house.watch.saving(house.record, found, None, lambda: house.landed(row, orders))


def _its_secrets_are_kept(house: House, found: Credential) -> None:
    for v in found.versions:
        secret = house.secrets.get((found.name, v.number))
        needed = v.issued_at and v.stored and v.stage is not Stage.REVOKED
        if needed and (secret is None or not v.is_of(secret, found.spec.installation)):
            raise Broken("I3", f"version {v.number} is {v.stage}, and its secret is not kept")


@contextmanager
def _as_of(house: House, promoted: datetime | None) -> Iterator[None]:
    """An overlap counts from when it was to begin, whenever that was found to have landed."""
    now = house.true
    house.true = min(now, promoted or now)
    yield
    house.true = now
