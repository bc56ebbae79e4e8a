"""What callers may write in a request: names, waits, and one body for each kind of order.

Everything is checked here, before anything is looked up or done. No message repeats what the
caller wrote, since that may be a secret in the wrong place.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import Depends, Header, Path, Query, Request, params
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from keyman.config import values
from keyman.core.model import OrderKind, Secret
from keyman.desk import Entrusted, Wish
from keyman.errors import NotFound, UsageError
from keyman.serving.doors import EVERY, Caller, Client

LONGEST_WAIT = timedelta(minutes=5)
NO_SUCH_NAME = "no credential of that name"
KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,255}")
DIGEST = re.compile(r"[0-9a-f]{64}")
IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,128}")


def _duration(raw: object) -> timedelta:
    if not isinstance(raw, str):
        raise ValueError("must be a duration such as 90d, 12h, 30m or 20s")  # noqa: TRY004 pydantic takes ValueError
    return values.duration(raw)


def _secret(raw: object) -> Secret:
    if not isinstance(raw, str):
        raise ValueError("must be a text")  # noqa: TRY004 pydantic takes ValueError
    return values.secret(raw)


def _moment(raw: object) -> datetime:
    if not isinstance(raw, str):
        raise ValueError("must be a time such as 2027-01-31T00:00:00Z")  # noqa: TRY004 pydantic takes ValueError
    return values.moment(raw)


def _one_line(raw: str) -> str:
    return values.text(raw) if raw else raw


def _key_id(raw: str) -> str:
    if not KEY_ID.fullmatch(raw):
        raise ValueError("must be 1 to 255 letters, digits and _ . -")
    return raw


def _digest(raw: str) -> str:
    if not DIGEST.fullmatch(raw):
        raise ValueError("must be the SHA-256 of a token, in 64 hex digits")
    return raw


def _grant(raw: str) -> str:
    if raw != EVERY:
        values.name(raw)
    return raw


def _key(raw: str | None) -> str | None:
    if raw is not None and not IDEMPOTENCY_KEY.fullmatch(raw):
        raise ValueError("must be 1 to 128 printable characters without spaces")
    return raw


async def _name(name: Annotated[str, Path()]) -> str:
    # What can't be a name is answered as a name that nobody has.
    if not values.NAME.fullmatch(name):
        raise NotFound(NO_SUCH_NAME)
    return name


async def caller(request: Request) -> Caller:
    """Who asks, and which names they may see."""
    found: Caller = request.scope["state"]["caller"]
    return found


def peer(request: Request) -> str:
    """Who asks, for the record: `uid 1000 (ada)`. In a worker thread: a directory may be asked."""
    asking: Caller = request.scope["state"]["caller"]
    if isinstance(asking, Client):
        return f"client {asking.name}"
    import pwd

    try:
        return f"uid {asking.uid} ({pwd.getpwuid(asking.uid).pw_name})"
    except KeyError:
        return f"uid {asking.uid}"


_TEXT = WithJsonSchema({"type": "string"})
Duration = Annotated[timedelta, BeforeValidator(_duration), _TEXT]
Moment = Annotated[datetime, BeforeValidator(_moment), _TEXT]
Name = Annotated[str, Depends(_name)]
Peer = Annotated[str, Depends(peer)]
Asking = Annotated[Caller, Depends(caller)]
Wait = Annotated[Duration | None, Query(description="how long to wait for news, e.g. 30s")]
After = Annotated[int | None, Query(ge=0, le=2**53)]
StageAsked = Annotated[Literal["current", "previous"], Query()]
Key = Annotated[str | None, AfterValidator(_key), Header(alias="Idempotency-Key")]
Reason = Annotated[str, Field(max_length=500), AfterValidator(_one_line)]
Slot = Annotated[str, AfterValidator(values.slot)]
KeyId = Annotated[str, AfterValidator(_key_id)]
Number = Annotated[int, Field(ge=1, le=2**53)]


def seconds(wait: timedelta | None) -> float:
    return min(wait or timedelta(0), LONGEST_WAIT).total_seconds()


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)


class Reasoned(Body):
    reason: Reason = ""


class Rotate(Reasoned):
    overlap: Duration | None = None
    new_key: bool = False

    def wish(self, by: str) -> Wish:
        kind = OrderKind.NEW_KEY if self.new_key else OrderKind.ROTATE
        return Wish(kind, by=by, reason=self.reason, overlap=self.overlap)


class Revoke(Reasoned):
    """Which version leaked: CURRENT unless one of `version`, `slot` and `all` is given."""

    version: Number | None = None
    slot: Slot | None = None
    all: bool = False
    now: bool = False

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Revoke:
        if sum((self.version is not None, self.slot is not None, self.all)) > 1:
            raise ValueError("takes one of version, slot and all")
        return self

    def wish(self, by: str) -> Wish:
        return Wish(
            OrderKind.REVOKE,
            by=by,
            reason=self.reason,
            version=self.version,
            slot=self.slot,
            everything=self.all,
            first=self.now,
        )


class Rollback(Reasoned):
    def wish(self, by: str) -> Wish:
        return Wish(OrderKind.ROLLBACK, by=by, reason=self.reason)


class Switch(Reasoned):
    slot: Slot

    def wish(self, kind: OrderKind, by: str) -> Wish:
        return Wish(kind, by=by, reason=self.reason, slot=self.slot)


Secretly = Annotated[Secret, BeforeValidator(_secret), _TEXT]


class Adopt(Body):
    slot: Slot | None = None
    key_id: KeyId | None = None
    take_over: bool = False
    secret: Secretly

    def entrusted(self) -> Entrusted:
        return Entrusted(self.secret, self.slot, self.key_id, self.take_over)


class Put(Body):
    secret: Secretly
    expires_at: Moment | None = None


class Forget(Body):
    revoke: bool = False  # at the provider, before anything is dropped


class Rejected(Body):
    version: Number


class NewClient(Body):
    """The token itself stays with whoever made it."""

    name: Annotated[str, AfterValidator(values.name)]
    digest: Annotated[str, AfterValidator(_digest)]
    grants: Annotated[
        list[Annotated[str, AfterValidator(_grant)]], Field(min_length=1, max_length=1000)
    ]


def only(*known: str) -> params.Depends:
    """A dependency that refuses query parameters other than these."""

    async def check(request: Request) -> None:
        if any(name not in known for name in request.query_params) or len(
            request.query_params.multi_items()
        ) > len(request.query_params):
            said = ", ".join(known) or "none"
            raise UsageError("a query parameter that this call does not have", hint=f"has: {said}")

    return params.Depends(check)
