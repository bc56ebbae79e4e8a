"""From a saved record to what lookups are answered: fetches the secrets and hands them on.

Called after every save, in the thread that saved. Keeps the secrets that are handed out in
memory, so that the store is asked once a version and never by a lookup; those that may be next as
well, so that a promotion asks nobody. Who could not be read is remembered for another try.
"""

from __future__ import annotations

import logging
import threading

from keyman.clock import Clock
from keyman.core.model import Credential, Secret, Stage
from keyman.errors import SecretDamaged, StoreFailed
from keyman.performer import Managed
from keyman.serving.snapshot import Snapshot, answer_for

log = logging.getLogger("keyman.publisher")


class Publisher:
    def __init__(self, snapshot: Snapshot, clock: Clock) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._held: dict[str, dict[int, Secret]] = {}
        self._lacking: set[str] = set()  # their store did not answer
        self._revisions: dict[str, int] = {}  # of the records that these two are about
        self._lock = threading.Lock()

    def publish(self, managed: Managed, credential: Credential, *, ask: bool = True) -> bool:
        """Let lookups follow the record as it was saved. False if a secret could not be read:
        the store did not answer, or is not to be asked.
        """
        secrets, unread, complete = self._secrets(managed, credential, ask=ask)
        lookup, now = managed.provider.lookup(), self._clock.now()
        answer = answer_for(credential, secrets, lookup, now, unread=unread)
        self._snapshot.publish(credential.name, answer)
        return complete

    def withdraw(self, name: str) -> None:
        with self._lock:
            self._held.pop(name, None)
            self._lacking.discard(name)
            self._revisions.pop(name, None)
        self._snapshot.withdraw(name)

    def lacking(self) -> frozenset[str]:
        """Whose secrets could not all be read: publishing them once more may help."""
        with self._lock:
            return frozenset(self._lacking)

    def secret(self, managed: Managed, number: int) -> Secret | None:
        """The secret of a version: as it is held, else from its store. Raises StoreFailed."""
        held = self._held.get(managed.spec.name, {}).get(number)
        return held or managed.store.get(managed.spec.name, number)

    def _secrets(
        self, managed: Managed, credential: Credential, *, ask: bool
    ) -> tuple[dict[int, Secret], dict[int, StoreFailed], bool]:
        """Those of the versions that may be handed out, now or soon, read from the store where not
        yet held; why others could not be; and whether nothing is missing that may be handed out
        now, and that another try may bring.
        """
        name = credential.name
        needed = {v.number for v in credential.all_at(Stage.CURRENT, Stage.PREVIOUS)}
        wanted = credential.all_at(Stage.CURRENT, Stage.PREVIOUS, Stage.PENDING)
        held = self._held.get(name, {})
        secrets = {v.number: held[v.number] for v in wanted if v.number in held}
        unread: dict[int, StoreFailed] = {}
        for version in wanted:
            number = version.number
            if number in secrets or not (ask or number in needed):
                continue
            try:
                secret = managed.read(version) if ask else _unasked()
            except StoreFailed as failure:
                unread |= {number: failure} if number in needed else {}
                continue
            if secret is not None:
                secrets[number] = secret
        again = {n for n, error in unread.items() if not isinstance(error, SecretDamaged)}
        for number, error in unread.items() if ask else ():
            self._say(name, number, error)
        self._keep(credential, secrets, lacking=bool(again))
        return secrets, unread, not again

    def _say(self, name: str, number: int, error: StoreFailed) -> None:
        if name not in self._lacking:
            log.error("%s: version %d: %s", name, number, error.message)

    def _keep(self, c: Credential, secrets: dict[int, Secret], *, lacking: bool) -> None:
        """Unless another thread is further: records of one credential may come out of order."""
        with self._lock:
            if c.revision < self._revisions.get(c.name, 0):
                return
            self._revisions[c.name] = c.revision
            self._held[c.name] = secrets
            (self._lacking.add if lacking else self._lacking.discard)(c.name)


def _unasked() -> Secret:
    raise StoreFailed("it did not answer others just now")
