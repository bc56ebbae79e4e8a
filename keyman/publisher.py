"""From a saved record to what lookups are answered: fetches the secrets and hands them on.

Called after every save, in the thread that saved. Keeps the secrets that are handed out in
memory, so that the store is asked once a version and never by a lookup.
"""

from __future__ import annotations

import logging
import threading

from keyman.clock import Clock
from keyman.core.model import Credential, Secret, Stage
from keyman.errors import StoreFailed
from keyman.performer import Managed
from keyman.serving.snapshot import Snapshot, answer_for

log = logging.getLogger("keyman.publisher")


class Publisher:
    def __init__(self, snapshot: Snapshot, clock: Clock) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._held: dict[str, dict[int, Secret]] = {}
        self._lock = threading.Lock()

    def publish(self, managed: Managed, credential: Credential) -> None:
        """Let lookups follow the record as it was saved."""
        secrets = self._secrets(managed, credential)
        answer = answer_for(credential, secrets, managed.provider.lookup(), self._clock.now())
        self._snapshot.publish(credential.name, answer)

    def withdraw(self, name: str) -> None:
        with self._lock:
            self._held.pop(name, None)
        self._snapshot.withdraw(name)

    def _secrets(self, managed: Managed, credential: Credential) -> dict[int, Secret]:
        """Those of the versions that may be handed out, read from the store where not yet held."""
        wanted = {v.number for v in credential.all_at(Stage.CURRENT, Stage.PREVIOUS)}
        held = self._held.get(credential.name, {})
        secrets = {number: held[number] for number in wanted & held.keys()}
        for number in sorted(wanted - held.keys()):
            try:
                secret = managed.store.get(credential.name, number)
            except StoreFailed as error:
                log.error("%s: version %d: %s", credential.name, number, error.message)
                continue
            if secret is not None:
                secrets[number] = secret
        with self._lock:
            self._held[credential.name] = secrets
        return secrets
