"""Workload identity and impersonation, used by google-auth's own credentials."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import google.auth.exceptions
import pytest
from google.auth import identity_pool, impersonated_credentials

from keyman.sandbox.google_accounts import CLOUD
from keyman.sandbox.google_files import PERSON, SERVICE, TARGET
from tests.sandbox.google.world import World

REFUSED = google.auth.exceptions.RefreshError
OAUTH_REFUSED = google.auth.exceptions.OAuthError
Worlds = Callable[..., World]
MIDDLE = "middle@sandbox-project.iam.gserviceaccount.com"


def federated(file: Path) -> Any:
    load: Any = identity_pool.Credentials.from_file
    return load(str(file), scopes=[CLOUD])


def impersonating(world: World, source: Any, **options: Any) -> Any:
    make: Any = impersonated_credentials.Credentials
    where = f"{world.url}/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
    options = {"iam_endpoint_override": where, **options}
    return make(
        source_credentials=source, target_principal=TARGET, target_scopes=[CLOUD], **options
    )


def said_by(caught: pytest.ExceptionInfo[Any]) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(caught.value.args[1])["error"]
    return error


@pytest.mark.parametrize("real_addresses", [True, False])
@pytest.mark.parametrize("target", [None, TARGET])
def test_a_workload_gets_a_token_that_vertex_takes(
    google: World, tmp_path: Path, target: str | None, real_addresses: bool
) -> None:
    file = tmp_path / "wif.json"
    google.files.external_account(file, target=target, real_addresses=real_addresses)
    token = google.refreshed(federated(file))
    assert token.startswith("ya29.c." if target else "ya29.d.")
    assert google.ask(token)[0] == 200
    assert google.sandbox.calls("ExchangeToken")[0].actor.endswith("/subject/workload")
    assert len(google.sandbox.calls("GenerateAccessToken")) == (target is not None)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"seconds": -1}, "stale to sign-in"),
        ({"iss": "https://evil.example.com"}, "issuer"),
        ({"aud": "other"}, "expected audience"),
        ({"sub": ""}, "no subject"),
    ],
)
def test_a_subject_token_that_is_not_right_is_refused(
    google: World, tmp_path: Path, wrong: dict[str, Any], text: str
) -> None:
    file = google.files.external_account(tmp_path / "wif.json")
    google.files.subject_token(file.with_suffix(".subject"), **wrong)
    with pytest.raises(OAUTH_REFUSED) as caught:
        google.refreshed(federated(file))
    told = json.loads(caught.value.args[1])
    assert told["error"] == "invalid_grant"
    assert text in told["error_description"]
    # It is read anew for each refresh.
    google.files.subject_token(file.with_suffix(".subject"))
    google.refreshed(federated(file))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"audience": "//iam.googleapis.com/nonsense"}, "invalid_target"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"subject_token": "nonsense"}, "invalid_request"),
        ({"scope": ""}, "invalid_scope"),
        ({"grant_type": "refresh_token"}, "unsupported_grant_type"),
        ({"nonsense": "1"}, "invalid_request"),
    ],
)
def test_an_exchange_is_asked_for_exactly_so(
    google: World, tmp_path: Path, change: dict[str, str], error: str
) -> None:
    file = google.files.external_account(tmp_path / "wif.json")
    good = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": json.loads(file.read_text())["audience"],
        "scope": CLOUD,
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token": file.with_suffix(".subject").read_text(),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    }
    assert google.form("/v1/token", good)[0] == 200
    status, said = google.form("/v1/token", {**good, **change})
    assert (status, said["error"]) == (400, error)


def test_a_forged_subject_token_is_refused(google: World, tmp_path: Path) -> None:
    file = google.files.external_account(tmp_path / "wif.json")
    subject = file.with_suffix(".subject")
    head, claims, signature = subject.read_text().split(".")
    subject.write_text(f"{head}.{claims}.{signature[:-8]}AAAAAAAA")
    with pytest.raises(OAUTH_REFUSED, match="signature"):
        google.refreshed(federated(file))


def test_a_service_account_impersonates_another_one(google: World, tmp_path: Path) -> None:
    source = google.service_account(tmp_path)
    credentials = impersonating(google, source)
    with pytest.raises(REFUSED) as caught:
        google.refreshed(credentials)
    assert said_by(caught)["status"] == "NOT_FOUND"
    google.sandbox.accounts.service(TARGET)
    with pytest.raises(REFUSED) as caught:
        google.refreshed(credentials)
    assert said_by(caught)["details"][0]["reason"] == "IAM_PERMISSION_DENIED"
    google.person.let_impersonate(SERVICE, TARGET)
    assert google.ask(google.refreshed(credentials))[0] == 200
    google.person.stop_impersonating(SERVICE, TARGET)
    with pytest.raises(REFUSED):
        google.refreshed(credentials)


def test_the_file_of_an_impersonation_works_as_it_is(google: World, tmp_path: Path) -> None:
    file = google.files.impersonated(tmp_path / "impersonated.json")
    load: Any = impersonated_credentials.Credentials.from_impersonated_service_account_info
    credentials = load(json.loads(file.read_text()), scopes=[CLOUD])
    assert google.ask(google.refreshed(credentials))[0] == 200


def test_a_person_impersonates_a_service_account(google: World, tmp_path: Path) -> None:
    source = google.person_from(google.files.authorized_user(tmp_path / "adc.json"))
    google.person.let_impersonate(PERSON, TARGET)
    assert google.ask(google.refreshed(impersonating(google, source)))[0] == 200


def test_delegates_lead_to_the_target_one_by_one(google: World, tmp_path: Path) -> None:
    google.person.let_impersonate(MIDDLE, TARGET)
    google.sandbox.accounts.service(MIDDLE)
    credentials = impersonating(google, google.service_account(tmp_path), delegates=[MIDDLE])
    with pytest.raises(REFUSED) as caught:
        google.refreshed(credentials)
    assert said_by(caught)["code"] == 403
    google.person.let_impersonate(SERVICE, MIDDLE)
    assert google.ask(google.refreshed(credentials))[0] == 200


@pytest.mark.parametrize(
    ("lifetime", "listed", "works"),
    [(3600, False, True), (3601, False, False), (43200, True, True), (43201, True, False)],
)
def test_longer_lives_are_for_listed_accounts(
    google: World, tmp_path: Path, lifetime: int, listed: bool, works: bool
) -> None:
    google.person.let_impersonate(SERVICE, TARGET)
    if listed:
        google.person.allow_long_lives(TARGET)
    credentials = impersonating(google, google.service_account(tmp_path), lifetime=lifetime)
    if not works:
        with pytest.raises(REFUSED) as caught:
            google.refreshed(credentials)
        assert said_by(caught)["status"] == "INVALID_ARGUMENT"
        return
    google.refreshed(credentials)
    left = credentials.expiry.replace(tzinfo=UTC) - datetime.now(UTC)
    assert lifetime - 10 < left.total_seconds() <= lifetime


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"scope": [CLOUD], "lifetime": "3600s"}, 200),
        ({"scope": [CLOUD], "lifetime": "3600s", "delegates": None}, 200),
        ({"scope": []}, 400),
        ({"scope": [CLOUD], "lifetime": 3600}, 400),
        ({"scope": [CLOUD], "nonsense": 1}, 400),
    ],
)
def test_impersonation_is_asked_for_in_json(
    google: World, tmp_path: Path, body: Any, status: int
) -> None:
    google.person.let_impersonate(SERVICE, TARGET)
    token = google.refreshed(google.service_account(tmp_path))
    path = f"/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
    got, said = google.http("POST", path, body, {"authorization": f"Bearer {token}"})
    assert got == status
    if status == 200:
        datetime.strptime(said["expireTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("token", "reason"),
    [("", "CREDENTIALS_MISSING"), ("nonsense", "ACCESS_TOKEN_TYPE_UNSUPPORTED")],
)
def test_impersonation_checks_who_asks(google: World, token: str, reason: str) -> None:
    path = f"/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
    sent = {"authorization": f"Bearer {token}"} if token else {}
    status, said = google.http("POST", path, {"scope": [CLOUD]}, sent)
    assert (status, said["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert said["error"]["details"][0]["reason"] == reason


def test_a_token_of_another_scope_impersonates_nobody(google: World, tmp_path: Path) -> None:
    google.person.let_impersonate(SERVICE, TARGET)
    token = google.refreshed(google.service_account(tmp_path, "openid"))
    path = f"/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
    sent = {"authorization": f"Bearer {token}"}
    status, said = google.http("POST", path, {"scope": [CLOUD]}, sent)
    assert (status, said["error"]["status"]) == (403, "PERMISSION_DENIED")
