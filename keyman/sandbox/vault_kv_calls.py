"""Calls of an engine of KV version 2: what they ask of it, and what is answered.

Knows no tokens, and who may make a call was decided before.
"""

from __future__ import annotations

from typing import TypeVar

from keyman.sandbox.server import Json, RefusedError, Request
from keyman.sandbox.vault_kv import KvEngine
from keyman.sandbox.vault_routes import Route

T = TypeVar("T")


def carried_out(engine: KvEngine, where: Route, request: Request) -> tuple[int, Json | None]:
    """The status, and the `data` of the envelope; nothing with 204."""
    path = where.rest
    match where.operation:
        case "ReadSecret":
            found, there = engine.read(path, _number(request.query.get("version") or 0))
            return (200 if there else 404), _had(found)
        case "WriteSecret":
            given = request.json()
            return 200, engine.write(path, given.get("data"), given.get("options"))
        case "ListSecrets":
            return 200, {"keys": _had(engine.list(path))}
        case "ReadMetadata":
            return 200, _had(engine.metadata(path))
        case "ReadConfig":
            return 200, engine.configuration()
    _change(engine, where, request)
    return 204, None


def _change(engine: KvEngine, where: Route, request: Request) -> None:
    path = where.rest
    match where.operation:
        case "WriteMetadata":
            engine.set_metadata(path, request.json())
        case "WriteConfig":
            engine.configure(request.json())
        case "DeleteMetadata":
            engine.remove(path)
        case "DeleteLatest":
            engine.delete_latest(path)
        case "DeleteVersions":
            engine.delete(path, _numbers(request.json()))
        case "UndeleteVersions":
            engine.undelete(path, _numbers(request.json()))
        case "DestroyVersions":
            engine.destroy(path, _numbers(request.json()))
        case unknown:
            raise AssertionError(unknown)


def _had(found: T | None) -> T:
    """What there is; where there is nothing, Vault says 404 and no word."""
    if not found:
        raise RefusedError(404, "", "")
    return found


def _numbers(given: Json) -> list[int]:
    numbers = given.get("versions")
    if not isinstance(numbers, list) or not numbers:
        raise RefusedError(400, "", "no version number provided")
    return [_number(each) for each in numbers]


def _number(given: object) -> int:
    if not str(given).isdecimal():
        raise RefusedError(400, "", "Field validation failed: error converting input for version")
    return int(str(given))
