"""Journal and store as they promise to be: durable at once, saved whole or not at all.

Both ask the world what goes wrong and show it every record that lands. They know nothing of the
rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from keyman import errors
from keyman.core.model import Credential, Observed, Order, Secret, Spec, Stage
from keyman.core.news import PROMOTED, News
from keyman.db.journal import Event, Lease
from tests.sim.cloud import PowerCut

LONG_AGO = timedelta(days=36500)


class Surroundings(Protocol):
    def trouble(self, where: str, menu: tuple[str, ...]) -> str: ...
    def asked_the_store(self) -> None: ...
    def pointing(self, secret: str | None) -> None: ...
    def stored(self, number: int, secret: str) -> None: ...
    def dropping(self, number: int) -> None: ...
    def saving(
        self, before: Credential, after: Credential, lease: Lease | None, land: Callable[[], None]
    ) -> None: ...


@dataclass(slots=True)
class Row:
    credential: Credential
    observed: Observed | None


@dataclass(slots=True)
class Holder:
    owner: str
    home: str
    fence: int
    until: datetime
    released: bool


@dataclass(slots=True)
class Books:
    """The journal of one credential."""

    world: Surroundings
    installation: str = "here"
    row: Row | None = None
    holder: Holder | None = None
    finished: dict[str, Order] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    told: list[News] = field(default_factory=list)
    recorded: bool = False  # by the process that has it now

    def load(self, spec: Spec) -> tuple[Credential, Observed | None]:
        if self.row is None:
            return Credential(spec), None
        return self.row.credential, self.row.observed

    def save(
        self,
        credential: Credential,
        observed: Observed | None,
        *,
        lease: Lease | None = None,
        now: datetime | None = None,
        events: Sequence[Event] = (),
        told: Sequence[News] = (),
    ) -> Credential:
        trouble = self.world.trouble("save", ("cut", "done-cut", "disk", "busy"))
        if trouble == "cut":
            raise PowerCut
        if trouble == "disk":
            self.recorded = False
            raise errors.StoreFailed("disk I/O error")
        before = self.row.credential if self.row else Credential(credential.spec)
        if trouble == "busy" or credential.revision != before.revision:
            raise errors.Conflict("someone else wrote first")
        if lease is not None and not self._held(lease, now):
            raise errors.Conflict("the lease is no longer held")
        saved = replace(
            credential,
            revision=credential.revision + 1,
            orders=tuple(order for order in credential.orders if order.open),
        )

        now_current, was_current = (
            {v.number for v in c.all_at(Stage.CURRENT)} for c in (saved, before)
        )
        heard = {one.version for one in told if one.what == PROMOTED}
        untold = (now_current - was_current) ^ heard
        assert not untold, f"a promotion that is not told, or told for nothing: {untold}"

        def land() -> None:
            self.finished.update({o.id: o for o in credential.orders if not o.open})
            self.row = Row(saved, observed)
            self.events.extend(events)
            self.told.extend(told)
            self.recorded = self.recorded or bool(events)

        self.world.saving(before, saved, lease, land)
        if trouble == "done-cut":
            raise PowerCut
        return saved

    @property
    def head(self) -> None:
        """Nobody reads a log here."""

    def note(self, *events: Event) -> None:
        self.events.extend(events)
        self.recorded = True

    def tell(self, told: Sequence[News]) -> None:
        self.told.extend(told)

    def news(self, seen: int, many: int) -> list[tuple[int, News]]:
        return list(enumerate(self.told, start=1))[seen : seen + many]

    def take_lease(
        self, name: str, owner: str, home: str, ttl: timedelta, now: datetime
    ) -> Lease | None:
        held = self.holder
        if held is None:
            self.holder = Holder(owner, home, 1, now + ttl, released=False)
            return Lease(name, owner, 1, clean=True)
        ours, was_released = held.owner == owner, held.released
        self.recorded = self.recorded and ours
        if not ours and not was_released and held.until > now:
            return None
        fence = held.fence if ours else held.fence + 1
        self.holder = Holder(owner, home, fence, now + ttl, released=False)
        return Lease(name, owner, fence, clean=ours or was_released)

    def release_lease(self, lease: Lease) -> None:
        if self.holder and self.holder.fence == lease.fence:
            self.holder.until -= LONG_AGO
            self.holder.released = True

    def void_leases(self, home: str) -> None:
        if self.holder and self.holder.home == home and not self.holder.released:
            self.holder.until -= LONG_AGO

    def _held(self, lease: Lease, now: datetime | None) -> bool:
        held = self.holder
        mine = held is not None and held.fence == lease.fence
        return mine and held is not None and now is not None and held.until > now


@dataclass(slots=True)
class Safe:
    """The store: what lies in it survives every power cut."""

    world: Surroundings
    durable: bool = True
    secrets: dict[tuple[str, int], Secret] = field(default_factory=dict)

    def reopen(self) -> None:
        """Another process has it now."""

    def ready(self, name: str) -> None:
        trouble = self.world.trouble("ready", ("cut", "full"))
        if trouble == "cut":
            raise PowerCut
        if trouble == "full":
            raise errors.StoreFailed("no space left")
        self.world.asked_the_store()

    def put(self, name: str, number: int, secret: Secret, *, slot: str | None = None) -> None:
        trouble = self.world.trouble("put", ("cut", "done-cut", "full", "lies", "garbles"))
        if trouble == "cut":
            raise PowerCut
        if trouble == "full":
            raise errors.StoreFailed("no space left")
        self.world.stored(number, secret.reveal())
        if trouble == "garbles":
            self.secrets[name, number] = Secret(secret.reveal()[:-1])
        elif trouble != "lies":
            self.secrets[name, number] = secret
        if trouble == "done-cut":
            raise PowerCut

    def get(self, name: str, number: int) -> Secret | None:
        trouble = self.world.trouble("get", ("cut", "locked"))
        if trouble == "cut":
            raise PowerCut
        if trouble == "locked":
            raise errors.StoreFailed("the store is locked")
        return self.secrets.get((name, number))

    def drop(self, name: str, number: int) -> None:
        trouble = self.world.trouble("drop", ("cut", "full"))
        if trouble == "cut":
            raise PowerCut
        if trouble == "full":
            raise errors.StoreFailed("no space left")
        self.world.dropping(number)
        self.secrets.pop((name, number), None)

    def list(self, name: str | None = None) -> list[tuple[str, int]]:
        return sorted(address for address in self.secrets if name in (None, address[0]))

    def close(self) -> None:
        pass


@dataclass(slots=True)
class Vault(Safe):
    """A store that strangers read: they get whatever it was last told is current."""

    shown: tuple[int, Secret] | None = None

    def point(self, name: str, number: int | None) -> None:
        trouble = self.world.trouble("point", ("cut", "done-cut", "down", "done-lost"))
        if trouble == "cut":
            raise PowerCut
        if trouble == "down":
            raise errors.StoreFailed("the vault is sealed")
        if number is None:
            self.shown = None
        else:
            self.shown = number, self.secrets[name, number]
        self.world.pointing(self.shown[1].reveal() if self.shown else None)
        if trouble == "done-cut":
            raise PowerCut
        if trouble == "done-lost":
            raise errors.StoreFailed("the vault did not answer")

    def pointed(self, name: str) -> int | None:
        return self.shown[0] if self.shown else None

    def read_current(self, name: str) -> tuple[int, Secret] | None:
        return self.shown


@dataclass(slots=True)
class Mirror(Vault):
    """One that nothing depends on: no rotation may even notice what befalls it."""

    def put(self, name: str, number: int, secret: Secret, *, slot: str | None = None) -> None:
        trouble = self.world.trouble("copy", ("cut", "down", "done-lost", "lies"))
        if trouble == "cut":
            raise PowerCut
        if trouble == "down":
            raise errors.StoreFailed("the vault is sealed")
        if trouble != "lies":
            self.secrets[name, number] = secret
        if trouble == "done-lost":
            raise errors.StoreFailed("the vault did not answer")

    def get(self, name: str, number: int) -> Secret | None:
        return self.secrets.get((name, number))

    def drop(self, name: str, number: int) -> None:
        trouble = self.world.trouble("uncopy", ("cut", "down"))
        if trouble == "cut":
            raise PowerCut
        if trouble == "down":
            raise errors.StoreFailed("the vault is sealed")
        self.secrets.pop((name, number), None)

    def list(self, name: str | None = None) -> list[tuple[str, int]]:
        trouble = self.world.trouble("look", ("cut", "down"))
        if trouble == "cut":
            raise PowerCut
        if trouble == "down":
            raise errors.StoreFailed("the vault is sealed")
        return sorted(address for address in self.secrets if name in (None, address[0]))
