"""Which of the things that happen are worth an entry of the history, and how it reads. Pure.

One for each step that changed something or failed, for each wish, and for what became of versions,
slots and health without a step of ours saying so. None for looking and for what came of nothing; a
token an hour is not worth remembering for ever either, nor is every probe of a new secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from keyman.core.health import Health
from keyman.core.model import Credential, Order, OrderState, Stage, Version
from keyman.core.news import GIVEN_UP, PROMOTED, RETIRED, REVOKED, News
from keyman.core.steps import (
    Abandon,
    Accept,
    Drop,
    Examine,
    Issue,
    Observe,
    Promote,
    Request,
    Step,
    Verify,
    name_of,
)
from keyman.db.audit import of_news
from keyman.db.journal import Event

ROUTINE = (Request, Issue, Verify, Promote, Accept)  # of tokens
ROUTINE_NEWS = (PROMOTED, RETIRED, REVOKED)
UNASKED = (Request, Accept, Abandon)  # neither provider nor store has a part in them
IMPLIED = {  # by an entry about the same version
    "promote": PROMOTED,
    "put": PROMOTED,
    "adopted": PROMOTED,
    "retire": RETIRED,
    "revoke": REVOKED,
    f"found {Stage.RETIRED}": RETIRED,
    f"found {Stage.REVOKED}": REVOKED,
    "abandon": GIVEN_UP,
    "secret lost": GIVEN_UP,
}
OURS = (PROMOTED, RETIRED, REVOKED, GIVEN_UP)  # others are what somebody else did, or how it is


def of_step(
    before: Credential, after: Credential, step: Step, now: datetime, *, by: str, took: timedelta
) -> tuple[Event, ...]:
    """What a step is worth, and the orders that came to nothing by it."""
    failed = [_failed(after, order, now) for order in _newly_failed(before, after)]
    if after.failures > before.failures:
        kind, said = f"{name_of(step)} failed", (after.last_error or "")
    elif _is_worth(before, after, step):
        kind, said = _kind(after, step), ""
    else:
        return tuple(failed)
    version = _version(after, step)
    place = getattr(step, "place", None)
    entry = Event(
        at=now,
        name=after.name,
        kind=kind,
        by=by,
        version=version.number if version else None,
        slot=version.slot if version else getattr(place, "slot", None),
        reason=getattr(step, "reason", ""),
        detail=said,
        took=None if isinstance(step, UNASKED) else took,
    )
    return entry, *failed


def _is_worth(before: Credential, after: Credential, step: Step) -> bool:
    if isinstance(step, Observe | Drop) or (after.spec.mints and isinstance(step, ROUTINE)):
        return False
    if isinstance(step, Verify):  # of all the probes that it took, the one that settled it
        now = after.version(step.version.number)
        return now is not None and now.verified_at is not None
    if isinstance(step, Examine):  # clients may ask for those as often as they like
        was, now = before.version(step.version.number), after.version(step.version.number)
        return _usable(was) != _usable(now)
    return True


def _usable(v: Version | None) -> tuple[bool, ...]:
    return () if v is None else (v.stored, v.dead_at is None, v.restored_at is None)


def _kind(after: Credential, step: Step) -> str:
    if isinstance(step, Accept):
        return f"found {step.stage}"
    if isinstance(step, Promote):
        version = after.version(step.version.number)
        if version is None or version.promoted_at is None:
            return "secret lost"
    return name_of(step)


def _version(after: Credential, step: Step) -> Version | None:
    if isinstance(step, Request):
        return after.versions[-1] if after.versions else None
    version: Version | None = getattr(step, "version", None)
    return version


def _newly_failed(before: Credential, after: Credential) -> Iterator[Order]:
    if after.orders == before.orders:
        return
    open_before = {order.id for order in before.orders if order.open}
    for order in after.orders:
        if order.id in open_before and order.state is OrderState.FAILED:
            yield order


def _failed(c: Credential, order: Order, now: datetime) -> Event:
    kind, why = f"failed {order.kind}", order.error or ""
    return Event(now, c.name, kind, order.by, slot=order.slot, reason=order.reason, detail=why)


def of_order(name: str, order: Order, what: str = "ordered", detail: str = "") -> Event:
    """A wish as it was `ordered`, `joined` with one that was open, or `refused`."""
    targets = " ".join(f"version {number}" for number in order.targets)
    return Event(
        at=order.recorded_at,
        name=name,
        kind=f"{what} {order.kind}",
        by=order.by,
        slot=order.slot,
        reason=order.reason,
        detail=detail or targets,
    )


def with_news(
    entries: Sequence[Event], told: Sequence[News], *, by: str, mints: bool
) -> tuple[Event, ...]:
    """The entries, and what they don't say of what people hear of."""
    if not told:
        return tuple(entries)
    said = {(IMPLIED.get(one.kind), one.version) for one in entries}
    failed = any(one.kind.endswith(" failed") for one in entries)
    more = [
        of_news(one, by if one.what in OURS else "")
        for one in told
        if (one.what, one.version) not in said
        and not (mints and one.what in ROUTINE_NEWS)
        and not (failed and one.what == Health.FAILING)
    ]
    return (*entries, *more)
