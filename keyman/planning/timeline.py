"""A plan as bars on lanes: which secret is handed out when, where two of them work, where none is.

Pure, and without a unit: times and lane numbers, no pixels. Slots are lanes; where every secret is
a key of its own, as many lanes as are needed for those that live at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyman.core.model import Version
from keyman.core.outlook import Outlook, Repeats, Trouble
from keyman.planning import Plan

PAST = 0.04  # of the time ahead: so much is shown of what is behind


@dataclass(frozen=True, slots=True)
class Bar:
    """One version. Lookups get it until `replaced`, and it works until `ends`."""

    lane: int
    version: int
    begins: datetime
    replaced: datetime
    ends: datetime
    goes_on: bool  #: it still lives at the edge of the picture


@dataclass(frozen=True, slots=True)
class Track:
    """One credential."""

    name: str
    provider: str
    lanes: tuple[str, ...]  #: what each is called; empty where there is no name
    bars: tuple[Bar, ...]
    promotions: tuple[datetime, ...]
    rhythm: Repeats | None  #: tokens: too many for bars
    troubles: tuple[Trouble, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    begins: datetime
    now: datetime
    ends: datetime
    tracks: tuple[Track, ...]


def timeline(plan: Plan) -> Timeline:
    """The plan, and a little of what is behind it."""
    begins = plan.now - (plan.until - plan.now) * PAST
    tracks = tuple(_track(one, begins) for one in plan.outlooks)
    return Timeline(begins, plan.now, plan.until, tracks)


def _track(one: Outlook, begins: datetime) -> Track:
    spec = one.credential.spec
    lives = sorted(one.lives, key=lambda v: v.number) if one.repeats is None else []
    lanes, names = _lanes(one, lives)
    bars = tuple(_bar(one, v, lanes[v.number], begins) for v in lives)
    promotions = tuple(v.promoted_at for v in lives if v.promoted_at and v.promoted_at > one.now)
    return Track(one.name, spec.provider, names, bars, promotions, one.repeats, one.troubles)


def _bar(one: Outlook, v: Version, lane: int, begins: datetime) -> Bar:
    assert v.promoted_at
    known = min(filter(None, (one.ends(v), v.dead_at)), default=None)
    ends = min(known, one.until) if known else one.until
    replaced = min(v.replaced_at, ends) if v.replaced_at else ends
    first = max(v.promoted_at, begins)
    return Bar(lane, v.number, first, max(first, replaced), max(first, ends), known != ends)


def _lanes(one: Outlook, lives: list[Version]) -> tuple[dict[int, int], tuple[str, ...]]:
    """Version → lane, and what the lanes are called."""
    if one.credential.spec.slots:
        return _by_slot(one, lives)
    found: dict[int, int] = {}
    free: list[datetime] = []  # from when on each lane is
    for v in lives:
        assert v.promoted_at
        lane = next((n for n, since in enumerate(free) if since <= v.promoted_at), len(free))
        free += [v.promoted_at] if lane == len(free) else []
        free[lane] = (one.ends(v) or one.until) + timedelta(seconds=1)
        found[v.number] = lane
    return found, ("",) * max(1, len(free))


def _by_slot(one: Outlook, lives: list[Version]) -> tuple[dict[int, int], tuple[str, ...]]:
    """The slots of a key that takes another's place have lanes of their own."""
    home = one.credential.key_id or next((v.handle for v in lives), None)
    places = [(home, slot) for slot in one.credential.spec.slots]
    order = list(dict.fromkeys([*places, *((v.handle, v.slot) for v in lives)]))
    names = tuple(f"{slot}" if key == home else f"{slot}, new key" for key, slot in order)
    return {v.number: order.index((v.handle, v.slot)) for v in lives}, names


# The axis.


@dataclass(frozen=True, slots=True)
class Tick:
    at: datetime
    label: str


SPANS = (
    (timedelta(hours=12), timedelta(hours=1), "%H:%M"),
    (timedelta(hours=36), timedelta(hours=3), "%d %H:%M"),
    (timedelta(days=4), timedelta(hours=12), "%m-%d %H:%M"),
    (timedelta(days=15), timedelta(days=1), "%m-%d"),
    (timedelta(days=75), timedelta(days=7), "%Y-%m-%d"),
)
MOST_TICKS = 13


def ticks(line: Timeline) -> list[Tick]:
    """Round moments to write dates at; months from a quarter of a year on."""
    whole = line.ends - line.begins
    for longest, step, form in SPANS:
        if whole <= longest:
            return [Tick(at, at.strftime(form)) for at in _every(line, step)]
    months = whole / timedelta(days=30.5)
    apart = next((n for n in (1, 2, 3, 6) if months / n <= MOST_TICKS), 12)
    form = "%Y" if apart == 12 else "%Y-%m"
    return [Tick(at, at.strftime(form)) for at in _months(line, apart)]


def _every(line: Timeline, step: timedelta) -> Iterator[datetime]:
    midnight = line.begins.replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight
    while at <= line.ends:
        if at >= line.begins:
            yield at
        at += step


def _months(line: Timeline, apart: int) -> Iterator[datetime]:
    first = line.begins.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    number = (first.year * 12 + first.month - 1) // apart * apart
    while True:
        at = first.replace(year=number // 12, month=number % 12 + 1)
        if at > line.ends:
            return
        if at >= line.begins:
            yield at
        number += apart
