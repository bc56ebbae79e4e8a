"""Lets the service manager follow the daemon's life: ready, reloading, stopping, and alive.

It is told to be alive only while that is so: the scheduler took up what it was just given, and the
agent answered at its socket just now, as any application would be answered. Where one of the two
does not hold, nothing is said, and the service manager starts the daemon anew. A turn that waits
for a provider is no reason for that: its own deadline ends it, and lookups go on meanwhile.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from keyman import client
from keyman.clock import Clock
from keyman.core.health import Health
from keyman.errors import Error
from keyman.sd_notify import ServiceManager

TOLD_PER_PERIOD = 3  # times that we say so within the time that the service manager allows
PROVES_WITHIN = 5.0  # seconds, at the longest, for each of the two

log = logging.getLogger("keyman.daemon")


class Watched:
    """To be followed like any follower of the daemon's. `health` is a word for each credential."""

    def __init__(
        self,
        manager: ServiceManager,
        clock: Clock,
        *,
        health: Callable[[], Iterable[str]],
        turns: Callable[[float], bool],
        socket: Path,
    ) -> None:
        self._manager = manager
        self._clock = clock
        self._health = health
        self._turns = turns
        self._socket = socket
        self._refused = False
        self._said = ""
        self._next = 0.0

    def start(self) -> None:
        self._said = self._status()
        self._manager.ready(self._said)

    def tend(self) -> None:
        if self._manager.watchdog is None or self._clock.monotonic() < self._next:
            return
        every = self._manager.watchdog / TOLD_PER_PERIOD
        self._next = self._clock.monotonic() + every
        ails = self._ails(min(every, PROVES_WITHIN))
        if ails:
            log.error("the service manager's watchdog is not told that all is well: %s", ails)
        else:
            self._manager.alive()

    def _ails(self, within: float) -> str:
        """What does not work; empty if both do."""
        if not self._turns(within):
            return "the scheduler stands still"
        try:
            status, _ = client.call(
                "GET", "/healthz", timeout=within, path_to_socket=str(self._socket)
            )
        except Error as error:
            return error.message
        return "" if status == 200 else f"the agent answers {status}"

    def sweep(self) -> None:
        said = self._status()
        if said != self._said:
            self._said = said
            self._manager.status(said)

    def close(self) -> None:
        self._manager.stopping()

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Round taking up a configuration; a mistake in it leaves the daemon as it was."""
        self._manager.reloading(self._clock.monotonic())
        self._refused = True
        try:
            yield
            self._refused = False
        finally:
            self.start()

    def _status(self) -> str:
        refused = "; the last reload was refused, `keyman reload` says why"
        return summary(self._health()) + (refused if self._refused else "")


def summary(health: Iterable[str]) -> str:
    """`5 credentials: 1 down, 4 ok`: the worst comes first."""
    counts = Counter(health)
    worst_first = [f"{counts[one]} {one}" for one in reversed(Health) if counts[one]]
    total = counts.total()
    said = "1 credential" if total == 1 else f"{total} credentials"
    return f"{said}: {', '.join(worst_first)}" if worst_first else said
