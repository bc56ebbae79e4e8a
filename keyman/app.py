"""Puts the rooms of the house together: the only file that knows them all.

Builds things in order with ordinary calls and hands each what it needs. Decides nothing.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self

from keyman import errors
from keyman.client.page import FILE
from keyman.clock import Clock, SystemClock, new_id
from keyman.config import DEFAULT, Settings, prepare_home
from keyman.core.model import Credential, Secret
from keyman.core.steps import Wait
from keyman.db.journal import Event, Journal
from keyman.desk import Desk
from keyman.farewell import Farewell
from keyman.lock import COMMAND, DAEMON, HomeLock
from keyman.mirroring import Mirroring
from keyman.notify import Notifying
from keyman.notify.courier import Judging
from keyman.notify.standing import standing
from keyman.performer import Managed
from keyman.publisher import Publisher
from keyman.register import Register
from keyman.rotator import Rotator
from keyman.serving.page import Page, open_page
from keyman.serving.snapshot import Snapshot
from keyman.stores.memory import Memory
from keyman.stores.protocol import Store
from keyman.whereabouts import whereabouts
from keyman.wiring import Stores, managed_by, secret_of

log = logging.getLogger("keyman.app")


class App:
    """Everything that works on one home, in one process. Close it to let the home go."""

    def __init__(
        self, settings: Settings, *, role: str = DAEMON, by: str = "", clock: Clock | None = None
    ) -> None:
        """Takes the home's lock; `by`: who works here, for the history.

        Raises Conflict if another process has it.
        """
        self.clock: Clock = clock or SystemClock()
        self.warnings = prepare_home(settings.home)
        self._closing = ExitStack()
        with ExitStack() as opened:
            opened.enter_context(HomeLock(settings.home / "daemon.lock", role))
            self.journal = Journal.open(settings.database)
            opened.callback(self.journal.close)
            self.journal.void_leases(str(settings.home))
            self.stores = Stores(settings, self.journal.installation)
            opened.callback(self.stores.close)
            self._open_stores(settings)
            page = self._page(settings, role)
            if page is not None:
                opened.callback(page.close)
            self._closing = opened.pop_all()
        self.tokens = Memory()
        self.snapshot = Snapshot(self.clock, page)
        self.rotator = Rotator(
            self.journal,
            {},
            self.clock,
            new_id,
            owner=f"{os.getpid()}-{new_id()}",
            home=str(settings.home),
            changed=self._changed,
        )
        self.rotator.by = by or role
        self.farewell = Farewell(
            self.journal, self.stores, self.rotator, settings.network, self._secret_of
        )
        self.desk = Desk(self.journal, self.rotator, self.clock, new_id, self.farewell)
        self.register = Register(self.journal, self.clock)
        self.publisher = Publisher(self.snapshot, self.clock)
        self.mirroring = Mirroring(
            self.journal,
            self.stores,
            self.publisher,
            self.clock,
            self.rotator.meter,
            self._publish,
        )
        self.notifying = Notifying(
            self.journal,
            lambda: [managed.spec for managed in self.rotator.managed.values()],
            self.clock,
            self.rotator.meter,
            where=platform.node(),
        )
        self.desk.mirrors = self.mirroring.status
        self.desk.notified = lambda: standing(self.settings.notify, self.journal.told())
        self.farewell.busy = self.mirroring.busy
        # Name → the newest token's number, and how far the wall was ahead of the time since boot
        # when it came: its end was told by that wall.
        self._told_by: dict[str, tuple[int, float]] = {}
        self.settings = settings
        self.use(settings)

    @property
    def store(self) -> Store:
        """The default one."""
        return self.stores[DEFAULT]

    def _open_stores(self, settings: Settings) -> None:
        """What can't be opened is told before anything runs; a mirror may come back later."""
        every = settings.credentials.values()
        for name in {DEFAULT, *(one.store for one in every)}:
            self.stores[name]
        for name in sorted({name for one in every for name in one.mirrors}):
            try:
                self.stores[name]
            except (errors.StoreFailed, errors.NotAllowed) as error:
                self.warnings.append(f"the mirror {name} does not open: {error.message}")

    def _page(self, settings: Settings, role: str) -> Page | None:
        """A command serves nobody, but who holds what it replaces or destroys must see that."""
        agent, folder = settings.agent, settings.agent.socket.parent
        if role != DAEMON and not os.path.exists(folder / FILE):  # noqa: PTH110 never raises
            return None  # nobody relies on one
        key = f"keyman page {self.journal.installation}".encode()
        return open_page(folder, key=key, shared=bool(agent.allow_uids), now=self.clock.now)

    def use(self, settings: Settings) -> None:
        """Work by this configuration from now on; lookups follow at once."""
        managed = {
            name: managed_by(settings, one, self) for name, one in settings.credentials.items()
        }
        # What may fail comes first: a configuration is taken up whole or not at all.
        loaded = self.journal.load_all(each.spec for each in managed.values())
        records = [(each, one) for each, (one, _) in zip(managed.values(), loaded, strict=True)]
        self.journal.remember({one.name: whereabouts(one) for one in settings.credentials.values()})
        served = self.snapshot.names() | set(self.rotator.managed)
        before, left = self.settings, served - set(managed)
        self.settings = settings
        self.rotator.managed = managed
        self.farewell.network = settings.network
        self.rotator.meter.keep(managed)
        for gone in left:  # only now: a turn that ends meanwhile would publish it again
            self.publisher.withdraw(gone)
            self._told_by.pop(gone, None)
            for address in self.tokens.list(gone):
                self.tokens.drop(*address)
        self.snapshot.withdraw_others(managed)
        down: set[int] = set()  # stores that did not answer: once is enough to wait for each
        for each, record in records:
            self._replace_another_s(each, record, before)
            asking = id(each.store) not in down
            if not self.publisher.publish(each, record, ask=asking) and asking:
                down.add(id(each.store))
            self.rotator.meter.knows(record)
        self.mirroring.look_after(records)
        self.notifying.use(settings.notify, settings.network)

    def _replace_another_s(self, one: Managed, record: Credential, before: Settings) -> None:
        """A token that was asked for in other ways than now is soon another one's."""
        was, name = before.credentials.get(one.spec.name), one.spec.name
        changed = was is not None and was.options != self.settings.credentials[name].options
        if changed and one.spec.mints and record.current:
            self.rotator.report(name, record.current.number, surely=True)

    def _changed(self, credential: Credential) -> None:
        if credential.name not in self.rotator.managed:  # it left the configuration during its turn
            return
        if credential.spec.mints:
            newest = max((v.number for v in credential.versions if v.issued_at), default=0)
            if self._told_by.get(credential.name, (0,))[0] != newest:
                self._told_by[credential.name] = newest, self._wall_ahead()
        self._publish(credential)
        self.mirroring.follow(credential)

    def _publish(self, credential: Credential) -> None:
        managed = self.rotator.managed.get(credential.name)
        if managed is not None:
            self.publisher.publish(managed, credential)
            self._as_configured_now(managed, credential)

    def _as_configured_now(self, managed: Managed, credential: Credential) -> None:
        """What was published by a configuration that was replaced meanwhile is put right."""
        while (now := self.rotator.managed.get(credential.name)) is not managed:
            if now is None:
                self.publisher.withdraw(credential.name)
                return
            managed = now
            self.publisher.publish(managed, credential)

    def _secret_of(self, name: str) -> Secret:
        """The current secret of another credential, by the configuration as it is now."""
        return secret_of(self.settings, self)(name)

    def take_up(self, settings: Settings) -> None:
        """Work by a changed configuration. Raises ConfigError if it needs a new start."""
        for part in ("home", "database", "store", "stores", "agent"):
            if getattr(settings, part) != getattr(self.settings, part):
                raise errors.ConfigError(
                    f"a changed `{part}` is taken up at the next start only",
                    hint="restart the daemon",
                )
        if settings.notify != self.settings.notify:
            Judging(settings.notify, settings.network).refuse()
        self.note("new configuration", detail=difference(self.settings, settings))
        self.use(settings)

    def names(self) -> list[str]:
        return list(self.rotator.managed)

    def turn(self, name: str) -> Wait:
        """Advance it. What keeps turns from their end is counted; if it lasts people are told."""
        try:
            wait = self.rotator.advance(name)
        except Exception as error:
            self.rotator.meter.turn_failed()
            said = error.message if isinstance(error, errors.Error) else type(error).__name__
            self.notifying.standstill.failed(name, said)
            raise
        self.notifying.standstill.ended(name)
        return wait

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

    def clock_set(self, by: timedelta) -> None:
        """Somebody set the wall clock: what lives for a span goes on living for the rest of it.

        Noticed a moment later: a token that came meanwhile was told its end by the new time.
        """
        for name in self.names():
            number, ahead = self._told_by.get(name, (0, None))
            moved = by.total_seconds() if ahead is None else self._wall_ahead() - ahead
            if abs(moved) * 2 > abs(by.total_seconds()):
                self._told_by[name] = number, self._wall_ahead()
                self._clock_moved(name, timedelta(seconds=moved))

    def _clock_moved(self, name: str, by: timedelta) -> None:
        try:
            self.rotator.clock_moved(name, by)
        except errors.Error as error:  # the others' tokens have their ends put right all the same
            log.error("%s: its token's end does not follow the clock: %s", name, error.message)

    def _wall_ahead(self) -> float:
        """Seconds from the time since boot to the wall's: the same until somebody sets the wall."""
        return self.clock.now().timestamp() - self.clock.boot()

    def note(self, kind: str, *, by: str = "", detail: str = "") -> None:
        """Write into the history what concerns the whole home. Raises StoreFailed, Conflict."""
        self.journal.note(Event(self.clock.now(), "", kind, by, detail=detail))

    def note_if_possible(self, kind: str, *, detail: str = "") -> None:
        """The same of what happens in any case: lookups go on while nothing can be written."""
        try:
            self.note(kind, detail=detail)
        except errors.Error as error:
            log.error("%s: the history does not say so: %s", kind, error.message)
        self.rotator.tell_head()

    def keep_house(self) -> None:
        """Forget old history. Raises StoreFailed if the journal can't be written."""
        self.journal.prune(self.clock.now(), self.rotator.tell_of_pruning)

    def close(self, *, clean: bool = True) -> None:
        """Let the home go; `clean` if no call of ours to a provider can still be under way."""
        self.mirroring.close()
        self.notifying.close()
        if clean:
            self.rotator.release()
        self.rotator.tell_head()
        if not self.mirroring.lanes.idle:
            self.stores.leave()
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Ctrl-C may have left a call without its answer: the next owner must know that.
        self.close(clean=kind is None or issubclass(kind, errors.Error))


def open_app(settings: Settings, *, role: str = DAEMON, by: str = "") -> App:
    """The whole of keyman on this home. Raises Conflict while another process works on it."""
    return App(settings, role=role, by=by)


def difference(before: Settings, after: Settings) -> str:
    """Which credentials came, left or changed, by name: what is said of them may be secret."""
    was, now = before.credentials, after.credentials
    changed = sorted(name for name in was.keys() & now.keys() if was[name] != now[name])
    parts = {"new": sorted(now.keys() - was.keys()), "gone": sorted(was.keys() - now.keys())}
    said = {**parts, "changed": changed}.items()
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in said if names)


def upgrade_journal(settings: Settings) -> str:
    """Migrate under the home's lock; returns the revision reached."""
    prepare_home(settings.home)
    with HomeLock(settings.home / "daemon.lock", COMMAND):
        journal = Journal.open(settings.database)
        journal.close()
    from keyman.db.migrate import head

    return head()
