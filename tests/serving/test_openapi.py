"""/api/openapi.json: valid, complete, and true of what the agent answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from starlette.routing import Route

from keyman import errors
from keyman.config import NotifyTarget
from keyman.core.health import Health
from keyman.core.model import OrderKind, Secret, Stage
from keyman.notify.standing import standing
from keyman.serving.metrics import KIND as METRICS
from keyman.views import credential_view, receipt
from tests.credentials import NOW, credential, order, pending, seen, version
from tests.serving import tcp_world
from tests.serving.listener import EVENTS, listening
from tests.serving.world import World

Described = dict[str, Any]


@pytest.fixture
def described(world: World) -> Described:
    status, headers, said = world.ask("GET", "/api/openapi.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    found: Described = said
    return found


def operations(described: Described) -> Iterator[tuple[str, str, Described]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_it_is_valid(described: Described) -> None:
    validate(described)


def test_it_is_valid_with_the_calls_about_clients() -> None:
    with tcp_world.network() as net:
        said = net.ask("GET", "/api/openapi.json")[2]
        validate(said)
        assert "/api/v1/clients/{name}/revoke" in said["paths"]


def test_every_route_is_in_it(world: World, described: Described) -> None:
    there = {
        (method, route.path)
        for route in world.agent._api._routes().routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    told = {(method, path) for method, path, _ in operations(described)}
    assert told == there


def test_each_call_says_what_it_does_takes_and_answers(described: Described) -> None:
    for method, path, operation in operations(described):
        where = f"{method} {path}"
        assert operation["description"], where
        names = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        assert names == set(re.findall(r"{(\w+)}", path)), where
        done = [status for status in operation["responses"] if status.startswith("2")]
        assert done, where
        for status in (*done, "default"):
            for kind, content in operation["responses"][status]["content"].items():
                assert content["schema"], f"{where} {status} {kind}"
        assert "422" not in operation["responses"], where


def test_ids_of_operations_are_unique(described: Described) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(described)]
    assert len(set(ids)) == len(ids)


# What is described is what is said.


def schema(described: Described, method: str, path: str, status: str = "200") -> Described:
    answers = described["paths"][path][method.lower()]["responses"]
    found: Described = answers[status]["content"]["application/json"]["schema"]
    return {**found, "components": described["components"]}


def check(described: Described, name: str, said: object) -> None:
    """The value against one of the schemas, which allow nothing that they do not name."""
    reference = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    OAS31Validator(reference).validate(json.loads(json.dumps(said)))


def test_a_lookup(world: World, described: Described) -> None:
    said = world.ask("GET", "/api/v1/secrets/genai")[2]
    check(described, "Secret", said)
    assert schema(described, "GET", "/api/v1/secrets/{name}")["$ref"].endswith("/Secret")
    with pytest.raises(Exception, match="Additional properties"):
        check(described, "Secret", said | {"more": 1})


def test_a_report(world: World, described: Described) -> None:
    path = "/api/v1/secrets/genai/rejected"
    world.desk.rejected = lambda name, version, by: world.serve("genai", 8)  # type: ignore[method-assign]
    status, _, said = world.ask("POST", path, {"version": 7})
    assert status == 200
    check(described, "Secret", said)
    check(described, "Reported", {"name": "genai", "version": 7})


STATUSES = [
    credential(),
    credential(version(1, Stage.CURRENT), pending(2), failures=1, last_error="no", told="failing"),
    credential(version(1, Stage.CURRENT), orders=(order(OrderKind.ROTATE),)),
]


@pytest.mark.parametrize("one", STATUSES, ids=["nothing yet", "failing", "an order"])
@pytest.mark.parametrize("looked", [False, True])
def test_a_status(described: Described, one: Any, looked: bool) -> None:
    observed = seen() if looked else None
    said = credential_view(one, observed, NOW)
    check(described, "Status", said)
    daemon = {"running": True, "since": None}
    told = standing([NotifyTarget("on-call", Secret("json://x"))], {})
    check(described, "Statuses", {"daemon": daemon, "credentials": [said], "notify": told})


def test_receipts(described: Described) -> None:
    gone = version(1, Stage.REVOKED, compromised_at=NOW, revoked_at=NOW)
    for kind in OrderKind:
        for targets in ((), (1,)):
            said = receipt(credential(gone), order(kind, targets=targets))
            check(described, "Receipt", said)


def test_refusals(world: World, described: Described) -> None:
    for asked in ("GET /api/v1/secrets/nobody", "PUT /healthz", "GET /api/v1/secrets/genai?x=1"):
        said = world.ask(*asked.split())[2]
        check(described, "Refused", said)
    world.desk.trouble = errors.StoreFailed("disk I/O error")
    check(described, "Refused", world.ask("GET", "/readyz")[2])


def test_clients() -> None:
    with tcp_world.network() as net:
        described = net.ask("GET", "/api/openapi.json")[2]
        body = {"name": "one", "digest": "0" * 64, "grants": ["genai"]}
        check(described, "NetworkClient", net.ask("POST", "/api/v1/clients", body)[2])
        check(described, "NetworkClients", net.ask("GET", "/api/v1/clients")[2])
        check(described, "NetworkClient", net.ask("POST", "/api/v1/clients/one/revoke")[2])


def test_the_small_answers(world: World, described: Described) -> None:
    check(described, "Well", world.ask("GET", "/healthz")[2])
    check(described, "Well", world.ask("GET", "/readyz")[2])
    check(described, "Names", world.ask("POST", "/api/v1/reload")[2])
    check(described, "Forgotten", {"name": "x", "forgotten": True, "revoked": [], "left": []})


def test_words_are_listed(described: Described) -> None:
    schemas = described["components"]["schemas"]
    assert set(schemas["Health"]["enum"]) == set(Health)
    assert set(schemas["Fault"]["properties"]["code"]["enum"]) == set(errors.STATUSES)


def test_kinds_of_content(world: World, described: Described) -> None:
    """Of the calls that do not answer in JSON alone."""
    for path, kinds in (
        ("/metrics", {"text/plain"}),
        (EVENTS, {"text/event-stream"}),
        ("/api/v1/secrets/{name}", {"application/json", "text/plain"}),
    ):
        assert set(described["paths"][path]["get"]["responses"]["200"]["content"]) == kinds
    assert world.ask("GET", "/metrics")[1]["content-type"] == METRICS
    with listening(world.path) as listener:
        assert b"text/event-stream" in listener.head
