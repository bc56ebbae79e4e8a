"""The contract of every route, over the real socket."""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyman import errors
from keyman.core.model import OrderKind, Secret
from keyman.desk import Entrusted, Wish
from tests.serving.world import CANARY, World, nothing_usable, secret_of

GENAI = "/api/v1/secrets/genai"
ME = f"uid {os.geteuid()}"


def code(answer: Any) -> str:
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"code", "message", "hint"}
    return str(answer["error"]["code"])


def in_background(do: Any) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(do()))
    thread.start()
    return thread, found


# Lookups. Odd headers keep the framework from being passed by, so both ways are asked.

ODD = {"X_Odd": "1"}


@pytest.mark.parametrize("headers", [{}, ODD], ids=["wire", "framework"])
class TestLookup:
    def test_json(self, world: World, headers: dict[str, str]) -> None:
        status, head, body = world.ask("GET", GENAI, **headers)
        assert status == 200
        assert head["etag"] == '"7"'
        assert head["cache-control"] == "no-store"
        assert head["content-type"] == "application/json"
        assert body["value"] == secret_of("genai", 7)
        assert (body["version"], body["stage"], body["slot"]) == (7, "current", "key-two")

    def test_text(self, world: World, headers: dict[str, str]) -> None:
        status, head, body = world.ask("GET", GENAI, Accept="text/plain", **headers)
        assert (status, body) == (200, secret_of("genai", 7) + "\n")
        assert head["content-type"].startswith("text/plain")
        assert head["etag"] == '"7"'

    def test_unknown(self, world: World, headers: dict[str, str]) -> None:
        status, _, body = world.ask("GET", "/api/v1/secrets/nobody", **headers)
        assert (status, code(body)) == (404, "not_found")
        assert "nobody" not in str(body)

    def test_expired(self, world: World, headers: dict[str, str]) -> None:
        world.expire_in("genai", 8, timedelta(seconds=5))
        assert world.ask("GET", GENAI, **headers)[0] == 200
        world.clock.wall += timedelta(seconds=5)
        status, head, body = world.ask("GET", GENAI, **headers)
        assert (status, code(body)) == (503, "no_usable_secret")
        assert int(head["retry-after"]) >= 1

    @pytest.mark.parametrize(
        ("error", "expected", "wait"),
        [
            (errors.NoUsableSecret("down", retry_after=17.2), "no_usable_secret", "18"),
            (errors.NotAdopted("not yet"), "not_adopted", "5"),
        ],
    )
    def test_nothing_usable(
        self,
        world: World,
        headers: dict[str, str],
        error: errors.Error,
        expected: str,
        wait: str,
    ) -> None:
        world.snapshot.publish("genai", nothing_usable(8, error))
        status, head, body = world.ask("GET", GENAI, **headers)
        assert (status, code(body)) == (503, expected)
        assert head["retry-after"] == wait


def test_the_previous_version(world: World) -> None:
    status, head, body = world.ask("GET", f"{GENAI}?stage=previous")
    assert (status, head["etag"]) == (200, '"6"')
    assert (body["value"], body["stage"]) == (secret_of("genai", 6), "previous")
    status, _, body = world.ask("GET", "/api/v1/secrets/vertex?stage=previous")
    assert (status, code(body)) == (503, "no_usable_secret")


def test_a_client_that_has_the_version_is_told_so(world: World) -> None:
    status, head, body = world.ask("GET", GENAI, If_None_Match='"7"')
    assert (status, head["etag"], body) == (304, '"7"', "")
    assert world.ask("GET", GENAI, If_None_Match='"6"')[0] == 200


@pytest.mark.parametrize(
    "query",
    [
        "stage=pending",
        "after=-1",
        "after=x",
        "wait=soon&after=1",
        "token=abc",
        "stage=previous&after=1",
        "stage=current&stage=previous",
    ],
)
def test_a_query_that_cannot_be_followed_is_refused(world: World, query: str) -> None:
    status, _, body = world.ask("GET", f"{GENAI}?{query}")
    assert (status, code(body)) == (400, "usage")
    assert "abc" not in str(body)


@pytest.mark.parametrize(
    "name",
    [
        "%67enai",
        "Genai",
        "..",
        ".",
        "a%00",
        "genai%0a",
        "genai%20",
        "_x",
        "-x",
        "a.b",
        "%E2%85%A0",
        "genai/",
        "genai%2f..",
        "ge+nai",
        "genai;x",
        "*",
        "genai//x",
    ],
)
@pytest.mark.parametrize("route", ["/api/v1/secrets/{}", "/api/v1/credentials/{}/rotate"])
def test_names_are_taken_literally_or_not_at_all(world: World, route: str, name: str) -> None:
    method = "POST" if route.endswith("rotate") else "GET"
    status, _, body = world.ask(method, route.format(name))
    assert (status, code(body)) == (404, "not_found")
    assert repr(name) not in str(body)
    assert world.desk.wishes == []


def test_a_malformed_name_and_an_unknown_one_get_the_same_answer(world: World) -> None:
    answers = [
        world.ask("GET", f"/api/v1/secrets/{n}") for n in ("nobody", "NOBODY", "no%62ody", "x" * 64)
    ]
    assert [answer == answers[0] for answer in answers] == [True] * 4


# Waiting for a newer version.


def test_a_newer_version_is_answered_at_once(world: World) -> None:
    status, _, body = world.ask("GET", f"{GENAI}?after=6&wait=30s")
    assert (status, body["version"]) == (200, 7)


def test_the_end_of_the_wait_is_304(world: World) -> None:
    for wait in ("&wait=0.05s", ""):
        status, head, _ = world.ask("GET", f"{GENAI}?after=7{wait}")
        assert (status, head["etag"]) == (304, '"7"')


def test_a_promotion_is_pushed_to_all_who_wait_and_no_thread_waits_with_them(
    world: World,
) -> None:
    before = threading.active_count()
    asked = [
        in_background(lambda: world.ask("GET", f"{GENAI}?after=7&wait=300s")) for _ in range(60)
    ]
    waiting(world, "genai", 60)
    threads = threading.active_count() - before - len(asked)
    world.serve("vertex", 2)  # somebody else's news
    world.serve("genai", 8, previous=7)
    for thread, _ in asked:
        thread.join(20)
    answers = [found[0] for _, found in asked]
    assert [(status, body["version"]) for status, _, body in answers] == [(200, 8)] * 60
    assert threads <= 2


def test_whoever_waits_hears_that_nothing_is_usable_any_more(world: World) -> None:
    thread, found = in_background(lambda: world.ask("GET", f"{GENAI}?after=7&wait=300s"))
    waiting(world, "genai", 1)
    world.snapshot.publish("genai", nothing_usable(8))
    thread.join(20)
    assert (found[0][0], code(found[0][2])) == (503, "no_usable_secret")


def test_a_waiter_who_hangs_up_is_forgotten(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(world.path))
        connection.sendall(f"GET {GENAI}?after=7&wait=300s HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        waiting(world, "genai", 1)
    waiting(world, "genai", 0)


def waiting(world: World, name: str, number: int) -> None:
    """Return once so many wait for the name."""
    clock, deadline = world.clock, world.clock.monotonic() + 20
    while len(world.agent._api.waiting._waiting.get(name, ())) != number:
        assert clock.monotonic() < deadline, "they never came"
        clock.sleep(0.01)


# Reports of refusals.


def test_who_reports_an_old_version_gets_the_newer_one_and_nobody_is_bothered(world: World) -> None:
    status, _, body = world.ask("POST", f"{GENAI}/rejected", {"version": 6})
    assert (status, body["version"]) == (200, 7)
    assert world.desk.reports == []


def test_who_reports_the_current_version_gets_its_replacement(world: World) -> None:
    thread, found = in_background(lambda: world.ask("POST", f"{GENAI}/rejected", {"version": 7}))
    assert world.desk.reported.wait(20)
    world.snapshot.publish("genai", nothing_usable(8))
    world.serve("genai", 9)
    thread.join(20)
    assert (found[0][0], found[0][2]["value"]) == (200, secret_of("genai", 9))
    name, version, by = world.desk.reports[0]
    assert (name, version) == ("genai", 7)
    assert by.startswith(ME)


@pytest.mark.slow
def test_a_report_without_a_replacement_is_accepted(world: World) -> None:
    status, _, body = world.ask("POST", f"{GENAI}/rejected", {"version": 7})
    assert (status, body) == (202, {"name": "genai", "version": 7})


@pytest.mark.parametrize("body", [{}, {"version": "7"}, {"version": 0}, {"version": 7, "x": 1}, []])
def test_a_report_must_say_which_version(world: World, body: object) -> None:
    status, _, answer = world.ask("POST", f"{GENAI}/rejected", body)
    assert (status, code(answer)) == (400, "usage")
    assert world.desk.reports == []


# Credentials and orders.


def test_credentials_are_shown_as_status_shows_them(world: World) -> None:
    genai = {"name": "genai", "health": "ok", "clients": {"connected": 0, "behind": 0}}
    assert world.ask("GET", "/api/v1/credentials/genai")[2] == genai
    status, _, body = world.ask("GET", "/api/v1/credentials")
    assert status == 200
    assert body["daemon"] == {"running": True, "since": "2026-11-21T09:00:00Z"}
    assert body["credentials"][0] == genai
    assert world.ask("GET", "/api/v1/credentials/nobody")[0] == 404


@pytest.mark.parametrize(
    ("verb", "body", "wish"),
    [
        ("rotate", None, Wish(OrderKind.ROTATE)),
        ("rotate", {}, Wish(OrderKind.ROTATE)),
        (
            "rotate",
            {"reason": "drill", "overlap": "2h"},
            Wish(OrderKind.ROTATE, reason="drill", overlap=timedelta(hours=2)),
        ),
        ("rotate", {"new_key": True}, Wish(OrderKind.NEW_KEY)),
        ("revoke", None, Wish(OrderKind.REVOKE)),
        ("revoke", {"version": 7, "now": True}, Wish(OrderKind.REVOKE, version=7, first=True)),
        ("revoke", {"slot": "key-two"}, Wish(OrderKind.REVOKE, slot="key-two")),
        ("revoke", {"all": True}, Wish(OrderKind.REVOKE, everything=True)),
        ("rollback", None, Wish(OrderKind.ROLLBACK)),
        ("activate", {"slot": "key-one"}, Wish(OrderKind.ACTIVATE, slot="key-one")),
        ("deactivate", {"slot": "key-one"}, Wish(OrderKind.DEACTIVATE, slot="key-one")),
    ],
)
def test_an_order_reaches_the_desk_with_the_name_of_who_gave_it(
    world: World, verb: str, body: object, wish: Wish
) -> None:
    status, _, receipt = world.ask("POST", f"/api/v1/credentials/genai/{verb}", body)
    assert (status, receipt["kind"], receipt["state"]) == (202, str(wish.kind), "running")
    [(name, ordered, key)] = world.desk.wishes
    assert (name, key) == ("genai", None)
    assert ordered.by.startswith(ME)
    assert replace(ordered, by="") == wish


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("rotate", {"overlap": 5}),
        ("rotate", {"overlap": "soon"}),
        ("rotate", {"reason": "a\nb"}),
        ("rotate", {"reason": "a" * 501}),
        ("rotate", {"new_key": "yes"}),
        ("rotate", {"rotate_befor": CANARY}),
        ("revoke", {"version": 7, "all": True}),
        ("revoke", {"version": True}),
        ("revoke", {"slot": "../x"}),
        ("activate", {}),
        ("activate", None),
        ("adopt", {"slot": "key-one", "secret": f"{CANARY}\n"}),
        ("adopt", {"slot": "key-one", "secret": [CANARY]}),
        ("adopt", {"slot": "key-one", CANARY: "1"}),
        ("adopt", {"key_id": "../x", "secret": "s"}),
        ("put", {"secret": f"{CANARY}\n"}),
        ("put", {"secret": CANARY, "expires_at": "2027-01-31T00:00:00"}),
        ("put", {"secret": CANARY, "expires_at": 7}),
    ],
)
def test_a_body_that_cannot_be_followed_is_refused_without_repeating_it(
    world: World, verb: str, body: object
) -> None:
    status, _, answer = world.ask("POST", f"/api/v1/credentials/genai/{verb}", body)
    assert (status, code(answer)) == (400, "usage")
    assert CANARY not in str(answer)
    assert world.desk.wishes == []
    assert world.desk.adopted == []
    assert world.desk.puts == []


@pytest.mark.parametrize(
    "raw", [b"{", b"[" * 30_000, b'{"version": ' + b"9" * 5_000 + b"}", b"\xff"]
)
def test_a_body_that_is_not_json_is_refused(world: World, raw: bytes) -> None:
    head = (
        b"POST /api/v1/credentials/genai/revoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(raw)
    )
    assert world.say(head + raw).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8", None],
)
def test_json_is_taken_for_json_whatever_it_is_called(world: World, kind: str | None) -> None:
    """As plain `curl -d` sends it."""
    read = posted(world, kind, b'{"version": 7, "now": true}')
    assert read.startswith(b"HTTP/1.1 202 ")
    assert [(wish.version, wish.first) for _, wish, _ in world.desk.wishes] == [(7, True)]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data", None])
@pytest.mark.parametrize("raw", [b"version=7&now=true", b"[7]", b'"7"', b"7", b"{version: 7}"])
def test_anything_else_is_refused_whatever_it_is_called(
    world: World, kind: str | None, raw: bytes
) -> None:
    assert posted(world, kind, raw).startswith(b"HTTP/1.1 400 ")
    assert world.desk.wishes == []


def posted(world: World, kind: str | None, raw: bytes) -> bytes:
    """The answer to a revocation with this body."""
    named = f"Content-Type: {kind}\r\n" if kind else ""
    head = (
        "POST /api/v1/credentials/genai/revoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"{named}Content-Length: {len(raw)}\r\n\r\n"
    )
    return world.say(head.encode() + raw)


CREDENTIAL = "/api/v1/credentials/genai"
INTEGER, SWITCH, OBJECT = (
    "must be a whole number",
    "must be true or false",
    "must be one JSON object",
)


@pytest.mark.parametrize(
    ("call", "body", "said"),
    [
        (f"POST {GENAI}/rejected", {}, "version: is required"),
        (f"POST {GENAI}/rejected", {"version": "7"}, f"version: {INTEGER}"),
        (f"POST {GENAI}/rejected", {"version": 7.5}, f"version: {INTEGER}"),
        (f"POST {GENAI}/rejected", {"version": 0}, "version: must be at least 1"),
        (f"POST {GENAI}/rejected", {"version": 2**60}, f"version: must be at most {2**53}"),
        (f"POST {GENAI}/rejected", [], f"the body: {OBJECT}"),
        (f"POST {GENAI}/rejected", None, "the body: is required"),
        (f"POST {CREDENTIAL}/rotate", "x", f"the body: {OBJECT}"),
        (f"POST {CREDENTIAL}/rotate", {"reason": 5}, "reason: must be a text"),
        (f"POST {CREDENTIAL}/rotate", {"new_key": "yes"}, f"new_key: {SWITCH}"),
        (f"POST {CREDENTIAL}/forget", {"revoke": 1}, f"revoke: {SWITCH}"),
        (
            f"POST {CREDENTIAL}/rotate",
            {"reason": "a" * 501},
            "reason: must not be longer than 500 characters",
        ),
        (
            f"POST {CREDENTIAL}/adopt",
            {"key_id": "../x", "secret": "s"},
            "key_id: must be 1 to 255 letters, digits and _ . -",
        ),
        (
            f"POST {CREDENTIAL}/revoke",
            {"version": 7, "all": True},
            "the body: takes one of version, slot and all",
        ),
        (
            f"POST {CREDENTIAL}/rotate",
            {"a": 1, "b": 2, "reason": 5},
            "reason: must be a text; the body has a field that this call does not know",
        ),
        (f"GET {GENAI}?stage=pending", None, "stage: must be 'current' or 'previous'"),
        (f"GET {GENAI}?after=x", None, f"after: {INTEGER}"),
        (f"GET {GENAI}?after=-1", None, "after: must be at least 0"),
    ],
)
def test_mistakes_are_said_in_plain_words(world: World, call: str, body: object, said: str) -> None:
    method, target = call.split()
    status, _, answer = world.ask(method, target, body)
    assert (status, answer["error"]["message"]) == (400, said)


def test_a_key_that_can_be_none_is_said_in_plain_words(world: World) -> None:
    _, _, answer = world.ask("POST", f"{CREDENTIAL}/rotate", {}, Idempotency_Key="k" * 129)
    said = "Idempotency-Key: must be 1 to 128 printable characters without spaces"
    assert answer["error"]["message"] == said


def test_the_same_key_gives_the_same_order(world: World) -> None:
    rotate = "/api/v1/credentials/genai/rotate"
    first = world.ask("POST", rotate, {}, Idempotency_Key="one")[2]["order"]
    assert world.ask("POST", rotate, {}, Idempotency_Key="one")[2]["order"] == first
    assert world.ask("POST", rotate, {}, Idempotency_Key="two")[2]["order"] != first
    assert [key for _, _, key in world.desk.wishes] == ["one", "two"]
    assert world.ask("POST", rotate, {}, Idempotency_Key="k" * 129)[0] == 400


def test_a_contradicting_order_is_a_conflict(world: World) -> None:
    world.ask("POST", "/api/v1/credentials/genai/rotate")
    status, _, body = world.ask("POST", "/api/v1/credentials/genai/rollback")
    assert (status, code(body)) == (409, "conflict")


def test_a_receipt_is_answered_at_once_or_when_the_order_is_done(world: World) -> None:
    order = world.ask("POST", "/api/v1/credentials/genai/rotate")[2]["order"]
    path = f"/api/v1/orders/{order}"
    assert world.ask("GET", path)[2]["state"] == "running"
    assert world.ask("GET", f"{path}?wait=0.05s")[2]["state"] == "running"
    thread, found = in_background(lambda: world.ask("GET", f"{path}?wait=60s"))
    waiting(world, "genai", 1)
    world.desk.finish(order)
    thread.join(20)
    assert (found[0][0], found[0][2]["state"]) == (200, "done")
    assert world.ask("GET", f"{path}?wait=60s")[2]["state"] == "done"


def test_an_order_that_nobody_gave_is_not_found(world: World) -> None:
    for order in ("0" * 32, "..", "%00"):
        status, _, body = world.ask("GET", f"/api/v1/orders/{order}?wait=1s")
        assert (status, code(body)) == (404, "not_found")


def test_adopting_hands_the_secret_to_the_desk_and_shows_it_to_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = {"slot": "key-one", "secret": secret_of("genai", 1)}
    status, _, answer = world.ask("POST", "/api/v1/credentials/genai/adopt", body)
    assert status == 200
    assert CANARY not in str(answer)
    [(name, key, by)] = world.desk.adopted
    assert (name, key) == ("genai", Entrusted(Secret(secret_of("genai", 1)), "key-one"))
    assert by.startswith(ME)
    assert CANARY not in caplog.text


def test_putting_hands_the_secret_to_the_desk_and_shows_it_to_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = {"secret": secret_of("genai", 1), "expires_at": "2027-01-31T01:00:00+01:00"}
    status, _, answer = world.ask("POST", "/api/v1/credentials/genai/put", body)
    assert status == 200
    [(name, secret, ends, by)] = world.desk.puts
    assert (name, secret) == ("genai", Secret(secret_of("genai", 1)))
    assert ends == datetime(2027, 1, 31, tzinfo=UTC)
    assert by.startswith(ME)
    assert CANARY not in str(answer) + caplog.text


def test_forget_and_reload(world: World) -> None:
    assert world.ask("POST", "/api/v1/credentials/genai/forget", {})[0] == 409
    assert world.ask("POST", "/api/v1/credentials/gone/forget", {})[2]["forgotten"] is True
    status, _, body = world.ask("POST", "/api/v1/reload", {})
    assert (status, body) == (200, {"credentials": ["genai", "vertex"]})
    assert world.reloads == 1


# Health, odds and ends.


@pytest.mark.parametrize(
    "path",
    [
        *(GENAI, f"{GENAI}?stage=previous", "/api/v1/secrets/nobody", f"{GENAI}?stage=x"),
        *("/api/v1/credentials", "/api/v1/credentials/genai", "/healthz", "/readyz"),
        "/api/openapi.json",
    ],
)
def test_head_is_answered_like_get_without_a_body(world: World, path: str) -> None:
    asked, told = world.ask("GET", path), world.ask("HEAD", path)
    assert told == (asked[0], asked[1], "")


def test_after_head_the_connection_serves_on(world: World) -> None:
    head = f"HEAD {GENAI} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    read = world.say(head + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert read.count(b"HTTP/1.1 200 OK") == 2
    assert secret_of("genai", 7).encode() not in read


def test_alive_and_ready(world: World) -> None:
    assert world.ask("GET", "/healthz")[0] == 200
    assert world.ask("GET", "/readyz")[0] == 200
    world.snapshot.withdraw("vertex")
    status, head, body = world.ask("GET", "/readyz")
    assert (status, code(body)) == (503, "not_running")
    assert head["retry-after"]
    world.serve("vertex", 1)
    world.desk.trouble = errors.StoreFailed("the store is locked")
    status, _, body = world.ask("GET", "/readyz")
    assert (status, code(body)) == (503, "store_failed")
    assert world.ask("GET", "/healthz")[0] == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.StoreFailed("x"), 500),
        (errors.Rejected("x"), 502),
        (errors.TooMany("x"), 429),
        (errors.NotAdopted("x"), 503),
    ],
)
def test_errors_of_the_desk_have_the_status_of_the_one_table(
    world: World, error: errors.Error, status: int
) -> None:
    world.desk.trouble = error
    answer = world.ask("GET", "/api/v1/credentials/genai")
    assert (answer[0], code(answer[2])) == (status, error.code)


def test_what_nobody_foresaw_shows_no_trace_and_no_value(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world.desk.trouble = ValueError(f"bad: {CANARY}")
    status, _, body = world.ask("GET", "/api/v1/credentials/genai")
    assert (status, code(body)) == (500, "internal")
    assert CANARY not in str(body)
    assert "unforeseen ValueError at" in caplog.text
    assert CANARY not in caplog.text
    assert "Traceback" not in caplog.text
    world.desk.trouble = None
    assert world.ask("GET", "/api/v1/credentials/genai")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/api/v1/secrets", 404),
        ("GET", "/api/v1/credentials/", 404),
        ("DELETE", GENAI, 405),
        ("HEAD", "/api/v1/secrets", 404),
        ("HEAD", "/api/v1/credentials/genai/rotate", 405),
        ("POST", GENAI, 405),
        ("OPTIONS", GENAI, 405),
        ("GET", "/api/v1/credentials/genai/rotate", 405),
        ("GET", "/healthz?x=1", 400),
    ],
)
def test_what_is_not_offered_is_refused_in_the_same_shape(
    world: World, method: str, path: str, status: int
) -> None:
    answer = world.ask(method, path)
    assert answer[0] == status
    if method != "HEAD":
        assert code(answer[2]) == ("not_found" if status == 404 else "usage")


def test_the_description_names_every_route(world: World) -> None:
    status, _, described = world.ask("GET", "/api/openapi.json")
    assert status == 200
    verbs = ("rotate", "revoke", "rollback", "activate", "deactivate", "adopt", "put", "forget")
    assert set(described["paths"]) == {
        "/api/v1/secrets/{name}",
        "/api/v1/secrets/{name}/rejected",
        "/api/v1/credentials",
        "/api/v1/credentials/{name}",
        *(f"/api/v1/credentials/{{name}}/{verb}" for verb in verbs),
        "/api/v1/orders/{order_id}",
        "/api/v1/events",
        "/api/v1/reload",
        "/metrics",
        "/healthz",
        "/readyz",
    }
