"""The one place where a decision becomes an action.

`advance` loops load → next_step → perform → save until there is nothing to do but wait. Each
step has one effect outside and then one record, saved over the revision that was loaded: if a
person's order landed meanwhile the save is refused and the loop decides again. Power may go at
any instant: the step is simply decided again, and every step is safe to take twice.

Decides nothing itself, and never sees a vendor's object.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keyman import errors
from keyman.clock import Clock
from keyman.core import orders, transitions
from keyman.core.model import (
    Credential,
    KeySeen,
    Observed,
    Order,
    Place,
    Secret,
    Spec,
    Stage,
    Verdict,
    Version,
)
from keyman.core.rotation import next_step
from keyman.core.steps import (
    Abandon,
    Accept,
    Activate,
    Carry,
    Claim,
    Create,
    Drop,
    Examine,
    Issue,
    Observe,
    Promote,
    Request,
    Retire,
    Revoke,
    Step,
    Verify,
    Wait,
    name_of,
)
from keyman.db.journal import Event, Journal, Lease
from keyman.providers.protocol import Issued, Provider
from keyman.stores.protocol import Store

STEPS_PER_TURN = 40  # a whole rotation takes about twenty
LEASE_LASTS = timedelta(minutes=2)
NOT_STORED = "its secret is not in the store"
MUTATIONS = (Claim, Create, Issue, Activate, Retire, Revoke)

log = logging.getLogger("keyman.rotator")


@dataclass(frozen=True, slots=True)
class Managed:
    """A credential with the parties that its steps talk to."""

    spec: Spec
    provider: Provider
    store: Store


class Rotator:
    """Advances credentials, one at a time each; orders may come from any thread meanwhile."""

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
        self._leases: dict[str, Lease] = {}
        # When a change was last sent whose answer never came, until a record says so too.
        self._unanswered: dict[str, datetime] = {}

    # Taking steps.

    def advance(self, name: str) -> Wait:
        """Take every step that is due now; say when to come back.

        Raises Conflict if another process drives this credential, StoreFailed or sqlalchemy's
        errors if the journal can't be written.
        """
        managed = self._managed(name)
        lease = self._lease(name)
        for _ in range(STEPS_PER_TURN):
            credential, observed = self._load(managed, lease)
            step = next_step(credential, observed, self.clock.now())
            if isinstance(step, Wait):
                return step
            try:
                self._take(managed, lease, credential, observed, step)
            except errors.Conflict:
                # An order came in meanwhile: decide again. If it was the lease that ran out while
                # a call hung, it is taken anew, or somebody else drives by now.
                # And if it left the configuration, its turn ends here with NotFound.
                managed, lease = self._managed(name), self._lease(name)
        # Unreachable unless a rule and its transition disagree: rest rather than spin.
        return Wait(self.clock.now() + LEASE_LASTS / 4, f"no rest after {STEPS_PER_TURN} steps")

    def _load(self, managed: Managed, lease: Lease) -> tuple[Credential, Observed | None]:
        """The record, taken over first if its last owner was another process."""
        credential, observed = self.journal.load(managed.spec)
        lost = self._unanswered.get(credential.name)
        if lost is not None:
            credential = replace(credential, unanswered_at=lost, doubt_at=lost)
        if credential.driver != lease.fence:
            credential = self._take_over(managed, lease, credential, observed)
        return credential, observed

    def _take_over(
        self, managed: Managed, lease: Lease, c: Credential, observed: Observed | None
    ) -> Credential:
        """Begin to drive it; what the store no longer has is known from then on.

        Raises StoreFailed, with that recorded, while the store can't be asked.
        """
        now = self.clock.now()
        events: tuple[Event, ...] = ()
        after = transitions.taken_over(c, lease.fence, self.owner, now, clean=lease.clean)
        try:
            for v in after.all_at(Stage.CURRENT, Stage.PREVIOUS):
                if v.stored and self._kept(managed, v.number) is None:
                    after = transitions.lost(after, v)
                    lost = Event(at=now, name=c.name, kind="secret lost", version=v.number)
                    events = (*events, lost)
        except errors.StoreFailed as error:
            c = transitions.failed(c, "read", error.message, error.hint, now)
            self.changed(self._save(lease, c, observed, ()))
            raise
        saved = self._save(lease, after, observed, events)
        self.changed(saved)
        return saved

    def _take(
        self,
        managed: Managed,
        lease: Lease,
        credential: Credential,
        observed: Observed | None,
        step: Step,
    ) -> None:
        log.debug("%s: %s", credential.name, name_of(step))
        try:
            after, seen = self._perform(managed, credential, observed, step)
        except (errors.ProviderFailed, errors.StoreFailed) as error:
            after, seen = self._failed(credential, step, error), observed
        now = self.clock.now()
        if after.unanswered_at != credential.unanswered_at and after.unanswered_at is not None:
            self._unanswered[after.name] = after.unanswered_at
        after = orders.settled(after, seen, now)
        saved = self._save(lease, after, seen, self._events(credential, after, step, now))
        self._unanswered.pop(after.name, None)
        self.changed(saved)

    def _save(
        self,
        lease: Lease,
        credential: Credential,
        observed: Observed | None,
        events: tuple[Event, ...],
    ) -> Credential:
        now = self.clock.now()
        return self.journal.save(credential, observed, lease=lease, now=now, events=events)

    def _perform(
        self, managed: Managed, c: Credential, observed: Observed | None, step: Step
    ) -> tuple[Credential, Observed | None]:
        """Do the step; return the record and the provider's picture as they now are."""
        if isinstance(step, Observe):
            seen = managed.provider.observe(step.handles, self.clock.now(), step.optional)
            return (transitions.observed_now(c, seen), seen) if seen else (c, None)
        if isinstance(step, MUTATIONS):
            return self._change(managed, c, observed, step), observed
        return self._note(managed, c, observed, step), observed

    def _change(
        self, managed: Managed, c: Credential, observed: Observed | None, step: Step
    ) -> Credential:
        """Steps that change something at the provider."""
        provider, spec = managed.provider, managed.spec
        match step:
            case Claim(handle, epoch):
                key = _key(observed, handle)
                fenced = provider.claim(key, spec.installation, epoch)
                return transitions.claimed(c, epoch, self.clock.now(), fenced=fenced)
            case Create(version):
                standby_expires_at = c.policy.standby_expiry(version.requested_at)
                made = provider.create(version, standby_expires_at.replace(microsecond=0))
                c = transitions.created(c, version, made.handle, made.standby)
                return self._keep(managed, c, version, made.issued) if made.issued else c
            case Issue(version):
                issued = provider.issue(version, _etag(observed, version.place))
                return self._keep(managed, c, version, issued)
            case Activate(place):
                provider.activate(place, _etag(observed, place))
                return transitions.activated(c, place, self.clock.now())
            case Retire(place, retiring):
                provider.retire(place, _etag(observed, place))
                return transitions.retired(c, place, retiring, self.clock.now())
            case Revoke(version):
                if version.place:
                    provider.revoke(version.place, _etag(observed, version.place))
                return transitions.revoked(c, version, self.clock.now())
        raise AssertionError(f"{name_of(step)} changes nothing at the provider")

    def _note(
        self, managed: Managed, c: Credential, observed: Observed | None, step: Step
    ) -> Credential:
        """Steps that only ask, keep or write down."""
        now = self.clock.now()
        match step:
            case Request():
                return transitions.requested(c, step, observed, self.new_id(), now)
            case Carry(version):
                return self._carry(managed, c, version)
            case Verify(version):
                return self._verify(managed, c, version)
            case Examine(version):
                return self._examine(managed, c, observed, version)
            case Promote(version):
                if self._kept(managed, version.number) is None:
                    return transitions.abandoned(c, Abandon(version, NOT_STORED))
                return transitions.promoted(c, version, now)
            case Accept():
                return transitions.accepted(c, step, now)
            case Abandon():
                return transitions.abandoned(c, step)
            case Drop(version):
                managed.store.drop(c.name, version.number)
                return transitions.dropped(c, version)
        raise AssertionError(f"{name_of(step)} is not an action")

    def _keep(
        self, managed: Managed, c: Credential, version: Version, issued: Issued
    ) -> Credential:
        """Store what was shown once and read it back before anything depends on it."""
        self._put(managed, c.name, version, issued.secret)
        return transitions.issued(
            c,
            version,
            handle=issued.handle,
            mask=issued.mask,
            expires_at=issued.expires_at,
            fingerprint=self.fingerprint(issued.secret),
            now=self.clock.now(),
        )

    def _carry(self, managed: Managed, c: Credential, version: Version) -> Credential:
        assert version.carries is not None
        source = c.version(version.carries)
        secret = self._kept(managed, version.carries)
        if source is None or secret is None:
            return transitions.abandoned(c, Abandon(version, NOT_STORED))
        self._put(managed, c.name, version, secret)
        return transitions.carried(c, version, self.fingerprint(secret), self.clock.now())

    def _put(self, managed: Managed, name: str, version: Version, secret: Secret) -> None:
        managed.store.put(name, version.number, secret, slot=version.slot)
        if managed.store.get(name, version.number) != secret:
            raise errors.StoreFailed(
                f"the store does not give back what it was given for {name} {version.number}",
                hint="look at the store; keyman asks for the secret anew",
            )

    def _verify(self, managed: Managed, c: Credential, version: Version) -> Credential:
        """One probe; if it is refused, the current secret shows whether that says anything."""
        secret = self._kept(managed, version.number)
        if secret is None:
            return transitions.abandoned(c, Abandon(version, NOT_STORED))
        verdict = managed.provider.verify(secret)
        control = None
        current = c.current
        if verdict in (Verdict.REFUSED, Verdict.FORBIDDEN) and current and not current.dead_at:
            beside = self._kept(managed, current.number)
            control = managed.provider.verify(beside) if beside else None
        return transitions.probed(c, version, verdict, control, self.clock.now())

    def _examine(
        self, managed: Managed, c: Credential, observed: Observed | None, version: Version
    ) -> Credential:
        secret = self._kept(managed, version.number)
        if secret is None:
            return transitions.lost(c, version)
        verdict = managed.provider.verify(secret)
        return transitions.examined(c, version, verdict, observed, self.clock.now())

    def _kept(self, managed: Managed, number: int) -> Secret | None:
        """The stored secret; None if it isn't there, or so damaged that it never will be again."""
        try:
            return managed.store.get(managed.spec.name, number)
        except errors.SecretDamaged as error:
            log.error("%s", error.message)
            return None

    def _failed(self, c: Credential, step: Step, error: errors.Error) -> Credential:
        """An outcome that is not `done`: what is known now, and how long to rest."""
        now = self.clock.now()
        version = step.version if isinstance(step, Create | Issue) else None
        if isinstance(error, errors.SecretLost) and version:
            return transitions.start_over(c, version, self.new_id(), now)
        if isinstance(error, errors.SlotRefused) and version:
            refusal = Abandon(version, error.message, for_good=True)
            return replace(transitions.abandoned(c, refusal), doubt_at=now)
        if isinstance(step, Activate | Retire) and isinstance(error, errors.Rejected):
            without_it = orders.switch_refused(c, step.place, error.message, now)
            if without_it is not None:
                return without_it
        if isinstance(step, Observe) and isinstance(error, errors.Rejected) and c.current:
            # Deleted, or not ours to see: a probe tells whether lookups may go on with it.
            c = transitions.reported(c, c.current.number, now)
        lost = isinstance(error, errors.Unknown) and isinstance(step, MUTATIONS)
        c = transitions.failed(
            c,
            name_of(step),
            error.message,
            error.hint,
            now,
            retry_after=getattr(error, "retry_after", None),
            unanswered=lost,
        )
        return orders.refused(c, error.message, now) if isinstance(error, errors.Rejected) else c

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
            after, kept = orders.record(credential, observed, order, first=first)
            if kept.id != order.id:
                return kept
            event = Event(
                at=order.recorded_at,
                name=name,
                kind=f"ordered {order.kind}",
                by=order.by,
                slot=order.slot,
                reason=order.reason,
                detail=" ".join(f"version {number}" for number in order.targets),
            )
            with suppress(errors.Conflict):
                after = self.journal.save(after, observed, events=(event,))
                self.changed(after)
                return kept
        raise errors.Conflict(f"{name} is being changed by others", hint="ask again")

    def report(self, name: str, number: int) -> None:
        """A client met a refusal with this version: it is examined at the next turn."""
        managed = self._managed(name)
        credential, observed = self.journal.load(managed.spec)
        current = credential.current
        if current is None or current.number != number:
            return
        after = transitions.reported(credential, number, self.clock.now())
        with suppress(errors.Conflict):  # whatever was saved meanwhile is newer than the report
            self.journal.save(after, observed)

    def adopt(self, name: str, slot: str, secret: Secret) -> Credential:
        """Take an existing slot under management, once its secret was seen to work.

        Raises Conflict, ProviderFailed, StoreFailed; nothing is recorded then.
        """
        managed = self._managed(name)
        lease = self._lease(name)
        credential, _ = self.journal.load(managed.spec)
        now = self.clock.now()
        observed = managed.provider.observe((credential.key_id or "",), now)
        if observed is None:
            raise errors.UsageError(f"{name}: this provider has nothing to adopt")
        credential = orders.adopted(
            credential, observed, slot, self.fingerprint(secret), self.new_id(), now
        )
        verdict = managed.provider.verify(secret)
        if verdict is not Verdict.ACCEPTED:
            raise errors.Rejected(
                f"{name}: the provider's answer to a probe with this secret: {verdict}",
                hint="give the secret of the slot in use, and check base_url and IAM policy",
            )
        orders.refuse_another_slots(observed, Place(credential.key_id or "", slot), secret)
        version = credential.versions[0]
        self._put(managed, name, version, secret)
        credential = transitions.taken_over(
            credential, lease.fence, self.owner, now, clean=lease.clean
        )
        event = Event(at=now, name=name, kind="adopted", version=1, slot=slot)
        saved = self._save(lease, credential, observed, (event,))
        self.changed(saved)
        return saved

    def fingerprint(self, secret: Secret) -> str:
        """Tells secrets apart without showing them: keyed with this installation's name."""
        key = f"keyman fingerprint {self.journal.installation}".encode()
        digest = hmac.digest(key, secret.reveal().encode(), "sha256")
        return f"hmac:{digest.hex()[:12]}"

    # Small things.

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

    def _events(
        self, before: Credential, after: Credential, step: Step, now: datetime
    ) -> tuple[Event, ...]:
        """The line of history that this step is worth, if any."""
        if after.failures > before.failures:
            failure = Event(
                at=now,
                name=after.name,
                kind=f"{name_of(step)} failed",
                detail=after.last_error or "",
            )
            return (failure,)
        if isinstance(step, Observe | Drop):
            return ()
        wished = after.versions[-1] if isinstance(step, Request) else None
        version = wished or getattr(step, "version", None)
        place = getattr(step, "place", None)
        return (
            Event(
                at=now,
                name=after.name,
                kind=name_of(step),
                version=version.number if version else None,
                slot=version.slot if version else getattr(place, "slot", None),
                reason=getattr(step, "reason", ""),
            ),
        )


def _key(observed: Observed | None, handle: str) -> KeySeen:
    key = observed.key(handle) if observed else None
    assert key is not None, "a change is decided only with a picture of the key"
    return key


def _etag(observed: Observed | None, place: Place | None) -> str | None:
    key = observed.key(place.handle) if observed and place else None
    return key.etag if key else None
