"""Doing one step: its one effect outside, and the record as it is afterwards.

Saves nothing and decides nothing. Every step may be its own repetition, because power may go
before its record is written; never sees a vendor's object.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from keyman import errors
from keyman.clock import Clock
from keyman.core import orders, transitions
from keyman.core.model import (
    Credential,
    KeySeen,
    Observed,
    Place,
    Secret,
    Spec,
    Verdict,
    Version,
)
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
    name_of,
)
from keyman.providers.protocol import Issued, Provider
from keyman.stores.limits import fitting
from keyman.stores.protocol import Store

MUTATIONS = (Claim, Create, Issue, Activate, Retire, Revoke)
NOT_STORED = "its secret is not in the store"

log = logging.getLogger("keyman.performer")


def nothing(_: str) -> Iterable[int]:
    """Nobody serves clients here, so nothing was taken."""
    return ()


@dataclass(frozen=True, slots=True)
class Managed:
    """A credential with the parties that its steps talk to, and where else its secret is read."""

    spec: Spec
    provider: Provider
    store: Store
    store_name: str = ""  #: as the configuration calls it; "" for what is no store of that
    mirrors: tuple[str, ...] = ()  #: the stores that follow it, by their names there


class Performer:
    """`taken(name)`, once it is set, tells which versions connected clients took last."""

    def __init__(self, clock: Clock, new_id: Callable[[], str], installation: str) -> None:
        self.clock = clock
        self.new_id = new_id
        self.installation = installation
        self.taken: Callable[[str], Iterable[int]] = nothing

    def perform(
        self, managed: Managed, c: Credential, observed: Observed | None, step: Step
    ) -> tuple[Credential, Observed | None]:
        """Do the step; return the record and the provider's picture as they now are."""
        if isinstance(step, Observe):
            seen = managed.provider.observe(step.handles, self.clock.now(), step.optional)
            if seen is None:
                return c, None
            seen = replace(seen, taken=tuple(sorted(set(self.taken(c.name)))))
            return transitions.observed_now(c, seen), seen
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
                managed.store.ready(c.name)
                standby_expires_at = c.policy.standby_expiry(version.requested_at)
                made = provider.create(version, standby_expires_at.replace(microsecond=0))
                c = transitions.created(c, version, made.handle, made.standby)
                return self._keep(managed, c, version, made.issued) if made.issued else c
            case Issue(version):
                managed.store.ready(c.name)  # what is issued is shown only once
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
                if self.kept(managed, version.number) is None:
                    return self._missing(managed, c, version)
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
        self.put(managed, c.name, version, issued.secret)
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
        secret = self.kept(managed, version.carries)
        if source is None or secret is None:
            c = transitions.lost(c, source) if source else c
            return transitions.abandoned(c, Abandon(version, NOT_STORED))
        self.put(managed, c.name, version, secret)
        return transitions.carried(c, version, self.fingerprint(secret), self.clock.now())

    def _missing(self, managed: Managed, c: Credential, version: Version) -> Credential:
        """The store lost it before it was promoted: an earlier secret can be taken over again."""
        if version.carries is not None:
            return self._carry(managed, c, version)
        return transitions.abandoned(c, Abandon(version, NOT_STORED))

    def expect(self, managed: Managed, secret: Secret) -> None:
        """Raise StoreFailed if what somebody brings could not be stored."""
        fitting(managed.spec.name, secret)
        managed.store.ready(managed.spec.name)

    def put(self, managed: Managed, name: str, version: Version, secret: Secret) -> None:
        managed.store.put(name, version.number, secret, slot=version.slot)
        if managed.store.get(name, version.number) != secret:
            raise errors.StoreFailed(
                f"the store does not give back what it was given for {name} {version.number}",
                hint="look at the store; keyman asks for the secret anew",
            )

    def _verify(self, managed: Managed, c: Credential, version: Version) -> Credential:
        """One probe; if it is refused, the current secret shows whether that says anything."""
        secret = self.kept(managed, version.number)
        if secret is None:
            return self._missing(managed, c, version)
        verdict = managed.provider.verify(secret)
        control = None
        current = c.current
        if verdict in (Verdict.REFUSED, Verdict.FORBIDDEN) and current and not current.dead_at:
            beside = self.kept(managed, current.number)
            control = managed.provider.verify(beside) if beside else None
        return transitions.probed(c, version, verdict, control, self.clock.now())

    def _examine(
        self, managed: Managed, c: Credential, observed: Observed | None, version: Version
    ) -> Credential:
        secret = self.kept(managed, version.number)
        if secret is None:
            return transitions.lost(c, version)
        verdict = managed.provider.verify(secret)
        return transitions.examined(c, version, verdict, observed, self.clock.now())

    def kept(self, managed: Managed, number: int) -> Secret | None:
        """The stored secret; None if it isn't there, or so damaged that it never will be again."""
        try:
            return managed.store.get(managed.spec.name, number)
        except errors.SecretDamaged as error:
            log.error("%s", error.message)
            return None

    def failed(self, c: Credential, step: Step, error: errors.Error) -> Credential:
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

    def fingerprint(self, secret: Secret) -> str:
        """Tells secrets apart without showing them: keyed with this installation's name."""
        key = f"keyman fingerprint {self.installation}".encode()
        digest = hmac.digest(key, secret.reveal().encode(), "sha256")
        return f"hmac:{digest.hex()[:12]}"


def _key(observed: Observed | None, handle: str) -> KeySeen:
    key = observed.key(handle) if observed else None
    assert key is not None, "a change is decided only with a picture of the key"
    return key


def _etag(observed: Observed | None, place: Place | None) -> str | None:
    key = observed.key(place.handle) if observed and place else None
    return key.etag if key else None
