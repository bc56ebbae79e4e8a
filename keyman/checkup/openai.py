"""Questions about credentials of `openai`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from keyman import errors
from keyman.checkup.addresses import strange
from keyman.checkup.finding import Finding, failed
from keyman.checkup.record import Moves, drift, inference, look
from keyman.config import CredentialSettings, OpenaiOptions
from keyman.core.model import Credential, Observed, State
from keyman.core.situation import Situation
from keyman.performer import Managed

HOSTS = ("openai.com",)
MOVES = Moves(
    refused="wrong base_url? else somebody deleted the key: keyman replaces it by itself",
    forbidden="compare with: keyman policy {name}",
    anew="keyman rotate {name} makes a new one",
)


@runtime_checkable
class Asks(Protocol):
    """A provider that can see whether it has what making a key takes, short of making one."""

    def list_keys(self) -> Sequence[object]: ...

    def owner_of(self, handle: str) -> str | None: ...

    def account_role(self) -> str | None: ...


def of_settings(one: CredentialSettings) -> Iterator[Finding]:
    options = one.options
    assert isinstance(options, OpenaiOptions)
    yield from strange(one.name, "OpenAI", HOSTS, {"base_url": options.base_url})
    if options.admin_key is not None and options.key_type != "admin":
        yield Finding(
            "info",
            "admin_key_unwatched",
            "keyman can't tell when the admin key ends",
            "make it a credential: static with expires_at, or openai with key_type admin",
            one.name,
        )


def of_record(
    one: CredentialSettings, managed: Managed, c: Credential, now: datetime
) -> Iterator[Finding]:
    """Ask OpenAI now, and compare with what we know."""
    if not c.versions:
        yield Finding(
            "info",
            "will_create",
            "a key will be made at the first start",
            f"what it takes: keyman policy {c.name}",
            c.name,
        )
    lacking = _lacking(managed, one.name)
    if lacking:
        yield lacking
        return
    observed = look(managed, c, now)
    if isinstance(observed, Finding):
        yield observed
    elif observed is not None:
        yield from drift(Situation(c, observed, now))
        yield from _owner(one, managed, c, observed)
        yield from inference(managed, c, now, MOVES)


def _owner(
    one: CredentialSettings, managed: Managed, c: Credential, o: Observed
) -> Iterator[Finding]:
    """Is the key in use one of the account that lookups name? The configuration may be newer."""
    options, provider = one.options, managed.provider
    assert isinstance(options, OpenaiOptions)
    assert isinstance(provider, Asks)
    place = c.current.place if c.current else None
    seen = o.slot(place)
    if options.key_type == "admin" or place is None or seen is None or seen.state == State.DELETED:
        return
    try:
        owner = provider.owner_of(place.handle)
    except errors.ProviderFailed as error:
        yield failed(error, c.name)
        return
    if owner != options.service_account_id:
        yield Finding(
            "warning",
            "other_account",
            f"the key in use is of {owner or 'no service account'}, and lookups say that it is of "
            f"{options.service_account_id}, as configured",
            f"keyman rotate {c.name} makes one of that account; else correct service_account_id",
            c.name,
        )


def _lacking(managed: Managed, name: str) -> Finding | None:
    """Is the admin key one, and the account there? Whether it may make keys, only making tells."""
    provider = managed.provider
    assert isinstance(provider, Asks)
    try:
        provider.list_keys()
        role = provider.account_role()
    except errors.ProviderFailed as error:
        return failed(error, name)
    if role != "none":
        return None
    message = "the service account has no role in its project: its keys may do nothing"
    hint = "make it a member of the project in OpenAI's settings"
    return Finding("error", "account_without_role", message, hint, name)
