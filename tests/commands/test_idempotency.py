"""Idempotency-Key: asking again is one order, whatever happened between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from threading import Barrier, BrokenBarrierError, Thread
from types import SimpleNamespace
from typing import Any

import pytest

from keyman.app import App
from keyman.clock import new_id
from keyman.core.model import Order, OrderKind
from keyman.desk import Desk, Wish
from keyman.errors import Conflict
from tests.commands.world import Home

ROTATE = Wish(OrderKind.ROTATE, by="uid 1")
REVOKE = Wish(OrderKind.REVOKE, by="uid 1")


@pytest.fixture
def app(place: Home) -> Iterator[App]:
    place.configure(overlap="1s")
    place.start()
    with place.open() as opened:
        yield opened


def ordered(app: App) -> list[str]:
    """Every order that was ever recorded, in the words of the history."""
    return [event.kind for event in app.journal.events() if event.kind.startswith("ordered")]


def see_through(app: App, order: str) -> None:
    app.drive("genai", timedelta(minutes=1), lambda: app.desk.receipt(order)["state"] == "done")


def test_a_key_whose_order_joined_another_stands_for_that_one(app: App) -> None:
    first = app.desk.order("genai", ROTATE)
    joined = app.desk.order("genai", ROTATE, key="k")
    see_through(app, first["order"])
    again = app.desk.order("genai", ROTATE, key="k")
    assert [first["order"]] * 2 == [joined["order"], again["order"]]
    assert again["state"] == "done"
    assert ordered(app) == ["ordered rotate"]


def test_a_key_is_refused_for_another_kind_of_wish(app: App) -> None:
    made = app.desk.order("genai", ROTATE, key="k")
    see_through(app, made["order"])
    with pytest.raises(Conflict, match="used for another wish"):
        app.desk.order("genai", REVOKE, key="k")
    assert ordered(app) == ["ordered rotate"]
    revoked = app.desk.order("genai", REVOKE, key="k2")
    assert revoked["kind"] == "revoke"


@pytest.mark.parametrize(
    "change", [{"version": 1}, {"slot": "key-one"}, {"first": True}, {"reason": "other"}]
)
def test_a_key_is_refused_for_another_body(app: App, change: dict[str, Any]) -> None:
    app.desk.order("genai", REVOKE, key="k")
    with pytest.raises(Conflict):
        app.desk.order("genai", replace(REVOKE, **change), key="k")
    assert ordered(app) == ["ordered revoke"]


def test_who_asks_again_does_not_matter(app: App) -> None:
    made = app.desk.order("genai", ROTATE, key="k")
    assert app.desk.order("genai", replace(ROTATE, by="uid 2"), key="k")["order"] == made["order"]


def test_a_crash_between_the_claim_and_the_order_is_healed_by_asking_again(app: App) -> None:
    """The claim is there, the order isn't: the same question records it, once."""

    class Crash(BaseException):
        pass

    def dies(*_: object, **__: object) -> Order:
        raise Crash

    with pytest.raises(Crash):
        desk_with(app, dies).order("genai", ROTATE, key="k")
    assert ordered(app) == []
    made = app.desk.order("genai", ROTATE, key="k")
    assert app.desk.order("genai", ROTATE, key="k")["order"] == made["order"]
    assert ordered(app) == ["ordered rotate"]


def test_two_at_once_are_one_order(app: App) -> None:
    """Whoever comes first waits a while before the order is written, so that both could meet."""
    both = Barrier(2)

    def lingers(*what: Any, **how: Any) -> Order:
        with suppress(BrokenBarrierError):
            both.wait(0.5)
        return app.rotator.order(*what, **how)

    desk, said = desk_with(app, lingers), []
    threads = [
        Thread(target=lambda: said.append(desk.order("genai", REVOKE, key="k"))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said[0]["order"] == said[1]["order"]
    assert ordered(app) == ["ordered revoke"]


def desk_with(app: App, order: Callable[..., Order]) -> Desk:
    """The app's desk, but orders are written by this."""
    rotator: Any = SimpleNamespace(managed=app.rotator.managed, order=order)
    return Desk(app.journal, rotator, app.clock, new_id, app.farewell)
