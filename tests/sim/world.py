"""Clock, provider, store, journal and power in one object, around the real rotator.

A world runs one credential through one history. It injects what its plan (or dice) chooses: lost,
refused, repeated and late calls; power cuts before and after every effect; store and disk errors;
old pictures; people, consoles, clocks, backups and second processes. It does not inject: a store
that changes what it once gave back, a journal that loses what it acknowledged, calls of another
installation that drives the same key, a provider that answers with another key's data.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from keyman import errors
from keyman.core.model import Credential, OrderKind, Place, Secret, Spec, Verdict
from keyman.core.steps import Wait
from keyman.db.journal import Lease
from keyman.meter import Meter
from tests.sim import people, rest
from tests.sim.cloud import TINY, Cloud, Key, PowerCut, Slot
from tests.sim.every import Menu, Plan
from tests.sim.invariants import Broken, Watch
from tests.sim.kept import room
from tests.sim.rooms import Books, Mirror, Row, Safe, Vault
from tests.sim.setups import SWEEP, Kind, Setup

START = datetime(2026, 11, 21, tzinfo=UTC)
SOON = timedelta(seconds=5)
AFTER_A_FAILED_TURN = timedelta(seconds=30)  # the daemon takes the next one
COMPLAINTS = timedelta(minutes=15)  # of clients, where the provider shows nothing
CHANGES = ("claim", "create", "issue", "activate", "retire", "revoke")
CALM_LIMIT = 3.0  # lifetimes that a world may take to come to rest
TURNS_LIMIT = 600  # a history of two rotations takes about fifty

Chooser = Callable[[int, Menu], str]
Saves = Callable[[Credential, Credential], None]  # told of each record, before and after


@dataclass(frozen=True, slots=True)
class Machine:
    """The code under test: the real one, or a copy with a bug planted."""

    rotator: Any
    managed: Any
    health: Any
    mirroring: Any


class World:
    def __init__(
        self, setup: Setup, choose: Chooser, machine: Machine, saves: Saves | None = None
    ) -> None:
        self.setup = setup
        self.choose = choose
        self.last: int | None = None  # the last moment at which anything goes wrong, if known
        self.machine = machine
        self.true = START
        self.skew = timedelta(0)
        self.menus: list[Menu] = []
        self.places: list[str] = []  # where each menu was offered
        self.trace: list[str] = []
        self.tells = True  # False: nobody will read the trace
        self.faults = Counter[str]()
        self.saves = saves
        self.calm = False
        self.hands_full = False
        self.hurry = False
        self.turns, self.turns_limit = 0, TURNS_LIMIT
        self.until = 0
        self.follows_hints = False
        self.patience = START
        self.orders_made = 0
        self.owners = 0
        self.rotator: Any = None
        self.acting: str | None = None
        self.backups: list[Row] = []
        self.old_secrets: list[dict[tuple[str, int], Secret]] = []
        self.cloud = Cloud(self)
        self.books = Books(self)
        self.safe = self._store()
        self.mirror = self._other_store()
        self.following: Any = None
        self.troubled_at = START
        self.watch = Watch(self)
        self.spec = self._spec()
        self.ids = itertools.count(1)
        self.boot(clean=True)

    def _store(self) -> Any:
        if self.setup.store and not self.setup.mirrored:
            return room(self, self.setup.store, copy=False)
        return Vault(self) if self.setup.points else Safe(self)

    def _other_store(self) -> Any:
        if self.setup.store and self.setup.mirrored:
            return room(self, self.setup.store, copy=True)
        return Mirror(self)

    def _spec(self) -> Spec:
        setup = self.setup
        return Spec(
            name=setup.name,
            provider=setup.kind.value,
            policy=setup.policy,
            slots=setup.slots,
            key_id="key" if setup.adopted and setup.slots else None,
            installation=self.books.installation,
            observes=setup.kind in (Kind.SLOTS, Kind.FRESH),
            probes=setup.kind is not Kind.MINTED,
            revokes=setup.kind in (Kind.SLOTS, Kind.FRESH),
            issues=setup.kind is not Kind.BY_HAND,
            claims=setup.claims,
        )

    # The clock that keyman is handed.

    def now(self) -> datetime:
        return self.true + self.skew

    def boot_time(self) -> float:
        return (self.true - START).total_seconds()

    def pass_time(self, by: timedelta) -> None:
        self.true += by
        if self.cloud.flying:
            self.cloud.land()

    # A life.

    def live(self) -> None:
        """Run the history, then let the world come to rest; raises Broken."""
        if self.setup.adopted:
            self._entrust()
        end = self.true + timedelta(days=self.setup.days)
        while self.true < end and (self.last is None or len(self.menus) <= self.last):
            self.turn(end)
        self.come_to_rest()

    def come_to_rest(self) -> None:
        """Nothing goes wrong any more: the goal must be reached, and soon."""
        self.calm = True
        limit = self.true + self.setup.policy.lifetime * CALM_LIMIT
        self.until = self.watch.promotions + 1
        while self.true < limit:
            if self.turn(limit):
                return
        what = "; ".join(rest.missing(self, self.until)[:4])
        raise Broken("L", f"the world does not come to rest: {what}")

    def _entrust(self) -> None:
        setup = self.setup
        if setup.kind is Kind.BY_HAND:
            people.put(self)
            return
        slots: dict[str | None, Slot] = {}
        for name, state, life in (("one", "ACTIVE", 1.0), ("two", setup.standby_state, 2 / 3)):
            slots[name] = Slot(f"old-{name}", state, self.true + setup.policy.lifetime * life)
        self.cloud.keys["key"] = Key("key", "", slots)
        self.cloud._switch(slots["one"], "ACTIVE")
        self.cloud.doors["old-one"].opens = self.true
        self.hands_full = True
        self.rotator.adopt(setup.name, Secret("old-one"), slot="one")
        self.hands_full = False
        if setup.taken_over:
            self.cloud.claimed_by_another(self.cloud.keys["key"])

    def turn(self, end: datetime) -> bool:
        """One waking, and the sleep after it; True if the world is at rest for good."""
        self.turns += 1
        if self.turns > self.turns_limit:
            raise Broken("L", f"{self.turns} turns: {self.trace[-12:]}")
        self.cloud.land()
        self.trouble("turn", ())
        back = self._advance_or_fall()
        self._catch_up()
        self.watch.turn_over()
        if self.watch.refused_since is not None and not self.spec.observes:
            self._clients_complain()
        if self.calm and self.spec.issues is False and self.watch.handed() is None:
            self._somebody_puts_in_another()
        if self.follows_hints and rest.beyond_repair(self):
            self._ask_for_a_new_key()
        if self.calm and not rest.missing(self, self.until):
            return True
        if self.hurry:
            self.hurry = False
            back = self.true
        arrives = self.cloud.due()
        if arrives is not None:
            back = min(back, arrives)
        self.true = max(self.true + TINY, min(back, end, self.true + self._sweep()))
        return False

    def _sweep(self) -> timedelta:
        """Until the next turn at the latest; clients complain about what is refused, and soon."""
        well = self.watch.refused_since is None and self.setup.sweep > SWEEP
        return self.setup.sweep if self.spec.observes or well else COMPLAINTS

    def _ask_for_a_new_key(self) -> None:
        """What the hint says, once."""
        if self.record.order_of(OrderKind.NEW_KEY) or self.true < self.patience:
            return
        self.patience = self.true + SWEEP
        self.hands_full = True
        people.new_key(self)
        self.hands_full = False

    def _clients_complain(self) -> None:
        """Where the provider shows nothing, a refusal is all there is to learn from."""
        self.hands_full, before = True, self.record.revision
        people.report(self)
        self.hands_full, self.hurry = False, self.record.revision > before

    def _somebody_puts_in_another(self) -> None:
        """What `down` asks people for."""
        self.hands_full = True
        people.put(self)
        self.hands_full = False

    def _advance_or_fall(self) -> datetime:
        try:
            wait = self.advance()
        except PowerCut:
            self.boot(clean=False)
            return self.true + SOON
        except (errors.Conflict, errors.StoreFailed) as error:
            self.note(f"turn ended: {error}")
            self.troubled_at = self.true + AFTER_A_FAILED_TURN
            return self.troubled_at
        self.watch.waits(wait)
        return wait.until - self.skew

    def advance(self) -> Wait:
        self.acting = self.owner
        try:
            wait: Wait = self.rotator.advance(self.setup.name)
        finally:
            self.acting = None
        return wait

    def boot(self, *, clean: bool, home: str = "home") -> None:
        """A new process takes over from one that ended well, or not."""
        self.owners += 1
        self.owner = f"owner-{self.owners}"
        if self.books.row is not None:
            self.backups.append(copy(self.books.row))
        self.old_secrets.append(dict(self.safe.secrets))
        if clean and self.owners > 1:
            self.rotator.release()
        else:
            self.books.void_leases(home)
        for each in (self.safe, self.mirror):
            each.reopen()
        mirrors = ("mirror",) if self.setup.mirrored else ()
        managed = self.machine.managed(self.spec, self.cloud, self.safe, "safe", mirrors)
        self.rotator = self.machine.rotator(
            self.books,
            {self.setup.name: managed},
            _Clock(self),
            lambda: f"id-{next(self.ids)}",
            owner=self.owner,
            home=home,
            changed=self.publish,
        )
        self.watch.published = self.record.current.number if self.record.current else None
        if self.setup.followed:
            stores, clock = {"safe": self.safe, "mirror": self.mirror}, _Clock(self)
            self.following = self.machine.mirroring(
                self.books, stores, _Reads(), clock, Meter(), self.publish
            )
            self.following.look_after([(managed, self.record)])

    def restore(self, backup: Row) -> None:
        self.books.row = copy(backup)

    def publish(self, credential: Credential) -> None:
        self.watch.published = credential.current.number if credential.current else None
        if self.following is None:
            return
        self.following.follow(credential)
        if self.trouble("follow", ("late",)) != "late":
            self._follow()

    def _catch_up(self) -> None:
        """The sweep, whose thread the power cut meets as well as any other."""
        if self.following is None:
            return
        try:
            self._follow()
        except PowerCut:
            self.boot(clean=False)
            return
        self.watch.followed()

    def _follow(self) -> None:
        """As a thread of its own does, at this very moment."""
        following = self.following
        led = following._led[self.setup.name]
        for one in led.followers.values():
            if following._due(led, one):
                following._compare(led, one)

    # What goes wrong, and where.

    def trouble(self, where: str, menu: Menu) -> str:
        """What the plan has for this moment; acts of people are done here and now."""
        if self.calm or self.hands_full:
            return ""
        full = menu + self._acts(where)
        if not full:
            return ""
        moment = len(self.menus)
        self.menus.append(full)
        self.places.append(where)
        what = self.choose(moment, full)
        if not what:
            self.note(where)
            return ""
        self.faults[what] += 1
        self.note(f"{where} *** {moment}:{what}")
        self.troubled_at = self.true
        act = people.ACTS.get(what)
        if act is None:
            return what
        self.hands_full = what != "take-over"
        before, self.acting = self.acting, None
        act(self)
        self.acting = before
        self.hands_full = False
        return ""

    def _acts(self, where: str) -> Menu:
        if where not in CHANGES and where not in ("save", "turn"):
            return ()
        setup, acts = self.setup, ()
        key = (setup, where)
        known = _MENUS.get(key)
        if known is not None:
            return known
        acts = (
            *(people.ORDERS if setup.people else ()),
            *(people.BY_HAND if setup.kind is Kind.BY_HAND else ()),
            *(people.ELSEWHERE if setup.kind in (Kind.BY_HAND, Kind.MINTED) else ()),
            *(people.CONSOLE if setup.console and setup.kind is Kind.SLOTS else ()),
            *(people.SHOCKS if setup.shocks else ()),
            *(people.ENDINGS if where == "turn" else ()),
            *(people.BACKUPS if where == "turn" and setup.restores and setup.shocks else ()),
            *(people.SECOND if setup.shocks and setup.if_match and where != "turn" else ()),
        )
        _MENUS[key] = acts
        return acts

    def note(self, line: str) -> None:
        if self.tells:
            self.trace.append(f"{self.true - START} {self.acting or '-'} {line}")

    # What the rooms show the watch.

    def changing(self, verb: str, place: Place, effect: Callable[[], None]) -> None:
        self.watch.changing(verb, place, effect)

    def asked_the_store(self) -> None:
        self.watch.store_was_asked = True

    def asking_for_a_secret(self) -> None:
        self.watch.asking_for_a_secret()

    def pointing(self, secret: str | None) -> None:
        self.watch.pointing(secret)

    def stored(self, number: int, secret: str) -> None:
        self.watch.stored(number, secret)

    def dropping(self, number: int) -> None:
        self.watch.dropping(number)

    def saving(
        self, before: Credential, after: Credential, lease: Lease | None, land: Callable[[], None]
    ) -> None:
        self.watch.saving(before, after, lease, land)
        if self.saves is not None:
            self.saves(before, after)

    def probed(self, secret: str, verdict: Verdict) -> None:
        self.watch.probed(secret, verdict)

    def shown(self, *, stale: bool) -> None:
        self.watch.shown(stale=stale)

    def last_used(self, secret: str) -> datetime | None:
        if not self.setup.shows_use:
            return None
        return self.watch.last_used(secret, self.true - self.setup.use_lag)

    # What is so.

    @property
    def record(self) -> Credential:
        return self.books.row.credential if self.books.row else Credential(self.spec)

    def slot_in_use(self) -> tuple[str | None, str | None]:
        current = self.record.current
        if current is None or current.handle not in self.cloud.keys:
            return None, None
        return current.handle, current.slot

    def slot_beside(self) -> tuple[str | None, str | None]:
        handle, slot = self.slot_in_use()
        return handle, next((name for name in self.setup.slots if name != slot), None)


class _Reads:
    """The publisher, as far as mirrors ask it: nothing is held here."""

    def lacking(self) -> frozenset[str]:
        return frozenset()

    def secret(self, managed: Any, number: int) -> Any:
        return managed.store.get(managed.spec.name, number)


class _Clock:
    """The Clock that keyman is handed; nothing in the rotator may sleep on it."""

    def __init__(self, world: World) -> None:
        self.world = world

    def now(self) -> datetime:
        return self.world.now()

    def boot(self) -> float:
        return self.world.boot_time()

    monotonic = boot

    def sleep(self, seconds: float, wake: object = None) -> None:
        raise AssertionError("a turn never sleeps")


_MENUS: dict[tuple[Setup, str], Menu] = {}


def follow(plan: Plan) -> Chooser:
    """Choose as the plan says, and nothing elsewhere."""
    chosen = {choice.moment: choice.what for choice in plan}

    def choose(moment: int, menu: Menu) -> str:
        what = chosen.get(moment, "")
        assert not what or what in menu, f"{what} is not on the menu of moment {moment}: {menu}"
        return what

    return choose


__all__ = ["Machine", "World", "follow"]
