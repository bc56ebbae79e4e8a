"""The Admin API: service accounts, their keys, and admin keys, as the openai client speaks it.

Nothing here is idempotent: asking twice for a key makes two. A key's value is in the reply that
announces it and nowhere else. The caller holds the sandbox's lock.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from keyman.sandbox.keys import sha256
from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from keyman.sandbox.openai_errors import (
    OpenAIRefusedError,
    invalid,
    missing_scope,
    no_key,
    wrong_key,
)
from keyman.sandbox.openai_org import ADMIN, Key, Organization, Owner
from keyman.sandbox.openai_wire import (
    one_of,
    page,
    render_account,
    render_admin_key,
    render_key,
    render_made,
    text_of,
    whole_body,
)
from keyman.sandbox.sandboxed import Call
from keyman.sandbox.server import Json, Reply, Request, json_reply

READ, WRITE = "api.management.read", "api.management.write"
_PROJECT = "/v1/organization/projects/(?P<project>[^/]+)"
_ROUTES = (
    ("POST", f"{_PROJECT}/service_accounts", "CreateServiceAccount"),
    ("GET", f"{_PROJECT}/service_accounts", "ListServiceAccounts"),
    ("GET", f"{_PROJECT}/service_accounts/(?P<id>[^/]+)", "GetServiceAccount"),
    ("POST", f"{_PROJECT}/service_accounts/(?P<id>[^/]+)", "UpdateServiceAccount"),
    ("DELETE", f"{_PROJECT}/service_accounts/(?P<id>[^/]+)", "DeleteServiceAccount"),
    ("POST", f"{_PROJECT}/service_accounts/(?P<id>[^/]+)/api_keys", "CreateApiKey"),
    ("GET", f"{_PROJECT}/api_keys", "ListApiKeys"),
    ("GET", f"{_PROJECT}/api_keys/(?P<id>[^/]+)", "GetApiKey"),
    ("POST", f"{_PROJECT}/api_keys/(?P<id>[^/]+)", "UpdateApiKey"),
    ("DELETE", f"{_PROJECT}/api_keys/(?P<id>[^/]+)", "DeleteApiKey"),
    ("POST", "/v1/organization/admin_api_keys", "CreateAdminApiKey"),
    ("GET", "/v1/organization/admin_api_keys", "ListAdminApiKeys"),
    ("GET", "/v1/organization/admin_api_keys/(?P<id>[^/]+)", "GetAdminApiKey"),
    ("DELETE", "/v1/organization/admin_api_keys/(?P<id>[^/]+)", "DeleteAdminApiKey"),
)
_COMPILED = tuple((method, re.compile(path), name) for method, path, name in _ROUTES)


def route(request: Request) -> tuple[str, dict[str, str]] | None:
    """The operation a request names, with the ids in its path."""
    for method, path, name in _COMPILED:
        match = path.fullmatch(request.path)
        if match is not None and request.method == method:
            return name, match.groupdict()
    return None


class AdminApi:
    """Answers the Admin API for one organisation."""

    def __init__(self, org: Organization, behaviour: Callable[[], OpenAIBehaviour]) -> None:
        self._org = org
        self._behaviour = behaviour
        self._recent: deque[datetime] = deque()
        self._operations: dict[str, Callable[[Request, str, str, Call], Reply]] = {
            "CreateServiceAccount": self._create_account,
            "ListServiceAccounts": self._list_accounts,
            "GetServiceAccount": self._get_account,
            "UpdateServiceAccount": self._update_account,
            "DeleteServiceAccount": self._delete_account,
            "CreateApiKey": self._create_key,
            "ListApiKeys": self._list_keys,
            "GetApiKey": self._get_key,
            "UpdateApiKey": self._update_key,
            "DeleteApiKey": self._delete_key,
            "CreateAdminApiKey": self._create_admin_key,
            "ListAdminApiKeys": self._list_admin_keys,
            "GetAdminApiKey": self._get_admin_key,
            "DeleteAdminApiKey": self._delete_admin_key,
        }

    def answer(self, request: Request, call: Call) -> Reply:
        found = route(request)
        assert found is not None
        operation, ids = found
        call.target = ids.get("id", "")
        self._authenticate(request, call)
        self._throttle()
        project = ids.get("project", ADMIN)
        if project != ADMIN:
            self._org.check_project(project)
        return self._operations[operation](request, project, ids.get("id", ""), call)

    def _authenticate(self, request: Request, call: Call) -> None:
        """An admin key that is accepted and may do this."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not value.strip():
            raise no_key()
        key, now = self._org.by_secret(sha256(value.strip())), self._org.now()
        if key is None or key.expired(now) or not key.acceptance.asked(now, None):
            raise wrong_key("sk-****")
        call.actor = key.id
        needed = READ if request.method == "GET" else WRITE
        if key.project != ADMIN:
            raise missing_scope(self._behaviour().wrong_kind_status, needed)
        if key.scopes and not {needed, WRITE} & set(key.scopes):
            raise missing_scope(403, needed)
        key.used(now)

    def _throttle(self) -> None:
        rules, now = self._behaviour(), self._org.now()
        if rules.admin_calls_per_minute is None:
            return
        while self._recent and now - self._recent[0] > timedelta(minutes=1):
            self._recent.popleft()
        if len(self._recent) >= rules.admin_calls_per_minute:
            text = "Rate limit reached for requests."
            wait = 1 if rules.retry_after else None
            raise OpenAIRefusedError(429, "rate_limit_exceeded", text, None, wait)
        self._recent.append(now)

    def _create_account(self, request: Request, project: str, _: str, call: Call) -> Reply:
        body = whole_body(request, "name", "expires_in_seconds", "create_service_account_only")
        name, bare = text_of(body, "name"), body.get("create_service_account_only")
        if bare and body.get("expires_in_seconds") is not None:
            raise invalid("There is no key that could expire.", "expires_in_seconds")
        expires = None if bare else self._org.check_life(body.get("expires_in_seconds"))
        role = "none" if bare else "member"
        owner = self._org.add_owner(project, "service_account", name, role)
        call.target = owner.id
        made = None if bare else self._made(project, owner, f"{name} key", expires, (), call)
        return json_reply(200, {**render_account(owner), "api_key": made})

    def _list_accounts(self, request: Request, project: str, _: str, call: Call) -> Reply:
        shown = [render_account(owner) for owner in self._org.accounts(project)]
        return json_reply(200, page(shown, request.query))

    def _get_account(self, request: Request, project: str, id: str, call: Call) -> Reply:
        return json_reply(200, render_account(self._org.account(project, id)))

    def _update_account(self, request: Request, project: str, id: str, call: Call) -> Reply:
        owner, body = self._org.account(project, id), whole_body(request, "name", "role")
        owner.name = body.get("name", owner.name)
        owner.role = one_of(body.get("role", owner.role), "role", ("member", "owner"))
        return json_reply(200, render_account(owner))

    def _delete_account(self, request: Request, project: str, id: str, call: Call) -> Reply:
        self._org.delete_owner(self._org.account(project, id))
        return json_reply(200, _deleted("organization.project.service_account.deleted", id))

    def _create_key(self, request: Request, project: str, id: str, call: Call) -> Reply:
        owner = self._org.account(project, id)
        body = whole_body(request, "name", "scopes", "expires_in_seconds")
        name = text_of(body, "name") if "name" in body else "Secret key"
        expires = self._org.check_life(body.get("expires_in_seconds"))
        scopes = _scopes(body)
        return json_reply(200, self._made(project, owner, name, expires, scopes, call))

    def _made(
        self,
        project: str,
        owner: Owner,
        name: str,
        expires: float | None,
        scopes: tuple[str, ...],
        call: Call,
    ) -> Json:
        value, key = self._org.make_key(project, owner, name, expires, scopes)
        call.secret, call.target = key.sha256, key.id
        return render_made(key, value)

    def _list_keys(self, request: Request, project: str, _: str, call: Call) -> Reply:
        rules, now = self._behaviour(), self._org.now()
        given = request.query.get("owner_project_access", rules.default_list)
        access = one_of(given, "owner_project_access", ("active", "inactive", "any"))
        keys = [key for key in self._listed(project) if access in {"any", _access(key)}]
        shown = [render_key(key, now, rules) for key in keys]
        return json_reply(200, page(shown, request.query))

    def _listed(self, project: str) -> list[Key]:
        """What a list shows, which may be a little behind."""
        rules, now = self._behaviour(), self._org.now()
        seen = now - timedelta(seconds=rules.list_lags)
        keys = [
            key
            for key in self._org.keys.values()
            if key.project == project
            and key.created <= seen
            and (key.deleted is None or key.deleted > seen)
            and (rules.expired_listed or not key.expired(now))
        ]
        return keys if rules.list_order == "oldest" else keys[::-1]

    def _get_key(self, request: Request, project: str, id: str, call: Call) -> Reply:
        return self._shown(self._org.find(project, id))

    def _update_key(self, request: Request, project: str, id: str, call: Call) -> Reply:
        key, now = self._org.find(project, id), self._org.now()
        body = whole_body(request, "scopes", "expires_in_seconds")
        if not body:
            raise invalid("At least one of expires_in_seconds and scopes is needed.")
        if key.expired(now):
            raise invalid("An expired API key cannot be updated.", None, "api_key_expired")
        if "expires_in_seconds" in body:
            key.expires = self._org.check_life(body["expires_in_seconds"])
        if "scopes" in body:
            key.scopes = _scopes(body)
        return self._shown(key)

    def _delete_key(self, request: Request, project: str, id: str, call: Call) -> Reply:
        self._org.delete(self._org.find(project, id))
        return json_reply(200, _deleted("organization.project.api_key.deleted", id))

    def _create_admin_key(self, request: Request, _: str, __: str, call: Call) -> Reply:
        body = whole_body(request, "name", "expires_in_seconds")
        name = text_of(body, "name")
        expires = self._org.check_life(body.get("expires_in_seconds"))
        owner = self._org.keys[call.actor].owner
        value, key = self._org.make_key(ADMIN, owner, name, expires)
        call.secret, call.target = key.sha256, key.id
        shown = render_admin_key(key, self._org.now(), self._behaviour())
        return json_reply(200, {**shown, "value": value})

    def _list_admin_keys(self, request: Request, project: str, _: str, call: Call) -> Reply:
        keys = sorted(self._listed(project), key=lambda key: key.created)
        if request.query.get("order", "asc") == "desc":
            keys.reverse()
        rules, now = self._behaviour(), self._org.now()
        shown = [render_admin_key(key, now, rules) for key in keys]
        return json_reply(200, page(shown, request.query))

    def _get_admin_key(self, request: Request, project: str, id: str, call: Call) -> Reply:
        key = self._org.find(project, id)
        return json_reply(200, render_admin_key(key, self._org.now(), self._behaviour()))

    def _delete_admin_key(self, request: Request, project: str, id: str, call: Call) -> Reply:
        self._org.delete(self._org.find(project, id))
        return json_reply(200, _deleted("organization.admin_api_key.deleted", id))

    def _shown(self, key: Key) -> Reply:
        return json_reply(200, render_key(key, self._org.now(), self._behaviour()))


def _access(key: Key) -> str:
    return "active" if key.owner.has_access else "inactive"


def _scopes(body: Json) -> tuple[str, ...]:
    given = body.get("scopes", [])
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise invalid("scopes must be an array of strings.", "scopes")
    return tuple(given)


def _deleted(kind: str, id: str) -> Json:
    return {"object": kind, "id": id, "deleted": True}
