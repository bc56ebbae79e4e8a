"""Events of a real daemon: each change once, whatever is killed in between."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from tests.commands.world import Home, until
from tests.serving.listener import Listener, listening

OLD = "1s"  # overlap: the standby slot is soon free for the next rotation


def socket_of(place: Home) -> Path:
    return place.state / "agent.sock"


def at_rest(place: Home) -> bool:
    said = place.keyman("status", "genai", "--json")
    return said.status == 0 and said.json["order"] is None


def promotions(place: Home) -> list[int | None]:
    """As the history has them."""
    with place.open() as app:
        return [one.version for one in app.journal.events() if one.kind == "promote"]


def heard(listener: Listener, what: str) -> list[int]:
    return [one["data"]["version"] for one in listener.events if one["event"] == what]


def test_a_rotation_is_told_and_lookups_follow_first(place: Home) -> None:
    place.configure(overlap=OLD)
    place.start()
    with place.daemon(), listening(socket_of(place)) as listener:
        assert place.keyman("rotate", "genai", "--no-wait").status == 0
        told = listener.hear()[0]
        assert (told["event"], told["data"]["version"]) == ("promoted", 2)
        assert place.keyman("get", "genai", "--field", "version").out == "2\n"
        assert listener.hear()[0]["event"] == "retired"
    assert heard(listener, "retired") == [1]


def test_trouble_is_told_and_its_end(place: Home) -> None:
    place.start()
    with place.daemon(), listening(socket_of(place)) as listener:
        with place.cloud.fault(effect="status", status=503, operation="RenewApiKey"):
            place.keyman("rotate", "genai", "--no-wait")
            told = listener.hear()[0]
            assert (told["event"], told["data"]["version"]) == ("failing", 1)
            assert told["data"]["reason"]
        assert [one["event"] for one in listener.hear(2)] == ["ok", "promoted"]


@pytest.mark.slow
def test_over_kills_everything_is_told_once(place: Home) -> None:
    place.configure(overlap=OLD)
    place.start()
    ids, versions, last = [], [], "0"
    for wait in (0.05, 0.15, 0.3, 0.5, 0.8):
        with place.daemon() as daemon, listening(socket_of(place), after=last) as listener:
            place.keyman("rotate", "genai", "--no-wait")
            time.sleep(wait)
            daemon.kill()
            until_hung_up_on(listener)
            ids += [int(one["id"]) for one in listener.events]
            versions += heard(listener, "promoted")
            last = listener.last
    with place.daemon(), listening(socket_of(place), after=last) as listener:
        until(lambda: at_rest(place))
        last_of_all = place.keyman("rotate", "genai", "--json").json["to"]["version"]
        while last_of_all not in heard(listener, "promoted"):
            listener.hear()
        ids += [int(one["id"]) for one in listener.events]
        versions += heard(listener, "promoted")
    assert ids == list(range(1, len(ids) + 1))
    assert versions == promotions(place)


def until_hung_up_on(listener: Listener) -> None:
    with contextlib.suppress(EOFError, ConnectionResetError):
        while True:
            listener.hear_more()
