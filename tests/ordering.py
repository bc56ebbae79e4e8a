"""What tests of orders begin with: the usual two versions, and a slot that others use."""

from __future__ import annotations

from dataclasses import replace

from keyman.core import orders
from keyman.core.model import Credential, Observed, Order, OrderKind, Place, Stage
from tests.credentials import CURRENT, DAY, at, empty, looks, order, seen, version

OLD = version(1, Stage.PREVIOUS)
NEWER = version(2, Stage.CURRENT, "two", promoted_at=at(-60))
ONE = Place("key", "one")
BOTH_ON = seen(looks(OLD), looks(NEWER))
THEIRS = replace(empty(state="ACTIVE"), last_used_at=at(-2))  # a slot that others use
HELD = seen(looks(CURRENT), THEIRS)
FREE_AT = at(DAY - 2)


def recorded(
    c: Credential,
    kind: OrderKind,
    o: Observed | None = BOTH_ON,
    *,
    first: bool = False,
    **more: object,
) -> tuple[Credential, Order]:
    return orders.record(c, o, order(kind, **more), first=first)
