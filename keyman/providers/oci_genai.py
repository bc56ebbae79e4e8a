"""OCI Generative AI: an API key holds two secrets (slots), each renewed and switched by itself.

Talks to the control plane through Oracle's SDK (vendors/oci.py) and to inference only to probe.
Every verb tries once and may be repeated: renewing a slot nobody depends on does no harm, states
are looked at before they are set, a new key is found again by its tag. What Oracle's documents
leave open is survived either way; docs/oci.md lists it with the test of each.

Never renews, switches or deletes what it was not told to, and never keeps a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

from keyman import errors
from keyman.clock import Clock
from keyman.core.inventory import There
from keyman.core.model import (
    NOT_SHOWN,
    KeySeen,
    Observed,
    Place,
    Secret,
    SlotSeen,
    Spec,
    State,
    Verdict,
    Version,
)
from keyman.core.picture import GONE, SAME_EXPIRY
from keyman.providers.protocol import Created, Issued, Lookup
from keyman.vendors.network import Network
from keyman.vendors.oci import Service
from keyman.vendors.oci_iam import management_statement
from keyman.vendors.oci_identity import Auth, Identity
from keyman.vendors.oci_keys import (
    ATTEMPT_TAG,
    NAME_TAG,
    OWNER_TAG,
    Listed,
    Picture,
    about,
    check_id,
    is_id,
    listed,
    optional_text,
    picture,
    text,
    time,
)
from keyman.vendors.oci_outcomes import Collided, Refused
from keyman.vendors.oci_probe import Probe, Seen

ENDED = frozenset({"DELETING", "DELETED", "FAILED"})
PAGES = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,254}")


class Verify(Protocol):
    @property
    def model(self) -> str | None: ...


class Options(Protocol):
    """What the configuration says of such a credential."""

    @property
    def region(self) -> str | None: ...
    @property
    def compartment_id(self) -> str | None: ...
    @property
    def auth(self) -> Auth: ...
    @property
    def endpoint(self) -> str | None: ...
    @property
    def base_url(self) -> str: ...
    @property
    def verify(self) -> Verify: ...


class OciGenai:
    """One credential whose secrets are the slots of an OCI Generative AI API key."""

    def __init__(
        self,
        spec: Spec,
        options: Options,
        *,
        network: Network,
        clock: Clock,
        federation_endpoint: str | None = None,
    ) -> None:
        self._spec, self._options = spec, options
        self._probe = Probe(options.base_url, options.verify.model, network, clock)
        self._observed: tuple[str, ...] = ()
        identity = Identity(
            options.auth, options.region, network, federation_endpoint=federation_endpoint
        )
        self._service = Service(
            _client_class,
            identity,
            endpoint=options.endpoint,
            network=network,
            clock=clock,
            permission=management_statement(options.compartment_id, options.auth.kind),
        )

    # What is there.

    def observe(
        self, handles: tuple[str, ...], now: datetime, optional: tuple[str, ...] = ()
    ) -> Observed:
        """Look at each key.

        One that is not found is never taken for deleted: OCI answers the same when the permission
        is missing.
        """
        keys = tuple(self._see(handle, optional) for handle in handles)
        self._observed = tuple(key.handle for key in keys if key.state != NOT_SHOWN)
        return Observed(now, keys)

    def _see(self, handle: str, optional: tuple[str, ...]) -> KeySeen:
        try:
            return self._look(handle).key
        except Refused as refusal:
            if refusal.status != 404:
                raise
            if handle in optional:
                return KeySeen(handle, NOT_SHOWN, ())
            refusal.hint += f"; if it was deleted: `keyman rotate {self._spec.name} --new-key`"
            raise

    def list_keys(self) -> tuple[Listed, ...]:
        """Every key of the compartment, deleted ones too while OCI shows them."""
        return tuple(self._pages())

    def inventory(self) -> tuple[There, ...]:
        """Every key of the compartment, which may be known from the configured key alone."""
        within = self._options.compartment_id
        if within is None and self._spec.key_id:
            within = self._look(self._spec.key_id).compartment
        return tuple(found.there for found in self._pages(within))

    def lookup(self) -> Lookup:
        return Lookup(base_url=self._options.base_url)

    def verify(self, secret: Secret) -> Verdict:
        return self._probe.verdict(secret)

    def to_a_stranger(self) -> Seen:
        """What inference answers to somebody without a secret: whether it is there at all."""
        return self._probe.to_a_stranger()

    @property
    def ahead(self) -> float | None:
        """Seconds that our clock was ahead of OCI's at its last answer; None if it gave none."""
        return self._service.ahead

    # What changes something.

    def claim(self, key: KeySeen, owner: str, epoch: int) -> bool:
        """Tag the key with its owner. True if afterwards a call with the old etag was refused."""
        from oci.generative_ai.models import UpdateApiKeyDetails

        before = self._look(key.handle)
        tags = {**before.tags, OWNER_TAG: f"{owner}:{epoch}"}
        body = UpdateApiKeyDetails(freeform_tags=tags, defined_tags=before.defined_tags)
        self._service.call(
            f"tag {key.handle} as ours",
            lambda client: client.update_api_key(key.handle, body, **_if(before.key.etag)),
            lambda data, _: about(data, key.handle),
            changes=True,
        )
        return self._refuses(before)

    def create(self, wish: Version, standby_expires_at: datetime) -> Created:
        """Make a key, or find the one that an earlier try at the same wish made."""
        return self._find_created(wish) or self._create(wish, standby_expires_at)

    def issue(self, wish: Version, etag: str | None) -> Issued:
        """Renew the wish's slot.

        Raises SlotRefused if OCI won't fill it ever again, SecretLost if it did fill it and shows
        the secret no more.
        """
        place = _slot_of(wish)
        try:
            return self._renew(wish, place, etag)
        except (Refused, Collided) as refusal:
            if refusal.status not in (400, 404, 409):
                raise
            failure = refusal
        slot = self._look(place.handle).key.slot(place.slot)
        if isinstance(failure, Collided):
            self._tell_collisions_apart(wish, slot, failure)
        if slot and slot.state in GONE:
            raise errors.SlotRefused(f"{failure.message}; the slot is {slot.state}")
        if slot and slot.state == State.INACTIVE:
            return self._renew_switched_on(wish, place, etag)
        raise failure

    def activate(self, place: Place, etag: str | None) -> None:
        self._set(place, State.ACTIVE, etag, enough=frozenset({State.ACTIVE.value}))

    def retire(self, place: Place, etag: str | None) -> None:
        """Switch the slot off. Raises Rejected rather than leave nothing switched on."""
        enough = GONE | {State.INACTIVE.value}
        self._set(place, State.INACTIVE, etag, enough=enough, guard=self._keep_one_active)

    def revoke(self, place: Place, etag: str | None) -> None:
        """Destroy the secret in the slot."""
        try:
            self._set(place, State.REVOKED, etag, enough=GONE)
        except Collided as refusal:
            slot = self._look(place.handle).key.slot(place.slot)
            if refusal.status != 409 or slot is None or slot.state != State.INACTIVE:
                raise
            # Oracle does not say that an inactive secret can be revoked. Left inactive it could be
            # switched on again by anybody, so it is switched on for the moment this takes.
            self._put(place, State.ACTIVE, None)
            self._put(place, State.REVOKED, None)

    # How.

    def _look(self, handle: str) -> Picture:
        check_id(handle)
        return self._service.call(
            f"show {handle}",
            lambda client: client.get_api_key(handle),
            lambda data, headers: picture(about(data, handle), headers.get("etag")),
            changes=False,
        )

    def _pages(self, within: str | None = None) -> Iterator[Listed]:
        page: str | None = None
        compartment = within or self._compartment
        for _ in range(PAGES):
            items, page = self._page(compartment, page)
            yield from items
            if page is None:
                return
        raise errors.RetryLater("the list of API keys does not end")

    def _page(self, compartment: str, page: str | None) -> tuple[list[Listed], str | None]:
        onward = {"page": page} if page else {}
        return self._service.call(
            f"list the API keys in {compartment}",
            lambda client: client.list_api_keys(compartment, limit=100, **onward),
            lambda data, headers: (
                [listed(item) for item in data["items"]],
                headers.get("opc-next-page") or None,
            ),
            changes=False,
        )

    def _refuses(self, before: Picture) -> bool:
        """Would a call that an earlier owner sent be refused?

        Setting an active slot active with the old etag shows it, and does nothing otherwise.
        """
        if not before.key.etag or not before.active:
            return False
        place = Place(before.key.handle, before.active[0])
        try:
            self._put(place, State.ACTIVE, before.key.etag)
        except Collided as refusal:
            return refusal.status == 412
        except errors.ProviderFailed:
            return False
        return False

    def _find_created(self, wish: Version) -> Created | None:
        for found in self._pages():
            if found.attempt == wish.attempt and found.key.state not in ENDED:
                names = [slot.name for slot in found.key.slots]
                other = next((name for name in names if name != self._first(wish)), None)
                return Created(found.key.handle, None, other)
        return None

    @property
    def _compartment(self) -> str:
        if self._options.compartment_id is None:
            hint = "say in which compartment: compartment_id"
            raise errors.Rejected(
                "API keys live in a compartment, and none is configured", hint=hint
            )
        return self._options.compartment_id

    def _first(self, wish: Version) -> str:
        return wish.slot or self._spec.slots[0]

    def _create(self, wish: Version, standby_expires_at: datetime) -> Created:
        from oci.generative_ai.models import CreateApiKeyDetails, KeyDetails

        first, name = self._first(wish), self._spec.name
        ends = dict.fromkeys(self._spec.slots, standby_expires_at) | {first: _expiry(wish)}
        body = CreateApiKeyDetails(
            display_name=f"keyman_{name}",
            compartment_id=self._compartment,
            key_details=[KeyDetails(key_name=s, time_expiry=_whole(at)) for s, at in ends.items()],
            freeform_tags={
                NAME_TAG: f"{self._spec.installation}/{name}",
                ATTEMPT_TAG: wish.attempt,
            },
        )
        # Not the bare attempt: that is the token of the renewal which may follow for this wish. If
        # it was used (409), the key exists, and the next try finds it as soon as a list shows it.
        token = f"create-{wish.attempt}"
        return self._service.call(
            f"create an API key for {name}",
            lambda client: client.create_api_key(body, opc_retry_token=token),
            lambda data, _: _created(data, wish, first),
            changes=True,
        )

    def _renew(self, wish: Version, place: Place, etag: str | None) -> Issued:
        from oci.generative_ai.models import KeyDetails, RenewApiKeyDetails

        details = KeyDetails(key_name=place.slot, time_expiry=_whole(_expiry(wish)))
        body = RenewApiKeyDetails(details=details)
        return self._service.call(
            f"renew {place.slot} of {place.handle}",
            lambda client: client.renew_api_key(
                place.handle, body, opc_retry_token=wish.attempt, **_if(etag)
            ),
            lambda data, _: _issued(about(data, place.handle), wish, place),
            changes=True,
        )

    def _tell_collisions_apart(
        self, wish: Version, slot: SlotSeen | None, failure: Collided
    ) -> None:
        """Of all that a 409 can mean, find the one that asking again won't cure.

        The token was used, so the secret was shown to nobody. Where the code is only a number,
        the slot tells: it has the very expiry that this wish asked for.
        """
        ends = slot.expires_at if slot else None
        granted = ends is not None and abs(ends - _whole(_expiry(wish))) < SAME_EXPIRY
        numbered = failure.reason in (None, "409")
        if failure.reason == "InvalidatedRetryToken" or (numbered and granted):
            hint = "nothing to do: keyman asks for another one"
            raise errors.SecretLost(f"{failure.message}: its secret was never seen", hint=hint)

    def _renew_switched_on(self, wish: Version, place: Place, etag: str | None) -> Issued:
        # Whether an inactive slot can be renewed is not documented; an active one can.
        self._put(place, State.ACTIVE, etag)
        return self._renew(wish, place, self._look(place.handle).key.etag)

    def _set(
        self,
        place: Place,
        state: State,
        etag: str | None,
        *,
        enough: frozenset[str],
        guard: Callable[[Picture, Place], None] | None = None,
    ) -> None:
        """Look, set, and where OCI objects look again: setting what is so may be a conflict."""
        before = self._look(place.handle)
        if _state(before, place) in enough:
            return
        if guard:
            guard(before, place)
        try:
            self._put(place, state, etag or before.key.etag)
        except Collided as refusal:
            if refusal.status != 409 or _state(self._look(place.handle), place) not in enough:
                raise

    def _put(self, place: Place, state: State, etag: str | None) -> None:
        from oci.generative_ai.models import SetApiKeyStateDetails

        body = SetApiKeyStateDetails(key_name=place.slot, state=state.value)
        self._service.call(
            f"set {place.slot} of {place.handle} to {state.value}",
            lambda client: client.set_api_key_state(place.handle, body, **_if(etag)),
            lambda data, _: about(data, place.handle),
            changes=True,
        )

    def _keep_one_active(self, before: Picture, place: Place) -> None:
        others = [name for name in before.active if name != place.slot]
        elsewhere = (h for h in self._observed if h != place.handle)
        if others or any(self._look(handle).active for handle in elsewhere):
            return
        raise errors.Rejected(
            f"{place.slot} of {place.handle} is the last active slot, so it stays on",
            hint="fill or activate another slot first: `keyman rotate NAME`",
        )


def _client_class() -> Any:
    from oci.generative_ai import GenerativeAiClient

    return GenerativeAiClient


def _if(etag: str | None) -> dict[str, str]:
    return {"if_match": etag} if etag else {}


def _slot_of(wish: Version) -> Place:
    assert wish.handle, "a slot is filled in a key that is known"
    check_id(wish.handle)
    if wish.slot is None or not _NAME.fullmatch(wish.slot):
        hint = "slots start with a letter or _, then letters, digits, - and _"
        raise errors.Rejected(f"{wish.slot!r} is no name of a slot", hint=hint)
    return Place(wish.handle, wish.slot)


def _expiry(wish: Version) -> datetime:
    assert wish.expires_at, "a wish for a slot names its end"
    return wish.expires_at


def _whole(at: datetime) -> datetime:
    """Whole seconds, always rounded the same way: a repeated call must have the same body."""
    return at.astimezone(UTC).replace(microsecond=0)


def _state(seen: Picture, place: Place) -> str:
    slot = seen.key.slot(place.slot)
    if slot is None:
        names = ", ".join(str(s.name) for s in seen.key.slots)
        raise errors.Rejected(
            f"{place.handle} has no slot {place.slot!r}", hint=f"its slots: {names}"
        )
    return slot.state


def _created(data: Any, wish: Version, first: str) -> Created:
    handle = text(data["id"])
    if not is_id(handle):  # no refusal: something was made, and this does not tell what
        raise ValueError("that is no id of an API key")
    names = [text(item["keyName"]) for item in data["keys"]]
    standby = next((name for name in names if name != first), None)
    try:
        issued = _issued(data, wish, Place(handle, first))
    except errors.SecretLost:
        return Created(handle, None, standby)
    return Created(handle, issued, standby)


def _issued(data: dict[str, Any], wish: Version, place: Place) -> Issued:
    """The secret of the slot, found by name: order and company of the items are not promised."""
    items = [item for item in data["keys"] if item["keyName"] == place.slot]
    item: dict[str, Any] = items[0] if items else {}
    secret = item.get("key")
    if not secret:
        raise errors.SecretLost(
            f"OCI renewed {place.slot} of {place.handle} but shows its secret no more",
            hint="nothing to do: keyman asks for another one",
        )
    if not (text(secret).isascii() and secret.isprintable()) or " " in secret:
        raise ValueError("that is no secret")
    expires_at = time(item.get("timeExpiry")) or _whole(_expiry(wish))
    mask = optional_text(item.get("keyMask"))
    return Issued(Secret(secret), place.handle, mask, expires_at)
