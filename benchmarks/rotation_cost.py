"""What a rotation costs by itself: real journal and store, a provider that answers at once.

The peer is the same number of bare fsyncs of one page on the same disk, in the same run.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.figure import Figure
from keyman.clock import SystemClock, new_id
from keyman.core.model import (
    KeySeen,
    Observed,
    Order,
    OrderKind,
    Place,
    Secret,
    SlotSeen,
    Spec,
    State,
    Verdict,
    Version,
)
from keyman.core.policy import Policy, Verification
from keyman.db.journal import Journal
from keyman.performer import Managed
from keyman.providers.protocol import Created, Issued, Lookup
from keyman.rotator import Rotator
from keyman.stores.sealed_file import SealedFile

ROTATIONS = 60
# As `strace -f -e trace=fsync,fdatasync` shows them: the journal's log once a commit; the store's
# rollback journal three times, its file once and its folder once; two more where it is asked first
# whether it would take a secret.
JOURNAL_FSYNCS, STORE_FSYNCS, READY_FSYNCS = 1, 5, 2
LEASES, STORE_WRITES = 2, 2  # of one rotation: two turns; the new secret put, a dead one dropped
NOTHING = timedelta(0)
POLICY = Policy(
    overlap=timedelta(microseconds=1),
    max_client_staleness=NOTHING,
    verify=Verification(successes=2, every=NOTHING),
)


@dataclass
class AtOnce:
    """A provider of one key with two slots, without a network between."""

    slots: dict[str, SlotSeen] = field(default_factory=dict)
    made: int = 0

    def observe(
        self, handles: tuple[str, ...], now: datetime, optional: tuple[str, ...] = ()
    ) -> Observed:
        slots = tuple(self.slots.values())
        return Observed(now, tuple(KeySeen(h, State.ACTIVE, slots, "etag") for h in handles))

    def claim(self, key: KeySeen, owner: str, epoch: int) -> bool:
        return True

    def create(self, wish: Version, standby_expires_at: datetime) -> Created:
        self.slots["key-two"] = SlotSeen("key-two", State.INACTIVE, "m0", standby_expires_at)
        return Created("key", self.issue(replace(wish, handle="key"), None), None)

    def issue(self, wish: Version, etag: str | None) -> Issued:
        self.made += 1
        slot, mask = str(wish.slot), f"m{self.made}"
        self.slots[slot] = SlotSeen(slot, State.ACTIVE, mask, wish.expires_at)
        return Issued(Secret(f"sk-bench-{new_id()}"), "key", mask, wish.expires_at)

    def activate(self, place: Place, etag: str | None) -> None:
        self._set(place, State.ACTIVE)

    def retire(self, place: Place, etag: str | None) -> None:
        self._set(place, State.INACTIVE)

    def revoke(self, place: Place, etag: str | None) -> None:
        self._set(place, State.REVOKED)

    def _set(self, place: Place, state: State) -> None:
        self.slots[str(place.slot)] = replace(self.slots[str(place.slot)], state=state)

    def verify(self, secret: Secret) -> Verdict:
        return Verdict.ACCEPTED

    def lookup(self) -> Lookup:
        return Lookup()


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("KEYMAN_BENCH_DIR")) as folder:
        journal = Journal.open(f"sqlite:///{folder}/keyman.db")
        store = SealedFile(Path(folder) / "secrets.db", os.urandom(32), journal.installation)
        spec = Spec("genai", "oci-genai", POLICY, ("key-one", "key-two"))
        spec = replace(spec, installation=journal.installation)
        saves: list[int] = []
        rotator = Rotator(
            journal,
            {"genai": Managed(spec, AtOnce(), store)},
            SystemClock(),
            new_id,
            owner="bench",
            home=folder,
            changed=lambda _: saves.append(1),
        )
        rotator.advance("genai")
        spent, bare, writes = _measure(rotator, saves, Path(folder) / "bare")
        journal.close()
        store.close()
    yield Figure(
        "a rotation's own cost, beside as many bare fsyncs",
        statistics.median(a / b for a, b in zip(spent, bare, strict=True)),
        2.0,
        detail=_detail(statistics.median(spent), statistics.median(bare), writes),
    )


def _detail(spent: float, bare: float, writes: int) -> str:
    """What else is spent no disk changes: where an fsync takes its share of that, it is twice."""
    each, besides = 1000 * bare / writes, 1000 * (spent - bare) / writes
    return (
        f"{1000 * spent:.1f} ms, {writes} fsyncs of {each:.2f} ms;"
        f" 2 x on a disk whose fsync takes {besides:.2f} ms"
    )


def _measure(
    rotator: Rotator, saves: list[int], beside: Path
) -> tuple[list[float], list[float], int]:
    """Rotations and bare fsyncs in turn, so that both meet the same moods of the disk."""
    spent, bare, writes = [], [], 0
    for _ in range(ROTATIONS):
        saves.clear()
        began = time.perf_counter()
        order = Order(new_id(), OrderKind.ROTATE, rotator.clock.now())
        rotator.order("genai", order)
        rotator.advance("genai")
        time.sleep(0.001)
        rotator.advance("genai")
        spent.append(time.perf_counter() - began - 0.001)
        writes = JOURNAL_FSYNCS * (len(saves) + LEASES) + STORE_FSYNCS * STORE_WRITES
        writes += READY_FSYNCS
        bare.append(_bare_fsyncs(beside, writes))
    return spent, bare, writes


def _bare_fsyncs(path: Path, count: int) -> float:
    page = bytes(4096)
    began = time.perf_counter()
    with path.open("ab", buffering=0) as file:
        for _ in range(count):
            file.write(page)
            os.fsync(file.fileno())
    return time.perf_counter() - began
