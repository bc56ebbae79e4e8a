"""Questions about credentials of `oci-genai`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from keyman import errors
from keyman.checkup.finding import Finding, failed
from keyman.checkup.record import Moves, drift, inference, look
from keyman.config import CredentialSettings, OciGenaiOptions
from keyman.core.health import against_strangers, duration_text
from keyman.core.model import Credential, KeySeen, Observed, State
from keyman.core.policy import Policy
from keyman.core.situation import Situation
from keyman.performer import Managed
from keyman.vendors.oci_iam import KNOWN_REGIONS, LIMITS

MOVES = Moves(
    refused="wrong base_url or region? else a key made before its IAM policy: keyman policy {name}",
    forbidden="add the statements of: keyman policy {name}",
    anew="keyman rotate {name} makes a new one",
)


class Found(Protocol):
    """One key that the provider lists."""

    @property
    def key(self) -> KeySeen: ...


@runtime_checkable
class Lists(Protocol):
    """A provider that can say which keys there are."""

    def list_keys(self) -> Sequence[Found]: ...


def of_settings(one: CredentialSettings) -> Iterator[Finding]:
    """What is allowed to be written, and may not be meant."""
    assert isinstance(one.options, OciGenaiOptions)
    region = one.options.region
    if region is not None and region not in KNOWN_REGIONS:
        yield Finding(
            "warning",
            "unknown_region",
            f"{region} is not known to have API keys",
            f"known: {', '.join(KNOWN_REGIONS)}; Oracle adds some, so it may work",
            one.name,
        )


def of_record(
    one: CredentialSettings, managed: Managed, c: Credential, now: datetime
) -> Iterator[Finding]:
    """Ask OCI now, and compare with what we know."""
    yield from _policy(one.name, one.policy)
    if not c.versions:
        yield from _beginning(c)
    if not c.key_id:
        yield from _room_for_a_key(managed, c.name)
        return
    observed = look(managed, c, now)
    if isinstance(observed, Finding):
        yield observed
        return
    if observed is not None:
        s = Situation(c, observed, now)
        yield from _owner(s)
        yield from drift(s)
        yield from _stuck(s)
        yield from _held(s)
        yield from _slots(c, observed, now)
    yield from inference(managed, c, now, MOVES)


def _policy(name: str, policy: Policy) -> Iterator[Finding]:
    """Will a slot's old secret expire before its turn to be filled comes?"""
    between = policy.lifetime - policy.rotate_before
    if 2 * between > policy.lifetime:
        yield Finding(
            "warning",
            "standby_expires",
            f"a slot is filled every {duration_text(2 * between.total_seconds())}, but its secret "
            f"lives {duration_text(policy.lifetime.total_seconds())}; it may not be fillable then",
            "raise rotate_before to at least half of lifetime",
            name,
        )


def _beginning(c: Credential) -> Iterator[Finding]:
    if c.spec.key_id:
        message = "the key is not adopted: keyman touches nothing and lookups answer not_adopted"
        hint = f"give the secret in use: keyman adopt {c.name} --slot SLOT"
        yield Finding("warning", "not_adopted", message, hint, c.name)
    else:
        message = "an API key will be created at the first start"
        hint = f"its IAM statements: keyman policy {c.name}"
        yield Finding("info", "will_create", message, hint, c.name)


def _room_for_a_key(managed: Managed, name: str) -> Iterator[Finding]:
    """Will the provider let us make one? Listing shows as much as can be seen without trying."""
    if not isinstance(managed.provider, Lists):
        return
    try:
        there = [found for found in managed.provider.list_keys() if found.key.state != "DELETED"]
    except errors.ProviderFailed as error:
        yield failed(error, name)
        return
    limit = LIMITS["api-key-count"]
    if len(there) >= limit:
        yield Finding(
            "error",
            "key_limit",
            f"the compartment has {len(there)} API keys; a tenancy may have {limit}",
            "delete unused ones, or ask Oracle to raise the limit api-key-count",
            name,
        )


def _owner(s: Situation) -> Iterator[Finding]:
    if s.other_owner:
        yield Finding(
            "error",
            "other_owner",
            f"{s.other_owner} manages this key too",
            "let one keyman drive a key: forget it in the other one, or stop that copy",
            s.c.name,
        )
    if s.spec.key_id and s.c.home and s.c.home != s.spec.key_id:
        yield Finding(
            "warning",
            "other_key",
            f"api_key_id is {s.spec.key_id}, but the key in use is {s.c.home}",
            "write that one there; for the other one give it a name of its own and `keyman adopt`",
            s.c.name,
        )


def _stuck(s: Situation) -> Iterator[Finding]:
    if s.stuck:
        yield Finding(
            "error",
            "no_slot",
            "no slot of the API key can be filled again",
            f"keyman rotate {s.c.name} --new-key",
            s.c.name,
        )


def _held(s: Situation) -> Iterator[Finding]:
    """Before a rotation needs the slot, too: then there is time to find out whose it is."""
    held = s.strangers_in_the_way
    if held:
        hint = against_strangers(s.c, held.slot)
        yield Finding("warning", "slot_in_use", held.said, hint, s.c.name, held.slot)


def _slots(c: Credential, o: Observed, now: datetime) -> Iterator[Finding]:
    key = o.key(c.key_id)
    for name in c.spec.slots:
        seen = key.slot(name) if key else None
        if seen is None:
            message, hint = f"the API key has no slot {name}", "compare `slots` with the key"
            yield Finding("error", "no_such_slot", message, hint, c.name, name)
        elif seen.state == State.REVOKED:
            hint = f"if it can't be filled again: keyman rotate {c.name} --new-key"
            yield Finding("warning", "slot_revoked", "the slot is revoked", hint, c.name, name)
        elif seen.state == State.EXPIRED or (seen.expires_at and seen.expires_at <= now):
            hint = "it is filled again when its turn comes"
            yield Finding("warning", "slot_expired", "the slot expired", hint, c.name, name)
