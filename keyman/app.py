"""Puts the rooms of the house together: the only file that knows them all.

Builds things in order with ordinary calls and hands each what it needs. Decides nothing.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from keyman import errors
from keyman.clock import Clock, SystemClock, new_id
from keyman.config import CredentialSettings, Settings, find_config, find_home, load, prepare_home
from keyman.core import orders
from keyman.core.model import Credential, Order, Stage
from keyman.core.plan import foresee
from keyman.db.journal import Journal
from keyman.desk import Desk, Wish
from keyman.lock import HomeLock
from keyman.providers import open_provider
from keyman.publisher import Publisher
from keyman.rotator import Managed, Rotator
from keyman.serving.snapshot import Snapshot
from keyman.stores import open_store
from keyman.stores.protocol import Store
from keyman.views import Json, time_text

log = logging.getLogger("keyman.app")

ONCE_AT_MOST = timedelta(minutes=10)  # for one credential
COMES_BACK_SOON = timedelta(seconds=10)  # a wait so short that `--once` sits it out


def load_settings(config: str | None) -> Settings:
    """The configuration that the command line and the environment mean; raises ConfigError."""
    environ = dict(os.environ)
    path = find_config(Path(config) if config else None, environ)
    return load(path, home=find_home(environ), environ=environ)


class App:
    """Everything that works on one home, in one process. Close it to let the home go."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        """Takes the home's lock. Raises Conflict if another process has it."""
        self.clock: Clock = clock or SystemClock()
        self.warnings = prepare_home(settings.home)
        self._closing = ExitStack()
        with ExitStack() as opened:
            opened.enter_context(HomeLock(settings.home / "daemon.lock"))
            self.journal = Journal.open(settings.database)
            opened.callback(self.journal.close)
            self.journal.void_leases(str(settings.home))
            self.store = open_the_store(settings, self.journal.installation)
            opened.callback(self.store.close)
            self._closing = opened.pop_all()
        self.snapshot = Snapshot(self.clock)
        self.rotator = Rotator(
            self.journal,
            {},
            self.clock,
            new_id,
            owner=f"{os.getpid()}-{new_id()}",
            home=str(settings.home),
            changed=self._changed,
        )
        self.desk = Desk(self.journal, self.rotator, self.clock, new_id, lambda _: None)
        self.publisher = Publisher(self.snapshot, self.clock)
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Work by this configuration from now on; lookups follow at once."""
        managed = {
            name: _managed(settings, one, self.journal.installation, self.store, self.clock)
            for name, one in settings.credentials.items()
        }
        for gone in set(self.rotator.managed) - set(managed):
            self.publisher.withdraw(gone)
        self.settings = settings
        self.rotator.managed = managed
        for one in managed.values():
            self.publisher.publish(one, self.journal.load(one.spec)[0])

    def _changed(self, credential: Credential) -> None:
        self.publisher.publish(self.rotator.managed[credential.name], credential)

    def take_up(self, settings: Settings) -> None:
        """Work by a changed configuration. Raises ConfigError if it needs a new start."""
        for part in ("home", "database", "store", "agent"):
            if getattr(settings, part) != getattr(self.settings, part):
                raise errors.ConfigError(
                    f"a changed `{part}` is taken up at the next start only",
                    hint="restart the daemon",
                )
        self.use(settings)

    def names(self) -> list[str]:
        return list(self.rotator.managed)

    def drive(self, name: str, limit: timedelta, done: Callable[[], bool]) -> None:
        """Advance one credential until `done` says so, or for that long."""
        deadline = self.clock.monotonic() + limit.total_seconds()
        while True:
            wait = self.rotator.advance(name)
            left = deadline - self.clock.monotonic()
            if done() or left <= 0:
                return
            pause = (wait.until - self.clock.now()).total_seconds()
            self.clock.sleep(min(max(pause, 0.01), left))

    def once(self) -> None:
        """Do what is due, and see rotations that began through to the end."""
        for name in self.names():
            self.drive(name, ONCE_AT_MOST, partial(self._at_rest, name))

    def _at_rest(self, name: str) -> bool:
        credential, _ = self.journal.load(self.rotator.managed[name].spec)
        soon = self.clock.now() + COMES_BACK_SOON
        resting = credential.retry_at is not None and credential.retry_at > soon
        return resting or credential.open_version is None

    def close(self) -> None:
        self.rotator.release()
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_app(settings: Settings) -> App:
    """The whole of keyman on this home. Raises Conflict while another process works on it."""
    return App(settings)


def open_the_store(settings: Settings, installation: str, *, read_only: bool = False) -> Store:
    options = {
        **settings.store.options(),
        "installation": installation,
        "home": settings.home,
        "read_only": read_only,
    }
    return open_store(settings.store.kind, options)


def _managed(
    settings: Settings, one: CredentialSettings, installation: str, store: Store, clock: Clock
) -> Managed:
    spec = one.spec(installation)
    provider = open_provider(one.provider, spec, one.options, network=settings.network, clock=clock)
    return Managed(spec, provider, store)


# Reading, with nothing made or changed and no lock: for `get` and for foretelling.


class Reader:
    """Journal and store of a home that no daemon runs on, for looking only."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock: Clock = SystemClock()
        self._closing = ExitStack()
        with ExitStack() as opened:
            self.journal = Journal.open(settings.database, migrate=False, read_only=True)
            opened.callback(self.journal.close)
            self.store = open_the_store(settings, self.journal.installation, read_only=True)
            opened.callback(self.store.close)
            self._closing = opened.pop_all()

    def managed(self, name: str) -> Managed:
        one = configured(self.settings, name)
        return _managed(self.settings, one, self.journal.installation, self.store, self.clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()


def configured(settings: Settings, name: str) -> CredentialSettings:
    """That credential's part of the configuration. Raises NotFound."""
    if name not in settings.credentials:
        known = ", ".join(sorted(settings.credentials)) or "none yet"
        raise errors.NotFound(f"no credential {name!r}", hint=f"known: {known}")
    return settings.credentials[name]


def read_lookup(name: str, *, previous: bool, config: str | None) -> dict[str, object]:
    """What the agent would answer, read without it. Raises NotRunning if nothing is there yet."""
    settings = load_settings(config)
    configured(settings, name)
    with Reader(settings) as reader:
        managed = reader.managed(name)
        credential, _ = reader.journal.load(managed.spec)
        snapshot = Snapshot(reader.clock)
        Publisher(snapshot, reader.clock).publish(managed, credential)
        stage = Stage.PREVIOUS if previous else Stage.CURRENT
        answer: dict[str, object] = json.loads(snapshot.look_up(name, stage).json.body)
        return answer


def planned_rotation(settings: Settings, name: str, wish: Wish) -> list[Json]:
    """The steps that this order would lead to, up to the end of the overlap."""
    configured(settings, name)
    with Reader(settings) as reader:
        managed = reader.managed(name)
        credential, observed = reader.journal.load(managed.spec)
        now = reader.clock.now()
        order = Order("dry-run", wish.kind, now, overlap=wish.overlap)
        credential, _ = orders.record(credential, observed, order)
        horizon = now + 2 * credential.policy.overlap + timedelta(hours=1)
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
    if one_key and key_id is None:
        with Reader(settings) as reader:
            key_id = reader.journal.load(one.spec(reader.journal.installation))[0].key_id
        if key_id is None:
            raise errors.UsageError(
                f"{name} has no API key yet", hint="leave out --one-key, or start the daemon first"
            )
    from keyman.providers.oci_genai import policy_statements as statements

    return statements(one.options.compartment_id, key_id if one_key else None)


def upgrade_journal(settings: Settings) -> str:
    """Migrate under the home's lock; returns the revision reached."""
    prepare_home(settings.home)
    with HomeLock(settings.home / "daemon.lock"):
        journal = Journal.open(settings.database)
        journal.close()
    from keyman.db.migrate import head

    return head()


# Checking.


def _before_the_first_start(settings: Settings) -> list[Any]:
    """No journal yet: the providers can be asked all the same."""
    from keyman import checkup
    from keyman.stores.memory import Memory

    first = checkup.Finding(
        "info", "not_started", "keyman has not run on this home yet", "keyman daemon"
    )
    found, clock = [first], SystemClock()
    for one in settings.credentials.values():
        managed = _managed(settings, one, "not yet named", Memory(), clock)
        found += checkup.of_credential(managed, Credential(managed.spec), clock.now())
    return found


def examine(settings: Settings) -> list[Json]:
    """What `keyman check` finds, worst first. Asks the providers; changes nothing."""
    from keyman import checkup
    from keyman.db.sqlite import sqlite_version

    found = list(checkup.of_sqlite(sqlite_version()))
    if not (settings.home / "keyman.db").exists():
        found += _before_the_first_start(settings)
    else:
        with Reader(settings) as reader:
            key = settings.store.key.kind if settings.store.kind == "sealed-file" else None
            found += checkup.of_store(reader.store, settings.store.kind, key)
            for name in settings.credentials:
                managed = reader.managed(name)
                credential, _ = reader.journal.load(managed.spec)
                found += checkup.of_credential(managed, credential, reader.clock.now())
    if not settings.credentials:
        found.append(
            checkup.Finding(
                "warning",
                "no_credentials",
                "no credentials are configured",
                "config.example.yaml shows how",
            )
        )
    order = ("error", "warning", "info")
    return [one.as_json() for one in sorted(found, key=lambda one: order.index(one.severity))]
