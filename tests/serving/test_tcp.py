"""Clients with tokens, over TCP: who is answered what, at once, and what the network may do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from keyman import errors
from keyman.config import Listen
from keyman.serving.api import Api
from keyman.serving.doors import Client
from keyman.serving.refusals import Shell
from keyman.serving.server import Agent
from keyman.serving.wire import Limits
from tests.serving.tcp_world import Network, Reply, network, parsed, read_reply
from tests.serving.test_api import in_background, waiting
from tests.serving.test_wire import LOOKS, ORDERS, NoFramework
from tests.serving.world import CANARY, read_all, secret_of

GENAI = "GET /api/v1/secrets/genai"
VALUE = secret_of("genai", 7)
WRONG = "kmc_" + "w" * 43


@pytest.fixture
def net() -> Iterator[Network]:
    with network() as here:
        yield here


@pytest.fixture
def hasty() -> Iterator[Network]:
    limits = Limits(read_within=0.2, idle=0.4, connections=8, remote=8, of_a_peer=6, tokenless=4)
    with network(limits=limits) as here:
        yield here


# Who is asking.


@pytest.mark.parametrize("call", LOOKS)
def test_a_client_may_look(net: Network, call: str) -> None:
    assert net.over_tcp(call, net.client("build")).status == 200


def test_a_client_gets_the_secret_in_either_form(net: Network) -> None:
    token = net.client("build", "genai")
    found = net.over_tcp(GENAI, token)
    assert (found.json["value"], found.headers["etag"]) == (VALUE, '"7"')
    assert found.headers["cache-control"] == "no-store"
    assert net.over_tcp(GENAI, token, Accept="text/plain").body == f"{VALUE}\n".encode()


def test_a_client_reports_a_refusal_in_its_own_name(net: Network) -> None:
    token = net.client("build", "genai")
    told = in_background(
        lambda: net.over_tcp("POST /api/v1/secrets/genai/rejected", token, {"version": 7})
    )
    assert net.desk.reported.wait(20)
    net.serve("genai", 8, previous=7)
    told[0].join(20)
    assert told[1][0].json["version"] == 8
    assert net.desk.reports == [("genai", 7, "client build")]


@pytest.mark.parametrize(
    "call", [*ORDERS, "GET /api/v1/clients", "POST /api/v1/clients/build/revoke"]
)
def test_a_client_may_do_nothing_else(net: Network, call: str) -> None:
    """Whatever it is granted."""
    found = net.over_tcp(call, net.client("build"), {"secret": "s", "slot": "key-one"})
    assert (found.status, found.json["error"]["code"]) == (403, "not_allowed")
    assert (net.desk.wishes, net.desk.adopted, net.desk.puts, net.reloads) == ([], [], [], 0)
    assert net.register.every()[0]["revoked_at"] is None


def test_metrics_are_for_those_who_may_see_every_name(net: Network) -> None:
    assert net.over_tcp("GET /metrics", net.client("one", "genai")).status == 403
    assert net.over_tcp("GET /metrics", net.client("all")).status in (200, 404)


def test_who_runs_keyman_is_nobody_in_particular_over_tcp(net: Network) -> None:
    assert net.over_tcp(GENAI).status == 401
    assert net.over_tcp("POST /api/v1/reload").status == 401


@pytest.mark.parametrize("call", [GENAI, "GET /healthz", "GET /nowhere", "POST /api/v1/reload"])
def test_every_wrong_token_is_answered_with_the_same_bytes(net: Network, call: str) -> None:
    """Missing, malformed, wrong, revoked, shown twice: the answer does not say which."""
    right, revoked = net.client("build"), net.client("gone")
    net.register.revoke("gone", "the test")
    twice = net.request(call, right).replace(b"Authorization", b"Authorization: x\r\nAuthorization")
    tries = [
        net.request(call),
        net.request(call, WRONG),
        net.request(call, revoked),
        net.request(call, Authorization=f"Basic {right}"),
        net.request(call, Authorization=right),
        net.request(call, Authorization="Bearer " + "é" * 43),
        net.request(call.replace("genai", f"genai?token={right}")),
        twice,
    ]
    answers = {net.put_raw(each) for each in tries}
    assert len(answers) == 1
    (answer,) = answers
    found = parsed(answer)
    assert found.status == 401
    assert found.headers["www-authenticate"] == "Bearer"
    assert found.json["error"]["code"] == "not_allowed"
    assert CANARY not in answer.decode()


# Which names.

NAMED = (
    *("GET /api/v1/secrets/{}", "HEAD /api/v1/secrets/{}", "GET /api/v1/secrets/{}?stage=previous"),
    *("GET /api/v1/secrets/{}?after=1&wait=5s", "GET /api/v1/secrets/{}?nonsense=1"),
    *("GET /api/v1/credentials/{}", "HEAD /api/v1/credentials/{}"),
    "POST /api/v1/secrets/{}/rejected",
)


@pytest.mark.parametrize("call", NAMED)
@pytest.mark.parametrize("body", [None, {"version": 1}, {"nonsense": 1}], ids=str)
def test_a_forbidden_name_is_answered_as_one_that_nobody_has(
    net: Network, call: str, body: Any
) -> None:
    token = net.client("build", "genai", "left-the-configuration")
    asked = ("vertex", "no-such-name", "left-the-configuration", "UPPER", "a%62c", "-")
    answers = {
        net.put_raw(net.request(call.format(n), token, body, Connection="close")) for n in asked
    }
    assert len(answers) == 1
    assert parsed(answers.pop(), call).status == 404
    assert net.desk.reports == []


@pytest.mark.parametrize("name", ["vertex", "nobody"])
def test_a_forbidden_name_takes_the_way_of_one_that_nobody_has(name: str) -> None:
    """No answer comes sooner because a name is there: the same is asked of both."""
    asked: list[str] = []

    def knows(name: str) -> bool:
        asked.append(name)
        return name in ("genai", "vertex")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("there is no body to read")

    build = Client("build", b"", frozenset({"genai"}))
    scope = {"type": "http", "method": "GET", "state": {"caller": build}}
    path = f"/api/v1/secrets/{name}".encode()
    asyncio.run(Shell(NoFramework(), knows)({**scope, "raw_path": path}, receive, send))
    assert sent[0]["status"] == 404
    assert asked == [name]


def test_a_list_shows_what_one_may_see(net: Network) -> None:
    def names(token: str) -> list[str]:
        return [
            one["name"]
            for one in net.over_tcp("GET /api/v1/credentials", token).json["credentials"]
        ]

    assert names(net.client("one", "vertex")) == ["vertex"]
    assert names(net.client("all")) == ["genai", "vertex"]
    assert names(net.client("none", "whatever")) == []


def test_no_hint_lists_what_there_is(net: Network) -> None:
    """A credential may leave the configuration between two looks at it."""
    net.desk.trouble = errors.NotFound("no credential 'genai'", hint="known: vertex")
    found = net.over_tcp("GET /api/v1/credentials/genai", net.client("build", "genai"))
    assert found.status == 404
    assert b"vertex" not in found.body


# At once.


def test_whoever_is_added_is_answered_at_once_and_whoever_is_revoked_no_more(net: Network) -> None:
    token = net.client("build")
    with net.connect() as kept:
        for _ in range(3):
            kept.sendall(net.request(GENAI, token))
            assert read_reply(kept).status == 200
        net.register.revoke("build", "the test")
        assert kept.recv(1000) == b"", "the kept connection is ended"
    assert net.over_tcp(GENAI, token).status == 401


def test_a_revoke_ends_a_wait_and_nobody_elses(net: Network) -> None:
    one, other = net.client("one"), net.client("other")
    poll = f"{GENAI}?after=7&wait=30s"
    with net.connect() as ended, net.connect() as going_on:
        ended.sendall(net.request(poll, one))
        going_on.sendall(net.request(poll, other))
        waiting(net, "genai", 2)
        net.register.revoke("one", "the test")
        assert read_all(ended) == b""
        net.serve("genai", 8, previous=7)
        assert read_reply(going_on).json["version"] == 8


def test_a_token_that_ended_is_not_served_even_before_its_connection_is_ended(net: Network) -> None:
    """The loop may be busy: the next request on the connection finds the token gone by itself."""
    token = net.client("build")
    with net.connect() as kept:
        kept.sendall(net.request(GENAI, token))
        assert read_reply(kept).status == 200
        net.agent.doors.told = lambda: None
        net.register.revoke("build", "the test")
        kept.sendall(net.request(GENAI, token))
        assert read_reply(kept).status == 401


def test_another_token_on_the_same_connection_is_another_client(net: Network) -> None:
    genai, vertex = net.client("one", "genai"), net.client("other", "vertex")
    with net.connect() as kept:
        for token, status in ((genai, 200), (vertex, 404), (genai, 200), (WRONG, 401)):
            kept.sendall(net.request(GENAI, token))
            assert read_reply(kept).status == status


def test_a_name_whose_token_was_revoked_may_have_another_one(net: Network) -> None:
    first = net.client("build")
    net.register.revoke("build", "the test")
    second = net.client("build")
    assert [net.over_tcp(GENAI, token).status for token in (first, second)] == [401, 200]


def test_clients_are_those_of_the_journal_at_the_next_start(net: Network) -> None:
    token = net.client("build")
    net.agent.stop()
    net.start()
    assert net.over_tcp(GENAI, token).status == 200


def test_when_a_client_asked_last_is_recorded(net: Network) -> None:
    token, _ = net.client("build"), net.client("idle")
    assert net.over_tcp(GENAI, token).status == 200
    net.agent.stop()
    used = {one["name"]: one["used_at"] for one in net.register.every()}
    assert used == {"build": "2026-11-21T09:00:00Z", "idle": None}


# Users of the socket: the same grants.


def test_a_user_who_may_not_see_a_name_is_told_that_nobody_has_it(net: Network) -> None:
    """The test's own user is taken for one who may only look."""
    net.agent.doors.owners = frozenset()
    net.agent.doors.narrow({"vertex": []})
    assert net.ask("GET", "/api/v1/secrets/genai")[0] == 200
    for call in NAMED:
        method, path = call.split()
        answers = [net.ask(method, path.format(name)) for name in ("vertex", "nobody")]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    every = net.ask("GET", "/api/v1/credentials")[2]["credentials"]
    assert [one["name"] for one in every] == ["genai"]


def test_a_connection_that_is_open_already_follows_the_rights(net: Network) -> None:
    net.agent.doors.owners = frozenset()
    asked = b"GET /api/v1/secrets/genai HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(net.path))
        for hidden, status in ((None, 200), ("genai", 404), ("vertex", 200)):
            net.agent.doors.narrow({hidden: ()} if hidden else {})
            connection.sendall(asked)
            assert read_reply(connection).status == status


def test_who_loses_a_name_loses_the_wait_for_it(net: Network) -> None:
    net.agent.doors.owners = frozenset()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(net.path))
        connection.sendall(
            b"GET /api/v1/secrets/genai?after=7&wait=30s HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        waiting(net, "genai", 1)
        net.agent.doors.narrow({"genai": []})
        assert read_all(connection) == b""


def test_an_owner_keeps_the_wait(net: Network) -> None:
    poll = in_background(lambda: net.ask("GET", "/api/v1/secrets/genai?after=7&wait=30s"))
    waiting(net, "genai", 1)
    net.agent.doors.narrow({"genai": []})
    net.serve("genai", 8, previous=7)
    poll[0].join(20)
    assert poll[1][0][0] == 200


# Requests that nobody meant for us.


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": ""},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-For": "10.0.0.1"},
        {"X-Forwarded-Host": "keyman"},
        {"Forwarded": "for=10.0.0.1"},
        {"Via": "1.1 proxy"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "call", [GENAI, "GET /api/v1/credentials", "OPTIONS /api/v1/secrets/genai"]
)
def test_what_was_led_here_by_a_page_or_a_proxy_is_refused(
    net: Network, headers: dict[str, str], call: str
) -> None:
    """Also with a right token, on the way that plain lookups take as well."""
    token = net.client("build")
    for said in ({"Connection": ""}, {"X-Odd": "1"}):
        raw = net.put_raw(net.request(call, token, **headers, **said))
        found = parsed(raw)
        assert (found.status, found.json["error"]["code"]) == (403, "not_allowed")
        assert CANARY not in raw.decode()
        assert not [name for name in found.headers if name.startswith("access-control")]


def test_a_second_host_is_refused(net: Network) -> None:
    asked = net.request(GENAI, net.client("build")).replace(b"Host:", b"Host: evil\r\nHost:")
    assert parsed(net.put_raw(asked)).status == 403


def test_a_page_may_not_even_ask_whether_it_may_ask(net: Network) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    found = net.over_tcp("OPTIONS /api/v1/secrets/genai", **asked)
    assert found.status == 403
    assert not [name for name in found.headers if name.startswith("access-control")]


def test_names_that_are_configured_are_ours() -> None:
    with network(hosts=("keyman.internal",)) as net:
        token, port = net.client("build"), net.address[1]
        for host, status in ((f"keyman.internal:{port}", 200), ("keyman.internal:1", 403)):
            assert net.over_tcp(GENAI, token, Host=host).status == status


def test_on_every_address_the_one_that_was_asked_counts() -> None:
    with network("0.0.0.0") as net:
        token, port = net.client("build"), net.address[1]
        for host, status in ((f"127.0.0.1:{port}", 200), (f"0.0.0.0:{port}", 403)):
            assert net.over_tcp(GENAI, token, Host=host).status == status
        assert net.over_tcp(GENAI, token, Host="rebound.example").status == 403


def ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not ipv6(), reason="no IPv6 here: sysctl net.ipv6.conf.lo.disable_ipv6=0")
def test_over_ipv6() -> None:
    with network("::1") as net:
        token = net.client("build")
        assert net.host.startswith("[::1]:")
        assert net.over_tcp(GENAI, token).json["value"] == VALUE


def test_no_answer_leads_elsewhere(net: Network) -> None:
    token = net.client("build")
    for path in ("/api/v1/secrets/genai/", "//api/v1/secrets/genai", "/", "/api/v1/secrets"):
        found = net.over_tcp(f"GET {path}", token)
        assert found.status in (403, 404)
        assert "location" not in found.headers


# Wrong tokens, again and again.


def test_ten_wrong_tokens_a_minute_slow_their_peer_only(
    net: Network, caplog: pytest.LogCaptureFixture
) -> None:
    token = net.client("build")
    assert [net.over_tcp(GENAI, WRONG).status for _ in range(10)] == [401] * 10
    begun = time.monotonic()
    slowed = net.over_tcp(GENAI, WRONG)
    assert slowed.status == 429
    assert slowed.json["error"]["code"] == "too_many"
    assert 0 < int(slowed.headers["retry-after"]) <= 60
    assert time.monotonic() - begun > 0.9, "it has to wait for that"
    assert net.over_tcp(GENAI, WRONG, source="127.0.0.2").status == 401
    assert net.over_tcp(GENAI, token, source="127.0.0.2").status == 200
    assert net.over_tcp(GENAI, token).status == 200, "a right one is not held up by a neighbour"
    assert net.over_tcp(GENAI).status == 401, "no token at all is no guess"
    assert "127.0.0.1" in caplog.text
    assert WRONG not in caplog.text


@pytest.mark.slow
def test_whoever_is_slowed_holds_up_nobody(net: Network) -> None:
    token = net.client("build")
    for _ in range(10):
        net.over_tcp(GENAI, WRONG)
    passed = False
    for _ in range(5):  # on a machine that stands still they may all end at once
        held = [in_background(lambda: net.over_tcp(GENAI, WRONG)) for _ in range(5)]
        assert net.over_tcp(GENAI, token).status == 200
        passed = passed or not any(found for _, found in held)
        for thread, found in held:
            thread.join(20)
            assert found[0].status == 429
    assert passed


# How they ask: bytes as they come.


def test_a_plain_lookup_is_answered_without_the_framework(net: Network) -> None:
    """And not before the token, the names and the headers were looked at."""
    net.agent.stop()
    api = Api(net.desk, net.snapshot, reload=dict, since=net.clock.wall, clients=net.register)
    api.app = NoFramework()  # type: ignore[assignment]
    net.agent = Agent(api, net.path, listen=net.listen)
    net.agent.start()
    token = net.client("build", "genai")
    for accept in ("", "*/*", "application/json", "text/plain"):
        with net.connect() as connection:
            for _ in range(2):
                connection.sendall(net.request(GENAI, token, Accept=accept))
                assert VALUE.encode() in read_reply(connection).body
    assert net.over_tcp(GENAI, WRONG).status == 401
    assert net.over_tcp(GENAI, token, Host="evil").status == 403


def test_one_connection_serves_many_requests_in_order(net: Network) -> None:
    token = net.client("build")
    plain, slow = net.request(GENAI, token), net.request("GET /healthz", token)
    last = net.request(GENAI, token, Connection="close")
    read = net.put_raw(plain * 3 + slow + plain + last)
    assert read.count(b"HTTP/1.1 200 OK") == 6
    assert read.count(VALUE.encode()) == 5


def test_each_pipelined_request_needs_its_own_token(net: Network) -> None:
    read = net.put_raw(net.request(GENAI, net.client("build")) + net.request(GENAI))
    assert read.count(VALUE.encode()) == 1
    assert read.count(b"HTTP/1.1 401 ") == 1


def test_a_refusal_never_passes_for_the_answer_to_an_earlier_request(net: Network) -> None:
    token = net.client("build")
    poll = net.request(f"{GENAI}?after=7&wait=20s", token)
    for behind in (net.request(GENAI, WRONG), b"no HTTP\r\n\r\n"):
        assert net.put_raw(poll + behind) == b""


# A bar stands for CR LF, TE for Transfer-Encoding.
ODD = {
    "two lengths": "{post}Content-Length: 5|Content-Length: 6||abcdef",
    "two equal lengths": "{post}Content-Length: 1|Content-Length: 1||a",
    "a list of lengths": "{post}Content-Length: 1, 1||a",
    "a signed length": "{post}Content-Length: +1||a",
    "length and chunks": "{post}Content-Length: 5|TE: chunked||0||",
    "chunks and length": "{post}TE: chunked|Content-Length: 5||0||",
    "chunks twice": "{post}TE: chunked|TE: chunked||0||",
    "another coding": "{post}TE: gzip, chunked||0||",
    "an unknown coding": "{post}TE: xchunked||0||",
    "chunks in HTTP/1.0": "POST {genai}/rejected HTTP/1.0|{ok}TE: chunked||0||",
    "chunks with bare LF": "{post}TE: chunked||1\nx\n0\n\n",
    "a folded header": "{get}X-Odd: a| b||",
    "a folded host": "GET {genai} HTTP/1.1|Authorization: Bearer {token}|Host:| {host}||",
    "bare LF": "GET {genai} HTTP/1.1\nHost: {host}\nAuthorization: Bearer {token}\n\n",
    "bare LF behind a host": "GET {genai} HTTP/1.1|Host: {host}\nAuthorization: Bearer {token}||",
    "bare CR": "GET {genai} HTTP/1.1|Host: {host}\rAuthorization: Bearer {token}||",
    "NUL in a header": "{get}X-Odd: a\0b||",
    "NUL in the target": "GET {genai}\0 HTTP/1.1|{ok}|",
    "space before the colon": "{get}X-Odd : a||",
    "space before a header": "GET {genai} HTTP/1.1| {ok}|",
    "an absolute target": "GET http://{host}{genai} HTTP/1.1|{ok}|",
    "somebody else's target": "GET http://evil.example{genai} HTTP/1.1|{ok}|",
    "a target without path": "CONNECT {host} HTTP/1.1|{ok}|",
    "a star": "OPTIONS * HTTP/1.1|{ok}|",
    "the next protocol": "PRI * HTTP/2.0||SM||\0\0\0\4\0\0\0\0\0",
    "a protocol that is none": "GET {genai} HTTP/9.9|{ok}|",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "nothing like it": "\0\1\2||",
}


@pytest.mark.parametrize("what", ODD)
def test_what_others_might_read_differently_is_refused_and_hung_up_on(
    net: Network, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = net.client("build")
    ok = f"Host: {net.host}|Authorization: Bearer {token}|"
    said = {
        "ok": ok,
        "host": net.host,
        "token": token,
        "genai": "/api/v1/secrets/genai",
        "get": f"{GENAI} HTTP/1.1|{ok}",
        "post": f"POST /api/v1/secrets/genai/rejected HTTP/1.1|{ok}",
    }
    raw = ODD[what].format(**said).replace("TE:", "Transfer-Encoding:").replace("|", "\r\n")
    for behind in (b"", net.request(GENAI, token)):
        read = net.put_raw(raw.encode("latin-1") + behind)
        assert read.startswith(b"HTTP/1.1 4"), read
        assert read.count(b"HTTP/1.1 ") == 1
        assert CANARY.encode() not in read
    assert token not in caplog.text
    assert "Traceback" not in caplog.text
    assert net.over_tcp(GENAI, token).status == 200
    assert net.desk.reports == []


@pytest.mark.parametrize("path", ["%67enai", "genai%00", "genai%2f", "genai%20", "..%2fgenai"])
def test_a_path_is_never_decoded(net: Network, path: str) -> None:
    found = net.over_tcp(f"GET /api/v1/secrets/{path}", net.client("build"))
    unknown = net.over_tcp("GET /api/v1/secrets/unknown", net.client("other"))
    assert found == unknown
    assert found.status == 404


def test_the_old_protocol_is_answered_and_closed(net: Network) -> None:
    asked = net.request(GENAI, net.client("build")).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert VALUE.encode() in net.put_raw(asked)
    assert parsed(net.put_raw(b"GET /api/v1/secrets/genai HTTP/1.0\r\n\r\n")).status == 403


def test_an_upgrade_is_answered_as_the_plain_request_that_it_also_is(net: Network) -> None:
    token = net.client("build")
    for protocol in ("h2c", "websocket"):
        with net.connect() as connection:
            connection.sendall(
                net.request(GENAI, token, Connection="Upgrade", Upgrade=protocol) + b"\0" * 10
            )
            assert VALUE.encode() in read_reply(connection).body


def test_trailers_are_not_taken_for_headers(net: Network) -> None:
    """What comes behind a body was looked at by nobody."""
    net.client("build")
    chunked = net.request("POST /api/v1/secrets/genai/rejected", Transfer_Encoding="chunked")
    trailer = f"0\r\nAuthorization: Bearer {WRONG}\r\n\r\n".encode()
    assert parsed(net.put_raw(chunked + trailer)).status == 401
    owner = b"POST /api/v1/credentials/genai/rotate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    said = b"2\r\n{}\r\n0\r\nIdempotency-Key: smuggled\r\n\r\n"
    assert b" 202 " in net.say(owner + b"Host: x\r\nConnection: close\r\n\r\n" + said)
    assert [key for _, _, key in net.desk.wishes] == [None]


# How much, how slowly, how many.


@pytest.mark.parametrize(
    "more",
    ["X: " + "a" * 9_000 + "\r\n", "".join(f"X{n}: aaaa\r\n" for n in range(900))],
    ids=["long", "many"],
)
def test_a_head_beyond_8_kib_is_refused(net: Network, more: str) -> None:
    asked = net.request(GENAI, net.client("build")).replace(b"Host", more.encode() + b"Host")
    assert parsed(net.put_raw(asked)).status in (400, 431)


def test_a_head_dribbled_without_end_is_refused_once_it_is_too_long(net: Network) -> None:
    begin = net.request(GENAI, net.client("build"))[:-2] + b"X: "
    assert parsed(net.put_raw(begin, *([b"a" * 1_000] * 12))).status == 431


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_64_kib_is_refused_and_the_answer_arrives(
    net: Network, chunked: bool
) -> None:
    """Also while the rest of it is still being sent: no reset takes the answer along."""
    token, call = net.client("build"), "POST /api/v1/secrets/genai/rejected"
    if chunked:
        head = net.request(call, token, Transfer_Encoding="chunked")
        pieces = [b"1000\r\n" + b"a" * 4096 + b"\r\n"] * 200
    else:
        head = net.request(call, token, Content_Length="800000")
        pieces = [b"a" * 4000] * 200
    assert parsed(net.put_raw(head, *pieces)).status == 400


def test_the_end_of_a_refusal_is_no_reset(net: Network) -> None:
    """Some systems throw away what they have not read yet when a connection is reset."""
    head = net.request("POST /api/v1/secrets/genai/rejected", Content_Length="800000")
    with net.connect() as connection:
        connection.sendall(head)
        assert read_reply(connection).status == 401
        connection.sendall(b"a" * 100_000)
        assert connection.recv(100) == b""


def test_a_body_within_64_kib_may_come_in_pieces(net: Network) -> None:
    body = b'{"version": 6' + b" " * 60_000 + b"}"
    head = net.request(
        "POST /api/v1/secrets/genai/rejected",
        net.client("build"),
        Content_Length=str(len(body)),
        Connection="close",
    )
    pieces = [body[at : at + 5_000] for at in range(0, len(body), 5_000)]
    with net.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (head, *pieces):
            connection.sendall(piece)
            time.sleep(0.005)
        assert parsed(read_all(connection)).json["version"] == 7


def test_chunks_that_carry_nothing_are_not_read_without_end(net: Network) -> None:
    head = net.request(
        "POST /api/v1/secrets/genai/rejected", net.client("build"), Transfer_Encoding="chunked"
    )
    assert parsed(net.put_raw(head, b"1;", *([b"a" * 8_000] * 64))).status in (400, 431)


@pytest.mark.parametrize("known", [False, True])
def test_who_stops_in_the_middle_is_hung_up_on(hasty: Network, known: bool) -> None:
    token = hasty.client("build")
    before = hasty.request(GENAI, token) if known else b""
    read = hasty.put_raw(before + hasty.request(GENAI, token)[:-2])
    assert read.count(b"HTTP/1.1 ") == 1 + known
    assert b"HTTP/1.1 408 " in read


def test_who_shows_no_token_is_hung_up_on_sooner_than_who_did() -> None:
    with (
        network(limits=Limits(read_within=0.2, idle=60)) as net,
        net.connect() as known,
        net.connect() as stranger,
    ):
        known.sendall(net.request(GENAI, net.client("build")))
        assert read_reply(known).status == 200
        assert stranger.recv(100) == b""
        known.sendall(net.request(GENAI))
        assert read_reply(known).status == 401, "it was still there"


def test_whoever_is_silent_for_long_is_hung_up_on(hasty: Network) -> None:
    assert VALUE.encode() in hasty.put_raw(hasty.request(GENAI, hasty.client("build")))


def test_what_comes_after_a_refusal_is_not_heard(hasty: Network) -> None:
    call = "POST /api/v1/secrets/genai/rejected"
    asked = hasty.request(call, hasty.client("build"), {"version": 7})
    with hasty.connect() as late:
        late.sendall(asked[:40])
        assert read_reply(late).status == 408
        late.sendall(asked[40:] + asked)
        assert read_all(late) == b""
    assert not hasty.desk.reported.wait(0.5)


def test_a_long_poll_is_not_silence(hasty: Network) -> None:
    asked = hasty.request(f"{GENAI}?after=7&wait=2.5s", hasty.client("build"), Connection="close")
    assert parsed(hasty.put_raw(asked)).status == 304


def test_a_crowd_from_one_address_is_nobody_elses_trouble() -> None:
    with network(limits=Limits(tokenless=4, of_a_peer=6)) as net:
        token = net.client("build")
        with contextlib.ExitStack() as open_:
            for _ in range(4):
                open_.enter_context(net.connect())
            assert net.put_raw(net.request(GENAI, token)) == b"", "the fifth stranger"
            assert net.over_tcp(GENAI, token, source="127.0.0.2").status == 200
            assert net.ask("GET", "/api/v1/secrets/genai")[0] == 200


def test_a_program_that_starts_with_many_connections_is_answered(net: Network) -> None:
    """All at once, before a single one was looked at."""
    asked = net.request(GENAI, net.client("build"))
    with contextlib.ExitStack() as open_:
        crowd = [open_.enter_context(net.connect()) for _ in range(200)]
        for one in crowd:
            one.sendall(asked)
        assert {read_reply(one).status for one in crowd} == {200}


def test_those_with_tokens_have_a_limit_too() -> None:
    limits = Limits(tokenless=4, of_a_peer=6, connections=9)
    assert limits.owners == 1
    with network(limits=limits) as net:
        token = net.client("build")
        with contextlib.ExitStack() as open_:

            def another(source: str) -> int:
                one = open_.enter_context(net.connect(source))
                one.sendall(net.request(GENAI, token))
                return read_reply(one).status

            first = open_.enter_context(net.connect())
            assert [another("127.0.0.1") for _ in range(5)] == [200] * 5
            assert net.put_raw(net.request(GENAI, token)) == b"", "the seventh of this address"
            assert [another("127.0.0.2") for _ in range(3)] == [200, 200, 200]
            first.sendall(net.request(GENAI, token))
            assert read_reply(first).status == 429, "the ninth of all that may ask"
            assert another("127.0.0.3") == 429


@pytest.mark.slow
def test_there_is_room_again_when_they_have_left() -> None:
    with network(limits=Limits(tokenless=2)) as net:
        for _ in range(3):
            for begin in (net.request(GENAI, Host="evil"), net.request(GENAI)[:-2]):
                with net.connect() as one:
                    one.sendall(begin + b"\0")
                    assert one.recv(100).startswith(b"HTTP/1.1 4")
            tcp = net.agent._tcp
            assert tcp is not None
            assert eventually(lambda tcp=tcp: tcp._crowd.count == 0)
        assert net.over_tcp(GENAI, net.client("build")).status == 200


def eventually(so: Any) -> bool:
    deadline = time.monotonic() + 20
    while not so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def send_without_end(connection: socket.socket, asked: bytes) -> None:
    for _ in range(1_000):
        connection.send(asked)


def test_who_never_reads_is_hung_up_on_at_last() -> None:
    with network(limits=Limits(idle=1.0)) as net:
        token = net.client("build")
        with net.connect() as deaf:
            deaf.settimeout(1)
            with pytest.raises((TimeoutError, ConnectionError)):
                send_without_end(deaf, net.request(GENAI, token) * 1_000)
            assert net.over_tcp(GENAI, token).status == 200
            assert eventually(lambda: len(net.agent._state.connections) == 0)


@pytest.mark.slow
def test_random_bytes_never_harm_the_agent(net: Network) -> None:
    import random

    dice, token = random.Random(5), net.client("build")
    for _ in range(150):
        raw = bytearray(net.request(GENAI, token))
        for _ in range(dice.randrange(1, 12)):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        with net.connect("127.0.0.9") as connection:
            connection.sendall(bytes(raw))
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection)[:9] in (b"", b"HTTP/1.1 ")
    assert net.over_tcp(GENAI, token).status == 200


# Starting and stopping.


def test_a_port_that_is_taken_is_said_and_the_socket_is_not_made(net: Network) -> None:
    api = Api(net.desk, net.snapshot, reload=dict, since=net.clock.wall)
    path = net.path.with_name("other.sock")
    agent = Agent(api, path, listen=Listen(*net.address))
    with pytest.raises(errors.ConfigError, match=r"nobody can be answered on 127\.0\.0\.1"):
        agent.start()
    assert not path.exists()


@pytest.mark.slow
def test_a_socket_that_is_taken_frees_the_port_again(net: Network) -> None:
    api = Api(net.desk, net.snapshot, reload=dict, since=net.clock.wall)
    agent = Agent(api, net.path, listen=Listen("127.0.0.1", 0))
    with pytest.raises(errors.Conflict):
        agent.start()
    assert agent.address is None


def test_without_listen_nothing_is_answered_over_tcp() -> None:
    from tests.serving import world as worlds

    with worlds.world() as here:
        assert here.agent.address is None


def test_stop_ends_everything_within_two_seconds(net: Network) -> None:
    token = net.client("build")
    idle, poll = net.connect(), net.connect()
    poll.sendall(net.request(f"{GENAI}?after=7&wait=300s", token))
    waiting(net, "genai", 1)
    address = net.address
    begun = time.monotonic()
    net.agent.stop()
    assert time.monotonic() - begun < 2
    assert read_reply(poll).status == 304
    assert idle.recv(10) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 5)
    for one in (idle, poll):
        one.close()


def test_readers_and_a_writer(net: Network) -> None:
    """Value and version belong together and never go back, with tokens coming and going."""
    done, wrong = threading.Event(), list[str]()

    def read(token: str) -> None:
        last = 0
        with net.connect() as connection:
            while not done.is_set():
                connection.sendall(net.request(GENAI, token, Accept="text/plain"))
                found: Reply = read_reply(connection)
                version = int(found.headers["etag"].strip('"'))
                if found.body.decode() != secret_of("genai", version) + "\n" or version < last:
                    wrong.append(f"{version} after {last}: {found.body!r}")
                last = version

    readers = [threading.Thread(target=read, args=(net.client(f"c{n}"),)) for n in range(3)]
    for reader in readers:
        reader.start()
    for version in range(8, 400):
        net.serve("genai", version, previous=version - 1)
        if version % 100 == 0:
            net.client(f"passing-{version}")
            net.register.revoke(f"passing-{version}", "the test")
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here: apt-get install curl")
def test_curl_with_the_token_from_its_standard_input(net: Network) -> None:
    token = net.client("build", "genai")
    url = f"http://{net.host}/api/v1/secrets/genai"
    command = ["curl", "--silent", "--show-error", "--fail", "--header", "@-"]
    ran = subprocess.run(
        [*command, "--header", "Accept: text/plain", url],
        input=f"Authorization: Bearer {token}\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert ran.stdout == f"{VALUE}\n"
