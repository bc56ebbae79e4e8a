"""One credential of a life with all who have to do with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.power_cut import aims
from tests.power_cut.case import Case
from tests.power_cut.clients import Application
from tests.power_cut.people import People


@dataclass(slots=True)
class Played:
    """One case with those who use it and those who give orders for it."""

    case: Case
    people: People
    clients: list[Application]
    deck: aims.Deck
    rules: list[dict[str, object]] = field(default_factory=list)
