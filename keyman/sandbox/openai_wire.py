"""The wire shapes of the Admin API: what replies look like, how requests and pages are read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from keyman.sandbox.openai_errors import invalid
from keyman.sandbox.openai_org import Key, Owner
from keyman.sandbox.server import Json, Request

_DEFAULT_PAGE = 20


def render_account(owner: Owner) -> Json:
    return {"object": "organization.project.service_account", **_owner(owner)}


def render_made(key: Key, value: str) -> Json:
    """The one reply that carries the value."""
    return {
        "object": "organization.project.service_account.api_key",
        "id": key.id,
        "name": key.name,
        "value": value,
        "created_at": int(key.created.timestamp()),
        "expires_at": _whole(key.expires),
    }


def render_key(key: Key, now: datetime, rules: OpenAIBehaviour) -> Json:
    return {
        "object": "organization.project.api_key",
        **_common(key, now, rules),
        "owner_project_access": "active" if key.owner.has_access else "inactive",
        "owner": {"type": key.owner.kind, key.owner.kind: _owner(key.owner)},
    }


def render_admin_key(key: Key, now: datetime, rules: OpenAIBehaviour) -> Json:
    owner = {**_owner(key.owner), "object": "organization.user", "type": "user", "role": "owner"}
    return {"object": "organization.admin_api_key", **_common(key, now, rules), "owner": owner}


def _common(key: Key, now: datetime, rules: OpenAIBehaviour) -> Json:
    return {
        "id": key.id,
        "name": key.name,
        "redacted_value": key.redacted,
        "created_at": int(key.created.timestamp()),
        "last_used_at": key.last_used(now, rules),
        "expires_at": _whole(key.expires),
    }


def _owner(owner: Owner) -> Json:
    told: Json = {"id": owner.id, "name": owner.name, "role": owner.role}
    told["created_at"] = owner.created
    return told | ({"email": f"{owner.id}@example.com"} if owner.kind == "user" else {})


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)


def page(items: list[Json], query: Mapping[str, str]) -> Json:
    """One page, from behind the id that `after` names."""
    try:
        limit = int(query.get("limit", _DEFAULT_PAGE))
    except ValueError as error:
        raise invalid("limit must be an integer.", "limit") from error
    if not 1 <= limit <= 100:
        raise invalid("limit must be between 1 and 100.", "limit")
    ids = [item["id"] for item in items]
    after = query.get("after")
    if after is not None and after not in ids:
        raise invalid(f"No object with id '{after}' to go on after.", "after")
    start = 0 if after is None else ids.index(after) + 1
    shown = items[start : start + limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": start + limit < len(items),
    }


def whole_body(request: Request, *allowed: str) -> Json:
    """The body; OpenAI refuses a parameter that it doesn't know. Nulls count as absent."""
    body = request.json() if request.body else {}
    foreign = set(body) - set(allowed)
    if foreign:
        name = min(foreign)
        raise invalid(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    return {name: value for name, value in body.items() if value is not None}


def text_of(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    return value


def one_of(value: object, name: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise invalid(f"Invalid value: '{value}'. Supported values are: {known}.", name)
    return str(value)
