"""What to do next: the rules that choose among the steps, and nothing else.

`next_step` compares what the journal says with what the provider last showed, so a lost answer,
a restored backup and a hand in the provider's console are all just a difference. The first rule
that speaks decides; each rule is one sentence about the situation. Two things hold throughout:

* a place that lookups depend on is never filled, and switched off only for a leak;
* every step may be taken twice, because power may go before its record is written.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from keyman.core.model import Credential, Observed, OrderKind, Place, Stage, State, Version
from keyman.core.picture import GONE, NO_TIME
from keyman.core.policy import GIVE_UPS_BEFORE_FAILING, WISH_LIVES, RetireBy
from keyman.core.situation import NEITHER_ACCEPTED, Situation
from keyman.core.steps import (
    Abandon,
    Accept,
    Activate,
    Carry,
    Claim,
    Create,
    Drop,
    Examine,
    Issue,
    Observe,
    Promote,
    Request,
    Retire,
    Revoke,
    Step,
    Verify,
    Wait,
)

FAILURES_BEFORE_REVOKING_LAST = 3
Rule = Callable[[Situation], Step | None]


def next_step(credential: Credential, observed: Observed | None, now: datetime) -> Step:
    """The first rule that speaks decides; if none does, wait until one would."""
    situation = Situation(credential, observed, now)
    for rule in RULES:
        step = rule(situation)
        if isinstance(step, Wait):
            return _or_until_a_probe(situation, step)
        if step is not None:
            return step
    return Wait(situation.wake_at(), "nothing due")


def _or_until_a_probe(s: Situation, wait: Wait) -> Wait:
    """What lookups hand out is asked about in time, whatever else is waited for."""
    probe = s.probes_at
    return wait if probe is None else Wait(min(wait.until, probe), wait.reason)


# Seeing before acting.


def examine_the_reported(s: Situation) -> Step | None:
    """A probe needs nothing else: it is due even while everything else rests."""
    v = s.current
    if v is None or v.reported_at is None or v.expired(s.now) or not v.stored:
        return None
    if not s.spec.probes or v.restored_at is not None:
        return None  # the report is reason enough for a new one; or more than a probe is needed
    if s.resting and s.c.failed_step == "examine":
        return None
    return Examine(v) if s.now >= s.report_examined_at(v) else None


def wait_for_adoption(s: Situation) -> Step | None:
    """A key that somebody else made is not touched before its secret was entrusted to us."""
    if s.versions or not (s.spec.key_id or not s.spec.issues):
        return None
    if s.spec.key_id and s.must_look and not s.resting:
        return _look(s)
    return Wait(s.wake_at(), "not adopted")


def look_again_in_doubt(s: Situation) -> Step | None:
    """After a change or a lost answer, what was seen before no longer counts."""
    if s.c.doubt_at is None or not s.handles or not s.spec.observes:
        return None
    return None if s.resting and s.c.failed_step == "observe" else _look(s)


def rest_after_failure(s: Situation) -> Step | None:
    if not s.resting:
        return None
    assert s.c.retry_at
    return Wait(s.c.retry_at, f"{s.c.failures} failed attempts: {s.c.last_error}")


def look_every_so_often(s: Situation) -> Step | None:
    return _look(s) if s.must_look else None


def _look(s: Situation) -> Step:
    return Observe(s.handles, s.optional)


def leave_it_to_its_owner(s: Situation) -> Step | None:
    """Two installations that drive one key would destroy each other's secrets.

    What is dead is noticed before that: to look and to probe changes nothing for the other one.
    """
    other = s.other_owner
    return Wait(s.wake_at(), f"the key is managed by {other}") if other else None


# Facts that came from outside.


def prove_the_restored(s: Situation) -> Step | None:
    """What a backup brought back is handed out once the provider was seen to accept it.

    With our mark on the key first: a call of whoever drove it until then may still be under way.
    """
    v = s.current
    if v is None or v.restored_at is None or v.dead_at or v.expired(s.now) or not v.stored:
        return None  # what cannot be handed out is replaced, like any other
    if not s.spec.probes:
        return None  # a person knows, or nobody
    if s.quiet_from and s.seen(v) and s.now < s.quiet_from:
        late = "a call of an earlier owner may still arrive"
        return _owned(s, v.place, Wait(s.quiet_from, late))
    return Examine(v)


def examine_the_doubtful(s: Situation) -> Step | None:
    """A probe decides whether what lookups hand out still works, or works again.

    Asked when the provider's own picture speaks against it, or not of it.
    """
    v = s.current
    if v is None or v.expired(s.now) or not v.stored or not s.spec.probes:
        return None
    if v.restored_at is not None and v.dead_at is None:
        return None  # not handed out, and what proves it is more than a probe
    speaks_against = v.dead_at is not None or s.contradiction(v) is not None or s.hidden(v)
    asked = speaks_against or s.left_open(v) is not None
    return Examine(v) if asked and s.o and not _examined_since(s, v) else None


def examine_the_suspected(s: Situation) -> Step | None:
    """Somebody may have revoked it right after our own change, when pictures may be old; or it
    is of a kind that nobody shows. Asking costs little, and what a probe is refused twice is dead.
    """
    v = s.current
    if v is None or v.expired(s.now) or not v.stored or not s.spec.probes or v.restored_at:
        return None
    return Examine(v) if s.suspected(v) else None


def _examined_since(s: Situation, v: Version) -> bool:
    """Once a picture is enough."""
    assert s.o
    return v.examined_at is not None and v.examined_at >= s.o.at


def accept_what_is_so(s: Situation) -> Step | None:
    for v in s.c.all_at(Stage.PREVIOUS, Stage.RETIRED):
        fact = s.changed_outside(v)
        if fact is None:
            continue
        if not _only_looks_otherwise(s, v):
            return Accept(v, *fact)
        if not _examined_since(s, v):
            return Examine(v)
        if v.dead_at is not None:
            return Accept(v, *fact)
    return None


def _only_looks_otherwise(s: Situation, v: Version) -> bool:
    """Is its slot on, in its overlap, and is it just its look that tells of another secret?

    A provider may show its masks or ends differently from one day to the next. Who still uses the
    secret depends on it: that its slot may be filled again takes more than a look.
    """
    if v.stage is not Stage.PREVIOUS or s.shows(v) or not (s.spec.probes and v.stored):
        return False
    seen = s.seen(v)
    return seen is not None and seen.state == State.ACTIVE and s.now < s.overlap_ends(v)


# Leaks.


def revoke_the_compromised(s: Situation) -> Step | None:
    """Whatever leaked is destroyed, once a replacement is there or if none was to be awaited."""
    refused = s.c.failed_step == "revoke" and s.c.failures >= FAILURES_BEFORE_REVOKING_LAST
    return None if refused else _revoke(s)


def revoke_what_is_left(s: Situation) -> Step | None:
    """A revocation that the provider refuses must not hold up everything else."""
    return _revoke(s)


def _revoke(s: Situation) -> Step | None:
    """A slot about to be filled again isn't revoked first: filling destroys the old secret just as
    well, and a provider may refuse to fill a revoked slot.
    """
    for v in s.versions:
        if not v.compromised or v.revoked_at is not None or v.stage is Stage.REQUESTED:
            continue
        if s.destroyed(v):
            return Accept(v, Stage.REVOKED, "destroyed at the provider")
        if not s.spec.revokes:
            continue  # it dies when it expires, and not before
        if s.hidden(v) and s.c.order_of(OrderKind.NEW_KEY):
            continue  # nothing can be done there, and its replacement must not wait for that
        if s.missing(v) and v.stored and not _examined_since(s, v):
            return Examine(v)
        if not _must_wait(s, v):
            return _owned(s, v.place, Revoke(v))
    return None


def _must_wait(s: Situation, v: Version) -> bool:
    """Is something else to come before this leaked version is destroyed?"""
    if s.deleted_and_alive(v):
        return True  # deleting it once more would tell nothing: it is looked at again soon
    if s.filling(v.place):
        return True
    if v.revoke_first:
        return False
    return s.shares_the_current_secret(v) or s.wanted_for_replacement(v)


# A rotation in flight.


def finish_what_was_begun(s: Situation) -> Step | None:
    v = s.c.open_version
    if v is None:
        return None
    return _ask(s, v) if v.stage is Stage.REQUESTED else _prove(s, v)


def _ask(s: Situation, v: Version) -> Step:
    assert s.may_fill(v), f"{s.c.name}: version {v.number} would overwrite what lookups depend on"
    if v.carries is not None:
        return Carry(v)
    if s.now - v.requested_at > WISH_LIVES or v.expired(s.now):
        return Abandon(v, "the wish grew too old")
    if v.handle is None and s.spec.slots:
        return Create(v)
    seen = s.seen(v)
    if seen and seen.state == State.DELETED:
        return Abandon(v, "its key was deleted at the provider", for_good=True)
    if s.hidden(v):
        given_up = v.handle == s.c.key_id or s.now - v.requested_at >= s.c.policy.verify.within
        reason = "the provider shows its key no more"
        return Abandon(v, reason, for_good=True) if given_up else _look_again(s)
    if s.taken_by_a_stranger(v):
        return Abandon(v, "someone else filled its slot, and uses it")
    return _owned(s, v.place, Issue(v))


def _prove(s: Situation, v: Version) -> Step:
    """From a stored secret to the current one: seen as it should be, active, accepted."""
    verify = s.c.policy.verify
    if v.compromised:  # and the provider refused to revoke it until now
        return Abandon(v, "it leaked before it was promoted")
    if v.expired(s.now):
        return Abandon(v, "it expired before it was promoted")
    picture = _as_the_provider_shows_it(s, v)
    if picture is not None:
        return picture
    quiet_from = s.quiet_from
    if quiet_from and s.now < quiet_from:
        late = "a call without an answer may still arrive"
        return _owned(s, v.place, Wait(quiet_from, late))
    refused = v.refusals and not v.successes
    if refused and v.probe_from and s.now - v.probe_from >= verify.within:
        both = s.refused_though_shown
        return Abandon(v, NEITHER_ACCEPTED if both else "the provider did not accept it in time")
    proven = v.verified_at is not None and NO_TIME <= s.now - v.verified_at <= verify.within
    if proven or verify.successes == 0:
        return _ask_the_refused(s, v) or Promote(v)
    again = v.probed_at + verify.every if v.probed_at else s.now
    if v.verified_at is None and NO_TIME < again - s.now <= verify.every:
        return Wait(again, f"verified {v.successes} of {verify.wanted(v.refusals)} times")
    return Verify(v)


def _ask_the_refused(s: Situation, v: Version) -> Step | None:
    """Where inference refused an earlier secret too at first, the current one may be accepted by
    now like that: it then keeps its overlap, which what is dead has not.
    """
    if v.carries is None or not v.refusals or not s.refused_though_shown:
        return None
    current = s.current
    assert current
    if not current.stored or v.verified_at is None:
        return None
    asked = current.examined_at is not None and current.examined_at >= v.verified_at
    return None if asked else Examine(current)


def _as_the_provider_shows_it(s: Situation, v: Version) -> Step | None:
    """None once the provider shows the version where and as it should be."""
    if not s.spec.observes:
        return None
    verify = s.c.policy.verify
    seen = s.seen(v)
    if seen and s.shows(v) and seen.state == State.ACTIVE:
        return None
    begun = v.issued_at or v.requested_at
    # A picture from before our own change may show anything that the slot ever held.
    if s.shows(v) or s.settled_since(begun):
        if seen is None or seen.state in GONE:
            return Abandon(v, "its slot is gone, revoked or expired at the provider")
        if not s.shows(v) and not s.shows_what_was_before(v):
            return Abandon(v, "someone else changed its slot")
    if seen and s.shows(v) and seen.state == State.INACTIVE:
        if s.just_activated(v):
            return _look_again(s)
        if v.activated_at and s.now - begun >= verify.within:
            return Abandon(v, "the provider does not switch it on")
        assert v.place
        return _owned(s, v.place, Activate(v.place))
    if s.now - (v.activated_at or begun) < verify.within:
        return _look_again(s)
    shown = f"shows it as {seen.state}" if seen and s.shows(v) else "does not show it"
    return Abandon(v, f"the provider {shown}")


def _look_again(s: Situation) -> Step:
    assert s.o
    again = s.o.at + s.c.policy.verify.every
    return _look(s) if s.now >= again else Wait(again, "the provider does not show it yet")


# Replacing what lookups hand out.


def replace_what_is_lost(s: Situation) -> Step | None:
    """Nothing to hand out, or nothing that may be: take what still works, else have one made, but
    not over what may work again in a moment.
    """
    why = s.why_replace_now
    if why is None or s.c.open_version:
        return None
    spare = s.spare()
    if spare:
        return _take_over(spare, why)
    if s.patient_until:
        return Wait(s.wake_at(), "the provider shows as good what it refuses")
    return _fill(s, why)


def _take_over(spare: Version, why: str) -> Step:
    return Request(spare.slot, spare.handle, spare.expires_at, spare.number, why)


def request_when_due(s: Situation) -> Step | None:
    why = s.why_due
    if why is None or s.c.open_version:
        return None
    spare = s.spare() if s.has_only_its_own_place else None
    return _take_over(spare, why) if spare else _fill(s, why)


def _fill(s: Situation, why: str) -> Step | None:
    if not s.spec.issues:
        return None  # a person puts in the next one
    until = s.rest_after_giving_up()
    if until:
        return Wait(until, f"given up {GIVE_UPS_BEFORE_FAILING} times: {s.last_given_up}")
    expires_at = (s.now + s.c.policy.lifetime).replace(microsecond=0)
    if not s.spec.slots:
        return Request(None, None, expires_at, None, why)
    if s.c.order_of(OrderKind.NEW_KEY) or s.c.key_id is None:
        return Request(s.spec.slots[0], s.key_begun(), expires_at, None, why)
    slot = s.fillable_slot()
    if slot and s.who_uses_is_old_news(slot):
        return _look(s)
    return Request(slot, s.c.key_id, expires_at, None, why) if slot else None


# Tidying up.


def retire_when_overlap_ends(s: Situation) -> Step | None:
    for v in s.c.all_at(Stage.PREVIOUS):
        ends = s.overlap_ends(v)
        if s.now < ends or v.compromised or s.c.policy.retire is RetireBy.KEEP:
            continue
        if not s.c.in_place(v) or s.taken_over_later(v):
            return Accept(v, Stage.RETIRED, "a later version has its place")
        if not s.fresh_since(ends):
            return _look(s)
        if s.hidden(v):
            return Accept(v, Stage.RETIRED, "the provider shows its key no more")
        if s.current_is_sound and (_seen_unused(s, v) or s.now >= s.overlap_cap(v)):
            return _switch_off(s, v)
    return None


def _seen_unused(s: Situation, v: Version) -> bool:
    """By a picture in which it had been unused for long enough: an older one shows no later use."""
    return s.quiet(v, s.o.at if s.o else s.now)


def _switch_off(s: Situation, v: Version) -> Step:
    assert v.place
    assert s.current
    assert s.current.place != v.place, f"{s.c.name}: {v.place} is what lookups depend on"
    if s.c.policy.retire is RetireBy.REVOKE:
        return _owned(s, v.place, Revoke(v))
    return _owned(s, v.place, Retire(v.place, v))


def silence_the_standby(s: Situation) -> Step | None:
    """A key we made has a second secret that nobody kept: switched off, it can't be misused."""
    if s.c.silence is None or s.c.home is None or s.c.open_version or not s.current_is_sound:
        return None
    place = Place(s.c.home, s.c.silence)
    return None if s.depends_on(place) else _owned(s, place, Retire(place, None))


def obey_switches(s: Situation) -> Step | None:
    order = s.c.order_of(OrderKind.ACTIVATE, OrderKind.DEACTIVATE)
    if order is None or s.c.key_id is None:
        return None
    place = Place(s.c.key_id, order.slot)
    if order.kind is OrderKind.ACTIVATE:
        return _owned(s, place, Activate(place))
    return _owned(s, place, Retire(place, s.c.tenant(place)))


def destroy_what_came_to_nothing(s: Situation) -> Step | None:
    """A slot is simply filled again; a key of its own would stay, and live, and cost a place."""
    for v in s.versions:
        if s.left_over(v):
            gone = s.destroyed(v) or s.missing(v)  # nobody was ever to use it
            return Accept(v, Stage.REVOKED, "destroyed at the provider") if gone else Revoke(v)
    return None


def drop_dead_secrets(s: Situation) -> Step | None:
    dead = (v for v in s.versions if v.stage is Stage.REVOKED and v.stored)
    return next((Drop(v) for v in dead), None)


RULES: tuple[Rule, ...] = (
    wait_for_adoption,
    examine_the_reported,
    look_again_in_doubt,
    rest_after_failure,
    look_every_so_often,
    examine_the_doubtful,
    examine_the_suspected,
    accept_what_is_so,
    leave_it_to_its_owner,
    prove_the_restored,
    revoke_the_compromised,
    finish_what_was_begun,
    replace_what_is_lost,
    retire_when_overlap_ends,
    silence_the_standby,
    obey_switches,
    request_when_due,
    revoke_what_is_left,
    destroy_what_came_to_nothing,
    drop_dead_secrets,
)


def _owned(s: Situation, place: Place | None, step: Step) -> Step:
    """A change at the provider needs our epoch in the key first."""
    if not s.spec.claims or place is None or s.c.claimed == s.c.epoch:
        return step
    return Claim(place.handle, s.c.epoch)
