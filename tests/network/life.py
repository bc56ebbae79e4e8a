"""A credential that is rotated again and again, each time over a network with one fault in it.

The real rotator, performer and journal drive the real provider; the clock is turned by hand, so
that no waiting takes time. After each fault the network is well, and the rotation must end.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from keyman.clock import new_id
from keyman.core.model import Credential, Order, OrderKind, OrderState, Spec, Stage
from keyman.core.policy import Policy
from keyman.db.journal import Journal
from keyman.performer import Managed
from keyman.rotator import Rotator
from keyman.stores.memory import Memory
from tests.network.judge import Judge, Watched
from tests.network.machine import Change, providers
from tests.network.proxy import Aim, Hit
from tests.network.worlds import KINDS, World
from tests.providers.openai_world import Dial
from tests.scratch import MEMORY

TURNS = 250  # a rotation takes about fifteen
POLICY = Policy(
    lifetime=timedelta(days=60), rotate_before=timedelta(days=20), overlap=timedelta(hours=1)
)
OF_NEW_KEYS = ("CreateApiKey", "ListApiKeys")  # at OCI: asked only where a key is made
_NUMBERS = itertools.count(1)


@contextmanager
def journal() -> Iterator[Journal]:
    """One for all lives of a process: making it takes longer than a rotation."""
    with tempfile.TemporaryDirectory(prefix="keyman-network-", dir=MEMORY) as folder:
        opened = Journal.open(f"sqlite:///{folder}/keyman.db")
        yield opened
        opened.close()


@dataclass
class Lived:
    """What came of a life: faults that met a request, and promises that were broken."""

    hits: list[Hit] = field(default_factory=list)
    broken: list[tuple[Aim, str]] = field(default_factory=list)
    missed: list[Aim] = field(default_factory=list)
    rotations: int = 0


class Life:
    def __init__(self, kind: str, world: World, judge: Judge, dial: Dial, books: Journal) -> None:
        self.kind, self.world, self.judge, self.dial, self.books = kind, world, judge, dial, books
        self.issued = 0
        name = f"{kind}-{next(_NUMBERS)}"
        self.spec = Spec(name, policy=POLICY, installation=books.installation, **world.spec)
        self.store = Memory()
        self.restart()

    def restart(self) -> None:
        """A new process: it knows nothing but the records, and claims the key anew."""
        self.books.void_leases("here")
        watched: Any = Watched(self.world.open(self.spec), self.world.proxy.hits, self.judge.say)
        managed = {self.spec.name: Managed(self.spec, watched, self.store, "memory")}
        self.rotator = Rotator(
            self.books, managed, self.dial, new_id, owner=new_id(), home="here", changed=self._saved
        )

    def _saved(self, record: Credential) -> None:
        v = record.current
        self.judge.saved(record, self.store.get(record.name, v.number) if v else None)

    @property
    def record(self) -> Credential:
        return self.books.load(self.spec)[0]

    def rotate(self, aim: Aim) -> None:
        """One rotation with that fault in it, until everything is at rest again."""
        if aim.operation == "UpdateApiKey":
            self.restart()
        new_key = self.kind == "oci" and aim.operation in OF_NEW_KEYS
        kind = OrderKind.NEW_KEY if new_key else OrderKind.ROTATE
        before, hits = self.issued, len(self.world.proxy.hits)
        self.world.proxy.aim(aim)
        number = self.record.next_number
        order = self.rotator.order(self.spec.name, Order(new_id(), kind, self.dial.now()))
        rests = self.rest(order)
        self.world.proxy.aim(None)
        if not rests:
            return
        met = self.world.proxy.hits[hits:]
        for hit in met:
            if hit.aim.operation == "CreateApiKey":
                self._clean_up(hit.aim)
        allowed = 2 + sum(2 + len(hit.statuses) for hit in met)
        self.judge.at_rest(self.record, self.issued - before, allowed)
        current = self.record.current
        if current is None or current.number < number:
            self.judge.say("L: the rotation that was ordered did not come about")

    def _clean_up(self, aim: Aim) -> None:
        """A network that has a key made twice, or late, leaves one that nobody was told of.

        At OpenAI the next rotation finds it by its name and deletes it. At OCI a retry token
        forbids the second one; where that is ignored it stays, and `keyman discover` shows it.
        """
        if self.kind == "openai" and aim.fault == "duplicate":
            now = self.dial.now()
            self.rest(self.rotator.order(self.spec.name, Order(new_id(), OrderKind.ROTATE, now)))
        elif self.kind == "oci" and not self.world.creates_once:
            self.judge.forgive()

    def rest(self, order: Order | None = None) -> bool:
        """Turn by turn until there is nothing to do; False if that does not come."""
        proxy, why = self.world.proxy, ""
        for _ in range(TURNS):
            wait = self.rotator.advance(self.spec.name)
            step = max(wait.until - self.dial.now(), timedelta(milliseconds=50))
            if step > timedelta(minutes=1):
                proxy.settle()
                proxy.let_go(everything=True)
            if wait.reason == "nothing due" and self._done(order):
                return True
            why = wait.reason
            self.dial.pass_by(min(step, timedelta(minutes=15)).total_seconds())
        record = self.record
        self.judge.say(f"L: no rest after {TURNS} turns: {why}; {record.last_error}")
        return False

    def _done(self, order: Order | None) -> bool:
        record = self.record
        if order is not None:
            found = self.books.order(order.id)
            if found is None or found[1].state is not OrderState.DONE:
                return False
        under_way = record.all_at(Stage.REQUESTED, Stage.PENDING, Stage.PREVIOUS)
        return not (under_way or record.failures or record.doubt_at or record.silence)


def live(kind: str, seed: int, aims: Sequence[Aim], books: Journal, *bug: Change) -> Lived:
    """A life of that kind with these faults, one after another."""
    opened, _ = KINDS[kind]
    dial, lived = Dial(), Lived()
    judge = Judge(lambda: world.alive(), dial.now)  # noqa: PLW0108 (it is opened below)

    def landed(operation: str, status: int, body: bytes) -> None:
        life.issued += 200 <= status < 300 and operation in world.issues
        judge.landed(operation, status, body)

    with opened(seed, dial, providers(*bug), landed) as world:
        life = Life(kind, world, judge, dial, books)
        life.rest()
        for aim in aims:
            _one(life, aim, lived)
            if judge.broken:
                break
    return lived


def _one(life: Life, aim: Aim, lived: Lived) -> None:
    hits = life.world.proxy.hits
    for nth in dict.fromkeys((aim.nth, 1)):
        before = len(hits)
        life.rotate(Aim(aim.operation, aim.fault, aim.position, nth))
        lived.rotations += 1
        lived.broken += [(aim, what) for what in life.judge.broken]
        if len(hits) > before or life.judge.broken:
            lived.hits += hits[before:]
            return
    lived.missed.append(aim)
