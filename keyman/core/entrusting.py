"""Secrets that people bring: one in use that is taken over, or the next one of those made by hand.

What may not be brought is refused here, before anything is stored.
"""

from __future__ import annotations

import re
from datetime import datetime

from keyman.core.frozen import replace
from keyman.core.model import Credential, Observed, Place, Secret, Spec, Stage, State, Version
from keyman.core.steps import Abandon
from keyman.core.transitions import abandoned, promoted
from keyman.errors import Conflict, UsageError


def place_to_adopt(c: Credential, slot: str | None, key_id: str | None) -> Place:
    """Where the secret in use is said to be; asked before the provider is.

    Raises UsageError for what can't be adopted so, Conflict if something is managed already.
    """
    spec = c.spec
    if c.versions:
        raise Conflict(f"{c.name} is managed already", hint=f"`keyman status {c.name}`")
    if not spec.issues or not spec.observes:
        hint = "it gets its tokens itself" if spec.issues else f"`keyman put {c.name}` takes it"
        raise UsageError(f"{c.name} has nothing to adopt", hint=hint)
    if not spec.slots:
        if slot or not key_id:
            raise UsageError(f"{c.name} has keys, not slots", hint="name its key with --key-id")
        return Place(key_id, None)
    if key_id or not slot:
        slots = ", ".join(spec.slots)
        raise UsageError(f"{c.name} has slots: name one with --slot", hint=f"its slots: {slots}")
    if c.key_id is None:
        hint = "set api_key_id to the id of the key first: `keyman discover` lists what is there"
        raise UsageError(f"{c.name} names no API key whose slot {slot} could be adopted", hint=hint)
    return Place(c.key_id, slot)


def adopted(
    c: Credential,
    o: Observed,
    place: Place,
    fingerprint: str,
    attempt: str,
    now: datetime,
    *,
    take_over: bool = False,
) -> Credential:
    """Take an existing place under management: its secret, entrusted to us, becomes version 1.

    Raises Conflict if the place isn't there and ACTIVE, or another installation's mark is on the
    key and isn't to be taken over.
    """
    place_to_adopt(c, place.slot, None if place.slot else place.handle)
    key = o.key(place.handle)
    foreign = c.spec.claims and key is not None and key.owner not in (None, c.spec.installation)
    if key and foreign and not take_over:
        hint = "if that one is gone for good: --take-over"
        raise Conflict(f"the key of {c.name} is managed by installation {key.owner}", hint=hint)
    seen = o.slot(place)
    if seen is None or seen.state != State.ACTIVE:
        state = seen.state if seen else "absent"
        what = f"slot {place.slot}" if place.slot else f"key {place.handle}"
        raise Conflict(f"{what} of {c.name} is {state}", hint="name the one that is in use")
    version = Version(
        number=1,
        stage=Stage.CURRENT,
        attempt=attempt,
        requested_at=now,
        expires_at=seen.expires_at,
        slot=place.slot,
        handle=place.handle,
        mask=seen.mask,
        fingerprint=fingerprint,
        issued_at=now,
        verified_at=now,
        promoted_at=now,
    )
    return replace(c, versions=(version,), home=place.handle if place.slot else None)


def refuse_another_slots(o: Observed, place: Place, secret: Secret) -> None:
    """Raise Conflict if the provider's masks show that this secret isn't the one in the place.

    A probe can't tell: every live secret is accepted. How masks look is not documented, so only
    what plainly shows a secret's own characters counts.
    """
    key, seen = o.key(place.handle), o.slot(place)
    if key is None or seen is None or _fits(seen.mask, secret):
        return
    others = [slot.name for slot in key.slots if slot.mask and _fits(slot.mask, secret)]
    visible = _visible(seen.mask)
    if others or (visible and visible[0] and secret.reveal().startswith(visible[0])):
        hint = f"it looks like that of {others[0]}" if others else "give the one that is in use"
        what = place.slot or place.handle
        raise Conflict(f"this is not the secret in {what}: its mask differs", hint=hint)


def _fits(mask: str | None, secret: Secret) -> bool:
    visible = _visible(mask)
    if visible is None:
        return True
    return secret.reveal().startswith(visible[0]) and secret.reveal().endswith(visible[1])


def _visible(mask: str | None) -> tuple[str, str] | None:
    """What a mask shows of the beginning and the end; None if it is of another kind."""
    found = re.fullmatch(r"([\w-]*)[*•….]{2,}([\w-]*)", mask or "")
    return (found[1], found[2]) if found else None


def refuse_put(spec: Spec) -> None:
    """Raise UsageError where keyman gets the secrets itself."""
    if not spec.issues:
        return
    adopts = f"`keyman adopt {spec.name}` takes over one that is in use"
    hint = adopts if spec.observes else "nothing to bring: keyman gets its tokens itself"
    raise UsageError(f"the secrets of {spec.name} are issued by {spec.provider}", hint=hint)


def put(
    c: Credential, fingerprint: str, attempt: str, ends: datetime | None, now: datetime
) -> Credential:
    """A person brought the next secret: lookups get it from this record on."""
    for v in c.all_at(Stage.PREVIOUS):
        c = c.with_version(v.number, stage=Stage.REVOKED)
    if c.open_version:  # an earlier one that was being taken over, for want of this
        c = abandoned(c, Abandon(c.open_version, "a person put in another"))
    version = Version(
        number=c.next_number,
        stage=Stage.PENDING,
        attempt=attempt,
        requested_at=now,
        expires_at=ends,
        handle=attempt,
        fingerprint=fingerprint,
        issued_at=now,
        verified_at=now,
    )
    c = replace(c, versions=(*c.versions, version))
    return promoted(c, version, now)
