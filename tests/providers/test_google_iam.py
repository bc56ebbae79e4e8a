"""Addresses of Vertex AI, and the commands that make IAM allow what a credential needs."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from keyman.config.kinds.google import base_url as configured_base_url
from keyman.sandbox.google_files import SERVICE, TARGET
from keyman.vendors.google_iam import base_url, policy_statements
from tests.providers.google_world import Endpoints, Options, Source, World

MIDDLE = "middle@sandbox-project.iam.gserviceaccount.com"
CREATOR = "--role=roles/iam.serviceAccountTokenCreator"


def statements(source: Source, **changes: object) -> list[str]:
    options = Options(source, Endpoints(), "https://x")
    return policy_statements(replace(options, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("location", "endpoint", "host"),
    [
        ("us-central1", "openapi", "us-central1-aiplatform.googleapis.com"),
        ("global", "openapi", "aiplatform.googleapis.com"),
        ("europe-west4", "1234567890", "europe-west4-aiplatform.googleapis.com"),
        ("eu", "openapi", "aiplatform.eu.rep.googleapis.com"),
        ("us", "openapi", "aiplatform.us.rep.googleapis.com"),
    ],
)
def test_where_openai_clients_go(location: str, endpoint: str, host: str) -> None:
    address = f"https://{host}/v1/projects/p/locations/{location}/endpoints/{endpoint}"
    assert base_url("p", location, endpoint) == address
    assert configured_base_url("p", location, endpoint) == address


def test_a_service_account_needs_to_predict(google: World) -> None:
    [said] = statements(google.source("service-account"))
    assert said == (
        "gcloud projects add-iam-policy-binding sandbox-project --role=roles/aiplatform.user"
        f" --member=serviceAccount:{SERVICE}"
    )


def test_a_person_needs_a_project_that_pays(google: World) -> None:
    google.rewrite("authorized-user", quota_project_id="payer")
    said = statements(google.source("authorized-user"))
    assert said[-1] == (
        "gcloud projects add-iam-policy-binding payer"
        " --role=roles/serviceusage.serviceUsageConsumer --member=user:EMAIL"
    )
    assert "other" in statements(google.source("authorized-user"), quota_project="other")[-1]


def test_an_impersonation_needs_each_of_the_chain(google: World) -> None:
    source = replace(google.source("impersonate"), delegates=(MIDDLE,))
    said = statements(source)
    assert said[0].endswith(f"--role=roles/aiplatform.user --member=serviceAccount:{TARGET}")
    binding = "gcloud iam service-accounts add-iam-policy-binding"
    assert said[1:3] == [
        f"{binding} {MIDDLE} {CREATOR} --member=serviceAccount:{SERVICE}",
        f"{binding} {TARGET} {CREATOR} --member=serviceAccount:{MIDDLE}",
    ]
    assert said[3] == "gcloud services enable iamcredentials.googleapis.com"
    assert len(said) == 4
    longer = statements(replace(source, lifetime=timedelta(hours=2)))
    assert "allow iam.allowServiceAccountCredentialLifetimeExtension" in longer[-1]
    assert TARGET in longer[-1]


POOL = (
    "principalSet://iam.googleapis.com/projects/123456789012/locations/global"
    "/workloadIdentityPools/sandbox/*"
)


def test_a_workload_that_stands_in_for_an_account_must_be_allowed_to(google: World) -> None:
    predicts, bound, enabled = statements(google.source("external-account"))
    assert f"serviceAccount:{TARGET}" in predicts
    assert bound == (
        f"gcloud iam service-accounts add-iam-policy-binding {TARGET}"
        f" --role=roles/iam.workloadIdentityUser --member='{POOL}'"
    )
    assert enabled == "gcloud services enable iamcredentials.googleapis.com sts.googleapis.com"


def test_a_workload_without_an_account_is_named_by_its_pool(google: World) -> None:
    google.rewrite("external-account", service_account_impersonation_url=None)
    [predicts, enabled] = statements(google.source("external-account"))
    assert predicts.endswith(f"--role=roles/aiplatform.user --member='{POOL}'")
    assert enabled == "gcloud services enable sts.googleapis.com"
    google.rewrite("external-account", audience="//iam.googleapis.com/nonsense")
    assert "projects/PROJECT_NUMBER" in statements(google.source("external-account"))[0]


@pytest.mark.parametrize("stands_in", [True, False])
def test_a_workload_may_impersonate_as_well(google: World, *, stands_in: bool) -> None:
    if not stands_in:
        google.rewrite("external-account", service_account_impersonation_url=None)
    origin = google.source("external-account")
    said = statements(Source("impersonate", target=MIDDLE, origin=origin))
    assert f"--role=roles/aiplatform.user --member=serviceAccount:{MIDDLE}" in said[0]
    caller = f"serviceAccount:{TARGET}" if stands_in else f"'{POOL}'"
    assert any(f" {MIDDLE} {CREATOR} --member={caller}" in each for each in said)
    assert any("workloadIdentityUser" in each for each in said) is stands_in
    assert said[-1] == "gcloud services enable iamcredentials.googleapis.com sts.googleapis.com"


@pytest.mark.parametrize("project", [None, "mine"])
def test_what_nobody_here_knows_is_left_to_fill_in(project: str | None) -> None:
    [said] = statements(Source("metadata"), project=project)
    assert (project or "PROJECT_ID") in said
    assert "serviceAccount:EMAIL" in said


@pytest.mark.parametrize("impersonated", [False, True])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, *, impersonated: bool) -> None:
    path = tmp_path / "none\n; reboot"
    source = Source("service-account", path)
    if impersonated:
        source = Source("impersonate", target=TARGET, origin=source)
    comment, *said = statements(source)
    assert comment.startswith(f"# fill in EMAIL: {tmp_path}/none ; reboot can't be read: No such")
    assert len(comment.splitlines()) == 1
    assert not any(each.startswith("#") for each in said)
    assert any("serviceAccount:EMAIL" in each for each in said)


def test_default_credentials_are_looked_into(
    google: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google.files["service-account"]))
    assert SERVICE in statements(Source("adc"))[0]


@pytest.mark.parametrize(
    "hostile", ["a b;reboot", "$(reboot)", "`reboot`", "x\nreboot", "a'b", "\x1b[31m", "--flag=x"]
)
def test_what_a_file_says_can_do_nothing_in_a_shell(google: World, hostile: str) -> None:
    google.rewrite("service-account", client_email=hostile, quota_project_id=hostile)
    [said] = statements(google.source("service-account"))
    assert said.endswith("--member=serviceAccount:EMAIL")
    google.rewrite(
        "external-account",
        audience=f"//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/{hostile}/",
        service_account_impersonation_url=f"/serviceAccounts/{hostile}:generateAccessToken",
    )
    of_pool = statements(google.source("external-account"))
    assert not [each for each in of_pool if hostile in each]
    assert "/POOL_ID/*" in of_pool[0]


def test_what_the_configuration_says_is_quoted() -> None:
    said = statements(Source("impersonate", target="a b", origin=Source("adc")), project="p q")
    assert shlex.split(said[0])[3] == "p q"
    assert "--member=serviceAccount:a b" in shlex.split(said[0])
