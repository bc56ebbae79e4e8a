"""The words of the trade: secret, credential, version, slot, stage, order, and what was observed.

Plain frozen values. Nothing in here knows how they are stored, issued or served.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NoReturn, Self

from keyman.core.frozen import replace
from keyman.core.policy import Policy


class Secret:
    """The characters themselves. Prints as ···, compares in constant time, refuses to pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The characters. Every call of this is a place to look at in a review."""
        return self._value

    def fingerprint(self, installation: str) -> str:
        """Tells secrets apart without showing them: keyed with that installation's name."""
        key = f"keyman fingerprint {installation}".encode()
        digest = hmac.digest(key, self._value.encode(), "sha256")
        return f"hmac:{digest.hex()[:12]}"

    def __repr__(self) -> str:
        return "Secret(···)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "···"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(
            self._value.encode(), other._value.encode()
        )

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


class Stage(StrEnum):
    """Where one version is in our life cycle; it only ever moves down this list."""

    REQUESTED = "requested"  #: written down before the provider is asked; the answer may be lost
    PENDING = "pending"  #: the secret is in the store and was read back; no client has seen it
    CURRENT = "current"  #: the one version lookups hand out
    PREVIOUS = "previous"  #: still valid, for clients that have not looked up since
    RETIRED = "retired"  #: switched off at the provider; its slot is free
    REVOKED = "revoked"  #: destroyed at the provider, by us or by the slot's next tenant


class State(StrEnum):
    """What a provider says of a slot. Any other word it uses is kept as it is."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    DELETED = "DELETED"


class Verdict(StrEnum):
    """What a probe with a secret taught us."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  #: the provider does not know this secret (401)
    FORBIDDEN = "forbidden"  #: known, but not allowed to do this (policy, region)
    SILENT = "silent"  #: no verdict: throttled, broken or out of reach


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret lives at the provider: the provider's object and, if it has them, a slot."""

    handle: str
    slot: str | None


@dataclass(frozen=True, slots=True)
class Version:
    """One secret of a credential. The secret itself is in the store under (name, number)."""

    number: int  #: 1, 2, 3 … within one credential, never used twice
    stage: Stage
    attempt: str  #: names the wish to the provider; versions that share it share their secret
    requested_at: datetime
    expires_at: datetime | None  #: as wished until issued, then as the provider said
    slot: str | None = None
    handle: str | None = None  #: the provider's id of what holds it; None until that is known
    carries: int | None = None  #: number of the version whose secret this one takes over
    mask: str | None = None  #: how the provider shows the secret since it was issued
    mask_before: str | None = None  #: and how it showed what was in the slot before
    expires_before: datetime | None = None
    fingerprint: str | None = None
    issued_at: datetime | None = None
    activated_at: datetime | None = None
    probe_from: datetime | None = None  #: first probe of the verification under way
    probed_at: datetime | None = None
    successes: int = 0
    refusals: int = 0
    verified_at: datetime | None = None
    promoted_at: datetime | None = None
    replaced_at: datetime | None = None
    overlap: timedelta | None = None  #: how long it stays valid once replaced
    retired_at: datetime | None = None
    revoked_at: datetime | None = None  #: when it was known to be destroyed
    reported_at: datetime | None = None  #: a client said that the provider refused it
    examined_at: datetime | None = None
    dead_at: datetime | None = None  #: known to be refused: never handed out from then on
    compromised_at: datetime | None = None
    revoke_first: bool = False  #: revoke even before a replacement is there
    given_up: str | None = None  #: why it never became current
    slot_refused: bool = False  #: the provider would not fill its slot again
    stored: bool = True  #: its secret is or may be in the store
    restored_at: datetime | None = None  #: a backup brought it back; not proven to work since

    @property
    def place(self) -> Place | None:
        return Place(self.handle, self.slot) if self.handle else None

    def is_of(self, secret: Secret, installation: str) -> bool:
        """Is that its secret, as far as its fingerprint tells?"""
        return self.fingerprint in (None, secret.fingerprint(installation))

    def is_in(self, place: Place) -> bool:
        return self.slot == place.slot and self.handle == place.handle

    @property
    def compromised(self) -> bool:
        return self.compromised_at is not None

    @property
    def life(self) -> timedelta | None:
        """From when it was issued to when it expires, as far as both are known."""
        if self.issued_at is None or self.expires_at is None:
            return None
        return self.expires_at - self.issued_at

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at


@dataclass(frozen=True, slots=True)
class SlotSeen:
    """One slot as the provider showed it."""

    name: str | None
    state: str
    mask: str | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


NOT_SHOWN = "NOT_SHOWN"  # a key that the provider says isn't there, or won't say to whom


@dataclass(frozen=True, slots=True)
class KeySeen:
    """One object of the provider's (an OCI API key, an OpenAI key) as it showed it."""

    handle: str
    state: str
    slots: tuple[SlotSeen, ...]
    etag: str | None = None
    owner: str | None = None  #: the installation that claimed it
    epoch: int = 0  #: and which of its owners did

    def slot(self, name: str | None) -> SlotSeen | None:
        for slot in self.slots:  # asked hundreds of times a rotation: no generator for two slots
            if slot.name == name:
                return slot
        return None


@dataclass(frozen=True, slots=True)
class Observed:
    """What the provider last said is there, and when it was asked."""

    at: datetime
    keys: tuple[KeySeen, ...]
    taken: tuple[int, ...] = ()  #: versions that clients who were connected then took last

    def key(self, handle: str | None) -> KeySeen | None:
        for key in self.keys:
            if key.handle == handle:
                return key
        return None

    def slot(self, place: Place | None) -> SlotSeen | None:
        key = self.key(place.handle) if place else None
        return key.slot(place.slot) if key and place else None

    def hides(self, handle: str | None) -> bool:
        """Was the provider asked for this key, and did it not show it?"""
        key = self.key(handle)
        return key is not None and key.state == NOT_SHOWN


class OrderKind(StrEnum):
    ROTATE = "rotate"
    NEW_KEY = "new-key"
    REVOKE = "revoke"
    ROLLBACK = "rollback"
    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"


class OrderState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Order:
    """A person's wish, recorded in the journal; the rules see to it."""

    id: str
    kind: OrderKind
    recorded_at: datetime
    by: str = ""
    reason: str = ""
    state: OrderState = OrderState.WAITING
    overlap: timedelta | None = None
    slot: str | None = None
    targets: tuple[int, ...] = ()  #: versions to revoke, or the one to roll back to
    from_version: int | None = None
    from_slot: str | None = None
    to_version: int | None = None
    to_slot: str | None = None
    until: datetime | None = None
    promoted_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None

    @property
    def open(self) -> bool:
        return self.state in (OrderState.WAITING, OrderState.RUNNING)


@dataclass(frozen=True, slots=True)
class Spec:
    """What the configuration says of a credential, as far as deciding needs it."""

    name: str
    provider: str  #: the kind, e.g. oci-genai
    policy: Policy = field(default_factory=Policy)
    slots: tuple[str, ...] = ()  #: empty where every issue makes a key of its own
    key_id: str | None = None  #: the provider's object named in the configuration
    installation: str = ""  #: this installation's name in claims
    observes: bool = True  #: the provider can say what is there
    claims: bool = True  #: the provider can be told who owns a key
    issues: bool = True  #: False: secrets come by hand
    probes: bool = True  #: the provider can be asked whether it accepts a secret
    revokes: bool = True  #: the provider can destroy a secret before it expires
    expires_at: datetime | None = None  #: of a secret that comes by hand, as configured
    late: timedelta = timedelta(minutes=6)  #: a call without an answer may still land so late

    @property
    def mints(self) -> bool:
        """Its secrets are short-lived tokens that nobody can look up afterwards."""
        return self.issues and not self.observes

    @property
    def by_hand(self) -> bool:
        """Its secrets are brought by people: nobody issues them, and nobody shows what became of
        them.
        """
        return not (self.issues or self.observes)


@dataclass(frozen=True, slots=True)
class Credential:
    """What the journal says of one credential."""

    spec: Spec
    versions: tuple[Version, ...] = ()
    orders: tuple[Order, ...] = ()  #: the open ones, and those that this record finishes
    home: str | None = None  #: the provider's object whose slots are filled
    silence: str | None = None  #: slot of a key we created whose secret nobody kept
    driver: int = 0  #: the lease's fence of the process that drives it
    epoch: int = 0  #: counts owners of this credential; written into the provider's tags
    claimed: int = 0  #: the epoch that the provider is known to have
    fenced: bool = False  #: the provider was seen to refuse a call of an older epoch
    unanswered_at: datetime | None = None  #: a change was sent whose answer never came
    doubt_at: datetime | None = None  #: what was observed up to then no longer counts
    failures: int = 0
    failed_step: str | None = None
    retry_at: datetime | None = None
    last_error: str | None = None
    last_hint: str | None = None
    told: str | None = None  #: the health that was last told to whoever listens
    revision: int = 0  #: the journal saves only over the revision it loaded
    numbered: int = 0  #: how far versions were numbered before its name was forgotten

    @property
    def next_number(self) -> int:
        """Of the next version. None is used twice under a name: clients compare numbers."""
        return max((v.number for v in self.versions), default=self.numbered) + 1

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def policy(self) -> Policy:
        return self.spec.policy

    @property
    def key_id(self) -> str | None:
        return self.home or self.spec.key_id

    def at(self, stage: Stage) -> Version | None:
        """The newest version at this stage, if there is one."""
        for v in reversed(self.versions):
            if v.stage is stage:
                return v
        return None

    def all_at(self, *stages: Stage) -> tuple[Version, ...]:
        return tuple(v for v in self.versions if v.stage in stages)

    @property
    def current(self) -> Version | None:
        return self.at(Stage.CURRENT)

    @property
    def open_version(self) -> Version | None:
        """The rotation in flight; there is at most one."""
        return self.at(Stage.REQUESTED) or self.at(Stage.PENDING)

    def version(self, number: int) -> Version | None:
        return next((v for v in self.versions if v.number == number), None)

    def tenant(self, place: Place | None) -> Version | None:
        """The version whose secret a place holds, as far as we know: the last one issued there."""
        if place is None:
            return None
        here = (v for v in reversed(self.versions) if v.issued_at and v.is_in(place))
        return next(here, None)

    def in_place(self, v: Version) -> bool:
        """Is it this version's secret that its place holds, as far as we know?"""
        tenant = self.tenant(v.place)
        return tenant is not None and tenant.attempt == v.attempt

    def due_at(self, v: Version) -> datetime | None:
        """When its replacement should begin; None if nobody but a person can make one.

        One that never expires, as an adopted one may be, is replaced as if it lived for a lifetime.
        """
        ends = v.expires_at
        if ends is None and self.spec.issues and v.promoted_at:
            ends = v.promoted_at + self.policy.lifetime
        return ends and self.policy.rotate_at(ends, self.name, v.life)

    def order_of(self, *kinds: OrderKind) -> Order | None:
        return next((o for o in self.orders if o.kind in kinds and o.open), None)

    def with_version(self, number: int, **changes: Any) -> Self:
        versions = tuple(replace(v, **changes) if v.number == number else v for v in self.versions)
        return replace(self, versions=versions)

    def with_order(self, order_id: str, **changes: Any) -> Self:
        orders = tuple(replace(o, **changes) if o.id == order_id else o for o in self.orders)
        return replace(self, orders=orders)
