"""What others do to a credential at any instant: orders, hands in the provider's console, reports
of clients, clocks set wrong, journals restored from a backup, a second process.

Each act is a function of the world, named as in a replay. An order that is refused changes
nothing, and that is fine.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from keyman import errors
from keyman.core.model import Order, OrderKind, Secret, Stage
from tests.sim.cloud import PowerCut

if TYPE_CHECKING:
    from tests.sim.rooms import Row
    from tests.sim.world import World

SHORTER = timedelta(minutes=5)
JUMP = timedelta(hours=3)


# Orders.


def rotate(world: World) -> None:
    _order(world, OrderKind.ROTATE)


def rotate_briskly(world: World) -> None:
    if _order(world, OrderKind.ROTATE, overlap=SHORTER):
        world.watch.overlap_wish = SHORTER


def new_key(world: World) -> None:
    _order(world, OrderKind.NEW_KEY)


def roll_back(world: World) -> None:
    _order(world, OrderKind.ROLLBACK)


def revoke_current(world: World, *, now: bool = False) -> None:
    current = world.record.current
    if current:
        _revoke(world, (current.number,), now=now)


def revoke_current_now(world: World) -> None:
    revoke_current(world, now=True)


def revoke_previous(world: World) -> None:
    previous = world.record.all_at(Stage.PREVIOUS, Stage.RETIRED)
    if previous:
        _revoke(world, (previous[-1].number,), now=False)


def revoke_all(world: World, *, now: bool = False) -> None:
    _revoke(world, tuple(v.number for v in world.record.versions), now=now)


def revoke_all_now(world: World) -> None:
    revoke_all(world, now=True)


def switch_on(world: World) -> None:
    slot = _standby(world)
    if slot and _order(world, OrderKind.ACTIVATE, slot=slot):
        world.watch.wanted_on.add(slot)


def switch_off(world: World) -> None:
    slot = _standby(world)
    if slot and _order(world, OrderKind.DEACTIVATE, slot=slot):
        world.watch.wanted_on.discard(slot)


def report(world: World) -> None:
    current = world.record.current
    if current:
        world.rotator.report(world.setup.name, current.number)


def _order(
    world: World,
    kind: OrderKind,
    *,
    overlap: timedelta | None = None,
    slot: str | None = None,
    targets: tuple[int, ...] = (),
    first: bool = False,
) -> bool:
    world.orders_made += 1
    order = Order(
        id=f"order-{world.orders_made}",
        kind=kind,
        recorded_at=world.now(),
        overlap=overlap,
        slot=slot,
        targets=targets,
    )
    try:
        kept = world.rotator.order(world.setup.name, order, first=first)
    except errors.Error as error:
        world.note(f"{kind} refused: {error}")
        return False
    world.hurry = True
    return bool(kept.id == order.id)


def _revoke(world: World, numbers: tuple[int, ...], *, now: bool) -> None:
    before = dict(world.watch.leaked)
    meant = [v for v in world.record.versions if v.number in numbers]
    for secret in filter(None, map(world.watch.secret_of, meant)):
        world.watch.leaked[secret] = now or before.get(secret, False)
    if not _order(world, OrderKind.REVOKE, targets=numbers, first=now):
        world.watch.leaked = before


def _standby(world: World) -> str | None:
    current = world.record.current
    names = [name for name in world.setup.slots if not current or name != current.slot]
    return names[0] if names else None


# Secrets that come by hand.


def put(world: World) -> None:
    """A person has another one made, and brings it."""
    secret, ends = world.cloud.made_by_hand()
    world.hands_full, before = True, world.hands_full
    try:
        world.rotator.put(world.setup.name, Secret(secret), ends, "ada")
    except errors.Error as error:
        world.note(f"put refused: {error}")
    world.hands_full = before


def destroy(world: World) -> None:
    """At the place where it comes from; keyman hears of it by its clients only."""
    handed = world.watch.handed()
    if handed:
        world.cloud.destroyed_by_hand(handed[1])
        world.watch.outside()


# The console.


def _by_hand(which: str, state: str) -> Callable[[World], None]:
    def act(world: World) -> None:
        handle, slot = world.slot_in_use() if which == "cur" else world.slot_beside()
        if handle is None:
            return
        seen = world.cloud.keys[handle].slots[slot].state(world.true)
        possible = {
            "RENEWED": seen not in ("REVOKED", "EXPIRED") or world.setup.refills,
            "INACTIVE": seen == "ACTIVE",
            "ACTIVE": seen == "INACTIVE",
            "REVOKED": seen in ("ACTIVE", "INACTIVE"),
        }
        if possible[state]:
            world.cloud.by_hand(handle, slot, state)
            world.watch.outside()

    return act


def delete_key(world: World, *, hidden: bool = False) -> None:
    handle, _ = world.slot_in_use()
    if handle:
        world.cloud.delete_by_hand(handle, hidden=hidden)
        world.watch.outside()


def delete_key_without_trace(world: World) -> None:
    delete_key(world, hidden=True)


# Shocks.


def set_clock_forward(world: World) -> None:
    _set_clock(world, JUMP)


def set_clock_back(world: World) -> None:
    _set_clock(world, -JUMP)


def _set_clock(world: World, by: timedelta) -> None:
    """The daemon's guard notices at once, and tells the rotator."""
    world.skew += by
    world.watch.clock_set(by)
    with suppress(PowerCut, errors.Conflict, errors.StoreFailed):
        world.rotator.clock_moved(world.setup.name, by)


def restore(world: World) -> None:
    """The journal as it was when the history began; whoever runs is stopped before."""
    backup = world.backups[0] if world.backups else None
    _restore(world, backup)


def restore_last(world: World) -> None:
    _restore(world, world.backups[-1] if world.backups else None)


def _restore(world: World, backup: Row | None) -> None:
    if backup is None:
        return
    world.restore(backup)
    world.watch.restored()
    world.boot(clean=False)


def lose_secrets(world: World) -> None:
    """The store is empty, as after a reboot without a disk; the journal is not."""
    _store_as_it_was(world, {})


def restore_secrets(world: World) -> None:
    """The store as it was when the history began."""
    _store_as_it_was(world, world.old_secrets[0])


def _store_as_it_was(world: World, secrets: dict[tuple[str, int], Secret]) -> None:
    world.safe.secrets = dict(secrets)
    world.watch.store_restored()
    world.boot(clean=False)


def take_over(world: World) -> None:
    """Whoever runs is paused until its lease is over; another machine goes on, then both do."""
    paused = world.acting
    world.pass_time(timedelta(minutes=3))
    world.troubled_at = world.true  # until now nobody was at work
    world.boot(clean=False, home="elsewhere")
    with suppress(PowerCut, errors.Conflict, errors.StoreFailed):
        world.advance()
    world.acting = paused


def stop(world: World) -> None:
    world.boot(clean=True)


def kill(world: World) -> None:
    world.boot(clean=False)


ORDERS: dict[str, Callable[[World], None]] = {
    "rotate": rotate,
    "rotate-briskly": rotate_briskly,
    "revoke-cur": revoke_current,
    "revoke-cur-now": revoke_current_now,
    "revoke-prev": revoke_previous,
    "revoke-all": revoke_all,
    "revoke-all-now": revoke_all_now,
    "roll-back": roll_back,
    "switch-on": switch_on,
    "switch-off": switch_off,
    "new-key": new_key,
    "report": report,
}
BY_HAND: dict[str, Callable[[World], None]] = {"put": put}
ELSEWHERE: dict[str, Callable[[World], None]] = {"destroy!": destroy}
CONSOLE: dict[str, Callable[[World], None]] = {
    "renew-cur!": _by_hand("cur", "RENEWED"),
    "renew-other!": _by_hand("other", "RENEWED"),
    "off-cur!": _by_hand("cur", "INACTIVE"),
    "off-other!": _by_hand("other", "INACTIVE"),
    "on-other!": _by_hand("other", "ACTIVE"),
    "kill-cur!": _by_hand("cur", "REVOKED"),
    "kill-other!": _by_hand("other", "REVOKED"),
    "delete!": delete_key,
    "vanish!": delete_key_without_trace,
}
SHOCKS: dict[str, Callable[[World], None]] = {
    "clock-on": set_clock_forward,
    "clock-back": set_clock_back,
}
ENDINGS: dict[str, Callable[[World], None]] = {"stop": stop, "kill": kill}
BACKUPS: dict[str, Callable[[World], None]] = {
    "restore": restore,
    "restore-last": restore_last,
    "lose-secrets": lose_secrets,
    "restore-secrets": restore_secrets,
}
SECOND = {"take-over": take_over}
ACTS = ORDERS | BY_HAND | ELSEWHERE | CONSOLE | SHOCKS | ENDINGS | BACKUPS | SECOND
