"""What one application was given: for each secret, when it was first there and last asked for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time

from tests.power_cut.evidence import digest


@dataclass(slots=True)
class Stretch:
    """Times are seconds of the machine's clock, which all applications share."""

    secret: str  #: as SHA-256
    first_answered: float
    last_asked: float
    lookups: int = 0
    refused: int = 0


class Seen:
    """Kept in memory, and written now and then: an application may be killed at its end."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._stretches: dict[str, Stretch] = {}
        self._last: tuple[str, Stretch | None] = ("", None)
        self._written = 0.0

    def note(self, value: str, asked: float) -> Stretch:
        """It was given this secret; it had asked then."""
        last, stretch = self._last
        if last != value or stretch is None:
            name = digest(value)
            stretch = self._stretches.get(name)
            if stretch is None:
                stretch = self._stretches[name] = Stretch(name, time(), asked)
            self._last = value, stretch
        stretch.last_asked = asked
        stretch.lookups += 1
        return stretch

    def refused(self, value: str) -> None:
        """The provider did not take it."""
        self._stretches[digest(value)].refused += 1

    def write(self, *, every: float = 0.0) -> None:
        if time() - self._written < every:
            return
        self._written = time()
        fresh = self.file.with_name(f"{self.file.name}~")
        fresh.write_text(json.dumps([asdict(stretch) for stretch in self._stretches.values()]))
        fresh.replace(self.file)


def read(file: Path) -> list[Stretch]:
    return [Stretch(**one) for one in json.loads(file.read_text())] if file.exists() else []
