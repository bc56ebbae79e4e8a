"""What a record forgets, and what it keeps: by age, by number, and by what may still be asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keyman.core.model import Order, OrderKind, OrderState, Spec, Stage, Version
from keyman.core.pruning import KEPT_AT_MOST, KEPT_FOR, LET_GROW_TO, pruned
from tests.credentials import DAY, HOURLY, KEYLESS, NOW, SPEC, at, credential, order, version

LATEST = 99
CURRENT = version(LATEST, Stage.CURRENT, None)
OLD, YOUNG = at(-900 * DAY), at(-DAY)
AS_OLD_AS_MAY_BE = NOW - KEPT_FOR


def over(number: int, **more: Any) -> Version:
    """Destroyed, its secret dropped, and asked for so long ago that it may be forgotten."""
    told: dict[str, Any] = {
        "slot": None,
        "handle": f"h{number}",
        "stored": False,
        "requested_at": OLD,
        "revoked_at": at(-1),
    }
    return version(number, Stage.REVOKED, **told | more)


def many(count: int, **more: Any) -> list[Version]:
    return [over(number, **more) for number in range(1, count + 1)]


ROOM = LET_GROW_TO - 1  # beside the current one
NAMES_IT = order(OrderKind.REVOKE, targets=(1,))


@pytest.mark.parametrize(
    ("versions", "spec", "gone"),
    [
        # By number and by age.
        pytest.param(many(ROOM, requested_at=YOUNG), KEYLESS, [], id="few, and young"),
        pytest.param(
            many(ROOM + 1, requested_at=YOUNG),
            KEYLESS,
            [*range(1, ROOM + 2 - KEPT_AT_MOST)],
            id="one too many: then as many as to make room for more",
        ),
        pytest.param(
            many(ROOM, requested_at=AS_OLD_AS_MAY_BE), KEYLESS, [], id="as old as they may be"
        ),
        pytest.param(
            [over(1), over(2, requested_at=AS_OLD_AS_MAY_BE), over(3, requested_at=YOUNG)],
            KEYLESS,
            [1],
            id="one that is older than that",
        ),
        pytest.param([over(1, requested_at=YOUNG)], HOURLY, [1], id="a token leaves nothing"),
        pytest.param(
            [over(1, requested_at=YOUNG, compromised_at=at(-2))], HOURLY, [], id="unless it leaked"
        ),
        # By what may still be asked.
        pytest.param([over(1, compromised_at=at(-2))], KEYLESS, [1], id="a leak is destroyed"),
        pytest.param(
            [over(1, compromised_at=at(-2), revoked_at=None)], SPEC, [], id="or it is not yet"
        ),
        pytest.param(
            [over(1, revoked_at=None)], KEYLESS, [], id="a key that came to nothing may live"
        ),
        pytest.param(
            [over(1, revoked_at=None, issued_at=None)], KEYLESS, [1], id="it was never there"
        ),
        pytest.param([over(1, slot="one", handle="key")], SPEC, [], id="nobody else has its slot"),
        pytest.param(
            [over(1, slot="one", handle="key"), over(2, slot="one", handle="key")],
            SPEC,
            [1],
            id="the next one has it",
        ),
    ],
)
def test_what_is_forgotten(versions: list[Version], spec: Spec, gone: list[int]) -> None:
    c = credential(*versions, CURRENT, spec=spec)
    kept = tuple(v for v in c.versions if v.number not in gone)
    assert pruned(c, NOW) == replace(c, versions=kept)


@pytest.mark.parametrize(
    ("orders", "kept"),
    [
        pytest.param((), False, id="no order"),
        pytest.param((NAMES_IT,), True, id="to revoke it"),
        pytest.param((order(OrderKind.ROLLBACK, from_version=1),), True, id="to leave it"),
        pytest.param((order(OrderKind.ROTATE, from_version=LATEST),), False, id="of another"),
        pytest.param((replace(NAMES_IT, state=OrderState.DONE),), False, id="done"),
    ],
)
def test_an_open_order_keeps_what_it_names(orders: tuple[Order, ...], kept: bool) -> None:
    c = credential(over(1), CURRENT, spec=KEYLESS, orders=orders)
    assert pruned(c, NOW) == (c if kept else replace(c, versions=(CURRENT,)))


def test_what_was_tried_since_the_last_success_stays_for_it_is_counted() -> None:
    tried = [over(number, promoted_at=None, given_up="refused") for number in (2, 3, 4)]
    c = credential(version(1, Stage.CURRENT, None), *tried, spec=KEYLESS)
    assert pruned(c, NOW) == c


def test_the_last_that_was_ever_handed_out_stays_for_numbers_go_on_from_it() -> None:
    c = credential(over(1), over(2), spec=KEYLESS)
    assert pruned(c, NOW) == replace(c, versions=(over(2),))
    assert pruned(c, NOW).next_number == 3
