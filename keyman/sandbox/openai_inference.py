"""Inference behind a key: /v1/models, chat completions and responses.

Decides whether a key is taken now (propagation, expiry, deletion, scopes, access, quota), counts
it by SHA-256, and answers in the shapes the openai client reads. There is no model behind it.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from keyman.sandbox.completions import complete
from keyman.sandbox.keys import sha256
from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from keyman.sandbox.openai_errors import (
    OpenAIRefusedError,
    invalid,
    missing_scope,
    no_key,
    not_found,
    wrong_key,
)
from keyman.sandbox.openai_org import ADMIN, Key, Organization
from keyman.sandbox.sandboxed import Call
from keyman.sandbox.server import Json, RefusedError, Reply, Request, json_reply
from keyman.sandbox.witness import Tally

MODELS = ("gpt-5", "gpt-5-mini", "text-embedding-3-small")
# Any of them will do; a refusal names the first.
_SCOPES = {
    "ListModels": ("api.model.read", "api.all.read", "api.all"),
    "GetModel": ("api.model.read", "api.all.read", "api.all"),
    "ChatCompletions": ("api.model.request", "model.request", "api.all"),
    "Responses": ("api.responses.write", "api.model.request", "api.all"),
}


def route(request: Request) -> str | None:
    known = {
        ("GET", "/v1/models"): "ListModels",
        ("POST", "/v1/chat/completions"): "ChatCompletions",
        ("POST", "/v1/responses"): "Responses",
    }
    if request.method == "GET" and request.path.startswith("/v1/models/"):
        return "GetModel"
    return known.get((request.method, request.path))


class Inference:
    """Answers inference calls; the caller holds the sandbox's lock."""

    def __init__(
        self,
        org: Organization,
        tally: Tally,
        dice: random.Random,
        behaviour: Callable[[], OpenAIBehaviour],
        org_id: str,
    ) -> None:
        self._org = org
        self._tally = tally
        self._dice = dice
        self._behaviour = behaviour
        self._org_id = org_id

    def answer(self, request: Request, call: Call) -> Reply:
        self._authenticate(request, call)
        if call.operation == "ListModels":
            return json_reply(200, {"object": "list", "data": [_model(id) for id in MODELS]})
        if call.operation == "GetModel":
            wanted = request.path.removeprefix("/v1/models/")
            if wanted not in MODELS:
                raise not_found("model", wanted)
            return json_reply(200, _model(wanted))
        if self._org.quota_exhausted:
            text = "You exceeded your current quota, please check your plan and billing details."
            raise OpenAIRefusedError(429, "insufficient_quota", text)
        return complete(call.operation, _checked(call.operation, request))

    def settled(self, key: Key) -> bool:
        """Whether every node takes this key now; asking leaves no trace."""
        return self._denial(key, None) is None

    def _authenticate(self, request: Request, call: Call) -> None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        digest, now = sha256(value.strip()), self._org.now()
        key = self._org.by_secret(digest) if scheme.lower() == "bearer" else None
        call.actor = key.id if key else ""
        denial = self._refusal(key, value.strip(), request, call.operation)
        self._tally.add(digest, now, accepted=denial is None)
        if key is not None and (denial is None or self._behaviour().failures_count_as_use):
            key.used(now)
        if denial is not None:
            raise denial

    def _refusal(
        self, key: Key | None, value: str, request: Request, operation: str
    ) -> RefusedError | None:
        if not value:
            return no_key()
        if key is None:
            shown = (
                f"{value[:8]}****{value[-4:]}" if self._behaviour().unknown_key_shown else "****"
            )
            return wrong_key(shown)
        nodes = self._dice if self._behaviour().nodes_disagree else None
        denial = self._denial(key, nodes) or self._misdirected(key, request)
        if denial is None and key.scopes and not set(_SCOPES[operation]) & set(key.scopes):
            return missing_scope(403, _SCOPES[operation][0])
        return denial

    def _denial(self, key: Key, nodes: random.Random | None) -> RefusedError | None:
        """Whatever is wrong with a key in itself."""
        rules, now = self._behaviour(), self._org.now()
        if key.project == ADMIN:
            return missing_scope(rules.wrong_kind_status, "api.model.read")
        if not key.acceptance.asked(now, nodes):
            return wrong_key(key.redacted)
        if key.expired(now, rules.expired_key_lingers):
            denial = wrong_key(key.redacted)
            denial.code = rules.expired_key_code
            return denial
        if not key.owner.has_access or key.project not in self._org.projects:
            text = "The owner of this API key has no access to its project."
            return OpenAIRefusedError(rules.no_access_status, "no_project_access", text)
        return None

    def _misdirected(self, key: Key, request: Request) -> RefusedError | None:
        """A request may name the organisation and project it is meant for."""
        meant = {"organization": self._org_id, "project": key.project}
        for what, id in meant.items():
            if request.headers.get(f"openai-{what}", id) != id:
                text = f"OpenAI-{what.title()} header should match {what} for API key."
                return OpenAIRefusedError(401, f"mismatched_{what}", text)
        return None


def _model(id: str) -> Json:
    return {"id": id, "object": "model", "created": 1700000000, "owned_by": "system"}


def _checked(operation: str, request: Request) -> Json:
    body = request.json()
    needed = "messages" if operation == "ChatCompletions" else "input"
    for name in ("model", needed):
        if not body.get(name):
            raise invalid(f"Missing required parameter: '{name}'.", name)
    if body["model"] not in MODELS:
        text = f"The model `{body['model']}` does not exist or you do not have access to it."
        raise OpenAIRefusedError(404, "model_not_found", text)
    return body
