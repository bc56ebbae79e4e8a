"""The control plane of OCI Generative AI over HTTP: eight operations on API keys.

Knows routes, preconditions, retry tokens, pages and the shape of errors. What an operation does is
in `cloud.py`, what a reply looks like in `wire.py`. The caller holds the sandbox's lock.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyman.sandbox import wire
from keyman.sandbox.cloud import Cloud
from keyman.sandbox.keys import ApiKey
from keyman.sandbox.replays import Replays
from keyman.sandbox.rules import Wanted, invalid, missing
from keyman.sandbox.server import Json, RefusedError, Reply, Request, json_reply
from keyman.sandbox.witness import Call

BASE = "/20231130"
DEFAULT_PAGE = 10
_PATH = re.compile(rf"{BASE}/apikeys(?:/(?P<key>[^/]+)(?:/actions/(?P<action>\w+))?)?")
_OPERATIONS = {
    ("POST", False, None): "CreateApiKey",
    ("GET", False, None): "ListApiKeys",
    ("GET", True, None): "GetApiKey",
    ("PUT", True, None): "UpdateApiKey",
    ("DELETE", True, None): "DeleteApiKey",
    ("POST", True, "renew"): "RenewApiKey",
    ("POST", True, "setstate"): "SetApiKeyState",
    ("POST", True, "changeCompartment"): "ChangeApiKeyCompartment",
}
_TAKE_RETRY_TOKEN = {"CreateApiKey", "RenewApiKey", "SetApiKeyState", "ChangeApiKeyCompartment"}
_ACTIONS = {"RenewApiKey", "SetApiKeyState", "ChangeApiKeyCompartment"}


@dataclass(frozen=True)
class Asked:
    """A request understood: the operation, on which key, by whom, and its line in the log."""

    operation: str
    key_id: str
    tenancy: str
    request: Request
    call: Call


def route(request: Request) -> tuple[str, str] | None:
    """The operation and key id a request names, if it is one of the control plane's."""
    match = _PATH.fullmatch(request.path)
    if match is None:
        return None
    shape = (request.method, match["key"] is not None, match["action"])
    operation = _OPERATIONS.get(shape)
    return None if operation is None else (operation, match["key"] or "")


class ControlPlane:
    """Answers requests that are known to come from `Asked.tenancy`."""

    def __init__(self, cloud: Cloud, replays: Replays) -> None:
        self._cloud = cloud
        self._replays = replays
        self._recent: deque[datetime] = deque()
        self._operations: dict[str, Callable[[Asked], Reply]] = {
            "CreateApiKey": self._create,
            "ListApiKeys": self._list,
            "GetApiKey": self._get,
            "UpdateApiKey": self._update,
            "DeleteApiKey": self._delete,
            "RenewApiKey": self._renew,
            "SetApiKeyState": self._set_state,
            "ChangeApiKeyCompartment": self._move,
        }

    def answer(self, asked: Asked) -> Reply:
        """Carry out one operation, or answer a replay of it."""
        self._throttle()
        act = self._operations[asked.operation]
        if asked.operation not in _TAKE_RETRY_TOKEN:
            return act(asked)
        rules = self._cloud.behaviour
        stored = self._replays.answer(asked.tenancy, asked.request, rules)
        if stored is not None:
            asked.call.replayed = True
            return stored
        try:
            reply = act(asked)
        except RefusedError as refusal:
            self._replays.remember_refusal(asked.tenancy, asked.request, refusal, rules)
            raise
        self._replays.remember(asked.tenancy, asked.request, reply)
        return reply

    def _create(self, asked: Asked) -> Reply:
        body = asked.request.json()
        name = wire.text_of(body, "displayName")
        compartment = wire.text_of(body, "compartmentId")
        details = body.get("keyDetails")
        if not isinstance(details, list):
            raise missing("keyDetails")
        wanted = [wire.read_wanted(each, self._cloud) for each in details]
        tags = wire.tags_of(body)
        key, secrets = self._cloud.create(asked.tenancy, compartment, name, wanted, tags)
        key.description = body.get("description")
        asked.call.key_id = key.id
        shown = wire.render_key(self._cloud, key, secrets)
        return json_reply(200, shown, self._etag_after_change(key))

    def _list(self, asked: Asked) -> Reply:
        query = asked.request.query
        found = self._cloud.read_all(asked.tenancy, wire.text_of(query, "compartmentId"))
        items = [wire.render_key(self._cloud, key) for key in found]
        for name in ("lifecycleState", "displayName", "id"):
            if name in query:
                items = [item for item in items if item[name] == query[name]]
        by = query.get("sortBy", "timeCreated")
        descending = query.get("sortOrder", "DESC" if by == "timeCreated" else "ASC") == "DESC"
        items.sort(key=lambda item: str(item.get(by, "")), reverse=descending)
        page, following = _page(items, query)
        return json_reply(200, {"items": page}, following)

    def _get(self, asked: Asked) -> Reply:
        key = self._cloud.read(asked.tenancy, asked.key_id)
        etag = {"etag": self._cloud.etag_of(key)} if self._cloud.behaviour.etag_on_get else {}
        return json_reply(200, wire.render_key(self._cloud, key), etag)

    def _update(self, asked: Asked) -> Reply:
        key = self._find(asked)
        body = asked.request.json()
        names = {n: body[n] for n in ("displayName", "description") if body.get(n) is not None}
        self._cloud.update(key, names, wire.tags_of(body))
        return self._changed(key)

    def _renew(self, asked: Asked) -> Reply:
        key = self._find(asked)
        body = asked.request.json()
        want: Wanted = wire.read_wanted(body.get("details"), self._cloud)
        before = {slot.name: slot.secret.sha256 for slot in key.slots}
        secret = self._cloud.renew(key, want, wire.tags_of(body))
        asked.call.secret_before = before[want.name]
        asked.call.secret_after = self._cloud.slot(key, want.name).secret.sha256
        return self._changed(key, {want.name: secret}, want.name)

    def _set_state(self, asked: Asked) -> Reply:
        key = self._find(asked)
        body = asked.request.json()
        name, state = wire.text_of(body, "keyName"), wire.text_of(body, "state")
        asked.call.secret_before = self._cloud.slot(key, name).secret.sha256
        self._cloud.set_state(key, name, state, wire.tags_of(body))
        return self._changed(key, None, name)

    def _move(self, asked: Asked) -> Reply:
        key = self._find(asked)
        self._cloud.move(key, wire.text_of(asked.request.json(), "compartmentId"))
        return Reply(self._cloud.behaviour.no_body_status, b"", self._etag_after_change(key))

    def _delete(self, asked: Asked) -> Reply:
        self._cloud.delete(self._find(asked))
        return Reply(self._cloud.behaviour.no_body_status)

    def _find(self, asked: Asked) -> ApiKey:
        """The key a change is meant for, if the caller's picture of it is up to date."""
        key = self._cloud.find(asked.tenancy, asked.key_id)
        wanted = asked.request.headers.get("if-match")
        rules = self._cloud.behaviour
        enforced = rules.if_match_on_actions or asked.operation not in _ACTIONS
        if enforced and wanted is not None and wanted not in {"*", self._cloud.etag_of(key)}:
            raise RefusedError(412, "NoEtagMatch", "The resource has changed meanwhile.")
        return key

    def _changed(
        self, key: ApiKey, secrets: dict[str, str] | None = None, touched: str | None = None
    ) -> Reply:
        shown = wire.render_key(self._cloud, key, secrets, touched)
        return json_reply(200, shown, self._etag_after_change(key))

    def _etag_after_change(self, key: ApiKey) -> dict[str, str]:
        return {"etag": self._cloud.etag_of(key)} if self._cloud.behaviour.etag_on_change else {}

    def _throttle(self) -> None:
        allowed = self._cloud.behaviour.calls_per_minute
        if allowed is None:
            return
        now = self._cloud.now()
        while self._recent and now - self._recent[0] > timedelta(minutes=1):
            self._recent.popleft()
        if len(self._recent) >= allowed:
            wait = {"retry-after": "1"}
            raise RefusedError(429, "TooManyRequests", "Too many requests.", wait)
        self._recent.append(now)


def _page(items: list[Json], query: dict[str, str]) -> tuple[list[Json], dict[str, str]]:
    """One page, and the header that leads to the next."""
    try:
        size = int(query.get("limit", DEFAULT_PAGE))
        start = int(json.loads(base64.urlsafe_b64decode(query["page"]))) if "page" in query else 0
    except ValueError as error:
        raise invalid("limit or page is not valid.") from error
    rest = start + size
    if rest >= len(items):
        return items[start:], {}
    token = base64.urlsafe_b64encode(json.dumps(rest).encode()).decode()
    return items[start:rest], {"opc-next-page": token}


def render_refusal(error: RefusedError, cloud: Cloud) -> Reply:
    """An error as OCI words it; some of its services put the status where the name belongs."""
    numbers = cloud.behaviour.error_codes == "numbers"
    code = str(error.status) if numbers else error.code
    return json_reply(error.status, {"code": code, "message": error.message}, error.headers)
