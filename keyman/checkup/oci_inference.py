"""Questions about OCI's inference: is it where `base_url` leads, and why does it refuse a secret?

A 401 alone proves nothing: a secret that was replaced, one made before its IAM policy, one of
another region and a made-up one get the same words. So it is laid beside what the control plane
shows of the slot, what the previous secret gets, and what a stranger gets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Protocol, runtime_checkable

from keyman import errors
from keyman.checkup.addresses import strange
from keyman.checkup.finding import Finding
from keyman.checkup.record import Moves, inference
from keyman.config import CredentialSettings, OciGenaiOptions
from keyman.core.model import Credential, Observed, Stage, State, Verdict
from keyman.core.situation import Situation
from keyman.performer import Managed
from keyman.vendors.oci_iam import base_url

REALMS = (
    "oraclecloud.com",
    "oraclecloud.eu",
    "oraclegovcloud.com",
    "oraclegovcloud.uk",
    *(f"oraclecloud{number}.com" for number in (5, 8, 9, 10, 14, 15, 20)),
)
PATHS = ("/20231130/actions/v1", "/openai/v1")
"""Where OCI has an API as OpenAI's."""
MOVES = Moves(
    refused="wrong base_url or region? else a key made before its IAM policy: keyman policy {name}",
    forbidden="add the statements of: keyman policy {name}",
    anew="keyman rotate {name} makes a new one",
)
WAY_THERE = "compare base_url, region, network.proxy and network.ca_bundle"


class Seen(Protocol):
    @property
    def status(self) -> int | None: ...
    @property
    def why(self) -> str: ...


@runtime_checkable
class Probes(Protocol):
    def to_a_stranger(self) -> Seen:
        """What inference answers to somebody without a secret."""


def of_addresses(one: CredentialSettings) -> Iterator[Finding]:
    """What can be told from the configuration alone."""
    options = one.options
    assert isinstance(options, OciGenaiOptions)
    configured = {"endpoint": options.endpoint, "base_url": options.base_url}
    yield from strange(one.name, "Oracle", REALMS, configured)
    if f".{REALMS[0]}" not in options.base_url:
        return
    if options.region and f".{options.region}." not in options.base_url:
        yield Finding(
            "error",
            "other_region",
            f"base_url leads to another region than {options.region}, where the key is",
            f"API keys work in their own region only: {base_url(options.region)}",
            one.name,
        )
    if not options.base_url.endswith(PATHS):
        yield Finding(
            "warning",
            "odd_path",
            "base_url does not end like an API of OCI's that OpenAI's clients can call",
            f"it ends in {' or '.join(PATHS)}",
            one.name,
        )


def of_inference(
    one: CredentialSettings, managed: Managed, c: Credential, o: Observed | None, now: datetime
) -> Iterator[Finding]:
    if c.current is None:
        yield from _address(one, managed, "warning")
    for found in inference(managed, c, now, MOVES):
        match found.code:
            case "no_verdict":
                yield from list(_address(one, managed, "error")) or [found]
            case "refused":
                yield _why_refused(found, managed, Situation(c, o, now))
            case _:
                yield found


def _address(one: CredentialSettings, managed: Managed, severity: str) -> Iterator[Finding]:
    """Is there an inference endpoint at all? Any is expected to refuse a made-up secret."""
    options, provider = one.options, managed.provider
    assert isinstance(options, OciGenaiOptions)
    if not isinstance(provider, Probes):
        return
    seen, at = provider.to_a_stranger(), options.base_url
    if seen.status is None:
        what = f"inference gives no answer at {at}: {seen.why}"
        yield Finding(severity, "unreachable", what, WAY_THERE, one.name)
    elif seen.status < 400 or seen.status in (404, 405, 410):
        usual = base_url(options.region) if options.region else f"https://…{PATHS[0]}"
        what = f"base_url answers {seen.status} to a made-up secret: that is no inference of OCI's"
        yield Finding(severity, "wrong_base_url", what, f"the region's own is {usual}", one.name)


def _why_refused(found: Finding, managed: Managed, s: Situation) -> Finding:
    """What else is known of a secret that is refused."""
    v = s.current
    seen = s.seen(v) if v else None
    if v is None or seen is None:
        return found
    name = s.c.name
    if seen.state != State.ACTIVE or not s.shows(v):
        changed = "somebody changed its slot at OCI; keyman replaces it by itself, at once"
        return replace(found, hint=f"{changed}: keyman rotate {name}")
    if _previous_is_accepted(managed, s):
        return Finding(
            "error",
            "refused",
            "inference refuses the current secret (401), and accepts the previous one",
            f"keyman rollback {name} goes back to that; keyman rotate {name} makes another",
            name,
            v.slot,
        )
    return Finding(
        "error",
        "policy_missing",
        "inference refuses the current secret (401), though its slot is ACTIVE and unchanged",
        f"the IAM statement for callers is missing, or younger than the key: keyman policy {name}. "
        f"Was it there all the time? Then wrong base_url or region. A key from before its "
        f"statement may stay refused: keyman rotate {name} --new-key",
        name,
        v.slot,
    )


def _previous_is_accepted(managed: Managed, s: Situation) -> bool:
    previous = s.c.at(Stage.PREVIOUS)
    if previous is None or previous.expired(s.now):
        return False
    try:
        secret = managed.store.get(s.c.name, previous.number)
    except errors.StoreFailed:
        return False
    return secret is not None and managed.provider.verify(secret) is Verdict.ACCEPTED
