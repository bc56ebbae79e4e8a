"""Server-sent events: each once, in order, from where a listener left off, at nobody's expense."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from keyman.core.news import News
from keyman.errors import StoreFailed
from keyman.serving.events import PAGE
from tests.commands.world import until
from tests.serving import tcp_world
from tests.serving import world as worlds
from tests.serving.listener import EVENTS, PATIENCE, Listener, listening
from tests.serving.world import START, World, read_all

MANY = 3 * PAGE + 7


def news(what: str, name: str = "genai", **more: Any) -> News:
    return News(START, name, what, **more)


def test_what_happens_is_told_as_it_happens(world: World) -> None:
    with listening(world.path) as listener:
        assert b"content-type: text/event-stream" in listener.head
        assert b"cache-control: no-store" in listener.head
        world.tell(news("promoted", version=8, slot="key-one"))
        assert listener.hear() == [
            {
                "event": "promoted",
                "id": "1",
                "data": {
                    "at": "2026-11-21T09:00:00Z",
                    "credential": "genai",
                    "what": "promoted",
                    "version": 8,
                    "slot": "key-one",
                    "reason": "",
                },
            }
        ]
        world.tell(news("failing", "vertex", reason="throttled"), news("ok", "vertex"))
        heard = listener.hear(2)
        assert [(one["id"], one["event"]) for one in heard] == [("2", "failing"), ("3", "ok")]
        assert heard[0]["data"]["reason"] == "throttled"


def test_who_just_begins_to_listen_is_not_told_what_was(world: World) -> None:
    world.tell(news("promoted", version=8))
    with listening(world.path) as listener:
        world.tell(news("retired", version=7))
        listener.hear()
    assert listener.told == [("2", "retired")]


def test_a_reason_cannot_begin_another_event(world: World) -> None:
    said = 'no\n\nevent: promoted\nid: 9\ndata: {}\n\n"☂"'
    with listening(world.path) as listener:
        world.tell(news("failing", reason=said), news("ok"))
        heard = listener.hear(2)
    assert heard[0]["data"]["reason"] == said
    assert listener.told == [("1", "failing"), ("2", "ok")]


# Coming back.


def test_who_comes_back_is_told_what_was_missed_and_nothing_twice(world: World) -> None:
    with listening(world.path) as listener:
        world.tell(*(news("promoted", version=n) for n in range(5)))
        listener.hear(5)
    world.tell(*(news("promoted", version=5 + n) for n in range(MANY)))
    with listening(world.path, after=listener.last) as back:
        back.hear(MANY)
        world.tell(news("retired"))
        back.hear()
    assert [one["id"] for one in back.events] == [str(n) for n in range(6, MANY + 7)]


def test_who_heard_nothing_yet_comes_back_to_what_happened_since(world: World) -> None:
    world.tell(news("promoted"))
    with listening(world.path) as listener:
        assert (listener.last, listener.events) == ("1", [])
    world.tell(news("retired"))
    with listening(world.path, after=listener.last) as back:
        back.hear()
    assert back.told == [("2", "retired")]


def test_another_daemon_goes_on_where_the_last_one_was_killed(world: World) -> None:
    """All that it has is the journal."""
    with listening(world.path) as listener:
        world.tell(news("promoted"))
        listener.hear()
    world.agent.stop()
    world.desk.told.append(news("retired"))
    world.start()
    with listening(world.path, after=listener.last) as back:
        back.hear()
    assert back.told == [("2", "retired")]


@pytest.mark.parametrize("last", ["0", "1", "2", "9"])
def test_what_cannot_be_told_any_more_is_said(world: World, last: str) -> None:
    """Lines 1 to 3 are gone: who saw less, or more than there is, has to look for themselves."""
    world.tell(*(news("promoted", version=n) for n in range(6)))
    world.desk.forgotten = 3
    with listening(world.path, after=last) as listener:
        world.tell(news("retired"))
        listener.hear()
    assert listener.told == [("6", "reset"), ("7", "retired")]


@pytest.mark.parametrize("last", ["3", "6"])
def test_as_long_as_the_next_one_is_there_nothing_was_missed(world: World, last: str) -> None:
    world.tell(*(news("promoted", version=n) for n in range(6)))
    world.desk.forgotten = 3
    with listening(world.path, after=last) as listener:
        world.tell(news("retired"))
        listener.hear(7 - int(last))
    assert [one["id"] for one in listener.events] == [str(n) for n in range(int(last) + 1, 8)]


@pytest.mark.parametrize("last", ["-1", "x", "1" * 19, "1,2", "½"])
def test_an_id_that_was_never_given_is_refused(world: World, last: str) -> None:
    status, _, said = world.ask("GET", EVENTS, Last_Event_ID=last)
    assert (status, said["error"]["code"]) == (400, "usage")


# Who hears of what.


def test_one_credential_s_events(world: World) -> None:
    with listening(world.path, "?credential=vertex") as listener:
        world.tell(news("promoted"), news("promoted", "vertex"), news("retired"))
        world.tell(news("retired", "vertex"))
        listener.hear(2)
    assert listener.told == [("2", "promoted"), ("4", "retired")]


@pytest.mark.parametrize("name", ["nobody", "GENAI", "", "a/b", "%67enai%00"])
def test_a_name_that_nobody_has(world: World, name: str) -> None:
    status, _, said = world.ask("GET", f"{EVENTS}?credential={name}")
    assert (status, said["error"]["message"]) == (404, "no credential of that name")


def test_other_parameters_are_refused(world: World) -> None:
    assert world.ask("GET", f"{EVENTS}?since=1")[0] == 400


def test_a_client_hears_of_the_names_it_may_look_up() -> None:
    with tcp_world.network() as net:
        token = net.client("one", "vertex")
        with net.connect() as connection:
            connection.settimeout(PATIENCE)
            connection.sendall(net.request(f"GET {EVENTS}", token))
            listener = Listener(connection)
            listener.read_head()
            listener.hear_more()
            net.tell(news("promoted"), news("retired", "vertex"))
            listener.hear()
        assert listener.told == [("2", "retired")]
        forbidden = net.over_tcp(f"GET {EVENTS}?credential=genai", token)
        unknown = net.over_tcp(f"GET {EVENTS}?credential=nobody", token)
        assert forbidden == unknown
        assert forbidden.status == 404


# At nobody's expense.


def test_silence_is_broken_by_comments(world: World) -> None:
    world.agent._api.events.comment_every = 0.05
    with listening(world.path) as listener:
        while listener.comments < 3:
            listener.hear_more()
        world.tell(news("ok"))
        listener.hear()


def test_events_of_others_are_silence_too(world: World) -> None:
    world.agent._api.events.comment_every = 0.2
    enough = threading.Event()

    def talk() -> None:
        while not enough.wait(0.02):
            world.tell(news("ok"))

    with listening(world.path, "?credential=vertex") as listener:
        talking = threading.Thread(target=talk)
        talking.start()
        try:
            listener.hear_more()
        finally:
            enough.set()
            talking.join()
    assert (listener.comments, listener.events) == (1, [])


def test_who_takes_nothing_is_hung_up_on_and_holds_up_nobody() -> None:
    """While one reads nothing, another hears everything, lookups are answered, and no more of the
    journal is read than fits into the buffers on the way.
    """
    with worlds.world(limits=worlds.HASTY) as here, listening(here.path) as stuck:
        events = here.agent._api.events
        long = "x" * 2000
        with listening(here.path) as quick:
            for _ in range(40):
                here.tell(*(news("failing", reason=long) for _ in range(20)))
                quick.hear(20)
                assert here.ask("GET", "/api/v1/secrets/genai")[0] == 200
            until(lambda: events.listeners == 1)
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                stuck.hear_more()
        assert 0 < len(stuck.events) < 800
        assert [one["id"] for one in stuck.events] == [str(n + 1) for n in range(len(stuck.events))]
        with listening(here.path, after=stuck.last) as back:
            back.hear(800 - len(stuck.events))
            assert back.last == "800"


def test_who_leaves_is_forgotten(world: World) -> None:
    with listening(world.path):
        assert world.agent._api.events.listeners == 1
    until(lambda: world.agent._api.events.listeners == 0)
    assert world.agent._api.waiting._waiting == {}


def test_those_who_wait_for_the_same_line_share_one_reading(world: World) -> None:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(listening(world.path)) for _ in range(20)]
        until(lambda: len(world.agent._api.waiting._waiting.get("", ())) == 20)
        time.sleep(0.1)
        before = world.desk.readings
        world.tell(news("promoted"))
        assert all(one.hear()[0]["event"] == "promoted" for one in listeners)
        time.sleep(0.1)
        assert world.desk.readings - before < 20


def test_there_is_room_for_so_many(world: World) -> None:
    world.agent._api.events.most = 2
    with listening(world.path), listening(world.path):
        status, _, said = world.ask("GET", EVENTS)
        assert (status, said["error"]["code"]) == (429, "too_many")
    until(lambda: world.agent._api.events.listeners == 0)
    with listening(world.path) as listener:
        world.tell(news("ok"))
        assert listener.hear()


def test_a_head_is_answered_at_once(world: World) -> None:
    status, headers, _ = world.ask("HEAD", EVENTS)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


def test_a_stop_ends_it_at_once(world: World) -> None:
    with listening(world.path) as listener:
        began = time.monotonic()
        world.agent.stop()
        assert time.monotonic() - began < timedelta(seconds=2).total_seconds()
        assert read_all(listener.connection).endswith(b"0\r\n\r\n")


def test_a_journal_that_fails_ends_it_and_they_come_back(world: World) -> None:
    told, world.desk.news = world.desk.news, failing  # type: ignore[method-assign]
    with listening(world.path) as listener, pytest.raises(EOFError):
        listener.hear()
    world.desk.news = told  # type: ignore[method-assign]
    with listening(world.path, after=listener.last) as back:
        world.tell(news("ok"))
        assert back.hear()


def failing(seen: int, many: int) -> list[tuple[int, News]]:
    raise StoreFailed("disk I/O error")
