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
from keyman.core.model import Credential, Observed, Stage
from keyman.core.restoring import same_life
from keyman.core.situation import Situation


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
    altered: bool = False  #: it has that version's number, and another secret
    pointed_right: bool = False  #: it was read, and has that version's secret


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


def only_looks(c: Credential, o: Observed | None, now: datetime) -> str | None:
    """Why nothing is changed in any store for now, if nothing is: what is there may be in use by
    somebody's word who knows more than this record.
    """
    if waits(c, now):
        return "it waits for the proof of what a backup brought back"
    other = Situation(c, o, now).other_owner
    return f"the key is managed by {other}: that one looks after it" if other else None


def proven_since(c: Credential, o: Observed | None, moment: datetime, now: datetime) -> bool:
    """Was the current secret seen to work, or brought by somebody, after that moment?"""
    v = c.current
    if v is None or not sound(v, now):
        return False
    if max(filter(None, (v.promoted_at, v.verified_at)), default=moment) > moment:
        return True
    if v.examined_at is not None and v.examined_at > moment:
        return True  # what it was refused with would not be sound
    if not c.spec.observes:
        return False
    looked = o is not None and o.at > moment and c.doubt_at is None
    return looked and Situation(c, o, now).current_is_sound


def moves_of_mirror(
    c: Credential, aim: Goal, shown: Shown, *, proven: bool = False
) -> Iterator[Move]:
    """What brings a mirror to its goal, in this order; each may fail without the others.

    `proven`: the current secret was seen to work since direct readers were found to have one of
    which the record knows nothing.
    """
    missing = [n for n in aim.numbers if n not in shown.right and _stored(c, n)]
    pointing = list(_pointing(c, aim, shown, frozenset(missing), proven=proven))
    yield from (move for move in pointing if move.number is None)
    yield from map(Put, missing)
    yield from (move for move in pointing if move.number is not None)
    given = pointing[-1].number if pointing else shown.pointed
    left = shown.numbers - set(aim.numbers) - {given}
    yield from (Drop(n) for n in sorted(left) if _left_over(c, n))


def moves_of_own(c: Credential, aim: Goal, shown: Shown, *, proven: bool = False) -> Iterator[Move]:
    """The same for the credential's own store: steps fill it, so it is only tidied."""
    pointing = list(_pointing(c, aim, shown, frozenset(), proven=proven))
    yield from pointing
    given = pointing[-1].number if pointing else shown.pointed
    yield from (Drop(n) for n in sorted(shown.numbers - {given}) if _over(c, n))


def follows(aim: Goal, shown: Shown, *, own: bool) -> bool:
    """Is it where it should be?"""
    if shown.points and shown.pointed != aim.current:
        return False
    if shown.altered:
        return False
    return own or set(aim.numbers) <= shown.right


def reached(aim: Goal, shown: Shown) -> int | None:
    """The version that readers of such a store get."""
    if shown.points:
        return None if shown.altered else shown.pointed
    held = shown.right & set(aim.numbers)
    return aim.current if aim.current in held else max(held, default=None)


def unknown(c: Credential, shown: Shown) -> bool:
    """Do direct readers get something of which this record knows nothing?"""
    return shown.pointed is not None and (shown.altered or _unheard_of(c, shown.pointed))


def _pointing(
    c: Credential, aim: Goal, shown: Shown, missing: frozenset[int], *, proven: bool
) -> Iterator[Point]:
    """None before what is missing comes, if that is waited for; then the current one."""
    if not shown.points:
        return
    current = aim.current if aim.current in shown.right | missing else None
    if unknown(c, shown):
        # It may be the one that works, so it is never taken away: only replaced.
        if current is not None and (shown.altered or _may_replace(c, shown, proven=proven)):
            yield Point(current)
        return
    pointed = shown.pointed
    good = shown.right & set(aim.numbers) | ({aim.current} if shown.pointed_right else set())
    if pointed is not None and (aim.current is None or pointed not in good):
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
        return _left_over(c, number)
    return v.stage is Stage.REVOKED and not v.stored


def _left_over(c: Credential, number: int) -> bool:
    """Is it known to be needed by nobody, if the record's own goal doesn't name it?"""
    return not _unheard_of(c, number) or _of_an_earlier_life(c, number)


def _unheard_of(c: Credential, number: int) -> bool:
    """The record forgot what is older than all it knows, and what it gave a number since it began
    its life. Any other number comes from another life of it.
    """
    known = [v.number for v in c.versions]
    if not known:
        return True
    if number in known or number < min(known):
        return False
    return number > max(known) or not same_life(number, max(known))


def _of_an_earlier_life(c: Credential, number: int) -> bool:
    """Did one that it never heard of come after the backup that was restored, and before that? With
    the backup's secret proven at the provider nobody needs it any more.
    """
    newest = max((v.number for v in c.versions), default=0)
    v = c.current
    proven = v is not None and v.restored_at is None and v.dead_at is None and _looked_at(c)
    return proven and number < newest


def _may_replace(c: Credential, shown: Shown, *, proven: bool) -> bool:
    assert shown.pointed is not None
    return proven or _of_an_earlier_life(c, shown.pointed)


def _looked_at(c: Credential) -> bool:
    return not c.spec.observes or c.doubt_at is None
