"""Only requests with a fresh, complete and right signature get in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import oci
import pytest
from oci._vendor import requests

from keyman.sandbox.profiles import private_pem, public_pem
from tests.sandbox.world import COMPARTMENT, World, client_of, signer_of

PATH = f"/20231130/apikeys?compartmentId={COMPARTMENT}"


def status_of(world: World, method: str, path: str, auth: Any, **more: Any) -> int:
    with requests.Session() as session:
        answer = session.request(method, world.url + path, auth=auth, timeout=10, **more)
        return int(answer.status_code)


def test_a_known_user_gets_in(world: World) -> None:
    assert status_of(world, "GET", PATH, signer_of(1)) == 200


def test_an_unknown_user_is_refused_as_an_unknown_user(world: World) -> None:
    stranger = world.client_for(2, known=False)
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        stranger.list_api_keys(COMPARTMENT)
    assert (caught.value.status, caught.value.code) == (401, "NotAuthenticated")
    stranger.base_client.session.close()


def test_another_key_cannot_sign_for_a_known_user(world: World) -> None:
    forger = oci.auth.signers.SecurityTokenSigner("unused", signer_of(2).private_key)
    forger._basic_signer.reset_signer(signer_of(1).api_key, signer_of(2).private_key)
    client = client_of(world.url, forger)
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        client.list_api_keys(COMPARTMENT)
    assert caught.value.status == 401
    client.base_client.session.close()


@pytest.mark.parametrize(("minutes", "status"), [(-6, 401), (-4, 200), (4, 200), (6, 401)])
def test_five_minutes_of_skew_are_the_limit(minutes: int, status: int) -> None:
    world = World(signed_now=lambda: datetime.now(UTC) + timedelta(minutes=minutes))
    assert status_of(world, "GET", PATH, signer_of(1)) == status
    world.close()


@pytest.mark.parametrize("spoilt", ["date", "host", "x-content-sha256", "target", "body"])
def test_whatever_was_signed_must_arrive_as_it_was(world: World, spoilt: str) -> None:
    def sign_then_spoil(request: Any) -> Any:
        signed = signer_of(1)(request)
        if spoilt == "target":
            signed.url += "?x=1"
        elif spoilt == "body":
            signed.body = signed.body.replace(b"prod", b"prob")
        else:
            signed.headers[spoilt] = signed.headers[spoilt] + "x"
        return signed

    body = {"displayName": "prod"}
    assert status_of(world, "POST", "/20231130/apikeys", sign_then_spoil, json=body) == 401
    assert status_of(world, "POST", "/20231130/apikeys", signer_of(1), json=body) == 400


def test_a_body_must_be_covered_by_the_signature(world: World) -> None:
    without_body = signer_of(1).without_content_headers
    assert status_of(world, "POST", "/20231130/apikeys", without_body, json={}) == 401


@pytest.mark.parametrize("header", ["", "Bearer x", 'Signature keyId="x"'])
def test_no_signature_is_no_entry(world: World, header: str) -> None:
    assert world.http("GET", PATH, headers={"authorization": header})[0] == 401


def test_a_refused_call_is_logged_without_an_effect(world: World) -> None:
    world.http("POST", "/20231130/apikeys", {"displayName": "x"})
    call = world.sandbox.calls()[-1]
    assert (call.operation, call.status, call.actor) == ("CreateApiKey", 401, "")
    assert world.sandbox.truth() == {"keys": []}


def test_the_tenancy_of_the_signer_decides_what_is_seen(world: World) -> None:
    world.create()
    tenancy, user = "ocid1.tenancy.oc1..other", "ocid1.user.oc1..other"
    key = signer_of(2).private_key
    fingerprint = world.sandbox.register_user(tenancy, user, public_pem(key.public_key()))
    pem = private_pem(key).decode()
    other = oci.signer.Signer(tenancy, user, fingerprint, None, None, pem)
    with requests.Session() as session:
        answer = session.get(world.url + PATH, auth=other, timeout=10)
        assert (answer.status_code, answer.json()) == (200, {"items": []})
