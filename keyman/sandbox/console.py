"""A person at the provider's web console: changes that come from nowhere, as far as keyman knows.

No signature, no if-match, no retry token, no waiting for a busy resource. Each action takes effect
at once on the control plane and is written to the log with "console" as its actor.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from keyman.sandbox.cloud import Cloud
from keyman.sandbox.keys import ApiKey
from keyman.sandbox.rules import Wanted
from keyman.sandbox.server import Json, RefusedError
from keyman.sandbox.wire import DEFAULT_LIFE
from keyman.sandbox.witness import Call, CallLog


class Console:
    """What a person with the tenancy's rights can do by hand."""

    def __init__(self, cloud: Cloud, log: CallLog, lock: threading.Lock, tenancy: str) -> None:
        self._cloud = cloud
        self._log = log
        self._lock = lock
        self._tenancy = tenancy

    def create(
        self,
        name: str,
        compartment: str,
        slots: Sequence[str] = ("key-one", "key-two"),
        expires: datetime | None = None,
        tags: Json | None = None,
    ) -> tuple[str, dict[str, str]]:
        """Make a key; returns its id and the secrets by slot."""
        with self._lock:
            wanted = [Wanted(slot, expires or self._cloud.now() + DEFAULT_LIFE) for slot in slots]
            call = self._log.open("CreateApiKey", None)
            call.actor, call.status = "console", 200
            key, secrets = self._cloud.create(
                self._tenancy, compartment, name, wanted, {"freeformTags": tags or {}}
            )
            call.key_id = key.id
            return key.id, secrets

    def renew(self, key_id: str, slot: str, expires: datetime | None = None) -> str:
        """Regenerate a slot; returns the secret the person sees."""
        with self._acting("RenewApiKey", key_id, slot) as (key, call):
            call.secret_before = self._cloud.slot(key, slot).secret.sha256
            until = expires or self._cloud.now() + DEFAULT_LIFE
            secret = self._cloud.renew(key, Wanted(slot, until))
            call.secret_after = self._cloud.slot(key, slot).secret.sha256
        return secret

    def set_state(self, key_id: str, slot: str, state: str) -> None:
        """Activate, deactivate or revoke a slot."""
        with self._acting("SetApiKeyState", key_id, slot) as (key, call):
            call.wanted = state
            call.secret_before = self._cloud.slot(key, slot).secret.sha256
            self._cloud.set_state(key, slot, state)

    def update(self, key_id: str, names: Json, tags: Json) -> None:
        """Rename or retag a key."""
        with self._acting("UpdateApiKey", key_id) as (key, _):
            self._cloud.update(key, names, tags)

    def delete(self, key_id: str) -> None:
        """Delete a key."""
        with self._acting("DeleteApiKey", key_id) as (key, _):
            self._cloud.delete(key)

    @contextmanager
    def _acting(
        self, operation: str, key_id: str, slot: str | None = None
    ) -> Iterator[tuple[ApiKey, Call]]:
        with self._lock:
            key = self._cloud.find(self._tenancy, key_id)
            key.busy_until = None
            call = self._log.open(operation, None)
            call.actor, call.key_id, call.slot = "console", key_id, slot
            try:
                yield key, call
            except RefusedError as error:
                call.status, call.code = error.status, error.code
                raise
            call.status = 200
