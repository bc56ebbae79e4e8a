"""keyman's own journal and sealed file, showing the house what they are asked and what they
acknowledge. Neither anything they do nor anything they say is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from keyman.core.model import Credential, Observed, Secret
from keyman.core.news import News
from keyman.db.journal import Event, Journal, Lease
from keyman.stores.sealed_file import SealedFile
from keyman.stores.sealing_key import load_key
from tests.sim.rooms import Row

if TYPE_CHECKING:
    from tests.disk.house import House


class WatchedJournal(Journal):
    house: House

    def save(
        self,
        credential: Credential,
        observed: Observed | None,
        *,
        lease: Lease | None = None,
        now: datetime | None = None,
        events: Sequence[Event] = (),
        told: Sequence[News] = (),
    ) -> Credential:
        house, open_ones = self.house, tuple(o for o in credential.orders if o.open)
        after = replace(credential, revision=credential.revision + 1, orders=open_ones)
        saved: list[Credential] = []

        def land() -> None:
            done = Journal.save(
                self, credential, observed, lease=lease, now=now, events=events, told=told
            )
            saved.append(done)
            house.landed(Row(replace(done, orders=open_ones), observed), credential.orders)

        house.mark()
        house.watch.saving(house.record, after, lease, land)
        house.mark()
        return saved[0]

    def take_lease(
        self, name: str, owner: str, home: str, ttl: timedelta, now: datetime
    ) -> Lease | None:
        lease = super().take_lease(name, owner, home, ttl, now)
        self.house.holder = owner if lease else self.house.holder
        return lease


class WatchedStore(SealedFile):
    house: House

    def ready(self, name: str) -> None:
        super().ready(name)
        self.house.asked_the_store()

    def put(self, name: str, number: int, secret: Secret, *, slot: str | None = None) -> None:
        self.house.changing_secret(name, number)
        super().put(name, number, secret, slot=slot)
        self.house.kept_secret(name, number, secret)

    def drop(self, name: str, number: int) -> None:
        self.house.watch.dropping(number)
        self.house.changing_secret(name, number)
        super().drop(name, number)


def opened_journal(house: House, path: Path, weakened: str) -> WatchedJournal:
    """`weakened` is a PRAGMA that keyman would never set."""
    journal = WatchedJournal.open(f"sqlite:///{path}")
    journal.house = house
    if weakened:
        event.listen(journal._engine, "connect", lambda raw, _: _weaken(raw, weakened))
        journal._engine.dispose()  # those that it has are as they should be
    return journal


def opened_store(house: House, folder: Path, installation: str, weakened: str) -> WatchedStore:
    path = folder / "store.sealed"
    begun = path.exists() and path.stat().st_size > 0  # as the wiring asks
    key = load_key({"kind": "file", "path": folder / "store.key"}, make=not begun)
    store = WatchedStore(path, key, installation)
    store.house = house
    if weakened:
        _weaken(store._db, weakened)
    return store


def _weaken(connection: Any, pragma: str) -> None:
    connection.cursor().execute(f"PRAGMA {pragma}")
