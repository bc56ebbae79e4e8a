"""What people may wish, and when a wish has come true.

An order changes what is true in the journal; it never acts. The rules see it and act, so an
order may land while a step is under way, from any thread or process.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from keyman.core.frozen import replace
from keyman.core.model import (
    Credential,
    Observed,
    Order,
    OrderKind,
    OrderState,
    Place,
    Spec,
    Stage,
    State,
    Version,
)
from keyman.core.picture import GONE
from keyman.core.situation import Situation
from keyman.core.steps import Abandon, Request
from keyman.core.transitions import abandoned, requested
from keyman.errors import Conflict, NotAdopted, NotFound, NoUsableSecret, UsageError

MAKES_A_VERSION = (OrderKind.ROTATE, OrderKind.NEW_KEY, OrderKind.ROLLBACK)
SWITCHES = (OrderKind.ACTIVATE, OrderKind.DEACTIVATE)


def record(
    c: Credential, o: Observed | None, order: Order, *, first: bool = False
) -> tuple[Credential, Order]:
    """Write the order down, or join the open one that wishes the same: either ends a rest.

    Raises Conflict if it contradicts what is under way, NotAdopted, NotFound (no such version)
    or NoUsableSecret (nothing to roll back to).
    """
    refuse_impossible(c.spec, order.kind, order.overlap)
    if not c.versions and (c.spec.key_id or not c.spec.issues):
        by_hand = None if c.spec.issues else f"`keyman put {c.name}` takes the first one"
        raise NotAdopted(f"{c.name} has no version yet", hint=by_hand)
    if not c.versions:
        hint = "the first one is made without an order: `keyman daemon`"
        raise NoUsableSecret(f"{c.name} has no version yet", hint=hint)
    now = order.recorded_at
    if order.kind is OrderKind.ROLLBACK:
        c = _instead_of_what_waits(c, now)
    same = _joined(c, order)
    if same is not None:
        return _joining(c, o, same, now)
    c = _rested(c, now)
    if order.kind is OrderKind.REVOKE:
        c, order = _compromise(c, order, first=first)
    elif order.kind is OrderKind.ROLLBACK:
        c, order = _roll_back(c, o, order)
    elif order.kind in SWITCHES:
        _may_switch(Situation(c, o, now), order)
    current = c.current
    order = replace(
        order,
        from_version=current.number if current else None,
        from_slot=current.slot if current else None,
    )
    c = settled(replace(c, orders=(*c.orders, order)), o, now)
    return c, next(known for known in c.orders if known.id == order.id)


def refuse_impossible(spec: Spec, kind: OrderKind, overlap: timedelta | None = None) -> None:
    """Raise UsageError for what nobody can do, or nobody but a person elsewhere."""
    name = spec.name
    if overlap is not None and spec.mints:
        hint = "leave out --overlap"
        raise UsageError(f"{name} has no overlap: a token works until its own end", hint=hint)
    if kind in (OrderKind.ROTATE, OrderKind.NEW_KEY) and not spec.issues:
        hint = f"get a new one where it comes from, then `keyman put {name}`"
        raise UsageError(f"the secret of {name} comes by hand: keyman can't make one", hint=hint)
    if kind is OrderKind.REVOKE and not spec.issues:
        hint = f"destroy it where it comes from, then `keyman put {name}` a new one"
        raise UsageError(f"the secret of {name} came by hand: keyman can't destroy it", hint=hint)
    if kind is OrderKind.NEW_KEY and not spec.slots:
        hint = f"every `keyman rotate {name}` makes a new one"
        raise UsageError(f"{name} has no key with slots", hint=hint)
    if kind is OrderKind.ROLLBACK and spec.mints:
        hint = f"`keyman rotate {name}` gets a fresh one"
        raise UsageError(
            f"{name} has short-lived tokens: there is nothing to go back to", hint=hint
        )


def _instead_of_what_waits(c: Credential, now: datetime) -> Credential:
    """A rotation that has not begun makes way: it would fill the very slot to go back to."""
    waiting = c.order_of(OrderKind.ROTATE, OrderKind.NEW_KEY)
    if waiting is None or c.open_version:
        return c
    why = "a rollback took its place"
    return c.with_order(waiting.id, state=OrderState.FAILED, finished_at=now, error=why)


def _joined(c: Credential, order: Order) -> Order | None:
    busy = c.order_of(*MAKES_A_VERSION)
    if order.kind in MAKES_A_VERSION and busy:
        if busy.kind is order.kind and order.kind is not OrderKind.ROLLBACK:
            return busy
        raise Conflict(f"{c.name}: a {busy.kind} is under way", hint="wait until it is done")
    return None


def _joining(
    c: Credential, o: Observed | None, same: Order, now: datetime
) -> tuple[Credential, Order]:
    """What is under way is left alone, but what rests after a failure is tried at once: whoever
    asks again may have mended something.
    """
    if c.retry_at is None:
        return c, same
    c = settled(_rested(c, now), o, now)
    return c, next(known for known in c.orders if known.id == same.id)


def _rested(c: Credential, now: datetime) -> Credential:
    """Nothing waits any more, and the provider is looked at first. What failed has failed until it
    succeeds, if only once, so that rests are short again.
    """
    return replace(c, failures=min(c.failures, 1), retry_at=None, doubt_at=now)


def _compromise(c: Credential, order: Order, *, first: bool) -> tuple[Credential, Order]:
    targets = []
    for number in order.targets:
        version = c.version(number)
        if version is None:
            raise NotFound(
                f"{c.name} has no version {number}", hint=f"`keyman status {c.name}` shows them"
            )
        if version.stage is Stage.REQUESTED and version.carries is None:
            continue  # a secret that nobody has seen yet can't have leaked
        targets.append(number)
        for v in c.versions:
            if v.attempt == version.attempt and v.revoked_at is None:
                since = v.compromised_at or order.recorded_at
                c = c.with_version(
                    v.number, compromised_at=since, revoke_first=first or v.revoke_first
                )
    return c, replace(order, targets=tuple(targets))


def _roll_back(c: Credential, o: Observed | None, order: Order) -> tuple[Credential, Order]:
    now = order.recorded_at
    if c.open_version:
        raise Conflict(f"{c.name}: a rotation is under way", hint="wait until it is done")
    source = Situation(c, o, now).spare_to_return_to()
    if source is None:
        anew = f"`keyman rotate {c.name}` makes a new one"
        by_hand = f"`keyman put {c.name}` takes another one"
        raise NoUsableSecret(
            f"{c.name} has no earlier version that can still be used",
            hint=anew if c.spec.issues else by_hand,
        )
    step = Request(source.slot, source.handle, source.expires_at, source.number, "rollback")
    return requested(c, step, o, source.attempt, now), replace(order, targets=(source.number,))


def _may_switch(s: Situation, order: Order) -> None:
    c = s.c
    if order.slot not in c.spec.slots or c.key_id is None:
        slots = ", ".join(c.spec.slots) or "none: its secrets can't be switched"
        raise UsageError(f"{c.name} has no slot {order.slot!r}", hint=f"its slots: {slots}")
    place = Place(c.key_id, order.slot)
    if c.open_version and c.open_version.place == place:
        raise Conflict(f"{c.name}: a rotation into {order.slot} is under way")
    if order.kind is OrderKind.DEACTIVATE and s.depends_on(place):
        raise Conflict(
            f"lookups of {c.name} depend on {order.slot}",
            hint=f"`keyman rotate {c.name}` first, or `keyman revoke {c.name}` if it leaked",
        )


def refused(c: Credential, why: str, now: datetime) -> Credential:
    """The provider said a definite no: whoever waits is told now; the schedule goes on.

    What was begun for them is given up, so that nothing is made later that was said to have failed.
    """
    if c.order_of(*MAKES_A_VERSION) and c.open_version:
        c = abandoned(c, Abandon(c.open_version, why))
    for order in c.orders:
        if order.open and order.kind is not OrderKind.REVOKE:
            c = c.with_order(order.id, state=OrderState.FAILED, finished_at=now, error=why)
    return c


def switch_refused(c: Credential, place: Place, why: str, now: datetime) -> Credential | None:
    """The same where a person asked for no more than a switch: that alone has failed."""
    order = c.order_of(*SWITCHES)
    if order is None or Place(c.key_id or "", order.slot) != place:
        return None
    c = c.with_order(order.id, state=OrderState.FAILED, finished_at=now, error=why)
    return replace(c, doubt_at=now)


def settled(c: Credential, o: Observed | None, now: datetime) -> Credential:
    """The same record with every open order's progress brought up to date."""
    s = Situation(c, o, now)
    if s.other_owner:
        return refused_by_owner(c, s.other_owner, now)
    orders = tuple(_progress(s, order) if order.open else order for order in c.orders)
    return replace(c, orders=orders) if orders != c.orders else c


def refused_by_owner(c: Credential, owner: str, now: datetime) -> Credential:
    """Nothing is done here while somebody else drives the key: whoever waits is told."""
    why = f"the key is managed by {owner}"
    ended = (replace(o, state=OrderState.FAILED, finished_at=now, error=why) for o in c.orders)
    return replace(
        c, orders=tuple(new if old.open else old for new, old in zip(ended, c.orders, strict=True))
    )


def _progress(s: Situation, order: Order) -> Order:
    if order.kind is OrderKind.REVOKE:
        return _revocation(s, order)
    if order.kind in SWITCHES:
        return _switch(s, order)
    if order.kind is OrderKind.ROLLBACK:
        return _return(s, order)
    return _rotation(s, order)


def _rotation(s: Situation, order: Order) -> Order:
    current = s.current
    if current and _is_answer(s.c, current, order):
        return _promoted(s, order, current)
    if s.stuck and s.c.open_version is None:
        why = "no slot of the API key can be filled again"
        return replace(order, state=OrderState.FAILED, finished_at=s.now, error=why)
    running, held = s.c.open_version is not None, s.used_by_strangers
    ends = [s.overlap_ends(v) for v in s.c.all_at(Stage.PREVIOUS)]
    until = held.quiet_at if held else max((end for end in ends if end > s.now), default=None)
    return replace(
        order,
        state=OrderState.RUNNING if running else OrderState.WAITING,
        until=None if running else until,
        error=s.c.last_error or (held.said if held else None),
    )


def _is_answer(c: Credential, current: Version, order: Order) -> bool:
    # Told by number, not by time: were the clock set back, no promotion would ever count as later.
    if current.number <= (order.from_version or 0):
        return False
    if order.kind is not OrderKind.NEW_KEY:
        return True
    before = c.version(order.from_version or 0)
    return before is None or before.handle != current.handle


def _promoted(s: Situation, order: Order, current: Version) -> Order:
    old = s.c.version(order.from_version) if order.from_version else None
    return replace(
        order,
        state=OrderState.DONE,
        to_version=current.number,
        to_slot=current.slot,
        promoted_at=current.promoted_at,
        finished_at=current.promoted_at,
        until=_both_work_until(s, old) if old and old.stage is Stage.PREVIOUS else None,
        error=None,
    )


def _both_work_until(s: Situation, old: Version) -> datetime | None:
    """None where nobody switches the old one off."""
    return s.overlap_ends(old) if s.spec.observes else old.expires_at


def _return(s: Situation, order: Order) -> Order:
    made = [v for v in s.versions if v.carries in order.targets]
    mine = next((v for v in reversed(made) if v.requested_at >= order.recorded_at), None)
    if mine and mine.stage is Stage.CURRENT:
        return _promoted(s, order, mine)
    if mine is None or mine.stage is Stage.REVOKED:
        why = (mine and mine.given_up) or "the earlier version can no longer be used"
        return replace(order, state=OrderState.FAILED, finished_at=s.now, error=why)
    return replace(order, state=OrderState.RUNNING, error=s.c.last_error)


def _revocation(s: Situation, order: Order) -> Order:
    targets = [v for v in s.versions if v.number in order.targets]
    current = s.current
    if current and current.promoted_at and current.promoted_at >= order.recorded_at:
        order = replace(
            order,
            promoted_at=current.promoted_at,
            to_version=current.number,
            to_slot=current.slot,
        )
    gone = [v.revoked_at for v in targets if v.revoked_at is not None]
    if len(gone) < len(targets):
        order = replace(order, until=_dies_at(s, targets))
        if not s.spec.revokes and s.why_replace_now is None:
            # It dies when it expires: that lookups have another one is all that can be done.
            return replace(order, state=OrderState.DONE, finished_at=s.now, error=None)
        why = s.c.last_error or _why_it_lives(s, targets)
        return replace(order, state=OrderState.RUNNING, error=why)
    finished = max(max(gone, default=s.now), order.recorded_at)
    return replace(order, state=OrderState.DONE, finished_at=finished, error=None)


def _why_it_lives(s: Situation, targets: list[Version]) -> str | None:
    left = next((v for v in targets if s.deleted_and_alive(v)), None)
    if left is None:
        return s.used_by_strangers.said if s.used_by_strangers else None
    where = f"the provider has no key {left.handle} where it is looked for"
    return f"{where}, and still takes its secret: destroy it by hand"


def _dies_at(s: Situation, targets: list[Version]) -> datetime | None:
    """When the last of them is dead, where nobody can destroy a secret before it expires."""
    ends = [v.expires_at for v in targets if v.revoked_at is None and v.expires_at]
    return None if s.spec.revokes else max(ends, default=None)


def _switch(s: Situation, order: Order) -> Order:
    place = Place(s.c.key_id, order.slot) if s.c.key_id else None
    seen = s.o.slot(place) if s.o else None
    wanted = State.ACTIVE if order.kind is OrderKind.ACTIVATE else State.INACTIVE
    if order.kind is OrderKind.DEACTIVATE and place and s.depends_on(place):
        why = "lookups depend on the slot by now"
        return replace(order, state=OrderState.FAILED, finished_at=s.now, error=why)
    looked = s.c.doubt_at is None and s.o is not None and s.o.at >= order.recorded_at
    if not looked or seen is None or seen.state not in (wanted, *GONE):
        return replace(order, state=OrderState.RUNNING, error=s.c.last_error)
    if order.kind is OrderKind.ACTIVATE and seen.state in GONE:
        why = f"the slot is {seen.state}, which switching it on does not undo"
        return replace(order, state=OrderState.FAILED, finished_at=s.now, error=why)
    return replace(order, state=OrderState.DONE, finished_at=s.now, error=None)
