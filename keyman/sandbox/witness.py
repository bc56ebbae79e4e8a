"""What a sandbox saw, for tests to question afterwards; never a secret, only SHA-256 of some.

`CallLog` lists control-plane calls in the order in which they took effect. `Tally` counts what
inference accepted and rejected, by secret. `truth` is what only the cloud itself can know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime

from keyman.sandbox.cloud import Cloud
from keyman.sandbox.keys import ApiKey, Issued, Slot
from keyman.sandbox.server import Json


@dataclass
class Call:
    """One control-plane call. A status of None: it was lost before it had any effect."""

    number: int
    operation: str
    at: str
    actor: str = ""
    key_id: str | None = None
    slot: str | None = None
    wanted: str | None = None
    retry_token: str | None = None
    if_match: str | None = None
    status: int | None = None
    code: str | None = None
    replayed: bool = False
    fault: str | None = None
    secret_before: str | None = None
    secret_after: str | None = None


class CallLog:
    """Calls in order of effect. The sandbox's lock guards it."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.calls: list[Call] = []

    def open(self, operation: str, fault: str | None) -> Call:
        number = len(self.calls) + 1
        call = Call(number, operation, self._now().isoformat(), fault=fault)
        self.calls.append(call)
        return call

    def to_json(self) -> list[Json]:
        return [asdict(call) for call in self.calls]


@dataclass
class Count:
    """How inference answered one secret."""

    accepted: int = 0
    rejected: int = 0
    last_accepted: str | None = None
    last_rejected: str | None = None


@dataclass
class Tally:
    """Counts by the SHA-256 of the secret presented, known or not."""

    by_secret: dict[str, Count] = field(default_factory=dict)

    def add(self, secret: str, now: datetime, *, accepted: bool) -> None:
        count = self.by_secret.setdefault(secret, Count())
        if accepted:
            count.accepted += 1
            count.last_accepted = now.isoformat()
        else:
            count.rejected += 1
            count.last_rejected = now.isoformat()

    def to_json(self) -> Json:
        return {
            "accepted": sum(c.accepted for c in self.by_secret.values()),
            "rejected": sum(c.rejected for c in self.by_secret.values()),
            "secrets": {secret: asdict(count) for secret, count in self.by_secret.items()},
        }


def truth(cloud: Cloud, takes: Callable[[Issued], bool]) -> Json:
    """Every key, its slots, and every secret ever issued with whether it is accepted now."""
    return {"keys": [_key(cloud, key, takes) for key in cloud.keys.values()]}


def _key(cloud: Cloud, key: ApiKey, takes: Callable[[Issued], bool]) -> Json:
    return {
        "id": key.id,
        "displayName": key.display_name,
        "compartmentId": key.compartment,
        "lifecycleState": cloud.lifecycle(key),
        "deleted": key.deleted,
        "etag": key.etag,
        "freeformTags": key.freeform_tags,
        "slots": [_slot(cloud, slot, takes) for slot in key.slots],
        "secrets": [
            {"sha256": s.sha256, "slot": s.slot, "accepted": takes(s)}
            for s in cloud.secrets.values()
            if s.key_id == key.id
        ],
    }


def _slot(cloud: Cloud, slot: Slot, takes: Callable[[Issued], bool]) -> Json:
    return {
        "keyName": slot.name,
        "state": slot.state_at(cloud.now()),
        "keyMask": slot.mask,
        "timeExpiry": slot.expires.isoformat(),
        "sha256": slot.secret.sha256,
        "accepted": takes(slot.secret),
    }
