"""Applications: they look up and call without a pause, whatever happens to the daemon.

One asks before each call, one relies on what its process holds while nobody answers, and one keeps
a secret for most of the overlap before it asks again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from keyman import client
from keyman.errors import Error
from tests.power_cut.evidence import Called, Evidence, Handed, digest, now
from tests.power_cut.outside import NAME, OVERLAP, Keyman, Line

PAUSE = 0.012  # seconds between two calls of one client
SLOW_PAUSE = 0.08


class Application(threading.Thread):
    """Calls with whatever `_secret` gives it."""

    def __init__(self, name: str, evidence: Evidence, stop: threading.Event, pause: float) -> None:
        super().__init__(name=name, daemon=True)
        self.evidence = evidence
        self._stopping = stop
        self._pause = pause
        self._line = Line()

    def run(self) -> None:
        while not self._stopping.wait(self._pause):
            found = self._secret()
            if found is not None:
                self._call(found)

    def _secret(self) -> client.Secret | None:
        raise NotImplementedError

    def _ask(self) -> client.Secret | None:
        """A lookup answered by the agent itself, and noted."""
        asked = now()
        try:
            found = client.Secret(client.lookup(NAME))
        except Error:
            self.evidence.unanswered += 1
            return None
        seen = (self.name, asked, now(), found.version, digest(found.value), found.expires_at)
        self.evidence.handed.append(Handed(*seen))
        return found

    def _call(self, secret: client.Secret) -> None:
        began = now()
        status = self._line.call(str(secret.base_url), secret.value)
        if status is not None:
            called = Called(self.name, began, now(), digest(secret.value), status)
            self.evidence.called.append(called)
        if status == 401:
            self.refused(secret)

    def refused(self, secret: client.Secret) -> None:
        """What an application does about a 401; most do nothing."""


class Asking(Application):
    """Looks up before every call, and reports some of the refusals that it meets."""

    def __init__(
        self, evidence: Evidence, stop: threading.Event, keyman: Keyman, dice: random.Random
    ) -> None:
        super().__init__("asking", evidence, stop, PAUSE)
        self._keyman = keyman
        self._dice = dice

    def _secret(self) -> client.Secret | None:
        return self._ask()

    def refused(self, secret: client.Secret) -> None:
        if self._dice.random() < 0.2:
            path = f"/api/v1/secrets/{NAME}/rejected"
            threading.Thread(target=self._report, args=(path, secret.version), daemon=True).start()

    def _report(self, path: str, version: int) -> None:
        self.evidence.reports.append(now())
        try:
            self._keyman.call("POST", path, {"version": version})
        except Error:
            return  # killed meanwhile; whoever is refused again reports again


class Holding(Application):
    """Uses the client as applications do: it goes on with what it holds while nobody answers."""

    def __init__(self, evidence: Evidence, stop: threading.Event) -> None:
        super().__init__("holding", evidence, stop, PAUSE)

    def _secret(self) -> client.Secret | None:
        try:
            return client.secret(NAME)
        except Error:
            return None


class Laggard(Application):
    """Keeps a secret for as long as a client may, and then asks for another one."""

    def __init__(self, evidence: Evidence, stop: threading.Event, dice: random.Random) -> None:
        super().__init__("laggard", evidence, stop, SLOW_PAUSE)
        self._dice = dice
        self._held: client.Secret | None = None
        self._until = 0.0

    def _secret(self) -> client.Secret | None:
        if self._held is None or time.monotonic() >= self._until:
            self._held = self._ask()
            self._until = time.monotonic() + OVERLAP * self._dice.uniform(0.5, 0.98)
        return self._held

    def refused(self, secret: client.Secret) -> None:
        self._held = None


def applications(
    evidence: Evidence, stop: threading.Event, keyman: Keyman, dice: random.Random
) -> list[Application]:
    makers: list[Callable[[], Application]] = [
        lambda: Asking(evidence, stop, keyman, random.Random(dice.random())),
        lambda: Holding(evidence, stop),
        lambda: Laggard(evidence, stop, random.Random(dice.random())),
    ]
    return [make() for make in makers]
