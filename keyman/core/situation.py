"""Questions that the rules ask: the journal's record beside what the provider last showed.

Each answer is a plain fact about one credential at one moment; what follows from it is decided
in rotation.py. A picture of the provider's may be old: right after a change of ours a slot may
still show what it held before, which is told apart from a stranger's change by its look (mask
and expiry) and by time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from keyman.core.model import (
    Credential,
    Observed,
    OrderKind,
    Place,
    SlotSeen,
    Spec,
    Stage,
    State,
    Version,
)
from keyman.core.policy import GIVE_UPS_BEFORE_FAILING, RetireBy

GONE = frozenset({State.REVOKED.value, State.EXPIRED.value, State.DELETED.value})
SAME_EXPIRY = timedelta(seconds=1)  # providers cut fractions of seconds off
LOOKS_AHEAD = timedelta(hours=1)
NO_TIME = timedelta(0)
FAILURES_BEFORE_REVOKING_ANYWAY = 3


@dataclass(frozen=True, slots=True)
class Situation:
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
            to_destroy = (v.compromised and v.revoked_at is None) or self.left_over(v)
            matters = v.stage not in (Stage.RETIRED, Stage.REVOKED) or to_destroy
            if matters and v.handle and v.handle not in found:
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
        if not self.spec.observes or not self.handles:
            return False
        if self.o is None or any(self.o.key(handle) is None for handle in self.handles):
            return True
        return self.now - self.o.at >= self.c.policy.observe_every or self.now < self.o.at

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
        """Does its slot look as it did when the version was issued?"""
        return _looks(self.seen(v), v.mask, v.expires_at)

    def shows_what_was_before(self, v: Version) -> bool:
        known = v.mask_before is not None or v.expires_before is not None
        return known and _looks(self.seen(v), v.mask_before, v.expires_before)

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
        seen = self.seen(v)
        if seen is None or self.o is None:
            return None
        changed = max(filter(None, (v.issued_at, v.activated_at, v.promoted_at)), default=None)
        # Earlier than the change: the clock was set back, and nothing can be said for recent.
        if changed and NO_TIME <= self.o.at - changed < self._settled:
            return None
        if not self.shows(v):
            return None if self.shows_what_was_before(v) else "its slot holds another secret"
        return None if seen.state == State.ACTIVE else f"its slot is {seen.state}"

    def changed_outside(self, v: Version) -> tuple[Stage, str] | None:
        """What became of a version that is no longer current without our doing."""
        if not self.spec.observes:
            return (Stage.REVOKED, "it expired") if v.expired(self.now) else None
        seen = self.seen(v)
        if seen is None or not self.c.in_place(v) or v.compromised:
            return None
        if self._shown_gone(v):
            return Stage.REVOKED, f"its slot is {seen.state}"
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
        overwritten = self.contradiction(v) is not None and not self.shows(v)
        return overwritten or self._shown_gone(v)

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
        return all(w.stage is Stage.REVOKED for w in self.versions if w.attempt == v.attempt)

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

    # What may be touched.

    def filling(self, place: Place | None) -> bool:
        v = self.c.at(Stage.REQUESTED)
        return v is not None and v.place == place and place is not None

    def taken_by_a_stranger(self, v: Version) -> bool:
        """Has its slot got a secret that is neither ours nor the one before, and that is used?

        What a lost answer of ours left there has the very expiry that was wished, and no user.
        """
        seen = self.seen(v)
        if seen is None or seen.state != State.ACTIVE or seen.last_used_at is None:
            return False
        ours = _looks(seen, None, v.expires_at) or self.shows_what_was_before(v)
        return not ours and seen.last_used_at > v.requested_at

    def may_fill(self, v: Version) -> bool:
        """Filling a place kills the secret in it: never one that lookups depend on."""
        if v.carries is not None or v.place is None or v.slot is None:
            return True
        return v.place not in self._depended_on()

    def depends_on(self, place: Place) -> bool:
        return place in self._depended_on()

    def _depended_on(self) -> set[Place]:
        """The places whose secrets somebody may be using by our word."""
        current = self.current
        kept = [current] if current and self._usable_now(current) else []
        kept = [v for v in kept if not self._shown_gone(v)]
        kept += [v for v in self.c.all_at(Stage.PREVIOUS) if not self._let_go(v)]
        return {v.place for v in kept if v.place}

    def _usable_now(self, v: Version) -> bool:
        return v.dead_at is None and not v.expired(self.now)

    def _let_go(self, v: Version) -> bool:
        refused = v.stored and self._tried(v)  # what the store lost was not refused by anybody
        if v.compromised or v.expired(self.now) or not self.c.in_place(v) or refused:
            return True
        over = self.now >= self.overlap_ends(v)
        kept_on = self.c.policy.retire is RetireBy.KEEP or not self.spec.observes
        return over and kept_on and (self.quiet(v) or self.now >= self.overlap_cap(v))

    def fillable_slot(self) -> str | None:
        """A slot of the home key that nobody depends on and that the provider will fill."""
        assert self.c.key_id
        places = [Place(self.c.key_id, s) for s in self.spec.slots]
        current = self.current.slot if self.current else None
        # Nobody is known to use what a stranger left on; what is off is used by nobody for sure.
        free = [(self._on_for_strangers(p), p.slot == current, p) for p in places if self._free(p)]
        return min(free, key=lambda ranked: ranked[:2])[2].slot if free else None

    def _free(self, place: Place) -> bool:
        if place in self._depended_on() or self._refused(place):
            return False
        return not self._used_by_strangers(place)

    def _refused(self, place: Place) -> bool:
        last = next((v for v in reversed(self.versions) if v.place == place), None)
        seen = self.o.slot(place) if self.o else None
        deleted = seen is not None and seen.state == State.DELETED
        if deleted or (self.o is not None and self.o.hides(place.handle)):
            return True
        return bool(last and last.slot_refused and seen and seen.state in GONE)

    def _on_for_strangers(self, place: Place) -> bool:
        """Is it active with a secret that isn't ours?"""
        seen = self.o.slot(place) if self.o else None
        tenant = self.c.tenant(place)
        ours = tenant is not None and _looks(seen, tenant.mask, tenant.expires_at)
        return seen is not None and seen.state == State.ACTIVE and not ours

    def _used_by_strangers(self, place: Place) -> bool:
        """An active slot with a secret that isn't ours and was used lately may be somebody's."""
        seen = self.o.slot(place) if self.o else None
        if seen is None or seen.last_used_at is None or not self._on_for_strangers(place):
            return False
        return self.now - seen.last_used_at < self.c.policy.overlap

    def wanted_for_replacement(self, v: Version) -> bool:
        """Is the leaked version's slot the one in which the leaked current's successor goes?"""
        current = self.current
        if current is None or not current.compromised or self.c.key_id is None:
            return False
        if self.c.failures >= FAILURES_BEFORE_REVOKING_ANYWAY or self.spare():
            return False
        return v.place == Place(self.c.key_id, self.fillable_slot())

    # Why a new version is needed.

    @property
    def why_replace_now(self) -> str | None:
        v = self.current
        if v is None:
            return "no current secret"
        if v.dead_at is not None:
            return "the provider refuses the current secret"
        if v.expired(self.now):
            return "the current secret expired"
        if not v.stored:
            return "the current secret is not in the store any more"
        return "the current secret leaked" if v.compromised else None

    @property
    def why_due(self) -> str | None:
        v = self.current
        if v is None:
            return None
        order = self.c.order_of(OrderKind.ROTATE, OrderKind.NEW_KEY)
        if order:
            return f"ordered: {order.reason}" if order.reason else "ordered"
        against = self.contradiction(v)
        if against:
            return against
        if v.reported_at and not self.spec.probes:
            return "a client reported that it is refused"
        due = self.c.due_at(v)
        return "rotate_before reached" if due and self.now >= due else None

    def spare(self) -> Version | None:
        """An earlier version that works or can be switched on again: quicker than a new one."""
        leaked = self.current is not None and self.current.compromised
        stages = (Stage.PREVIOUS,) if leaked else (Stage.PREVIOUS, Stage.RETIRED)
        candidates = [v for stage in stages for v in reversed(self.c.all_at(stage))]
        return next((v for v in candidates if self._takes_over(v)), None)

    def spare_to_return_to(self) -> Version | None:
        """What a person's rollback returns to: the last one that was current and still works."""
        candidates = reversed(self.c.all_at(Stage.PREVIOUS, Stage.RETIRED))
        return next((v for v in candidates if self._takes_over(v)), None)

    def _takes_over(self, v: Version) -> bool:
        if self._tried(v) or v.compromised or not v.stored or not self.c.in_place(v):
            return False
        if any(w.attempt == v.attempt and w.dead_at for w in self.versions):
            return False  # its secret was found dead under another number
        if self.current is not None and v.attempt == self.current.attempt:
            return False
        if v.expires_at and v.expires_at - self.now <= self.c.policy.verify.within:
            return False
        if not self.spec.observes:
            return True
        seen = self.seen(v)
        return seen is not None and self.shows(v) and seen.state not in GONE

    def _tried(self, v: Version) -> bool:
        """Taking it over came to nothing: the provider did not accept it."""
        return any(w.carries == v.number and w.given_up for w in self.versions)

    def rest_after_giving_up(self) -> datetime | None:
        """Three versions in a row that came to nothing: from then on only now and then."""
        given_up = self._given_up()
        if len(given_up) < GIVE_UPS_BEFORE_FAILING:
            return None
        last = given_up[-1].requested_at
        if any(order.recorded_at > last for order in self.c.orders if order.open):
            return None
        until = last + self.c.policy.retry.max
        return until if NO_TIME < until - self.now <= self.c.policy.retry.max else None

    def _given_up(self) -> list[Version]:
        promoted = max((v.number for v in self.versions if v.promoted_at), default=0)
        return [v for v in self.versions if v.given_up and v.number > promoted]

    @property
    def given_up_for_good(self) -> bool:
        """Was what failed last a wish that nobody has any more?"""
        wished = self.c.failed_step in ("create", "issue", "carry", "activate", "verify")
        return wished and not (self.c.open_version or self.why_due or self.why_replace_now)

    @property
    def last_given_up(self) -> str | None:
        return next((v.given_up for v in reversed(self._given_up())), None)

    def key_begun(self) -> str | None:
        """The new key that an earlier try at the same order already made."""
        order = self.c.order_of(OrderKind.NEW_KEY)
        made = [v for v in self._given_up() if order and v.requested_at >= order.recorded_at]
        useless = {self.c.key_id, *(v.handle for v in made if v.slot_refused)}
        return next((v.handle for v in made if v.handle not in useless), None)

    @property
    def stuck(self) -> bool:
        """No slot of the key can ever be filled again."""
        if not self.spec.slots or self.c.key_id is None or self.c.order_of(OrderKind.NEW_KEY):
            return False
        places = [Place(self.c.key_id, slot) for slot in self.spec.slots]
        current = self.current if self.current and self._usable_now(self.current) else None
        in_use = current.place if current else None
        return all(self._refused(p) or p == in_use for p in places)

    @property
    def waits_for_slot(self) -> datetime | None:
        """When a slot comes free that an overlap needs; None if one is free or none will be."""
        if not self.spec.slots or self.c.key_id is None or self.fillable_slot():
            return None
        ends = [self.overlap_ends(v) for v in self.c.all_at(Stage.PREVIOUS)]
        return max((end for end in ends if end > self.now), default=None)

    # Overlap.

    def overlap_ends(self, v: Version) -> datetime:
        assert v.replaced_at is not None
        return v.replaced_at + (self.c.policy.overlap if v.overlap is None else v.overlap)

    def taken_over_later(self, v: Version) -> bool:
        """Did a later version carry its secret on? Then that one's overlap is what counts."""
        kept = self.c.all_at(Stage.CURRENT, Stage.PREVIOUS)
        return any(w.number > v.number and w.attempt == v.attempt for w in kept)

    def overlap_cap(self, v: Version) -> datetime:
        """When the version goes even if it is still used."""
        assert v.replaced_at is not None
        if self.c.policy.max_overlap is not None:
            return max(v.replaced_at + self.c.policy.max_overlap, self.overlap_ends(v))
        if self.why_due or self.current is None or self.current.expires_at is None:
            return self.overlap_ends(v)
        return self.c.due_at(self.current) or self.overlap_ends(v)

    def quiet(self, v: Version) -> bool:
        """Nobody was seen using it lately. A veto only: silence proves nothing."""
        seen = self.seen(v)
        if seen is None or seen.last_used_at is None or v.replaced_at is None:
            return True
        overlap = self.overlap_ends(v) - v.replaced_at
        lately = max(self.c.policy.max_client_staleness, overlap / 2)
        return seen.last_used_at <= v.replaced_at or self.now - seen.last_used_at >= lately

    @property
    def current_is_sound(self) -> bool:
        """May anything else be switched off? Only beside a current secret that is seen to work."""
        v = self.current
        if v is None or not self._usable_now(v):
            return False
        if not self.spec.observes:
            return True
        seen = self.seen(v)
        return seen is not None and seen.state == State.ACTIVE and self.shows(v)

    @property
    def quiet_from(self) -> datetime | None:
        """Until when a change without an answer may still be carried out.

        None if there is none, if the provider was seen to refuse such calls, or if there is no slot
        whose new secret it could kill.
        """
        if self.c.unanswered_at is None or self.c.fenced or not self.spec.slots:
            return None
        return self.c.unanswered_at + self.spec.late

    # When to look again.

    def wake_at(self) -> datetime:
        """The first moment at which some rule could say something new."""
        times = [self.o.at + self.c.policy.observe_every] if self.o and self.handles else []
        for v in self.versions:
            if v.stage is Stage.PREVIOUS:
                times += [self.overlap_ends(v), self.overlap_cap(v)]
            if v.stage is Stage.CURRENT and v.expires_at:
                times += [self.c.due_at(v) or v.expires_at, v.expires_at]
            if v.compromised and v.revoked_at is None and v.expires_at:
                times.append(v.expires_at)
        rest = self.rest_after_giving_up()
        times += [rest] if rest else []
        return min((t for t in times if t > self.now), default=self.now + LOOKS_AHEAD)


def _looks(seen: SlotSeen | None, mask: str | None, expires_at: datetime | None) -> bool:
    if seen is None:
        return False
    if mask is not None and seen.mask is not None and mask != seen.mask:
        return False
    if expires_at is None or seen.expires_at is None:
        return True
    return abs(expires_at - seen.expires_at) <= SAME_EXPIRY
