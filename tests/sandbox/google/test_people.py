"""Tokens for people who logged in with gcloud: google-auth refreshes, and is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import google.auth.exceptions
import pytest

from keyman.sandbox.google_accounts import CLOUD
from keyman.sandbox.google_files import CLIENT, PERSON
from tests.sandbox.google.world import World

REFUSED = google.auth.exceptions.RefreshError
Worlds = Callable[..., World]


def test_a_person_gets_a_token_that_vertex_takes(google: World, tmp_path: Path) -> None:
    credentials = google.person_from(google.files.authorized_user(tmp_path / "adc.json"))
    token = google.refreshed(credentials)
    assert token.startswith("ya29.a0.sandbox-")
    assert google.ask(token)[0] == 200
    assert google.sandbox.calls("RefreshToken")[0].actor == PERSON


def test_google_auth_can_be_told_where_the_token_endpoint_is(google: World, tmp_path: Path) -> None:
    credentials = google.person_from(google.files.authorized_user(tmp_path / "adc.json"))
    local = credentials.with_token_uri(f"{google.url}/token")
    assert google.ask(google.refreshed(local))[0] == 200


@pytest.mark.parametrize(
    ("wrong", "status", "error"),
    [
        ({"refresh_token": "1//0nonsense"}, 400, "invalid_grant"),
        ({"client_id": "other"}, 401, "invalid_client"),
        ({"client_secret": "guessed"}, 401, "invalid_client"),
        ({"scope": "https://mail.google.com/"}, 400, "invalid_scope"),
        ({"nonsense": "1"}, 400, "invalid_request"),
    ],
)
def test_what_is_not_right_is_refused(
    google: World, wrong: dict[str, str], status: int, error: str
) -> None:
    info = google.files.authorized_user_info()
    names = ("client_id", "client_secret", "refresh_token")
    good = {"grant_type": "refresh_token", **{name: info[name] for name in names}}
    assert google.form("/token", good)[0] == 200
    got, said = google.form("/token", {**good, **wrong})
    assert (got, said["error"]) == (status, error)
    assert CLIENT not in str(said)


def test_a_person_takes_it_all_back(google: World, tmp_path: Path) -> None:
    credentials = google.person_from(google.files.authorized_user(tmp_path / "adc.json"))
    token = google.refreshed(credentials)
    google.person.revoke_person(PERSON)
    with pytest.raises(REFUSED, match="expired or revoked") as caught:
        google.refreshed(credentials)
    assert not caught.value.retryable
    assert google.ask(token)[0] == 401
    google.person.restore_person(PERSON)
    assert google.ask(google.refreshed(credentials))[0] == 200


def test_a_token_can_be_taken_back_at_google_itself(google: World, tmp_path: Path) -> None:
    credentials = google.person_from(google.files.authorized_user(tmp_path / "adc.json"))
    token = google.refreshed(credentials)
    assert google.form("/revoke", {"token": token})[0] == 200
    assert google.ask(token)[0] == 401
    assert google.form("/revoke", {"token": "nonsense"})[1]["error"] == "invalid_token"
    service = google.refreshed(google.service_account(tmp_path))
    assert google.form("/revoke", {"token": service})[0] == 400


def test_a_workspace_session_that_is_over_asks_for_a_human(google: World, tmp_path: Path) -> None:
    credentials = google.person_from(google.files.authorized_user(tmp_path / "adc.json"))
    google.person.require_reauth(PERSON)
    with pytest.raises(REFUSED, match="gcloud auth application-default login"):
        google.refreshed(credentials)


def test_a_narrower_scope_is_what_the_token_has(google: World, tmp_path: Path) -> None:
    scopes = (CLOUD, "openid")
    file = google.files.authorized_user(tmp_path / "adc.json", scopes=scopes)
    narrow = google.person_from(file)
    narrow._scopes = ["openid"]
    status, said = google.ask(google.refreshed(narrow))
    assert status == 403
    assert said["error"]["details"][0]["reason"] == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"


@pytest.mark.parametrize(("works", "then"), [(True, "ya29."), (False, "revoked")])
def test_a_refresh_token_may_be_replaced(
    google_of: Worlds, tmp_path: Path, works: bool, then: str
) -> None:
    world = google_of(rotates_refresh_token=True, old_refresh_token_works=works)
    file = world.files.authorized_user(tmp_path / "adc.json")
    credentials, again = world.person_from(file), world.person_from(file)
    before = credentials.refresh_token
    world.refreshed(credentials)
    assert credentials.refresh_token != before
    world.refreshed(credentials)
    if works:
        assert then in world.refreshed(again)
        return
    with pytest.raises(REFUSED, match=then):
        world.refreshed(again)


@pytest.mark.parametrize(("repeats", "same"), [(0.0, False), (30.0, True)])
def test_a_young_token_may_be_handed_out_again(
    google_of: Worlds, tmp_path: Path, repeats: float, same: bool
) -> None:
    world = google_of(user_token_repeats_for=repeats)
    credentials = world.person_from(world.files.authorized_user(tmp_path / "adc.json"))
    first = world.refreshed(credentials)
    assert (world.refreshed(credentials) == first) is same
    world.wait(31)
    last = world.refreshed(credentials)
    assert last != first
    world.person.revoke_tokens(PERSON)
    assert world.refreshed(credentials) != last


def test_a_token_tells_about_itself(google: World, tmp_path: Path) -> None:
    token = google.refreshed(google.service_account(tmp_path))
    status, told = google.http("GET", f"/tokeninfo?access_token={token}")
    assert (status, told["scope"], told["access_type"]) == (200, CLOUD, "online")
    google.wait(3601)
    status, said = google.http("GET", f"/tokeninfo?access_token={token}")
    assert (status, said["error"]) == (400, "invalid_token")
