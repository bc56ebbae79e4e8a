"""Calls to the Admin API: what leaves the machine, and what comes back as what."""

from __future__ import annotations

import inspect
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from keyman import errors
from keyman.core.model import Secret, Verdict
from keyman.sandbox.faults import Fault
from keyman.sandbox.oci_identity import _certificate, _name
from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from keyman.sandbox.profiles import new_key, private_pem
from keyman.sandbox.server import Reply, Service, json_reply
from keyman.vendors import openai_calls
from keyman.vendors.openai_calls import Line, Lost
from keyman.vendors.openai_outcomes import Answer, Asked, meaning
from tests.providers.openai_world import Network, World, world
from tests.providers.test_oci_probe import Stranger

KEY = Secret("sk-admin-canary")


def asked(*, changes: bool, by_admin_key: bool = True) -> Asked:
    return Asked("make a key", changes, "main", by_admin_key)


CHANGE, READ = asked(changes=True), asked(changes=False)


@pytest.fixture
def ai() -> Iterator[World]:
    """A kind organization whose service account has no key."""
    with world() as made:
        yield made


def said(status: int, headers: dict[str, str] | None = None, **error: Any) -> Answer:
    return Answer(status, headers or {}, {"error": error})


# What leaves the machine.


def test_a_call_carries_what_it_must_and_no_more(ai: World) -> None:
    door = Stranger(json_reply(500, {}))
    with door.serve() as url, pytest.raises(errors.RetryLater):
        ai.provider_with(base_url=url).list_keys()
    [request] = door.requests
    assert request.path == f"/organization/projects/{ai.options.project_id}/api_keys"
    assert request.query == {"limit": "100", "owner_project_access": "any"}
    assert request.headers["authorization"] == f"Bearer {ai.sandbox.admin_key}"
    assert {"openai-organization", "openai-project", "cookie"} & set(request.headers) == set()
    assert ai.sandbox.admin_key not in request.target


def test_a_creation_says_name_and_life_and_nothing_else(ai: World) -> None:
    listed = json_reply(200, {"object": "list", "data": [], "has_more": False})
    door = Stranger(listed)
    with door.serve() as url, pytest.raises(errors.Unknown):
        ai.provider_with(base_url=url).issue(ai.wish(), None)
    sent = json.loads(door.requests[-1].body)
    assert set(sent) == {"name", "expires_in_seconds"}
    assert isinstance(sent["expires_in_seconds"], int)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_refused(ai: World, status: int) -> None:
    elsewhere = Stranger(Reply(200, b"{}"))
    with elsewhere.serve() as url:
        door = Stranger(Reply(status, b"", {"location": f"{url}/x"}))
        with door.serve() as there:
            provider = ai.provider_with(base_url=there)
            with pytest.raises(errors.Rejected) as caught:
                provider.list_keys()
            with pytest.raises(errors.Unknown):
                provider._api.make("x", 1)
    assert not elsewhere.requests
    assert "base_url" in caught.value.hint


def test_variables_of_the_environment_move_no_call(
    ai: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ai.provider_with().list_keys() == ()


def test_the_configured_proxy_is_used(ai: World) -> None:
    with pytest.raises(errors.RetryLater) as caught:
        ai.provider_with(network=Network("http://127.0.0.1:9")).issue(ai.wish(), None)
    assert "network.proxy" in caught.value.hint
    assert not ai.sandbox.calls("ListApiKeys")


def test_a_certificate_that_is_not_trusted_ends_it(ai: World, tmp_path: Path) -> None:
    secured = secured_by_nobody(tmp_path)
    with secured.serve() as url:
        wish = ai.wish()
        with pytest.raises(errors.RetryLater, match="certificate is not trusted") as caught:
            ai.provider_with(base_url=url).issue(wish, None)
        assert "network.ca_bundle" in caught.value.hint
        trusting = Network(ca_bundle=str(tmp_path / "ca.pem"))
        assert ai.provider_with(base_url=url, network=trusting).list_keys() == ()


def test_a_missing_bundle_is_told_and_nothing_is_sent(ai: World, tmp_path: Path) -> None:
    lost = Network(ca_bundle=str(tmp_path / "none.pem"))
    provider = ai.provider_with(base_url="https://127.0.0.1:9", network=lost)
    with pytest.raises(errors.Rejected, match="can't be set up") as caught:
        provider.issue(ai.wish(), None)
    assert "network" in caught.value.hint
    assert provider.verify(KEY) is Verdict.SILENT


@pytest.mark.parametrize("address", ["ftp://x", "http://[::1", "x", ""])
def test_an_address_that_cannot_be_used_is_no_lost_answer(ai: World, address: str) -> None:
    with pytest.raises(errors.Rejected) as caught:
        ai.provider_with(base_url=address)._api.make("x", 1)
    assert "base_url" in caught.value.hint


# What comes back.


def test_every_error_of_the_library_has_a_meaning() -> None:
    kinds = [
        kind
        for _, kind in inspect.getmembers(httpx2, inspect.isclass)
        if issubclass(kind, httpx2.HTTPError | httpx2.StreamError | httpx2.InvalidURL)
    ]
    assert len(kinds) > 20
    never_sent = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"}
    for kind in kinds:
        lost = broken_by(kind)
        assert isinstance(lost, Lost)
        ours = {"InvalidURL", "UnsupportedProtocol"}
        assert lost.sent is (kind.__name__ not in never_sent | ours), kind
        assert lost.ours is (kind.__name__ in ours), kind


def broken_by(kind: type[Exception]) -> Any:
    """What a call comes to when the library raises that in the middle of it."""

    def fail(request: httpx2.Request) -> httpx2.Response:
        error = kind.__new__(kind)
        error.args = ("sk-canary",)
        raise error

    line = Line("http://127.0.0.1:9", Network())
    with httpx2.Client(transport=httpx2.MockTransport(fail)) as client:
        return line._exchange(client, "GET", "/x", KEY, None, None)


class Dripping(BaseHTTPRequestHandler):
    """Sends a byte now and then, for ever."""

    stop = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while not self.stop.wait(0.01):
                self.wfile.write(b" ")

    def log_message(self, *_: object) -> None:
        """Not to standard error."""


def test_an_answer_that_drips_for_ever_is_given_up() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        line = Line(f"http://127.0.0.1:{server.server_port}", Network(), deadline=0.1)
        assert line.send("GET", "/x", KEY) == Lost("it took too long")
        Dripping.stop.set()
        server.shutdown()


def test_an_endless_answer_is_no_answer() -> None:
    long = Stranger(json_reply(200, {"data": ["x" * openai_calls.BODY_BYTES], "has_more": False}))
    with long.serve() as url:
        seen = Line(url, Network()).send("GET", "/x", KEY)
    assert isinstance(seen, Answer)
    assert seen.body is None


@pytest.mark.parametrize(
    "body",
    [
        {"object": "list", "data": [{"id": "key_a", "name": "a"}], "has_more": True},
        {"object": "list", "data": [{"id": "key_a", "name": None}], "has_more": True},
    ],
)
def test_a_list_that_does_not_end_is_given_up(ai: World, body: object) -> None:
    door = Stranger(json_reply(200, body))
    with door.serve() as url, pytest.raises(errors.RetryLater, match="does not end"):
        ai.provider_with(base_url=url).list_keys()
    assert len(door.requests) == 2


def test_a_list_that_changes_while_it_is_read_is_read_again_later(ai: World) -> None:
    for _ in range(120):
        ai.by_hand()
    pages = ai.provider_with()._api._pages()
    first = [next(pages) for _ in range(100)]
    ai.sandbox.dashboard.delete_key(first[-1].id)
    with pytest.raises(errors.RetryLater, match="400"):
        list(pages)


@pytest.mark.parametrize(
    "body",
    [
        {"data": [], "has_more": None},
        {"data": {}, "has_more": False},
        {"has_more": False},
        {"data": [None], "has_more": False},
        {"data": [{"id": ""}], "has_more": False},
        {"data": [{"id": "k", "owner": "x"}], "has_more": False},
        {"data": [{"id": "k", "expires_at": "soon"}], "has_more": False},
        {"data": [{"id": "k", "last_used_at": True}], "has_more": False},
        {"data": [{"id": "k", "redacted_value": 1}], "has_more": False},
    ],
)
def test_an_all_none_model_is_no_list(ai: World, body: object) -> None:
    door = Stranger(json_reply(200, body))
    with door.serve() as url, pytest.raises(errors.RetryLater, match="makes no sense"):
        ai.provider_with(base_url=url).list_keys()


def test_another_keys_reply_is_no_answer(ai: World) -> None:
    other = '{"id": "key_other", "name": "x", "deleted": true, "role": "member"}'
    ai.sandbox.faults.add(Fault("garbage", "GetServiceAccount", body=other))
    with pytest.raises(errors.RetryLater):
        ai.usual.account_role()
    ai.sandbox.faults.add(Fault("garbage", "GetApiKey", body=other))
    with pytest.raises(errors.RetryLater):
        ai.seen("key_x")
    handle, _ = ai.by_hand()
    ai.sandbox.faults.add(Fault("garbage", "DeleteApiKey", body=other))
    with pytest.raises(errors.Unknown):
        ai.usual._delete(handle)
    ai.sandbox.faults.clear()
    undone = f'{{"id": "{handle}", "deleted": false}}'
    ai.sandbox.faults.add(Fault("garbage", "DeleteApiKey", body=undone))
    with pytest.raises(errors.Unknown):
        ai.usual._delete(handle)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "2"}, 2.0),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 12}, 86_400.0),
        ({"retry-after": "9" * 30}, None),
        ({"retry-after": "²"}, None),
        ({}, None),
        (
            {
                "retry-after": "Sat, 21 Nov 2026 03:00:30 GMT",
                "date": "Sat, 21 Nov 2026 03:00:00 GMT",
            },
            30.0,
        ),
        ({"retry-after": "Sat, 21 Nov 2026 03:00:30 GMT"}, None),
    ],
)
@pytest.mark.parametrize("what", [CHANGE, READ])
def test_retry_after_is_honoured(
    what: Asked, headers: dict[str, str], seconds: float | None
) -> None:
    error = meaning(what, said(429, headers, code="rate_limit_exceeded"))
    assert isinstance(error, errors.RetryLater)
    assert error.retry_after == seconds


def test_throttling_by_the_organization_is_waited_out() -> None:
    with world(OpenAIBehaviour(admin_calls_per_minute=1)) as ai:
        ai.usual.list_keys()
        with pytest.raises(errors.RetryLater, match="429") as caught:
            ai.usual.issue(ai.wish(), None)
        assert caught.value.retry_after == 1.0
        ai.clock.pass_by(61)
        assert ai.usual.list_keys() == ()


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (said(401, message="IP not authorized"), "IP allowlist"),
        (said(403, code="ip_not_authorized"), "IP allowlist"),
        (said(403, code="unsupported_country_region_territory"), "from here"),
        (said(401, code="invalid_api_key"), "the admin key is not accepted"),
        (said(403, message="Missing scopes: api.management.write."), "api.management.write"),
        (said(401, message="Missing scopes: api.a.read, api.b."), "api.a.read, api.b"),
        (said(400, param="expires_in_seconds"), "policy.lifetime of main"),
        (said(400, code="expiration_required"), "policy.lifetime of main"),
        (said(404, code="not_found"), "not archived"),
        (said(422), "compare main"),
        (Answer(403, {}, None), "in between"),
        (said(429, code="insufficient_quota"), "billing"),
        (Answer(511, {}, None), "a captive portal answers"),
    ],
)
def test_each_refusal_has_a_next_move(answer: Answer, hint: str) -> None:
    assert hint in meaning(CHANGE, answer).hint


def test_a_portal_is_called_one_whatever_was_asked() -> None:
    for what in (CHANGE, READ):
        assert "sign in to the network" in meaning(what, Answer(511, {}, None)).hint


def test_a_key_that_is_no_admin_key_is_named_as_such() -> None:
    for answer in (
        said(401, code="invalid_api_key"),
        said(403, message="Missing scopes: api.management.read."),
    ):
        error = meaning(asked(changes=True, by_admin_key=False), answer)
        assert "does not begin with sk-admin-" in error.hint


SAID = (
    "the secret is sk-abcdefghijklmnop",
    "key=sk-abc",
    "token eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.e30",
    "<html>sk-abc</html>",
    "x" * 5000,
)


@pytest.mark.parametrize("message", SAID)
@pytest.mark.parametrize("status", [400, 401, 403, 409, 429, 500])
def test_words_of_the_service_are_repeated_without_what_may_be_secret(
    message: str, status: int
) -> None:
    answer = said(status, {"x-request-id": "req_1"}, message=message, code="bad_thing")
    error = meaning(CHANGE, answer)
    assert not any(bad in str(error) for bad in ("sk-", "eyJ", "<", "x" * 24))
    assert f"{status} bad_thing" in error.message
    assert error.message.endswith("request req_1")
    assert len(error.message) < 400


def test_the_words_of_a_401_are_never_repeated() -> None:
    echo = "Incorrect API key provided: part-of-it****tail. You can find your API key at x."
    error = meaning(CHANGE, said(401, code="invalid_api_key", message=echo))
    assert error.message == "OpenAI refused to make a key: 401 invalid_api_key"


def test_ids_are_repeated_since_people_need_them() -> None:
    told = "No project found with id 'proj_abcdefghijklmnopqrstuvwxyz'."
    assert "proj_abcdefghijklmnopqrstuvwxyz" in meaning(CHANGE, said(404, message=told)).message


@pytest.mark.parametrize(
    ("code", "headers"),
    [
        ("sk-abc", {}),
        ("a b\n", {}),
        (None, {}),
        (7, {}),
        ("", {"x-request-id": "\x1b[31m sk-abc"}),
    ],
)
def test_odd_codes_and_request_ids_are_not_repeated(code: Any, headers: dict[str, str]) -> None:
    error = meaning(READ, said(409, headers, code=code))
    assert error.message == "OpenAI refused to make a key: 409"


def test_providers_are_cheap_to_import_and_to_open() -> None:
    program = (
        "import sys, keyman.providers\n"
        "assert not {'openai', 'httpx2'} & set(sys.modules)\n"
        "import keyman.providers.openai\n"
        "assert not {'openai', 'oci', 'requests'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_opening_asks_nobody(ai: World) -> None:
    calls = len(ai.sandbox.calls())
    ai.provider_with(admin_key=None, admin_credential="nobody", project_id="a/b")
    assert len(ai.sandbox.calls()) == calls


def secured_by_nobody(folder: Path) -> Service:
    """A list of no keys, behind a certificate that only `ca.pem` vouches for."""
    key = new_key()
    certificate = _certificate(_name("nobody"), key, key.public_key(), datetime.now(UTC))
    (folder / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(private_pem(key))
    door = Stranger(json_reply(200, {"object": "list", "data": [], "has_more": False}))
    door.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    door.tls.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return door
