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
STANDS_IN = "roles/iam.workloadIdentityUser"
PAYS = "roles/serviceusage.serviceUsageConsumer"  # has serviceusage.services.use
_POOL = re.compile(
    r"//iam\.googleapis\.com/(projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+)/"
)
_UNKNOWN_POOL = "projects/PROJECT_NUMBER/locations/global/workloadIdentityPools/POOL_ID"
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
    impersonate it to do that. What nobody here knows stands there in CAPITALS; a file that can't
    be read is told in a comment.
    """
    source, project = options.source, options.project or "PROJECT_ID"
    said = [*_unread(source), _on_project(project, member(source), PREDICTS)]
    said += _federation(source.origin or source)
    if source.kind == "impersonate":
        said += _impersonation(source)
    said += _services(source)
    if source.kind == "impersonate" and source.lifetime > timedelta(seconds=HOUR):
        said.append(_long_lives(source))
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
    if kind == "external_account":
        return _pool_in(info)
    person = kind == "authorized_user" or source.kind == "authorized-user"
    return "user:EMAIL" if person else "serviceAccount:EMAIL"


def _pool_in(info: Info) -> str:
    """Everybody in the pool: which of its subjects keyman is, its issuer decides."""
    found = _POOL.match(str(info.get("audience")))
    pool = found[1] if found else _UNKNOWN_POOL
    return f"principalSet://iam.googleapis.com/{pool}/*"


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
    pairs = zip(callers, chain, strict=False)
    return [_on_account(account, caller, CREATOR) for caller, account in pairs]


def _federation(source: Settings) -> list[str]:
    """The pool must be allowed to stand in for the account that its file names."""
    info = _content(source)
    account = _account_in(info)
    if info.get("type") != "external_account" or account is None:
        return []
    return [_on_account(account, _pool_in(info), STANDS_IN)]


def _services(source: Settings) -> list[str]:
    """What must be enabled: who exchanges tokens, and who makes them for accounts."""
    info = _content(source.origin or source)
    federated = info.get("type") == "external_account"
    impersonates = source.kind == "impersonate" or (federated and _account_in(info))
    needed = ["iamcredentials.googleapis.com"] if impersonates else []
    needed += ["sts.googleapis.com"] if federated else []
    return [_command("services enable", *needed)] if needed else []


def _long_lives(source: Settings) -> str:
    return _command(
        f"resource-manager org-policies allow {LONG_LIVES.removeprefix('constraints/')}",
        shlex.quote(str(source.target)),
        "--organization=ORGANIZATION_ID",
    )


def _on_account(account: str, who: str, role: str) -> str:
    return _command(
        f"iam service-accounts add-iam-policy-binding {shlex.quote(account)}",
        f"--role={role}",
        f"--member={shlex.quote(who)}",
    )


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


def _unread(source: Settings) -> list[str]:
    """A comment, if whose file it is could not be found out."""
    try:
        _read(source.origin or source)
    except errors.Rejected as error:
        return [f"# fill in EMAIL: {' '.join(error.message.split())}"]
    return []


def _content(source: Settings) -> Info:
    """What the source's file says; nothing if there is none, or none that can be read."""
    try:
        return _read(source)
    except errors.Rejected:
        return {}


def _read(source: Settings) -> Info:
    path = adc_file() if source.kind == "adc" else source.file
    return CredentialsFile(Path(path)).read() if path else {}
