"""API keys of OCI Generative AI as its replies show them, read into our own words.

Replies are plain JSON. Whatever does not fit raises a LookupError, TypeError or ValueError, which
`Service.call` takes for an answer that makes no sense. Words of OCI that we don't know are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from keyman import errors
from keyman.core.inventory import There
from keyman.core.model import KeySeen, SlotSeen, State

SENSIBLE_YEARS = range(2000, 9000)
ENDED = frozenset({"DELETING", "DELETED", "FAILED"})
OWNER_TAG, ATTEMPT_TAG, NAME_TAG = "keyman-owner", "keyman-op", "keyman"
_EPOCH = re.compile(r"[0-9]{1,18}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_KEY_ID = re.compile(r"ocid1\.generativeaiapikey\.[a-z0-9-]+\.[a-z0-9-]*(\.[A-Za-z0-9_-]+){1,2}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A key of the compartment, with its name and tags."""

    name: str
    key: KeySeen
    tags: Mapping[str, str]
    created_at: datetime | None = None

    @property
    def attempt(self) -> str | None:
        """The wish that made it, if keyman did."""
        return self.tags.get(ATTEMPT_TAG)

    @property
    def there(self) -> There:
        """The key as one among others; its tag says `installation/credential` if keyman made it."""
        maker, _, credential = self.tags.get(NAME_TAG, "").partition("/")
        made_by = maker if maker and credential else None
        made_for = credential if made_by else None
        return There(self.key, self.name, None, made_by, made_for, self.created_at)


@dataclass(frozen=True, slots=True)
class Picture:
    """A key as GetApiKey shows it, with all tags: an update must not lose those of others."""

    key: KeySeen
    tags: dict[str, str]
    defined_tags: dict[str, Any] | None
    compartment: str | None = None

    def apart_from_use(self, unused: str | None) -> Picture:
        """The same without what changes whenever a secret is used, but the one in that slot."""
        slots = tuple(
            slot if slot.name == unused else replace(slot, last_used_at=None)
            for slot in self.key.slots
        )
        return replace(self, key=replace(self.key, slots=slots, etag=None))

    @property
    def active(self) -> list[str]:
        return [s.name for s in self.key.slots if s.name and s.state == State.ACTIVE]


def is_id(handle: str) -> bool:
    return _KEY_ID.fullmatch(handle) is not None


def check_id(handle: str) -> None:
    """Refuse what is no OCID of an API key: an id becomes a part of the address that is called."""
    if not is_id(handle):
        raise errors.Rejected(
            f"{handle[:80]!r} is no id of an API key",
            hint="api_key_id looks like ocid1.generativeaiapikey.oc1.us-chicago-1.…",
        )


def about(data: Any, handle: str) -> dict[str, Any]:
    """The reply, if it speaks of that key."""
    if data["id"] != handle or not isinstance(data["keys"], list):
        raise ValueError("about something else")
    return dict(data)


def picture(data: dict[str, Any], etag: str | None) -> Picture:
    tags = {str(name): str(value) for name, value in (data.get("freeformTags") or {}).items()}
    compartment = optional_text(data.get("compartmentId"))
    return Picture(_key(data, tags, etag), tags, data.get("definedTags"), compartment)


def listed(data: dict[str, Any]) -> Listed:
    seen = picture(data, None)
    name, created_at = str(data.get("displayName") or ""), time(data.get("timeCreated"))
    return Listed(name, seen.key, seen.tags, created_at)


def readable(items: Iterable[Any], theirs: Callable[[Any], bool]) -> list[Listed]:
    """The keys of a list, without those that can't be read and are `theirs`.

    Nobody's key of another form may keep ours from being made or found; one that may be ours, in
    a form that we can't read, is no reason to make another one.
    """
    found = []
    for item in items:
        try:
            found.append(listed(item))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            if not theirs(item):
                raise
    return found


def stranger(item: Any, made_for: str, handles: Iterable[str | None]) -> bool:
    """Does a key that can't be read otherwise tell by its id and tags that it is not ours?

    Ours are those that we know, and those whose tag says `made_for` (installation/credential).
    """
    if not isinstance(item, dict) or not isinstance(tags := item.get("freeformTags") or {}, dict):
        return False
    handle = item.get("id")
    if not isinstance(handle, str) or not is_id(handle) or handle in handles:
        return False
    # Whatever we made has both tags; with one of them left nobody can tell.
    return str(tags[NAME_TAG]) != made_for if NAME_TAG in tags else ATTEMPT_TAG not in tags


def _key(data: dict[str, Any], tags: dict[str, str], etag: str | None) -> KeySeen:
    owner, epoch = _owner(tags.get(OWNER_TAG))
    state = text(data["lifecycleState"])
    # Of a key that is over a list need not show more than that.
    items = data.get("keys") or () if state in ENDED else data["keys"]
    slots = tuple(_slot(item, state) for item in items)
    return KeySeen(text(data["id"]), state, slots, etag or None, owner, epoch)


def _owner(tag: str | None) -> tuple[str | None, int]:
    """`installation:epoch`; what does not look so is somebody else's mark."""
    if not tag:
        return None, 0
    owner, _, epoch = tag.rpartition(":")
    return (owner, int(epoch)) if owner and _EPOCH.fullmatch(epoch) else (tag, 0)


def _slot(item: dict[str, Any], key_state: str) -> SlotSeen:
    # What is left of a deleted key may still call its slots active.
    state = State.DELETED.value if key_state == "DELETED" else text(item["state"])
    return SlotSeen(
        name=text(item["keyName"]),
        state=state,
        mask=optional_text(item.get("keyMask")),
        expires_at=end(item.get("timeExpiry")),
        last_used_at=last_use(item.get("timeLastUsed")),
    )


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("a text is missing")
    return value


def optional_text(value: Any) -> str | None:
    return None if value is None else text(value)


def time(value: Any) -> datetime | None:
    if value is None:
        return None
    read = datetime.fromisoformat(text(value))
    if read.year not in SENSIBLE_YEARS:  # beyond them lies what no zone and no sum can express
        raise ValueError("no time that anybody means")
    return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)


def end(value: Any) -> datetime | None:
    """None if nobody says, or if it is said to be in a year that stands for never.

    What never ends by itself has the end that was wished for, and is replaced before it.
    """
    if value is not None and datetime.fromisoformat(text(value)).year >= SENSIBLE_YEARS.stop:
        return None
    return time(value)


def last_use(value: Any) -> datetime | None:
    """None for never, which some write as the first moment of year 1 or of 1970."""
    try:
        return time(value)
    except ValueError:
        if _DATE.match(value) is None:  # no date at all: then nobody knows what it says
            raise
        return None


def mask_of(secret: str, value: Any) -> str | None:
    """A mask is written down and shown, so one that shows most of its secret is none."""
    mask = optional_text(value)
    most = len(secret) // 2 + 1
    parts = (secret[at : at + most] for at in range(len(secret) - most + 1))
    return None if mask and any(part in mask for part in parts) else mask
