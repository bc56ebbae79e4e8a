"""What befalls the small world from people: a hand in the console, orders, backups put back.

Each is a move of nobody's, so none is judged; what keyman makes of it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from keyman import errors
from keyman.core import restoring
from keyman.core.model import Order, OrderKind, Stage, State
from keyman.core.steps import Step, Wait
from tests.every_state.process import Process
from tests.every_state.provider import OPEN, SHUT, Key, Ways, state
from tests.every_state.world import POLICY, TICK, Backup, Client, World

BY_CONSOLE = ("renew", "renew, and it is used", "off", "on", "revoke", "end")
ORDERS = ("rotate", "roll_back", "revoke", "revoke_now")


class Move(NamedTuple):
    label: str
    world: World
    ours: bool = False  #: a step of keyman's, to be judged
    calls: bool = False  #: it reached the provider


class People:
    def __init__(self, process: Process, ways: Ways) -> None:
        self.process = process
        self.ways = ways

    def moves(self, w: World, step: Step | None) -> Iterator[Move]:
        """`step` is what keyman would do now; None if it hangs."""
        yield from self._console(w)
        yield from self._orders(w)
        yield from self._backups(w, step)

    def _console(self, w: World) -> Iterator[Move]:
        if w.left.delete and not w.key.gone:
            left = w.left._replace(delete=w.left.delete - 1)
            yield Move("CONSOLE deletes the key", w._replace(left=left, key=_gone(w)))
        if not w.left.console or w.key.gone:
            return
        spent = w._replace(left=w.left._replace(console=w.left.console - 1))
        for at in (0, 1):
            for what in BY_CONSOLE:
                after = self._by_hand(spent, at, what)
                if after is not None:
                    yield Move(f"CONSOLE: {what} {at}", after)

    def _by_hand(self, w: World, at: int, what: str) -> World | None:
        slot = w.key.slots[at]
        was = state(slot, w.at)
        if what.startswith("renew"):
            if was in SHUT and not self.ways.refills:
                return None
            fresh = w.made + 1
            ends = w.at + POLICY.lifetime + TICK / 2  # no end that keyman would have wished for
            new = type(slot)(State.ACTIVE, fresh, ends, None, touched=True)
            client = w.client if what == "renew" else Client(fresh)
            return w._replace(key=w.key.put(at, new), made=fresh, client=client)
        becomes = {"off": State.INACTIVE, "on": State.ACTIVE, "revoke": State.REVOKED}
        possible = {"off": (State.ACTIVE,), "on": (State.INACTIVE,)}.get(what, OPEN)
        if was not in possible:
            return None
        new = slot._replace(state=becomes.get(what, State.EXPIRED), touched=True)
        return w._replace(key=w.key.put(at, new))

    def _orders(self, w: World) -> Iterator[Move]:
        for what in ORDERS:
            many = getattr(w.left, what)
            if not many:
                continue
            left = w.left._replace(**{what: many - 1})
            for targets in self._targets(w, what):
                after = self._ordered(w._replace(left=left), what, targets)
                if after is not None:
                    label = f"ORDER: {what}" + (f" version {targets[0]}" if targets else "")
                    yield Move(label, after)

    def _targets(self, w: World, what: str) -> list[tuple[int, ...]]:
        if not what.startswith("revoke"):
            return [()]
        live = [v for v in w.record.versions if v.stage is not Stage.REVOKED and v.issued_at]
        return [(v.number,) for v in live if not v.compromised or what == "revoke_now"]

    def _ordered(self, w: World, what: str, targets: tuple[int, ...]) -> World | None:
        kind = OrderKind.REVOKE if targets else OrderKind(what.replace("_", ""))
        order = Order(f"o{w.wishes}", kind, w.now, targets=targets)
        try:
            record, kept = self.process.code.orders.record(
                w.record, w.seen, order, first=what == "revoke_now"
            )
        except errors.Error:
            return None
        if kept.id != order.id:
            return None
        leaked = {w.secret(v) for v in w.record.versions if v.number in targets} - {None}
        record = replace(
            record,
            revision=record.revision + 1,
            orders=tuple(order for order in record.orders if order.open),
        )
        w = w._replace(record=record, wishes=w.wishes + 1, leaked=w.leaked | frozenset(leaked))  # type: ignore[arg-type]
        return w

    # Backups.

    def _backups(self, w: World, step: Step | None) -> Iterator[Move]:
        if not w.left.backup or w.held:
            return
        if w.backup is None:
            if isinstance(step, Wait):
                backup = Backup(w.record, w.seen, w.store, w.now, w.leaked)
                yield Move("backup taken", w._replace(backup=backup))
            return
        left = w.left._replace(backup=w.left.backup - 1)
        w = w._replace(left=left)
        for how in ("RESTORED", "COPIED BACK, journal only", "COPIED BACK, journal and store"):
            yield Move(how, self._restored(w, how))

    def _restored(self, w: World, how: str) -> World:
        back = w.backup
        assert back
        record = replace(back.record, revision=w.record.revision + 1)
        store = w.store if how.endswith("only") else back.store
        seen: object = back.seen
        if how == "RESTORED":
            record, seen = restoring.restored(record, back.at, w.now), None
        w = w._replace(record=record, store=store, leaked=back.leaked, backup=None)
        w = self.process.restarted(w._replace(seen=seen))  # type: ignore[arg-type]
        return w._replace(client=w.client._replace(left_at=None))


def _gone(w: World) -> Key:
    return w.key._replace(gone=True, etag=w.key.etag + 1)
