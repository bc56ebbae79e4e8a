"""What was seen: the provider's last picture beside the journal's record of each version.

A picture of the provider's may be old: right after a change of ours a slot may still show what it
held before, which is told apart from a stranger's change by its look (mask and expiry) and by time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from keyman.core.model import (
    Credential,
    Observed,
    OrderKind,
    SlotSeen,
    Spec,
    Stage,
    State,
    Version,
)

GONE = frozenset({State.REVOKED.value, State.EXPIRED.value, State.DELETED.value})
SAME_EXPIRY = timedelta(seconds=1)  # providers cut fractions of seconds off
NO_TIME = timedelta(0)


@dataclass(frozen=True, slots=True)
class Picture:
    c: Credential
    o: Observed | None
    now: datetime

    @property
    def spec(self) -> Spec:
        return self.c.spec

    @property
    def versions(self) -> tuple[Version, ...]:
        return self.c.versions

    @property
    def current(self) -> Version | None:
        return self.c.current

    # What was seen, and how fresh that is.

    @property
    def handles(self) -> tuple[str, ...]:
        """The provider's objects that matter now, the home first."""
        found = [self.c.key_id] if self.c.key_id else []
        for v in self.versions:
            if v.handle in found:
                continue
            to_destroy = (v.compromised and v.revoked_at is None) or self.left_over(v)
            matters = v.stage not in (Stage.RETIRED, Stage.REVOKED) or to_destroy
            if matters and v.handle:
                found.append(v.handle)
        return tuple(found)

    @property
    def optional(self) -> tuple[str, ...]:
        """Keys that may be missing: all but the home, and that too once it is to be left.

        Or if it is to be revoked, and dead: where it isn't shown there is nothing more to do.
        """
        given_up = self.c.order_of(OrderKind.REVOKE) and self._last_of_is_dead(self.c.key_id)
        left = given_up or self.c.order_of(OrderKind.NEW_KEY)
        return tuple(handle for handle in self.handles if left or handle != self.c.key_id)

    @property
    def must_look(self) -> bool:
        handles = self.handles if self.spec.observes else ()
        if not handles:
            return False
        if self.o is None or any(self.o.key(handle) is None for handle in handles):
            return True
        return not self.o.at <= self.now < self.looks_again_at(self.o.at)

    def looks_again_at(self, last: datetime) -> datetime:
        """When a picture of that time is too old."""
        soon = any(self.deleted_and_alive(v) for v in self.versions)
        often = self.c.policy.verify.within if soon else self.c.policy.observe_every
        return min(last + often, self._tells_at() or last + often)

    def _tells_at(self) -> datetime | None:
        """From when on a picture decides what this one leaves open."""
        v = self.current
        if v is None or v.dead_at is not None or self.early_sign(v) is None:
            return None
        changed = _last_change(v)
        assert changed, "early after what?"
        return changed + self._settled

    @property
    def resting(self) -> bool:
        """A rest that seems longer than any can be began before the clock was set back."""
        if self.c.retry_at is None:
            return False
        return NO_TIME < self.c.retry_at - self.now <= self.c.policy.retry.longest

    def fresh_since(self, moment: datetime) -> bool:
        """Was the provider asked after that moment, and just now?"""
        if not self.spec.observes:
            return True
        soon = self.c.policy.verify.within
        return self.o is not None and self.o.at >= moment and self.now - self.o.at <= soon

    @property
    def other_owner(self) -> str | None:
        """Who else drives the home key, in words; None if nobody does."""
        key = self.o.key(self.c.key_id) if self.o else None
        if key is None or key.owner is None or not self.spec.claims:
            return None
        if key.owner != self.spec.installation:
            return f"installation {key.owner}"
        # Ours by name, and claimed after we did: a copy of this home runs somewhere.
        return "another copy of this installation" if key.epoch > self.c.epoch else None

    def seen(self, v: Version) -> SlotSeen | None:
        return self.o.slot(v.place) if self.o else None

    def hidden(self, v: Version) -> bool:
        """Does the provider say of its whole key that there is none, or none for us to see?"""
        return self.o is not None and self.o.hides(v.handle)

    def shows(self, v: Version) -> bool:
        """Does its slot look as it did when the version was issued?

        A key of its own holds no other secret ever, whoever changes when it ends.
        """
        if not self.spec.slots:
            return self.seen(v) is not None
        return looks(self.seen(v), v.mask, v.expires_at)

    def shows_what_was_before(self, v: Version) -> bool:
        known = v.mask_before is not None or v.expires_before is not None
        return known and looks(self.seen(v), v.mask_before, v.expires_before)

    def shown_good(self, v: Version) -> bool:
        """Does its slot hold it, switched on, and is its time not over?"""
        seen = self.seen(v)
        on = seen is not None and seen.state == State.ACTIVE and self.shows(v)
        return on and not v.expired(self.now)

    @property
    def refused_though_shown(self) -> bool:
        """Do only probes say that the secret is dead which lookups handed out?"""
        v = self.current
        return bool(v and v.dead_at and self.spec.slots and self.shown_good(v))

    def just_activated(self, v: Version) -> bool:
        if v.activated_at is None:
            return False
        return NO_TIME <= self.now - v.activated_at < self._settled / 4

    @property
    def _settled(self) -> timedelta:
        """How long after a change of ours a picture may still be the old one."""
        return self.c.policy.verify.within / 2

    def settled_since(self, change: datetime) -> bool:
        """Is the picture so much younger than a change of ours that it must show it?"""
        # Earlier than the change: the clock was set back, and nothing can be said for recent.
        return self.o is not None and not NO_TIME <= self.o.at - change < self._settled

    def contradiction(self, v: Version) -> str | None:
        """What the provider shows that speaks against a version we rely on, if anything does."""
        return None if self._too_early_for(v) else self._sign_against(v)

    def early_sign(self, v: Version) -> str | None:
        """The same, shown so soon after a change of ours that it may be an old picture's."""
        return self._sign_against(v) if self._too_early_for(v) else None

    def left_open(self, v: Version) -> str | None:
        """What the picture doesn't say of a version whose key it shows: a reason to ask, no more.

        A slot may be left out once it is gone; a key that goes may still call its slots active.
        """
        key = self.o.key(v.handle) if self.o and self.spec.slots else None
        if key is None or self.hidden(v):
            return None
        if key.state != State.ACTIVE:
            return f"its key is {key.state}"
        return None if key.slot(v.slot) else "its slot is not shown"

    def _too_early_for(self, v: Version) -> bool:
        # Earlier than the change: the clock was set back, and nothing can be said for recent.
        changed = _last_change(v)
        return bool(self.o and changed and NO_TIME <= self.o.at - changed < self._settled)

    def _sign_against(self, v: Version) -> str | None:
        seen = self.seen(v)
        if seen is None:
            return None
        if not self.shows(v):
            return None if self.shows_what_was_before(v) else "its slot holds another secret"
        return None if seen.state == State.ACTIVE else self._as_shown(seen)

    def _as_shown(self, seen: SlotSeen) -> str:
        return f"its {'slot' if self.spec.slots else 'key'} is {seen.state}"

    def changed_outside(self, v: Version) -> tuple[Stage, str] | None:
        """What became of a version that is no longer current without our doing."""
        if not self.spec.observes:
            return (Stage.REVOKED, "it expired") if v.expired(self.now) else None
        seen = self.seen(v)
        if seen is None or not self.c.in_place(v) or v.compromised:
            return None
        if self._shown_gone(v):
            return Stage.REVOKED, self._as_shown(seen)
        if v.expired(self.now):
            return Stage.REVOKED, "it expired"
        against = self.contradiction(v)
        if against is None:
            return None
        if not self.shows(v):
            return Stage.REVOKED, against
        switched_off = v.stage is Stage.PREVIOUS and seen.state == State.INACTIVE
        return (Stage.RETIRED, against) if switched_off else None

    def destroyed(self, v: Version) -> bool:
        """Has the provider been seen without this secret?"""
        if v.place is None:
            return v.issued_at is None
        if v.issued_at and not self.c.in_place(v):
            return True
        seen = self.seen(v)
        if seen is None:
            nothing_to_see = self.hidden(v) or not self.spec.observes
            return (nothing_to_see and v.expired(self.now)) or self._gone_with_its_key(v)
        if self.missing(v):
            return v.dead_at is not None or v.expired(self.now)
        overwritten = self.contradiction(v) is not None and not self.shows(v)
        return overwritten or self._shown_gone(v)

    def missing(self, v: Version) -> bool:
        """Is its key not to be seen, which alone doesn't prove that its secret is dead?

        A permission may be missing, or the configuration speak of another place by now.
        """
        seen = self.seen(v)
        probed = v.stored and self.spec.probes and not self.spec.slots
        deleted = probed and seen is not None and seen.state == State.DELETED
        return self.hidden(v) or deleted

    def deleted_and_alive(self, v: Version) -> bool:
        """Is its key said to be deleted, and nothing known that would make its secret dead?"""
        unfinished = v.compromised and v.revoked_at is None
        return unfinished and self.missing(v) and not self.hidden(v) and not self.destroyed(v)

    def _shown_gone(self, v: Version) -> bool:
        """Is it this version's end that the slot shows, not that of the secret before it?"""
        seen = self.seen(v)
        about_it = self.shows(v) or v.issued_at is None or self.settled_since(v.issued_at)
        return seen is not None and seen.state in GONE and about_it

    def left_over(self, v: Version) -> bool:
        """A key of its own that is over for us and may live on: nobody is to use it any more.

        It came to nothing, or it seemed dead when it was replaced.
        """
        kind = not self.spec.slots and self.spec.observes and self.spec.revokes
        over = v.stage is Stage.REVOKED and v.issued_at is not None and v.revoked_at is None
        if not kind or not over:
            return False
        shared = (w.stage for w in self.versions if w.attempt == v.attempt)
        return all(stage in (Stage.RETIRED, Stage.REVOKED) for stage in shared)

    def _gone_with_its_key(self, v: Version) -> bool:
        """Its key is not shown, and a probe refused what was last handed out of it.

        Either alone would prove nothing: a permission may be missing, a slot be switched off.
        """
        return self.hidden(v) and (v.dead_at is not None or self._last_of_is_dead(v.handle))

    def _last_of_is_dead(self, handle: str | None) -> bool:
        used = (v for v in reversed(self.versions) if v.handle == handle and v.promoted_at)
        last = next(used, None)
        return last is not None and last.dead_at is not None

    def shares_the_current_secret(self, v: Version) -> bool:
        """Is it what lookups hand out, under its own number or an earlier one (rolled back to)?"""
        return self.current is not None and v.attempt == self.current.attempt


def _last_change(v: Version) -> datetime | None:
    """Of ours, that a picture may not show yet."""
    return max(filter(None, (v.issued_at, v.activated_at, v.promoted_at)), default=None)


def looks(seen: SlotSeen | None, mask: str | None, expires_at: datetime | None) -> bool:
    if seen is None:
        return False
    if mask is not None and seen.mask is not None and mask != seen.mask:
        return False
    if expires_at is None or seen.expires_at is None:
        return True
    return abs(expires_at - seen.expires_at) <= SAME_EXPIRY
