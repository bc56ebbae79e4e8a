"""What is around a home on a disk, and outlives every process there: the simulator's cloud, judge
and clock, and what was acknowledged to whom.

It can be put away as bytes, and taken out in another process.
"""

from __future__ import annotations

import io
import itertools
import os
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from keyman.core.model import Credential, Order, Place, Secret, Spec, Verdict
from tests.sim.cloud import Cloud
from tests.sim.invariants import Watch
from tests.sim.planting import real
from tests.sim.rooms import Row
from tests.sim.setups import Setup
from tests.sim.world import Machine

START = datetime(2026, 11, 21, tzinfo=UTC)
REAL = real()


class Outside:
    def __init__(self, folder: Path, setup: Setup) -> None:
        self.folder, self.setup = folder, setup
        self.true = START
        self.cloud = Cloud(cast("Any", self))
        self.watch = Watch(cast("Any", self))
        self.row: Row | None = None  # the record that was acknowledged last
        self.secrets: dict[tuple[str, int], Secret] = {}  # those that were, and are to be there
        self.finished: dict[str, Order] = {}
        self.holder: str | None = None
        self.owner, self.acting = "", cast("str | None", None)
        self.spec: Spec | None = None
        self.seen = 0  # the newest version that any lookup was given
        self.ids = itertools.count(1)
        self.turns, self.trace = 0, list[str]()
        self.following, self.mirror, self.troubled_at = None, None, START
        self.begin()

    def begin(self) -> None:
        """Another process has it now."""
        self.machine: Machine = REAL
        self.marks = -1  # where a recording is marked with what is so
        self.acting = None

    A_PROCESS_S: tuple[str, ...] = ("machine", "marks")

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in self.A_PROCESS_S}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.begin()

    def put_away(self) -> bytes:
        """All but what is in the folder."""
        packed = io.BytesIO()
        _Pickler(packed).dump(self)
        return packed.getvalue()

    # What the simulator's cloud and judge ask of a world.

    def now(self) -> datetime:
        return self.true

    def pass_time(self, by: timedelta) -> None:
        self.true += by

    def trouble(self, where: str, menu: tuple[str, ...]) -> str:
        return ""  # it is the disk that is broken here, and nothing else

    def changing(self, verb: str, place: Place, effect: Callable[[], None]) -> None:
        self.watch.changing(verb, place, effect)

    def asking_for_a_secret(self) -> None:
        self.watch.asking_for_a_secret()

    def asked_the_store(self) -> None:
        self.watch.store_was_asked = True

    def last_used(self, secret: str) -> datetime | None:
        return self.watch.last_used(secret, self.true - self.setup.use_lag)

    def probed(self, secret: str, verdict: Verdict) -> None:
        self.watch.probed(secret, verdict)

    def shown(self, *, stale: bool) -> None:
        self.watch.shown(stale=stale)

    @property
    def record(self) -> Credential:
        assert self.spec is not None
        return self.row.credential if self.row else Credential(self.spec)

    @property
    def safe(self) -> Any:
        return self

    @property
    def books(self) -> Any:
        holder = SimpleNamespace(owner=self.holder) if self.holder else None
        return SimpleNamespace(holder=holder, finished=self.finished, row=self.row)

    # What was acknowledged.

    def mark(self) -> None:
        """Write into the recording what is so, if there is one."""
        if self.marks >= 0:
            os.write(self.marks, self.put_away())

    def landed(self, row: Row, orders: tuple[Order, ...]) -> None:
        self.finished.update({order.id: order for order in orders if not order.open})
        self.row = row

    def changing_secret(self, name: str, number: int) -> None:
        """From now on nobody can say what is there, until the store has."""
        self.secrets.pop((name, number), None)
        self.mark()

    def kept_secret(self, name: str, number: int, secret: Secret) -> None:
        self.secrets[name, number] = secret
        self.watch.stored(number, secret.reveal())
        self.mark()


class _Pickler(pickle.Pickler):
    def reducer_override(self, what: Any) -> Any:
        """A secret refuses to be pickled. Those of this house are nobody's."""
        return (Secret, (what.reveal(),)) if isinstance(what, Secret) else NotImplemented


class Time:
    """The Clock that keyman is handed; nothing sleeps on it."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def now(self) -> datetime:
        return self._outside.true

    def boot(self) -> float:
        return (self._outside.true - START) / timedelta(seconds=1)

    monotonic = boot

    def sleep(self, seconds: float, wake: object = None) -> None:
        raise AssertionError("nothing sleeps here")
