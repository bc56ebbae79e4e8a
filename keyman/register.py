"""Who may look up over the network: recorded in the journal first, then told to those at the door.

Knows tokens by their digests only. Used by the daemon for its agent, and by commands that work by
themselves while no daemon runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable

from keyman.clock import Clock
from keyman.db.journal import Client, Journal
from keyman.views import Json, time_text

Told = Callable[[Iterable[Client]], None]


class Register:
    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._told: list[Told] = []
        self._changing = threading.Lock()  # what is told last is what was recorded last

    def subscribe(self, told: Told) -> None:
        """Have `told` called with those who may ask: now, and after each change before it is
        answered.
        """
        with self._changing:
            self._told.append(told)
            told(self._valid())

    def every(self) -> list[Json]:
        """All that were ever added, by name."""
        return [view(one) for one in self._journal.clients()]

    def add(self, name: str, digest: str, grants: Collection[str], by: str) -> Json:
        """Let a client in: SHA-256 of its token, in hex, and the names it may look up (or `*`).

        Raises Conflict if the name has a token that was not revoked.
        """
        wanted = tuple(dict.fromkeys(grants))
        with self._changing:
            client = Client(name, digest, wanted, self._clock.now())
            added = self._journal.add_client(client, by)
            self._tell()
        return view(added)

    def revoke(self, name: str, by: str) -> Json:
        """End its token; nobody is answered with it from then on. Raises NotFound."""
        with self._changing:
            ended = self._journal.revoke_client(name, self._clock.now(), by)
            self._tell()
        return view(ended)

    def used(self, digests: Collection[str]) -> None:
        """The tokens with these digests were shown within the last minute."""
        self._journal.clients_used(digests, self._clock.now())

    def _valid(self) -> list[Client]:
        return [one for one in self._journal.clients() if one.revoked_at is None]

    def _tell(self) -> None:
        valid = self._valid()
        for told in self._told:
            told(valid)


def view(client: Client) -> Json:
    """One element of `keyman client list --json`."""
    return {
        "name": client.name,
        "grants": list(client.grants),
        "created_at": time_text(client.created_at),
        "used_at": time_text(client.used_at),
        "revoked_at": time_text(client.revoked_at),
    }
