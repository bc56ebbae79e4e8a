"""OCI Generative AI: an API key holds two secrets (slots), each renewed and switched by itself.

Talks to the control plane through Oracle's SDK (vendors/oci.py) and to inference only to probe.
Every verb may be repeated: renewing a slot nobody depends on does no harm, nor does setting a state
that is so, and a new key is found again by its tag. Each tries once, but what met a conflict may be
tried once more. A look may show what was before, so a picture alone never says that a secret is
revoked. What Oracle's documents leave open is survived either way; docs/oci.md lists it with the
test of each.

Never renews, switches or deletes what it was not told to, and never keeps a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from keyman import errors
from keyman.clock import Clock
from keyman.core.inventory import There
from keyman.core.model import (
    NOT_SHOWN,
    KeySeen,
    Observed,
    Place,
    Secret,
    Spec,
    State,
    Verdict,
    Version,
)
from keyman.core.picture import GONE, SAME_EXPIRY
from keyman.providers.protocol import Created, Issued, Lookup
from keyman.vendors.network import Network
from keyman.vendors.oci import Service
from keyman.vendors.oci_etags import newer, unless_changed
from keyman.vendors.oci_iam import management_statement
from keyman.vendors.oci_identity import Auth, Identity
from keyman.vendors.oci_keys import (
    ATTEMPT_TAG,
    ENDED,
    NAME_TAG,
    OWNER_TAG,
    Listed,
    Picture,
    about,
    check_id,
    end,
    is_id,
    mask_of,
    picture,
    readable,
    stranger,
    text,
)
from keyman.vendors.oci_outcomes import LIMITS, Collided, Refused
from keyman.vendors.oci_probe import Probe, Seen

T = TypeVar("T")
PAGES = 1000
# A refusal with one of these may be about the state that something is in, so it is looked into.
UNCLEAR = frozenset({400, 404, 409})
SETTLED = frozenset({"ACTIVE", "INACTIVE"})  # life cycles of a key that is not being changed
# Codes of a 400 that speak of something else than the state of a slot.
ELSEWHERE = LIMITS | {
    "CannotParseRequest",
    "InsufficientServicePermissions",
    "MissingParameter",
    "RelatedResourceNotAuthorizedOrNotFound",
}
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
        self._observed: dict[str, Picture] = {}  # by the key's id, as it was looked at last
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
        seen = {handle: self._see(handle, optional) for handle in handles}
        self._observed = {handle: picture for handle, picture in seen.items() if picture}
        hidden = {handle: KeySeen(handle, NOT_SHOWN, ()) for handle in handles}
        keys = hidden | {handle: picture.key for handle, picture in self._observed.items()}
        return Observed(now, tuple(keys.values()))

    def _see(self, handle: str, optional: tuple[str, ...]) -> Picture | None:
        """None if it may be missing, and is."""
        try:
            return self._look(handle)
        except Refused as refusal:
            if refusal.status != 404:
                raise
            if handle in optional:
                return None
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

        def tag(etag: str | None) -> str | None:
            self._service.call(
                f"tag {key.handle} as ours",
                lambda client: client.update_api_key(key.handle, body, **_if(etag)),
                lambda data, _: about(data, key.handle),
                changes=True,
            )
            return etag

        look = partial(self._look, key.handle)
        return self._refuses(before, unless_changed(tag, before.key.etag, before, look))

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
            return self._unless_changed(
                place,
                etag,
                lambda known: self._renew(wish, place, known, token=wish.attempt),
                unused=place.slot,
            )
        except (Refused, Collided) as refusal:
            if refusal.status not in UNCLEAR:
                raise
            failure = refusal
        after = self._look(place.handle)
        if _may_go_again(wish, after.key, failure):
            known = newer(etag, self._observed.get(place.handle), after, place.slot)
            try:
                return self._renew_again(wish, place, known, after)
            except (Refused, Collided) as refusal:
                failure = refusal
        raise self._verdict(wish, after.key, failure)

    def activate(self, place: Place, etag: str | None) -> None:
        self._set(place, State.ACTIVE, etag, enough=frozenset({State.ACTIVE.value}))

    def retire(self, place: Place, etag: str | None) -> None:
        """Switch the slot off. Raises Rejected rather than leave nothing switched on."""
        before = self._look(place.handle)
        state = _state(before, place)
        if state in GONE:  # OCI may fill an expired slot, but not one that was switched off then
            return
        if self._is_last(before, place):
            if state == State.INACTIVE:
                return
            raise errors.Rejected(
                f"{place.slot} of {place.handle} is the last active slot, so it stays on",
                hint="fill or activate another slot first: `keyman rotate NAME`",
            )
        off = GONE | {State.INACTIVE.value}
        known = etag or before.key.etag
        self._set(place, State.INACTIVE, known, enough=off, unused=place.slot)

    def revoke(self, place: Place, etag: str | None) -> None:
        """Destroy the secret in the slot."""
        try:
            self._set(place, State.REVOKED, etag, enough=GONE)
            return
        except Collided as refusal:
            if refusal.status != 409:
                raise
            failure = refusal
        slot = self._look(place.handle).key.slot(place.slot)
        if slot is None or slot.state != State.INACTIVE:
            raise failure
        # Oracle does not say that an inactive secret can be revoked. Left inactive it could be
        # switched on again by anybody, so it is switched on for the moment this takes.
        self._switched_on(place, None, lambda _: self._put(place, State.REVOKED, None))

    # How.

    def _look(self, handle: str) -> Picture:
        check_id(handle)
        return self._service.call(
            f"show {handle}",
            lambda client: client.get_api_key(handle),
            lambda data, headers: picture(about(data, handle), headers.get("etag")),
            changes=False,
        )

    def _unless_changed(
        self,
        place: Place,
        etag: str | None,
        change: Callable[[str | None], T],
        *,
        before: Picture | None = None,
        unused: str | None = None,
    ) -> T:
        """As it was observed, or looked like `before`."""
        known = before or self._observed.get(place.handle)
        look = partial(self._look, place.handle)
        return unless_changed(change, etag, known, look, unused=unused)

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
                readable(data["items"], self._stranger),
                headers.get("opc-next-page") or None,
            ),
            changes=False,
        )

    def _stranger(self, item: Any) -> bool:
        return stranger(item, self._made_for, (self._spec.key_id, *self._observed))

    def _refuses(self, before: Picture, etag: str | None) -> bool:
        """Would a call that an earlier owner sent with that etag be refused?

        Setting an active slot active with the old etag shows it, and does nothing otherwise.
        """
        if not etag or not before.active:
            return False
        place = Place(before.key.handle, before.active[0])
        try:
            self._put(place, State.ACTIVE, etag)
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

    @property
    def _made_for(self) -> str:
        return f"{self._spec.installation}/{self._spec.name}"

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
                NAME_TAG: self._made_for,
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

    def _renew(self, wish: Version, place: Place, etag: str | None, *, token: str) -> Issued:
        from oci.generative_ai.models import KeyDetails, RenewApiKeyDetails

        details = KeyDetails(key_name=place.slot, time_expiry=_whole(_expiry(wish)))
        body = RenewApiKeyDetails(details=details)
        return self._service.call(
            f"renew {place.slot} of {place.handle}",
            lambda client: client.renew_api_key(
                place.handle, body, opc_retry_token=token, **_if(etag)
            ),
            lambda data, _: _issued(about(data, place.handle), wish, place),
            changes=True,
        )

    def _verdict(
        self, wish: Version, key: KeySeen, failure: Refused | Collided
    ) -> errors.ProviderFailed:
        """What a refusal to renew means, beside what the key then showed."""
        if _used(wish, key, failure):
            hint = "nothing to do: keyman asks for another one"
            return errors.SecretLost(f"{failure.message}: its secret was never seen", hint=hint)
        slot = key.slot(wish.slot)
        if slot is None or slot.state not in GONE or key.state not in SETTLED:
            return failure
        if failure.status == 404:  # the slot's state, or a permission that may come back
            renewal = f"`keyman rotate {self._spec.name} --new-key`"
            failure.hint += f"; or a slot that is {slot.state} is not filled again: {renewal}"
        if failure.status not in (400, 409) or failure.reason in ELSEWHERE:
            return failure
        return errors.SlotRefused(f"{failure.message}; the slot is {slot.state}")

    def _renew_again(self, wish: Version, place: Place, etag: str | None, seen: Picture) -> Issued:
        """Once more after a conflict, which may have been one of that moment only.

        With a token of its own, the same at each try: OCI might keep the refusal with the first.
        Whether an inactive slot can be renewed is not documented; an active one can.
        """
        token = f"again-{wish.attempt}"
        slot = seen.key.slot(place.slot)
        if slot is None or slot.state != State.INACTIVE:
            return self._renew(wish, place, etag, token=token)

        def renew(told: str | None) -> Issued:
            fresh = told or self._look(place.handle).key.etag
            return self._renew(wish, place, fresh, token=token)

        return self._switched_on(place, etag, renew, seen)

    def _switched_on(
        self,
        place: Place,
        etag: str | None,
        act: Callable[[str | None], T],
        before: Picture | None = None,
    ) -> T:
        """Do what may need an active slot, and switch it off again if that was not done.

        `act` takes the etag, if OCI told it. Where no answer came the slot stays on: it may have
        been done. So it does if somebody else has changed the key since.
        """
        told = self._unless_changed(
            place,
            etag,
            lambda known: self._put(place, State.ACTIVE, known),
            before=before,
            unused=place.slot,
        )
        try:
            return act(told)
        except (errors.Rejected, errors.RetryLater) as refusal:
            failure = refusal
        if getattr(failure, "status", None) != 412:
            with suppress(errors.ProviderFailed):
                self._put(place, State.INACTIVE, told)
        raise failure

    def _set(
        self,
        place: Place,
        state: State,
        etag: str | None,
        *,
        enough: frozenset[str],
        unused: str | None = None,
    ) -> None:
        """Set, and look only where OCI objects: setting what is so may be a conflict.

        Not before: a lagging picture would show what the slot was before its secret was made.
        """
        try:
            self._unless_changed(
                place, etag, lambda known: self._put(place, state, known), unused=unused
            )
            return
        except (Refused, Collided) as refusal:
            if refusal.status not in UNCLEAR:
                raise
            failure = refusal
        if _state(self._look(place.handle), place) not in enough:
            raise failure

    def _put(self, place: Place, state: State, etag: str | None) -> str | None:
        """Returns the key's new etag, if OCI tells it."""
        from oci.generative_ai.models import SetApiKeyStateDetails

        def etag_of(data: Any, headers: Mapping[str, str]) -> str | None:
            about(data, place.handle)
            return headers.get("etag") or None

        check_id(place.handle)
        body = SetApiKeyStateDetails(key_name=place.slot, state=state.value)
        return self._service.call(
            f"set {place.slot} of {place.handle} to {state.value}",
            lambda client: client.set_api_key_state(place.handle, body, **_if(etag)),
            etag_of,
            changes=True,
        )

    def _is_last(self, before: Picture, place: Place) -> bool:
        """Would nothing be switched on without this slot?"""
        others = [name for name in before.active if name != place.slot]
        elsewhere = (h for h in self._observed if h != place.handle)
        return not others and not any(self._look(handle).active for handle in elsewhere)


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


def _may_go_again(wish: Version, key: KeySeen, failure: Refused | Collided) -> bool:
    """After any conflict; after a bad request if the slot is off, which may be what is bad.

    What is being changed may be filled once that is over; a token that was used stays used.
    """
    if key.state not in SETTLED or _used(wish, key, failure):
        return False
    slot = key.slot(wish.slot)
    off = slot is not None and slot.state == State.INACTIVE
    unsaid = failure.status == 400 and failure.reason not in ELSEWHERE
    return failure.status == 409 or (off and unsaid)


def _used(wish: Version, key: KeySeen, failure: Refused | Collided) -> bool:
    """Of all that a 409 can mean, is it the one that asking again won't cure?

    The token was used, so the secret was shown to nobody. Where the code is only a number, the
    slot tells: it has the very expiry that this wish asked for.
    """
    slot = key.slot(wish.slot)
    ends = slot.expires_at if slot else None
    granted = ends is not None and abs(ends - _whole(_expiry(wish))) < SAME_EXPIRY
    numbered = failure.reason in (None, "409")
    return failure.status == 409 and (
        failure.reason == "InvalidatedRetryToken" or (numbered and granted)
    )


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
    expires_at = end(item.get("timeExpiry")) or _whole(_expiry(wish))
    return Issued(Secret(secret), place.handle, mask_of(secret, item.get("keyMask")), expires_at)
