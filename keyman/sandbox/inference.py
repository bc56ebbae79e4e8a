"""The inference side: chat completions and responses behind a Bearer secret.

Decides whether a secret is taken now (state, expiry, propagation, policy), counts it, and answers
in the shapes the openai client reads. There is no model behind it: it answers with a fixed word.
"""

from __future__ import annotations

import random

from keyman.sandbox.cloud import Cloud
from keyman.sandbox.completions import complete
from keyman.sandbox.keys import Issued, sha256
from keyman.sandbox.server import Json, RefusedError, Reply, Request, json_reply
from keyman.sandbox.witness import Tally

BASES = ("/20231130/actions/v1", "/openai/v1")
MODELS = ("cohere.", "google.", "meta.", "openai.", "sandbox.", "xai.")
_NOT_AUTHORIZED = "Authorization failed or requested resource not found."
_NOT_AUTHENTICATED = (
    "The required information to complete authentication was not provided or was incorrect."
)


def route(request: Request) -> str | None:
    """The operation a request names; only what OCI offers there, so no list of models."""
    for base in BASES:
        if request.path.startswith(base + "/"):
            rest = request.path.removeprefix(base)
            known = {"/chat/completions": "ChatCompletions", "/responses": "Responses"}
            return known.get(rest, "NoSuchPath") if request.method == "POST" else "NoSuchPath"
    return None


class Inference:
    """Answers inference calls; the caller holds the sandbox's lock."""

    def __init__(self, cloud: Cloud, tally: Tally, dice: random.Random) -> None:
        self._cloud = cloud
        self._tally = tally
        self._dice = dice

    def answer(self, operation: str, request: Request) -> Reply:
        if operation == "NoSuchPath":
            raise RefusedError(404, "404", "Not found.")
        if self._cloud.behaviour.authenticate_first:
            self._authenticate(request)
            return complete(operation, _checked(operation, request))
        body = _checked(operation, request)
        self._authenticate(request)
        return complete(operation, body)

    def settled(self, issued: Issued) -> bool:
        """Whether every node accepts this secret now; asking leaves no trace."""
        return self._denial(issued, None) is None

    def _authenticate(self, request: Request) -> None:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        digest, now = sha256(secret.strip()), self._cloud.now()
        issued = self._cloud.secrets.get(digest) if scheme.lower() == "bearer" else None
        denial = self._denial(issued, self._dice)
        self._tally.add(digest, now, accepted=denial is None)
        if issued is not None and (denial is None or self._cloud.behaviour.failures_count_as_use):
            issued.used(now)
        if denial is not None:
            raise denial

    def _denial(self, issued: Issued | None, dice: random.Random | None) -> RefusedError | None:
        unknown = RefusedError(401, "401", _NOT_AUTHENTICATED)
        rules, now = self._cloud.behaviour, self._cloud.now()
        nodes = dice if rules.nodes_disagree else None
        if issued is None or now >= issued.expires or not issued.acceptance.asked(now, nodes):
            return unknown
        if rules.policy_order and not issued.under_policy:
            return unknown
        if not self._cloud.policy_present:
            status = rules.policy_missing_status
            return RefusedError(status, str(status), _NOT_AUTHORIZED) if status != 401 else unknown
        return None


def render_refusal(error: RefusedError) -> Reply:
    """The inference side has been seen to put the status into `code`, as text."""
    return json_reply(error.status, {"code": error.code, "message": error.message})


def _checked(operation: str, request: Request) -> Json:
    try:
        body = request.json()
    except RefusedError as error:
        raise RefusedError(400, "400", error.message) from error
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RefusedError(400, "400", "model is missing.")
    if not body.get("messages" if operation == "ChatCompletions" else "input"):
        raise RefusedError(400, "400", "There is nothing to answer.")
    if not model.startswith(MODELS):
        raise RefusedError(404, "404", _NOT_AUTHORIZED)
    return body
