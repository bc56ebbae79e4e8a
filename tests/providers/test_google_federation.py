"""Workloads outside of Google: subject tokens from an address, from AWS, from a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from keyman import errors
from keyman.sandbox.google_iam import ACCESS_TOKEN
from keyman.sandbox.server import Reply, Request, Service, json_reply
from keyman.vendors.google_federation import ALLOW_EXECUTABLES, AWS
from tests.providers.google_world import Network, World

JWT = "urn:ietf:params:oauth:token-type:jwt"
CERTIFICATE = {"certificate_config_location": "/nowhere.json"}


class Cloud(Service):
    """Another cloud: answers by path, and remembers who asked."""

    def __init__(self, answers: dict[str, Callable[[Request], Reply]]) -> None:
        super().__init__(lambda: datetime.now(UTC))
        self.answers, self.seen = answers, list[Request]()

    def answer(self, request: Request) -> Reply:
        self.seen.append(request)
        known = self.answers.get(f"{request.method} {request.path}")
        return known(request) if known else Reply(404, b"no such path")


def text(body: str) -> Callable[[Request], Reply]:
    return lambda _: Reply(200, body.encode())


def subject_of(google: World) -> str:
    return google.files["external-account"].with_suffix(".subject").read_text()


def sourced(google: World, **source: Any) -> None:
    """The external account gets its subject token from there."""
    google.rewrite("external-account", credential_source=source)


def failed(google: World, kind: type[errors.ProviderFailed], **options: Any) -> Any:
    with pytest.raises(kind) as caught:
        google.provider("external-account", **options).issue(google.wish(), None)
    google.check_fit_to_travel(caught.value)
    assert google.asked("ExchangeToken") == []
    return caught.value


# From a file.


@pytest.mark.parametrize("field", ["access_token", "other"])
def test_a_subject_token_may_lie_in_json(google: World, field: str) -> None:
    subject = google.folder / "subject.json"
    subject.write_text(json.dumps({field: subject_of(google)}))
    sourced(
        google,
        file=str(subject),
        format={"type": "json", "subject_token_field_name": "access_token"},
    )
    if field == "access_token":
        google.provider("external-account").issue(google.wish(), None)
    else:
        assert "subject.json must hold it" in failed(google, errors.Rejected).hint


@pytest.mark.parametrize("content", [None, ""])
def test_a_subject_token_that_is_not_there_is_told(google: World, content: str | None) -> None:
    provider, subject = google.provider("external-account"), google.folder / "none"
    if content is not None:
        subject.write_text(content)
    sourced(google, file=str(subject))
    with pytest.raises(errors.Rejected, match="no subject token") as caught:
        provider.issue(google.wish(), None)
    assert f"{subject} must hold it" in caught.value.hint


@pytest.mark.parametrize(
    "source",
    [
        {"file": "/dev/null"},
        {"executable": {"command": "true", "output_file": "/dev/null"}},
        {"executable": {"command": "true", "output_file": "/"}},
    ],
)
def test_a_subject_token_is_read_from_a_file_only(
    google: World, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ALLOW_EXECUTABLES, "1")
    sourced(google, **source)
    assert "it is no regular file" in failed(google, errors.Rejected).message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nonsense", "is no object"),
        ({"certificate": CERTIFICATE}, "signs in with a certificate"),
        ({"certificate": {}}, "signs in with a certificate"),
        ({"certificate": {}, "file": "/a"}, "signs in with a certificate"),
        ({"file": "/a", "url": "https://b"}, "can't use these credentials"),
        ({"nothing": "known"}, "can't use these credentials"),
        ({"file": "/a", "format": {"type": "xml"}}, "can't use these credentials"),
        ({"executable": {"command": ""}}, "can't use these credentials"),
    ],
)
def test_a_description_that_cannot_be_followed_is_told(
    google: World, source: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ALLOW_EXECUTABLES, "1")
    google.rewrite("external-account", credential_source=source)
    assert words in failed(google, errors.Rejected).message


def test_a_workload_without_impersonation_gets_a_token_of_its_own(google: World) -> None:
    google.rewrite("external-account", service_account_impersonation_url=None)
    provider = google.provider("external-account")
    assert google.accepts(provider.issue(google.wish(), None).secret)
    assert google.asked()[0] == "ExchangeToken"
    assert provider.lookup().principal is None


def test_a_life_that_the_file_asks_for_is_had(google: World) -> None:
    google.rewrite(
        "external-account", service_account_impersonation={"token_lifetime_seconds": 1800}
    )
    issued = google.provider("external-account").issue(google.wish(), None)
    assert issued.expires_at
    assert 1790 < (issued.expires_at - google.clock.now()).total_seconds() <= 1800


def test_a_life_that_no_clock_counts_is_a_mistake_of_the_file(google: World) -> None:
    google.rewrite(
        "external-account", service_account_impersonation={"token_lifetime_seconds": 10**400}
    )
    assert "can't use these credentials" in failed(google, errors.Rejected).message


# From an address.


@pytest.mark.parametrize("as_json", [False, True])
def test_a_subject_token_may_be_fetched(google: World, as_json: bool) -> None:
    subject = subject_of(google)
    answer = json.dumps({"access_token": subject}) if as_json else subject
    cloud = Cloud({"GET /identity": text(answer)})
    with cloud.serve() as url:
        more = {"format": {"type": "json", "subject_token_field_name": "access_token"}}
        sourced(
            google,
            url=f"{url}/identity?resource=x",
            headers={"Metadata": "true"},
            **(more if as_json else {}),
        )
        # No proxy stands between this machine and itself.
        provider = google.provider("external-account", network=Network("http://127.0.0.1:9"))
        assert google.accepts(provider.issue(google.wish(), None).secret)
    [asked] = cloud.seen
    assert asked.headers["metadata"] == "true"


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Reply(404, b"<html>"), errors.Rejected, "404"),
        (json_reply(401, {"error": "invalid_client"}), errors.Rejected, "401 invalid_client"),
        (json_reply(400, {"error": "x", "secret": "canary-x"}), errors.Rejected, "400"),
        (Reply(500), errors.RetryLater, "500"),
        (Reply(429, headers={"retry-after": "3"}), errors.RetryLater, "429"),
        (Reply(302, headers={"location": "http://127.0.0.1:9"}), errors.RetryLater, "302"),
        (Reply(200, b"<html>canary-x"), errors.RetryLater, "no subject token"),
        (Reply(200, b"{}"), errors.RetryLater, "no subject token"),
    ],
)
def test_an_issuer_of_subject_tokens_that_refuses_is_told(
    google: World, reply: Reply, kind: type[errors.ProviderFailed], words: str
) -> None:
    with Cloud({"GET /": lambda _: reply}).serve() as url:
        fields = {"type": "json", "subject_token_field_name": "access_token"}
        sourced(google, url=f"{url}/", format=fields)
        error = failed(google, kind)
    assert words in error.message
    assert getattr(error, "retry_after", None) == (3 if reply.status == 429 else None)


def test_a_subject_token_is_not_fetched_in_clear_from_afar(google: World) -> None:
    sourced(google, url="http://idp.example/token")
    assert "not fetched from idp.example" in failed(google, errors.Rejected).message


# From AWS.


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REGION", "DEFAULT_REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)


@contextmanager
def on_aws(google: World, **roles: Callable[[Request], Reply]) -> Iterator[Cloud]:
    """A machine there, and an exchange that takes what AWS signed."""
    keys = {"AccessKeyId": "AKIACANARY", "SecretAccessKey": "canary-aws", "Token": "canary-session"}

    def exchanged(request: Request) -> Reply:
        answer = {"access_token": "ya29.d.canary-aws", "expires_in": 3600, "token_type": "Bearer"}
        return json_reply(200, {**answer, "issued_token_type": ACCESS_TOKEN})

    cloud = Cloud(
        {
            "PUT /token": text("canary-imds"),
            "GET /zone": text("us-east-1b"),
            "GET /roles": text("robot"),
            "GET /roles/robot": lambda _: json_reply(200, keys),
            "POST /v1/token": exchanged,
            **{f"GET /{path}": answer for path, answer in roles.items()},
        }
    )
    with cloud.serve() as url:
        google.rewrite(
            "external-account",
            subject_token_type=AWS,
            service_account_impersonation_url=None,
            credential_source={
                "environment_id": "aws1",
                "region_url": f"{url}/zone",
                "url": f"{url}/roles",
                "imdsv2_session_token_url": f"{url}/token",
                "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=x",
            },
        )
        yield cloud


def _provider(google: World, cloud: Cloud) -> Any:
    return google.provider("external-account", endpoints=replace(google.endpoints, sts=cloud.url))


@pytest.mark.usefixtures("no_aws")
def test_a_machine_on_aws_signs_for_itself(google: World) -> None:
    with on_aws(google) as cloud:
        issued = _provider(google, cloud).issue(google.wish(), None)
        assert issued.secret.reveal() == "ya29.d.canary-aws"
        exchange = cloud.seen[-1]
        signed = unquote(unquote(exchange.body.decode()))
        assert "https://sts.us-east-1.amazonaws.com?Action=x" in signed
        assert "x-goog-cloud-target-resource" in signed
        roles = [each for each in cloud.seen if each.path == "/roles/robot"]
        assert [each.headers["x-aws-ec2-metadata-token"] for each in roles] == ["canary-imds"]


@pytest.mark.usefixtures("no_aws")
def test_variables_of_aws_are_used_as_everywhere(
    google: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACANARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-aws")
    with on_aws(google) as cloud:
        _provider(google, cloud).issue(google.wish(), None)
        assert [each.path for each in cloud.seen] == ["/v1/token"]


@pytest.mark.usefixtures("no_aws")
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Reply(404), errors.Rejected),
        (Reply(503), errors.RetryLater),
        (Reply(200, b"<html>canary-x"), errors.RetryLater),
        (Reply(200, b"[]"), errors.RetryLater),
    ],
)
def test_a_machine_on_aws_without_a_role_is_told(
    google: World, answer: Reply, kind: type[errors.ProviderFailed]
) -> None:
    with (
        on_aws(google, **{"roles/robot": lambda _: answer}) as cloud,
        pytest.raises(kind) as caught,
    ):
        _provider(google, cloud).issue(google.wish(), None)
    google.check_fit_to_travel(caught.value)


@pytest.mark.usefixtures("no_aws")
def test_aws_without_a_region_is_told(google: World) -> None:
    google.rewrite(
        "external-account",
        subject_token_type=AWS,
        credential_source={"environment_id": "aws1", "regional_cred_verification_url": "https://x"},
    )
    assert "AWS_REGION" in failed(google, errors.Rejected).hint


# From a program.


def program(google: World, code: str, **more: Any) -> None:
    script = google.folder / "program.py"
    script.write_text(code)
    sourced(google, executable={"command": f"{sys.executable} -I {script}", **more})


def prints(answer: dict[str, Any]) -> str:
    return f"print({json.dumps(answer)!r})"


def said(google: World, **changes: Any) -> dict[str, Any]:
    token = {"token_type": JWT, "id_token": subject_of(google), "expiration_time": 4102444800}
    return {"version": 1, "success": True, **token, **changes}


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_EXECUTABLES, "1")


@pytest.mark.usefixtures("allowed")
def test_a_program_that_is_allowed_brings_the_subject_token(google: World) -> None:
    program(google, prints(said(google)))
    provider = google.provider("external-account")
    assert google.accepts(provider.issue(google.wish(), None).secret)


@pytest.mark.parametrize("value", [None, "0", "true", ""])
def test_a_program_that_nobody_allowed_is_not_run(
    google: World, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ALLOW_EXECUTABLES, raising=False)
    if value is not None:
        monkeypatch.setenv(ALLOW_EXECUTABLES, value)
    trace = google.folder / "ran"
    program(google, f"open({str(trace)!r}, 'w')")
    error = failed(google, errors.Rejected)
    assert f"{ALLOW_EXECUTABLES}=1" in error.hint
    assert not trace.exists()


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(
    "code",
    [
        "print('canary-x'); raise SystemExit(3)",
        "print('canary-x')",
        "",
        prints({"version": 1, "success": False, "code": "7", "message": "canary-x"}),
        prints({"version": 1}),
        prints({"success": True}),
        prints({"version": 9, "success": True}),
        prints({"version": 1, "success": True, "token_type": "other"}),
        prints({"version": 1, "success": True, "token_type": JWT, "expiration_time": 1}),
    ],
)
def test_a_program_that_fails_is_told_without_its_words(google: World, code: str) -> None:
    program(google, code)
    error = failed(google, errors.RetryLater)
    assert "no subject token" in error.message
    assert "run its program by hand" in error.hint


@pytest.mark.usefixtures("allowed")
def test_a_program_that_is_not_there_is_told(google: World) -> None:
    sourced(google, executable={"command": "/nowhere/program"})
    assert "is its program there" in failed(google, errors.Rejected).hint


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(
    ("given", "seconds"), [(None, 30.0), (5000, 5.0), (120_000, 120.0), (5500.5, 5.5005), (0, 30.0)]
)
def test_a_program_gets_the_time_that_its_file_gives_it(
    google: World, given: Any, seconds: float, tmp_path: Path
) -> None:
    program(google, "", timeout_millis=given)
    assert google.provider("external-account")._tokens._source.patience == seconds
    sourced(google, file="x")
    assert google.provider("external-account")._tokens._source.patience == 0


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(
    "given", [4999, 120_001, 10**30, 10**400, float("inf"), float("nan"), -1, True, "5000", [5000]]
)
def test_a_time_that_no_program_gets_is_named(google: World, given: Any) -> None:
    program(google, prints(said(google)), timeout_millis=given)
    error = failed(google, errors.Rejected)
    assert "timeout_millis in" in error.message
    assert "from 5000 to 120000" in error.hint
