"""What a record may forget: versions that are over, by age and by number.

Numbers are never used twice, so the highest one always stays. Pure, like all of the core.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from keyman.core.frozen import replace
from keyman.core.model import Credential, Stage, Version
from keyman.core.situation import Situation

KEPT_FOR = timedelta(days=400)
KEPT_AT_MOST = 20
LET_GROW_TO = 25  # so that not every step of every rotation has to look for the one too many


def pruned(c: Credential, now: datetime) -> Credential:
    """Without the versions that nothing will ever ask for again.

    A token leaves nothing behind that is worth a row, unless it leaked.
    """
    few = len(c.versions) <= LET_GROW_TO and not c.spec.mints
    if few and all(now - v.requested_at <= KEPT_FOR for v in c.versions):
        return c  # the usual case, met after every step
    promoted = max((v.number for v in c.versions if v.promoted_at), default=0)
    over = [v for v in c.versions if v.number < promoted and _over(c, v)]
    kept = [v for v in over if now - v.requested_at <= KEPT_FOR][-KEPT_AT_MOST:]
    if c.spec.mints:
        kept = [v for v in kept if v.compromised]
    gone = {v.number for v in over} - {v.number for v in kept}
    return replace(c, versions=tuple(v for v in c.versions if v.number not in gone)) if gone else c


def _over(c: Credential, v: Version) -> bool:
    """Dead, its secret dropped, and no rule's business any more."""
    if v.stage is not Stage.REVOKED or v.stored or (v.compromised and v.revoked_at is None):
        return False
    if Situation(c, None, v.requested_at).left_over(v):
        return False
    if any(o.open and v.number in (o.from_version, *o.targets) for o in c.orders):
        return False
    return v.slot is None or c.tenant(v.place) is not v
