"""Calls through Oracle's SDK: who signs, what leaves the machine, what comes back as what."""

from __future__ import annotations

import gc
import inspect
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyman import errors
from keyman.clock import SystemClock
from keyman.core.model import Place, Verdict
from keyman.providers.oci_genai import OciGenai
from keyman.sandbox.faults import Fault
from keyman.sandbox.oci_identity import INSTANCE, POD, OciIdentity, OkeProxymux, issuer_for
from keyman.sandbox.server import Reply
from keyman.vendors import oci_identity
from keyman.vendors.deadline import within
from keyman.vendors.oci import Service, translate
from keyman.vendors.oci_identity import Identity
from keyman.vendors.oci_outcomes import Answer, Asked, meaning
from tests.providers.oci_world import CANARY, Auth, Network, World, world
from tests.providers.test_oci_probe import Stranger

CHANGE, READ = Asked("change it", True, "allow x"), Asked("show it", False, "allow x")
ID = "ocid1.generativeaiapikey.oc1.us-chicago-1.nosuch"


@pytest.fixture(autouse=True)
def sockets_of_the_sdk() -> Iterator[None]:
    """The SDK closes none of the sessions it opens; let them go here, not in another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def works(oci: World, provider: OciGenai) -> str:
    """Rotate a slot; returns who the cloud took us for."""
    handle, _ = oci.made_by_hand()
    new = provider.issue(oci.wish("key-two", handle), None)
    provider.retire(Place(handle, "key-one"), None)
    assert oci.holds(handle, "key-two", new.secret)
    return oci.sandbox.calls()[-1].actor


# Who signs.


def test_a_profile_of_a_config_file_signs(oci: World) -> None:
    assert works(oci, oci.usual).startswith("ocid1.user.")


def test_a_changed_profile_is_read_anew(oci: World, tmp_path: Path) -> None:
    file = oci.sandbox.make_profile(tmp_path)
    provider = oci.provider_with(auth=Auth(file=file))
    works(oci, provider)
    oci.sandbox.verifier._known.clear()
    with pytest.raises(errors.Rejected):
        provider.list_keys()
    file.unlink()
    oci.sandbox.make_profile(tmp_path)
    calls = len(oci.sandbox.calls())
    assert works(oci, provider)
    statuses = {call.status for call in oci.sandbox.calls()[calls:]}
    assert statuses == {200}


def test_a_profile_that_changes_while_a_call_is_refused_is_tried_once_more(
    oci: World, tmp_path: Path
) -> None:
    file = oci.sandbox.make_profile(tmp_path)
    provider = oci.provider_with(auth=Auth(file=file))
    provider.list_keys()
    oci.sandbox.verifier._known.clear()
    real = oci.sandbox.verifier.verify

    def swap_first(request: Any) -> Any:
        oci.sandbox.verifier.verify = real  # type: ignore[method-assign]
        file.unlink()
        oci.sandbox.make_profile(tmp_path)
        return real(request)

    oci.sandbox.verifier.verify = swap_first  # type: ignore[method-assign]
    provider.list_keys()
    assert [call.status for call in oci.sandbox.calls()] == [200, 401, 200]


def test_a_session_token_signs_and_its_successor_is_taken_up(oci: World, tmp_path: Path) -> None:
    issuer = issuer_for(oci.sandbox)
    auth = Auth("session-token", issuer.write_session(tmp_path))
    provider = oci.provider_with(auth=auth)
    assert works(oci, provider) == "ocid1.user.oc1..session"
    oci.sandbox.verifier.forget_tokens()
    issuer.write_session(tmp_path)
    assert works(oci, provider) == "ocid1.user.oc1..session"
    assert 401 not in {call.status for call in oci.sandbox.calls()}


def test_a_session_token_may_lie_elsewhere(oci: World, tmp_path: Path) -> None:
    file = issuer_for(oci.sandbox).write_session(tmp_path)
    moved = (tmp_path / "token").rename(tmp_path / "elsewhere")
    assert works(oci, oci.provider_with(auth=Auth("session-token", file, token=moved)))
    with pytest.raises(errors.Rejected):
        oci.provider_with(auth=Auth("session-token", file)).list_keys()


@contextmanager
def inside_an_instance(oci: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[OciIdentity]:
    identity = OciIdentity(oci.sandbox)
    with identity.serve():
        monkeypatch.setenv("OCI_METADATA_BASE_URL", identity.metadata_url)
        yield identity


def instance_of(oci: World, identity: OciIdentity) -> OciGenai:
    options = replace(oci.options, auth=Auth("instance-principal"))
    return OciGenai(
        oci.spec,
        options,
        network=Network(),
        clock=oci.clock,
        federation_endpoint=identity.federation_endpoint,
    )


def test_an_instance_signs(oci: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with inside_an_instance(oci, monkeypatch) as identity:
        provider = instance_of(oci, identity)
        assert works(oci, provider) == INSTANCE
        oci.sandbox.verifier.forget_tokens()
        assert works(oci, provider) == INSTANCE
        assert identity.issuer.issued == 2


@pytest.mark.parametrize("operation", ["GetMetadata", "IssueInstanceToken"])
def test_an_instance_without_metadata_or_token_is_told_at_once(
    oci: World, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    with inside_an_instance(oci, monkeypatch) as identity:
        provider = instance_of(oci, identity)
        identity.faults.add(Fault("status", operation, status=503))
        with pytest.raises(errors.RetryLater, match="cannot sign as instance-principal"):
            provider.list_keys()
        assert identity.calls.count(operation) == 1
        identity.faults.clear()
        assert works(oci, provider) == INSTANCE
    provider = instance_of(oci, identity)
    with pytest.raises(errors.RetryLater):
        provider.issue(oci.wish("key-two", ID), None)


def test_a_resource_principal_signs(
    oci: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = issuer_for(oci.sandbox)
    for name, value in issuer.write_resource_principal(tmp_path).items():
        monkeypatch.setenv(name, value)
    provider = oci.provider_with(auth=Auth("resource-principal"))
    assert works(oci, provider) == "ocid1.fnfunc.oc1..sandbox"
    oci.sandbox.verifier.forget_tokens()
    issuer.write_resource_principal(tmp_path)
    assert works(oci, provider) == "ocid1.fnfunc.oc1..sandbox"


def test_a_pod_signs(oci: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from oci.auth.signers import resource_principals_signer as sdk

    proxymux = OkeProxymux(oci.sandbox, tmp_path)
    token = tmp_path / "token"
    token.write_text(proxymux.issuer.service_account_token())
    with proxymux.serve() as url:
        # The SDK knows the port, and asks nobody.
        monkeypatch.setattr(sdk, "OCI_KUBERNETES_PROXYMUX_SERVICE_PORT", int(url.split(":")[2]))
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH", str(proxymux.ca_file))
        provider = oci.provider_with(auth=Auth("oke-workload", token=token))
        assert works(oci, provider) == POD


@pytest.mark.parametrize("kind", ["resource-principal", "oke-workload"])
def test_outside_of_oci_a_principal_is_no_principal(
    oci: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OCI_RESOURCE_PRINCIPAL_VERSION", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(errors.Rejected, match=f"cannot sign as {kind}"):
        oci.provider_with(auth=Auth(kind)).issue(oci.wish("key-two", ID), None)


def _profile(folder: Path, *lines: str) -> Path:
    (folder / "config").write_text("\n".join(["[DEFAULT]", *lines, ""]))
    return folder / "config"


def test_a_broken_profile_is_named(oci: World, tmp_path: Path) -> None:
    fields = ("fingerprint", "key_file", "tenancy", "user")
    cases = {
        "the file does not exist": Auth(file=tmp_path / "none"),
        "the file can't be read": Auth(file=tmp_path),
        "the file has no such profile, only DEFAULT": replace(oci.options.auth, profile="OTHER"),
        ", ".join(f"{field} is missing" for field in fields): Auth(
            file=_profile(tmp_path, "region=r")
        ),
        "its key_file ~/no.pem does not exist": Auth(
            file=_profile(_folder(tmp_path), "key_file=~/no.pem")
        ),
    }
    for named, auth in cases.items():
        with pytest.raises(errors.Rejected) as caught:
            oci.provider_with(auth=auth).list_keys()
        assert (
            caught.value.message == f"cannot sign as profile {auth.profile} of {auth.file}: {named}"
        )
        assert caught.value.__context__ is None


def _folder(above: Path) -> Path:
    (above / "another").mkdir()
    return above / "another"


def test_what_makes_a_profile_is_said(oci: World, tmp_path: Path) -> None:
    nothing = _profile(tmp_path, "region=r")
    token = _profile(_folder(tmp_path), f"security_token_file={tmp_path}/no")
    cases = {
        Auth(file=tmp_path / "none"): "`oci setup config` makes",
        replace(oci.options.auth, profile="OTHER"): "`oci setup config` makes",
        Auth("session-token", nothing): "`oci session authenticate --profile-name DEFAULT` makes",
        Auth("session-token", token): "`oci session authenticate --profile-name DEFAULT` makes",
    }
    for auth, hint in cases.items():
        with pytest.raises(errors.Rejected, match="cannot sign as profile") as caught:
            oci.provider_with(auth=auth).list_keys()
        assert caught.value.hint.startswith(hint)


def test_a_profile_gives_credentials_and_nothing_else(
    oci: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = oci.sandbox.make_profile(tmp_path)
    elsewhere = Stranger(Reply(200, b"{}"))
    with elsewhere.serve() as url:
        with file.open("a") as config:
            config.write(f"log_requests=true\nendpoint={url}\nadditional_user_agent=x\n")
        works(oci, oci.provider_with(auth=Auth(file=file)))
    assert not elsewhere.requests
    assert capfd.readouterr() == ("", "")


# What leaves the machine.


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_refused(oci: World, status: int) -> None:
    elsewhere = Stranger(Reply(200, b"{}"))
    with elsewhere.serve() as url:
        door = Stranger(Reply(status, b"", {"location": f"{url}/20231130/apikeys/x"}))
        with door.serve() as there:
            provider = oci.provider_with(endpoint=there)
            with pytest.raises(errors.Rejected) as caught:
                provider.observe((ID,), oci.clock.now())
            with pytest.raises(errors.Unknown):
                provider.issue(oci.wish("key-two", ID), None)
    assert not elsewhere.requests
    assert "endpoint" in caught.value.hint


def test_variables_of_the_environment_move_no_call(
    oci: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    works(oci, oci.provider_with())


def test_the_configured_proxy_is_used(oci: World) -> None:
    with pytest.raises(errors.ProviderFailed):
        oci.provider_with(network=Network(proxy="http://127.0.0.1:9")).list_keys()
    assert not oci.sandbox.calls()


def test_a_certificate_that_is_not_trusted_ends_it(oci: World, tmp_path: Path) -> None:
    service = OkeProxymux(oci.sandbox, tmp_path)
    with service.serve() as url:
        wish = oci.wish("key-two", ID)
        with pytest.raises(errors.RetryLater, match="certificate is not trusted"):
            oci.provider_with(endpoint=url).issue(wish, None)
        trusting = oci.provider_with(endpoint=url, network=Network(ca_bundle=str(service.ca_file)))
        with pytest.raises(errors.Rejected, match="404"):
            trusting.issue(wish, None)


@pytest.mark.parametrize("endpoint", ["ftp://x", "http://[::1]:80", "http://a b", "http://u:p@h"])
def test_an_endpoint_that_cannot_be_used_is_no_lost_answer(oci: World, endpoint: str) -> None:
    with pytest.raises(errors.Rejected, match="would not send") as caught:
        oci.provider_with(endpoint=endpoint).issue(oci.wish("key-two", ID), None)
    assert "endpoint" in caught.value.hint


# What comes back.


def test_a_clock_that_is_wrong_is_named_with_the_seconds() -> None:
    def later() -> datetime:
        return datetime.now(UTC) + timedelta(hours=1)

    with world(now=later, signed_now=later) as oci, pytest.raises(errors.Rejected) as caught:
        oci.usual.list_keys()
    assert "behind" in caught.value.hint
    assert any(f"{seconds} s" in caught.value.hint for seconds in range(3598, 3603))


def test_credentials_that_are_unknown_are_not_blamed_on_the_clock(oci: World) -> None:
    oci.sandbox.verifier._known.clear()
    with pytest.raises(errors.Rejected) as caught:
        oci.usual.list_keys()
    assert "clock" not in caught.value.hint
    assert "401" in caught.value.message


def test_an_answer_that_drips_for_ever_is_given_up(oci: World) -> None:
    handle, _ = oci.made_by_hand()
    provider = oci.provider_with()
    provider.observe((handle,), oci.clock.now())
    provider._service._deadline, first = 1.0, provider._service._client
    oci.sandbox.faults.add(Fault("delay", "GetApiKey", seconds=2, count=1))
    oci.sandbox.faults.add(Fault("delay", "CreateApiKey", seconds=2, count=1))
    with pytest.raises(errors.RetryLater, match="too long"):
        provider.observe((handle,), oci.clock.now())
    with pytest.raises(errors.Unknown, match="too long"):
        provider.create(oci.wish(), oci.standby_ends)
    assert provider._service._client is not first  # the call that was given up may still use it
    provider._service._deadline = 20.0
    assert provider.observe((handle,), oci.clock.now()).keys  # and the next one does not wait


def test_within_hears_what_comes_in_time_and_nothing_later() -> None:
    never = threading.Event()
    assert within(20.0, lambda: 5) == 5
    assert within(0.01, lambda: never.wait(20.0)) is None
    never.set()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 30}, 86_400.0),
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
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(
    status: int, headers: dict[str, str], seconds: float | None
) -> None:
    error = meaning(CHANGE, Answer(status, None, None, headers), datetime.now(UTC))
    if seconds is None and status == 503:
        assert isinstance(error, errors.Unknown)
        return
    assert isinstance(error, errors.RetryLater)
    assert error.retry_after == seconds


SAID = (
    "the secret is sk-abcdefghijklmnop",
    "key=sk-abc",
    "token eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.e30",
    "<html>sk-abc</html>",
    "x" * 5000,
)


@pytest.mark.parametrize("said", SAID)
def test_words_of_the_service_are_repeated_without_what_may_be_secret(said: str) -> None:
    answer = Answer(400, "InvalidParameter", said, {"opc-request-id": "A/B"})
    error = meaning(CHANGE, answer, datetime.now(UTC))
    assert not any(bad in str(error) for bad in ("sk-", "eyJ", "<", "x" * 24))
    assert "400 InvalidParameter" in error.message
    assert error.message.endswith("request A/B")
    assert len(error.message) < 400


@pytest.mark.parametrize(
    ("code", "headers"),
    [("sk-abc", {}), ("a b\n", {}), (None, {}), ("409", {"opc-request-id": "\x1b[31m sk-abc"})],
)
def test_odd_codes_and_request_ids_are_not_repeated(
    code: str | None, headers: dict[str, str]
) -> None:
    error = meaning(READ, Answer(409, code, None, headers), datetime.now(UTC))
    assert error.message == "OCI refused to show it: 409"


def test_every_error_of_the_sdk_has_a_meaning() -> None:
    import oci

    kinds = [
        kind
        for _, kind in inspect.getmembers(oci.exceptions, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__ == "oci.exceptions"
    ]
    assert len(kinds) > 15
    for kind in kinds:
        for asked in (CHANGE, READ):
            made = kind.__new__(kind)
            if issubclass(kind, oci.exceptions.ServiceError):
                made = kind(500, None, {}, f"{CANARY}-x")
            meant = translate(made, asked, SystemClock())
            never_sent = isinstance(made, oci.exceptions.ClientError) or "Endpoint" in kind.__name__
            never_sent = never_sent or kind is oci.exceptions.ConnectTimeout
            unknown = asked.changes and not never_sent
            assert isinstance(meant, errors.Unknown) is unknown, kind
            assert CANARY not in str(meant) + meant.hint


def test_an_open_breaker_and_a_connect_timeout_sent_nothing() -> None:
    from circuitbreaker import (  # type: ignore[import-untyped]
        CircuitBreaker,
        CircuitBreakerError,
    )
    from oci._vendor.requests.exceptions import ConnectTimeout
    from oci.exceptions import ConnectTimeout as SdkTimeout

    for error in (CircuitBreakerError(CircuitBreaker()), SdkTimeout(ConnectTimeout())):
        assert isinstance(translate(error, CHANGE, SystemClock()), errors.RetryLater)


def test_nothing_is_logged_or_printed_that_is_secret(
    oci: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger().setLevel(logging.DEBUG)
    handle, secrets = oci.made_by_hand()
    works(oci, oci.usual)
    provider, wish = oci.usual, oci.wish("key-two", handle)
    texts = []
    for effect in ("truncated", "lost_after", "garbage", "html", "status"):
        oci.sandbox.faults.add(Fault(effect, "RenewApiKey", count=1))
        with pytest.raises(errors.ProviderFailed) as caught:
            provider.issue(wish, None)
        texts += [str(caught.value), repr(caught.value), str(caught.getrepr(style="native"))]
    echo = f'{{"code": "X", "message": "{secrets["key-one"].reveal()}", "key": "{CANARY}"}}'
    door = Stranger(Reply(400, echo.encode(), {"content-type": "application/json"}))
    with door.serve() as url, pytest.raises(errors.Rejected) as caught_too:
        oci.provider_with(endpoint=url).list_keys()
    texts += [str(caught_too.value), str(caught_too.getrepr(style="native"))]
    assert provider.verify(secrets["key-one"]) is Verdict.ACCEPTED
    out = "".join(capfd.readouterr()) + caplog.text + "".join(texts)
    assert CANARY not in out
    assert "Signature algorithm" not in out


def test_providers_are_cheap_to_import_and_to_open() -> None:
    program = (
        "import sys, keyman.providers\n"
        "assert not {'oci', 'httpx2'} & set(sys.modules)\n"
        "import keyman.providers.oci_genai\n"
        "assert 'oci' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_one_client_serves_all_calls_and_one_signer_all_clients(oci: World) -> None:
    provider = oci.provider_with()
    identity, service = provider._service._identity, provider._service
    provider.list_keys()
    signer, client = identity.present()[1], service._client
    provider.list_keys()
    assert (identity.present()[1], service._client) == (signer, client)
    session = client.base_client.session
    assert (session.trust_env, session.max_redirects, session.verify) == (False, 0, True)
    assert isinstance(service, Service)
    assert isinstance(identity, Identity)


def test_a_key_is_checked_once_for_all_who_sign_alike(oci: World, tmp_path: Path) -> None:
    """Which takes 40 ms: of a hundred credentials that one user rotates, the start of a daemon."""

    def signs(file: Path) -> object:
        return Identity(Auth(file=file), None, Network()).present()[1]

    file = oci.sandbox.make_profile(tmp_path / "a")
    one, text = signs(file), file.read_text()
    assert signs(file) is one
    file.write_text(text.replace("user=ocid1.user.", "user=ocid1.user.other."))
    another = signs(file)
    assert another is not one
    assert another.api_key != one.api_key  # type: ignore[attr-defined]
    file.write_text(text)
    key = oci.sandbox.make_profile(tmp_path / "b").with_name("default.pem")
    file.with_name("default.pem").write_bytes(key.read_bytes())
    assert signs(file) is not one  # by who it is and its fingerprint: but not by this key


@pytest.mark.slow
def test_few_keys_are_kept_those_used_last(oci: World, tmp_path: Path) -> None:
    file = oci.sandbox.make_profile(tmp_path)
    config = {"tenancy": "t", "user": "u", "fingerprint": "f"}
    key = file.with_name("default.pem").read_bytes()
    first = oci_identity._api_key_signer(config, key)
    for number in range(2 * oci_identity.SIGNERS_KEPT):
        oci_identity._api_key_signer({**config, "user": f"u{number}"}, key)
        assert oci_identity._api_key_signer(config, key) is first
    assert len(oci_identity._SIGNERS) == oci_identity.SIGNERS_KEPT
