"""A home looked at from outside: no lock taken, nothing made or changed, no daemon needed.

For `get`, `status`, `check`, for foretelling a rotation and for its IAM statements. What it tells
is as of the journal's last record; whoever needs the running daemon's word asks the agent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Self

from keyman import checkup, errors
from keyman.checkup import Finding
from keyman.clock import Clock, SystemClock
from keyman.config import CredentialSettings, Settings
from keyman.core import orders
from keyman.core.model import Credential, Order, Stage
from keyman.core.plan import foresee
from keyman.db.journal import Journal
from keyman.db.sqlite import path_of, sqlite_version
from keyman.desk import Wish
from keyman.providers import open_provider
from keyman.publisher import Publisher
from keyman.rotator import Managed
from keyman.serving.snapshot import Snapshot
from keyman.stores import open_store
from keyman.stores.memory import Memory
from keyman.stores.protocol import Store
from keyman.views import Json, credential_view, time_text

SEVERITIES = ("error", "warning", "info")


def open_the_store(settings: Settings, installation: str, *, read_only: bool = False) -> Store:
    """Where this configuration keeps secrets. Raises StoreFailed, ConfigError."""
    options = {
        **settings.store.options(),
        "installation": installation,
        "home": settings.home,
        "read_only": read_only,
    }
    return open_store(settings.store.kind, options)


def managed_by(
    settings: Settings, one: CredentialSettings, installation: str, store: Store, clock: Clock
) -> Managed:
    """The credential with its provider and store. Asks nobody anything."""
    spec = one.spec(installation)
    provider = open_provider(one.provider, spec, one.options, network=settings.network, clock=clock)
    return Managed(spec, provider, store)


def configured(settings: Settings, name: str) -> CredentialSettings:
    """That credential's part of the configuration. Raises NotFound."""
    if name not in settings.credentials:
        known = ", ".join(sorted(settings.credentials)) or "none yet"
        raise errors.NotFound(f"no credential {name!r}", hint=f"known: {known}")
    return settings.credentials[name]


class Reader:
    """Journal and store of a home, for looking only. Raises NotRunning if there is no journal."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock: Clock = SystemClock()
        self.journal = Journal.open(settings.database, migrate=False, read_only=True)
        self._opened = ExitStack()
        self._opened.callback(self.journal.close)
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """Opened when it is first asked for: who only wants to know the record needs no key."""
        if self._store is None:
            name = self.journal.installation
            self._store = open_the_store(self.settings, name, read_only=True)
            self._opened.callback(self._store.close)
        return self._store

    def load(self, name: str) -> Credential:
        """The record, as last saved. Raises NotFound."""
        one = configured(self.settings, name)
        return self.journal.load(one.spec(self.journal.installation))[0]

    def managed(self, name: str) -> Managed:
        one = configured(self.settings, name)
        return managed_by(self.settings, one, self.journal.installation, self.store, self.clock)

    def status(self, name: str) -> Json:
        one = configured(self.settings, name)
        credential, observed = self.journal.load(one.spec(self.journal.installation))
        return credential_view(credential, observed, self.clock.now())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def _started(settings: Settings) -> bool:
    return path_of(settings.database).exists()


# What is asked.


def status(settings: Settings, name: str) -> Json:
    """One element of `status --json`; a home where nothing ever ran has records without facts."""
    one = configured(settings, name)
    if not _started(settings):
        return credential_view(Credential(one.spec("")), None, SystemClock().now())
    with Reader(settings) as reader:
        return reader.status(name)


def statuses(settings: Settings) -> list[Json]:
    return [status(settings, name) for name in sorted(settings.credentials)]


def lookup(settings: Settings, name: str, *, previous: bool) -> Json:
    """What the agent would answer. Raises NotRunning if nothing ever ran here."""
    one = configured(settings, name)
    if not _started(settings) and one.options.api_key_id:
        raise errors.NotAdopted(f"{name}: nobody has entrusted keyman with its secret yet")
    with Reader(settings) as reader:
        managed = reader.managed(name)
        snapshot = Snapshot(reader.clock)
        Publisher(snapshot, reader.clock).publish(managed, reader.load(name))
        stage = Stage.PREVIOUS if previous else Stage.CURRENT
        answer: Json = json.loads(snapshot.look_up(name, stage).json.body)
        return answer


def planned_rotation(settings: Settings, name: str, wish: Wish) -> list[Json]:
    """The steps that this order would lead to, up to the end of the overlap."""
    one = configured(settings, name)
    with Reader(settings) as reader:
        credential, observed = reader.journal.load(one.spec(reader.journal.installation))
        now = reader.clock.now()
    order = Order("dry-run", wish.kind, now, reason=wish.reason, overlap=wish.overlap)
    credential, _ = orders.record(credential, observed, order)
    overlap = credential.policy.overlap if wish.overlap is None else wish.overlap
    horizon = now + 2 * max(overlap, credential.policy.overlap) + timedelta(hours=1)
    steps = foresee(replace(credential, failures=0, retry_at=None), observed, now, horizon)
    return [
        {
            "at": time_text(one.at),
            "credential": name,
            "step": one.step,
            "slot": one.slot,
            "reason": one.reason,
        }
        for one in steps
    ]


def policy_statements(settings: Settings, name: str, *, one_key: bool) -> list[str]:
    """The IAM statements for callers of the model and for keyman. Raises NotFound, UsageError."""
    one = configured(settings, name)
    key_id = one.options.api_key_id
    if one_key and key_id is None and _started(settings):
        with Reader(settings) as reader:
            key_id = reader.load(name).key_id
    if one_key and key_id is None:
        raise errors.UsageError(
            f"{name} has no API key yet", hint="leave out --one-key, or start the daemon first"
        )
    from keyman.vendors.oci_iam import policy_statements as statements

    return statements(one.options.compartment_id, key_id if one_key else None)


def examine(settings: Settings) -> list[Json]:
    """What `keyman check` finds, worst first. Asks the providers; changes nothing."""
    found = [*checkup.of_sqlite(sqlite_version()), *checkup.of_configuration(settings)]
    if _started(settings):
        with Reader(settings) as reader:
            found += _examined(reader)
    else:
        found += _before_the_first_start(settings)
    found.sort(key=lambda one: SEVERITIES.index(one.severity))
    return [one.as_json() for one in found]


def _examined(reader: Reader) -> Iterator[Finding]:
    settings = reader.settings
    try:
        store = reader.store
    except errors.StoreFailed as error:
        yield Finding("error", "store_failed", error.message, error.hint)
        return
    yield from checkup.of_store(store, settings.store.kind, settings.store.key.kind)
    for name in settings.credentials:
        managed = reader.managed(name)
        yield from checkup.of_credential(managed, reader.load(name), reader.clock.now())
    yield from checkup.of_the_left(reader.journal.names(), settings)


def _before_the_first_start(settings: Settings) -> Iterator[Finding]:
    """No journal yet: the providers can be asked all the same."""
    yield Finding("info", "not_started", "keyman has not run on this home yet", "keyman daemon")
    clock = SystemClock()
    for one in settings.credentials.values():
        managed = managed_by(settings, one, "not yet named", Memory(), clock)
        yield from checkup.of_credential(managed, Credential(managed.spec), clock.now())
