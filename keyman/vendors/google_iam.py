"""Where Vertex AI is, and what IAM must allow, as commands to paste. Asks nobody.

Reads a credentials file, if there is one, for the name of the account that commands are about.
What comes from there is taken only if it looks as it should: it ends up in somebody's shell.
"""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from keyman import errors
from keyman.vendors.google_addresses import account_in, check_account
from keyman.vendors.google_files import CredentialsFile, Info, adc_file
from keyman.vendors.google_refusals import CREATOR, HOUR, LONG_LIVES
from keyman.vendors.google_sources import Settings

PREDICTS = "roles/aiplatform.user"
PAYS = "roles/serviceusage.serviceUsageConsumer"  # has serviceusage.services.use
_POOL = re.compile(
    r"//iam\.googleapis\.com/(projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+)/"
)
_PROJECT = re.compile(r"[a-z0-9.:-]{1,130}")


class Options(Protocol):
    """What the configuration says of a credential, as far as IAM is concerned."""

    @property
    def project(self) -> str | None: ...
    @property
    def source(self) -> Settings: ...
    @property
    def quota_project(self) -> str | None: ...


def base_url(project: str, location: str, endpoint_id: str = "openapi") -> str:
    """Where OpenAI clients go for a project, location and endpoint.

    `global` has a host without a region, `us` and `eu` have hosts of their own kind. An endpoint
    with a name of its own in DNS can't be derived: its address is configured as it is.
    """
    if location == "global":
        host = "aiplatform.googleapis.com"
    elif "-" in location:
        host = f"{location}-aiplatform.googleapis.com"
    else:
        host = f"aiplatform.{location}.rep.googleapis.com"
    return f"https://{host}/v1/projects/{project}/locations/{location}/endpoints/{endpoint_id}"


def policy_statements(options: Options) -> list[str]:
    """Commands of gcloud that allow the credential's principal to call models, and whoever is to
    impersonate it to do that. What nobody here knows stands there in CAPITALS.
    """
    source, project = options.source, options.project or "PROJECT_ID"
    said = [_on_project(project, member(source), PREDICTS)]
    if source.kind == "impersonate":
        said += _impersonation(source)
    payer = options.quota_project or _payer(source)
    return said + ([_on_project(payer, member(source), PAYS)] if payer else [])


def member(source: Settings) -> str:
    """The principal of a source, as IAM names it."""
    if source.kind == "impersonate":
        return f"serviceAccount:{source.target}"
    info = _content(source)
    kind = info.get("type")
    if account := _account_in(info):
        return f"serviceAccount:{account}"
    if kind == "external_account" and (pool := _POOL.match(str(info.get("audience")))):
        return f"principalSet://iam.googleapis.com/{pool[1]}/*"
    person = kind == "authorized_user" or source.kind == "authorized-user"
    return "user:EMAIL" if person else "serviceAccount:EMAIL"


def _account_in(info: Info) -> str | None:
    named = info.get("client_email") or account_in(info.get("service_account_impersonation_url"))
    try:
        return check_account(named)
    except errors.Rejected:
        return None


def _impersonation(source: Settings) -> list[str]:
    """Each of the chain must be allowed to make tokens for the next one."""
    assert source.origin, "somebody impersonates"
    chain = [*source.delegates, str(source.target)]
    callers = [member(source.origin), *(f"serviceAccount:{each}" for each in chain)]
    said = [
        _command(
            f"iam service-accounts add-iam-policy-binding {shlex.quote(account)}",
            f"--role={CREATOR}",
            f"--member={shlex.quote(caller)}",
        )
        for caller, account in zip(callers, chain, strict=False)
    ]
    said.append("gcloud services enable iamcredentials.googleapis.com")
    if source.lifetime > timedelta(seconds=HOUR):
        said.append(
            _command(
                f"resource-manager org-policies allow {LONG_LIVES.removeprefix('constraints/')}",
                shlex.quote(str(source.target)),
                "--organization=ORGANIZATION_ID",
            )
        )
    return said


def _on_project(project: str, who: str, role: str) -> str:
    return _command(
        f"projects add-iam-policy-binding {shlex.quote(project)}",
        f"--role={role}",
        f"--member={shlex.quote(who)}",
    )


def _command(*words: str) -> str:
    return " ".join(("gcloud", *words))


def _payer(source: Settings) -> str | None:
    found = _content(source).get("quota_project_id")
    return found if isinstance(found, str) and _PROJECT.fullmatch(found) else None


def _content(source: Settings) -> Info:
    """What the source's file says; nothing if there is none, or none that can be read."""
    try:
        path = adc_file() if source.kind == "adc" else source.file
        return CredentialsFile(Path(path)).read() if path else {}
    except errors.Rejected:
        return {}
