"""A refusal on the way to a Google token: what was asked, what was said, and the next move.

Pure. Google refuses in two styles (`{"error": "invalid_grant", …}` where tokens are exchanged,
`{"error": {"status": "PERMISSION_DENIED", …}}` elsewhere); both are read into one `Refusal`. What
a service says is repeated only as far as it can't be a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

HOUR = 3600.0
CREATOR = "roles/iam.serviceAccountTokenCreator"
LONG_LIVES = "constraints/iam.allowServiceAccountCredentialLifetimeExtension"
SIGN_IN = "run `gcloud auth application-default login`; keyman takes up the new file by itself"
FINAL = {
    *("invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope", "invalid_rapt"),
    *("access_denied", "invalid_request", "invalid_target", "unsupported_grant_type"),
    *("admin_policy_enforced", "deleted_client", "disabled_client", "org_internal"),
    *("PERMISSION_DENIED", "NOT_FOUND", "INVALID_ARGUMENT", "UNAUTHENTICATED"),
}
_REAUTH = {"invalid_rapt", "rapt_required"}
_CODE = re.compile(r"[A-Za-z_]{1,60}")
_MAYBE_SECRET = re.compile(r"\S*(?:ya29\.|GOCSPX|eyJ|1//)\S*|(?<!\S)(?!\S+@)\S{24,}")


class Hop(StrEnum):
    """Whom is asked on the way to a token."""

    TOKEN = "Google's token endpoint"  # noqa: S105 (words)
    EXCHANGE = "Google's security token service"
    IMPERSONATE = "Google's IAM"
    METADATA = "the metadata server"
    SUBJECT = "whoever issues the subject token"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of whom, and on whose behalf."""

    hop: Hop
    kind: str  #: of the source, as the configuration calls it
    where: str = ""  #: the file that says who asks
    caller: str | None = None  #: the service account that asks, where that is known
    target: str | None = None  #: and the one that a token is asked for
    seconds: float = HOUR  #: how long it should live


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was said; empty where nothing could be read."""

    code: str = ""  #: invalid_grant, PERMISSION_DENIED
    reason: str = ""  #: invalid_rapt, IAM_PERMISSION_DENIED
    words: str = ""

    @property
    def final(self) -> bool:
        """Would asking again the same way be refused again?"""
        return self.code in FINAL

    @property
    def too_early_or_late(self) -> bool:
        """Is it the clock? Google says so in many words."""
        return self.code == "invalid_grant" and "reasonable timeframe" in self.words

    def __str__(self) -> str:
        named = " ".join(each for each in (self.code, self.reason) if each)
        return f"{named} ({shown(self.words)})" if shown(self.words) else named


def refusal(body: object) -> Refusal:
    """What a decoded body says; Vertex and its kin sometimes wrap it in an array of one."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return Refusal(_code(error.get("status")), _reason(error), _text(error.get("message")))
    if isinstance(body, dict) and isinstance(error, str):
        words = _text(body.get("error_description"))
        return Refusal(_code(error), _code(body.get("error_subtype")), words)
    return Refusal()


def shown(words: str) -> str:
    """Words of a service, shortened; nothing if they are a page rather than a sentence."""
    if "<" in words:
        return ""
    # Cut afterwards: what is left of a long word would look like none.
    return _MAYBE_SECRET.sub("···", " ".join(words.split()))[:200].rstrip(" .")


def next_move(asked: Asked, said: Refusal) -> str:
    """What a person can do about a refusal that is final."""
    if asked.hop is Hop.IMPERSONATE:
        return _about_impersonation(asked, said)
    if asked.hop is Hop.EXCHANGE:
        return _about_exchange(asked, said)
    if asked.hop is Hop.METADATA:
        return (
            "does this machine (or pod) have a service account, is that enabled, and does it"
            " allow these `scopes`?"
        )
    if asked.hop is Hop.SUBJECT:
        return f"compare credential_source in {asked.where} with what is running here"
    return (
        _about_key(asked, said) if asked.kind == "service-account" else _about_person(asked, said)
    )


def _about_key(asked: Asked, said: Refusal) -> str:
    if said.code == "invalid_scope":
        return "compare `scopes` with Google's list; one that is usual ends in /cloud-platform"
    if said.code in ("unauthorized_client", "access_denied"):
        return f"may {asked.caller} ask for these `scopes`? Domain-wide delegation must list them"
    return (
        f"is {asked.caller} enabled and the key in {asked.where} one of its keys? `gcloud iam"
        f" service-accounts keys list --iam-account={asked.caller}`; a new file there is taken up"
    )


def _about_person(asked: Asked, said: Refusal) -> str:
    if _REAUTH & {said.code, said.reason}:
        return (
            f"the organisation wants its people to sign in again: {SIGN_IN}, or use a service"
            " account, which is not asked to"
        )
    if said.code == "invalid_scope":
        return f"the login in {asked.where} was not for all `scopes`: {SIGN_IN}"
    if said.code in ("invalid_client", "unauthorized_client", "deleted_client", "disabled_client"):
        return f"the OAuth client in {asked.where} is not known or not allowed: {SIGN_IN}"
    return f"the login in {asked.where} was revoked or has ended: {SIGN_IN}"


def _about_exchange(asked: Asked, said: Refusal) -> str:
    if said.code == "invalid_target":
        return f"`audience` in {asked.where} names no provider of a workload identity pool"
    if said.code == "invalid_grant":
        return (
            "the subject token is not accepted: has it ended, and are its issuer and audience"
            f" those of the provider that `audience` in {asked.where} names?"
        )
    return f"compare {asked.where} with the provider of the workload identity pool, condition too"


def _about_impersonation(asked: Asked, said: Refusal) -> str:
    caller = asked.caller or "whoever asks"
    if said.reason == "SERVICE_DISABLED":
        return "run `gcloud services enable iamcredentials.googleapis.com` in the caller's project"
    if said.reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
        return (
            "the machine's own token lacks a scope: cloud-platform or iam is needed to impersonate"
        )
    if said.code == "INVALID_ARGUMENT" and asked.seconds > HOUR:
        return (
            f"a lifetime above 1 h must be allowed by {LONG_LIVES}, which lists {asked.target};"
            " else set `lifetime: 1h`"
        )
    if said.code == "INVALID_ARGUMENT":
        return "compare target, delegates, lifetime and `scopes` in the configuration"
    if said.code == "NOT_FOUND":
        return f"is there a service account {asked.target}? `gcloud iam service-accounts list`"
    if said.code == "UNAUTHENTICATED":
        return f"Google does not take the token of {caller}, though it is new: is it enabled?"
    return (
        f"{caller} needs {CREATOR} on {asked.target}: `gcloud iam service-accounts"
        f" add-iam-policy-binding {asked.target} --role={CREATOR} --member=…`; with delegates,"
        " each needs it on the next"
    )


def _reason(error: dict[str, Any]) -> str:
    details = error.get("details")
    each = details if isinstance(details, list) else []
    return next((_code(d["reason"]) for d in each if isinstance(d, dict) and "reason" in d), "")


def _code(value: object) -> str:
    return value if isinstance(value, str) and _CODE.fullmatch(value) else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
