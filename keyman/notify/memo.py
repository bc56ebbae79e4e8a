"""What one target was told, what it is still to be told, and how the journal keeps that.

Small: open troubles, what happened since the last message, and when a message of what kind went out
last. Of news only the number of the last one is kept that was looked at. No field holds a secret.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from keyman.config import Told

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong, or was until lately."""

    what: Told
    since: datetime
    why: str = ""
    told: int | None = None  #: the worst degree that was told of it; None: nothing yet
    told_at: datetime | None = None  #: of it, or of the one before that it is a return of
    told_before: int | None = None  #: the worst degree that was told of those it is a return of
    worst_at: datetime | None = None  #: when it was first told that it can't get worse
    times: int = 0  #: how often it came back soon after it was told of
    over: datetime | None = None  #: when it ended
    over_told: bool = False


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that is neither wrong nor over."""

    what: Told
    name: str
    at: datetime
    version: int | None = None
    slot: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Storm:
    """Messages of one kind and cause, of which there may be many."""

    at: datetime  #: of the last one
    times: int = 1


@dataclass(frozen=True, slots=True)
class Failing:
    """The target itself could not be reached."""

    since: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Memo:
    seen: int = 0  #: the number of the last news that are in here
    troubles: Mapping[str, Trouble] = field(default_factory=dict)  #: by subject
    waiting: tuple[Happening, ...] = ()
    missed: Mapping[Told, int] = field(default_factory=dict)  #: what is too old to be told singly
    storms: Mapping[str, Storm] = field(default_factory=dict)
    reached_at: datetime | None = None  #: when a message last went out
    failing: Failing | None = None
    unsure: int = 0  #: how often in a row it was not known whether a message arrived


# As text.


def text_of(memo: Memo) -> str:
    return json.dumps(_compact(asdict(memo)), default=datetime.isoformat, separators=(",", ":"))


def _compact(value: Any) -> Any:
    """Without what a default says: ten thousand troubles are ten thousand of these."""
    if not isinstance(value, dict):
        return [_compact(one) for one in value] if isinstance(value, list | tuple) else value
    said = {key: _compact(one) for key, one in value.items()}
    return {key: one for key, one in said.items() if one is not None and one is not False}


def memo_of(text: str | None) -> Memo | None:
    """None if there is none, or none that this version can read: then it begins anew."""
    try:
        return _memo(json.loads(text)) if text else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _memo(said: dict[str, Any]) -> Memo:
    return Memo(
        seen=int(said["seen"]),
        troubles={key: _trouble(one) for key, one in said["troubles"].items()},
        waiting=tuple(_happening(one) for one in said["waiting"]),
        missed={Told(what): int(many) for what, many in said["missed"].items()},
        storms={key: Storm(**_times(one)) for key, one in said["storms"].items()},
        reached_at=_maybe(datetime.fromisoformat, said.get("reached_at")),
        failing=_maybe(lambda one: Failing(**_times(one)), said.get("failing")),
        unsure=int(said.get("unsure", 0)),
    )


def _trouble(said: dict[str, Any]) -> Trouble:
    return Trouble(**_times({**said, "what": Told(said["what"])}))


def _happening(said: dict[str, Any]) -> Happening:
    return Happening(**_times({**said, "what": Told(said["what"])}))


def _maybe(read: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else read(value)


_MOMENTS = ("at", "since", "told_at", "worst_at", "over")


def _times(said: dict[str, Any]) -> dict[str, Any]:
    found = {key: said[key] for key in _MOMENTS if key in said}
    return {**said, **{key: datetime.fromisoformat(at) for key, at in found.items()}}
