"""A home whose every named failpoint is passed in sight, and whose credential lives by its
schedule: entrusted or issued, rotated when due, the version before switched off after its overlap.

Also what somebody is who was paused and wakes when another has taken over: nothing that they do may
land any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from keyman import errors
from keyman.core.model import Credential, Order, Secret, Version
from keyman.core.steps import Wait
from keyman.serving.page import open_page
from tests.disk.house import House, Lived
from tests.disk.rooms import opened_journal, opened_store
from tests.failpoints.points import (
    JOURNAL,
    PAGE,
    PROVIDER,
    STORE,
    Passing,
    Points,
    at_commits,
)
from tests.sim.cloud import Door, Key, Slot
from tests.sim.invariants import Broken, Watch
from tests.sim.rooms import Row
from tests.sim.setups import Setup

LEASE_IS_OVER = timedelta(minutes=3)
ROTATIONS = 2  # promotions of a life: what is entrusted or issued first, and what replaces it


class Over(BaseException):
    """A paused worker has come to the end of its turn."""


class Proven(Watch):
    """Nothing out of a backup is handed out before it was seen to work."""

    def handed(self, record: Credential | None = None) -> tuple[Version, str] | None:
        found = super().handed(record)
        return None if found is None or found[0].restored_at else found


class Home(House):
    def __init__(self, folder: Path, setup: Setup) -> None:
        super().__init__(folder, setup)
        self.watch = Proven(cast("Any", self))
        self.goal = ROTATIONS
        self.spoiled = False  #: who was paused has put another secret over one of these
        self.blind = False  #: nobody told keyman that its folder is an older one
        self.generation = (0, 0)  #: which a client was told last, and with which version

    def begin(self) -> None:
        super().begin()
        self.points = Points()
        self.paused = False  #: and woken, after another took over
        self.turned = False  #: it has begun to act

    A_PROCESS_S = (*House.A_PROCESS_S, "points", "paused", "turned")

    # A process, every passing of which is told.

    def _boot(self, page: Any) -> None:
        points, of = self.points, self.machine
        assert self.journal is not None
        assert self.store is not None
        writes: Any = self.journal._writes
        writes.begin = at_commits(points, "commit", writes.begin)
        sealed: Any = self.store
        sealed._transaction = at_commits(points, "sealed commit", sealed._transaction)

        def managed(spec: Any, cloud: Any, store: Any, *more: Any) -> Any:
            provider = Passing(points, "provider", PROVIDER, cloud)
            return of.managed(spec, provider, Passing(points, "store", STORE, store), *more)

        def rotator(journal: Any, *more: Any, **words: Any) -> Any:
            return of.rotator(Passing(points, "journal", JOURNAL, journal), *more, **words)

        self.machine = replace(of, managed=managed, rotator=rotator)
        super()._boot(page and Passing(points, "page", PAGE, page))
        self.machine = of

    def _publish(self, credential: Any) -> None:
        with self.points.around("publish"):
            super()._publish(credential)

    def _wish(self) -> None:
        """Nobody wishes for anything: it is rotated when it is due."""

    def live(self, *, adopting: bool = False) -> Lived:
        """Until it rests. A person entrusts their key again as long as that is not on record."""
        return super().live(adopting=self.setup.adopted and not self.record.versions)

    def entrust(self) -> None:
        self.rotator.adopt(self.setup.name, Secret("old-one"), slot="one")

    def made_in_the_console(self) -> None:
        """The key that a person entrusts to keyman, with the secret of one of its slots."""
        life, slots = self.setup.policy.lifetime, dict[str | None, Slot]()
        states = (("one", "ACTIVE", 1.0), ("two", self.setup.standby_state, 2 / 3))
        for name, state, part in states:
            slots[name] = Slot(f"old-{name}", state, self.true + life * part)
            if state == "ACTIVE":
                self.cloud.doors[f"old-{name}"] = Door(self.true)
        self.cloud.keys["key"] = Key("key", "", slots)

    def look_up(self) -> None:
        """And who holds an answer sees by the page that there is another one."""
        if self.blind and not self.turned:
            return
        super().look_up()
        try:
            ready = self.snapshot.look_up(self.setup.name)
        except (errors.NoUsableSecret, errors.NotFound):
            return
        told = int(ready.headers["keyman-generation"].split(".")[1]), ready.version
        before, self.generation = self.generation, told
        if told[0] < before[0] or (told[0] == before[0] and told[1] != before[1]):
            raise Broken("I8", f"generation {told[0]} of version {told[1]} after {before}")

    # Another folder in its place.

    def put_back(self) -> None:
        """The folder is as it was once: numbers and records begin there again."""
        self.seen, self.holder = 0, None
        self.watch.restored()
        self.goal = self.watch.promotions + 1

    # Two at a time.

    @contextmanager
    def opened_elsewhere(self) -> Iterator[None]:
        """By a machine that doesn't see the lock, as on a network's disk."""
        with ExitStack() as opened:
            journal = opened_journal(self, self.folder / "keyman.db", "")
            opened.callback(journal.close)
            store = opened_store(self, self.folder, journal.installation, "")
            opened.callback(store.close)
            page = open_page(self.folder / "elsewhere", key=b"page", shared=False, now=self.now)
            if page is not None:
                opened.callback(page.close)
            self.journal, self.store = journal, store
            self._boot(page)
            yield

    def wake(self, since: Home) -> None:
        """Another has taken over meanwhile: this is how things are now, outside of this process."""
        kept = (self.folder, self.cloud, self.watch)
        self.__dict__.update(since.__getstate__())
        self.folder, self.cloud, self.watch = kept
        for field in since.cloud.__dataclass_fields__:
            setattr(self.cloud, field, getattr(since.cloud, field))
        self.watch.__dict__.update(since.watch.__dict__)
        self.cloud.world, self.watch.world = cast("Any", self), cast("Any", self)
        self.paused = True

    @property
    def books(self) -> Any:
        """Who was paused tries to save, and is judged by what lands."""
        books = super().books
        if self.paused:
            books.holder = None
        return books

    def asking_for_a_secret(self) -> None:
        if not self.paused:  # another has asked the store since
            super().asking_for_a_secret()

    def changing_secret(self, name: str, number: int) -> None:
        theirs = self.secrets.get((name, number))
        super().changing_secret(name, number)
        if self.paused and theirs is not None:
            self.secrets[name, number] = theirs

    def kept_secret(self, name: str, number: int, secret: Secret) -> None:
        """No store has a fence: what is put late lies where another's secret was."""
        if not self.paused:
            super().kept_secret(name, number, secret)
            return
        assert self.store is not None
        there, theirs = self.store.get(name, number), self.secrets.get((name, number))
        self.spoiled = self.spoiled or theirs not in (None, there)
        self.secrets[name, number] = there or secret

    def find_what_is_kept(self) -> None:
        """In the store, whatever was acknowledged before it was spoiled."""
        with self.opened():
            assert self.store is not None
            found = {each: self.store.get(*each) for each in self.store.list()}
        self.secrets = {each: secret for each, secret in found.items() if secret is not None}
        self.watch.store_restored()

    def landed(self, row: Row, orders: tuple[Order, ...]) -> None:
        if not self.paused:
            super().landed(row, orders)
        elif row.credential.revision > self.record.revision:
            raise Broken("I4", f"revision {row.credential.revision} is saved by who was paused")
        else:
            raise Over  # it landed before the pause, and was judged by who took over

    def _advance(self) -> Wait:
        self.turned = True
        try:
            wait = super()._advance()
        except errors.Error:
            if self.paused:
                raise Over from None
            raise
        if self.paused:
            raise Over
        return wait

    def truth(self) -> str:
        """What there is at the provider, in words."""
        return repr(sorted(self.cloud.keys.items()))
