"""The journal: what we wished, did and know of each credential. It never holds a secret.

A record is saved whole, over the revision that was loaded and in one durable transaction with the
history that belongs to it, or it is not saved at all: `Conflict` then says that someone else wrote
first, and the caller loads and decides again. Any thread and any process may load and save;
advancing a credential takes its lease besides. What the configuration says of a credential is not
in here, and time is always an argument.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy import Connection, Engine

from keyman.core.model import Credential, Observed, Order, Spec
from keyman.core.news import News
from keyman.db import audit, clients, leases, meta, migrate, news, records, sqlite
from keyman.db.audit import Event
from keyman.db.clients import Client
from keyman.db.leases import Lease
from keyman.db.sqlite import WAL_RESET_FIXED, sqlite_version

__all__ = ["WAL_RESET_FIXED", "Client", "Event", "Journal", "Lease", "sqlite_version"]


class Journal:
    """One open journal; threads may share it. Every method raises StoreFailed if the database
    fails, and Conflict if other writers keep it locked for longer than ten seconds.
    """

    installation: str  #: random, made at the first opening: what this installation is called

    def __init__(self, engine: Engine, installation: str, *, read_only: bool = False) -> None:
        self.installation = installation
        self._reads = engine
        self._writes = sqlite.writing(engine)
        self._read_only = read_only
        # Each record as last loaded or saved here, so that a save writes only what changed.
        self._known: dict[str, Credential] = {}
        # Their versions' rows as last read, since most of them never change again.
        self._met: dict[str, records.Met] = {}

    @classmethod
    def open(cls, url: str, *, migrate: bool = True, read_only: bool = False) -> Self:
        """Open the journal at `url`, which names an SQLite file.

        With `migrate` the file is made and its schema upgraded, so hold the home's lock; without,
        both must be there. `read_only` changes nothing on disk and makes no file.
        Raises NotRunning if there is no journal, ConfigError for a schema or a file that this
        program must not touch.
        """
        engine = _engine(url, may_make=migrate and not read_only, read_only=read_only)
        try:
            with sqlite.translated():
                _settle_schema(engine, may_change=migrate and not read_only)
                installation = meta.installation(engine, may_make=not read_only)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, installation, read_only=read_only)

    def close(self) -> None:
        self._reads.dispose()

    def check(self) -> None:
        """Cheap: raises ConfigError or StoreFailed if schema or durability aren't as they must."""
        with self._reading() as connection:
            migrate.require_head(connection)
            if not self._read_only:
                sqlite.check_promises(connection.connection)

    def load(self, spec: Spec) -> tuple[Credential, Observed | None]:
        """The credential with its open orders, as last saved, and what was last observed.

        One that was never saved has revision 0. ConfigError if another provider recorded it.
        """
        with self._reading() as connection:
            met = self._met.pop(spec.name, {})  # whoever loads it at the same time starts afresh
            credential, observed = records.read(connection, spec, met)
        self._known[spec.name], self._met[spec.name] = credential, met
        return credential, observed

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
        """Write the record, its history and its news durably; returns it with its new revision.

        Raises Conflict, with nothing written, unless the journal still holds the revision that
        was loaded and `lease`, if given, is still held at `now`.
        """
        name = credential.name
        assert lease is None or (now is not None and lease.name == name), "a lease needs `now`"
        held = leases.terms(lease, now) if lease and now else None
        known = self._known.get(name)
        if known is not None and known.revision != credential.revision:
            known = None
        with self._writing() as connection:
            saved = records.write(connection, credential, observed, known, held)
            audit.write(connection, events)
            news.write(connection, told)
        self._known[name] = saved
        return saved

    def revision(self, name: str) -> int:
        """Cheap: has somebody written since? 0 if there is no record."""
        with self._reading() as connection:
            return records.revision(connection, name)

    def names(self) -> list[str]:
        """Every credential with a record, sorted."""
        with self._reading() as connection:
            return records.names(connection)

    def providers(self) -> dict[str, str]:
        """The kind of provider that each record was made with, by name."""
        with self._reading() as connection:
            return records.providers(connection)

    def forget(self, name: str) -> None:
        """Drop the record, its versions and open orders, and end its lease; receipts of finished
        orders and the history stay. Harmless if there is none.
        """
        with self._writing() as connection:
            records.forget(connection, name)
            meta.remember(connection, name, None)
        self._known.pop(name, None)
        self._met.pop(name, None)

    def whereabouts(self, name: str) -> str | None:
        """What was last remembered of the credential's provider; None if nothing was."""
        with self._reading() as connection:
            return meta.whereabouts(connection, name)

    def remember(self, whereabouts: Mapping[str, str]) -> None:
        """Keep, until the names are forgotten, how their providers are reached. Nothing secret."""
        with self._reading() as connection:
            changed = {
                name: said
                for name, said in whereabouts.items()
                if meta.whereabouts(connection, name) != said
            }
        if changed:
            with self._writing() as connection:
                for name, said in changed.items():
                    meta.remember(connection, name, said)

    def order(self, order_id: str) -> tuple[str, Order] | None:
        """The order, open or finished, and the name of its credential."""
        with self._reading() as connection:
            return records.order(connection, order_id)

    def idempotent(self, key: str, name: str, wish: str, order_id: str, now: datetime) -> str:
        """The id of the order that this Idempotency-Key stands for: `order_id` if the key is new.

        `wish` tells one wish from another. Raises Conflict if the key was claimed for another one.
        Keys are kept for two days. Claim the key first, then save the order under the answer,
        unless `order` finds it: a crash between the two is then healed by asking again.
        """
        with self._writing() as connection:
            return meta.claim_key(connection, key, name, wish, order_id, now)

    def stands_for(self, key: str, name: str, order_id: str) -> None:
        """From now on a key that was claimed stands for this order: its wish joined another's."""
        with self._writing() as connection:
            meta.bind_key(connection, key, name, order_id)

    def events(self, name: str | None = None, limit: int = 100) -> list[Event]:
        """The newest so many lines of history, oldest first."""
        with self._reading() as connection:
            return audit.read(connection, name, limit)

    def tell(self, told: Sequence[News]) -> None:
        """Keep news that belong to no record."""
        with self._writing() as connection:
            news.write(connection, told)

    def news(self, seen: int, many: int) -> list[tuple[int, News]]:
        """So many that came after number `seen`, oldest first, each with its number."""
        with self._reading() as connection:
            return news.read(connection, seen, many)

    def news_kept(self) -> tuple[int, int]:
        """The numbers of the oldest and the newest that are kept; (0, 0) if none ever came."""
        with self._reading() as connection:
            return news.span(connection)

    def clients(self) -> list[Client]:
        """Everyone who was ever given a token for looking up over the network, by name."""
        with self._reading() as connection:
            return clients.every(connection)

    def add_client(self, client: Client, by: str) -> Client:
        """Let the client in. Raises Conflict if its name has a token that was not revoked."""
        line = Event(client.created_at, f"client {client.name}", "client added", by)
        with self._writing() as connection:
            added = clients.add(connection, client)
            audit.write(connection, (line,) if added is client else ())
        return added

    def revoke_client(self, name: str, now: datetime, by: str) -> Client:
        """End the client's token; harmless if it was revoked before. Raises NotFound."""
        with self._writing() as connection:
            ended, first = clients.revoke(connection, name, now)
            audit.write(connection, (Event(now, f"client {name}", "client revoked", by),) * first)
        return ended

    def clients_used(self, digests: Collection[str], now: datetime) -> None:
        """Note that the tokens with these digests were shown just now, or until they ended."""
        with self._writing() as connection:
            clients.used(connection, digests, now)

    def prune(self, now: datetime) -> None:
        """Forget old history and receipts, so that the journal does not grow for ever."""
        with self._writing() as connection:
            audit.prune(connection, now)
            records.prune_orders(connection, now)

    def take_lease(
        self, name: str, owner: str, home: str, ttl: timedelta, now: datetime
    ) -> Lease | None:
        """The right to advance `name` until now + ttl; None if somebody else holds it.

        Its owner extends it by taking it again, under the same fence; a new owner gets a higher
        one. `owner` names one process' life, `home` the folder whose lock that process holds.
        """
        with self._writing() as connection:
            return leases.take(connection, name, owner, home, ttl, now)

    def release_lease(self, lease: Lease) -> None:
        """Give it back, with nothing left undone. Harmless if it is no longer ours."""
        with self._writing() as connection:
            leases.release(connection, lease)

    def void_leases(self, home: str | None) -> None:
        """End what dead processes still hold on `home`, whose lock the caller has just got; with
        None, wherever they were: this is a copy, and they never had it.
        """
        with self._writing() as connection:
            leases.void(connection, home)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with sqlite.translated(), self._reads.begin() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with sqlite.translated(), self._writes.begin() as connection:
            yield connection


def _engine(url: str, *, may_make: bool, read_only: bool) -> Engine:
    path = sqlite.path_of(url)
    if may_make:
        sqlite.make_file(path)
    sqlite.check_file(path)
    return sqlite.read_only_engine(path) if read_only else sqlite.engine(path)


def _settle_schema(engine: Engine, *, may_change: bool) -> None:
    if may_change:
        migrate.upgrade(engine)
        return
    with engine.connect() as connection:
        migrate.require_head(connection)
