"""What a store should show those who read it without keyman, and the moves that bring it there.

Two kinds of store follow a record: a mirror, which holds what may be handed out and nothing else,
and the credential's own store where that has a current secret of its own: the steps put and drop
what is in there, and only who is current is followed. Everything is found by comparing the record
with what the store shows, so whatever was missed, lost or done twice is just a difference.

A direct reader is never ahead of the record. What may not be handed out any more is taken away
first; then comes what is missing, then who is current, then what is left over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from keyman.core.health import sound, worth_trying
from keyman.core.model import Credential, Stage


@dataclass(frozen=True, slots=True)
class Goal:
    """Which versions may be read by their number, and which one is current."""

    numbers: tuple[int, ...]
    current: int | None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a store shows of a credential."""

    numbers: frozenset[int]  #: all it has
    right: frozenset[int]  #: those of the goal that have the secret that they should
    points: bool = False  #: it has a current secret of its own
    pointed: int | None = None  #: which version that is


@dataclass(frozen=True, slots=True)
class Put:
    number: int


@dataclass(frozen=True, slots=True)
class Point:
    number: int | None


@dataclass(frozen=True, slots=True)
class Drop:
    number: int


Move = Put | Point | Drop


def goal(c: Credential, now: datetime) -> Goal:
    """As of this record and moment. A version that our own store lost is still a good one."""
    numbers = tuple(v.number for v in c.versions if sound(v, now))
    current = c.current
    return Goal(numbers, current.number if current and current.number in numbers else None)


def waits(c: Credential, now: datetime) -> bool:
    """After a backup was restored nothing moves until its current secret is proven or dead: what
    direct readers have may be of a later life, and work.
    """
    v = c.current
    return v is not None and v.restored_at is not None and worth_trying(v, now)


def moves_of_mirror(c: Credential, aim: Goal, shown: Shown) -> Iterator[Move]:
    """What brings a mirror to its goal, in this order; each may fail without the others."""
    missing = [n for n in aim.numbers if n not in shown.right and _stored(c, n)]
    pointing = list(_pointing(c, aim, shown, frozenset(missing)))
    yield from (move for move in pointing if move.number is None)
    yield from map(Put, missing)
    yield from (move for move in pointing if move.number is not None)
    left = shown.numbers - set(aim.numbers)
    yield from (Drop(n) for n in sorted(left) if not _unheard_of(c, n))


def moves_of_own(c: Credential, aim: Goal, shown: Shown) -> Iterator[Move]:
    """The same for the credential's own store: steps fill it, so it is only tidied."""
    yield from _pointing(c, aim, shown, frozenset())
    yield from (Drop(n) for n in sorted(shown.numbers) if _over(c, n))


def follows(aim: Goal, shown: Shown, *, own: bool) -> bool:
    """Is it where it should be?"""
    if shown.points and shown.pointed != aim.current:
        return False
    return own or set(aim.numbers) <= shown.right


def reached(aim: Goal, shown: Shown) -> int | None:
    """The version that readers of such a store get."""
    if shown.points:
        return shown.pointed
    held = shown.right & set(aim.numbers)
    return aim.current if aim.current in held else max(held, default=None)


def _pointing(c: Credential, aim: Goal, shown: Shown, missing: frozenset[int]) -> Iterator[Point]:
    """None before what is missing comes, if that is waited for; then the current one."""
    if not shown.points or _from_another_life(c, shown.pointed):
        return
    pointed = shown.pointed
    current = aim.current if aim.current in shown.right | missing else None
    nothing = aim.current is None or pointed not in shown.right & set(aim.numbers)
    if pointed is not None and nothing:
        pointed = None
        if current is None or current in missing:
            yield Point(None)
    if current is not None and current != pointed:
        yield Point(current)


def _stored(c: Credential, number: int) -> bool:
    v = c.version(number)
    return v is not None and v.stored


def _over(c: Credential, number: int) -> bool:
    """Did the record drop its secret, or forget it since?"""
    v = c.version(number)
    if v is None:
        return not _unheard_of(c, number)
    return v.stage is Stage.REVOKED and not v.stored


def _unheard_of(c: Credential, number: int) -> bool:
    """Only what is older than all it knows was forgotten by the record. Any other number comes from
    a later life of it, before a restore, and is left alone.
    """
    known = [v.number for v in c.versions]
    return number not in known and number >= min(known, default=0)


def _from_another_life(c: Credential, pointed: int | None) -> bool:
    """Such a one stays current until the provider was looked at: it may be the one that works."""
    unsure = c.spec.observes and c.doubt_at is not None
    return pointed is not None and unsure and _unheard_of(c, pointed)
