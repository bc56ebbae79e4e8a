"""Has mirrors, and the current secret that a store itself knows, follow the journal.

Always by comparing what a store shows with the record (core/copies.py), never by a step: what an
outage, a kill or a lost answer left behind is a difference like any other. Compared is after each
save that changes what a store should show, at the start, and from time to time; what was found in
order costs no call until then. Works in threads of its own, a lane for each store, so that neither
a rotation nor a lookup nor the daemon's end ever waits for it.

Puts nothing into a credential's own store, and changes nothing at a provider.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping

from keyman import errors
from keyman.clock import Clock
from keyman.core import copies
from keyman.core.copies import Goal, Shown
from keyman.core.model import Credential, Observed
from keyman.db.journal import Journal
from keyman.lanes import Lanes
from keyman.meter import Meter
from keyman.mirroring.comparing import Comparing
from keyman.mirroring.follower import BEHIND, FAILING, OK, Follower, Led
from keyman.mirroring.telling import Telling
from keyman.performer import Managed
from keyman.publisher import Publisher
from keyman.stores.protocol import Pointing, Store
from keyman.views import Json

SHOWN_WITHIN = 3  # looks: a store may take a moment to show what it was told
NOT_OURS = (
    "its readers get a secret that this journal knows nothing of: it stays until one of ours was"
    " seen to work"
)

log = logging.getLogger("keyman.mirroring")


class Mirroring:
    """Does nothing by itself before `start`; a command that runs alone calls `settle` instead.

    `republish` is called for records whose secrets lookups lack, in the lane of their own store.
    """

    def __init__(
        self,
        journal: Journal,
        stores: Mapping[str, Store],
        publisher: Publisher,
        clock: Clock,
        meter: Meter,
        republish: Callable[[Credential], None],
    ) -> None:
        self._journal = journal
        self._stores = stores
        self._publisher = publisher
        self._clock = clock
        self._meter = meter
        self._republish = republish
        self.telling = Telling(journal)
        self.lanes = Lanes(self._work)
        self._led: dict[str, Led] = {}
        self._followed: list[Led] = []  # those of them that have followers, who may be few of many
        self._saved: set[str] = set()
        self._running = self._closed = False
        self._lock = threading.Lock()

    # What is to be followed.

    def look_after(self, every: Iterable[tuple[Managed, Credential]]) -> None:
        """Follow these from now on, and no others. What the others' mirrors hold stays there."""
        with self._lock:
            self._led = {record.name: self._leading(managed, record) for managed, record in every}
            self._followed = [led for led in self._led.values() if led.followers]
            told = [
                (led.record.name, one) for led in self._followed for one in led.followers.values()
            ]
        self._meter.mirrors({(name, one.store): one.state != OK for name, one in told})
        if self._running:
            self.sweep()

    def _leading(self, managed: Managed, record: Credential) -> Led:
        known = self._led.get(record.name)
        if known is not None and known.record.revision > record.revision:
            record = known.record
        followers = {one.store: one for one in self._followers(managed)}
        for store, one in (known.followers if known else {}).items():
            if store in followers and followers[store].own == one.own:
                followers[store] = one
        return Led(managed, record, followers)

    def _followers(self, managed: Managed) -> Iterable[Follower]:
        if managed.spec.mints:  # tokens rest in nobody's store
            return
        now = self._clock.now()
        if isinstance(managed.store, Pointing):
            yield Follower(managed.store_name, own=True, since=now)
        yield from (Follower(name, own=False, since=now) for name in managed.mirrors)

    def follow(self, record: Credential) -> None:
        """A record was saved. Returns at once."""
        with self._lock:
            led = self._led.get(record.name)
            if led is None or record.revision < led.record.revision:
                return
            led.record = record
            self._saved.add(record.name)
        if self._running:
            self._look(led)

    # When it is compared.

    def start(self) -> None:
        """From now on do it in the background."""
        self._running = True
        self.sweep()

    def sweep(self) -> None:
        """Look for everything that does not follow yet, or was not compared for long."""
        for led in self._followed:
            self._look(led)
        for name in self._publisher.lacking():
            if name in self._led:
                self.lanes.ask(self._led[name].managed.store_name, name)

    def tend(self) -> None:
        """The same for what was not in order the last time; to be called each second."""
        for led in self._followed:
            if any(one.state != OK for one in led.followers.values()):
                self._look(led)

    def _look(self, led: Led) -> None:
        for one in list(led.followers.values()):
            if self._due(led, one):
                self.lanes.ask(one.store, led.record.name)

    def _due(self, led: Led, one: Follower) -> bool:
        aim = copies.goal(led.record, self._clock.now())
        if one.reached != aim and one.state == OK:
            self._becomes(led, one, BEHIND)
        often = led.record.policy.observe_every.total_seconds()
        return one.due(aim, self._clock.boot(), often)

    def settle(self, seconds: float, *, every: bool = False) -> list[str]:
        """Once, now: those that were saved, or every one; at most for so long.

        Returns a sentence for each that does not follow yet.
        """
        names = set(self._led) if every else self._saved & self._led.keys()
        asked = [(self._led[name], one) for name in sorted(names) for one in self._of(name)]
        for led, one in asked:
            self.lanes.ask(one.store, led.record.name)
        self.lanes.wait(seconds)
        return [
            f"{led.record.name}: {one.what} is behind: {one.error or 'no answer so far'}"
            for led, one in asked
            if one.state != OK
        ]

    def close(self) -> None:
        """Begin nothing more, and wait for nobody."""
        self._running, self._closed = False, True
        self.lanes.close()

    # What is known.

    def status(self, name: str) -> list[Json]:
        """How far each store is that follows the credential."""
        with self._lock:
            return [one.view() for one in self._of(name)]

    def _of(self, name: str) -> list[Follower]:
        led = self._led.get(name)
        return list(led.followers.values()) if led else []

    def busy(self, name: str) -> bool:
        """Is something of that credential's being written right now?"""
        return self.lanes.busy(name)

    # In a lane's thread.

    def _work(self, store: str, name: str) -> None:
        led = self._led.get(name)
        if led is None:
            return
        if store == led.managed.store_name and name in self._publisher.lacking():
            self._republish(led.record)
        one = led.followers.get(store)
        if one is not None:
            self._compare(led, one)

    def _compare(self, led: Led, one: Follower) -> None:
        aim = one.tried = copies.goal(led.record, self._clock.now())
        try:
            observed = self._journal.load(led.managed.spec)[1]
            stays = copies.only_looks(led.record, observed, self._clock.now())
            comparing = self._comparing(led, one, aim, observed)
            shown = comparing.look() if stays else comparing.converge()
        except errors.Error as error:
            self._failed(led, one, error.message)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is tried again
            self._failed(led, one, type(error).__name__)
        else:
            if not self._closed:
                self._found(led, one, aim, shown, stays)

    def _comparing(
        self, led: Led, one: Follower, aim: Goal, observed: Observed | None
    ) -> Comparing:
        name, managed, record, now = led.record.name, led.managed, led.record, self._clock.now()
        return Comparing(
            self._stores[one.store],
            record,
            aim,
            one.own,
            beside=managed.store,
            proven=lambda number: copies.proven_since(
                record, observed, one.unknown_since(number, now), now
            ),
            secret=lambda number: self._publisher.secret(managed, number),
            goes_on=lambda: name in self._led and not self._closed,
            copies=lambda number: self.telling.copies(name, one.store, number, self._clock.now()),
        )

    # What came of it.

    def _found(self, led: Led, one: Follower, aim: Goal, shown: Shown, stays: str | None) -> None:
        now, boot = self._clock.now(), self._clock.boot()
        follows = copies.follows(aim, shown, own=one.own)
        with self._lock:
            one.version, one.compared = copies.reached(aim, shown), boot
            one.reached = aim if follows else None
        if follows:
            if aim == copies.goal(led.record, now):  # else it is compared once more
                self._fine(led, one)
            return
        one.rest(boot)
        if stays is None and copies.unknown(led.record, shown):
            stays = NOT_OURS
        if stays is not None:
            one.error = stays
            self._becomes(led, one, BEHIND)
        elif one.failures > SHOWN_WITHIN:
            self._failed(led, one, "it does not show what it was told")

    def _fine(self, led: Led, one: Follower) -> None:
        failed, one.error, one.failures, one.unknown = one.error, None, 0, None
        self._becomes(led, one, OK)
        if failed is not None:
            log.info("%s: %s follows again", led.record.name, one.what)
        self.telling.follows(led.record.name, one.store, one.version, self._clock.now())

    def _failed(self, led: Led, one: Follower, why: str) -> None:
        name = led.record.name
        if self._closed or name not in self._led:
            return
        before, one.error, one.reached = one.error, why, None
        one.rest(self._clock.boot())
        self._becomes(led, one, FAILING)
        if before != why:
            log.warning("%s: %s fails: %s", name, one.what, why)
        self.telling.fails(name, one.store, one.version, why, self._clock.now())

    def _becomes(self, led: Led, one: Follower, state: str) -> None:
        with self._lock:
            one.becomes(state, self._clock.now())
        self._meter.mirror(led.record.name, one.store, behind=state != OK)
