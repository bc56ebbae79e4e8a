"""Where the secrets of a life rest: a store of any kind and perhaps a mirror, as configured.

Vaults are served from the life's own process and outlive the daemon. Strangers, who don't know
keyman, look at them after every single call: what they get is noted beside what the journal says
at that moment, so that nobody can be ahead of it unseen.
"""

from __future__ import annotations

import hmac
import os
import random
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from keyman.config import DEFAULT
from tests.power_cut.case import Case
from tests.power_cut.evidence import Evidence, Shown, digest, now
from tests.power_cut.outside import Keyman
from tests.vaults.gate import FATES, Gate, passes
from tests.vaults.kinds import PLACES, Place, Section, place_of

A_SWEEP = 16.0  # seconds, and the moment that it takes
BESIDE = "beside"  # what the configuration calls the mirror
DURABLE = tuple(kind for kind in PLACES if kind != "memory")
IN_THE_HOME: Section = {"kind": "sealed-file"}


class Stores:
    """`mirror` None: nothing follows but what a vault itself takes for current."""

    def __init__(self, folder: Path, kind: str, mirror: str | None) -> None:
        kinds = {DEFAULT: kind} | ({BESIDE: mirror} if mirror else {})
        self.places: dict[str, Place] = {
            name: place_of(each, folder / f"{name}-store") for name, each in kinds.items()
        }
        self._at_home = kind == "sealed-file"
        self._late: list[threading.Timer] = []

    def serve(self, stack: ExitStack, keyman: Keyman) -> None:
        for place in self.places.values():
            stack.enter_context(place.served())
            keyman.surroundings.update(place.environment())
        os.environ.update(keyman.surroundings)  # we open them, too
        keyman.stores = {name: place.section() for name, place in self.places.items()}
        if self._at_home:  # so that it lies with what must show no secret
            keyman.stores[DEFAULT] = IN_THE_HOME

    def watched_by_strangers(self, evidence: Mapping[str, Evidence], keyman: Keyman) -> None:
        """`evidence` by the names of credentials."""
        for name, place in self.places.items():
            if place.gate is not None:
                place.gate.carried_out = Strangers(name, place, evidence, keyman).look

    @property
    def gates(self) -> list[Gate]:
        return [place.gate for place in self.places.values() if place.gate]

    @property
    def broke(self) -> list[datetime]:
        """When lookups may have had to do without the store that they are answered from."""
        gate = self.places[DEFAULT].gate
        return gate.broke if gate else []

    def weather(self, dice: random.Random) -> None:
        """What vaults get wrong for a while; in most lives of a daemon nothing."""
        for gate in self.gates:
            gate.fate = _spell(dice) if dice.random() < 0.4 else passes

    def calm(self) -> None:
        for gate in self.gates:
            gate.fate, gate.shut = passes, False

    def let_go(self, dice: random.Random) -> None:
        """What was held when power went; what is to be late has its effect in a while."""
        for gate in self.gates:
            self._late.append(threading.Timer(dice.choice((0.0, 0.3, 1.5)), gate.let_go))
            self._late[-1].start()

    def behind(self, case: Case) -> list[str]:
        """Which strangers get something else than lookups; tokens rest nowhere."""
        if case.targets.fleeting:
            return []
        return self.not_shown(case.name, case.evidence.handed[-1].secret)

    def not_shown(self, name: str, secret: str) -> list[str]:
        """Which strangers get another secret than that, as SHA-256."""
        shown = {store: place.shown(name) for store, place in self.places.items() if place.shows}
        return [
            f"strangers get {value and digest(value)[:8]} of {name} from {store}"
            for store, value in shown.items()
            if value is None or digest(value) != secret
        ]


class Strangers:
    """Those who read one vault without keyman."""

    def __init__(
        self, store: str, place: Place, evidence: Mapping[str, Evidence], keyman: Keyman
    ) -> None:
        self._store, self._place, self._evidence, self._keyman = store, place, evidence, keyman
        self._last: dict[str, str | None] = {}
        self._turn = threading.Lock()

    def look(self, _: str) -> None:
        """After a call was carried out, before its sender hears of it."""
        with self._turn:
            for name, evidence in self._evidence.items():
                value = self._place.shown(name)
                if value == self._last.get(name):
                    continue
                self._last[name] = value
                known = value is None or self._promoted(name, value)
                secret = None if value is None else digest(value)
                evidence.shown.append(Shown(self._store, now(), secret, promoted=known))

    def _promoted(self, name: str, value: str) -> bool:
        """Does the journal say by now that lookups were given it?"""
        key = f"keyman fingerprint {self._keyman.installation()}".encode()
        print_of_it = f"hmac:{hmac.digest(key, value.encode(), 'sha256').hex()[:12]}"
        return print_of_it in self._keyman.promoted(name)


def _spell(dice: random.Random) -> Callable[[str], str]:
    chance, fates = dice.choice((0.03, 0.1, 0.25)), random.Random(dice.random())

    def fate(_: str) -> str:
        return fates.choice(FATES) if fates.random() < chance else ""

    return fate
