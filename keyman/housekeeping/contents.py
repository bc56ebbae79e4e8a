"""What is in a backup: the journal, and the secrets that it calls stored. From and to bytes.

    8 bytes   how long the page is
    page      JSON: which installation, when, of which keyman; the secrets, and where they rested
    the rest  the journal: an SQLite database

Whoever holds these bytes holds every secret: they are only ever sealed, or in memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from keyman.core.model import Secret
from keyman.errors import StoreFailed

LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class KeptSecret:
    store: str  #: as the configuration called it then
    name: str
    number: int
    slot: str | None
    secret: Secret


@dataclass(frozen=True, slots=True)
class Contents:
    installation: str
    made_at: datetime
    made_by: str  #: keyman's version
    secrets: tuple[KeptSecret, ...]
    absent: tuple[tuple[str, int], ...]  #: the journal calls them stored, and no store had them
    journal: bytes = field(repr=False)


def to_bytes(contents: Contents) -> bytes:
    page = {
        "installation": contents.installation,
        "made_at": contents.made_at.isoformat(),
        "made_by": contents.made_by,
        "absent": contents.absent,
        "secrets": [
            [one.store, one.name, one.number, one.slot, one.secret.reveal()]
            for one in contents.secrets
        ],
    }
    text = json.dumps(page).encode()
    return len(text).to_bytes(LENGTH_BYTES, "big") + text + contents.journal


def from_bytes(content: bytes) -> Contents:
    """Raises StoreFailed for what `to_bytes` didn't make: the seal held, so another keyman did."""
    end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "big")
    try:
        page: dict[str, Any] = json.loads(content[LENGTH_BYTES:end])
        return Contents(
            installation=page["installation"],
            made_at=datetime.fromisoformat(page["made_at"]),
            made_by=page["made_by"],
            secrets=tuple(
                KeptSecret(store, name, number, slot, Secret(value))
                for store, name, number, slot, value in page["secrets"]
            ),
            absent=tuple((name, number) for name, number in page["absent"]),
            journal=content[end:],
        )
    except (ValueError, KeyError, TypeError):
        raise StoreFailed(
            "the backup holds something that this keyman does not understand",
            hint="restore it with the keyman that made it",
        ) from None
