"""Vertex AI's OpenAI-compatible chat completions, as far as a bearer token is concerned.

Checks the token, its scope, the principal's permission and the project; then answers with a fixed
word. Every call is counted by the SHA-256 of the token that came with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from keyman.sandbox import jwt
from keyman.sandbox.completions import complete
from keyman.sandbox.google_accounts import CLOUD, Accounts
from keyman.sandbox.google_behaviour import GoogleBehaviour
from keyman.sandbox.google_errors import BAD_TOKEN, permission_denied
from keyman.sandbox.google_tokens import Token, Tokens
from keyman.sandbox.keys import sha256
from keyman.sandbox.sandboxed import Call
from keyman.sandbox.server import Json, RefusedError, Reply, Request
from keyman.sandbox.witness import Tally

SERVICE = "aiplatform.googleapis.com"
METHOD = "google.cloud.aiplatform.v1.PredictionService.ChatCompletions"
CHAT = re.compile(
    r"/v1(?:beta1)?/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)"
    r"/endpoints/(?P<endpoint>[^/]+)/chat/completions"
)
_FIRST_PARTY = "https://www.googleapis.com/auth/cloud-vertex-ai.firstparty.predict"
_SCOPES = {CLOUD, f"{CLOUD}.read-only", _FIRST_PARTY}
_PREDICT = "aiplatform.endpoints.predict"
_QUOTA_PROJECT = (
    "Your application is authenticating by using local Application Default Credentials. The "
    "aiplatform.googleapis.com API requires a quota project, which is not set by default."
)


class Vertex:
    """Answers chat completions; the caller holds the sandbox's lock."""

    def __init__(
        self,
        accounts: Accounts,
        tokens: Tokens,
        tally: Tally,
        signed_now: Callable[[], datetime],
        behaviour: Callable[[], GoogleBehaviour],
        project: str,
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._tally = tally
        self._signed_now = signed_now
        self._behaviour = behaviour
        self._project = project

    def chat(self, request: Request, call: Call) -> Reply:
        """POST …/chat/completions."""
        match = CHAT.fullmatch(request.path)
        assert match is not None
        _, _, value = request.headers.get("authorization", "").partition(" ")
        try:
            call.actor = self._principal(request, value.strip())
            self._check_permission(call.actor, match["project"], request.path)
        except RefusedError:
            self._count(value, call, accepted=False)
            raise
        self._count(value, call, accepted=True)
        return complete("ChatCompletions", _checked(request, match["endpoint"]))

    def _count(self, value: str, call: Call, *, accepted: bool) -> None:
        at = datetime.fromtimestamp(call.at, UTC)
        self._tally.add(sha256(value.strip()), at, accepted=accepted)

    def _principal(self, request: Request, value: str) -> str:
        rules = self._behaviour()
        if rules.vertex_takes_self_signed and value.count(".") == 2:
            signer = self._self_signed(value)
            if signer is not None:
                return signer
        token = self._tokens.bearer(request, rules.revoked_token_reason)
        if rules.disabled_kills_tokens and self._accounts.disabled(token.principal):
            raise RefusedError(401, rules.revoked_token_reason, BAD_TOKEN)
        if not _SCOPES & set(token.scopes):
            text = "Request had insufficient authentication scopes."
            raise RefusedError(403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", text)
        self._check_quota_project(token, request)
        return token.principal

    def _check_quota_project(self, token: Token, request: Request) -> None:
        needed = self._behaviour().user_needs_quota_project and token.kind == "person"
        if needed and "x-goog-user-project" not in request.headers:
            raise RefusedError(403, "USER_PROJECT_DENIED", _QUOTA_PROJECT)

    def _self_signed(self, value: str) -> str | None:
        """The account that signed a token for itself, if it did and may."""
        try:
            parsed = jwt.parse(value)
        except ValueError:
            return None
        claims, now = parsed.claims, self._signed_now().timestamp()
        key = self._accounts.keys.get(str(parsed.head.get("kid")))
        if key is None or claims.get("iss") != key.email or claims.get("sub") != key.email:
            return None
        if not float(claims.get("iat", now)) - 300 <= now < float(claims.get("exp", 0)):
            raise RefusedError(401, "ACCESS_TOKEN_EXPIRED", BAD_TOKEN)
        return key.email if parsed.signed_by(key.public) else None

    def _check_permission(self, principal: str, project: str, path: str) -> None:
        if project != self._project or not self._accounts.may_predict(principal):
            resource = path.removesuffix("/chat/completions").partition("/projects/")[2]
            raise permission_denied(_PREDICT, f"//{SERVICE}/projects/{resource}")


def _checked(request: Request, endpoint: str) -> Json:
    body = request.json()
    model = body.get("model")
    if endpoint == "openapi" and (not isinstance(model, str) or "/" not in model):
        text = f"Malformed publisher model (model: '{model}')."
        raise RefusedError(400, "InvalidArgument", text)
    if not body.get("messages"):
        raise RefusedError(400, "InvalidArgument", "messages is required.")
    return {"model": endpoint, **body}
