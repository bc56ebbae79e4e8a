"""One credential's home on a disk, lived in by the real rotator: real journal, sealed file, key
file, lock, page and snapshot in a folder; around them what tests/disk/outside.py has.

What is outside of the folder can go on in another process, which opens the folder afresh, as a new
process of keyman's does after the power came back. While it is open it is one process's, and one
thread's.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from keyman import errors
from keyman.core.model import Credential, Order, OrderKind, Secret, Spec, Stage
from keyman.core.steps import Wait
from keyman.lock import HomeLock
from keyman.publisher import Publisher
from keyman.serving.page import open_page
from keyman.serving.snapshot import Snapshot
from tests.disk.outside import Outside, Time
from tests.disk.rooms import WatchedJournal, WatchedStore, opened_journal, opened_store
from tests.sim import rest
from tests.sim.cloud import TINY, Door, Key, Slot
from tests.sim.invariants import Broken
from tests.sim.setups import Kind, Setup

PAUSE = timedelta(seconds=30)  # after a turn that failed
MOST_TURNS = 400
PATIENCE = 8  # failures in a row, until somebody stops a process whose disk is broken
OPEN = (Stage.REQUESTED, Stage.PENDING)
HOME = "home"  # whatever folder its files are moved to


@dataclass(frozen=True, slots=True)
class Weak:
    """What a careless keyman would do. Nothing, unless a self-test says so."""

    journal: str = ""  #: a PRAGMA for the journal, e.g. "synchronous=OFF"
    store: str = ""  #: the same for the sealed file


@dataclass(slots=True)
class Lived:
    """How a process's life went: which errors people were told, by their codes."""

    errors: list[str] = field(default_factory=list)
    begun: bool = False  #: it opened its home
    stopped: bool = False  #: by somebody, because its turns failed again and again


class House(Outside):
    def __init__(self, folder: Path, setup: Setup, weak: Weak | None = None) -> None:
        super().__init__(folder, setup)
        self.weak = weak or Weak()
        self.goal = 0  # promotions after which it may rest

    def begin(self) -> None:
        super().begin()
        self.rotator: Any = None
        self.journal: WatchedJournal | None = None
        self.store: WatchedStore | None = None
        self.publisher: Any = None
        self.snapshot: Any = None
        self.managed: Any = None

    A_PROCESS_S = (
        *Outside.A_PROCESS_S,
        *("rotator", "journal", "store", "publisher", "snapshot", "managed"),
    )

    # A process.

    @contextmanager
    def opened(self) -> Iterator[None]:
        """As the daemon opens its home, and lets it go. Raises keyman's errors."""
        with ExitStack() as opened:
            opened.enter_context(HomeLock(self.folder / "daemon.lock"))
            journal = opened_journal(self, self.folder / "keyman.db", self.weak.journal)
            opened.callback(journal.close)
            journal.void_leases(HOME)
            store = opened_store(self, self.folder, journal.installation, self.weak.store)
            opened.callback(store.close)
            page = open_page(self.folder, key=b"page", shared=False, now=self.now)
            if page is not None:
                opened.callback(page.close)
            self.journal, self.store = journal, store
            self._boot(page)
            yield
            self.rotator.release()

    def _boot(self, page: Any) -> None:
        assert self.journal is not None
        assert self.store is not None
        clock = Time(self)
        self.spec = self.spec or self._spec(self.journal.installation)
        self.snapshot = Snapshot(clock, page)
        self.publisher = Publisher(self.snapshot, clock)
        self.managed = self.machine.managed(self.spec, self.cloud, self.store, "default", ())
        self.owner = f"owner-{next(self.ids)}"
        self.rotator = self.machine.rotator(
            self.journal,
            {self.setup.name: self.managed},
            clock,
            lambda: f"id-{next(self.ids)}",
            owner=self.owner,
            home=HOME,
            changed=self._publish,
        )
        self._publish(self.journal.load(self.spec)[0])

    def _spec(self, installation: str) -> Spec:
        setup = self.setup
        slots = setup.kind is Kind.SLOTS
        return Spec(
            name=setup.name,
            provider=setup.kind.value,
            policy=setup.policy,
            slots=setup.slots,
            key_id="key" if setup.adopted and slots else None,
            installation=installation,
            claims=setup.claims,
        )

    def _publish(self, credential: Credential) -> None:
        self.watch.published = credential.current.number if credential.current else None
        self.publisher.publish(self.managed, credential)

    # Its life.

    def entrust(self) -> None:
        """A key with two slots that was there before, one of which is in use."""
        life, slots = self.setup.policy.lifetime, dict[str | None, Slot]()
        for name, state, part in (("one", "ACTIVE", 1.0), ("two", "INACTIVE", 2 / 3)):
            slots[name] = Slot(f"old-{name}", state, self.true + life * part)
        self.cloud.keys["key"] = Key("key", "", slots)
        self.cloud.doors["old-one"] = Door(self.true)
        self.rotator.adopt(self.setup.name, Secret("old-one"), slot="one")

    def live(self, *, adopting: bool = False) -> Lived:
        """One process, from its start until it rests with its goal reached, or is stopped.

        Raises Broken, and whatever keyman should never let out.
        """
        lived = Lived()
        try:
            with self.opened():
                lived.begun = True
                if adopting:
                    self.entrust()
                self._take_turns(lived)
        except errors.Error as error:
            lived.errors.append(error.code)
        return lived

    def _take_turns(self, lived: Lived) -> None:
        failed, before = 0, self.record.failures
        self.look_up()
        for _ in range(MOST_TURNS):
            if max(failed, self.record.failures - before) >= PATIENCE:
                lived.stopped = True
                return
            try:
                self._wish()
                wait = self._advance()
                self.watch.waits(wait)
                failed, back = 0, wait.until
            except errors.Error as error:
                lived.errors.append(error.code)
                failed, back = failed + 1, self.true + PAUSE
            self.look_up()
            if self.at_rest():
                return
            self.true = max(self.true + TINY, back)
        raise Broken(
            "L", f"no rest after {MOST_TURNS} turns: {rest.missing(cast('Any', self), self.goal)}"
        )

    def _advance(self) -> Wait:
        self.acting, self.turns = self.owner, self.turns + 1
        try:
            wait: Wait = self.rotator.advance(self.setup.name)
        finally:
            self.acting = None
        return wait

    def _wish(self) -> None:
        """Somebody wants a rotation, and says so until it is on record."""
        record = self.record
        under_way = record.all_at(*OPEN) or any(order.open for order in record.orders)
        if record.current and not under_way and self.watch.promotions < self.goal:
            order = Order(f"wish-{next(self.ids)}", OrderKind.ROTATE, self.true)
            self.rotator.order(self.setup.name, order)

    def look_up(self) -> None:
        """What a client gets at this moment works, and is never older than what any got before."""
        if self.setup.name in self.publisher.lacking():  # the daemon's sweep tries again
            self._publish(self.record)
        try:
            wire = self.snapshot.look_up(self.setup.name).wire(plain=False)
        except (errors.NoUsableSecret, errors.NotFound):
            return
        said = json.loads(wire.partition(b"\r\n\r\n")[2])
        self.watch.turn_over()
        if not self.cloud.accepts(said["value"]):
            raise Broken("I1", f"a lookup is given version {said['version']}, which is dead")
        if said["version"] < self.seen:
            raise Broken("I8", f"a lookup is given version {said['version']} after {self.seen}")
        self.seen = said["version"]

    def at_rest(self) -> bool:
        overlaps = self.record.all_at(Stage.PREVIOUS)
        return not overlaps and not rest.missing(cast("Any", self), self.goal)


def taken_out(packed: bytes) -> House:
    house: House = pickle.loads(packed)
    return house
