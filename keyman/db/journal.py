"""The journal: what we wished, did and know of each credential. It never holds a secret.

A record is saved whole, over the revision that was loaded and in one durable transaction with the
history that belongs to it, or it is not saved at all: `Conflict` then says that someone else wrote
first, and the caller loads and decides again. Any thread and any process may load and save;
advancing a credential takes its lease besides. What the configuration says of a credential is not
in here, and time is always an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy import Connection, Engine

from keyman.core.frozen import replace
from keyman.core.model import Credential, Observed, Order, Spec
from keyman.core.news import News
from keyman.db import audit, clients, leases, meta, migrate, news, records, sqlite
from keyman.db.audit import Event, Head, Pruned
from keyman.db.clients import Client
from keyman.db.leases import Lease
from keyman.db.sqlite import WAL_RESET_FIXED, sqlite_version
from keyman.db.transactions import Transactions
from keyman.errors import Conflict, NotFound

__all__ = [
    "WAL_RESET_FIXED",
    "Client",
    "Event",
    "Head",
    "Journal",
    "Lease",
    "Pruned",
    "sqlite_version",
]


def nobody(_: Pruned) -> None:
    """Nobody keeps a log: the history says it all the same."""


class Journal:
    """One open journal; threads may share it. Every method raises StoreFailed if the database
    fails, and Conflict if other writers keep it locked for longer than ten seconds.
    """

    installation: str  #: random, made at the first opening: what this installation is called
    recorded: bool  #: the history could be written when that was tried last; False before that

    def __init__(self, engine: Engine, installation: str, *, read_only: bool = False) -> None:
        self.installation = installation
        self._engine = engine
        self._read_only = read_only
        # A read-only connection is told when it is made whether the file may change meanwhile.
        keeps = {"keeps": 0} if read_only else {}
        self._reads = Transactions(engine, **keeps)
        self._writes = Transactions(sqlite.writing(engine), **keeps)
        self._chain = audit.Chain()
        self.recorded = False
        # Each record as last loaded or saved here, so that a save writes only what changed.
        self._known: dict[str, Credential] = {}
        # The same as a load would give it, for as long as nobody else writes.
        self._last: dict[str, tuple[Credential, Observed | None]] = {}

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
        self._reads.close()
        self._writes.close()
        self._engine.dispose()

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
            stamp = records.stamp(connection, spec.name)
            return self._unchanged(spec, stamp) or self._load(connection, spec)

    def load_all(self, specs: Iterable[Spec]) -> list[tuple[Credential, Observed | None]]:
        """As `load` of each, reading only those that somebody else wrote since the last time."""
        with self._reading() as connection:
            written = records.stamps(connection)
        with self._reading() as connection:  # of now: meanwhile another thread may have saved
            return [
                self._unchanged(spec, written.get(spec.name)) or self._load(connection, spec)
                for spec in specs
            ]

    def _load(self, connection: Connection, spec: Spec) -> tuple[Credential, Observed | None]:
        credential, observed = records.read(connection, spec)
        self._known[spec.name] = credential
        self._last[spec.name] = credential, observed
        return credential, observed

    def _unchanged(
        self, spec: Spec, stamp: records.Stamp | None
    ) -> tuple[Credential, Observed | None] | None:
        credential, observed = self._last.get(spec.name, (None, None))
        if credential is None or not credential.driver:  # another may have that stamp, begun anew
            return None
        if (credential.revision, credential.driver) != stamp:
            return None
        if credential.spec is spec:
            return credential, observed
        same_kind = credential.spec.provider == spec.provider
        return (replace(credential, spec=spec), observed) if same_kind else None

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
        with self._recording(events) as connection:
            saved = records.write(connection, credential, observed, known, held)
            news.write(connection, told)
        self._known[name] = saved
        self._last[name] = _without_finished(saved), observed
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

    def forget(self, name: str, events: Sequence[Event] = ()) -> None:
        """Drop the record, its versions and open orders, and end its lease; receipts of finished
        orders and the history stay. Harmless if there is none.
        """
        with self._recording(events) as connection:
            records.forget(connection, name)
            meta.remember(connection, {name: None})
        self._known.pop(name, None)
        self._last.pop(name, None)

    def whereabouts(self, name: str) -> str | None:
        """What was last remembered of the credential's provider; None if nothing was."""
        with self._reading() as connection:
            return meta.whereabouts(connection, name)

    def remember(self, whereabouts: Mapping[str, str]) -> None:
        """Keep, until the names are forgotten, how their providers are reached. Nothing secret."""
        with self._reading() as connection:
            known = meta.every_whereabouts(connection)
        changed = {name: said for name, said in whereabouts.items() if known.get(name) != said}
        if changed:
            with self._writing() as connection:
                meta.remember(connection, changed)

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
        """The newest so many entries of the history, oldest first."""
        return [event for _, event in self.history(name, limit)]

    def history(
        self, name: str | None = None, limit: int = 100, since: datetime | None = None
    ) -> list[tuple[Head, Event]]:
        """The same, each with its number and its hash; with `since`, none from before that."""
        with self._reading() as connection:
            return audit.read(connection, name, limit, since)

    def note(self, *events: Event) -> None:
        """Write entries of the history that belong to no record."""
        with self._recording(events):
            pass

    @property
    def head(self) -> Head | None:
        """The newest entry of the history that was written here; None if none was."""
        return self._chain.head

    def tell(self, told: Sequence[News]) -> None:
        """Keep news that belong to no record; the history has them as well."""
        with self._recording([audit.of_news(one) for one in told]) as connection:
            news.write(connection, told)

    def told(self) -> dict[str, str]:
        """What those were told who are told what happens, by their names (keyman/notify)."""
        with self._reading() as connection:
            return meta.told(connection)

    def keep_told(self, said: Mapping[str, str | None]) -> None:
        """Keep it; None forgets it."""
        with self._writing() as connection:
            for target, text in said.items():
                meta.tell(connection, target, text)

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
        added = Event(client.created_at, f"client {client.name}", "client added", by)
        entries: list[Event] = []
        with self._recording(entries) as connection:
            known = clients.add(connection, client)
            entries += [added] if known is client else []
        return known

    def revoke_client(self, name: str, now: datetime, by: str) -> Client:
        """End the client's token; harmless if it was revoked before. Raises NotFound."""
        revoked = Event(now, f"client {name}", "client revoked", by)
        entries: list[Event] = []
        with self._recording(entries) as connection:
            ended, first = clients.revoke(connection, name, now)
            entries += [revoked] if first else []
        return ended

    def clients_used(self, digests: Collection[str], now: datetime) -> None:
        """Note that the tokens with these digests were shown just now, or until they ended."""
        with self._writing() as connection:
            clients.used(connection, digests, now)

    def prune(self, now: datetime, tell: Callable[[Pruned], None] = nobody) -> None:
        """Forget old history and receipts, so that the journal does not grow for ever.

        `tell` is called with what is about to go, before it is gone: whoever ends in between has
        told too much, and never too little.
        """
        entries: list[Event] = []
        with self._recording(entries) as connection:
            pruned = audit.prune(connection, now)
            if pruned is not None:
                entries.append(audit.of_pruning(pruned, now))
                tell(pruned)
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
    def _recording(self, events: Sequence[Event]) -> Iterator[Connection]:
        """A transaction that ends with these entries of the history, or does not happen."""
        try:
            with self._writing() as connection:
                yield connection
                head = self._chain.write(connection, events)
        except (Conflict, NotFound):
            raise  # refused, which says nothing of the history
        except Exception:
            self.recorded = False
            raise
        self._chain.committed(head)
        self.recorded = self.recorded or head is not None

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with sqlite.translated(), self._writes.begin() as connection:
            yield connection


def _without_finished(c: Credential) -> Credential:
    if all(order.open for order in c.orders):
        return c
    return replace(c, orders=tuple(order for order in c.orders if order.open))


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
