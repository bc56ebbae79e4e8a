"""What becomes of a request that carries an opc-retry-token seen before.

The documents promise a life of 24 hours for a token and say nothing of what a replay is answered;
all plausible readings are here, chosen by the `Behaviour`. Requests that succeeded are remembered;
one that was refused may simply be tried again, unless refusals are to be kept too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.server import Json, RefusedError, Reply, Request, json_reply


@dataclass(frozen=True)
class _Remembered:
    request: str
    reply: Reply
    at: datetime


class Replays:
    """The tokens seen, by tenancy."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._seen: dict[tuple[str, str], _Remembered] = {}
        self._refused: dict[tuple[str, str], RefusedError] = {}

    def answer(self, tenancy: str, request: Request, rules: Behaviour) -> Reply | None:
        """The answer to a replay; None means that the request is to be carried out."""
        named = (tenancy, request.headers.get("opc-retry-token", ""))
        if named in self._refused:
            raise self._refused[named]
        seen = self._seen.get(named)
        if seen is None or rules.retry_token == "ignored":
            return None
        if self._now() - seen.at > timedelta(seconds=rules.retry_token_life):
            return None
        if seen.request != _fingerprint(request):
            return _other_body(seen, rules)
        return _same_body(seen, rules)

    def remember(self, tenancy: str, request: Request, reply: Reply) -> None:
        token = request.headers.get("opc-retry-token")
        if token and reply.status < 300:
            kept = _Remembered(_fingerprint(request), reply, self._now())
            self._seen[(tenancy, token)] = kept

    def remember_refusal(
        self, tenancy: str, request: Request, refusal: RefusedError, rules: Behaviour
    ) -> None:
        token = request.headers.get("opc-retry-token")
        if token and rules.retry_token_keeps_refusals:
            self._refused[(tenancy, token)] = refusal


def _fingerprint(request: Request) -> str:
    # The meaning of the body counts: the same JSON in another order is the same request.
    body = json.dumps(request.json(), sort_keys=True)
    return hashlib.sha256(f"{request.method} {request.path} {body}".encode()).hexdigest()


def _same_body(seen: _Remembered, rules: Behaviour) -> Reply:
    match rules.retry_token:
        case "full":
            return seen.reply
        case "without_secret":
            return _without_secrets(seen.reply)
        case _:
            raise _used("The retry token was used before.")


def _other_body(seen: _Remembered, rules: Behaviour) -> Reply | None:
    match rules.retry_other_body:
        case "stored":
            return seen.reply
        case "executed":
            return None
        case "400":
            text = "The retry token belongs to another request."
            raise RefusedError(400, "InvalidParameter", text)
        case _:
            raise _used("The retry token belongs to another request.")


def _used(message: str) -> RefusedError:
    return RefusedError(409, "InvalidatedRetryToken", message)


def _without_secrets(reply: Reply) -> Reply:
    if not reply.body:
        return reply
    body: Json = json.loads(reply.body)
    items = [{n: v for n, v in item.items() if n != "key"} for item in body.get("keys", [])]
    return json_reply(reply.status, {**body, "keys": items}, reply.headers)
