"""Questions about credentials of `oci-genai`.

The slots of the key are in `oci_slots`, what inference says in `oci_inference`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Protocol, runtime_checkable

from keyman import errors
from keyman.checkup.finding import Finding, failed
from keyman.checkup.oci_inference import of_addresses, of_inference
from keyman.checkup.oci_slots import of_slots
from keyman.checkup.record import drift, look
from keyman.config import CredentialSettings, OciGenaiOptions
from keyman.core.health import duration_text
from keyman.core.model import Credential, KeySeen
from keyman.core.policy import Policy
from keyman.core.situation import Situation
from keyman.performer import Managed
from keyman.vendors.oci_iam import KNOWN_REGIONS, LIMITS
from keyman.vendors.oci_outcomes import MAX_SKEW_SECONDS

SKEW_TO_MENTION = 60.0  # seconds; a fifth of what OCI allows


class Found(Protocol):
    """One key that the provider lists."""

    @property
    def key(self) -> KeySeen: ...


@runtime_checkable
class Lists(Protocol):
    """A provider that can say which keys there are."""

    def list_keys(self) -> Sequence[Found]: ...


@runtime_checkable
class TellsTheTime(Protocol):
    @property
    def ahead(self) -> float | None:
        """Seconds that our clock was ahead of the provider's at its last answer."""


def of_settings(one: CredentialSettings) -> Iterator[Finding]:
    """What is allowed to be written, and may not be meant."""
    assert isinstance(one.options, OciGenaiOptions)
    region = one.options.region
    if region is not None and region not in KNOWN_REGIONS:
        near = get_close_matches(region, KNOWN_REGIONS, n=1)
        yield Finding(
            "warning",
            "unknown_region",
            f"{region} is not known to have API keys" + (f" ({near[0]} is)" if near else ""),
            f"known: {', '.join(KNOWN_REGIONS)}; Oracle adds some, so it may work",
            one.name,
        )
    yield from of_addresses(one)


def of_record(
    one: CredentialSettings, managed: Managed, c: Credential, now: datetime
) -> Iterator[Finding]:
    """Ask OCI now, and compare with what we know."""
    yield from _policy(one.name, one.policy)
    if not c.versions:
        yield from _beginning(c)
    yield from _room_for_a_key(managed, c)
    observed = look(managed, c, now) if c.key_id else None
    if isinstance(observed, Finding):
        yield observed
        observed = None
    if observed is not None:
        s = Situation(c, observed, now)
        yield from _owner(s)
        yield from drift(s)
        yield from of_slots(s, observed, now)
    yield from _clock(managed, c.name)
    yield from of_inference(one, managed, c, observed, now)


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


def _room_for_a_key(managed: Managed, c: Credential) -> Iterator[Finding]:
    """Will the provider let us make one? Listing shows as much as can be seen without trying.

    Nobody needs one where there is a key; who wants to replace that hears of it in time.
    """
    if not isinstance(managed.provider, Lists) or c.spec.key_id:
        return
    try:
        there = [found for found in managed.provider.list_keys() if found.key.state != "DELETED"]
    except errors.ProviderFailed as error:
        if not c.key_id:
            yield failed(error, c.name)
        return
    limit = LIMITS["api-key-count"]
    if len(there) >= limit:
        yield Finding(
            "warning" if c.key_id else "error",
            "key_limit",
            f"the compartment has {len(there)} API keys; a tenancy may have {limit}",
            "delete unused ones (keyman discover lists them), or ask Oracle to raise api-key-count",
            c.name,
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


def _clock(managed: Managed, name: str) -> Iterator[Finding]:
    """Calls are signed with the time; OCI refuses those that are too far off."""
    ahead = managed.provider.ahead if isinstance(managed.provider, TellsTheTime) else None
    if ahead is None or abs(ahead) <= SKEW_TO_MENTION:
        return
    side = "ahead of" if ahead > 0 else "behind"
    yield Finding(
        "error" if abs(ahead) > MAX_SKEW_SECONDS else "warning",
        "clock_skew",
        f"this machine's clock is {abs(ahead):.0f} s {side} OCI's; {MAX_SKEW_SECONDS} are allowed",
        "set it, and keep it so: timedatectl set-ntp true",
        name,
    )
