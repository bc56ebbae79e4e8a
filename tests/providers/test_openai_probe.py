"""The probe: which answers prove a key good or bad, and which prove nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from keyman.core.model import Secret, Verdict
from keyman.sandbox.faults import Fault
from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from keyman.sandbox.server import Reply, json_reply
from keyman.vendors.openai_outcomes import Answer
from keyman.vendors.openai_probe import ADMIN_KEYS, MODELS, meaning
from tests.providers.openai_world import Network, World, world
from tests.providers.test_oci_probe import Stranger


@pytest.fixture
def ai() -> Iterator[World]:
    """A kind organization whose service account has no key."""
    with world() as made:
        yield made


def said(status: int, **error: Any) -> Answer:
    """An error as OpenAI words it."""
    return Answer(status, {}, {"error": {"param": None, "code": None, **error}})


MISSING = (
    "You have insufficient permissions for this operation. Missing scopes: {scopes}. Check that you"
    " have the correct role in your organization, and if you're using a restricted API key, that"
    " it has the necessary scopes."
)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(200, {}, {"object": "list", "data": []}), Verdict.ACCEPTED),
        (Answer(200, {}, {"hello": "there"}), Verdict.SILENT),
        (Answer(200, {}, None), Verdict.SILENT),
        (Answer(200, {}, []), Verdict.SILENT),
        (said(401, code="invalid_api_key"), Verdict.REFUSED),
        (said(401, code="api_key_expired"), Verdict.REFUSED),
        (said(401, code="account_deactivated"), Verdict.REFUSED),
        (said(401, message="Incorrect API key provided: sk-...x."), Verdict.REFUSED),
        (said(401, message="Your API key has expired."), Verdict.REFUSED),
        (said(401, message="You didn't provide an API key."), Verdict.REFUSED),
        (said(401, message="The request IP is not authorized."), Verdict.FORBIDDEN),
        (said(401, code="ip_not_authorized"), Verdict.FORBIDDEN),
        (said(401, message="You must be a member of an organization"), Verdict.FORBIDDEN),
        (said(401, message=MISSING.format(scopes="api.model.read")), Verdict.ACCEPTED),
        (said(403, message=MISSING.format(scopes="api.model.read")), Verdict.ACCEPTED),
        (said(403, message=MISSING.format(scopes="api.other")), Verdict.FORBIDDEN),
        (said(401, message=MISSING.format(scopes="api.other")), Verdict.FORBIDDEN),
        (said(403, code="unsupported_country_region_territory"), Verdict.FORBIDDEN),
        (said(401), Verdict.FORBIDDEN),
        (Answer(401, {}, None), Verdict.SILENT),
        (Answer(403, {}, None), Verdict.SILENT),
        (said(429, code="rate_limit_exceeded"), Verdict.ACCEPTED),
        (said(429, type="requests"), Verdict.ACCEPTED),
        (said(429, code="insufficient_quota", type="insufficient_quota"), Verdict.ACCEPTED),
        (said(429, code="slow_down"), Verdict.SILENT),
        (Answer(429, {}, None), Verdict.SILENT),
        (said(404), Verdict.SILENT),
        (said(400), Verdict.SILENT),
        (said(500), Verdict.SILENT),
        (said(503), Verdict.SILENT),
        (Answer(302, {}, None), Verdict.SILENT),
    ],
)
def test_what_each_answer_proves(answer: Answer, verdict: Verdict) -> None:
    assert meaning(MODELS, answer) is verdict


def test_an_admin_key_must_be_allowed_what_is_asked() -> None:
    lacking = said(403, message=MISSING.format(scopes="api.management.read"))
    assert meaning(ADMIN_KEYS, lacking) is Verdict.FORBIDDEN


def test_asking_costs_nothing_and_counts_as_a_use(ai: World) -> None:
    handle, secret = ai.by_hand()
    assert ai.usual.verify(secret) is Verdict.ACCEPTED
    assert ai.sandbox.counts()["accepted"] == 1
    assert ai.seen(handle).slots[0].last_used_at


@pytest.mark.parametrize("code", ["invalid_api_key", "api_key_expired"])
@pytest.mark.parametrize("shown", [True, False])
def test_a_dead_key_is_refused(code: str, *, shown: bool) -> None:
    rules = OpenAIBehaviour(expired_key_code=code, unknown_key_shown=shown)
    with world(rules) as ai:
        (gone, deleted), (_, expired) = ai.by_hand(), ai.by_hand(seconds=5)
        ai.sandbox.dashboard.delete_key(gone)
        ai.clock.pass_by(6)
        for secret in (deleted, expired, Secret("sk-svcacct-nobody-ever")):
            assert ai.usual.verify(secret) is Verdict.REFUSED


def test_a_new_key_may_be_refused_for_a_while() -> None:
    with world(OpenAIBehaviour(new_key_delay=30.0)) as ai:
        made = ai.usual.issue(ai.wish(), None)
        assert ai.usual.verify(made.secret) is Verdict.REFUSED
        ai.clock.pass_by(31)
        assert ai.usual.verify(made.secret) is Verdict.ACCEPTED


@pytest.mark.parametrize("status", [403, 401])
def test_a_good_key_of_an_account_without_access_is_not_called_dead(status: int) -> None:
    with world(OpenAIBehaviour(no_access_status=status)) as ai:
        _, secret = ai.by_hand()
        ai.sandbox.dashboard.set_role(ai.account, "none")
        assert ai.usual.verify(secret) is Verdict.FORBIDDEN


def test_a_key_without_money_is_a_good_key(ai: World) -> None:
    _, secret = ai.by_hand()
    ai.sandbox.dashboard.exhaust_quota()
    assert ai.usual.verify(secret) is Verdict.ACCEPTED


@pytest.mark.parametrize(
    "fault",
    [
        Fault("lost_before"),
        Fault("lost_after"),
        Fault("truncated"),
        Fault("garbage", body="{}"),
        Fault("garbage", body="<html>"),
        Fault("garbage", body="9" * 5000),
        Fault("status", status=500),
        Fault("status", status=503),
        Fault("html", status=200),
        Fault("html", status=401),
        Fault("html", status=403),
        Fault("html", status=404),
        Fault("html", status=429),
        Fault("html", status=302),
    ],
    ids=lambda f: f"{f.effect}-{f.status}-{f.body[:6]}",
)
def test_faults_prove_nothing(ai: World, fault: Fault) -> None:
    handle, secret = ai.by_hand()
    ai.sandbox.dashboard.delete_key(handle)
    ai.sandbox.faults.add(fault)
    assert ai.usual.verify(secret) is Verdict.SILENT
    ai.sandbox.faults.clear()
    assert ai.usual.verify(secret) is Verdict.REFUSED


def test_a_wrong_address_proves_nothing(ai: World) -> None:
    _, secret = ai.by_hand()
    for address in (f"{ai.sandbox.url}/elsewhere", "http://[::1", "ftp://x", "http://a b", "x"):
        assert ai.provider_with(base_url=address).verify(secret) is Verdict.SILENT


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_secret_follows_no_redirect(ai: World, status: int) -> None:
    elsewhere = Stranger(json_reply(200, {"object": "list", "data": []}))
    with elsewhere.serve() as url:
        door = Stranger(Reply(status, b"", {"location": f"{url}/models"}))
        with door.serve() as there:
            provider = ai.provider_with(base_url=there)
            assert provider.verify(Secret("sk-canary-x")) is Verdict.SILENT
    assert not elsewhere.requests


def test_variables_of_the_environment_move_no_secret(
    ai: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = ai.by_hand()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ai.provider_with().verify(secret) is Verdict.ACCEPTED
    behind = ai.provider_with(network=Network("http://127.0.0.1:9"))
    assert behind.verify(secret) is Verdict.SILENT
