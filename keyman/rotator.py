"""The one place where a decision becomes an action.

`advance` loops load → next_step → perform → save until there is nothing to do but wait. Each
step has one effect outside and then one record, saved over the revision that was loaded: if a
person's order landed meanwhile the save is refused and the loop decides again. Power may go at
any instant: the step is simply decided again, and every step is safe to take twice.

Decides nothing itself, and never sees a vendor's object.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime, timedelta

from keyman import chronicle, errors
from keyman.clock import Clock
from keyman.core import entrusting, orders, transitions
from keyman.core.frozen import replace
from keyman.core.health import Health
from keyman.core.model import (
    Credential,
    KeySeen,
    Observed,
    Order,
    Secret,
    Stage,
    Verdict,
    Version,
)
from keyman.core.news import DRIFT, PROMOTED, WELL_AGAIN, News, Record, news
from keyman.core.pruning import pruned
from keyman.core.rotation import next_step
from keyman.core.steps import (
    Abandon,
    Accept,
    Create,
    Examine,
    Issue,
    Observe,
    Promote,
    Retire,
    Revoke,
    Step,
    Verify,
    Wait,
    name_of,
)
from keyman.db.journal import Event, Head, Journal, Lease, Pruned
from keyman.meter import Meter
from keyman.performer import MUTATIONS, Managed, Performer

STEPS_PER_TURN = 40  # a whole rotation takes about twenty
STEPS_PER_VERSION = 3  # besides: seen to be gone, destroyed, dropped
LEASE_LASTS = timedelta(minutes=2)
REPORTS_APART = 30.0  # seconds
TOLD = (Create, Issue, Promote, Retire, Revoke, Accept, Abandon)  # worth a line of the log
TROUBLES = (DRIFT, Health.AT_RISK, Health.DOWN)  # worth a warning there
ASKING = (*MUTATIONS, Observe, Verify, Examine)  # the provider


def _log_news(told: Sequence[News], c: Credential) -> None:
    """For whoever reads nothing but the log. A step that failed was told of there already."""
    for one in told:
        which = f"version {one.version} in {one.slot}: " if one.what == DRIFT and one.slot else ""
        if one.what in TROUBLES or (one.what == Health.FAILING and not c.failures):
            log.warning("%s: %s: %s%s", one.name, one.what, which, one.reason)
        elif one.what == WELL_AGAIN:
            log.info("%s: %s again", one.name, one.what)


def _waits_for_its_probe(v: Version) -> bool:
    """Was it reported, and not asked for since? A probe without a verdict leaves a report open."""
    if v.reported_at is None:
        return False
    return v.examined_at is None or v.examined_at < v.reported_at


def nobody(_: Sequence[News]) -> None:
    """Nobody listens: the journal keeps the news all the same."""


log = logging.getLogger("keyman.rotator")
audit = logging.getLogger("keyman.audit")


class Rotator:
    """Advances credentials, one at a time each; orders may come from any thread meanwhile.

    `changed` is called after each save, and then `heard`, once it is set, if there was news. `by`
    is how the history calls whoever works here.
    """

    def __init__(
        self,
        journal: Journal,
        managed: Mapping[str, Managed],
        clock: Clock,
        new_id: Callable[[], str],
        *,
        owner: str,
        home: str,
        changed: Callable[[Credential], None],
    ) -> None:
        self.journal = journal
        self.managed = managed
        self.clock = clock
        self.new_id = new_id
        self.owner = owner
        self.home = home
        self.changed = changed
        self.by = ""
        self.heard: Callable[[Sequence[News]], None] = nobody
        self.meter = Meter()
        self._performer = Performer(clock, new_id, journal.installation)
        self._performer.fetched = self._note_fetched
        self._fetched: dict[str, tuple[Event, ...]] = {}  # until a record is saved with them
        self._rests_in: dict[str, str] = {}  # the store that was last looked into, by its name
        self._leases: dict[str, Lease] = {}
        # Who brings a secret takes a number, stores it and saves: one after the other.
        self._entrusting = threading.Lock()
        # When a change was last sent whose answer never came, until a record says so too.
        self._unanswered: dict[str, datetime] = {}
        # When a report was last heeded: of a version that can be probed, else of the credential.
        self._heeded: dict[tuple[str, int | None], float] = {}
        self._head_told: Head | None = None

    def wait_for(self, taken: Callable[[str], Iterable[int]]) -> None:
        """`taken(name)` tells which versions connected clients took last: overlaps may wait."""
        self._performer.taken = taken

    # Taking steps.

    def advance(self, name: str) -> Wait:
        """Take every step that is due now; say when to come back.

        Raises Conflict if another process drives this credential, StoreFailed or sqlalchemy's
        errors if the journal can't be written.
        """
        managed = self._managed(name)
        lease = self._lease(name)
        taken, most = 0, STEPS_PER_TURN
        last: Record | None = None
        while taken < most:
            credential, observed = self._load(managed, lease, last)
            if taken == 0:  # after long trouble there may be something to be done about each
                most += STEPS_PER_VERSION * len(credential.versions)
            taken += 1
            step = next_step(credential, observed, self.clock.now())
            if isinstance(step, Wait):
                self._tell_what_time_did(lease, Record(credential, observed))
                self.meter.turned(self.clock.now())
                return step
            try:
                last = self._take(managed, lease, credential, observed, step)
            except errors.Conflict:
                # An order came in meanwhile: decide again. If it was the lease that ran out while
                # a call hung, it is taken anew, or somebody else drives by now.
                # And if it left the configuration, its turn ends here with NotFound.
                managed, lease = self._managed(name), self._lease(name)
                last = None
        # Unreachable unless a rule and its transition disagree: rest rather than spin.
        return Wait(self.clock.now() + LEASE_LASTS / 4, f"no rest after {taken} steps")

    def _load(
        self, managed: Managed, lease: Lease, last: Record | None
    ) -> tuple[Credential, Observed | None]:
        """The record, taken over first if its last owner was another process.

        What this turn saved last needs no reading: somebody's wish that came since lets the next
        save fail, as one does that comes while a step is taken.
        """
        if last is not None and last.credential.spec is managed.spec:
            credential, observed = last.credential, last.observed
        else:
            credential, observed = self.journal.load(managed.spec)
        lost = self._unanswered.get(credential.name)
        if lost is not None:
            credential = transitions.left_unanswered(credential, lost)
        rests_in = self._rests_in.get(credential.name)
        if credential.driver != lease.fence or rests_in not in (None, managed.store_name):
            credential = self._take_over(managed, lease, credential, observed)
        return credential, observed

    def _take_over(
        self, managed: Managed, lease: Lease, c: Credential, observed: Observed | None
    ) -> Credential:
        """Begin to drive it; what the store no longer has is known from then on, unless another
        store has it.

        Raises StoreFailed, with that recorded, while a store that may have it can't be asked.
        """
        now = self.clock.now()
        after = transitions.taken_over(c, lease.fence, self.owner, now, clean=lease.clean)
        try:
            after = self._looked_for(
                self._performer.as_allowed(managed, c, observed), after, c.failures
            )
        except errors.StoreFailed as error:
            after = transitions.failed(c, "read", error.message, error.hint, now)
            self._save(lease, Record(c, observed), after, observed)
            raise
        events: tuple[Event, ...] = ()
        for before, v in zip(c.versions, after.versions, strict=True):
            if before.stored and not v.stored:
                if c.spec.mints:
                    continue  # tokens rest in memory only: after a start they are simply due
                said = "%s: version %d is not in the store any more, nor in any other"
                log.warning(said, c.name, v.number)
                lost = Event(now, c.name, "secret lost", version=v.number, slot=v.slot)
                events = (*events, lost)
        saved = self._save(lease, Record(c, observed), after, observed, events)
        self._rests_in[c.name] = managed.store_name
        return saved

    def _looked_for(self, managed: Managed, c: Credential, failures: int) -> Credential:
        """Each secret that may be wanted. Raises StoreFailed if it can't be told where one is."""
        asked = replace(c, failures=failures)
        for v in c.all_at(Stage.CURRENT, Stage.PREVIOUS, Stage.RETIRED):
            if v.stored and self._performer.kept(managed, asked, v) is None:
                c = transitions.lost(c, v)
            elif not v.stored and v.stage is not Stage.RETIRED and not c.spec.mints:
                with suppress(errors.StoreFailed):  # it was lost before: nobody waits for it
                    if self._performer.kept(managed, asked, v) is not None:
                        c = transitions.found_again(c, v)
        return c

    def _note_fetched(self, name: str, version: Version, store: str) -> None:
        at, detail = self.clock.now(), f"from {store}"
        event = Event(
            at, name, "secret moved", self.by, version.number, version.slot, detail=detail
        )
        self._fetched[name] = (*self._fetched.get(name, ()), event)

    def _tell_what_time_did(self, lease: Lease, record: Record) -> None:
        """A secret may have expired, and nothing is to be done about it: that is news as well."""
        credential, _ = news(record, record, self.clock.now())
        if credential != record.credential:
            with suppress(errors.Conflict):  # somebody saved meanwhile, and there is another turn
                self._save(lease, record, record.credential, record.observed)

    def _take(
        self,
        managed: Managed,
        lease: Lease,
        credential: Credential,
        observed: Observed | None,
        step: Step,
    ) -> Record:
        """Do it and save; returns the record as a load would give it now."""
        log.debug("%s: %s", credential.name, name_of(step))
        if isinstance(step, MUTATIONS):
            self._prove_history()
        began = self.clock.monotonic()
        try:
            with self._timed(managed, step):
                after, seen = self._performer.perform(managed, credential, observed, step)
        except (errors.ProviderFailed, errors.StoreFailed) as error:
            after, seen = self._performer.failed(credential, step, error), observed
        now, took = self.clock.now(), self._since(began)
        if after.unanswered_at != credential.unanswered_at and after.unanswered_at is not None:
            self._unanswered[after.name] = after.unanswered_at
        after = pruned(orders.settled(after, seen, now), now)
        events = chronicle.of_step(credential, after, step, now, by=self.by, took=took)
        saved = self._save(lease, Record(credential, observed), after, seen, events)
        self._tell(credential, saved, step)
        self._unanswered.pop(after.name, None)
        return Record(replace(saved, orders=tuple(o for o in saved.orders if o.open)), seen)

    def _timed(self, managed: Managed, step: Step) -> AbstractContextManager[None]:
        if not isinstance(step, ASKING):
            return nullcontext()
        return self.meter.asking(managed.spec.provider, name_of(step), self.clock.monotonic)

    def _tell(self, before: Credential, after: Credential, step: Step) -> None:
        """What somebody who reads the log should know: trouble, its end, and what was changed."""
        if after.failures > before.failures and after.last_error != before.last_error:
            log.warning("%s: %s failed: %s", after.name, name_of(step), after.last_error)
        elif before.failures and not after.failures:
            log.info("%s: goes on after %d failures", after.name, before.failures)
        told = isinstance(step, TOLD) and not after.failures
        if told and not after.spec.mints:
            version = getattr(step, "version", None)
            which = f" version {version.number}" if version else ""
            log.info("%s: %s%s", after.name, name_of(step), which)

    def _save(
        self,
        lease: Lease | None,
        before: Record,
        after: Credential,
        seen: Observed | None,
        events: tuple[Event, ...] = (),
    ) -> Credential:
        """One record over the one that was loaded, with its history and its news.

        Who hears of it and looks meets what it tells of: lookups follow first.
        """
        now = self.clock.now()
        after, told = news(before, Record(after, seen), now)
        fetched = self._fetched.get(after.name, ())
        events = (*events, *fetched)
        events = chronicle.with_news(events, told, by=self.by, mints=after.spec.mints)
        saved = self.journal.save(after, seen, lease=lease, now=now, events=events, told=told)
        if fetched:
            self._fetched[after.name] = self._fetched[after.name][len(fetched) :]
        self.changed(saved)
        self.meter.knows(saved)
        if told:
            self.meter.heard(told)
            _log_news(told, saved)
            self.heard(told)
            if any(one.what == PROMOTED for one in told):
                self.tell_head()
        return saved

    # The history.

    def _prove_history(self) -> None:
        """What can't be recorded is not begun: nothing is changed at a provider by a process that
        could not write an entry when it tried last, or never tried. Raises StoreFailed then.
        """
        if not self.journal.recorded:
            self.journal.note(Event(self.clock.now(), "", "history goes on", self.by))

    def tell_head(self) -> None:
        """Have the log say where the history ends, so that cutting it takes changing both."""
        head = self.journal.head
        if head is not None and head != self._head_told:
            self._head_told = head
            audit.info("audit: entry %d, head %s", *head)

    def tell_of_pruning(self, done: Pruned) -> None:
        """The same of where it begins: what the log does not tell of was not forgotten by us."""
        said = "audit: pruned %d entries, after entry %d, %s, up to entry %d, %s"
        audit.info(said, done.many, *done.begin, *done.end)

    # What people wish.

    def order(
        self, name: str, order: Order, *, first: bool = False, key: str | None = None
    ) -> Order:
        """Record a wish; the loop sees to it. Needs no lease.

        Raises NotFound, NotAdopted, Conflict, NoUsableSecret or UsageError.
        """
        managed = self._managed(name)
        for _ in range(STEPS_PER_TURN):
            credential, observed = self.journal.load(managed.spec)
            try:
                after, kept = orders.record(credential, observed, order, first=first)
            except errors.Error as error:
                self.journal.note(chronicle.of_order(name, order, "refused", error.message))
                raise
            entry = chronicle.of_order(name, order)
            if kept.id != order.id:
                entry = chronicle.of_order(name, order, "joined", f"order {kept.id}")
            if after == credential:  # nothing rests: a turn that is under way is not disturbed
                self.journal.note(entry)
                return kept
            with suppress(errors.Conflict):
                before = Record(credential, observed)
                self._save(None, before, after, observed, (entry,))
                return kept
        raise errors.Conflict(f"{name} is being changed by others", hint="ask again")

    def report(self, name: str, number: int, *, surely: bool = False) -> None:
        """A client met a refusal with this version: it is examined at the next turn.

        At most so often, since what a report costs (a probe, or a new token) should not be for
        every client to decide, and a provider may refuse whatever it is shown; but `surely`, if
        it is no client that says so.
        """
        managed = self._managed(name)
        what, now = (name, number if managed.spec.probes else None), self.clock.monotonic()
        if not surely and now - self._heeded.get(what, -REPORTS_APART) < REPORTS_APART:
            return
        for _ in range(STEPS_PER_TURN):
            credential, observed = self.journal.load(managed.spec)
            current = credential.current
            if current is None or current.number != number or _waits_for_its_probe(current):
                return
            after = transitions.reported(credential, number, self.clock.now())
            with suppress(errors.Conflict):  # a look at the provider, as a rule: no answer to this
                self._save(None, Record(credential, observed), after, observed)
                live = {key: at for key, at in self._heeded.items() if now - at < REPORTS_APART}
                self._heeded = {**live, what: now}
                return
        raise errors.Conflict(f"{name} is being changed by others", hint="ask again")

    def adopt(
        self,
        name: str,
        secret: Secret,
        *,
        slot: str | None = None,
        key_id: str | None = None,
        take_over: bool = False,
        by: str = "",
    ) -> Credential:
        """Take an existing slot or key under management, once its secret was seen to work.

        Raises UsageError, Conflict, ProviderFailed, StoreFailed; nothing is recorded then.
        """
        managed = self._managed(name)
        lease = self._lease(name)
        place = entrusting.place_to_adopt(self.journal.load(managed.spec)[0], slot, key_id)
        began = self.clock.monotonic()
        self._performer.expect(managed, secret)
        observed = managed.provider.observe((place.handle,), self.clock.now())
        assert observed, "only what can be observed can be adopted"
        self._must_be_accepted(managed, secret)
        entrusting.refuse_another_slots(observed, place, secret)
        fingerprint, attempt = self._performer.fingerprint(secret), self.new_id()
        with self._entrusting:
            for _ in range(STEPS_PER_TURN):
                now, loaded = self.clock.now(), Record(*self.journal.load(managed.spec))
                credential = entrusting.adopted(
                    loaded.credential,
                    observed,
                    place,
                    fingerprint,
                    attempt,
                    now,
                    take_over=take_over,
                )
                credential = transitions.taken_over(
                    credential, lease.fence, self.owner, now, clean=lease.clean
                )
                credential = self._claimed(managed, credential, observed.key(place.handle), by)
                self._performer.put(managed, name, credential.versions[0], secret)
                taken = "taken over from another installation" if take_over else ""
                event = Event(now, name, "adopted", by, 1, slot, detail=taken)
                event = replace(event, took=self._since(began))
                with suppress(errors.Conflict):  # a turn saved meanwhile: it goes on top of that
                    return self._save(lease, loaded, credential, observed, (event,))
        raise errors.Conflict(f"{name} is being changed by others", hint="ask again")

    def _claimed(self, managed: Managed, c: Credential, key: KeySeen | None, by: str) -> Credential:
        """With our mark in place of another installation's, if there is one; the history says so
        before it is set.
        """
        installation, now = c.spec.installation, self.clock.now()
        if key is None or not c.spec.claims or key.owner in (None, installation):
            return c
        detail = f"to take {key.handle} over from {key.owner}"
        self.journal.note(Event(now, c.name, "ordered adopt", by, detail=detail))
        fenced = managed.provider.claim(key, installation, c.epoch)
        return transitions.claimed(c, c.epoch, self.clock.now(), fenced=fenced)

    def put(self, name: str, secret: Secret, expires_at: datetime | None, by: str) -> Credential:
        """Take the next secret of a credential that comes by hand; lookups get it at once.

        Raises UsageError, ProviderFailed, StoreFailed; nothing is recorded then.
        """
        managed = self._managed(name)
        entrusting.refuse_put(managed.spec)
        expires_at = expires_at or managed.spec.expires_at
        if expires_at is not None and expires_at <= self.clock.now():
            hint = "give --expires-at, or correct expires_at in the configuration"
            raise errors.UsageError(f"{name}: {expires_at:%Y-%m-%d} is over already", hint=hint)
        began = self.clock.monotonic()
        self._performer.expect(managed, secret)
        if managed.spec.probes:
            self._must_be_accepted(managed, secret)
        fingerprint, attempt = self._performer.fingerprint(secret), self.new_id()
        with self._entrusting:
            for _ in range(STEPS_PER_TURN):
                credential, observed = self.journal.load(managed.spec)
                loaded, now = Record(credential, observed), self.clock.now()
                credential = entrusting.put(credential, fingerprint, attempt, expires_at, now)
                version = credential.current
                assert version
                self._performer.put(managed, name, version, secret)
                event = Event(now, name, "put", by, version.number, took=self._since(began))
                with suppress(errors.Conflict):  # a turn saved meanwhile: it goes on top of that
                    return self._save(None, loaded, credential, observed, (event,))
        raise errors.Conflict(f"{name} is being changed by others", hint="ask again")

    def _must_be_accepted(self, managed: Managed, secret: Secret) -> None:
        verdict = managed.provider.verify(secret)
        if verdict is Verdict.ACCEPTED:
            return
        raise errors.Rejected(
            f"{managed.spec.name}: the provider's answer to a probe with this secret: {verdict}",
            hint="give the secret that is in use, and check base_url and what it is allowed to do",
        )

    def clock_moved(self, name: str, by: timedelta) -> None:
        """The wall clock was set by so much: what is left of a span stays what it was."""
        managed = self._managed(name)
        for _ in range(STEPS_PER_TURN):
            credential, observed = self.journal.load(managed.spec)
            moved = transitions.clock_moved(credential, by)
            if moved == credential:
                return
            with suppress(errors.Conflict):
                self._save(None, Record(credential, observed), moved, observed)
                return

    # Small things.

    def _since(self, began: float) -> timedelta:
        return timedelta(seconds=self.clock.monotonic() - began)

    def _managed(self, name: str) -> Managed:
        try:
            return self.managed[name]
        except KeyError:
            known = ", ".join(sorted(self.managed)) or "none"
            raise errors.NotFound(f"no credential {name!r}", hint=f"known: {known}") from None

    def _lease(self, name: str) -> Lease:
        now = self.clock.now()
        lease = self.journal.take_lease(name, self.owner, self.home, LEASE_LASTS, now)
        if lease is None:
            raise errors.Conflict(f"{name} is being driven by another process", hint="wait")
        self._leases[name] = lease
        return lease

    def release(self) -> None:
        """Let every lease go, so that the next owner knows that nothing is under way."""
        while self._leases:
            _, lease = self._leases.popitem()
            self.journal.release_lease(lease)
