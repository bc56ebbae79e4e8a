"""The verbs of oci-genai, against clouds that answer Oracle's open questions in every way.

docs/oci.md says which pitfall each of these guards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest

from keyman import errors
from keyman.clock import new_id
from keyman.core.model import Place, Secret, State, Verdict, Version
from keyman.providers.protocol import Issued
from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.faults import Effect, Fault
from keyman.sandbox.keys import ApiKey
from keyman.sandbox.oci_genai import COMPARTMENT
from keyman.vendors.oci_etags import MOVED_BY_USE
from keyman.vendors.oci_iam import KNOWN_REGIONS, base_url, policy_statements
from keyman.vendors.oci_identity import KINDS as AUTH_KINDS
from keyman.vendors.oci_keys import OWNER_TAG, picture
from tests.providers.oci_world import CANARY, World, instant, world

T = TypeVar("T")
SEEDS = range(40)
TRIES = 8


def until_done(call: Callable[[], T]) -> T:
    """What the rotator does with RetryLater and Unknown, without waiting."""
    for _ in range(TRIES - 1):
        with suppress(errors.RetryLater, errors.Unknown):
            return call()
    return call()


def issued(oci: World, wish: Version, etag: str | None = None) -> Issued:
    """Issue, with a fresh attempt wherever the secret was lost."""
    provider = oci.usual
    for attempt in (wish, *(replace(wish, attempt=new_id()) for _ in range(TRIES))):
        with suppress(errors.SecretLost):
            return until_done(partial(provider.issue, attempt, etag))
    raise AssertionError("no secret after so many attempts")


def _named(value: object) -> str:
    if isinstance(value, Fault):
        return f"{value.effect}-{value.status or value.body[:12]}{'-done' if value.done else ''}"
    return getattr(value, "__name__", str(value))


# Every cloud.


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rotation_works_in_every_cloud_and_spares_what_is_served(seed: int) -> None:
    with world(instant(seed)) as oci:
        provider = oci.usual
        handle, old = oci.made_by_hand()
        served, standby = Place(handle, "key-one"), Place(handle, "key-two")
        provider.claim(oci.seen(handle), "here", 1)
        new = issued(oci, oci.wish("key-two", handle), oci.seen(handle).etag)
        until_done(lambda: provider.activate(standby, None))
        assert oci.holds(handle, "key-two", new.secret)
        assert oci.holds(handle, "key-one", old["key-one"])
        assert oci.slot(handle, "key-one")["state"] == "ACTIVE"
        assert provider.verify(new.secret) is Verdict.ACCEPTED
        until_done(lambda: provider.retire(served, None))
        until_done(lambda: provider.revoke(served, None))
        assert provider.verify(old["key-one"]) is Verdict.REFUSED
        assert provider.verify(new.secret) is Verdict.ACCEPTED
        assert oci.seen(handle).owner == "here"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_first_key_is_made_once_in_every_cloud(seed: int) -> None:
    with world(instant(seed)) as oci:
        oci.sandbox.faults.add(Fault("lost_after", "CreateApiKey", nth=1))
        wish, ends = oci.wish(), oci.standby_ends
        made = until_done(lambda: oci.usual.create(wish, ends))
        secret = issued(oci, replace(wish, handle=made.handle)).secret
        assert oci.holds(made.handle, "key-one", secret)
        assert made.standby == "key-two"
        assert len(oci.sandbox.truth()["keys"]) == 1


@pytest.mark.parametrize("state", ["REVOKED", "EXPIRED"])
@pytest.mark.parametrize("numbered", ["names", "numbers"])
@pytest.mark.parametrize("answer", [200, 400, 409])
def test_a_slot_that_cannot_be_filled_again_is_told_apart(
    state: str, numbered: str, answer: int
) -> None:
    clouds = Behaviour(renew_revoked=answer, renew_expired=answer, error_codes=numbered)
    with world(clouds) as oci:
        ends = datetime.now(UTC) + timedelta(hours=1)
        handle, _ = oci.sandbox.console.create("x", COMPARTMENT, expires=ends)
        if state == "REVOKED":
            oci.sandbox.console.set_state(handle, "key-two", "REVOKED")
        else:
            oci.sandbox.time_shift = timedelta(hours=2)
        wish = oci.wish("key-two", handle)
        if answer == 200:
            assert oci.holds(handle, "key-two", oci.usual.issue(wish, None).secret)
            return
        with pytest.raises(errors.SlotRefused) as caught:
            oci.usual.issue(wish, None)
        assert state in caught.value.message


def revoked_slot(oci: World) -> str:
    """A key whose second slot is revoked, as `retire: revoke` leaves it."""
    handle, _ = oci.made_by_hand()
    oci.sandbox.console.set_state(handle, "key-two", "REVOKED")
    return handle


def test_a_conflict_of_that_moment_does_not_end_a_slot(oci: World) -> None:
    handle = revoked_slot(oci)
    oci.sandbox.faults.add(Fault("incorrect_state", "RenewApiKey", count=1))
    new = oci.usual.issue(oci.wish("key-two", handle), None)
    assert oci.holds(handle, "key-two", new.secret)


def test_a_key_that_is_being_changed_ends_no_slot(oci: World) -> None:
    handle = revoked_slot(oci)
    key, wish = oci.sandbox.cloud.keys[handle], oci.wish("key-two", handle)
    key.busy_as, key.busy_until = "UPDATING", datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(errors.RetryLater):
        oci.usual.issue(wish, None)
    assert len(oci.sandbox.calls("RenewApiKey")) == 1
    key.busy_until = None
    assert oci.holds(handle, "key-two", oci.usual.issue(wish, None).secret)


@pytest.mark.parametrize("numbered", ["names", "numbers"])
def test_what_may_be_a_permission_ends_no_slot_and_names_both_causes(numbered: str) -> None:
    with world(Behaviour(renew_revoked=404, error_codes=numbered)) as oci:
        handle = revoked_slot(oci)
        with pytest.raises(errors.Rejected) as caught:
            oci.usual.issue(oci.wish("key-two", handle), None)
    assert not isinstance(caught.value, errors.SlotRefused)
    assert "manage generative-ai-apikey" in caught.value.hint
    assert "keyman rotate genai-1_a --new-key" in caught.value.hint


@pytest.mark.parametrize("code", ["LimitExceeded", "MissingParameter"])
def test_a_code_that_speaks_of_something_else_ends_no_slot(oci: World, code: str) -> None:
    handle = revoked_slot(oci)
    said = f'{{"code": "{code}", "message": "no"}}'
    oci.sandbox.faults.add(Fault("status", "RenewApiKey", status=400, body=said))
    with pytest.raises(errors.Rejected) as caught:
        oci.usual.issue(oci.wish("key-two", handle), None)
    assert not isinstance(caught.value, errors.SlotRefused)


@pytest.mark.parametrize("numbered", ["names", "numbers"])
@pytest.mark.parametrize("replay", ["full", "without_secret", "409", "ignored"])
def test_a_lost_renewal_is_repeated_or_known_to_be_lost(replay: str, numbered: str) -> None:
    with world(Behaviour(retry_token=replay, error_codes=numbered)) as oci:
        handle, _ = oci.made_by_hand()
        wish = oci.wish("key-two", handle)
        oci.sandbox.faults.add(Fault("lost_after", "RenewApiKey", nth=1))
        with pytest.raises(errors.Unknown):
            oci.usual.issue(wish, None)
        if replay in ("full", "ignored"):
            again = oci.usual.issue(wish, None)
        else:
            with pytest.raises(errors.SecretLost):
                oci.usual.issue(wish, None)
            again = oci.usual.issue(replace(wish, attempt=new_id()), None)
        assert oci.holds(handle, "key-two", again.secret)


@pytest.mark.parametrize("numbered", ["names", "numbers"])
@pytest.mark.parametrize("replay", ["full", "without_secret", "409"])
def test_a_lost_key_is_found_though_no_list_shows_it_yet(replay: str, numbered: str) -> None:
    shy = Behaviour(retry_token=replay, error_codes=numbered, created_visible=False, stale_reads=3)
    with world(shy) as oci:
        wish, ends = oci.wish(), oci.standby_ends
        oci.sandbox.faults.add(Fault("lost_after", "CreateApiKey", nth=1))
        made = until_done(lambda: oci.usual.create(wish, ends))
        assert [key["id"] for key in oci.sandbox.truth()["keys"]] == [made.handle]


def test_an_inactive_slot_that_cannot_be_renewed_so_is_switched_on_first() -> None:
    with world(Behaviour(renew_inactive=409, error_codes="numbers")) as oci:
        handle, _ = oci.made_by_hand()
        oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
        new = oci.usual.issue(oci.wish("key-two", handle), oci.seen(handle).etag)
        assert oci.holds(handle, "key-two", new.secret)


REFUSALS = [
    Fault("incorrect_state"),
    Fault("throttle"),
    *[Fault("status", status=status) for status in (400, 403, 404)],
]


@pytest.mark.parametrize("fault", [f for f in REFUSALS if f.status == 404], ids=_named)
def test_a_refusal_that_is_not_about_its_state_switches_nothing_on(
    oci: World, fault: Fault
) -> None:
    handle, _ = oci.made_by_hand()
    oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
    oci.sandbox.faults.add(replace(fault, operation="RenewApiKey"))
    before = oci.changes
    with pytest.raises(errors.Rejected):
        oci.usual.issue(oci.wish("key-two", handle), None)
    assert oci.changes == [*before, "RenewApiKey"]


def test_a_bad_request_may_be_about_its_state(oci: World) -> None:
    """Which code OCI has for that is not documented."""
    handle, _ = oci.made_by_hand()
    oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
    oci.sandbox.faults.add(Fault("status", "RenewApiKey", status=400, nth=1))
    issued = oci.usual.issue(oci.wish("key-two", handle), None)
    assert oci.holds(handle, "key-two", issued.secret)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("fault", REFUSALS, ids=_named)
def test_what_was_switched_on_in_vain_is_switched_off_again(fault: Fault, *, told: bool) -> None:
    with world(Behaviour(renew_inactive=409, etag_on_change=told)) as oci:
        handle, old = oci.made_by_hand()
        oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
        oci.sandbox.faults.add(replace(fault, operation="RenewApiKey", nth=2))
        with pytest.raises((errors.Rejected, errors.RetryLater)) as caught:
            oci.usual.issue(oci.wish("key-two", handle), oci.seen(handle).etag)
        _is_fit_to_travel(caught.value)
        assert oci.slot(handle, "key-two")["state"] == "INACTIVE"
        assert oci.holds(handle, "key-two", old["key-two"])


@pytest.mark.parametrize("effect", ["lost_before", "lost_after"])
def test_what_may_have_been_filled_stays_switched_on(effect: Effect) -> None:
    with world(Behaviour(renew_inactive=409)) as oci:
        handle, _ = oci.made_by_hand()
        oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
        oci.sandbox.faults.add(Fault(effect, "RenewApiKey", nth=2))
        with pytest.raises(errors.Unknown):
            oci.usual.issue(oci.wish("key-two", handle), None)
        assert oci.slot(handle, "key-two")["state"] == "ACTIVE"


@pytest.mark.parametrize("effect", [None, "lost_before", "lost_after"])
@pytest.mark.parametrize("replay", ["full", "without_secret", "409", "ignored"])
def test_a_token_that_keeps_its_refusal_is_followed_by_another(
    replay: str, effect: Effect | None
) -> None:
    kept = Behaviour(renew_inactive=409, retry_token_keeps_refusals=True, retry_token=replay)
    with world(kept) as oci:
        handle, _ = oci.made_by_hand()
        oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
        wish = oci.wish("key-two", handle)
        if effect:
            oci.sandbox.faults.add(Fault(effect, "RenewApiKey", nth=2))
            with pytest.raises(errors.Unknown):
                oci.usual.issue(wish, None)
        new = issued(oci, wish)
        assert oci.holds(handle, "key-two", new.secret)
        tokens = [call.retry_token or "" for call in oci.sandbox.calls("RenewApiKey")]
        again = "again-" + wish.attempt
        assert tokens[: 4 if effect else 2] == [wish.attempt, again] * (2 if effect else 1)
        assert len(again) <= 64  # what OCI's other services say of it


def test_a_leak_that_cannot_be_revoked_is_not_left_switched_on() -> None:
    with world(Behaviour(revoke_inactive=409)) as oci:
        handle, _ = oci.made_by_hand()
        oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
        oci.sandbox.faults.add(Fault("throttle", "SetApiKeyState", nth=3))
        with pytest.raises(errors.RetryLater):
            oci.usual.revoke(Place(handle, "key-two"), None)
        assert oci.slot(handle, "key-two")["state"] == "INACTIVE"


def test_an_inactive_slot_that_cannot_be_revoked_so_is_revoked_all_the_same() -> None:
    with world(Behaviour(revoke_inactive=409)) as oci:
        handle, _ = oci.made_by_hand()
        oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
        oci.usual.revoke(Place(handle, "key-two"), None)
        assert oci.slot(handle, "key-two")["state"] == "REVOKED"


# Every fault.

CHANGES: dict[str, tuple[str, Callable[[World, str], Any]]] = {
    "claim": ("UpdateApiKey", lambda o, key: o.usual.claim(o.seen(key), "here", 1)),
    "create": ("CreateApiKey", lambda o, key: o.usual.create(o.wish(), o.standby_ends)),
    "issue": ("RenewApiKey", lambda o, key: o.usual.issue(o.wish("key-two", key), None)),
    "activate": ("SetApiKeyState", lambda o, key: _switch(o, key, "activate", "INACTIVE")),
    "retire": ("SetApiKeyState", lambda o, key: _switch(o, key, "retire", "ACTIVE")),
    "revoke": ("SetApiKeyState", lambda o, key: _switch(o, key, "revoke", "ACTIVE")),
}
READS: dict[str, tuple[str, Callable[[World, str], Any]]] = {
    "observe": ("GetApiKey", lambda o, key: o.usual.observe((key,), o.clock.now())),
    "create": ("ListApiKeys", lambda o, key: o.usual.create(o.wish(), o.standby_ends)),
    "list": ("ListApiKeys", lambda o, key: o.usual.list_keys()),
    "claim": ("GetApiKey", lambda o, key: o.usual.claim(o.seen(key), "here", 1)),
    "retire": ("GetApiKey", lambda o, key: _switch(o, key, "retire", "ACTIVE")),
}
GARBAGE = ("{}", "null", "[]", '"yes"', "<html>", "\xff", '{"id": 1, "keys": [{}]}', "9" * 5000)
FAULTS: list[tuple[Fault, type[errors.Error], type[errors.Error]]] = [
    # what happens to the call, and what that means for a change and for a read
    (Fault("lost_before"), errors.Unknown, errors.RetryLater),
    (Fault("lost_after"), errors.Unknown, errors.RetryLater),
    (Fault("truncated"), errors.Unknown, errors.RetryLater),
    *[(Fault("garbage", body=text), errors.Unknown, errors.RetryLater) for text in GARBAGE],
    (Fault("throttle", retry_after=7), errors.RetryLater, errors.RetryLater),
    (Fault("throttle"), errors.RetryLater, errors.RetryLater),
    (Fault("incorrect_state"), errors.RetryLater, errors.RetryLater),
    *[(Fault("status", status=s), errors.Unknown, errors.RetryLater) for s in (408, 500, 503, 504)],
    (Fault("status", status=500, done=True), errors.Unknown, errors.RetryLater),
    (Fault("html", status=502), errors.Unknown, errors.RetryLater),
    (Fault("html", status=503, done=True), errors.Unknown, errors.RetryLater),
    (Fault("status", status=412), errors.RetryLater, errors.RetryLater),
    *[(Fault("status", status=s), errors.Rejected, errors.Rejected) for s in (400, 401, 403, 404)],
    (Fault("html", status=404), errors.Rejected, errors.Rejected),
    (Fault("html", status=302), errors.Unknown, errors.Rejected),
]


def _switch(oci: World, handle: str, verb: str, before: str) -> None:
    if oci.slot(handle, "key-two")["state"] != before:
        oci.sandbox.console.set_state(handle, "key-two", before)
    getattr(oci.usual, verb)(Place(handle, "key-two"), None)


def _suffered(
    oci: World, fault: Fault, operation: str, call: Callable[[World, str], Any]
) -> errors.Error:
    handle, served = oci.made_by_hand()
    oci.sandbox.faults.add(replace(fault, operation=operation))
    with pytest.raises(errors.ProviderFailed) as caught:
        call(oci, handle)
    oci.sandbox.faults.clear()
    assert oci.holds(handle, "key-one", served["key-one"])
    assert oci.slot(handle, "key-one")["state"] == "ACTIVE"
    _is_fit_to_travel(caught.value)
    return caught.value


def _is_fit_to_travel(error: errors.Error) -> None:
    """Ours through and through: a sentence, a next move, and no object of the SDK behind it."""
    assert error.__cause__ is None
    assert error.__context__ is None
    assert error.code == "provider_failed"
    assert error.hint != errors.Error.default_hint
    for text in (str(error), repr(error), error.hint, str(vars(error)), str(error.as_json())):
        assert CANARY not in text
        assert "<html" not in text


@pytest.mark.parametrize(("fault", "meant", "_"), FAULTS, ids=_named)
@pytest.mark.parametrize("verb", CHANGES)
def test_what_a_fault_means_for_a_change(
    oci: World, verb: str, fault: Fault, meant: type[errors.Error], _: object
) -> None:
    operation, call = CHANGES[verb]
    error = _suffered(oci, fault, operation, call)
    assert isinstance(error, meant)
    assert not isinstance(error, errors.SlotRefused)
    if isinstance(error, errors.RetryLater):
        assert error.retry_after == fault.retry_after
    else:
        assert not isinstance(error, errors.RetryLater)


@pytest.mark.parametrize(("fault", "_", "meant"), FAULTS, ids=_named)
@pytest.mark.parametrize("verb", READS)
def test_what_a_fault_means_for_a_read(
    oci: World, verb: str, fault: Fault, _: object, meant: type[errors.Error]
) -> None:
    operation, call = READS[verb]
    error = _suffered(oci, fault, operation, call)
    assert isinstance(error, meant)
    assert oci.changes == ["CreateApiKey"]  # the one by hand: nothing is changed on no picture


@pytest.mark.parametrize("verb", CHANGES)
def test_a_slow_answer_is_an_answer(oci: World, verb: str) -> None:
    handle, _ = oci.made_by_hand()
    operation, call = CHANGES[verb]
    oci.sandbox.faults.add(Fault("delay", operation, seconds_after=0.05))
    call(oci, handle)


@pytest.mark.parametrize("verb", CHANGES)
def test_a_call_is_sent_once(oci: World, verb: str) -> None:
    handle, _ = oci.made_by_hand()
    operation, call = CHANGES[verb]
    oci.sandbox.faults.add(Fault("status", operation, status=503))
    with pytest.raises(errors.Unknown):
        call(oci, handle)
    assert len([c for c in oci.sandbox.calls(operation) if c.fault]) == 1


def test_many_failures_in_a_row_close_no_door(oci: World) -> None:
    handle, _ = oci.made_by_hand()
    provider = oci.usual
    oci.sandbox.faults.add(Fault("status", "GetApiKey", status=500, count=15))
    for _ in range(15):
        with pytest.raises(errors.RetryLater):
            provider.observe((handle,), oci.clock.now())
    assert provider.observe((handle,), oci.clock.now()).keys


# Somebody else's hand.


@pytest.mark.parametrize("verb", ["issue", "activate", "retire", "revoke"])
def test_what_changed_meanwhile_is_looked_at_again(oci: World, verb: str) -> None:
    handle, old = oci.made_by_hand()
    seen = oci.seen(handle)
    oci.sandbox.console.update(handle, {}, {"freeformTags": {"by": "hand"}})
    if verb == "activate":
        oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
    before = oci.slot(handle, "key-two")["state"]
    wished: Any = oci.wish("key-two", handle)
    with pytest.raises(errors.RetryLater):
        getattr(oci.usual, verb)(wished if verb == "issue" else wished.place, seen.etag)
    assert oci.holds(handle, "key-two", old["key-two"])
    assert oci.slot(handle, "key-two")["state"] == before


def use(oci: World, handle: str, slot: int = 0) -> None:
    """A call of somebody's with that slot's secret."""
    oci.sandbox.cloud.keys[handle].slots[slot].secret.uses.append(datetime.now(UTC))


def use_before_changes(oci: World, handle: str, times: int, patch: pytest.MonkeyPatch) -> None:
    find, left = oci.sandbox.cloud.find, iter(range(times))

    def found(tenancy: str, key_id: str) -> ApiKey:
        if next(left, None) is not None:
            use(oci, handle)
        return find(tenancy, key_id)

    patch.setattr(oci.sandbox.cloud, "find", found)


BY_USE = Behaviour(etag_moved_by_use=True)


@pytest.mark.parametrize("verb", ["issue", "activate", "retire", "revoke"])
def test_a_key_that_was_only_used_meanwhile_is_as_it_was(verb: str) -> None:
    with world(BY_USE) as oci:
        handle, _ = oci.made_by_hand()
        wished: Any = oci.wish("key-two", handle)
        [seen] = oci.usual.observe((handle,), datetime.now(UTC)).keys
        use(oci, handle)
        getattr(oci.usual, verb)(wished if verb == "issue" else wished.place, seen.etag)
        refused = [call for call in oci.sandbox.calls() if call.status == 412]
        assert len(refused) == 1


def test_so_it_is_for_a_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(BY_USE) as oci:
        handle, _ = oci.made_by_hand()
        [seen] = oci.usual.observe((handle,), datetime.now(UTC)).keys
        use_before_changes(oci, handle, 3, monkeypatch)
        assert oci.usual.claim(seen, "here", 1)
        assert oci.seen(handle).owner == "here"
        assert len(oci.sandbox.calls("UpdateApiKey")) == 4


def test_one_that_was_used_and_changed_is_not() -> None:
    with world(BY_USE) as oci:
        handle, old = oci.made_by_hand()
        [seen] = oci.usual.observe((handle,), datetime.now(UTC)).keys
        use(oci, handle)
        oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
        with pytest.raises(errors.RetryLater):
            oci.usual.issue(oci.wish("key-two", handle), seen.etag)
        assert oci.holds(handle, "key-two", old["key-two"])


@pytest.mark.parametrize("verb", ["issue", "retire"])
def test_nor_is_a_slot_that_is_to_go_and_was_used(verb: str) -> None:
    with world(BY_USE) as oci:
        handle, old = oci.made_by_hand()
        wished: Any = oci.wish("key-two", handle)
        [seen] = oci.usual.observe((handle,), datetime.now(UTC)).keys
        use(oci, handle, slot=1)
        with pytest.raises(errors.RetryLater):
            getattr(oci.usual, verb)(wished if verb == "issue" else wished.place, seen.etag)
        assert oci.holds(handle, "key-two", old["key-two"])
        assert oci.slot(handle, "key-two")["state"] == "ACTIVE"


def test_no_change_is_made_without_its_condition_where_a_look_shows_no_etag() -> None:
    with world(BY_USE) as oci:
        handle, old = oci.made_by_hand()
        [seen] = oci.usual.observe((handle,), datetime.now(UTC)).keys
        use(oci, handle)
        oci.sandbox.cloud.behaviour = replace(BY_USE, etag_on_get=False)
        with pytest.raises(errors.RetryLater):
            oci.usual.issue(oci.wish("key-two", handle), seen.etag)
        assert oci.holds(handle, "key-two", old["key-two"])


def test_a_look_that_fails_says_nothing_of_the_change(oci: World) -> None:
    handle, old = oci.made_by_hand()
    [seen] = oci.usual.observe((handle,), datetime.now(UTC)).keys
    oci.sandbox.console.update(handle, {}, {"freeformTags": {"by": "hand"}})
    oci.sandbox.faults.add(Fault("incorrect_state", "GetApiKey", count=1))
    with pytest.raises(errors.RetryLater):
        oci.usual.issue(oci.wish("key-two", handle), seen.etag)
    assert [call.status for call in oci.sandbox.calls("RenewApiKey")] == [412]
    assert oci.holds(handle, "key-two", old["key-two"])


def test_a_use_within_a_claim_is_no_proof_of_a_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(replace(BY_USE, etag_changed_by_tags=False)) as oci:
        handle, _ = oci.made_by_hand()
        [seen] = oci.usual.observe((handle,), datetime.now(UTC)).keys
        use_before_changes(oci, handle, 1, monkeypatch)
        assert not oci.usual.claim(seen, "here", 1)


def test_an_inactive_slot_of_a_key_in_service_is_filled_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with world(replace(BY_USE, renew_inactive=409)) as oci:
        handle, _ = oci.made_by_hand()
        oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
        [seen] = oci.usual.observe((handle,), datetime.now(UTC)).keys
        use_before_changes(oci, handle, 1, monkeypatch)
        new = oci.usual.issue(oci.wish("key-two", handle), seen.etag)
        assert oci.holds(handle, "key-two", new.secret)


def test_a_key_that_is_used_all_the_time_is_left_for_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with world(BY_USE) as oci:
        handle, old = oci.made_by_hand()
        [seen] = oci.usual.observe((handle,), datetime.now(UTC)).keys
        use_before_changes(oci, handle, 99, monkeypatch)
        with pytest.raises(errors.RetryLater):
            oci.usual.issue(oci.wish("key-two", handle), seen.etag)
        assert oci.holds(handle, "key-two", old["key-two"])
        assert len(oci.sandbox.calls("RenewApiKey")) == MOVED_BY_USE + 1


def test_a_claim_keeps_the_tags_of_others(oci: World) -> None:
    handle, _ = oci.made_by_hand(tags={"team": "chat"})
    spaces = {"Ops": {"cost": "42"}}
    oci.sandbox.console.update(handle, {}, {"definedTags": spaces})
    oci.usual.claim(oci.seen(handle), "here", 3)
    assert oci.key(handle)["freeformTags"] == {"team": "chat", "keyman-owner": "here:3"}
    assert oci.sandbox.cloud.keys[handle].defined_tags == spaces


def test_a_claim_made_on_an_old_picture_is_refused() -> None:
    with world(Behaviour(stale_reads=5)) as oci:
        handle, _ = oci.made_by_hand()
        seen = oci.seen(handle)
        oci.sandbox.console.update(handle, {}, {"freeformTags": {"by": "hand"}})
        with pytest.raises(errors.RetryLater):
            oci.usual.claim(seen, "here", 1)
        assert oci.key(handle)["freeformTags"] == {"by": "hand"}


@pytest.mark.parametrize(
    ("clouds", "fenced"),
    [
        (Behaviour(), True),
        (Behaviour(error_codes="numbers"), True),
        (Behaviour(etag_on_get=False), False),
        (Behaviour(if_match_on_actions=False), False),
        (Behaviour(if_match_on_actions=False, same_state=409), False),
        (Behaviour(if_match_on_actions=False, same_state=409, error_codes="numbers"), False),
        (Behaviour(etag_changed_by_tags=False), False),
    ],
)
def test_a_claim_believes_in_a_fence_only_when_it_saw_it_hold(
    clouds: Behaviour, *, fenced: bool
) -> None:
    with world(clouds) as oci:
        handle, old = oci.made_by_hand()
        assert oci.usual.claim(oci.seen(handle), "here", 1) is fenced
        assert oci.seen(handle).owner == "here"
        assert oci.holds(handle, "key-one", old["key-one"])


@pytest.mark.parametrize("fault", [f for f, *_ in FAULTS if f.status != 412], ids=_named)
def test_a_proof_that_broke_off_proves_nothing(oci: World, fault: Fault) -> None:
    handle, _ = oci.made_by_hand()
    seen = oci.seen(handle)
    oci.sandbox.faults.add(replace(fault, operation="SetApiKeyState"))
    assert oci.usual.claim(seen, "here", 1) is False


def test_a_claim_with_no_active_slot_sets_nothing(oci: World) -> None:
    handle, _ = oci.made_by_hand()
    for slot in ("key-one", "key-two"):
        oci.sandbox.console.set_state(handle, slot, "INACTIVE")
    seen = oci.seen(handle)
    before = len(oci.sandbox.calls("SetApiKeyState"))
    assert oci.usual.claim(seen, "here", 1) is False
    assert len(oci.sandbox.calls("SetApiKeyState")) == before


@pytest.mark.parametrize(
    ("tag", "owner", "epoch"),
    [
        ("there:12", "there", 12),
        ("a:b:3", "a:b", 3),
        ("me", "me", 0),
        ("me:", "me:", 0),
        (":4", ":4", 0),
    ],
)
def test_any_mark_of_an_owner_is_one(oci: World, tag: str, owner: str, epoch: int) -> None:
    handle, _ = oci.made_by_hand(tags={"keyman-owner": tag})
    seen = oci.seen(handle)
    assert (seen.owner, seen.epoch) == (owner, epoch)


# What is there.


def test_one_slot_is_enough(oci: World) -> None:
    handle, _ = oci.made_by_hand(("only",))
    assert [slot.name for slot in oci.seen(handle).slots] == ["only"]
    made = oci.provider_with(slots=("only",)).create(oci.wish("only"), oci.standby_ends)
    assert made.standby is None


def test_three_slots_and_unknown_words_are_shown_as_they_are(oci: World) -> None:
    handle, _ = oci.made_by_hand()
    key = oci.sandbox.cloud.keys[handle]
    key.slots.append(replace(key.slots[0], name="key-three", state="PAUSED"))
    key.busy_as, key.busy_until = "THINKING", datetime.now(UTC) + timedelta(hours=1)
    seen = oci.seen(handle)
    assert [(s.name, s.state) for s in seen.slots][2] == ("key-three", "PAUSED")
    assert seen.state == "THINKING"


def test_the_slots_of_a_deleted_key_are_deleted() -> None:
    with world(Behaviour(deleted_key="DELETED")) as oci:
        handle, _ = oci.made_by_hand()
        oci.sandbox.console.delete(handle)
        seen = oci.seen(handle)
        assert seen.state == "DELETED"
        assert {slot.state for slot in seen.slots} == {State.DELETED.value}


def test_a_deleted_key_is_not_the_one_that_a_wish_made() -> None:
    with world(Behaviour(deleted_key="DELETED", retry_token="ignored")) as oci:
        wish = oci.wish()
        first = oci.usual.create(wish, oci.standby_ends)
        oci.sandbox.console.delete(first.handle)
        assert oci.usual.create(wish, oci.standby_ends).handle != first.handle


def test_times_are_aware_and_in_utc_and_last_use_may_be_missing() -> None:
    with world(Behaviour(last_used="absent", microseconds=True)) as oci:
        handle, secrets = oci.made_by_hand()
        assert oci.usual.verify(secrets["key-one"]) is Verdict.ACCEPTED
        slot = oci.seen(handle).slots[0]
        assert slot.last_used_at is None
        assert slot.expires_at
        assert slot.expires_at.utcoffset() == timedelta(0)


def test_a_key_is_found_on_the_last_of_many_pages() -> None:
    with world(key_limit=300) as oci:
        wish = oci.wish()
        first = oci.usual.create(wish, oci.standby_ends)
        for _ in range(120):
            oci.made_by_hand(("a",))
        assert len(oci.usual.list_keys()) == 121
        assert oci.usual.create(wish, oci.standby_ends).handle == first.handle


def test_a_new_key_says_what_it_is_for_and_dies_in_two_parts(oci: World) -> None:
    wish, ends = oci.wish("key-two"), oci.standby_ends
    made = oci.usual.create(wish, ends)
    key = oci.key(made.handle)
    assert key["displayName"] == "keyman_genai-1_a"
    assert key["freeformTags"] == {"keyman": "here/genai-1_a", "keyman-op": wish.attempt}
    assert made.standby == "key-one"
    assert made.issued
    assert oci.holds(made.handle, "key-two", made.issued.secret)
    assert wish.expires_at
    shown = {slot.name: slot.expires_at for slot in oci.seen(made.handle).slots}
    assert shown == {
        "key-two": wish.expires_at.replace(microsecond=0),
        "key-one": ends.replace(microsecond=0),
    }


def test_the_limit_of_keys_is_named() -> None:
    with world(key_limit=1) as oci:
        oci.made_by_hand()
        with pytest.raises(errors.Rejected) as caught:
            oci.usual.create(oci.wish(), oci.standby_ends)
    assert "api-key-count" in caught.value.hint
    assert "100" in caught.value.hint


def test_without_a_compartment_nothing_is_made(oci: World) -> None:
    with pytest.raises(errors.Rejected, match="compartment"):
        oci.provider_with(compartment_id=None).create(oci.wish(), oci.standby_ends)


def test_404_names_both_causes_and_the_statement_to_add(oci: World) -> None:
    with pytest.raises(errors.Rejected) as caught:
        oci.seen("ocid1.generativeaiapikey.oc1.us-chicago-1.nosuch")
    statement = f"allow group GROUP to manage generative-ai-apikey in compartment id {COMPARTMENT}"
    assert statement in caught.value.hint
    assert "does not exist" in caught.value.hint


HOSTILE = (
    "",
    "x",
    "ocid1.generativeaiapikey.oc1.r.a/../../b",
    "ocid1.generativeaiapikey.oc1.r.a%2F..%2Fb",
    "ocid1.generativeaiapikey.oc1.r.a?x=1",
    "ocid1.generativeaiapikey.oc1.r.a#",
    "ocid1.generativeaiapikey.oc1.r.a\n",
    "ocid1.generativeaiapikey.oc1.r.ä",
    "ocid1.generativeaiapikey.oc1.r.",
    "ocid1.instance.oc1.r.a",
)


@pytest.mark.parametrize("handle", HOSTILE)
def test_a_hostile_id_is_never_sent(oci: World, handle: str) -> None:
    provider, place = oci.usual, Place(handle, "key-one")
    key = replace(oci.seen(oci.made_by_hand()[0]), handle=handle)
    calls = len(oci.sandbox.calls())
    for call in (
        partial(provider.observe, (handle,), oci.clock.now()),
        partial(provider.claim, key, "here", 1),
        partial(provider.issue, oci.wish("key-one", handle or "x"), None),
        partial(provider.activate, place, None),
        partial(provider.retire, place, None),
        partial(provider.revoke, place, None),
    ):
        with pytest.raises(errors.Rejected):
            call()
    assert len(oci.sandbox.calls()) == calls


def test_a_slot_that_is_not_there_is_named_with_those_that_are(oci: World) -> None:
    handle, _ = oci.made_by_hand()
    with pytest.raises(errors.Rejected) as caught:
        oci.usual.retire(Place(handle, "key-three"), None)
    assert "key-one, key-two" in caught.value.hint


def test_the_last_slot_of_a_key_is_switched_off_beside_another_key_that_works(oci: World) -> None:
    old, _ = oci.made_by_hand(("only",))
    new, _ = oci.made_by_hand(("only",))
    provider, place = oci.usual, Place(old, "only")
    provider.observe((old,), oci.clock.now())
    with pytest.raises(errors.Rejected, match="last active"):
        provider.retire(place, None)
    provider.observe((new, old), oci.clock.now())
    provider.retire(place, None)
    with pytest.raises(errors.Rejected, match="last active"):
        provider.retire(Place(new, "only"), None)


@pytest.mark.parametrize("state", ["REVOKED", "EXPIRED"])
def test_what_is_off_for_good_needs_no_call(oci: World, state: str) -> None:
    handle = ended_slot(oci, state)
    before = oci.changes
    oci.usual.retire(Place(handle, "key-two"), None)
    assert oci.changes == before


def ended_slot(oci: World, state: str) -> str:
    """A key whose second slot is in that state for good."""
    ends = datetime.now(UTC) + timedelta(hours=1)
    handle, _ = oci.sandbox.console.create("x", COMPARTMENT, expires=ends)
    if state == "REVOKED":
        oci.sandbox.console.set_state(handle, "key-two", "REVOKED")
    else:
        oci.sandbox.time_shift = timedelta(hours=2)
    return handle


@pytest.mark.parametrize("fault", [None, *(f for f in REFUSALS if f.status in (400, 404))])
@pytest.mark.parametrize("state", ["REVOKED", "EXPIRED"])
def test_a_refusal_to_revoke_what_is_gone_is_no_failure(state: str, fault: Fault | None) -> None:
    with world(Behaviour(same_state=409)) as oci:
        handle = ended_slot(oci, state)
        if fault:
            oci.sandbox.faults.add(replace(fault, operation="SetApiKeyState"))
        oci.usual.revoke(Place(handle, "key-two"), None)


def test_a_refusal_to_revoke_what_is_alive_is_a_failure(oci: World) -> None:
    handle, _ = oci.made_by_hand()
    oci.sandbox.faults.add(Fault("status", "SetApiKeyState", status=404))
    with pytest.raises(errors.Rejected) as caught:
        oci.usual.revoke(Place(handle, "key-two"), None)
    _is_fit_to_travel(caught.value)


@pytest.mark.parametrize(
    ("verb", "before"), [("revoke", "REVOKED"), ("retire", "INACTIVE"), ("activate", "ACTIVE")]
)
def test_a_picture_from_before_the_secret_was_made_keeps_nobody_from_switching_it(
    verb: str, before: str
) -> None:
    """The one read that the verb may do meets a replica that lags."""
    lagging = Behaviour(stale_reads=1, renew_state="INACTIVE" if verb == "activate" else "ACTIVE")
    with world(lagging) as oci:
        handle, _ = oci.made_by_hand()
        if before != "ACTIVE":
            oci.sandbox.console.set_state(handle, "key-two", before)
        oci.usual.issue(oci.wish("key-two", handle), None)
        etag = oci.sandbox.cloud.keys[handle].etag
        getattr(oci.usual, verb)(Place(handle, "key-two"), etag)
        assert oci.slot(handle, "key-two")["state"] == before


def test_what_is_off_already_may_be_the_last_one(oci: World) -> None:
    handle, _ = oci.made_by_hand(("only",))
    oci.sandbox.console.set_state(handle, "only", "INACTIVE")
    before = oci.changes
    oci.usual.retire(Place(handle, "only"), None)
    assert oci.changes == before


@pytest.mark.parametrize(("verb", "calls"), [("activate", 1), ("retire", 2), ("revoke", 1)])
def test_a_switch_takes_few_calls(oci: World, verb: str, calls: int) -> None:
    handle, _ = oci.made_by_hand()
    if verb == "activate":
        oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
    before = len(oci.sandbox.calls())
    getattr(oci.usual, verb)(Place(handle, "key-two"), None)
    assert len(oci.sandbox.calls()) - before == calls


def test_a_conflict_about_what_is_so_already_is_no_failure() -> None:
    with world(Behaviour(same_state=409, stale_reads=1, etag_on_get=False)) as oci:
        handle, _ = oci.made_by_hand()
        oci.sandbox.console.set_state(handle, "key-two", "INACTIVE")
        oci.usual.retire(Place(handle, "key-two"), None)
        assert [c.status for c in oci.sandbox.calls("SetApiKeyState")] == [200, 409]


# Text.


def test_statements_for_all_keys_and_for_one() -> None:
    wide, narrow = policy_statements(COMPARTMENT)[1], policy_statements(COMPARTMENT, "ocid1.k")[1]
    assert wide.endswith("where ALL {request.principal.type='generativeaiapikey'}")
    assert "request.principal.id='ocid1.k'" in narrow
    assert policy_statements(None)[0].endswith("in tenancy")


SIGNS_AS = {
    "config-file": ("group GROUP", "sandbox"),
    "session-token": ("group GROUP", "sandbox"),
    "instance-principal": ("dynamic-group keyman", "sandbox"),
    "resource-principal": ("dynamic-group keyman", "sandbox"),
    "oke-workload": ("any-user", "request.principal.cluster_id='CLUSTER_OCID'}"),
}


@pytest.mark.parametrize("auth", AUTH_KINDS)
def test_a_statement_names_keyman_as_it_signs_in(auth: str) -> None:
    said, (who, where) = policy_statements(COMPARTMENT, auth=auth)[0], SIGNS_AS[auth]
    assert said.startswith(f"allow {who} to manage generative-ai-apikey in compartment id ")
    assert said.endswith(where)


def test_the_address_follows_the_region() -> None:
    assert len(KNOWN_REGIONS) == len(set(KNOWN_REGIONS)) == 6
    assert base_url("us-chicago-1") == (
        "https://inference.generativeai.us-chicago-1.oci.oraclecloud.com/20231130/actions/v1"
    )


def test_a_reply_without_the_slot_or_with_a_broken_secret_is_no_success(oci: World) -> None:
    handle, _ = oci.made_by_hand()
    wish = oci.wish("key-two", handle)
    without = f'{{"id": "{handle}", "keys": []}}'
    oci.sandbox.faults.add(Fault("garbage", "RenewApiKey", body=without, count=1))
    with pytest.raises(errors.SecretLost):
        oci.usual.issue(wish, None)
    broken = f'{{"id": "{handle}", "keys": [{{"keyName": "key-two", "key": "a b"}}]}}'
    oci.sandbox.faults.add(Fault("garbage", "RenewApiKey", body=broken, count=1))
    with pytest.raises(errors.Unknown):
        oci.usual.issue(wish, None)


@pytest.mark.parametrize(
    "broken",
    [
        '"keyMask": 7',
        '"keyMask": ["a"]',
        '"keyMask": {"a": 1}',
        '"timeExpiry": "0001-01-01T00:00:00+05:00"',
        '"timeExpiry": 1',
        '"timeExpiry": "9999"',
        '"timeLastUsed": "yesterday"',
        '"timeLastUsed": 0',
    ],
)
def test_a_field_that_makes_no_sense_stops_at_the_border(oci: World, broken: str) -> None:
    handle, _ = oci.made_by_hand()
    slot = f'{{"keyName": "key-two", "state": "ACTIVE", "key": "sk-x", {broken}}}'
    body = f'{{"id": "{handle}", "lifecycleState": "ACTIVE", "keys": [{slot}]}}'
    oci.sandbox.faults.add(Fault("garbage", "*", body=body))
    with pytest.raises(errors.RetryLater):
        oci.seen(handle)
    if "Used" not in broken:
        with pytest.raises(errors.Unknown):
            oci.usual.issue(oci.wish("key-two", handle), None)


NEVER_USED = (
    "1970-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:59-05:00",
)
NEVER_ENDS = ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999-05:00")


@pytest.mark.parametrize(
    "never",
    [f'"timeLastUsed": "{at}"' for at in NEVER_USED]
    + [f'"timeExpiry": "{at}"' for at in NEVER_ENDS],
)
def test_a_time_that_stands_for_never_is_none(oci: World, never: str) -> None:
    """The slot is filled until when it was wished for, whatever OCI makes of it."""
    handle, _ = oci.made_by_hand()
    slot = f'{{"keyName": "key-two", "state": "ACTIVE", "key": "{CANARY}", {never}}}'
    body = f'{{"id": "{handle}", "lifecycleState": "ACTIVE", "keys": [{slot}]}}'
    oci.sandbox.faults.add(Fault("garbage", "*", body=body))
    (seen,) = oci.seen(handle).slots
    assert (seen.expires_at, seen.last_used_at) == (None, None)
    wish = oci.wish("key-two", handle)
    assert wish.expires_at
    assert oci.usual.issue(wish, None).expires_at == wish.expires_at.replace(microsecond=0)


LONG = f"{CANARY}-{'abcdefghij' * 4}"


@pytest.mark.parametrize(
    ("shown", "kept"),
    [
        (LONG, None),
        (f"{LONG} (active)", None),
        (LONG[:30], None),
        (f"{LONG[:30]}********", None),
        (f"{LONG[:4]}****{LONG[-4:]}", f"{LONG[:4]}****{LONG[-4:]}"),
        (LONG[-20:], LONG[-20:]),
    ],
)
@pytest.mark.parametrize("verb", ["create", "issue"])
def test_a_mask_that_shows_the_secret_is_none(
    oci: World, verb: str, shown: str, kept: str | None
) -> None:
    handle, _ = oci.made_by_hand()
    slot = f'{{"keyName": "key-two", "state": "ACTIVE", "key": "{LONG}", "keyMask": "{shown}"}}'
    body = f'{{"id": "{handle}", "lifecycleState": "ACTIVE", "keys": [{slot}]}}'
    oci.sandbox.faults.add(Fault("garbage", CHANGES[verb][0], body=body))
    if verb == "issue":
        new = oci.usual.issue(oci.wish("key-two", handle), None)
    else:
        made = oci.usual.create(oci.wish("key-two"), oci.standby_ends).issued
        assert made
        new = made
    assert (new.secret, new.mask) == (Secret(LONG), kept)


THEIRS = "ocid1.generativeaiapikey.oc1.us-chicago-1.amaaaaaatheirs"
ODD: dict[str, Any] = {"id": THEIRS, "lifecycleState": "ACTIVE", "keys": None, "freeformTags": None}


@pytest.mark.parametrize(
    "item",
    [
        ODD,
        {**ODD, "freeformTags": {"team": "chat"}},
        {**ODD, "freeformTags": {"keyman": "there/genai-1_a", "keyman-op": "x"}},
        {**ODD, "keys": [{"keyName": None}]},
        {**ODD, "timeCreated": "yesterday"},
        {"id": THEIRS},
        {**ODD, "freeformTags": {"keyman": "here/genai-1_a"}, "lifecycleState": "DELETED"},
    ],
)
def test_a_strange_key_of_somebody_else_keeps_nobody_from_making_one(
    oci: World, item: dict[str, Any]
) -> None:
    """Nor does one of ours that is over."""
    oci.sandbox.faults.add(Fault("garbage", "ListApiKeys", body=json.dumps({"items": [item]})))
    assert oci.usual.create(oci.wish(), oci.standby_ends).issued


@pytest.mark.parametrize(
    "item",
    [
        {**ODD, "freeformTags": {"keyman": "here/genai-1_a"}},
        {**ODD, "freeformTags": {"keyman-op": "x"}},
        {**ODD, "freeformTags": "keyman"},
        {**ODD, "id": None},
        {**ODD, "id": "MANAGED"},
        None,
        7,
    ],
)
def test_a_strange_key_that_may_be_ours_is_no_reason_to_make_another(
    oci: World, item: dict[str, Any]
) -> None:
    handle, _ = oci.made_by_hand()
    oci.seen(handle)
    body = json.dumps({"items": [item]}).replace("MANAGED", handle)
    oci.sandbox.faults.add(Fault("garbage", "ListApiKeys", body=body))
    with pytest.raises(errors.RetryLater):
        oci.usual.create(oci.wish(), oci.standby_ends)
    assert oci.changes == ["CreateApiKey"]  # the one by hand


@pytest.mark.parametrize(
    ("tag", "owner", "epoch"),
    [("here:12", "here", 12), ("here:", "here:", 0), (f"here:{'9' * 30}", f"here:{'9' * 30}", 0)],
)
def test_an_owner_s_mark_that_is_not_ours_is_a_stranger_s(tag: str, owner: str, epoch: int) -> None:
    data = {"id": "k", "lifecycleState": "ACTIVE", "keys": [], "freeformTags": {OWNER_TAG: tag}}
    seen = picture(data, None).key
    assert (seen.owner, seen.epoch) == (owner, epoch)


def test_another_keys_reply_is_no_answer(oci: World) -> None:
    handle, _ = oci.made_by_hand()
    other = '{"id": "ocid1.generativeaiapikey.oc1.r.b", "lifecycleState": "ACTIVE", "keys": []}'
    oci.sandbox.faults.add(Fault("garbage", "*", body=other))
    with pytest.raises(errors.RetryLater):
        oci.seen(handle)
    with pytest.raises(errors.Unknown):
        oci.usual.issue(oci.wish("key-two", handle), None)


def test_secrets_do_not_show_in_what_a_verb_returns(oci: World) -> None:
    made = oci.usual.create(oci.wish(), oci.standby_ends)
    new = oci.usual.issue(oci.wish("key-two", made.handle), None)
    assert isinstance(new.secret, Secret)
    assert CANARY not in repr((made, new, oci.seen(made.handle), oci.usual.list_keys()))
