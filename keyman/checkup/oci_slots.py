"""Questions about the slots of an OCI API key, and about what keeps one from being filled."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from keyman.checkup.finding import Finding
from keyman.core.health import against_strangers
from keyman.core.model import Credential, KeySeen, Observed, SlotSeen, Stage, State
from keyman.core.situation import Situation
from keyman.views import time_text

IN_ORDER = ("ACTIVE", "CREATING", "UPDATING", "INACTIVE")  # what OCI calls a key that can be used


def of_slots(s: Situation, o: Observed, now: datetime) -> Iterator[Finding]:
    key = o.key(s.c.key_id)
    if key is None:
        return
    yield from _key(s.c, key)
    for name in s.spec.slots:
        seen = key.slot(name)
        if seen is None:
            message, hint = f"the API key has no slot {name}", "compare `slots` with the key"
            yield Finding("error", "no_such_slot", message, hint, s.c.name, name)
        else:
            yield from _slot(s.c, seen, now)
    yield from _what_keeps_one_from_being_filled(s)


def _key(c: Credential, key: KeySeen) -> Iterator[Finding]:
    if key.state not in IN_ORDER:
        hint = f"keyman rotate {c.name} --new-key makes another"
        yield Finding("error", "key_state", f"the API key is {key.state}", hint, c.name)
    if c.claimed and key.owner is None:
        yield Finding(
            "warning",
            "mark_gone",
            "somebody took keyman's mark off the key's tags: another keyman could adopt it",
            "restart the daemon: its next change marks the key again",
            c.name,
        )


def _slot(c: Credential, seen: SlotSeen, now: datetime) -> Iterator[Finding]:
    again = f"if it can't be filled again: keyman rotate {c.name} --new-key"
    if seen.state == State.REVOKED:
        yield Finding("warning", "slot_revoked", "the slot is revoked", again, c.name, seen.name)
    elif seen.state == State.EXPIRED or (seen.expires_at and seen.expires_at <= now):
        hint = f"it is filled again when its turn comes; {again}"
        yield Finding("warning", "slot_expired", "the slot expired", hint, c.name, seen.name)


def _what_keeps_one_from_being_filled(s: Situation) -> Iterator[Finding]:
    """Before a rotation needs the slot: then there is time to do something about it."""
    name, held = s.c.name, s.strangers_in_the_way
    if s.stuck:
        message = "no slot of the API key can be filled again"
        hint = f"keyman rotate {name} --new-key"
        yield Finding("error", "no_slot", message, hint, name)
    elif held:
        hint = against_strangers(s.c, held.slot)
        yield Finding("warning", "slot_in_use", held.said, hint, name, held.slot)
    elif s.waits_for_slot is not None:
        previous = s.c.at(Stage.PREVIOUS)
        until = time_text(s.waits_for_slot)
        yield Finding(
            "info",
            "overlap_runs",
            f"an overlap runs: no slot can be filled before {until}, so no rotation begins",
            f"it ends by itself; if it leaked, keyman revoke {name} --version "
            f"{previous.number if previous else 'N'} does not wait",
            name,
            previous.slot if previous else None,
        )
