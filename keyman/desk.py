"""What people and programs may ask of keyman: status, orders, receipts, reports.

Answers in the JSON of the interface and acts through the rotator only. Whether the question came
over the agent's socket or from a command that works by itself makes no difference here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from keyman import errors
from keyman.core.health import duration_text
from keyman.core.model import Credential, Observed, Order, OrderKind, Place, Secret, Stage
from keyman.core.orders import refuse_impossible
from keyman.views import Json, credential_view, receipt

if TYPE_CHECKING:  # commands that speak to a daemon need a Wish, and nothing of these
    from keyman.clock import Clock
    from keyman.core.news import News
    from keyman.db.journal import Journal
    from keyman.performer import Managed
    from keyman.rotator import Rotator

log = logging.getLogger("keyman.desk")


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for, before it is an order.

    For a revocation `version`, `slot` or `everything` say what leaked (else CURRENT), and
    `first` revokes before a replacement is there.
    """

    kind: OrderKind
    by: str = ""
    reason: str = ""
    overlap: timedelta | None = None
    version: int | None = None
    slot: str | None = None
    everything: bool = False
    first: bool = False


@dataclass(frozen=True, slots=True)
class Entrusted:
    """A secret in use that keyman is to take over, and where at the provider it is."""

    secret: Secret
    slot: str | None = None
    key_id: str | None = None
    take_over: bool = False  #: even if another installation's mark is on the key


class Forgets(Protocol):
    def forget(self, name: str, *, revoke: bool, by: str) -> Json:
        """Drop all that is known of a credential; with `revoke`, destroy its secrets first."""


class Desk:
    """`poke(name)`, once it is set, is called when a credential should have a turn now;
    `mirrors(name)` tells how far the stores are that follow it, `notified()` how it is with those
    who are told what happens.
    """

    def __init__(
        self,
        journal: Journal,
        rotator: Rotator,
        clock: Clock,
        new_id: Callable[[], str],
        farewell: Forgets,
    ) -> None:
        self._journal = journal
        self._rotator = rotator
        self._clock = clock
        self._new_id = new_id
        self._farewell = farewell
        self._keyed = threading.Lock()  # two at once with one key are one order
        self.poke: Callable[[str], None] = lambda _: None
        self.mirrors: Callable[[str], list[Json]] = lambda _: []
        self.notified: Callable[[], list[Json]] = list

    @property
    def _managed(self) -> Mapping[str, Managed]:
        return self._rotator.managed

    # Asking.

    def names(self) -> list[str]:
        return sorted(self._managed)

    def status(self, name: str) -> Json:
        """One element of `status --json`. Raises NotFound."""
        return self._view(*self._load(name))

    def statuses(self) -> list[Json]:
        managed = sorted(self._managed.items())
        return [self._view(*one) for one in self._journal.load_all(m.spec for _, m in managed)]

    def _view(self, credential: Credential, observed: Observed | None) -> Json:
        said = credential_view(credential, observed, self._clock.now())
        return said | {"mirrors": self.mirrors(credential.name)}

    def receipt(self, order_id: str) -> Json:
        """What the order has come to so far. Raises NotFound."""
        found = self._journal.order(order_id)
        if found is None or found[0] not in self._managed:
            raise errors.NotFound(f"no order {order_id}", hint="receipts are kept with the journal")
        name, order = found
        credential, _ = self._load(name)
        return receipt(credential, order)

    def news(self, seen: int, many: int) -> list[tuple[int, News]]:
        """So many that came after number `seen`, oldest first, each with its number."""
        return self._journal.news(seen, many)

    def news_kept(self) -> tuple[int, int]:
        """The numbers of the oldest and the newest that are kept; (0, 0) if none ever came."""
        return self._journal.news_kept()

    def ready(self) -> None:
        """Raises an Error unless journal and every store answer."""
        self._journal.check()
        one_of_each = {id(managed.store): managed for managed in self._managed.values()}
        for managed in one_of_each.values():
            managed.store.list(managed.spec.name)

    # Wishing.

    def order(self, name: str, wish: Wish, *, key: str | None = None) -> Json:
        """Record an order and give its receipt; the rules see to it.

        `key` is the caller's idempotency key: the same one gives the same order again, also if
        that is another's order which the wish joined; with another wish it is a Conflict.
        Raises NotFound, NotAdopted, Conflict, NoUsableSecret or UsageError.
        """
        credential, _ = self._load(name)
        refuse_impossible(credential.spec, wish.kind, wish.overlap)
        _refuse_long_overlap(credential, wish.overlap)
        if key is None:
            return self._record(credential, wish, self._new_id())
        with self._keyed:
            now = self._clock.now()
            order_id = self._journal.idempotent(key, name, _digest(wish), self._new_id(), now)
            if self._journal.order(order_id):
                return self.receipt(order_id)
            said = self._record(credential, wish, order_id)
            if said["order"] != order_id:
                self._journal.stands_for(key, name, said["order"])
            return said

    def _record(self, credential: Credential, wish: Wish, order_id: str) -> Json:
        name = credential.name
        revoking = wish.kind is OrderKind.REVOKE
        order = Order(
            id=order_id,
            kind=wish.kind,
            recorded_at=self._clock.now(),
            by=wish.by,
            reason=wish.reason,
            overlap=wish.overlap,
            slot=None if revoking else wish.slot,
            targets=_leaked(credential, wish) if revoking else (),
        )
        kept = self._rotator.order(name, order, first=wish.first)
        log.info("%s: %s ordered by %s", name, wish.kind, wish.by or "someone")
        if kept.open:
            self.poke(name)
        return receipt(self._load(name)[0], kept)

    def rejected(self, name: str, version: int, by: str) -> None:
        """A client says that the provider refused this version: it is examined now.

        Raises NotFound for a version that there never was.
        """
        credential, _ = self._load(name)
        if version > max((v.number for v in credential.versions), default=0):
            hint = f"`keyman status {name}` shows the versions there are"
            raise errors.NotFound(f"{name} never had a version {version}", hint=hint)
        log.info("%s: version %d reported as rejected by %s", name, version, by)
        self._rotator.report(name, version)
        self.poke(name)

    def adopt(self, name: str, key: Entrusted, by: str) -> Json:
        """Take an existing slot or key under management. Raises Conflict or ProviderFailed."""
        self._load(name)
        self._rotator.adopt(
            name, key.secret, slot=key.slot, key_id=key.key_id, take_over=key.take_over, by=by
        )
        log.info("%s: %s adopted by %s", name, key.slot or key.key_id, by)
        self.poke(name)
        return self.status(name)

    def put(self, name: str, secret: Secret, expires_at: datetime | None, by: str) -> Json:
        """Take a secret that comes by hand. Raises UsageError or ProviderFailed."""
        self._load(name)
        self._rotator.put(name, secret, expires_at, by)
        log.info("%s: put by %s", name, by)
        self.poke(name)
        return self.status(name)

    def forget(self, name: str, by: str, *, revoke: bool = False) -> Json:
        """Drop everything we know of a credential that left the configuration.

        With `revoke` its secrets are destroyed at the provider first. Raises Conflict while it is
        still configured, NotFound if nothing is known of it, ProviderFailed with nothing dropped.
        """
        if name in self._managed:
            raise errors.Conflict(
                f"{name} is still in the configuration",
                hint="remove it there (and `keyman reload`) first",
            )
        done = self._farewell.forget(name, revoke=revoke, by=by)
        log.info("%s: forgotten, by %s", name, by)
        return done

    def _load(self, name: str) -> tuple[Credential, Observed | None]:
        managed = self._managed.get(name)
        if managed is None:
            known = ", ".join(self.names()) or "none yet"
            raise errors.NotFound(f"no credential {name!r}", hint=f"known: {known}")
        return self._journal.load(managed.spec)


def _digest(wish: Wish) -> str:
    """Tells one wish from another, whoever has it."""
    said = {what: how for what, how in asdict(wish).items() if what != "by"}
    return hashlib.sha256(json.dumps(said, default=str, sort_keys=True).encode()).hexdigest()


def _refuse_long_overlap(c: Credential, overlap: timedelta | None) -> None:
    """A slot can't be filled while its secret has its overlap: the next one would come late."""
    longest = c.policy.lifetime - c.policy.rotate_before
    if overlap is not None and overlap > longest:
        raise errors.UsageError(
            f"{c.name}: the next rotation begins before so long an overlap is over",
            hint=f"at most {duration_text(longest.total_seconds())}: lifetime - rotate_before",
        )


def _leaked(c: Credential, wish: Wish) -> tuple[int, ...]:
    """The versions that a revocation means."""
    if wish.everything:
        return tuple(v.number for v in c.versions if v.revoked_at is None and v.issued_at)
    if wish.version is not None:
        return (wish.version,)
    if wish.slot is not None:
        tenant = c.tenant(Place(c.key_id, wish.slot)) if c.key_id else None
        if tenant is None:
            slots = ", ".join(c.spec.slots)
            shows = f"`keyman status {c.name}` shows what is in them"
            hint = f"its slots: {slots}; {shows}" if slots else "name a version with --version"
            raise errors.NotFound(f"{c.name}: nothing of ours is in slot {wish.slot!r}", hint=hint)
        return (tenant.number,)
    current = c.at(Stage.CURRENT)
    if current is None:
        hint = "name one with --version"
        raise errors.NoUsableSecret(f"{c.name} has no current version", hint=hint)
    return (current.number,)
