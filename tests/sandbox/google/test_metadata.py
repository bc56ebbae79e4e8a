"""The metadata server: the same token until shortly before it expires, and only for its header."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from keyman.sandbox.google_files import SERVICE
from tests.sandbox.google.world import World

Worlds = Callable[..., World]
FLAVOR = {"Metadata-Flavor": "Google"}
TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"

# The address is read when google-auth is imported, so this runs in a process of its own. The
# transport of google-auth itself is used, which speaks plain HTTP only.
# This part of google-auth can't be imported without requests, which nothing else here needs; the
# SDK of OCI carries a copy.
PROGRAM = """
import json, sys
import oci._vendor.requests
sys.modules["requests"] = oci._vendor.requests
sys.modules["requests.adapters"] = oci._vendor.requests.adapters
import google.auth.transport._http_client
from google.auth import compute_engine
from google.auth.compute_engine import _metadata
request = google.auth.transport._http_client.Request()
credentials = compute_engine.Credentials()
tokens = []
for _ in range(2):
    credentials.refresh(request)
    tokens.append(credentials.token)
print(json.dumps({
    "here": _metadata.ping(request),
    "project": _metadata.get_project_id(request),
    "email": credentials.service_account_email,
    "tokens": tokens,
}))
"""


def token_of(world: World, query: str = "") -> str:
    status, said = world.http("GET", TOKEN + query, headers=FLAVOR)
    assert status == 200
    return str(said["access_token"])


def test_google_auth_finds_itself_on_a_virtual_machine(google: World) -> None:
    host = google.sandbox.metadata_host
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env={**os.environ, "GCE_METADATA_HOST": host, "GCE_METADATA_IP": host},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    told = json.loads(done.stdout)
    assert told["here"] is True
    assert (told["project"], told["email"]) == ("sandbox-project", SERVICE)
    first, second = told["tokens"]
    assert first == second
    assert google.ask(first)[0] == 200
    assert len(google.sandbox.calls("MetadataToken")) == 2


@pytest.mark.parametrize(
    "headers", [{}, {"Metadata-Flavor": "Amazon"}, {**FLAVOR, "X-Forwarded-For": "10.0.0.1"}]
)
def test_it_answers_nobody_without_the_header_or_through_a_proxy(
    google: World, headers: dict[str, str]
) -> None:
    for path in ("/", TOKEN):
        answer = google.transport(google.url + path, headers=headers)
        assert answer.status == 403
        assert answer.headers["content-type"] == "text/html"


def test_every_answer_says_whose_it_is(google: World) -> None:
    for path in ("/", TOKEN, "/computeMetadata/v1/nonsense"):
        answer = google.transport(google.url + path, headers=FLAVOR)
        assert answer.headers["metadata-flavor"] == "Google"


@pytest.mark.parametrize("keeps_until", [240.0, 300.0])
def test_the_same_token_comes_until_shortly_before_it_expires(
    google_of: Worlds, keeps_until: float
) -> None:
    world = google_of(metadata_keeps_until=keeps_until)
    first = token_of(world)
    world.wait(3590 - keeps_until)
    assert token_of(world) == first
    left = world.http("GET", TOKEN, headers=FLAVOR)[1]["expires_in"]
    assert keeps_until - 10 < left <= keeps_until + 10
    world.wait(20)
    second = token_of(world)
    assert second != first
    assert world.ask(first)[0] == world.ask(second)[0] == 200
    world.wait(keeps_until)
    assert (world.ask(first)[0], world.ask(second)[0]) == (401, 200)


def test_all_of_it_shrinks_with_the_hour(google_of: Worlds) -> None:
    world = google_of({"token_seconds": 60.0})
    first = token_of(world)
    world.wait(55)
    assert token_of(world) == first
    world.wait(2)
    assert token_of(world) != first


def test_asking_again_is_no_way_out_of_a_token_that_was_taken_back(google: World) -> None:
    token = token_of(google)
    google.sandbox.accounts.service(SERVICE)
    assert google.person.revoke_tokens(SERVICE) == 1
    assert token_of(google) == token
    assert google.ask(token)[0] == 401


def test_other_scopes_are_another_token(google: World) -> None:
    assert token_of(google) != token_of(google, "?scopes=openid,email")
    assert token_of(google, "?scopes=openid") == token_of(google, "?scopes=openid")
    assert google.ask(token_of(google, "?scopes=openid"))[0] == 403


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("project/project-id", "sandbox-project"),
        ("instance/service-accounts/default/email", SERVICE),
        (f"instance/service-accounts/{SERVICE}/email", SERVICE),
        ("universe/universe-domain", "googleapis.com"),
    ],
)
def test_what_else_it_knows(google: World, path: str, text: str) -> None:
    assert google.http("GET", f"/computeMetadata/v1/{path}", headers=FLAVOR) == (200, text)


def test_a_machine_may_have_no_service_account_or_a_disabled_one(google_of: Worlds) -> None:
    bare = google_of({"metadata_account": None})
    assert bare.http("GET", TOKEN, headers=FLAVOR)[0] == 404
    world = google_of()
    world.sandbox.accounts.service(SERVICE)
    world.person.disable_account(SERVICE)
    assert world.http("GET", TOKEN, headers=FLAVOR)[0] == 403


def test_the_account_is_told_at_once(google: World) -> None:
    path = "/computeMetadata/v1/instance/service-accounts/default/?recursive=true"
    told: Any = google.http("GET", path, headers=FLAVOR)[1]
    assert set(told) == {"aliases", "email", "scopes"}
