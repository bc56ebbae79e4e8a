"""Clients over the API: for owners, on the socket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.serving.tcp_world import Network, network

CLIENTS = "/api/v1/clients"
TOKEN = "kmc_" + "t" * 43
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
BUILD = {"name": "build", "digest": DIGEST, "grants": ["genai"]}


@pytest.fixture
def net() -> Iterator[Network]:
    with network() as here:
        yield here


def test_a_client_is_added_listed_and_revoked(net: Network) -> None:
    status, head, added = net.ask("POST", CLIENTS, BUILD)
    assert (status, head["cache-control"]) == (200, "no-store")
    expected = {"name": "build", "grants": ["genai"], "created_at": "2026-11-21T09:00:00Z"}
    assert added == {**expected, "used_at": None, "revoked_at": None}
    assert net.over_tcp("GET /api/v1/secrets/genai", TOKEN).status == 200
    assert net.ask("GET", CLIENTS)[2] == {"clients": [added]}
    status, _, ended = net.ask("POST", f"{CLIENTS}/build/revoke")
    assert (status, ended["revoked_at"]) == (200, "2026-11-21T09:00:00Z")
    assert net.over_tcp("GET /api/v1/secrets/genai", TOKEN).status == 401


def test_the_same_client_again_is_the_same(net: Network) -> None:
    first = net.ask("POST", CLIENTS, BUILD)[2]
    assert net.ask("POST", CLIENTS, BUILD)[::2] == (200, first)
    status, _, said = net.ask("POST", CLIENTS, {**BUILD, "grants": ["*"]})
    assert (status, said["error"]["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Build"}, "name: must be the name of a credential"),
        ({"name": 7}, "name: must be a text"),
        ({"digest": DIGEST[:-1]}, "digest: must be the SHA-256 of a token, in 64 hex digits"),
        ({"digest": DIGEST.upper()}, "digest: must be the SHA-256 of a token, in 64 hex digits"),
        ({"digest": TOKEN}, "digest: must be the SHA-256 of a token, in 64 hex digits"),
        ({"grants": []}, "grants: is not what this call takes"),
        ({"grants": "genai"}, "grants: is not what this call takes"),
        ({"grants": ["genai", "a*"]}, "grants.1: must be the name of a credential"),
        ({"grants": ["genai", "a b"]}, "grants.1: must be the name of a credential"),
        ({"token": TOKEN}, "the body has a field that this call does not know"),
    ],
    ids=str,
)
def test_what_can_not_be_followed(net: Network, change: dict[str, Any], said: str) -> None:
    """And no answer repeats a token that somebody put in the wrong place."""
    status, _, answer = net.ask("POST", CLIENTS, {**BUILD, **change})
    assert (status, answer["error"]["code"]) == (400, "usage")
    assert answer["error"]["message"] == said
    assert TOKEN not in str(answer)
    assert net.register.every() == []


@pytest.mark.parametrize("name", ["nobody", "Nobody", "a%20b"])
def test_nobody_is_revoked_whom_there_never_was(net: Network, name: str) -> None:
    assert net.ask("POST", f"{CLIENTS}/{name}/revoke")[0] == 404


def test_users_who_may_only_look_have_nothing_to_do_with_clients(net: Network) -> None:
    net.agent.doors.owners = frozenset()
    for method, path in (("GET", CLIENTS), ("POST", CLIENTS), ("POST", f"{CLIENTS}/build/revoke")):
        assert net.ask(method, path, BUILD if method == "POST" else None)[0] == 403
    assert net.register.every() == []


def test_who_let_them_in_is_in_the_history(net: Network) -> None:
    net.ask("POST", CLIENTS, BUILD)
    net.ask("POST", f"{CLIENTS}/build/revoke")
    lines = [(line.kind, line.by.split()[0]) for line in net.journal.events("client build")]
    assert lines == [("client added", "uid"), ("client revoked", "uid")]
