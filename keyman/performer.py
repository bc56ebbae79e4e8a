"""Doing one step: its one effect outside, and the record as it is afterwards.

Saves nothing and decides nothing. Every step may be its own repetition, because power may go
before its record is written; never sees a vendor's object.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from keyman import errors
from keyman.clock import Clock
from keyman.core import orders, transitions
from keyman.core.frozen import replace
from keyman.core.model import (
    Credential,
    KeySeen,
    Observed,
    Place,
    Secret,
    Spec,
    Stage,
    Verdict,
    Version,
)
from keyman.core.situation import Situation
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
TRIES_ELSEWHERE = (
    3  # of stores that can't be asked, before what can be issued anew is taken for lost
)

log = logging.getLogger("keyman.performer")


def nothing(_: str) -> Iterable[int]:
    """Nobody serves clients here, so nothing was taken."""
    return ()


def unheard(_name: str, _version: Version, _store: str) -> None:
    """Nobody writes the history: the log says it all the same."""


@dataclass(frozen=True, slots=True)
class Managed:
    """A credential with the parties that its steps talk to, and where else its secret is read."""

    spec: Spec
    provider: Provider
    store: Store
    store_name: str = ""  #: as the configuration calls it; "" for what is no store of that
    mirrors: tuple[str, ...] = ()  #: the stores that follow it, by their names there
    elsewhere: Mapping[str, Store] = field(default_factory=dict, compare=False)
    """Where its secrets may be that are not in its store, the likeliest first. Opened when asked
    for: that may raise StoreFailed, NotAllowed or ConfigError.
    """

    def read(self, version: Version) -> Secret | None:
        """Its secret, from the store. Raises SecretDamaged for one that is not what was put there,
        and StoreFailed.
        """
        found = self.store.get(self.spec.name, version.number)
        if found is None or version.is_of(found, self.spec.installation):
            return found
        what = f"{self.spec.name}/{version.number}"
        where = f"the store {self.store_name}" if self.store_name else "its store"
        raise errors.SecretDamaged(
            f"{what} in {where} is not what keyman put there: somebody changed it",
            hint="it is given to nobody: keyman looks for another copy, else replaces it; find out"
            " who may write there",
        )


class Performer:
    """`taken(name)`, once it is set, tells which versions connected clients took last;
    `fetched(name, version, store)` is told what was found elsewhere, and put where it belongs.
    """

    def __init__(self, clock: Clock, new_id: Callable[[], str], installation: str) -> None:
        self.clock = clock
        self.new_id = new_id
        self.installation = installation
        self.taken: Callable[[str], Iterable[int]] = nothing
        self.fetched: Callable[[str, Version, str], None] = unheard

    def perform(
        self, managed: Managed, c: Credential, observed: Observed | None, step: Step
    ) -> tuple[Credential, Observed | None]:
        """Do the step; return the record and the provider's picture as they now are."""
        managed = self.as_allowed(managed, c, observed)
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
                if self.kept(managed, c, version) is None:
                    return self._missing(managed, c, version)
                # Reading may take long, and the overlap begins when the record is written.
                return transitions.promoted(c, version, self.clock.now())
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
        secret = self.kept(managed, c, source) if source else None
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
        secret = self.kept(managed, c, version)
        if secret is None:
            return self._missing(managed, c, version)
        verdict = managed.provider.verify(secret)
        control = None
        current = c.current
        if verdict in (Verdict.REFUSED, Verdict.FORBIDDEN) and current and not current.dead_at:
            beside = self.kept(managed, c, current)
            control = managed.provider.verify(beside) if beside else None
        return transitions.probed(c, version, verdict, control, self.clock.now())

    def _examine(
        self, managed: Managed, c: Credential, observed: Observed | None, version: Version
    ) -> Credential:
        secret = self.kept(managed, c, version)
        if secret is None:
            return transitions.lost(c, version)
        verdict = managed.provider.verify(secret)
        return transitions.examined(c, version, verdict, observed, self.clock.now())

    def as_allowed(self, managed: Managed, c: Credential, observed: Observed | None) -> Managed:
        """Who does not drive the key changes nothing in any store, so it fetches nothing either."""
        displaced = Situation(c, observed, self.clock.now()).other_owner
        return replace(managed, elsewhere={}) if displaced else managed

    def kept(self, managed: Managed, c: Credential, version: Version) -> Secret | None:
        """The stored secret. If it isn't there, or damaged, it is fetched from wherever else it
        is; None if nobody has it.

        Raises StoreFailed while its store, or one that may have it as well, can't be asked.
        """
        try:
            found = managed.read(version)
        except errors.SecretDamaged as error:
            log.error("%s", error.message)
            found = None
        return found or self._fetched(managed, c, version)

    def _fetched(self, managed: Managed, c: Credential, version: Version) -> Secret | None:
        """Only what is its secret by its fingerprint, and may work still."""
        over = version.dead_at or version.stage is Stage.REVOKED
        if c.spec.mints or over or version.fingerprint is None:
            return None
        if version.expired(self.clock.now()):
            return None
        try:
            found = _elsewhere(managed, version)
        except errors.StoreFailed as error:
            another = c.spec.issues and c.failures >= TRIES_ELSEWHERE
            if managed.store.durable and not another:
                raise
            log.warning("%s", error.message)
            found = None
        if found is None:
            return None
        where, secret = found
        self.put(managed, c.name, version, secret)
        said = "%s: version %d was not in %s: put there, out of %s"
        log.warning(said, c.name, version.number, managed.store_name, where)
        self.fetched(c.name, version, where)
        return secret

    def failed(self, c: Credential, step: Step, error: errors.Error) -> Credential:
        """An outcome that is not `done`: what is known now, and how long to rest."""
        now = self.clock.now()
        version = step.version if isinstance(step, Create | Issue) else None
        if isinstance(error, errors.SecretLost) and version:
            # Lost once is bad luck; what loses every secret is told of, and not asked all the time.
            c = transitions.start_over(c, version, self.new_id(), now)
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
        """Tells secrets apart without showing them."""
        return secret.fingerprint(self.installation)


def _elsewhere(managed: Managed, version: Version) -> tuple[str, Secret] | None:
    """The first other store that has it, by name. Raises StoreFailed if none of those that can be
    asked has it, and some can't be.
    """
    silent: dict[str, errors.Error] = {}
    for name in managed.elsewhere:
        try:
            secret = managed.elsewhere[name].get(managed.spec.name, version.number)
        except errors.SecretDamaged:
            continue
        except errors.Error as failure:  # also one that does not open
            silent[name] = failure
            continue
        if secret is not None and version.is_of(secret, managed.spec.installation):
            return name, secret
    for name, why in silent.items():
        what = f"{managed.spec.name}: version {version.number} is not in {managed.store_name}"
        raise errors.StoreFailed(
            f"{what}, and {name} can't be asked for it: {why.message}",
            hint=f"{why.hint}; or take {name} out of the configuration, if it never had it",
        )
    return None


def _key(observed: Observed | None, handle: str) -> KeySeen:
    key = observed.key(handle) if observed else None
    assert key is not None, "a change is decided only with a picture of the key"
    return key


def _etag(observed: Observed | None, place: Place | None) -> str | None:
    key = observed.key(place.handle) if observed and place else None
    return key.etag if key else None
