"""Who is told of what, as the rest of keyman sees it. Their addresses are secrets: they carry the
tokens and passwords of those who deliver.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from keyman.core.model import Secret


class Told(StrEnum):
    """What people may be told of: the events of the journal, and what only time shows."""

    FAILING = "failing"
    GIVEN_UP = "given-up"  #: a new version came to nothing; another one is asked for
    AT_RISK = "at-risk"
    DOWN = "down"
    EXPIRING = "expiring"  #: a secret comes to its end, and nothing replaces it
    DRIFT = "drift"
    MIRROR_FAILING = "mirror-failing"
    STALLED = "stalled"  #: keyman's own work does not go on
    OK = "ok"
    MIRROR_OK = "mirror-ok"
    PROMOTED = "promoted"
    RETIRED = "retired"
    REVOKED = "revoked"


ROUTINE = frozenset({Told.PROMOTED, Told.RETIRED, Told.REVOKED})
USUAL = tuple(one for one in Told if one not in ROUTINE)


@dataclass(frozen=True, slots=True)
class NotifyTarget:
    name: str  #: what people, metrics and the log call it
    url: Secret  #: as apprise writes addresses
    events: tuple[Told, ...] = USUAL
    credentials: tuple[str, ...] = ()  #: of these alone; none means of all

    @property
    def service(self) -> str:
        """The kind of address, which is all of it that may be shown."""
        return self.url.reveal().partition("://")[0].lower()
