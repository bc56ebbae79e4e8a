"""Keys of OpenAI as its replies show them, read into our own words; and the names they are given.

Replies are plain JSON. Whatever does not fit raises a LookupError, TypeError or ValueError, which
`AdminApi` takes for an answer that makes no sense: an empty object is not an empty list.

A key's name carries the wish that made it, `keyman/INSTALLATION/CREDENTIAL/NUMBER/ATTEMPT`. OpenAI
documents no bounds for names: these stay within [a-z0-9/_-], and are as short as they can be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from keyman import errors
from keyman.core.inventory import There
from keyman.core.model import KeySeen, Secret, SlotSeen, Spec, State, Version

INSTALLATION_DIGITS = 12
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_NAME = re.compile(r"keyman/([^/]+)/([^/]+)/([0-9]{1,9})/([^/]+)")


@dataclass(frozen=True, slots=True)
class Intent:
    """What a key was made for, as its name says."""

    installation: str
    credential: str
    number: int
    attempt: str

    @classmethod
    def of(cls, spec: Spec, wish: Version) -> Intent:
        short = spec.installation[:INSTALLATION_DIGITS]
        return cls(short, spec.name, wish.number, wish.attempt)

    @classmethod
    def read(cls, name: str) -> Intent | None:
        """None for a name that keyman did not give."""
        found = _NAME.fullmatch(name)
        return cls(found[1], found[2], int(found[3]), found[4]) if found else None

    def belongs_to(self, spec: Spec) -> bool:
        """Names carry the installation, so that two of them don't sweep each other's keys."""
        short = spec.installation[:INSTALLATION_DIGITS]
        return (self.installation, self.credential) == (short, spec.name)

    @property
    def name(self) -> str:
        return f"keyman/{self.installation}/{self.credential}/{self.number}/{self.attempt}"


@dataclass(frozen=True, slots=True)
class Listed:
    """One key as a list or a look at it shows it."""

    id: str
    name: str
    owner: str | None  #: the service account; None for keys of people and of the organization
    mask: str | None
    created_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None

    @property
    def intent(self) -> Intent | None:
        return Intent.read(self.name)

    def there(self, now: datetime) -> There:
        """The key as one among others."""
        intent = self.intent
        made_by, made_for = (intent.installation, intent.credential) if intent else (None, None)
        seen = self.seen(now)
        return There(seen, self.name, self.owner, made_by, made_for, self.created_at)

    def seen(self, now: datetime) -> KeySeen:
        """As the core sees it: a key without slots is one place of its own."""
        ended = self.expires_at is not None and now >= self.expires_at
        state = State.EXPIRED if ended else State.ACTIVE
        slot = SlotSeen(None, state.value, self.mask, self.expires_at, self.last_used_at)
        return KeySeen(self.id, state.value, (slot,))


@dataclass(frozen=True, slots=True)
class Found:
    """A key of the account or organization, whoever made it."""

    name: str
    key: KeySeen


@dataclass(frozen=True, slots=True)
class Made:
    """A new key with its secret, shown this once."""

    id: str
    secret: Secret
    mask: str | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    keys: tuple[Listed, ...]
    last: str | None  #: the id to go on after; None on the last page


def gone(handle: str) -> KeySeen:
    """A key that the API says isn't there."""
    return KeySeen(handle, State.DELETED.value, (SlotSeen(None, State.DELETED.value),))


def check_id(what: str, given: str | None) -> str:
    """Refuse what is no id: it becomes a part of the address that is called."""
    if given is None or not _ID.fullmatch(given):
        shown = "none is configured" if given is None else f"{given[:60]!r} is none"
        raise errors.Rejected(
            f"a call needs the {what}, and {shown}", hint="ids are letters, digits, _ and -"
        )
    return given


def page(data: Any) -> Page:
    keys = tuple(listed(item) for item in _list(data["data"]))
    more = data["has_more"]
    if not isinstance(more, bool):
        raise TypeError("more, or not?")
    return Page(keys, keys[-1].id if more else None)


def listed(data: Any) -> Listed:
    account = (data.get("owner") or {}).get("service_account") or {}
    return Listed(
        id=_id(data["id"]),
        name=data.get("name") or "",
        owner=account.get("id"),
        mask=_mask(data.get("redacted_value")),
        created_at=_time(data.get("created_at")),
        expires_at=_time(data.get("expires_at")),
        last_used_at=_time(data.get("last_used_at")),
    )


def made(data: Any) -> Made:
    value = _text(data["value"])
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ValueError("that is no secret")
    expires_at, mask = _time(data.get("expires_at")), _mask(data.get("redacted_value"))
    return Made(_id(data["id"]), Secret(value), mask, expires_at)


def deleted(data: Any, handle: str) -> None:
    if data["deleted"] is not True or data["id"] != handle:
        raise ValueError("about something else")


def about(data: Any, handle: str) -> Listed:
    """The reply, if it speaks of that key."""
    shown = listed(data)
    if shown.id != handle:
        raise ValueError("about something else")
    return shown


def role(data: Any, account: str) -> str:
    """What a service account may do in its project: member, owner or none."""
    if data["id"] != account:
        raise ValueError("about something else")
    return _text(data["role"])


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("a list is missing")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("a text is missing")
    return value


def _id(value: Any) -> str:
    if not _ID.fullmatch(_text(value)):
        raise ValueError("that is no id")
    return str(value)


def _mask(value: Any) -> str | None:
    return None if value is None else _text(value)


def _time(value: Any) -> datetime | None:
    """Seconds since 1970; None for null: never, or not yet."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("that is no time")
    return datetime.fromtimestamp(value, UTC)
