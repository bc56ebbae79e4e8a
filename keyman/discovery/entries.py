"""One thing that lies at a provider and is not managed, as JSON, and the next move. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from keyman.config import CredentialSettings, OciGenaiOptions, OpenaiOptions
from keyman.core.inventory import Origin, There, Unmanaged
from keyman.core.model import SlotSeen
from keyman.views import Json, time_text


def entry_as_json(
    one: Unmanaged, asked: CredentialSettings, place: str, ours: Iterable[CredentialSettings]
) -> Json:
    """`asked` is the credential by whose means the list came, `ours` are all of that place."""
    there = one.there
    return {
        "provider": asked.provider,
        "id": there.key.handle,
        "name": there.name,
        "where": place,
        "account": there.account,
        "state": there.key.state,
        "slots": [_slot(slot) for slot in there.key.slots if slot.name is not None],
        "created_at": time_text(there.created_at),
        "expires_at": time_text(_end(there.key.slots)),
        "last_used_at": time_text(one.last_used_at),
        "origin": str(one.origin),
        "installation": one.installation,
        "credential": one.credential,
        "notes": list(one.notes),
        "hint": _move(one, asked, list(ours)),
    }


def _slot(slot: SlotSeen) -> Json:
    return {
        "name": slot.name,
        "state": slot.state,
        "expires_at": time_text(slot.expires_at),
        "last_used_at": time_text(slot.last_used_at),
    }


def _end(slots: tuple[SlotSeen, ...]) -> datetime | None:
    """When the last secret in it ends; None if one never does, or nobody says."""
    ends = [slot.expires_at for slot in slots]
    return max((end for end in ends if end), default=None) if all(ends) else None


def _move(one: Unmanaged, asked: CredentialSettings, ours: list[CredentialSettings]) -> str:
    name = one.credential or "NAME"
    match one.origin:
        case Origin.WAITING:
            return f"keyman adopt {name} --slot SLOT takes the secret in use"
        case Origin.ANOTHER:
            gone = "if that one is gone for good: adopt it with --take-over"
            return f"leave it to that keyman; {gone}"
        case Origin.LOST:
            return "nobody has its secret unless another home of this installation does: delete it"
        case Origin.EARLIER:
            return f"{name} has another key by now: delete it once nobody uses it"
        case Origin.LEFT:
            return f"keyman forget {name}, with --revoke if nothing uses it any more"
    return _adoption(one.there, asked, ours)


def _adoption(there: There, asked: CredentialSettings, ours: list[CredentialSettings]) -> str:
    """How somebody's key comes under management without being changed."""
    if isinstance(asked.options, OciGenaiOptions):
        return (
            "to manage it: a credential with its id as api_key_id, then keyman adopt NAME "
            "--slot SLOT; nobody needs it: delete it in the console"
        )
    options = asked.options
    assert isinstance(options, OpenaiOptions)
    if options.key_type == "admin":
        return "whoever uses it can ask keyman for the managed one instead; then delete it"
    if there.account is None:
        return "a person's key can't be managed: give the application one of a service account"
    if any(_account(one) == there.account for one in ours):
        return "its account has a credential: lead the application there, then delete the key"
    return (
        "to manage it: a credential with its account as service_account_id, then keyman adopt "
        f"NAME --key-id {there.key.handle}"
    )


def _account(one: CredentialSettings) -> str | None:
    return one.options.service_account_id if isinstance(one.options, OpenaiOptions) else None
