"""The wire shapes of API keys: what replies look like, how requests are read.

Pure functions. Which items a reply carries, in which order, with what mask and what precision are
open questions, so each shape asks the `Behaviour`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.cloud import Cloud
from keyman.sandbox.keys import ApiKey, Slot
from keyman.sandbox.rules import Wanted, invalid, missing
from keyman.sandbox.server import Json

DEFAULT_LIFE = timedelta(days=90)


def render_key(
    cloud: Cloud,
    key: ApiKey,
    secrets: Mapping[str, str] | None = None,
    touched: str | None = None,
) -> Json:
    """An ApiKey; `secrets` by slot are what this one reply may show, `touched` the slot it's of."""
    slots = _arranged(cloud, key, touched)
    return _without_nones(
        {
            "id": key.id,
            "displayName": key.display_name,
            "description": key.description,
            "compartmentId": key.compartment,
            "timeCreated": timestamp(key.created, cloud.behaviour),
            "timeUpdated": timestamp(key.updated, cloud.behaviour),
            "keys": [_item(cloud, slot, (secrets or {}).get(slot.name)) for slot in slots],
            "lifecycleState": cloud.lifecycle(key),
            "freeformTags": key.freeform_tags,
            "definedTags": key.defined_tags,
            "systemTags": {},
        }
    )


def _arranged(cloud: Cloud, key: ApiKey, touched: str | None) -> list[Slot]:
    slots = list(key.slots)
    if touched is not None and cloud.behaviour.reply_items == "touched":
        slots = [slot for slot in slots if slot.name == touched]
    if cloud.behaviour.slot_order == "reversed":
        slots.reverse()
    if cloud.behaviour.slot_order == "shuffled":
        random.Random(cloud.dice.random()).shuffle(slots)
    return slots


def _item(cloud: Cloud, slot: Slot, secret: str | None) -> Json:
    rules = cloud.behaviour
    times = {
        "timeCreated": slot.created,
        "timeExpiry": slot.expires,
        "timeActivated": slot.activated,
        "timeDeactivated": slot.deactivated,
        "timeRevoked": slot.revoked,
        "timeLastUsed": _last_used(cloud, slot),
    }
    item = {
        "keyName": slot.name,
        "keyMask": slot.mask,
        "key": secret,
        "state": slot.state_at(cloud.now(), rules.expired_shown_after),
        **{name: time and timestamp(time, rules) for name, time in times.items()},
    }
    return _without_nones(item)


def _last_used(cloud: Cloud, slot: Slot) -> datetime | None:
    if cloud.behaviour.last_used == "absent":
        return None
    lagging = cloud.behaviour.last_used == "lagging"
    lag = cloud.behaviour.last_used_lag if lagging else 0.0
    return slot.secret.last_used(cloud.now(), lag)


def _without_nones(body: Json) -> Json:
    return {name: value for name, value in body.items() if value is not None}


def timestamp(time: datetime, rules: Behaviour) -> str:
    precision = "microseconds" if rules.microseconds else "milliseconds"
    return time.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def read_wanted(body: object, cloud: Cloud) -> Wanted:
    """`{keyName, timeExpiry}` of a request."""
    if not isinstance(body, dict):
        raise missing("The details of a key")
    name = text_of(body, "keyName")
    given = body.get("timeExpiry")
    if given is None:
        if cloud.behaviour.expiry_required:
            raise missing("timeExpiry")
        return Wanted(name, cloud.now() + DEFAULT_LIFE)
    return Wanted(name, _read_time(given))


def _read_time(given: object) -> datetime:
    try:
        time = datetime.fromisoformat(str(given))
    except ValueError as error:
        raise invalid("timeExpiry is not a time.") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def text_of(body: Json, name: str) -> str:
    """A member that must be there and be text."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise missing(name)
    return value


def tags_of(body: Json) -> Json:
    """The tags a request brings; those it doesn't mention stay as they are."""
    given = {n: body[n] for n in ("freeformTags", "definedTags") if body.get(n) is not None}
    if not all(isinstance(tags, dict) for tags in given.values()):
        raise invalid("Tags are an object.")
    return given
