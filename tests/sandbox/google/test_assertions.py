"""Tokens for service accounts: google-auth gets them, and whatever isn't right is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import google.auth.exceptions
import pytest
from google.auth import crypt
from google.auth import jwt as google_jwt

from keyman.sandbox.google_accounts import CLOUD
from keyman.sandbox.google_files import SERVICE
from keyman.sandbox.google_oauth2 import AUDIENCE
from keyman.sandbox.profiles import new_key, private_pem
from tests.sandbox.google.world import World

REFUSED = google.auth.exceptions.RefreshError
Worlds = Callable[..., World]


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {"iss": SERVICE, "aud": AUDIENCE, "iat": now, "exp": now + 3600, "scope": CLOUD}
    return {name: v for name, v in {**good, **changes}.items() if v is not None}


def signed(world: World, told: dict[str, Any], **changes: Any) -> str:
    """An assertion as google-auth makes them, with a key that the sandbox knows."""
    info = world.files.service_account_info()
    pem = changes.get("pem", info["private_key"])
    signer: Any = crypt.RSASigner.from_string(pem, changes.get("kid", info["private_key_id"]))  # type: ignore[no-untyped-call]
    encode: Any = google_jwt.encode
    return str(encode(signer, told, header=changes.get("header")).decode())


def test_google_auth_gets_a_token_that_vertex_takes(google: World, tmp_path: Path) -> None:
    credentials = google.service_account(tmp_path)
    token = google.refreshed(credentials)
    assert token.startswith("ya29.c.sandbox-")
    assert google.ask(token)[0] == 200
    # google-auth counts in UTC without saying so.
    left = credentials.expiry.replace(tzinfo=UTC) - datetime.now(UTC)
    assert 3590 < left.total_seconds() < 3601
    [call] = google.sandbox.calls("AssertionToken")
    assert (call.actor, call.status) == (SERVICE, 200)


def test_google_auth_is_led_by_the_transport_to_what_it_believes_is_google(
    google: World, tmp_path: Path
) -> None:
    credentials = google.service_account(tmp_path, real_addresses=True)
    assert credentials._token_uri == "https://oauth2.googleapis.com/token"
    assert google.ask(google.refreshed(credentials))[0] == 200


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"iss": "nobody@x"}, "invalid_grant", "account not found"),
        ({"aud": "http://127.0.0.1/token"}, "invalid_grant", "Failed audience check"),
        ({"iat": int(time.time()) + 900, "exp": int(time.time()) + 1000}, "invalid_grant", "frame"),
        ({"exp": int(time.time()) + 7300}, "invalid_grant", "reasonable timeframe"),
        ({"iat": 1, "exp": 3601}, "invalid_grant", "reasonable timeframe"),
        ({"iat": None}, "invalid_grant", "reasonable timeframe"),
        ({"scope": ""}, "invalid_scope", "Empty or missing scope"),
        ({"scope": None}, "invalid_scope", "Empty or missing scope"),
        ({"jti": "x"}, "invalid_grant", "unexpected claim jti"),
    ],
)
def test_a_wrong_claim_is_refused(google: World, wrong: Any, error: str, text: str) -> None:
    status, said = google.assertion(signed(google, claims(**wrong)))
    assert (status, said["error"]) == (400, error)
    assert text in said["error_description"]


def test_a_subject_for_domain_wide_delegation_may_be_there(google: World) -> None:
    assert google.assertion(signed(google, claims(sub="boss@example.com")))[0] == 200


@pytest.mark.parametrize(
    "changes",
    [{"kid": "unknown"}, {"pem": private_pem(new_key()).decode()}, {"header": {"jku": "http://x"}}],
)
def test_a_signature_of_no_registered_key_is_refused(google: World, changes: Any) -> None:
    _, said = google.assertion(signed(google, claims(), **changes))
    assert said == {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}


def test_a_key_signs_for_its_own_account_only(google: World) -> None:
    google.files.service_account_info("other@sandbox-project.iam.gserviceaccount.com")
    other = "other@sandbox-project.iam.gserviceaccount.com"
    status, said = google.assertion(signed(google, claims(iss=other)))
    assert (status, said["error_description"]) == (400, "Invalid JWT Signature.")


@pytest.mark.parametrize("assertion", ["", "a.b", "a.b.c", "e30.e30.é", "W10.W10.W10"])
def test_what_is_no_assertion_is_refused(google: World, assertion: str) -> None:
    status, said = google.assertion(assertion)
    assert (status, said["error"]) == (400, "invalid_grant")


def test_a_form_holds_exactly_two_fields(google: World) -> None:
    good = signed(google, claims())
    assert google.assertion(good)[0] == 200
    assert google.assertion(good, audience="x")[1]["error"] == "invalid_request"
    assert google.form("/token", {"grant_type": "password"})[1]["error"] == "unsupported_grant_type"
    status, said = google.http("POST", "/token", {"assertion": good})
    assert (status, said["error"]) == (400, "invalid_request")
    twice = google.transport(
        google.url + "/token",
        "POST",
        f"assertion={good}&assertion={good}",
        {"content-type": "application/x-www-form-urlencoded"},
    )
    assert json.loads(twice.data)["error_description"] == "A parameter is there twice."


def test_a_deleted_key_gets_nothing_but_its_tokens_live_on(google: World, tmp_path: Path) -> None:
    credentials = google.service_account(tmp_path)
    token = google.refreshed(credentials)
    google.person.delete_key(credentials.signer.key_id)
    with pytest.raises(REFUSED, match="Invalid JWT Signature"):
        google.refreshed(credentials)
    assert google.ask(token)[0] == 200


@pytest.mark.parametrize("says", ["not found", "disabled"])
def test_a_disabled_account_gets_nothing(google_of: Worlds, tmp_path: Path, says: str) -> None:
    world = google_of(disabled_account_says=says)
    credentials = world.service_account(tmp_path)
    world.refreshed(credentials)
    world.person.disable_account(SERVICE)
    with pytest.raises(REFUSED, match=f"account {says}"):
        world.refreshed(credentials)
    world.person.enable_account(SERVICE)
    world.refreshed(credentials)


@pytest.mark.parametrize(("ahead", "allowed"), [(0.0, False), (60.0, False), (300.0, True)])
def test_a_fast_clock_is_told_about_the_timeframe(
    google_of: Worlds, tmp_path: Path, ahead: float, allowed: bool
) -> None:
    world = google_of(assertion_ahead_seconds=ahead)
    world.sandbox.signed_shift -= (skew := timedelta(minutes=2))
    credentials = world.service_account(tmp_path)
    if allowed:
        world.refreshed(credentials)
        return
    with pytest.raises(REFUSED, match="reasonable timeframe") as caught:
        world.refreshed(credentials)
    assert not caught.value.retryable
    world.sandbox.signed_shift += skew
    world.refreshed(credentials)


@pytest.mark.parametrize("once", [True, False])
def test_an_assertion_may_be_good_for_one_use(google_of: Worlds, once: bool) -> None:
    world = google_of(assertion_single_use=once)
    good = signed(world, claims())
    assert world.assertion(good)[0] == 200
    assert world.assertion(good)[0] == (400 if once else 200)


@pytest.mark.parametrize(("short_by", "told"), [(1, 3599), (0, 3600)])
def test_how_long_a_token_lives_is_told(google_of: Worlds, short_by: int, told: int) -> None:
    world = google_of(expires_in_short_by=short_by, expires_in_as_text=True)
    said = world.assertion(signed(world, claims()))[1]
    # A tick of the clock may pass between making a token and telling its life.
    assert int(said["expires_in"]) in {told, told - 1}
    assert isinstance(said["expires_in"], str)
    assert set(said) == {"access_token", "expires_in", "token_type"}
