"""What goes wrong on the way to a token, and what keyman makes of it; on every hop of each kind."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import google.auth.exceptions
import pytest

from keyman import errors
from keyman.sandbox.faults import Fault
from keyman.sandbox.google_behaviour import GoogleBehaviour
from keyman.sandbox.google_files import PERSON, SERVICE, TARGET
from keyman.vendors.google import _outcome
from keyman.vendors.google_outcomes import Answer, meaning
from keyman.vendors.google_refusals import Asked, Hop
from tests.providers.google_world import HOPS, World, world

ON_THE_WAY = [
    # Two kinds in two hops: who has little time hears of each kind once.
    pytest.param(kind, hop, marks=pytest.mark.slow if kind == "impersonate" else [])
    for kind, hops in HOPS.items()
    for hop in hops
    if kind != "adc"
]
GOOGLES = [way for way in ON_THE_WAY if way.values[0] != "metadata"]
IAM = [way for way in ON_THE_WAY if way.values[1] == "GenerateAccessToken"]
_T = '"access_token": "ya29.canary", "accessToken": "ya29.canary"'
GARBAGE = (
    *("{}", "null", "[]", '"yes"', "<html>", "\xff", "9" * 5000, "[" * 5000, "[{}, {}]"),
    *(
        '{"access_token": "", "accessToken": "", "expires_in": 3600}',
        '{"access_token": 7, "accessToken": 7, "expires_in": 3600}',
        '{"access_token": "two words", "accessToken": "two words", "expires_in": 3600}',
        '{"access_token": "ya29.canary\\n", "accessToken": "ya29.canary\\n", "expires_in": 3600}',
        f"{{{_T}}}",
        f'{{{_T}, "expires_in": 0, "expireTime": "x"}}',
        f'{{{_T}, "expires_in": -5, "expireTime": 5}}',
        f'{{{_T}, "expires_in": 1e99}}',
        f'{{{_T}, "expires_in": NaN}}',
        f'{{{_T}, "expires_in": true}}',
        f'{{{_T}, "expires_in": "soon", "expireTime": "2001-01-01T00:00:00Z"}}',
    ),
    '{"error": "invalid_grant"}',
)
LATER: list[Fault] = [
    Fault("lost_before"),
    Fault("lost_after"),
    Fault("truncated"),
    Fault("throttle", retry_after=7),
    Fault("throttle"),
    Fault("incorrect_state"),
    *[Fault("status", status=status) for status in (408, 500, 501, 502, 503, 504)],
    Fault("status", status=503, retry_after=9),
    Fault("status", status=500, done=True),
    *[Fault("html", status=status) for status in (500, 502, 503)],
]


def named(value: object) -> str:
    if isinstance(value, Fault):
        return f"{value.effect}-{value.status or value.body[:60]}{'-done' if value.done else ''}"
    return "-".join(value) if isinstance(value, tuple) else str(value)


def suffered(google: World, kind: str, hop: str, fault: Fault) -> errors.ProviderFailed:
    """The error that comes of it, after a look at how it travels and that it was no more than one
    request; then all is well again.
    """
    provider, wish = google.provider(kind), google.wish()
    google.sandbox.faults.add(replace(fault, operation=hop))
    with pytest.raises(errors.ProviderFailed) as caught:
        provider.issue(wish, None)
    assert len(google.sandbox.calls(hop)) == 1
    google.sandbox.faults.clear()
    google.check_fit_to_travel(caught.value)
    google.wait(3500)
    assert google.accepts(provider.issue(wish, None).secret)
    return caught.value


# Faults of lines and servers.


@pytest.mark.parametrize("fault", LATER, ids=named)
@pytest.mark.parametrize(("kind", "hop"), ON_THE_WAY)
def test_trouble_is_later(google: World, kind: str, hop: str, fault: Fault) -> None:
    error = suffered(google, kind, hop, fault)
    assert isinstance(error, errors.RetryLater)
    if kind != "metadata":  # the sandbox's says nothing of that
        assert error.retry_after == fault.retry_after


@pytest.mark.parametrize("body", GARBAGE, ids=lambda body: body[:70])
@pytest.mark.parametrize(("kind", "hop"), GOOGLES)
def test_a_success_without_a_token_that_lives_is_none(
    google: World, kind: str, hop: str, body: str
) -> None:
    assert isinstance(suffered(google, kind, hop, Fault("garbage", body=body)), errors.RetryLater)


@pytest.mark.parametrize("status", [200, 203, 204, 302, 307, 400, 401, 403, 404, 407, 511])
@pytest.mark.parametrize(("kind", "hop"), GOOGLES)
def test_a_captive_portal_is_called_one(google: World, kind: str, hop: str, status: int) -> None:
    error = suffered(google, kind, hop, Fault("html", status=status))
    assert isinstance(error, errors.RetryLater)
    assert "somebody else" in error.message
    assert "captive portal" in error.message
    assert "sign in to the network" in error.hint
    assert "html" not in error.message


@pytest.mark.parametrize(
    "fault",
    [
        *[Fault("garbage", body=body) for body in GARBAGE if body.startswith('{"access')],
        Fault("html", status=403),
        Fault("html", status=404),
    ],
    ids=named,
)
def test_what_lacks_the_flavour_is_no_metadata_server(google: World, fault: Fault) -> None:
    error = suffered(google, "metadata", "MetadataToken", fault)
    assert isinstance(error, errors.Rejected)
    assert "Metadata-Flavor" in error.message
    assert "Google Cloud" in error.hint


@pytest.mark.parametrize("status", [200, 302, 511])
def test_a_portal_before_the_metadata_server_is_later(google: World, status: int) -> None:
    error = suffered(google, "metadata", "MetadataToken", Fault("html", status=status))
    assert isinstance(error, errors.RetryLater)


@pytest.mark.parametrize(("kind", "hop"), ON_THE_WAY)
def test_nobody_there_is_later(google: World, kind: str, hop: str) -> None:
    provider = google.provider(kind)
    google.sandbox.stop()
    with pytest.raises(errors.RetryLater, match="nobody answers there") as caught:
        provider.issue(google.wish(), None)
    google.check_fit_to_travel(caught.value)


@pytest.mark.parametrize(("kind", "hop"), ON_THE_WAY)
def test_a_slow_answer_is_an_answer(google: World, kind: str, hop: str) -> None:
    google.break_next("delay", hop, seconds_after=0.05)
    assert google.accepts(google.provider(kind).issue(google.wish(), None).secret)


@pytest.mark.parametrize("code", ["internal_failure", "server_error", "temporarily_unavailable"])
@pytest.mark.parametrize("status", [400, 500])
def test_google_in_trouble_may_say_so_with_any_status(
    google: World, code: str, status: int
) -> None:
    fault = Fault("status", status=status, body=json.dumps({"error": code}))
    error = suffered(google, "service-account", "AssertionToken", fault)
    assert isinstance(error, errors.RetryLater)


@pytest.mark.parametrize("said", ["Sun, 06 Nov 1994 08:49:37 GMT", "soon", "-3", "\u00b2"])
def test_a_retry_after_that_says_nothing_is_none(google: World, said: str) -> None:
    from keyman.vendors.google_outcomes import Answer

    headers = {"retry-after": said, "date": "nonsense"}
    assert Answer(503, headers, b"", google.clock.now()).retry_after is None


def test_a_retry_after_may_be_a_moment(google: World) -> None:
    from keyman.vendors.google_outcomes import Answer

    headers = {
        "retry-after": "Sun, 06 Nov 1994 08:50:37 GMT",
        "date": "Sun, 06 Nov 1994 08:49:37 GMT",
    }
    assert Answer(503, headers, b"", google.clock.now()).retry_after == 60


# Refusals that stay.


def refused(google: World, kind: str, hop: str, body: Any, status: int = 400) -> errors.Rejected:
    fault = Fault("status", status=status, body=json.dumps(body))
    error = suffered(google, kind, hop, fault)
    assert isinstance(error, errors.Rejected)
    return error


@pytest.mark.parametrize(
    ("kind", "error", "move"),
    [
        ("service-account", "invalid_grant", "keys list --iam-account=keyman@sandbox"),
        ("service-account", "invalid_scope", "compare `scopes`"),
        ("service-account", "unauthorized_client", "delegation"),
        ("service-account", "access_denied", "delegation"),
        ("authorized-user", "invalid_grant", "gcloud auth application-default login"),
        ("authorized-user", "invalid_rapt", "sign in again"),
        ("authorized-user", "invalid_scope", "gcloud auth application-default login"),
        ("authorized-user", "invalid_client", "OAuth client"),
        ("authorized-user", "unauthorized_client", "OAuth client"),
        ("external-account", "invalid_grant", "issuer and audience"),
        ("external-account", "invalid_target", "`audience`"),
        ("external-account", "invalid_request", "workload identity pool"),
        ("external-account", "unauthorized_client", "workload identity pool"),
    ],
)
@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_names_the_next_move(
    google: World, kind: str, error: str, move: str, status: int
) -> None:
    body = {"error": error, "error_description": "No."}
    said = refused(google, kind, HOPS[kind][0], body, status)
    assert f"{status} {error} (No)" in said.message
    assert move in said.hint


@pytest.mark.parametrize("subtype", ["invalid_rapt", "rapt_required"])
def test_a_session_that_is_over_needs_a_person(google: World, subtype: str) -> None:
    body = {"error": "invalid_grant", "error_subtype": subtype}
    said = refused(google, "authorized-user", "RefreshToken", body)
    assert subtype in said.message
    assert "`gcloud auth application-default login`" in said.hint
    assert "service account" in said.hint


def test_what_the_sandbox_says_of_a_session_is_understood(google: World) -> None:
    provider = google.provider("authorized-user")
    google.sandbox.person.require_reauth(PERSON)
    with pytest.raises(errors.Rejected, match="invalid_rapt"):
        provider.issue(google.wish(), None)
    google.sandbox.person.restore_person(PERSON)
    provider.issue(google.wish(), None)


def test_a_revoked_login_and_a_deleted_key_are_told(google: World) -> None:
    person = google.provider("authorized-user")
    google.sandbox.person.revoke_person(PERSON)
    with pytest.raises(errors.Rejected, match="expired or revoked"):
        person.issue(google.wish(), None)
    info = json.loads(google.files["service-account"].read_text())
    google.sandbox.person.delete_key(info["private_key_id"])
    with pytest.raises(errors.Rejected, match="Invalid JWT Signature") as caught:
        google.provider("service-account").issue(google.wish(), None)
    assert str(google.files["service-account"]) in caught.value.hint


@pytest.mark.parametrize("says", ["not found", "disabled"])
def test_a_disabled_account_is_told(says: str) -> None:
    with world(GoogleBehaviour(disabled_account_says=says)) as google:
        provider = google.provider("service-account")
        google.sandbox.person.disable_account(SERVICE)
        with pytest.raises(errors.Rejected, match=f"account {says}") as caught:
            provider.issue(google.wish(), None)
        assert f"is {SERVICE} enabled" in caught.value.hint


@pytest.mark.parametrize(("minutes", "side"), [(-10, "ahead of"), (90, "behind")])
def test_a_clock_that_is_off_is_named_with_both_times(
    google: World, minutes: int, side: str
) -> None:
    there = timedelta(minutes=minutes)
    google.sandbox.signed_shift += there
    google.wait(there.total_seconds())
    provider = google.provider()
    with pytest.raises(errors.Rejected, match="reasonable timeframe") as caught:
        provider.issue(google.wish(), None)
    here = google.clock.now()
    assert f"{here + there:it is %Y-%m-%dT%H:}" in caught.value.message
    assert f"and {here:%Y-%m-%dT%H:}" in caught.value.message
    seconds = int(caught.value.hint.split("it is ")[1].split(" s ")[0])
    assert abs(seconds - abs(there.total_seconds())) < 5
    assert side in caught.value.hint
    google.sandbox.signed_shift -= there
    google.wait(-there.total_seconds())
    provider.issue(google.wish(), None)


@pytest.mark.parametrize(
    ("ahead", "hint"),
    [
        (0, "both clocks agree"),
        (59, "both clocks agree"),
        (-59, "both clocks agree"),
        (61, "it is 61 s ahead of Google's"),
        (-61, "it is 61 s behind Google's"),
    ],
)
def test_clocks_that_agree_are_not_to_be_set(ahead: int, hint: str) -> None:
    there = datetime(2026, 11, 21, 3, tzinfo=UTC)
    said = {"error": "invalid_grant", "error_description": "… in a reasonable timeframe. Check …"}
    headers = {"date": "Sat, 21 Nov 2026 03:00:00 GMT"}
    here = there + timedelta(seconds=ahead)
    answer = Answer(400, headers, json.dumps(said).encode(), here)
    error = meaning(Asked(Hop.TOKEN, "service-account"), answer)
    assert isinstance(error, errors.Rejected)
    assert hint in error.hint


@pytest.mark.parametrize("seconds", [-1.0, -4000.0])
def test_a_subject_token_that_has_ended_is_told(google: World, seconds: float) -> None:
    file = google.folder / "external-account.subject"
    provider = google.provider("external-account")
    google.sandbox.files.subject_token(file, seconds=int(seconds))
    with pytest.raises(errors.Rejected, match="stale to sign-in") as caught:
        provider.issue(google.wish(), None)
    assert "has it ended" in caught.value.hint
    google.sandbox.files.subject_token(file)  # its writer runs again
    provider.issue(google.wish(), None)


# Impersonation.


def rpc(status: int, word: str, reason: str | None = None, message: str = "No.") -> dict[str, Any]:
    error: dict[str, Any] = {"code": status, "status": word, "message": message}
    if reason:
        error["details"] = [{"@type": "x"}, {"reason": reason, "metadata": {}}]
    return {"error": error}


@pytest.mark.parametrize("in_array", [False, True])
@pytest.mark.parametrize(
    ("word", "reason", "move"),
    [
        ("403 PERMISSION_DENIED", "IAM_PERMISSION_DENIED", "roles/iam.serviceAccountTokenCreator"),
        ("403 PERMISSION_DENIED", None, "roles/iam.serviceAccountTokenCreator"),
        ("403 PERMISSION_DENIED", "SERVICE_DISABLED", "iamcredentials.googleapis.com"),
        ("403 PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "lacks a scope"),
        ("404 NOT_FOUND", None, "is there a service account target@"),
        ("400 INVALID_ARGUMENT", None, "target, delegates"),
        ("401 UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED", "though it is new"),
    ],
)
@pytest.mark.parametrize(("kind", "hop"), IAM)
def test_a_refused_impersonation_names_the_next_move(
    google: World, kind: str, hop: str, word: str, reason: str | None, move: str, in_array: bool
) -> None:
    status = int(word[:3])
    body = rpc(status, word[4:], reason)
    said = refused(google, kind, hop, [body] if in_array else body, status)
    assert word in said.message
    assert move in said.hint


@pytest.mark.parametrize("word", ["FAILED_PRECONDITION", "ABORTED", "UNKNOWN", "NEW_WORD", ""])
def test_words_of_iam_that_need_not_stay_are_later(google: World, word: str) -> None:
    fault = Fault("status", status=400, body=json.dumps(rpc(400, word)))
    error = suffered(google, "impersonate", "GenerateAccessToken", fault)
    assert isinstance(error, errors.RetryLater)


def test_who_may_not_impersonate_is_told_the_role(google: World) -> None:
    source = google.source("impersonate")
    google.sandbox.person.stop_impersonating(SERVICE, TARGET)
    with pytest.raises(errors.Rejected, match="IAM_PERMISSION_DENIED") as caught:
        google.provider(source).issue(google.wish(), None)
    assert f"{SERVICE} needs roles/iam.serviceAccountTokenCreator on {TARGET}" in caught.value.hint


def test_a_life_that_is_too_long_names_the_constraint(google: World) -> None:
    source = replace(google.source("impersonate"), lifetime=timedelta(hours=2))
    with pytest.raises(errors.Rejected, match="INVALID_ARGUMENT") as caught:
        google.provider(source).issue(google.wish(), None)
    assert "iam.allowServiceAccountCredentialLifetimeExtension" in caught.value.hint
    assert TARGET in caught.value.hint
    google.sandbox.person.allow_long_lives(TARGET)
    google.provider(source).issue(google.wish(), None)


# The metadata server.


@pytest.mark.parametrize("disabled", [True, False])
def test_a_machine_without_a_service_account_is_told(disabled: bool) -> None:
    with world(metadata_account=SERVICE if disabled else None) as google:
        if disabled:
            google.sandbox.accounts.service(SERVICE).disabled = True
        with pytest.raises(errors.Rejected, match="403" if disabled else "404") as caught:
            google.provider("metadata").issue(google.wish(), None)
        assert "have a service account" in caught.value.hint


# Whatever else.


def _errors_of_google_auth() -> list[type[Exception]]:
    module = vars(google.auth.exceptions).values()
    return [each for each in module if isinstance(each, type) and issubclass(each, Exception)]


@pytest.mark.parametrize("kind", [*_errors_of_google_auth(), TypeError, KeyError, RuntimeError])
def test_every_error_of_google_auth_has_a_meaning(google: World, kind: type[Exception]) -> None:
    failure = kind("canary-secret ya29.canary")

    def act() -> None:
        raise failure

    error = _outcome(act)
    assert isinstance(error, errors.ProviderFailed)
    assert kind.__name__ in error.message
    google.check_fit_to_travel(error)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Invalid JWT Signature.", "Invalid JWT Signature"),
        ("Bad token ya29.c.short", "Bad token ···"),
        ("the assertion eyJabc.def.ghi is bad", "the assertion ··· is bad"),
        ("refresh 1//0abc", "refresh ···"),
        ("secret GOCSPX-abc", "secret ···"),
        ("a" * 24, "···"),
        ("not found for keyman@sandbox-project.iam.gserviceaccount.com", None),
        ("<html>page</html>", ""),
        ("x " * 500, None),
    ],
)
def test_words_of_google_are_repeated_without_what_may_be_secret(
    said: str, shown: str | None
) -> None:
    from keyman.vendors.google_refusals import shown as repeated

    assert len(repeated(said)) <= 200
    if shown is not None:
        assert repeated(said) == shown
    if "@" in said:
        assert said == repeated(said)


@pytest.mark.parametrize("kind", [kind for kind in HOPS if kind != "adc"])
def test_nothing_is_logged_or_printed_that_is_secret(
    google: World, kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    provider, wish = google.provider(kind), google.wish()
    echo = json.dumps({"error": "invalid_grant", "error_description": "it was ya29.canary-x"})
    for fault in (Fault("status", status=400, body=echo), Fault("garbage", body=echo)):
        google.sandbox.faults.add(replace(fault, operation=HOPS[kind][-1], count=1))
        with pytest.raises(errors.ProviderFailed) as caught:
            provider.issue(wish, None)
        google.check_fit_to_travel(caught.value)
    issued = provider.issue(wish, None)
    out = capfd.readouterr()
    texts = [caplog.text, out.out, out.err, repr(issued), str(issued), repr(vars(provider))]
    for secret in google.secret_texts:
        assert not [text for text in texts if secret in text]
    assert caplog.records
