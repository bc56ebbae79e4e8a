"""Liveness: what a world must be like once nothing goes wrong any more, from its own truth.

A usable current version, not due; nothing open, nothing leaked alive; exactly the slots active
that should be; no secret kept that nobody needs; and as many promotions as show that it turns.
Where the outside destroyed everything the goal is another one: an honest `down`. And where another
installation drives the key: that nothing is done, and nothing dead handed out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyman.core.model import Stage
from tests.sim.cloud import ANOTHER
from tests.sim.setups import Kind

if TYPE_CHECKING:
    from tests.sim.world import World


def missing(world: World, promotions: int) -> list[str]:
    """What keeps the world from being at rest as it should be; empty when it is."""
    record, watch = world.record, world.watch
    if beyond_repair(world):
        return _admission(world)
    if _driven_by_another(world):
        return _watching(world)
    if watch.promotions < promotions and world.spec.issues:
        return ["no rotation"]
    said = [f"version {v.number} is {v.stage}" for v in record.all_at(*OPEN)]
    said += [f"order {o.kind} is open" for o in record.orders if o.open]
    said += [f"{s} leaked and lives" for s in watch.leaked if world.cloud.alive(s)]
    said += ["calls are under way"] if world.cloud.flying else []
    said += [f"failing: {record.last_error}"] if record.failures else []
    return said + _lookups(world) + _slots(world) + _store(world) + _followers(world)


OPEN = (Stage.REQUESTED, Stage.PENDING)


def beyond_repair(world: World) -> bool:
    """No slot of the key can be filled any more, and nothing that is left may be used."""
    key = world.cloud.keys.get(world.record.key_id or "")
    if world.setup.kind is not Kind.SLOTS or key is None:
        return False
    if key.gone:
        return True
    now, refills = world.true, world.setup.refills
    shut = [s for s in key.slots.values() if s.state(now) in ("REVOKED", "EXPIRED")]
    return len(shut) == len(key.slots) and not refills


def _admission(world: World) -> list[str]:
    """Where nothing can be done keyman says so, and hands out nothing."""
    record, row = world.record, world.books.row
    health = world.machine.health.health(record, row and row.observed, world.now())
    said = [] if health == "down" else [f"nothing can be done, and health is {health}"]
    said += [f"order {o.kind} is open" for o in record.orders if o.open]
    return said + (["a dead secret is handed out"] if world.watch.handed() else [])


def _driven_by_another(world: World) -> bool:
    """Its own new key, which a person ordered, nobody else drives."""
    key = world.cloud.keys.get(world.record.key_id or "")
    return world.setup.taken_over and (key is None or key.owner == ANOTHER)


def _watching(world: World) -> list[str]:
    """Where another installation drives the key nothing is done but to look, and to say so."""
    record, row, handed = world.record, world.books.row, world.watch.handed()
    health = world.machine.health.health(record, row and row.observed, world.now())
    said = (
        [] if health in ("at-risk", "down") else [f"another drives the key, and health is {health}"]
    )
    said += [f"order {o.kind} is open" for o in record.orders if o.open]
    refused = handed is not None and not world.cloud.accepts(handed[1])
    return said + (["a dead secret is handed out"] if refused else [])


def _lookups(world: World) -> list[str]:
    handed = world.watch.handed()
    if handed is None:
        return ["nothing to hand out"]
    current, secret = handed
    if not world.cloud.accepts(secret):
        return ["what is handed out is refused"]
    said = [] if world.watch.published == current.number else ["lookups were not told"]
    ends = current.expires_at
    due = world.spec.issues and ends and world.setup.policy.rotate_at(ends, world.setup.name)
    return [*said, "the current version is due"] if due and world.now() >= due else said


def _slots(world: World) -> list[str]:
    """Active slots that nobody needs, unless a person had a hand in it."""
    if not world.spec.observes:
        return []
    needed = world.record.all_at(Stage.CURRENT, Stage.PREVIOUS)
    wanted = {world.watch.secret_of(v) for v in needed}
    return [
        f"slot {name} is active for nobody"
        for key in world.cloud.keys.values()
        for name, slot in key.slots.items()
        if not key.gone and slot.state(world.true) == "ACTIVE" and not slot.touched
        if slot.secret not in wanted and name not in world.watch.wanted_on
    ]


def _store(world: World) -> list[str]:
    if world.watch.was_restored:
        return []  # of a later life than the journal's
    now, minted = world.now(), world.setup.kind is Kind.MINTED
    live = {
        v.number
        for v in world.record.versions
        if v.stage is not Stage.REVOKED and not (minted and v.expired(now))
    }
    kept = {number for _, number in world.safe.secrets}
    return [f"the store keeps version {n}" for n in sorted(kept - live)]


def _followers(world: World) -> list[str]:
    """Those who read a store directly get what lookups get."""
    if not world.setup.followed:
        return []
    handed = world.watch.handed()
    room = world.mirror if world.setup.mirrored else world.safe
    shown = getattr(room, "shown", None)
    if shown is None or handed is None or shown[0] != handed[0].number:
        return [f"direct readers get {shown and shown[0]}"]
    if world.setup.mirrored:
        extra = {n for _, n in world.mirror.secrets} - _may_be_read(world)
        return [f"the mirror keeps version {n}" for n in sorted(extra)]
    return []


def _may_be_read(world: World) -> set[int]:
    known = {v.number for v in world.record.versions}
    readable = {v.number for v in world.record.all_at(Stage.CURRENT, Stage.PREVIOUS)}
    return readable | ({n for _, n in world.mirror.secrets} - known)
