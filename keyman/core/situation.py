"""Questions that the rules ask of one credential at one moment.

Each answer is a plain fact, from the journal's record and the picture beside it (picture.py); what
follows from it is decided in rotation.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from keyman.core.model import NOT_SHOWN, OrderKind, Place, Stage, State, Version
from keyman.core.picture import GONE, NO_TIME, Picture, looks
from keyman.core.policy import GIVE_UPS_BEFORE_FAILING, RetireBy

LOOKS_AHEAD = timedelta(hours=1)
ASKED_AGAIN_AFTER = timedelta(seconds=5)  # long enough to meet another of the provider's nodes
FAILURES_BEFORE_REVOKING_ANYWAY = 3
PATIENCE = timedelta(minutes=5)  # with an inference that may refuse everybody for a while
# Journals hold this sentence, and rules ask for it: in other words it would be another fact.
NEITHER_ACCEPTED = "the provider accepted neither it nor the current secret in time"


@dataclass(frozen=True, slots=True)
class InUse:
    """A slot whose secret isn't ours, and that was used too lately to be filled."""

    slot: str
    last_used_at: datetime
    quiet_at: datetime  #: it may be filled from then on, unless it is used again

    @property
    def said(self) -> str:
        used, quiet = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (self.last_used_at, self.quiet_at))
        return (
            f"{self.slot} is ACTIVE with a secret that is not keyman's, last used at {used}: "
            f"it is not filled before {quiet}"
        )


@dataclass(frozen=True, slots=True)
class Situation(Picture):
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
        ours = looks(seen, None, v.expires_at) or self.shows_what_was_before(v)
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
        refused = v.stored and self._was_refused(v)  # what the store lost nobody refused
        if v.compromised or v.expired(self.now) or not self.c.in_place(v) or refused:
            return True
        over = self.now >= self.overlap_ends(v)
        kept_on = self.c.policy.retire is RetireBy.KEEP or not self.spec.observes
        return over and kept_on and (self.quiet(v, self.now) or self.now >= self.overlap_cap(v))

    def fillable_slot(self) -> str | None:
        """A slot of the home key that nobody depends on and that the provider will fill."""
        assert self.c.key_id
        places = (Place(self.c.key_id, s) for s in self.spec.slots)
        free = [(*self._reluctance(p), p) for p in places if self._free(p)]
        return min(free, key=lambda ranked: ranked[:3])[3].slot if free else None

    def _reluctance(self, place: Place) -> tuple[bool, bool, bool]:
        """What speaks against filling a place that may be filled, the weightiest first."""
        v = self.current
        in_it = v is not None and v.place == place
        # A probe may have been refused for another reason than its death.
        may_live = in_it and v is not None and not (self._shown_gone(v) or v.expired(self.now))
        return may_live, self._on_for_strangers(place), in_it

    def _free(self, place: Place) -> bool:
        if place in self._depended_on() or self._refused(place):
            return False
        return not self._used_by_strangers(place)

    def _refused(self, place: Place) -> bool:
        last = next((v for v in reversed(self.versions) if v.is_in(place)), None)
        seen = self.o.slot(place) if self.o else None
        deleted = seen is not None and seen.state == State.DELETED
        key = self.o.key(place.handle) if self.o else None
        if deleted or (key is not None and key.state in (State.DELETED, NOT_SHOWN)):
            return True
        return bool(last and last.slot_refused and seen and seen.state in GONE)

    def _on_for_strangers(self, place: Place) -> bool:
        """Is it active with a secret that isn't ours?

        What a lost answer left there, and the second secret of a key that we made, have no user.
        """
        seen = self.o.slot(place) if self.o else None
        tenant = self.c.tenant(place)
        ours = tenant is not None and looks(seen, tenant.mask, tenant.expires_at)
        lost = (v for v in self.versions if v.issued_at is None and v.is_in(place))
        ours = ours or any(v.expires_at and looks(seen, None, v.expires_at) for v in lost)
        ours = ours or (self.c.silence == place.slot and place.handle == self.c.key_id)
        return seen is not None and seen.state == State.ACTIVE and not ours

    def _used_by_strangers(self, place: Place) -> bool:
        """An active slot with a secret that isn't ours and was used lately may be somebody's."""
        quiet = self._strangers_quiet_at(place)
        return quiet is not None and self.now < quiet

    def _strangers_quiet_at(self, place: Place) -> datetime | None:
        """When its last use by strangers is an overlap ago; None if nobody was seen using it."""
        seen = self.o.slot(place) if self.o else None
        if seen is None or seen.last_used_at is None or not self._on_for_strangers(place):
            return None
        return seen.last_used_at + self.c.policy.overlap

    def who_uses_is_old_news(self, slot: str) -> bool:
        """Was this slot in use by strangers, and is it long ago that anybody looked?"""
        assert self.c.key_id
        quiet = self._strangers_quiet_at(Place(self.c.key_id, slot))
        return quiet is not None and not self.fresh_since(quiet)

    @property
    def used_by_strangers(self) -> InUse | None:
        """What alone keeps a slot from being filled that is needed now; None if nothing does."""
        if self.why_replace_now is None and self.why_due is None:
            return None
        return self.strangers_in_the_way

    @property
    def strangers_in_the_way(self) -> InUse | None:
        """The same, needed now or later."""
        if not self.spec.slots or self.c.key_id is None or self.c.order_of(OrderKind.NEW_KEY):
            return None
        if self.c.open_version or self.spare() or self.fillable_slot():
            return None
        places = [Place(self.c.key_id, slot) for slot in self.spec.slots]
        free = [p for p in places if p not in self._depended_on() and not self._refused(p)]
        found = [(quiet, p.slot) for p in free if (quiet := self._strangers_quiet_at(p))]
        if not found:
            return None
        quiet, slot = min(found)
        return InUse(slot or "", quiet - self.c.policy.overlap, quiet)

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

    @property
    def has_only_its_own_place(self) -> bool:
        """Would a new secret be filled in over what lookups hand out, which may still work?"""
        v = self.current
        ordered = self.c.order_of(OrderKind.ROTATE, OrderKind.NEW_KEY)
        if v is None or v.place is None or ordered or not self.spec.slots or not self.c.key_id:
            return False
        return v.place == Place(self.c.key_id, self.fillable_slot())

    def spare(self) -> Version | None:
        """An earlier version that works or can be switched on again: quicker than a new one.

        What people bring they replaced for a reason, and a door may have refused everybody for a
        while: a refusal alone brings none of it back.
        """
        if self.spec.by_hand and self.current is not None and self.current.dead_at is not None:
            return None
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
        return any(self._tries(v))

    def _tries(self, v: Version) -> list[Version]:
        return [w for w in self.versions if w.carries == v.number and w.given_up]

    def _refused_like_the_current(self, v: Version) -> bool:
        """Wherever it was tried, did inference refuse the current secret as well?"""
        return all(w.given_up == NEITHER_ACCEPTED for w in self._tries(v))

    def _was_refused(self, v: Version) -> bool:
        """Was it refused, and not just like a current secret that is accepted again by now?"""
        back = self.current is not None and self.current.dead_at is None
        return self._tried(v) and not (back and self._refused_like_the_current(v))

    @property
    def patient_until(self) -> datetime | None:
        """Until when two refusals may be a fault of inference; None if that isn't to be thought.

        It refuses the current secret, which the control plane shows as good, and the one before it:
        whichever is overwritten may be the one that works again in a moment. What a person ordered
        doesn't wait for that.
        """
        if not self.refused_though_shown:
            return None
        v = self.current
        assert v
        ordered = self.c.order_of(OrderKind.ROTATE, OrderKind.NEW_KEY)
        if v.compromised or not v.stored or v.restored_at or ordered:
            return None
        old = (p for p in self.c.all_at(Stage.PREVIOUS) if not p.compromised)
        valued = (p for p in old if self.now < self.goes_at(p))
        tries = [w for p in valued if self._refused_like_the_current(p) for w in self._tries(p)]
        until = max((w.probed_at + PATIENCE for w in tries if w.probed_at), default=self.now)
        return until if NO_TIME < until - self.now <= PATIENCE else None

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
        if self.c.open_version or self.why_due or self.why_replace_now:
            return False
        if self.c.failed_step in ("create", "issue", "carry", "activate", "verify"):
            return True
        # None: what came before it succeeded since, and itself was not tried again.
        return self.c.failed_step in ("claim", "retire", None) and not self._to_be_switched

    @property
    def _to_be_switched(self) -> bool:
        """Is there something left to switch off, or to destroy?"""
        asked = self.c.silence is not None or any(order.open for order in self.c.orders)
        leaks = any(v.compromised and v.revoked_at is None for v in self.versions)
        gone = (self.now >= self.goes_at(v) for v in self.c.all_at(Stage.PREVIOUS))
        return asked or leaks or (any(gone) and self.c.policy.retire is not RetireBy.KEEP)

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
        current = self.current
        in_use = current.place if current and self._usable_now(current) else None
        return all(p == in_use or self._refused(p) for p in places)

    @property
    def waits_for_slot(self) -> datetime | None:
        """When a slot comes free that an overlap needs; None if one is free or none will be."""
        if not self.spec.slots or self.c.key_id is None or self.fillable_slot():
            return None
        ends = [self.goes_at(v) for v in self.c.all_at(Stage.PREVIOUS)]
        return max((end for end in ends if end > self.now), default=None)

    # What a probe is asked that nothing certain speaks for.

    def suspected(self, v: Version) -> bool:
        """Is a probe worth its while, though nothing that counts by itself speaks against it?"""
        second = self._second_opinion_at(v)
        if second is not None:
            return self.now >= second
        if self.spec.by_hand or self.patient_until:
            return not NO_TIME <= self.now - self._known_good_at(v) < self._unseen_for(v)
        early = self.early_sign(v) is not None and v.dead_at is None
        return early and not (v.examined_at and self.o and v.examined_at >= self.o.at)

    def takes_two(self, v: Version) -> bool:
        """Is one refusal too little to believe that it is dead? It may be of a node that lags.

        It is enough beside what the provider shows, or what a client met; and for what nobody uses.
        """
        beside = v.reported_at or v.dead_at or self.contradiction(v) or self.hidden(v)
        unused = v is not self.current or v.compromised or v.restored_at
        return not (beside or unused) and self._second_opinion_at(v) is None

    def _second_opinion_at(self, v: Version) -> datetime | None:
        """When it is asked again what one probe was refused; None if none was, just now."""
        if v.examined_at is None or not v.refusals or v.dead_at is not None:
            return None
        lately = NO_TIME <= self.now - v.examined_at <= ASKED_AGAIN_AFTER * 12
        return v.examined_at + ASKED_AGAIN_AFTER if lately else None

    def report_examined_at(self, v: Version) -> datetime:
        """When a client's report is examined: at once, and later and later while nobody answers."""
        assert v.reported_at is not None
        asked = v.examined_at
        if asked is None or asked < v.reported_at or asked > self.now:
            return self.now
        often = self.c.policy.observe_every
        return asked + min(max(asked - v.reported_at, ASKED_AGAIN_AFTER), often)

    def _known_good_at(self, v: Version) -> datetime:
        return v.examined_at or v.promoted_at or v.requested_at  # or it was asked when it came

    def _unseen_for(self, v: Version) -> timedelta:
        """How long nobody asks. What is dead is missed: a door may have refused everybody."""
        often = PATIENCE if self.patient_until else self.c.policy.observe_every
        return max(often / 8, ASKED_AGAIN_AFTER) if v.dead_at else often

    def _asked_at(self, v: Version) -> datetime | None:
        """When a probe of it comes by itself."""
        if not self.spec.probes or not v.stored or v.restored_at is not None:
            return None
        if v.reported_at is not None:
            return self.report_examined_at(v)
        asked = self.spec.by_hand or self.patient_until
        unseen = self._known_good_at(v) + self._unseen_for(v) if asked else None
        return self._second_opinion_at(v) or unseen

    @property
    def probes_at(self) -> datetime | None:
        """When the current one is next probed by itself, though something else is waited for."""
        v = self.current
        if v is None or v.expired(self.now):
            return None
        if self.resting and (v.reported_at is None or self.c.failed_step == "examine"):
            return None  # that can wait until the rest is over
        at = self._asked_at(v)
        return at if at and at > self.now else None

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

    def quiet(self, v: Version, at: datetime) -> bool:
        """Nobody was seen using it lately, as of then. A veto only: silence proves nothing."""
        if self.still_taken(v):
            return False
        seen = self.seen(v)
        if seen is None or seen.last_used_at is None or v.replaced_at is None:
            return True
        return seen.last_used_at <= v.replaced_at or at >= self._quiet_at(v, seen.last_used_at)

    def _quiet_at(self, v: Version, last_used_at: datetime) -> datetime:
        assert v.replaced_at is not None
        overlap = self.overlap_ends(v) - v.replaced_at
        return last_used_at + max(self.c.policy.max_client_staleness, overlap / 2)

    def goes_at(self, v: Version) -> datetime:
        """When it may be let go: its overlap is over, and its users gone or waited for enough.

        No moment to wake at: who uses it then, the next look after that shows.
        """
        ends, cap, seen = self.overlap_ends(v), self.overlap_cap(v), self.seen(v)
        if self.now < ends or self.quiet(v, self.now):
            return ends
        used = seen.last_used_at if seen and not self.still_taken(v) else None
        return max(ends, min(cap, self._quiet_at(v, used)) if used else cap)

    def still_taken(self, v: Version) -> bool:
        """Is it what a client that was connected took last, and are such to be waited for?"""
        if self.o is None or not self.c.policy.wait_for_clients:
            return False
        return v.number in self.o.taken

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
        return self.comes_at or self.now + LOOKS_AHEAD

    @property
    def comes_at(self) -> datetime | None:
        """The same; None if nothing is known to come."""
        times = [self.looks_again_at(self.o.at)] if self.o and self.handles else []
        for v in self.versions:
            if v.stage is Stage.PREVIOUS:
                times += [self.overlap_ends(v), self.overlap_cap(v)]
            if v.stage is Stage.CURRENT:
                known = (self.c.due_at(v), v.expires_at, self._asked_at(v))
                times += [moment for moment in known if moment]
            if v.compromised and v.revoked_at is None and v.expires_at:
                times.append(v.expires_at)
        rest, others = self.rest_after_giving_up(), self.used_by_strangers
        times += [rest] if rest else []
        times += [others.quiet_at] if others else []
        times += [self.patient_until] if self.patient_until else []
        return min((t for t in times if t > self.now), default=None)
