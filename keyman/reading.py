"""A home looked at from outside: no lock taken, nothing made or changed, no daemon needed.

For `get`, `status` and for foretelling a rotation. What it tells is as of the journal's last
record; whoever needs the running daemon's word asks the agent. Tokens rest in nobody's store: one
is minted for a `get`, and not recorded.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Self

from keyman import errors
from keyman.clock import Clock, SystemClock, new_id
from keyman.config import (
    CredentialSettings,
    Settings,
)
from keyman.config.places import look_at
from keyman.core import orders
from keyman.core.model import Credential, Order, Stage, Version
from keyman.core.plan import as_last_met, foresee
from keyman.db.journal import Journal
from keyman.db.sqlite import path_of
from keyman.desk import Wish
from keyman.performer import Managed
from keyman.publisher import Publisher
from keyman.register import view
from keyman.serving.snapshot import Snapshot
from keyman.stores.memory import Memory
from keyman.stores.protocol import Store
from keyman.views import Json, credential_view, time_text
from keyman.wiring import Stores, configured, how_to_get_one, managed_by


class Reader:
    """Journal and store of a home, for looking only.

    Raises NotRunning if there is no journal, NotAllowed if this user may not look.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock: Clock = SystemClock()
        look_at(path_of(settings.database))
        self.journal = Journal.open(settings.database, migrate=False, read_only=True)
        self._opened = ExitStack()
        self._opened.callback(self.journal.close)
        self.stores = Stores(settings, self.journal.installation, read_only=True)
        self._opened.callback(self.stores.close)
        self.tokens: Store = Memory()

    def load(self, name: str) -> Credential:
        """The record, as last saved. Raises NotFound."""
        one = configured(self.settings, name)
        return self.journal.load(one.spec(self.journal.installation))[0]

    def managed(self, name: str) -> Managed:
        return managed_by(self.settings, configured(self.settings, name), self)

    def status(self, name: str) -> Json:
        one = configured(self.settings, name)
        credential, observed = self.journal.load(one.spec(self.journal.installation))
        return credential_view(credential, observed, self.clock.now())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


@dataclass(frozen=True, slots=True)
class NothingYet:
    """The rooms of a home where nothing ever ran."""

    clock: Clock = field(default_factory=SystemClock)
    journal: None = None
    stores: Mapping[str, Store] = field(default_factory=lambda: defaultdict(Memory))
    tokens: Store = field(default_factory=Memory)


def started(settings: Settings) -> bool:
    """Did anything ever run here? Raises NotAllowed if this user may not look into the home."""
    return look_at(path_of(settings.database)) is not None


# What is asked.


def status(settings: Settings, name: str) -> Json:
    """One element of `status --json`; a home where nothing ever ran has records without facts."""
    one = configured(settings, name)
    if not started(settings):
        return credential_view(Credential(one.spec("")), None, SystemClock().now())
    with Reader(settings) as reader:
        return reader.status(name)


def statuses(settings: Settings) -> list[Json]:
    names = sorted(settings.credentials)
    if not started(settings):
        return [status(settings, name) for name in names]
    with Reader(settings) as reader:
        return [reader.status(name) for name in names]


def clients(settings: Settings) -> list[Json]:
    """Who may look up over the network, or once might: the list of `client list --json`."""
    if not started(settings):
        return []
    with Reader(settings) as reader:
        return [view(one) for one in reader.journal.clients()]


def told(settings: Settings) -> list[Json]:
    """How it is with those who are told what happens: `notify` of `status --json`."""
    if not settings.notify:
        return []
    from keyman.notify.standing import standing

    if not started(settings):
        return standing(settings.notify, {})
    with Reader(settings) as reader:
        return standing(settings.notify, reader.journal.told())


def lookup(settings: Settings, name: str, *, previous: bool) -> Json:
    """What the agent would answer. Raises NotRunning if nothing ever ran here."""
    one = configured(settings, name)
    spec = one.spec("")
    if spec.mints:
        return _minted(settings, one, previous=previous)
    if not started(settings) and (spec.key_id or not spec.issues):
        by_hand = None if spec.issues else how_to_get_one(one)
        raise errors.NotAdopted(
            f"{name}: nobody has entrusted keyman with its secret yet", hint=by_hand
        )
    with Reader(settings) as reader:
        return _answer(reader.managed(name), reader.load(name), reader.clock, previous=previous)


def _minted(settings: Settings, one: CredentialSettings, *, previous: bool) -> Json:
    """A token for this call alone. Its number follows the last one recorded. Raises ProviderFailed
    as well.
    """
    rooms, number = NothingYet(), 1
    if started(settings):
        with Reader(settings) as reader:
            number = max((v.number for v in reader.load(one.name).versions), default=0) + 1
    managed, now = managed_by(settings, one, rooms), rooms.clock.now()
    if previous:
        return _answer(managed, Credential(managed.spec), rooms.clock, previous=True)
    ends = now + one.policy.lifetime
    wish = Version(number, Stage.REQUESTED, new_id(), requested_at=now, expires_at=ends)
    issued = managed.provider.issue(wish, None)
    managed.store.put(one.name, number, issued.secret)
    version = replace(wish, stage=Stage.CURRENT, expires_at=issued.expires_at)
    return _answer(managed, Credential(managed.spec, (version,)), rooms.clock, previous=False)


def _answer(managed: Managed, credential: Credential, clock: Clock, *, previous: bool) -> Json:
    snapshot = Snapshot(clock)
    Publisher(snapshot, clock).publish(managed, credential)
    stage = Stage.PREVIOUS if previous else Stage.CURRENT
    answer: Json = json.loads(snapshot.look_up(credential.name, stage).json.body)
    return answer


def planned_rotation(settings: Settings, name: str, wish: Wish) -> list[Json]:
    """The steps that this order would lead to, up to the end of the overlap."""
    one = configured(settings, name)
    with Reader(settings) as reader:
        credential, observed = reader.journal.load(one.spec(reader.journal.installation))
        now = reader.clock.now()
    order = Order("dry-run", wish.kind, now, reason=wish.reason, overlap=wish.overlap)
    observed = as_last_met(credential, observed)  # the order ends the failures that tell of it
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
