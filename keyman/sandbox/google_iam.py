"""sts.googleapis.com and iamcredentials.googleapis.com: federated tokens and impersonation.

A subject token is exchanged for a federated token if its pool's issuer signed it. Whoever holds a
token may make one for a service account that lists it as an impersonator, through delegates too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise

from keyman.sandbox import jwt
from keyman.sandbox.google_accounts import CLOUD, Accounts, Pool
from keyman.sandbox.google_errors import permission_denied
from keyman.sandbox.google_issuing import Issuing, whole_seconds
from keyman.sandbox.google_oauth2 import check_fields, form_of
from keyman.sandbox.google_tokens import HOUR
from keyman.sandbox.sandboxed import Call
from keyman.sandbox.server import Json, RefusedError, Reply, Request, json_reply

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT_TYPES = {"urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"}
IAM = "https://www.googleapis.com/auth/iam"
GENERATE = re.compile(r"/v1/projects/-/serviceAccounts/(?P<email>[^/:]+):generateAccessToken")
_LONGEST = 43200
_NEEDED = {"grant_type", "audience", "scope", "requested_token_type", "subject_token"}


class Iam:
    """Answers both services; the caller holds the sandbox's lock."""

    def __init__(
        self, accounts: Accounts, issuing: Issuing, signed_now: Callable[[], datetime]
    ) -> None:
        self._accounts = accounts
        self._issuing = issuing
        self._signed_now = signed_now

    def exchange(self, request: Request, call: Call) -> Reply:
        """POST /v1/token at sts."""
        form = form_of(request)
        check_fields(form, _NEEDED | {"subject_token_type"}, {"options"})
        if form["grant_type"] != EXCHANGE or form["requested_token_type"] != ACCESS_TOKEN:
            raise RefusedError(400, "unsupported_grant_type", "Only token exchange is done here.")
        if form["subject_token_type"] not in JWT_TYPES:
            raise RefusedError(400, "invalid_request", "Invalid subject_token_type.")
        scopes = tuple(form["scope"].split())
        if not scopes:
            raise RefusedError(400, "invalid_scope", "The scope parameter is empty.")
        call.actor = self._subject(form["audience"], form["subject_token"])
        more = {"issued_token_type": ACCESS_TOKEN}
        return self._issuing.answer(call, "federated", call.actor, scopes, **more)

    def _subject(self, audience: str, subject_token: str) -> str:
        """The principal that a subject token stands for."""
        pool = self._accounts.pools.get(audience)
        if pool is None:
            text = 'The target service indicated by the "audience" parameters is invalid.'
            raise RefusedError(400, "invalid_target", text)
        try:
            parsed = jwt.parse(subject_token)
        except ValueError as error:
            raise RefusedError(400, "invalid_request", "Unable to parse the ID Token.") from error
        self._check_subject(parsed, pool)
        return pool.principal(str(parsed.claims["sub"]))

    def _check_subject(self, parsed: jwt.Parsed, pool: Pool) -> None:
        claims = parsed.claims
        faults = {
            "Error connecting to the given credential's issuer.": claims.get("iss") != pool.issuer,
            "The audience in ID Token does not match the expected audience.": claims.get("aud")
            != pool.audience,
            "Invalid ID Token signature.": not parsed.signed_by(pool.public),
            "The ID Token has no subject.": not claims.get("sub"),
        }
        for text, so in faults.items():
            if so:
                raise RefusedError(400, "invalid_grant", text)
        end = claims.get("exp")
        if not isinstance(end, int) or end <= self._signed_now().timestamp():
            text = f"ID Token issued at {claims.get('iat')} is stale to sign-in."
            raise RefusedError(400, "invalid_grant", text)

    def generate(self, request: Request, call: Call) -> Reply:
        """POST …/serviceAccounts/{email}:generateAccessToken at iamcredentials."""
        match = GENERATE.fullmatch(request.path)
        assert match is not None
        call.target = match["email"]
        caller = self._issuing.tokens.bearer(request)
        call.actor = caller.principal
        if not {CLOUD, IAM} & set(caller.scopes):
            text = "Request had insufficient authentication scopes."
            raise RefusedError(403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", text)
        scopes, seconds, delegates = _read(request.json())
        self._check_chain([caller.principal, *delegates, call.target])
        self._check_life(call.target, seconds)
        value, token = self._issuing.mint(call, "service", call.target, scopes, seconds)
        told = {"accessToken": value, "expireTime": whole_seconds(token.expires)}
        return json_reply(200, told)

    def _check_chain(self, chain: list[str]) -> None:
        """Each must be an impersonator of the next one."""
        for caller, target in pairwise(chain):
            account = self._accounts.services.get(target)
            if account is None:
                text = f"Not found; Gaia id not found for email {target}"
                raise RefusedError(404, "NotFound", text)
            if account.disabled or caller not in account.impersonators:
                resource = f"projects/-/serviceAccounts/{target}"
                raise permission_denied("iam.serviceAccounts.getAccessToken", resource)

    def _check_life(self, email: str, seconds: float) -> None:
        allowed = _LONGEST if self._accounts.services[email].long_lived else HOUR
        if not 0 < seconds <= allowed:
            text = f"The access token lifetime cannot exceed {int(allowed)} seconds."
            raise _invalid(text)


def _read(body: Json) -> tuple[tuple[str, ...], float, list[str]]:
    """Scopes, seconds and delegates of a request."""
    foreign = set(body) - {"scope", "lifetime", "delegates"}
    if foreign:
        raise _invalid(f"Invalid JSON payload received. Unknown name: {min(foreign)}")
    scopes = body.get("scope")
    if not isinstance(scopes, list) or not scopes:
        raise _invalid("scope is required.")
    lifetime = body.get("lifetime") or "3600s"
    if not re.fullmatch(r"\d+s", str(lifetime)):
        raise _invalid("Invalid value at 'lifetime': it is a number of seconds, like 3600s.")
    delegates = body.get("delegates") or []
    prefix = "projects/-/serviceAccounts/"
    named = [str(each).removeprefix(prefix) for each in delegates]
    return tuple(map(str, scopes)), float(str(lifetime)[:-1]), named


def _invalid(text: str) -> RefusedError:
    return RefusedError(400, "InvalidArgument", text)
