"""What lies at a provider beside what keyman manages: whose it is, and whether anybody needs it.

Pure: from a list of the provider's, what the journal knows, and the time, to entries for people.
Names and words in the list are the provider's, so whoever shows them cleans them first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from keyman.core.model import KeySeen, State
from keyman.core.picture import GONE

UNUSED = timedelta(days=30)  # since its last use, or if there was none since it was made
OLD = timedelta(days=365)  # since it was made
TOLD_APART = 12  # digits of an installation's name that tell it from another


@dataclass(frozen=True, slots=True)
class There:
    """A key that the provider lists, whoever made it."""

    key: KeySeen
    name: str
    account: str | None = None  #: whose it is, where a provider has accounts; None: a person's
    made_by: str | None = None  #: the installation that its name or tags say made it
    made_for: str | None = None  #: and for which credential
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What the journal and the configuration know."""

    installation: str
    managed: frozenset[str] = frozenset()  #: ids that matter now
    earlier: Mapping[str, str] = field(default_factory=dict)  #: ids of before → credential
    left: Mapping[str, str] = field(default_factory=dict)  #: of what left the configuration
    waiting: Mapping[str, str] = field(default_factory=dict)  #: configured, not adopted yet


class Origin(StrEnum):
    PEOPLE = "people"  #: somebody made it by hand, or another program
    ANOTHER = "another-installation"  #: another keyman made it or drives it
    LOST = "lost"  #: this keyman made it, and its journal does not know it
    EARLIER = "earlier"  #: this keyman used it before, and needs it no more
    LEFT = "left"  #: of a credential that left the configuration
    WAITING = "not-adopted"  #: configured, and nobody has brought its secret yet


@dataclass(frozen=True, slots=True)
class Unmanaged:
    there: There
    origin: Origin
    credential: str | None  #: the one that it is or was for, as far as that is known
    installation: str | None  #: of another keyman's
    last_used_at: datetime | None
    notes: tuple[str, ...]  #: expired | never-used | unused | old


def unmanaged(listed: Iterable[There], known: Known, now: datetime) -> Iterator[Unmanaged]:
    """What is there and alive and not managed, in the order of the list, each once."""
    seen: set[str] = set(known.managed)
    for there in listed:
        handle = there.key.handle
        if handle in seen or there.key.state == State.DELETED:
            continue
        seen.add(handle)
        origin, credential, installation = _whose(there, known)
        last = max((s.last_used_at for s in there.key.slots if s.last_used_at), default=None)
        notes = tuple(_notes(there, last, now))
        yield Unmanaged(there, origin, credential, installation, last, notes)


def _whose(there: There, known: Known) -> tuple[Origin, str | None, str | None]:
    handle, driver = there.key.handle, there.key.owner
    if driver and not _ours(driver, known):
        return Origin.ANOTHER, known.waiting.get(handle), driver
    for origin, ids in (
        (Origin.WAITING, known.waiting),
        (Origin.EARLIER, known.earlier),
        (Origin.LEFT, known.left),
    ):
        if handle in ids:
            return origin, ids[handle], None
    if there.made_by and not _ours(there.made_by, known):
        return Origin.ANOTHER, there.made_for, there.made_by
    if there.made_by or driver:
        return Origin.LOST, there.made_for, None
    return Origin.PEOPLE, None, None


def _ours(installation: str, known: Known) -> bool:
    """Names may carry the beginning of an installation's name only."""
    return len(installation) >= TOLD_APART and known.installation.startswith(installation)


def _notes(there: There, last: datetime | None, now: datetime) -> Iterator[str]:
    slots, made = there.key.slots, there.created_at
    over = [s.state in GONE or (s.expires_at is not None and s.expires_at <= now) for s in slots]
    if over and all(over):
        yield "expired"
    if last is None and made is not None and now - made >= UNUSED:
        yield "never-used"
    if last is not None and now - last >= UNUSED:
        yield "unused"
    if made is not None and now - made >= OLD:
        yield "old"
