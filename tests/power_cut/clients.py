"""Applications: they look up and call without a pause, whatever happens to the daemon.

One asks before each call, one relies on what its process holds while nobody answers, and one keeps
a secret for most of the time that it may before it asks again.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace

from keyman import client
from keyman.errors import Error, NotAdopted, NoUsableSecret
from tests.power_cut.case import Case
from tests.power_cut.cloud import Line
from tests.power_cut.evidence import Called, Handed, Nothing, Reported, digest, now
from tests.power_cut.outside import Keyman

PAUSE = 0.012  # seconds between two calls of one client
SLOW_PAUSE = 0.08


class Application(threading.Thread):
    """Calls with whatever `_secret` gives it."""

    def __init__(self, name: str, case: Case, stop: threading.Event, pause: float) -> None:
        super().__init__(name=name, daemon=True)
        self._case = case
        self.evidence = case.evidence
        self._stopping = stop
        self._pause = pause
        self._line = Line(case.model)

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
            found = client.Secret(client.lookup(self._case.name))
        except (NoUsableSecret, NotAdopted) as error:
            self.evidence.nothing.append(Nothing(self.name, asked, now(), error.message))
            return None
        except Error:
            return None  # nobody is there
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
        self, case: Case, stop: threading.Event, pause: float, keyman: Keyman, dice: random.Random
    ) -> None:
        super().__init__("asking", case, stop, pause)
        self._keyman = keyman
        self._dice = dice

    def _secret(self) -> client.Secret | None:
        return self._ask()

    def refused(self, secret: client.Secret) -> None:
        if self._dice.random() < 0.2:
            told = Reported(now(), secret.version, digest(secret.value))
            place = len(self.evidence.reported)
            self.evidence.reported.append(told)
            threading.Thread(target=self._report, args=(told, place), daemon=True).start()

    def _report(self, told: Reported, place: int) -> None:
        path = f"/api/v1/secrets/{self._case.name}/rejected"
        try:
            status, _ = self._keyman.call("POST", path, {"version": told.version})
        except Error:
            return  # killed meanwhile; whoever is refused again reports again
        if status in (200, 202):
            self.evidence.reported[place] = replace(told, answered=now())


class Holding(Application):
    """Uses the client as applications do: it goes on with what it holds while nobody answers."""

    def __init__(self, case: Case, stop: threading.Event, pause: float) -> None:
        super().__init__("holding", case, stop, pause)

    def _secret(self) -> client.Secret | None:
        try:
            return client.secret(self._case.name)
        except Error:
            return None


class Laggard(Application):
    """Keeps a secret for as long as a client may, and then asks for another one."""

    def __init__(self, case: Case, stop: threading.Event, dice: random.Random) -> None:
        super().__init__("laggard", case, stop, SLOW_PAUSE)
        self._dice = dice
        self._held: client.Secret | None = None
        self._until = 0.0

    def _secret(self) -> client.Secret | None:
        if self._held is None or time.monotonic() >= self._until:
            self._held = self._ask()
            kept_for = self._case.may_be_kept * self._dice.uniform(0.5, 0.98)
            self._until = time.monotonic() + kept_for
        return self._held

    def refused(self, secret: client.Secret) -> None:
        self._held = None


def applications(
    case: Case, keyman: Keyman, stop: threading.Event, dice: random.Random, *, beside: int
) -> list[Application]:
    """Those of one credential, of which `beside` are used in this life."""
    pause = PAUSE * beside
    return [
        Asking(case, stop, pause, keyman, random.Random(dice.random())),
        Holding(case, stop, pause),
        Laggard(case, stop, random.Random(dice.random())),
    ]
