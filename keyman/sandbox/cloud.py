"""What the imitated cloud does: create, renew, set a state, delete.

Every rule the documents give, and where they give none, the answer of `Behaviour`. It knows
neither HTTP nor signatures, and leaves locking to whoever calls it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from keyman.sandbox import rules
from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.keys import ApiKey, Issued, Slot, Stale, sha256
from keyman.sandbox.rules import Wanted
from keyman.sandbox.server import Json, RefusedError


class Cloud:
    """All API keys of a region and every secret ever issued for them."""

    def __init__(
        self,
        behaviour: Behaviour,
        now: Callable[[], datetime],
        new_secret: Callable[[], str],
        dice: random.Random,
        *,
        region: str,
        key_limit: int,
        policy_present: bool,
    ) -> None:
        self.behaviour = behaviour
        self.now = now
        self.dice = dice
        self.region = region
        self.key_limit = key_limit
        self.policy_present = policy_present
        self.keys: dict[str, ApiKey] = {}
        self.secrets: dict[str, Issued] = {}
        self._new_secret = new_secret

    def create(
        self,
        tenancy: str,
        compartment: str,
        name: str,
        wanted: Sequence[Wanted],
        tags: Json | None = None,
    ) -> tuple[ApiKey, dict[str, str]]:
        """A new key with one or two slots, and the secrets by slot."""
        rules.check_name(name)
        rules.check_slots(wanted)
        for want in wanted:
            rules.check_expiry(self.behaviour, want.expires, self.now())
        self._check_limit(tenancy)
        now = self.now()
        unique = f"amaaaaaa{self.dice.getrandbits(160):040x}"
        key_id = f"ocid1.generativeaiapikey.oc1.{self.region}.{unique}"
        key = ApiKey(key_id, tenancy, compartment, name, now, now, self._etag())
        secrets = {}
        for want, state in zip(wanted, self.behaviour.initial_states, strict=False):
            slot, secrets[want.name] = self._fill(key, want, state)
            key.slots.append(slot)
        self.tag(key, tags or {})
        self._settle(key, "CREATING", self.behaviour.creating)
        if not self.behaviour.created_visible:
            self._leave_stale(key, None)
        self.keys[key.id] = key
        return key, secrets

    def find(self, tenancy: str, key_id: str) -> ApiKey:
        """The key as it is."""
        key = self.keys.get(key_id)
        if key is None or key.tenancy != tenancy or not self._visible(key):
            raise rules.not_found()
        return key

    def read(self, tenancy: str, key_id: str) -> ApiKey:
        """The key as a read shows it, which may be as it was before the last change."""
        key = self.keys.get(key_id)
        seen = self._seen(key) if key is not None and key.tenancy == tenancy else None
        if seen is None or not self._visible(seen):
            raise rules.not_found()
        return seen

    def read_all(self, tenancy: str, compartment: str) -> list[ApiKey]:
        """The keys of a compartment as a read shows them."""
        seen = [self._seen(key) for key in self.keys.values() if key.tenancy == tenancy]
        return [k for k in seen if k and k.compartment == compartment and self._visible(k)]

    def _visible(self, key: ApiKey) -> bool:
        return not key.deleted or self.behaviour.deleted_key != "404"

    def _seen(self, key: ApiKey) -> ApiKey | None:
        if key.stale is not None and key.stale.seen(self.now()):
            return key.stale.before
        return key

    def slot(self, key: ApiKey, name: object) -> Slot:
        for slot in key.slots:
            if slot.name == name:
                return slot
        raise rules.invalid(f"There is no key named {name!r}.")

    def renew(self, key: ApiKey, want: Wanted, tags: Json | None = None) -> str:
        """Put a new secret into a slot; the one it held is worth nothing from now on."""
        slot = self.slot(key, want.name)
        rules.check_expiry(self.behaviour, want.expires, self.now())
        verdict = rules.renew_verdict(self.behaviour, self._state(slot), self.lifecycle(key))
        rules.refuse(verdict, f"The key {slot.name} can't be renewed.")
        with self._changing(key, moves_etag=self.behaviour.etag_changed_by_actions):
            old, was = slot.secret, self._state(slot)
            filled, secret = self._fill(key, want, rules.state_after_renew(self.behaviour, was))
            lingers = self.behaviour.renewed_old_lingers
            old.acceptance.decide(accepted=False, now=self.now(), delay=lingers)
            if not self.behaviour.renew_changes_created:
                filled.created = slot.created
            key.slots[key.slots.index(slot)] = filled
            self.tag(key, tags or {})
        return secret

    def set_state(self, key: ApiKey, name: str, state: str, tags: Json | None = None) -> None:
        """Switch a slot on, off, or off for good."""
        if state not in rules.SETTABLE:
            raise rules.invalid(f"A key can't be set to {state!r}.")
        slot = self.slot(key, name)
        now = self._state(slot)
        if now == state:
            if self.behaviour.same_state == 200:
                return
            raise RefusedError(409, "Conflict", f"The key is already {state}.")
        verdict = rules.set_state_verdict(self.behaviour, now, state)
        rules.refuse(verdict, f"A key that is {now} can't be set to {state}.")
        with self._changing(key, moves_etag=self.behaviour.etag_changed_by_actions):
            self._switch(slot, state)
            self.tag(key, tags or {})

    def update(self, key: ApiKey, names: Json, tags: Json) -> None:
        """Change what a key is called and how it is tagged."""
        name = names.get("displayName", key.display_name)
        rules.check_name(name)
        with self._changing(key, moves_etag=bool(names) or self.behaviour.etag_changed_by_tags):
            key.display_name = name
            key.description = names.get("description", key.description)
            self.tag(key, tags)

    def move(self, key: ApiKey, compartment: str) -> None:
        with self._changing(key, moves_etag=True):
            key.compartment = compartment

    def delete(self, key: ApiKey) -> None:
        """Remove a key and with it both its secrets."""
        if self.behaviour.delete_needs_inactive and self.any_active(key):
            rules.refuse(409, "Deactivate the keys first.")
        with self._changing(key, moves_etag=True):
            key.deleted = True
            for slot in key.slots:
                delay = self.behaviour.delete_delay
                slot.secret.acceptance.decide(accepted=False, now=self.now(), delay=delay)

    def tag(self, key: ApiKey, tags: Json) -> None:
        key.freeform_tags = tags.get("freeformTags", key.freeform_tags)
        key.defined_tags = tags.get("definedTags", key.defined_tags)

    def lifecycle(self, key: ApiKey) -> str:
        if key.deleted:
            return "DELETED"
        if key.busy(self.now()):
            return key.busy_as
        if self.behaviour.inactive_lifecycle and not self.any_active(key):
            return "INACTIVE"
        return "ACTIVE"

    def any_active(self, key: ApiKey) -> bool:
        return any(self._state(slot) == "ACTIVE" for slot in key.slots)

    def _check_limit(self, tenancy: str) -> None:
        held = sum(k.tenancy == tenancy and not k.deleted for k in self.keys.values())
        if held >= self.key_limit:
            raise RefusedError(400, "LimitExceeded", "The limit api-key-count is reached.")

    def _state(self, slot: Slot) -> str:
        return slot.state_at(self.now(), self.behaviour.expired_shown_after)

    def _fill(self, key: ApiKey, want: Wanted, state: str) -> tuple[Slot, str]:
        secret, now = self._new_secret(), self.now()
        heals = self.behaviour.renew_heals_policy_order or not key.slots
        under_policy = self.policy_present if heals else self._first_policy(key)
        issued = Issued(sha256(secret), key.id, want.name, want.expires, under_policy)
        slot = Slot(want.name, state, issued, rules.mask(self.behaviour, secret), now, want.expires)
        self.secrets[issued.sha256] = issued
        if state == "ACTIVE":
            slot.activated = now
            delay = self.behaviour.new_secret_delay
            issued.acceptance.decide(accepted=True, now=now, delay=delay)
        return slot, secret

    def _first_policy(self, key: ApiKey) -> bool:
        return key.slots[0].secret.under_policy

    def _switch(self, slot: Slot, state: str) -> None:
        slot.state, now, lags = state, self.now(), self.behaviour
        if state == "ACTIVE":
            slot.activated, delay = now, lags.activate_delay
        elif state == "INACTIVE":
            slot.deactivated, delay = now, lags.deactivate_delay
        else:
            slot.revoked, delay = now, lags.revoke_delay
        slot.secret.acceptance.decide(accepted=state == "ACTIVE", now=now, delay=delay)

    @contextmanager
    def _changing(self, key: ApiKey, *, moves_etag: bool) -> Iterator[None]:
        if key.deleted or (key.busy(self.now()) and self.behaviour.busy_refuses):
            rules.refuse(409, f"The resource is {self.lifecycle(key)}.")
        before = key.copy()
        yield
        key.updated = self.now()
        if moves_etag:
            key.etag = self._etag()
        self._settle(key, "UPDATING", self.behaviour.updating)
        self._leave_stale(key, before)

    def _settle(self, key: ApiKey, doing: str, seconds: float) -> None:
        key.busy_as, key.busy_until = doing, self.now() + timedelta(seconds=seconds)

    def _leave_stale(self, key: ApiKey, before: ApiKey | None) -> None:
        until = self.now() + timedelta(seconds=self.behaviour.stale_for)
        key.stale = Stale(before, self.behaviour.stale_reads, until)

    def etag_of(self, key: ApiKey) -> str:
        """As it is told and compared. Replaced secrets count too, so that no etag returns."""
        if not self.behaviour.etag_moved_by_use:
            return key.etag
        return f"{key.etag}-{sum(len(s.uses) for s in self.secrets.values() if s.key_id == key.id)}"

    def _etag(self) -> str:
        return f"{self.dice.getrandbits(128):032x}"
