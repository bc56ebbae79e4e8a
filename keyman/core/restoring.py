"""What a record means after it came out of a backup: all of it may have changed since.

Nothing is taken for proven any more, what was under way is not gone on with, and numbers go on
where nobody can have got to meanwhile. The rules do the rest, by looking and by probing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from keyman.core.frozen import replace
from keyman.core.model import Credential, Order, OrderKind, OrderState, Stage, Version

LIFE = 1_000  # numbers; from one restore to the next, each life of a credential begins a thousand
NO_OFTENER = timedelta(minutes=1)  # tokens since the backup: at most one so often
WHY = "the journal was restored from a backup"


def restored(c: Credential, made_at: datetime, now: datetime) -> Credential:
    """The record of a backup made then, as it stands at its restoring."""
    if not c.versions:
        return c
    versions = tuple(_unproven(v, now) for v in c.versions)
    orders = tuple(_let_go(order, now) for order in c.orders)
    c = replace(c, versions=(*versions, _last(c, made_at, now)), orders=orders)
    c = replace(c, failures=0, failed_step=None, retry_at=None, last_error=None, last_hint=None)
    # The slot whose secret nobody kept then may have one by now that somebody uses.
    c = replace(c, silence=None, claimed=0, fenced=False)
    return replace(c, doubt_at=now, unanswered_at=now)


def trusted(c: Credential) -> Credential:
    """A person's word that what the backup brought back works."""
    versions = tuple(replace(v, restored_at=None) for v in c.versions)
    return replace(c, versions=versions)


def same_life(number: int, other: int) -> bool:
    """Were both given by one journal? If not, the one knows nothing of the other's use."""
    return number // LIFE == other // LIFE


def _unproven(v: Version, now: datetime) -> Version:
    """A wish that was open may have been granted since, and its secret be in use: that one is not
    wished for again, and what shows its expiry is no longer taken for nobody's.
    """
    if v.issued_at is None:
        v = replace(v, expires_at=None, mask_before=None, expires_before=None)
    if v.stage is Stage.REQUESTED:
        return replace(v, stage=Stage.REVOKED, given_up=WHY)
    if v.stage is Stage.REVOKED:
        return v
    fresh = replace(v, verified_at=None, successes=0, refusals=0, probe_from=None, probed_at=None)
    return replace(fresh, restored_at=now, reported_at=None, activated_at=None)


def _let_go(order: Order, now: datetime) -> Order:
    """Somebody may have seen to it already, so that doing it again would undo what came after.

    But for a leak: what is left of that is looked at before it is destroyed.
    """
    if order.kind is OrderKind.REVOKE or not order.open:
        return order
    return replace(order, state=OrderState.FAILED, finished_at=now, error=WHY)


def _last(c: Credential, made_at: datetime, now: datetime) -> Version:
    """Takes the highest number that may have been given out since: none is ever used twice."""
    since = max(now - made_at, timedelta(0)) if c.spec.mints else timedelta(0)
    highest = c.next_number - 1
    beyond = highest // LIFE + 2  # the next but one: a thousand versions at least may have come
    number = max(beyond * LIFE, highest + since // NO_OFTENER)
    return Version(
        number, Stage.REVOKED, f"restored-{number}", now, None, revoked_at=now, stored=False
    )
