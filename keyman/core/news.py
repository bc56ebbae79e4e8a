"""What people and programs hear of a credential: computed from two of its records, never from a
step, so that whatever led from the one to the other is told, and told once. Only of mirrors no
record speaks: those who follow them tell of them.

The record itself remembers which health was last told. Both are saved together with the news:
after a crash the same change is told neither twice nor never.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from keyman.core.frozen import replace
from keyman.core.health import Health, health, trouble
from keyman.core.model import Credential, Observed, OrderKind, Place, Stage, Version
from keyman.core.situation import Situation

PROMOTED = "promoted"  # lookups hand it out from now on
RETIRED = "retired"  # switched off at the provider
REVOKED = "revoked"  # destroyed at the provider, by us or by the slot's next tenant
GIVEN_UP = "given-up"  # a new version came to nothing
DRIFT = "drift"  # somebody else changed something at the provider
MIRROR_FAILING = "mirror-failing"  # a store that follows the credential does not (mirroring.py)
MIRROR_OK = "mirror-ok"
UNWELL = (Health.FAILING, Health.AT_RISK, Health.DOWN)
WELL_AGAIN = "ok"
OF_RECORDS = (PROMOTED, RETIRED, REVOKED, GIVEN_UP, DRIFT, *map(str, UNWELL), WELL_AGAIN)
KINDS = (*OF_RECORDS, MIRROR_FAILING, MIRROR_OK)


@dataclass(frozen=True, slots=True)
class News:
    """One thing that happened. No field ever carries a secret."""

    at: datetime
    name: str
    what: str
    version: int | None = None
    slot: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What the journal holds of one credential: the facts, and the provider's last picture."""

    credential: Credential
    observed: Observed | None


def news(before: Record, after: Record, now: datetime) -> tuple[Credential, tuple[News, ...]]:
    """The credential as it is to be saved, and what is to be told of the change that led to it."""
    told = [*_of_versions(before, after, now), *_of_drift(before, after, now)]
    credential, of_health = _of_health(after, now)
    return credential, (*told, *of_health)


def _of_versions(before: Record, after: Record, now: datetime) -> Iterator[News]:
    if after.credential.versions is before.credential.versions:
        return
    were = {v.number: v for v in before.credential.versions}
    for v in after.credential.versions:
        was = were.get(v.number)
        if v is was:
            continue
        for what, reason in _became(was, v, goes_on=_goes_on(after.credential, v)):
            yield News(now, after.credential.name, what, v.number, v.slot, reason)


def _goes_on(c: Credential, v: Version) -> bool:
    """Is its secret in use under another number, which a rollback gave it?"""
    kept = c.all_at(Stage.CURRENT, Stage.PREVIOUS)
    return any(w.number != v.number and w.attempt == v.attempt for w in kept)


def _became(was: Version | None, v: Version, *, goes_on: bool) -> Iterator[tuple[str, str]]:
    stage = was.stage if was else None
    if v.stage is Stage.CURRENT and stage is not Stage.CURRENT:
        yield PROMOTED, ""
    if v.stage is Stage.RETIRED and stage is not Stage.RETIRED and not goes_on:
        yield RETIRED, ""
    if v.revoked_at and not (was and was.revoked_at):
        yield REVOKED, "leaked" if v.compromised else ""
    if v.given_up and not (was and was.given_up):
        yield GIVEN_UP, v.given_up


# What somebody else did.


def _of_drift(before: Record, after: Record, now: datetime) -> Iterator[News]:
    same_versions = after.credential.versions == before.credential.versions
    if same_versions and after.observed is before.observed:
        return
    drifted = drift(after, now)
    known = drift(before, now) if drifted else {}
    for number, why in {**ends_moved(before, after), **drifted}.items():
        v = after.credential.version(number)
        # A refusal that the provider's picture explains afterwards is the same change.
        if v and known.get(number) not in (why, REFUSED):
            yield News(now, after.credential.name, DRIFT, number, v.slot, why)


def drift(record: Record, now: datetime) -> dict[int, str]:
    """Number of a version → how the provider treats it otherwise than we left it."""
    s = Situation(record.credential, record.observed, now)
    found = {v.number: why for v in s.c.all_at(*_KEPT) if (why := _otherwise(s, v))}
    return _of_each_secret(s.c, found)


def _of_each_secret(c: Credential, found: dict[int, str]) -> dict[int, str]:
    """Once, under its latest number: a rollback gives a secret another one."""
    latest = {v.attempt: v.number for v in c.versions if v.number in found}
    return {number: found[number] for number in latest.values()}


def ends_moved(before: Record, after: Record) -> dict[int, str]:
    """Number of a version → when it ends now, where somebody else decided so. Only a key of its own
    can be given another end: that of a slot moves with its secret alone.
    """
    spec = after.credential.spec
    if spec.slots or not spec.observes:
        return {}
    found = {}
    for v in after.credential.all_at(*_KEPT):
        was = before.credential.version(v.number)
        if was and was.stage in _KEPT and was.expires_at != v.expires_at and v.expires_at:
            found[v.number] = f"it ends at {v.expires_at:%Y-%m-%dT%H:%M:%SZ} now, {_instead(was)}"
    return _of_each_secret(after.credential, found)


def _instead(was: Version) -> str:
    return f"not at {was.expires_at:%Y-%m-%dT%H:%M:%SZ}" if was.expires_at else "and had no end"


REFUSED = "the provider refuses it"
_KEPT = (Stage.CURRENT, Stage.PREVIOUS, Stage.RETIRED)


def _otherwise(s: Situation, v: Version) -> str | None:
    if v.compromised or v.expired(s.now) or _ours(s, v):
        return None
    if v.stage is Stage.CURRENT:
        return s.contradiction(v) or ((s.early_sign(v) or REFUSED) if v.dead_at else None)
    changed = s.changed_outside(v)
    return changed[1] if changed else None


def _ours(s: Situation, v: Version) -> bool:
    """May it be a change of our own, whose answer was lost?"""
    order = s.c.order_of(OrderKind.ACTIVATE, OrderKind.DEACTIVATE)
    ordered = order is not None and v.place == Place(s.c.key_id or "", order.slot)
    over = v.stage is Stage.PREVIOUS and s.now >= s.overlap_ends(v)
    return ordered or over


# How it is.


def _of_health(record: Record, now: datetime) -> tuple[Credential, tuple[News, ...]]:
    """Trouble is told when it comes, when it changes, and when it is over."""
    c = record.credential
    word = health(c, record.observed, now)
    if word == c.told or _not_yet(c, word):
        return c, ()
    unwell = c.told in UNWELL
    told = replace(c, told=str(word))
    if word not in UNWELL:
        return told, ((News(now, c.name, WELL_AGAIN),) if unwell else ())
    version = c.current
    number, slot = (version.number, version.slot) if version else (None, None)
    return told, (News(now, c.name, str(word), number, slot, _why(record, now)),)


def _not_yet(c: Credential, word: Health) -> bool:
    """Having nothing to hand out is no news before the first version came, unless it fails to
    come; nor for tokens, which are forgotten at each start and asked for anew at once.
    """
    first = c.told is None or c.spec.mints
    return word is Health.DOWN and first and not c.failures and c.told not in UNWELL


def _why(record: Record, now: datetime) -> str:
    wrong = trouble(record.credential, record.observed, now)
    if wrong:
        return wrong[0]
    s = Situation(record.credential, record.observed, now)
    return s.last_given_up or s.why_replace_now or ""
