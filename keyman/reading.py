"""A home looked at from outside: no lock taken, nothing made or changed, no daemon needed.

For `get`, `status`, `check`, for foretelling a rotation and for what a provider must allow. What it
tells is as of the journal's last record; whoever needs the running daemon's word asks the agent.
Tokens rest in nobody's store: one is minted for a `get`, and not recorded.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from keyman import errors
from keyman.clock import Clock, SystemClock, new_id
from keyman.config import (
    DEFAULT,
    CredentialSettings,
    GoogleOptions,
    OciGenaiOptions,
    OpenaiOptions,
    Settings,
    StaticOptions,
    StoreSettings,
)
from keyman.config.places import look_at
from keyman.core import orders
from keyman.core.model import Credential, Order, Stage, Version
from keyman.core.plan import as_last_met, foresee
from keyman.db.journal import Journal
from keyman.db.sqlite import path_of, sqlite_version
from keyman.desk import Wish
from keyman.performer import Managed
from keyman.publisher import Publisher
from keyman.register import view
from keyman.serving.snapshot import Snapshot
from keyman.stores.memory import Memory
from keyman.stores.protocol import Store
from keyman.views import Json, credential_view, time_text
from keyman.wiring import Stores, configured, how_to_get_one, managed_by

if TYPE_CHECKING:
    from keyman.checkup import Finding  # and all of it when it is needed: not for a `get`

SEVERITIES = ("error", "warning", "info")


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


def _started(settings: Settings) -> bool:
    """Raises NotAllowed if this user may not look into the home."""
    return look_at(path_of(settings.database)) is not None


# What is asked.


def status(settings: Settings, name: str) -> Json:
    """One element of `status --json`; a home where nothing ever ran has records without facts."""
    one = configured(settings, name)
    if not _started(settings):
        return credential_view(Credential(one.spec("")), None, SystemClock().now())
    with Reader(settings) as reader:
        return reader.status(name)


def statuses(settings: Settings) -> list[Json]:
    names = sorted(settings.credentials)
    if not _started(settings):
        return [status(settings, name) for name in names]
    with Reader(settings) as reader:
        return [reader.status(name) for name in names]


def clients(settings: Settings) -> list[Json]:
    """Who may look up over the network, or once might: the list of `client list --json`."""
    if not _started(settings):
        return []
    with Reader(settings) as reader:
        return [view(one) for one in reader.journal.clients()]


def told(settings: Settings) -> list[Json]:
    """How it is with those who are told what happens: `notify` of `status --json`."""
    if not settings.notify:
        return []
    from keyman.notify.standing import standing

    if not _started(settings):
        return standing(settings.notify, {})
    with Reader(settings) as reader:
        return standing(settings.notify, reader.journal.told())


def lookup(settings: Settings, name: str, *, previous: bool) -> Json:
    """What the agent would answer. Raises NotRunning if nothing ever ran here."""
    one = configured(settings, name)
    spec = one.spec("")
    if spec.mints:
        return _minted(settings, one, previous=previous)
    if not _started(settings) and (spec.key_id or not spec.issues):
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
    if _started(settings):
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


def policy_statements(settings: Settings, name: str, *, one_key: bool) -> list[str]:
    """What must be allowed at the provider, for keyman and for callers of the model, ready to
    paste where the provider has a language for it. Raises NotFound, UsageError.
    """
    one = configured(settings, name)
    if one_key and not isinstance(one.options, OciGenaiOptions):
        raise errors.UsageError(
            f"--one-key is for oci-genai: what {one.provider} allows does not name single keys",
            hint="leave out --one-key",
        )
    match one.options:
        case OciGenaiOptions():
            return _statements_of_oci(settings, one, one.options, one_key=one_key)
        case GoogleOptions() as options:
            from keyman.vendors.google_iam import policy_statements as of_google

            return of_google(options)
        case OpenaiOptions() as options:
            from keyman.vendors.openai_scopes import policy_statements as of_openai

            project, account = options.project_id, options.service_account_id
            return of_openai(project, account, key_type=options.key_type)
        case StaticOptions():
            return [
                f"{name} is static: keyman asks nobody for its secret, so it needs no permission"
            ]


def _statements_of_oci(
    settings: Settings, one: CredentialSettings, options: OciGenaiOptions, *, one_key: bool
) -> list[str]:
    from keyman.vendors.oci_iam import policy_statements as of_oci

    key_id = options.api_key_id
    if one_key and key_id is None and _started(settings):
        with Reader(settings) as reader:
            key_id = reader.load(one.name).key_id
    if one_key and key_id is None:
        raise errors.UsageError(
            f"{one.name} has no API key yet", hint="leave out --one-key, or start the daemon first"
        )
    only = key_id if one_key else None
    return of_oci(options.compartment_id, only, auth=options.auth.kind)


def examine(
    settings: Settings, running: Iterable[Json] = (), silent: str | None = None
) -> list[Json]:
    """What `keyman check` finds, worst first. Asks the providers; changes nothing.

    `running`: how the credentials are in the words of the daemon, if one runs. `silent`: who has
    the home, if that one does not answer.
    Raises NotAllowed if this user may not look into the home.
    """
    from keyman import checkup
    from keyman.checkup import home

    found = [*checkup.of_sqlite(sqlite_version()), *checkup.of_configuration(settings)]
    found += [*home.of_home(settings), *checkup.of_mirrors(running)]
    found += [*checkup.of_targets(settings), *checkup.of_the_told(told(settings))]
    found += home.of_the_silent(silent)
    found += checkup.of_the_way_out(settings, SystemClock().now())
    if home.somebody_elses(settings):
        pass  # the daemon refuses to work there, so what is in it is not ours to judge
    elif _started(settings):
        with Reader(settings) as reader:
            found += _examined(reader)
    else:
        found += _before_the_first_start(settings)
    found += checkup.of_proxy_variables(settings.network) if checkup.unreached(found) else ()
    found.sort(key=lambda one: SEVERITIES.index(one.severity))
    return [one.as_json() for one in found]


def _examined(reader: Reader) -> Iterator[Finding]:
    from keyman import checkup

    settings, now = reader.settings, reader.clock.now()
    yield from checkup.of_network(settings, reader.journal.clients(), now)
    for said in settings.stores.values():
        closed = yield from _of_store(reader.stores, said)
        if closed and said.name == DEFAULT:
            return
    for name, one in settings.credentials.items():
        yield from checkup.of_credential(one, reader.managed(name), reader.load(name), now)
    yield from checkup.of_the_left(reader.journal.names(), settings)


def _of_store(stores: Mapping[str, Store], said: StoreSettings) -> Generator[Finding, None, bool]:
    """And whether it could not even be opened."""
    from keyman import checkup

    try:
        store = stores[said.name]
    except errors.StoreFailed as error:
        yield checkup.Finding("error", "store_failed", error.message, error.hint)
        return True
    yield from checkup.of_store(store, said)
    return False


def _before_the_first_start(settings: Settings) -> Iterator[Finding]:
    """No journal yet: the providers can be asked all the same, and stores that are no file."""
    from keyman import checkup

    rooms, stores = NothingYet(), Stores(settings, "not yet named", read_only=True)
    note = "keyman has not run on this home yet"
    yield checkup.Finding("info", "not_started", note, "keyman daemon")
    for said in settings.stores.values():
        if said.file is None:
            yield from _of_store(stores, said)
    stores.close()
    for one in settings.credentials.values():
        managed = managed_by(settings, one, rooms)
        yield from checkup.of_credential(one, managed, Credential(managed.spec), rooms.clock.now())
    yield from checkup.of_network(settings, (), rooms.clock.now())
