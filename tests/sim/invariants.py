"""What must hold at every effect and every record, judged from the world's own truth.

The watch never asks the core what it thinks; from the journal it reads only what lookups would
hand out and what is claimed to have happened. What the outside did (console, clock, expiry) is
never blamed on keyman, but it has to be noticed in time.

I9 (a secret is nowhere but in the store) is checked here on the journal alone; logs, files and
processes are other tests' business.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from keyman.core.model import Credential, OrderKind, Place, Secret, Stage, Verdict, Version
from keyman.core.steps import Wait
from keyman.db.journal import Lease
from tests.sim.cloud import ANOTHER, LONG_AGO
from tests.sim.setups import Kind

if TYPE_CHECKING:
    from tests.sim.world import World

OPEN = (Stage.REQUESTED, Stage.PENDING)
A_SWEEP = timedelta(seconds=16)  # and the moment it takes
ONCE_SHOWN = timedelta(seconds=30)  # that it is dead, for probes some seconds apart
NOTICING = timedelta(minutes=15)  # beyond observe_every: backoff, late calls, verification


class Broken(Exception):
    """An invariant doesn't hold."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


class Watch:
    def __init__(self, world: World) -> None:
        self.world = world
        self.leaked: dict[str, bool] = {}  # secret: was it to be revoked at once?
        self.left: dict[str, tuple[datetime, timedelta]] = {}  # secret: replaced when, overlap
        self.put_as: dict[str, str] = {}  # attempt: its secret; numbers recur after a restore
        self.put_unrecorded: dict[int, str] = {}  # number of a version that isn't recorded yet
        self.proven: dict[str, datetime] = {}  # secret: when a probe of ours was accepted
        self.probes: dict[str, datetime] = {}
        self.overlap_wish: timedelta | None = None
        self.wanted_on: set[str] = set()
        self.published: int | None = None
        self.promotions = 0
        self.highest = 0
        self.touched_at: datetime | None = None  # last change from outside
        self.clocks_set = False
        self.set_in_turn = 0  # in which the clock was set last
        self.set_back = timedelta(0)  # by how much, since what is handed out was last seen to work
        self.was_restored = False
        self.only_begun = frozenset[str]()  # in the backup that came back; maybe handed out since
        self.refused_since: datetime | None = None
        self.vouched_at: datetime = LONG_AGO  # a probe was told that the secret is known
        self.silent_at: datetime = LONG_AGO  # a probe was told nothing
        self.shown_dead: tuple[str, datetime] | None = None  # what is handed out, and since when
        self.store_was_asked = False  # whether it can take another secret
        self.ever_handed: set[str] = set()

    # What is so.

    def handed(self, record: Credential | None = None) -> tuple[Version, str] | None:
        """What lookups hand out: never a secret known to be dead."""
        record = record or self.world.record
        v = record.current
        if v is None or v.dead_at or v.expired(self.world.now()):
            return None
        if v.compromised and v.revoke_first:
            return None
        secret = self.world.safe.secrets.get((record.name, v.number))
        return (v, secret.reveal()) if secret else None

    def last_used(self, secret: str, by: datetime) -> datetime | None:
        """Clients use what they were handed, and keep it for as long as the slowest of them."""
        used = [self.probes[secret]] if secret in self.probes else []
        handed = self.handed()
        if handed and handed[1] == secret:
            used.append(by)
        elif secret in self.left:
            used.append(min(by, self.left[secret][0] + self.world.setup.held))
        return max(used, default=None)

    # Things that happen.

    def outside(self) -> None:
        self.touched_at = self.world.true

    def clock_set(self, by: timedelta) -> None:
        self.outside()
        self.clocks_set = True
        self.set_back = max(self.set_back - by, timedelta(0))
        if self.set_back > self.world.setup.policy.observe_every:
            self.set_back = timedelta(0)  # a picture out of the future is looked at again at once
        self.set_in_turn = self.world.turns

    def restored(self) -> None:
        self.outside()
        self.was_restored = True
        self.highest = 0
        kept = {self.secret_of(v) for v in self.world.record.versions if v.compromised}
        self.leaked = {s: now for s, now in self.leaked.items() if s in kept}
        open_orders = (order for order in self.world.record.orders if order.open)
        self.overlap_wish = next((o.overlap for o in open_orders if o.overlap is not None), None)
        handed = self.handed()
        self.highest = handed[0].number if handed else 0
        begun = (v for v in self.world.record.versions if v.promoted_at is None)
        self.only_begun = frozenset(filter(None, (self.put_as.get(v.attempt) for v in begun)))

    def store_restored(self) -> None:
        self.outside()
        self.was_restored = True

    def asking_for_a_secret(self) -> None:
        """What is shown only once is asked for when the store has just said that it is ready."""
        if not self.store_was_asked:
            raise Broken("S", "a secret is asked for, and nobody knows whether it can be kept")
        self.store_was_asked = False

    def pointing(self, secret: str | None) -> None:
        """Who reads a store directly is never ahead of lookups."""
        if secret is not None and secret not in self.ever_handed:
            raise Broken("P", f"direct readers get {secret}, which was never current")

    def followed(self) -> None:
        """Direct readers get what lookups get, one sweep after the last trouble at the latest."""
        if self.was_restored:
            return  # a mirror may have what the store lost, and that may work
        handed = self.handed()
        lookups = handed and (handed[0].number, Secret(handed[1]))
        room = self.world.mirror if self.world.setup.mirrored else self.world.safe
        shown = getattr(room, "shown", None)
        (told,) = self.world.following.status(self.world.setup.name)
        soon = self.world.true - self.world.troubled_at < A_SWEEP
        if shown != lookups and (told["state"] == "ok" or not soon):
            state = told["state"]
            raise Broken("P", f"direct readers get {shown}, lookups {lookups}: {state}")

    def stored(self, number: int, secret: str) -> None:
        version = self.world.record.version(number)
        if version is None:
            self.put_unrecorded[number] = secret
        else:
            self.put_as[version.attempt] = secret

    def secret_of(self, version: Version) -> str | None:
        if self.was_restored and version.issued_at is None:
            return None  # what came of it is of a later life than the journal's
        return self.put_as.get(version.attempt)

    def dropping(self, number: int) -> None:
        handed = self.handed()
        if handed and handed[0].number == number:
            raise Broken("I3", f"the secret of version {number} is dropped, and handed out")

    def probed(self, secret: str, verdict: Verdict) -> None:
        if verdict is Verdict.SILENT:
            if self.shown_dead is not None and self.shown_dead[0] == secret:
                self.silent_at = self.world.true
            return
        if verdict is Verdict.FORBIDDEN:
            self.vouched_at = self.world.true
            return
        self.probes[secret] = self.world.true
        if verdict is Verdict.ACCEPTED:
            self.proven[secret] = self.world.true

    def shown(self, *, stale: bool) -> None:
        """A picture was shown; it may be the end of what is handed out. One of how things were
        before is as good as any to those who look.
        """
        handed, cloud = self.handed(), self.world.cloud
        if stale or handed is None or cloud.sound(handed[1]) or cloud.accepts(handed[1]):
            self.shown_dead = None
        elif self.shown_dead is None or self.shown_dead[0] != handed[1]:
            self.shown_dead = handed[1], self.world.true

    def _no_longer_than_it_takes_to_ask(self, secret: str, record: Credential) -> None:
        """However soon after a change of ours it died: a picture may be old, a probe is not.
        After failures there is a rest, which ends with this very step if it ends.
        """
        world = self.world
        if self.shown_dead is None or self.shown_dead[0] != secret or self.clocks_set:
            return
        if world.setup.lag or record.failures or world.cloud.down_until > self.shown_dead[1]:
            return
        since = max(self.shown_dead[1], world.troubled_at)
        # Without an answer the next picture tells, which must show a change by then.
        unanswered = self.silent_at >= self.shown_dead[1]
        patience = world.setup.policy.verify.within / 2 if unanswered else timedelta(0)
        if world.true - since > ONCE_SHOWN + patience:
            raise Broken("I1/I10", f"{secret} is shown dead since {since}, and was handed out")

    # Every change of ours at the provider.

    def changing(self, verb: str, place: Place, effect: Callable[[], None]) -> None:
        world, cloud = self.world, self.world.cloud
        if cloud.keys[place.handle].owner == ANOTHER:
            raise Broken("I4", f"{verb} of {place.slot}, whose key another installation drives")
        handed = self.handed()
        relied_on = handed[1] if handed and cloud.sound(handed[1]) else None
        leaving = [s for s in self.left if cloud.sound(s) and s != relied_on]
        slot = cloud.keys[place.handle].slots[place.slot]
        was, secret, by_person = slot.state(world.true), slot.secret, slot.off_by_person
        effect()
        self._nobody_is_cut_off(verb, place, relied_on)
        for old in leaving:
            if not cloud.sound(old):
                self._overlap_was_over(verb, old)
        if verb == "activate":
            self._switching_on_was_wanted(place, secret, by_person=by_person)
        if verb == "retire" and was == "ACTIVE":
            self._something_is_still_on(place, secret)

    def _nobody_is_cut_off(self, verb: str, place: Place, relied_on: str | None) -> None:
        if relied_on is None or self.world.cloud.sound(relied_on):
            return
        if self.leaked.get(relied_on):
            return
        what = "I6" if relied_on in self.leaked else "I1/I2"
        raise Broken(what, f"{verb} of {place.slot} kills what lookups hand out")

    def _overlap_was_over(self, verb: str, secret: str) -> None:
        if secret in self.leaked or self.clocks_set or secret in self.only_begun:
            return
        world, policy = self.world, self.world.setup.policy
        since, overlap = self.left[secret]
        if world.true < since + overlap:
            raise Broken("I5", f"{verb} cuts the overlap of {secret} short")
        used = self.last_used(secret, world.true - world.setup.use_lag)
        if not world.setup.shows_use or used is None or used <= since:
            return
        lately = max(policy.max_client_staleness, overlap / 2)
        if world.true - used < lately and world.true < self._cap(since, overlap):
            raise Broken("I5", f"{verb} ends {secret} although it is in use")

    def _cap(self, since: datetime, overlap: timedelta) -> datetime:
        policy, current = self.world.setup.policy, self.world.record.current
        if policy.max_overlap is not None:
            return since + max(policy.max_overlap, overlap)
        if current is None or current.expires_at is None or self._replacement_is_asked_for():
            return since + overlap
        return policy.rotate_at(current.expires_at, self.world.setup.name)

    def _replacement_is_asked_for(self) -> bool:
        record = self.world.record
        asked = record.order_of(OrderKind.ROTATE, OrderKind.NEW_KEY) is not None
        handed = self.handed()
        return asked or handed is None or not self.world.cloud.sound(handed[1])

    def _switching_on_was_wanted(self, place: Place, secret: str, *, by_person: bool) -> None:
        needed = {self.secret_of(v) for v in self.world.record.all_at(Stage.PENDING)}
        if by_person and place.slot not in self.wanted_on and secret not in needed:
            raise Broken("I10", f"{place.slot} was switched off by a person, and on again by us")

    def _something_is_still_on(self, place: Place, secret: str) -> None:
        now, keys = self.world.true, self.world.cloud.keys.values()
        on = any(s.state(now) == "ACTIVE" for k in keys if not k.gone for s in k.slots.values())
        if on or secret in self.leaked or self._touched_lately():
            return
        if self.world.cloud.landing and not self.world.setup.if_match and self.handed() is None:
            return  # sent beside what a person destroyed since; no mark keeps it out here
        raise Broken("I2", f"retire of {place.slot} switches off the last slot")

    # Every record.

    def saving(
        self, before: Credential, after: Credential, lease: Lease | None, land: Callable[[], None]
    ) -> None:
        self._holder_is_current(before, after)
        if not any(order.open and order.overlap is not None for order in before.orders):
            self.overlap_wish = None
        was = self.handed(before)
        land()
        for v in after.versions:
            if v.number in self.put_unrecorded:
                self.put_as[v.attempt] = self.put_unrecorded.pop(v.number)
        self._one_in_flight(after)
        self._no_order_is_lost(before, after)
        self._claims_are_true(before, after)
        self._lookups(was, self.handed(after), before, after)
        self._no_secret_in_it(after)

    def _holder_is_current(self, before: Credential, after: Credential) -> None:
        holder, acting = self.world.books.holder, self.world.acting
        if acting is not None and holder is not None and holder.owner != acting:
            raise Broken("I4", f"{acting} saves, but {holder.owner} holds the lease")

    def _one_in_flight(self, after: Credential) -> None:
        if len(after.all_at(*OPEN)) > 1:
            raise Broken("I4", "two rotations in flight")

    def _no_order_is_lost(self, before: Credential, after: Credential) -> None:
        known = {order.id for order in after.orders} | self.world.books.finished.keys()
        for order in before.orders:
            if order.id not in known:
                raise Broken("I4", f"the order to {order.kind} is lost")

    def _claims_are_true(self, before: Credential, after: Credential) -> None:
        """What the record newly says of the provider is so, unless a stranger acted meanwhile."""
        cloud = self.world.cloud
        for v in after.versions:
            old, secret = before.version(v.number), self.secret_of(v)
            if secret is None or self._touched_lately() or self.world.setup.kind is Kind.MINTED:
                continue
            if v.issued_at is None and v.handle is None and self.world.setup.slots:
                continue  # a key whose answer was lost and whose wish was refused: nobody knows it
            newly_gone = v.revoked_at and not (old and old.revoked_at)
            if newly_gone and cloud.alive(secret) and not v.expired(self.world.now()):
                raise Broken("I7", f"version {v.number} is recorded as destroyed, and is not")
            newly_off = v.stage is Stage.RETIRED and not (old and old.stage is Stage.RETIRED)
            kept = after.all_at(Stage.CURRENT, Stage.PREVIOUS)
            shared = any(self.secret_of(w) == secret for w in kept)
            if newly_off and not shared and cloud.sound(secret):
                raise Broken("I7", f"version {v.number} is recorded as switched off, and is not")

    def _touched_lately(self) -> bool:
        noticing = self.world.setup.policy.observe_every + NOTICING
        return self.touched_at is not None and self.world.true - self.touched_at < noticing

    def _lookups(
        self,
        was: tuple[Version, str] | None,
        now: tuple[Version, str] | None,
        before: Credential,
        after: Credential,
    ) -> None:
        world = self.world
        if was and (now is None or now[1] != was[1]):
            self._no_longer_than_it_takes_to_ask(was[1], before)
            if world.cloud.accepts(was[1]):
                self._left(was[1])
        current = after.current
        moved = current is not None and before.current != current
        if current is not None and moved and (now is None or was is None or now[1] != was[1]):
            self._promotion_is_sound(before, after, current)
        if now is None:
            out = current is not None and current.expired(world.now())  # by a clock that jumped
            if was and not out and world.cloud.accepts(was[1]) and not self._on_purpose(was[1]):
                raise Broken("I8", f"lookups see nothing although {was[1]} works")
            return
        self.left.pop(now[1], None)
        self.ever_handed.add(now[1])
        if now[0].number < self.highest:
            raise Broken("I8", f"version {now[0].number} after {self.highest}")
        self.promotions += now[0].number > self.highest
        self.highest = now[0].number

    def _left(self, secret: str) -> None:
        overlap = self.overlap_wish or self.world.setup.policy.overlap
        self.overlap_wish = None
        self.left[secret] = (self.world.true, timedelta(0) if secret in self.leaked else overlap)

    def _on_purpose(self, secret: str) -> bool:
        return bool(self.leaked.get(secret)) or not self.world.cloud.sound(secret)

    def _promotion_is_sound(self, before: Credential, after: Credential, current: Version) -> None:
        if before.current is not None and before.current.number == current.number:
            return
        world = self.world
        secret = world.safe.secrets.get((after.name, current.number))
        if secret is None:
            raise Broken("I3", f"version {current.number} is current, its secret not stored")
        if world.cloud.place_of(secret.reveal()) is None and not self._touched_lately():
            raise Broken("I3", f"what is stored for version {current.number} was never issued")
        if world.setup.policy.verify.successes == 0:
            return
        proven = self.proven.get(secret.reveal())
        if proven is None:
            raise Broken("I3", f"version {current.number} is current and was never verified")
        outside = self.touched_at is not None and self.touched_at >= proven
        outside = outside or world.true < world.cloud.shut_until  # refuses everybody
        if not outside and not world.cloud.accepts(secret.reveal()):
            raise Broken("I1", f"version {current.number} is current, the provider refuses it")

    def _no_secret_in_it(self, after: Credential) -> None:
        """Cheap enough for every record: nothing in it is a Secret or holds one's characters."""
        current = after.current
        if current is None:
            return
        secret = self.secret_of(current)
        told = (current.attempt, current.fingerprint, after.last_error, after.last_hint)
        if secret and any(secret in (text or "") for text in told):
            raise Broken("I9", "the journal holds a secret")

    # Every turn.

    def waits(self, wait: Wait) -> None:
        if wait.reason.startswith("no rest"):
            raise Broken("L", f"advance finds no rest: {self.world.trace[-8:]}")
        set_meanwhile = self.set_in_turn == self.world.turns  # the daemon's guard wakes it
        if wait.until <= self.world.now() and not set_meanwhile:
            raise Broken("L", f"advance waits for the past: {wait}")

    def turn_over(self) -> None:
        """A secret that the provider refuses isn't handed out for longer than it takes to see."""
        world = self.world
        if world.setup.taken_over and world.cloud.keys["key"].owner != ANOTHER:
            raise Broken("I4", "the key of another installation was claimed")
        handed = self.handed()
        if handed is None or world.cloud.accepts(handed[1]):
            self.refused_since, self.set_back = None, timedelta(0)
            return
        self._no_longer_than_it_takes_to_ask(handed[1], world.record)
        self.refused_since = self.refused_since or world.true
        # Where nothing can be looked at, clients' complaints tell, and they come at once.
        looks = world.setup.policy.observe_every if world.spec.observes else timedelta(0)
        looked = max(self.refused_since, self.vouched_at) + looks + self.set_back
        known = max(looked, world.cloud.down_until) + NOTICING  # in an outage nobody can be asked
        if world.true > known and not world.setup.lag:
            raise Broken("I1/I10", f"{handed[1]} is refused and still handed out")
