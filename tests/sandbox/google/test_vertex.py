"""Chat completions behind a token: who gets in, and what the others are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from google.auth import jwt as google_jwt

from keyman.sandbox.google_accounts import CLOUD
from keyman.sandbox.google_files import PERSON, SERVICE
from keyman.sandbox.keys import sha256
from tests.sandbox.google.world import World

Worlds = Callable[..., World]
ASK: Any = [{"role": "user", "content": "?"}]


def client_of(world: World, token: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=token, base_url=world.sandbox.base_url, max_retries=0)


def test_the_openai_client_talks_to_it(google: World, tmp_path: Path) -> None:
    token = google.refreshed(google.service_account(tmp_path))
    with client_of(google, token) as client:
        model = "google/gemini-2.5-flash"
        done = client.chat.completions.create(model=model, messages=ASK)
        assert done.choices[0].message.content == "pong"
        stream = client.chat.completions.create(model=model, messages=ASK, stream=True)
        said = [event.choices[0].delta.content for event in stream]
        assert "".join(text or "" for text in said) == "pong"
    assert google.sandbox.counts()["secrets"][sha256(token)]["accepted"] == 2


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "CREDENTIALS_MISSING"),
        ("PLACEHOLDER", "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        ("expired", "ACCESS_TOKEN_EXPIRED"),
    ],
)
def test_a_token_that_is_not_right_is_refused(
    google: World, tmp_path: Path, token: str, reason: str
) -> None:
    if token == "expired":
        token = google.refreshed(google.service_account(tmp_path))
        google.wait(3601)
    status, said = google.ask(token)
    error = said["error"]
    assert (status, error["code"], error["status"]) == (401, 401, "UNAUTHENTICATED")
    assert "Expected OAuth 2 access token" in error["message"]
    assert error["details"][0]["reason"] == reason
    assert google.sandbox.counts()["rejected"] == 1


def test_the_openai_client_sees_a_401_as_such(google: World) -> None:
    with client_of(google, "PLACEHOLDER") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.chat.completions.create(model="google/gemini-2.5-flash", messages=ASK)
        body: Any = caught.value.body
        assert body["details"][0]["reason"] == "ACCESS_TOKEN_TYPE_UNSUPPORTED"


def test_a_refusal_may_come_in_an_array(google_of: Worlds) -> None:
    world = google_of(vertex_errors_in_array=True)
    status, said = world.ask("PLACEHOLDER")
    assert (status, said[0]["error"]["code"]) == (401, 401)


@pytest.mark.parametrize("reason", ["ACCESS_TOKEN_EXPIRED", "ACCESS_TOKEN_TYPE_UNSUPPORTED"])
def test_a_token_taken_back_is_refused(google_of: Worlds, tmp_path: Path, reason: str) -> None:
    world = google_of(revoked_token_reason=reason)
    token = world.refreshed(world.service_account(tmp_path))
    world.person.revoke_tokens(SERVICE)
    status, said = world.ask(token)
    assert (status, said["error"]["details"][0]["reason"]) == (401, reason)


@pytest.mark.parametrize(("kills", "status"), [(False, 200), (True, 401)])
def test_a_disabled_account_may_or_may_not_lose_its_tokens(
    google_of: Worlds, tmp_path: Path, kills: bool, status: int
) -> None:
    world = google_of(disabled_kills_tokens=kills)
    token = world.refreshed(world.service_account(tmp_path))
    world.person.disable_account(SERVICE)
    assert world.ask(token)[0] == status


def test_permission_and_project_are_checked(google: World, tmp_path: Path) -> None:
    token = google.refreshed(google.service_account(tmp_path))
    other = google.sandbox.base_url.replace("sandbox-project", "elsewhere")
    status, said = google.ask(token, base=other)
    assert (status, said["error"]["status"]) == (403, "PERMISSION_DENIED")
    google.person.forbid_prediction(SERVICE)
    status, said = google.ask(token)
    assert status == 403
    assert "aiplatform.endpoints.predict" in said["error"]["message"]
    google.person.allow_prediction(SERVICE)
    assert google.ask(token)[0] == 200


@pytest.mark.parametrize("needed", [True, False])
def test_people_may_need_a_quota_project(google_of: Worlds, tmp_path: Path, needed: bool) -> None:
    world = google_of(user_needs_quota_project=needed)
    file = world.files.authorized_user(tmp_path / "adc.json", quota_project="sandbox-project")
    credentials = world.person_from(file)
    token = world.refreshed(credentials)
    assert world.ask(token)[0] == (403 if needed else 200)
    named = {"x-goog-user-project": credentials.quota_project_id}
    assert world.ask(token, **named)[0] == 200
    assert world.ask(world.refreshed(world.service_account(tmp_path)))[0] == 200
    assert PERSON in world.sandbox.truth()["people"]


@pytest.mark.parametrize(("takes", "status"), [(True, 200), (False, 401)])
def test_a_token_that_an_account_signed_itself(
    google_of: Worlds, tmp_path: Path, takes: bool, status: int
) -> None:
    world = google_of(vertex_takes_self_signed=takes)
    info = world.files.service_account_info()
    load: Any = google_jwt.Credentials.from_service_account_info
    made = load(info, audience=None, additional_claims={"scope": CLOUD})
    made.refresh(None)
    assert world.ask(made.token.decode())[0] == status
    assert world.ask(made.token.decode()[:-8] + "AAAAAAAA")[0] == 401


def test_models_need_their_publisher_unless_the_endpoint_is_ones_own(
    google: World, tmp_path: Path
) -> None:
    token = google.refreshed(google.service_account(tmp_path))
    assert google.ask(token, {"model": "gemini", "messages": ASK})[0] == 400
    assert google.ask(token, {"model": "google/gemini"})[0] == 400
    own = google.sandbox.base_url.replace("openapi", "4711")
    assert google.ask(token, {"messages": ASK}, base=own)[0] == 200
    beta = google.sandbox.base_url.replace("/v1/", "/v1beta1/").replace("us-central1", "global")
    assert google.ask(token, base=beta)[0] == 200


def test_there_is_no_list_of_models(google: World, tmp_path: Path) -> None:
    token = google.refreshed(google.service_account(tmp_path))
    with client_of(google, token) as client, pytest.raises(openai.NotFoundError):
        client.models.list()


def test_each_host_has_its_own_paths(google: World) -> None:
    told = json.dumps({"scope": [CLOUD]})
    path = f"/v1/projects/-/serviceAccounts/{SERVICE}:generateAccessToken"
    for host, status in (("iamcredentials.googleapis.com", 401), ("sts.googleapis.com", 404)):
        assert google.transport(f"https://{host}{path}", "POST", told).status == status
