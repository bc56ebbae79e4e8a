"""The imitated engine of KV version 2: versions, check-and-set, deleting in three ways, metadata.

Knows neither HTTP nor tokens. What a path holds is never changed, only added to, marked or removed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keyman.sandbox.server import Json, RefusedError

KEPT = 10  # versions, where nobody says how many
_SPAN = re.compile(r"(\d+)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MISMATCH = "check-and-set parameter did not match the current version"


@dataclass
class Version:
    created: datetime
    data: Json | None
    deleted: datetime | None = None  #: may lie ahead
    destroyed: bool = False

    def gone(self, now: datetime) -> bool:
        return self.destroyed or (self.deleted is not None and self.deleted <= now)

    def to_json(self) -> Json:
        return {
            "created_time": timestamp(self.created),
            "deletion_time": timestamp(self.deleted),
            "destroyed": self.destroyed,
        }


@dataclass
class Key:
    """All versions of one path."""

    created: datetime
    updated: datetime
    current: int = 0
    oldest: int = 0
    versions: dict[int, Version] = field(default_factory=dict)
    max_versions: int = 0
    cas_required: bool = False
    delete_after: int = 0
    custom: dict[str, str] | None = None


class KvEngine:
    """One mount. `now` tells the time."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.keys: dict[str, Key] = {}
        self.max_versions = 0
        self.cas_required = False
        self.delete_after = 0

    def configure(self, given: Json) -> None:
        self.max_versions = int(given.get("max_versions", self.max_versions))
        self.cas_required = bool(given.get("cas_required", self.cas_required))
        if "delete_version_after" in given:
            self.delete_after = seconds(given["delete_version_after"])

    def configuration(self) -> Json:
        return {
            "max_versions": self.max_versions,
            "cas_required": self.cas_required,
            "delete_version_after": span(self.delete_after),
        }

    def read(self, path: str, number: int = 0) -> tuple[Json | None, bool]:
        """Data and metadata of a version (0: the current one), and whether it can be had."""
        key = self.keys.get(path)
        version = key.versions.get(number or key.current) if key else None
        if key is None or version is None:
            return None, False
        there = not version.gone(self._now())
        told = {
            **version.to_json(),
            "version": number or key.current,
            "custom_metadata": key.custom,
        }
        return {"data": version.data if there else None, "metadata": told}, there

    def write(self, path: str, data: object, options: object) -> Json:
        if not isinstance(data, dict):
            raise RefusedError(400, "", "no data provided")
        now = self._now()
        key = self.keys.get(path) or Key(now, now)
        self._check(key, options if isinstance(options, dict) else {})
        self.keys[path] = key
        key.current += 1
        key.updated = now
        after = key.delete_after or self.delete_after
        version = Version(now, data, now + timedelta(seconds=after) if after else None)
        key.versions[key.current] = version
        self._prune(key)
        return {**version.to_json(), "version": key.current, "custom_metadata": key.custom}

    def _check(self, key: Key, options: Json) -> None:
        if "cas" not in options:
            if self.cas_required or key.cas_required:
                raise RefusedError(400, "", "check-and-set parameter required for this call")
            return
        try:
            wanted = int(options["cas"])
        except (TypeError, ValueError) as error:
            raise RefusedError(400, "", "error parsing check-and-set parameter") from error
        if wanted != key.current:
            raise RefusedError(400, "", _MISMATCH)

    def _prune(self, key: Key) -> None:
        keep = key.max_versions or self.max_versions or KEPT
        for number in [number for number in key.versions if number <= key.current - keep]:
            del key.versions[number]
        key.oldest = min(key.versions) if key.current > keep else 0

    def delete_latest(self, path: str) -> None:
        if key := self.keys.get(path):
            self.delete(path, [key.current])

    def delete(self, path: str, numbers: Iterable[int]) -> None:
        for version in self._some(path, numbers):
            if not version.gone(self._now()):
                version.deleted = self._now()

    def undelete(self, path: str, numbers: Iterable[int]) -> None:
        for version in self._some(path, numbers):
            if not version.destroyed:
                version.deleted = None

    def destroy(self, path: str, numbers: Iterable[int]) -> None:
        for version in self._some(path, numbers):
            version.destroyed, version.data = True, None

    def _some(self, path: str, numbers: Iterable[int]) -> list[Version]:
        key = self.keys.get(path)
        return [key.versions[n] for n in numbers if n in key.versions] if key else []

    def list(self, path: str) -> list[str]:
        """What lies directly under a folder; folders end with a slash."""
        under = f"{path.strip('/')}/" if path.strip("/") else ""
        rests = [each.removeprefix(under) for each in self.keys if each.startswith(under)]
        return sorted({head + slash for head, slash, _ in (rest.partition("/") for rest in rests)})

    def metadata(self, path: str) -> Json | None:
        key = self.keys.get(path)
        if key is None:
            return None
        return {
            "versions": {str(n): version.to_json() for n, version in key.versions.items()},
            "current_version": key.current,
            "oldest_version": key.oldest,
            "created_time": timestamp(key.created),
            "updated_time": timestamp(key.updated),
            "max_versions": key.max_versions,
            "cas_required": key.cas_required,
            "delete_version_after": span(key.delete_after),
            "custom_metadata": key.custom,
        }

    def set_metadata(self, path: str, given: Json) -> None:
        custom = given.get("custom_metadata")
        if custom is not None:
            _check_custom(custom)
        now = self._now()
        key = self.keys.setdefault(path, Key(now, now))
        key.max_versions = int(given.get("max_versions", key.max_versions))
        key.cas_required = bool(given.get("cas_required", key.cas_required))
        if "delete_version_after" in given:
            key.delete_after = seconds(given["delete_version_after"])
        if custom is not None:
            key.custom = {str(name): str(value) for name, value in custom.items()}

    def remove(self, path: str) -> None:
        self.keys.pop(path, None)


def _check_custom(custom: object) -> None:
    said = "custom_metadata validation failed"
    if not isinstance(custom, dict) or len(custom) > 64:
        raise RefusedError(400, "", f"{said}: payload must contain at most 64 keys")
    for name, value in custom.items():
        if not (0 < len(str(name)) <= 128 and 0 < len(str(value)) <= 512):
            raise RefusedError(400, "", f"{said}: length of key or value")


def timestamp(time: datetime | None) -> str:
    return time.isoformat().replace("+00:00", "Z") if time else ""


def seconds(given: object) -> int:
    """Of a duration as Go writes it (1h30m0s), or of a number."""
    parts = _SPAN.findall(str(given))
    if not parts or "".join(f"{n}{unit}" for n, unit in parts) != str(given):
        raise RefusedError(400, "", f"time: invalid duration {given!r}")
    return sum(int(n) * _SECONDS[unit] for n, unit in parts)


def span(total: int) -> str:
    """As Go writes it."""
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    parts = [f"{hours}h"] if hours else []
    parts += [f"{minutes}m"] if hours or minutes else []
    return "".join([*parts, f"{rest}s"])
