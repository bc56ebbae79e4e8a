"""Which keys nobody can have any use for: those that a lost answer or a given-up wish left behind.

Pure. A key is an orphan only if its name says that this installation made it for this credential,
and what is known proves that nobody depends on it. Keys of other installations, of other
credentials, of people, and names that keyman did not give are never orphans.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyman.core.model import Spec, Version
from keyman.core.restoring import same_life
from keyman.vendors.openai_keys import Intent, Listed

TRIED_FOR = timedelta(hours=1)  # a key used later than that after it was made is used by others


@dataclass(frozen=True, slots=True)
class Kept:
    """What the core has said of keys: those that matter now, and those that once did.

    `now` is None as long as nothing was said: then no key is known not to matter.
    """

    now: frozenset[str] | None = None
    ever: frozenset[str] = frozenset()

    def told(self, handles: Iterable[str]) -> Kept:
        given = frozenset(handles)
        return Kept(given, self.ever | given)

    def has(self, handle: str) -> bool:
        return self.now is not None and handle in self.now

    def gave_up(self, handle: str) -> bool:
        return self.now is not None and handle in self.ever - self.now


def of_attempt(listed: Iterable[Listed], spec: Spec, kept: Kept, attempt: str) -> list[Listed]:
    """Keys that this wish made and whose secrets were never seen: nobody can have used them.

    One that the core ever spoke of is that of a version, and not among them.
    """
    return [
        key
        for key, intent in _ours(listed, spec, kept)
        if intent.attempt == attempt and key.last_used_at is None and key.id not in kept.ever
    ]


def of_earlier_wishes(
    listed: Iterable[Listed], spec: Spec, kept: Kept, wish: Version, now: datetime
) -> list[Listed]:
    """Keys of this credential's earlier wishes that don't matter any more.

    A number of another life, or one that is not below the wish's, comes from a history that this
    journal doesn't know: it was restored from a backup, and applications may be using that key.
    """
    if kept.now is None:
        return []
    overlap = spec.policy.overlap
    earlier = (
        (key, same_life(intent.number, wish.number))
        for key, intent in _ours(listed, spec, kept)
        if intent.number < wish.number
    )
    return [
        key
        for key, known in earlier
        if kept.gave_up(key.id) or (known and not _in_use(key, now, overlap))
    ]


def _ours(listed: Iterable[Listed], spec: Spec, kept: Kept) -> Iterable[tuple[Listed, Intent]]:
    for key in listed:
        intent = key.intent
        if intent and intent.belongs_to(spec) and not kept.has(key.id):
            yield key, intent


def _in_use(key: Listed, now: datetime, overlap: timedelta) -> bool:
    """Did somebody use it lately? Our own trials of a new key don't count."""
    if key.last_used_at is None or now - key.last_used_at >= overlap:
        return False
    return key.created_at is None or key.last_used_at - key.created_at > TRIED_FOR
