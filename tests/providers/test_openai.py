"""The verbs of openai, against organizations that answer the open questions in every way.

docs/openai.md says which pitfall each of these guards. What is swept, and when, is in
test_openai_orphans.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import openai
import pytest

from keyman import errors
from keyman.core.model import Place, Secret, State, Verdict
from keyman.providers import no_secret
from keyman.providers.openai import Openai
from keyman.sandbox.faults import Fault
from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from keyman.vendors.openai_scopes import policy_statements
from tests.providers.openai_world import CANARY, LIFETIME, Network, World, until_done, world

SEEDS = range(25)


@pytest.fixture
def ai() -> Iterator[World]:
    """A kind organization whose service account has no key."""
    with world() as made:
        yield made


def place(handle: str) -> Place:
    return Place(handle, None)


# Every organization.


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rotation_works_in_every_organization_and_spares_what_is_served(seed: int) -> None:
    with world(OpenAIBehaviour.from_seed(seed)) as ai:
        provider, clock = ai.usual, ai.clock
        served, secret = ai.by_hand(seconds=3600)
        clock.pass_by(1)
        assert ai.seen(served).state == "ACTIVE"
        new = provider.issue(ai.wish(), None)
        assert ai.holds(new.handle, new.secret)
        assert ai.holds(served, secret)
        clock.pass_by(1)  # by now every node has heard of it
        seen = provider.observe((served, new.handle), clock.now())
        assert {key.slots[0].state for key in seen.keys} == {"ACTIVE"}
        assert provider.verify(new.secret) is Verdict.ACCEPTED
        provider.retire(place(served), None)
        clock.pass_by(1)
        assert provider.verify(secret) is Verdict.REFUSED
        assert ai.seen(served).state == "DELETED"
        assert ai.alive() == [new.handle]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_key_is_never_taken_for_deleted(seed: int) -> None:
    with world(replace(OpenAIBehaviour.from_seed(seed), list_lags=60.0)) as ai:
        new = ai.usual.issue(ai.wish(), None)
        slot = ai.seen(new.handle).slots[0]
        assert (slot.name, slot.state, slot.expires_at) == (None, "ACTIVE", new.expires_at)
        assert [call.operation for call in ai.sandbox.calls()][-1] == "GetApiKey"


@pytest.mark.parametrize("listed", [True, False])
def test_an_expired_key_is_shown_as_expired_whether_lists_show_it_or_not(listed: bool) -> None:
    with world(OpenAIBehaviour(expired_listed=listed)) as ai:
        handle, _ = ai.by_hand(seconds=10)
        ai.clock.pass_by(11)
        assert ai.seen(handle).slots[0].state == State.EXPIRED


# What a key is.


def test_a_new_key_says_what_it_is_for_and_when_it_ends(ai: World) -> None:
    wish = ai.wish(7)
    made = ai.usual.issue(wish, None)
    [key] = ai.truth()[1:]
    assert key["name"] == f"keyman/0123456789ab/openai-main_1/7/{wish.attempt}"
    assert (key["owner"], key["id"]) == (ai.account, made.handle)
    assert made.expires_at == wish.expires_at
    assert ai.seen(made.handle).slots[0].expires_at == made.expires_at


def test_the_real_client_sees_the_key_and_can_use_it(ai: World) -> None:
    wish = ai.wish()
    made = ai.usual.issue(wish, None)
    with (
        openai.OpenAI(admin_api_key=ai.sandbox.admin_key, base_url=ai.sandbox.base_url) as person,
        openai.OpenAI(api_key=made.secret.reveal(), base_url=ai.sandbox.base_url) as application,
    ):
        project = ai.options.project_id or ""
        shown = person.admin.organization.projects.api_keys.retrieve(
            made.handle, project_id=project
        )
        assert wish.attempt in shown.name
        assert shown.owner.service_account
        assert shown.owner.service_account.id == ai.account
        assert application.models.list().data
        foreign = person.admin.organization.projects.service_accounts.api_keys.create(
            ai.account, project_id=project, name="by the client", expires_in_seconds=60
        )
    slot = ai.seen(foreign.id).slots[0]
    assert slot.expires_at
    assert int(slot.expires_at.timestamp()) == foreign.expires_at
    assert ai.usual.verify(Secret(foreign.value)) is Verdict.ACCEPTED


def test_a_name_stays_short_and_plain(ai: World) -> None:
    longest = replace(ai.spec, name="a" * 63)
    ai.provider_with(spec=longest).issue(ai.wish(123_456), None)
    name = ai.truth()[-1]["name"]
    assert len(name) <= 128
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789/_-")


@pytest.mark.parametrize(
    ("days", "fits"), [(365, True), (365.1, False), (0, False), (-1, False), (0.00001, True)]
)
def test_a_life_that_no_key_can_have_is_refused_before_it_is_asked_for(
    ai: World, days: float, fits: bool
) -> None:
    wish = replace(ai.wish(), expires_at=ai.clock.now() + timedelta(days=days))
    if fits:
        assert ai.usual.issue(wish, None).expires_at
        return
    with pytest.raises(errors.Rejected, match="can't be made"):
        ai.usual.issue(wish, None)
    assert ai.sandbox.calls("CreateApiKey") == []


def test_an_expiry_is_never_asked_beyond_the_wish(ai: World) -> None:
    ai.sandbox.dashboard.set_policy(int(LIFETIME.total_seconds()))
    assert ai.usual.issue(ai.wish(), None).expires_at


def test_times_are_aware_and_in_utc_and_last_use_may_be_missing() -> None:
    for last_used, known in (("present", True), ("absent", False)):
        with world(OpenAIBehaviour(last_used=last_used)) as ai:
            handle, secret = ai.by_hand(seconds=60)
            assert ai.seen(handle).slots[0].last_used_at is None
            ai.usual.verify(secret)
            slot = ai.seen(handle).slots[0]
            assert (slot.last_used_at is not None) is known
            assert slot.expires_at
            assert slot.expires_at.utcoffset() == timedelta(0)


def test_a_key_that_never_expires_is_shown_so(ai: World) -> None:
    handle, _ = ai.by_hand()
    slot = ai.seen(handle).slots[0]
    assert (slot.state, slot.expires_at) == ("ACTIVE", None)


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_key_is_found_on_the_last_of_many_pages(order: str) -> None:
    with world(OpenAIBehaviour(list_order=order)) as ai:
        handles = [ai.by_hand()[0] for _ in range(230)]
        seen = ai.usual.observe((handles[0], handles[-1]), ai.clock.now())
        assert [key.state for key in seen.keys] == ["ACTIVE", "ACTIVE"]
        assert ai.sandbox.calls("GetApiKey") == []
        assert len(ai.usual.list_keys()) == 230


def test_keys_whose_owner_lost_access_are_not_taken_for_deleted() -> None:
    with world(OpenAIBehaviour(default_list="active")) as ai:
        handle, _ = ai.by_hand()
        ai.sandbox.dashboard.set_role(ai.account, "none")
        assert ai.seen(handle).state == "ACTIVE"
        assert ai.sandbox.calls("GetApiKey") == []


def test_only_keys_of_the_account_are_listed(ai: World) -> None:
    mine, _ = ai.by_hand("mine")
    ai.sandbox.dashboard.create_user_key("somebody's")
    other = ai.sandbox.dashboard.create_account("other")["id"]
    ai.sandbox.dashboard.create_key(other, "another account's")
    [found] = ai.usual.list_keys()
    assert (found.name, found.key.handle) == ("mine", mine)


def test_the_accounts_role_is_told(ai: World) -> None:
    assert ai.usual.account_role() == "member"
    ai.sandbox.dashboard.set_role(ai.account, "none")
    assert ai.usual.account_role() == "none"
    assert ai.provider_with(key_type="admin").account_role() is None
    with pytest.raises(errors.Rejected, match="svc_acct_nobody"):
        ai.provider_with(service_account_id="svc_acct_nobody").account_role()


def test_an_existing_key_can_be_looked_at_by_its_id_alone(ai: World) -> None:
    # What `keyman adopt NAME --key-id` asks before anything is recorded.
    handle, secret = ai.by_hand("made long ago", seconds=3600)
    key = ai.provider_with().observe((handle,), ai.clock.now()).keys[0]
    assert key.slot(None) is key.slots[0]
    assert (key.slots[0].state, key.slots[0].mask is not None) == ("ACTIVE", True)
    assert ai.usual.verify(secret) is Verdict.ACCEPTED
    assert ai.seen("key_nobody").slots[0].state == "DELETED"


# Every fault.

CHANGES: dict[str, tuple[str, Callable[[World, str], Any]]] = {
    "issue": ("CreateApiKey", lambda ai, key: ai.usual.issue(ai.wish(), None)),
    "retire": ("DeleteApiKey", lambda ai, key: ai.usual.retire(place(key), None)),
    "revoke": ("DeleteApiKey", lambda ai, key: ai.usual.revoke(place(key), None)),
    "sweep": ("DeleteApiKey", lambda ai, key: _issue_beside_an_orphan(ai)),
}
READS: dict[str, tuple[str, Callable[[World, str], Any]]] = {
    "observe": ("ListApiKeys", lambda ai, key: ai.seen(key)),
    "observe-one": ("GetApiKey", lambda ai, key: ai.seen("key_nobody")),
    "list": ("ListApiKeys", lambda ai, key: ai.usual.list_keys()),
    "role": ("GetServiceAccount", lambda ai, key: ai.usual.account_role()),
    "issue": ("ListApiKeys", lambda ai, key: ai.usual.issue(ai.wish(), None)),
    "retire": ("GetApiKey", lambda ai, key: ai.usual.retire(place(key), None)),
}
GARBAGE = (
    "{}",
    "null",
    "[]",
    '"yes"',
    "<html>",
    "\xff",
    "9" * 5000,
    "[" * 100_000,
    '{"id": null, "name": null, "value": null, "expires_at": null, "data": null, "has_more": null}',
    '{"id": "key_x", "deleted": false, "data": [], "has_more": true}',
    '{"id": "key_x", "deleted": true, "value": "a b", "data": [{"id": null}], "has_more": false}',
    '{"id": "a/b", "value": "x", "data": [{"id": "a", "expires_at": 1e99}], "has_more": false}',
)
FAULTS: list[tuple[Fault, type[errors.Error], type[errors.Error]]] = [
    # what happens to the call, and what that means for a change and for a read
    (Fault("lost_before"), errors.Unknown, errors.RetryLater),
    (Fault("lost_after"), errors.Unknown, errors.RetryLater),
    (Fault("truncated"), errors.Unknown, errors.RetryLater),
    *[(Fault("garbage", body=text), errors.Unknown, errors.RetryLater) for text in GARBAGE],
    (Fault("throttle", retry_after=7), errors.RetryLater, errors.RetryLater),
    (Fault("throttle"), errors.RetryLater, errors.RetryLater),
    (Fault("incorrect_state"), errors.RetryLater, errors.RetryLater),
    *[(Fault("status", status=s), errors.Unknown, errors.RetryLater) for s in (408, 500, 503, 529)],
    (Fault("status", status=500, done=True), errors.Unknown, errors.RetryLater),
    (Fault("html", status=502), errors.Unknown, errors.RetryLater),
    (Fault("html", status=200), errors.Unknown, errors.RetryLater),
    (Fault("html", status=503, done=True), errors.Unknown, errors.RetryLater),
    *[(Fault("status", status=s), errors.Rejected, errors.Rejected) for s in (400, 401, 403, 422)],
    (Fault("html", status=403), errors.Rejected, errors.Rejected),
    (Fault("html", status=404), errors.Rejected, errors.Rejected),
    (Fault("html", status=302), errors.Unknown, errors.Rejected),
]


def _issue_beside_an_orphan(ai: World) -> None:
    wish = ai.wish()
    ai.by_hand(f"keyman/0123456789ab/openai-main_1/{wish.number}/{wish.attempt}")
    ai.usual.issue(wish, None)


def _named(value: object) -> str:
    if isinstance(value, Fault):
        return f"{value.effect}-{value.status or value.body[:12]}{'-done' if value.done else ''}"
    return getattr(value, "__name__", str(value))


def _suffered(
    ai: World, fault: Fault, operation: str, call: Callable[[World, str], Any]
) -> errors.Error:
    (served, secret), (other, _) = ai.by_hand("served"), ai.by_hand("other")
    ai.usual.observe((served, other), ai.clock.now())
    ai.sandbox.faults.add(replace(fault, operation=operation))
    with pytest.raises(errors.ProviderFailed) as caught:
        call(ai, other)
    ai.sandbox.faults.clear()
    assert ai.holds(served, secret)
    _is_fit_to_travel(caught.value)
    return caught.value


def _is_fit_to_travel(error: errors.Error) -> None:
    """Ours through and through: a sentence, a next move, and no foreign object behind it."""
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
    ai: World, verb: str, fault: Fault, meant: type[errors.Error], _: object
) -> None:
    operation, call = CHANGES[verb]
    error = _suffered(ai, fault, operation, call)
    assert isinstance(error, meant)
    if isinstance(error, errors.RetryLater):
        assert error.retry_after == fault.retry_after
    else:
        assert not isinstance(error, errors.SlotRefused)


@pytest.mark.parametrize(("fault", "_", "meant"), FAULTS, ids=_named)
@pytest.mark.parametrize("verb", READS)
def test_what_a_fault_means_for_a_read(
    ai: World, verb: str, fault: Fault, _: object, meant: type[errors.Error]
) -> None:
    operation, call = READS[verb]
    error = _suffered(ai, fault, operation, call)
    assert isinstance(error, meant)
    assert ai.changes == []  # nothing is changed on no picture


@pytest.mark.parametrize("verb", CHANGES)
def test_a_call_is_sent_once(ai: World, verb: str) -> None:
    operation, call = CHANGES[verb]
    _suffered(ai, Fault("status", status=503), operation, call)
    assert len([c for c in ai.sandbox.calls(operation) if c.fault]) == 1


@pytest.mark.parametrize("verb", CHANGES)
def test_a_slow_answer_is_an_answer(ai: World, verb: str) -> None:
    (served, _), (other, _) = ai.by_hand(), ai.by_hand()
    ai.usual.observe((served, other), ai.clock.now())
    operation, call = CHANGES[verb]
    ai.sandbox.faults.add(Fault("delay", operation, seconds_after=0.05))
    call(ai, other)


# The end of a key.


@pytest.mark.parametrize("verb", ["retire", "revoke"])
def test_what_is_deleted_already_is_done(ai: World, verb: str) -> None:
    (kept, _), (other, _) = ai.by_hand(), ai.by_hand()
    ai.usual.observe((kept, other), ai.clock.now())
    ai.sandbox.dashboard.delete_key(other)
    getattr(ai.usual, verb)(place(other), None)
    assert ai.alive() == [kept]


@pytest.mark.parametrize("verb", ["retire", "revoke"])
def test_a_page_that_says_404_has_deleted_nothing(ai: World, verb: str) -> None:
    (kept, _), (other, _) = ai.by_hand(), ai.by_hand()
    ai.usual.observe((kept, other), ai.clock.now())
    ai.sandbox.faults.add(Fault("html", "DeleteApiKey", status=404))
    with pytest.raises(errors.Rejected) as caught:
        getattr(ai.usual, verb)(place(other), None)
    assert "in between" in caught.value.hint


def test_a_page_that_says_404_is_not_taken_for_a_deleted_key(ai: World) -> None:
    ai.sandbox.faults.add(Fault("html", "GetApiKey", status=404))
    with pytest.raises(errors.Rejected):
        ai.seen("key_nobody")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_deletion_without_an_answer_is_repeated(seed: int) -> None:
    for effect in ("lost_before", "lost_after"):
        with world(OpenAIBehaviour.from_seed(seed)) as ai:
            (kept, secret), (other, old) = ai.by_hand(), ai.by_hand()
            ai.usual.observe((kept, other), ai.clock.now())
            ai.sandbox.faults.add(Fault(effect, "DeleteApiKey", count=1))
            until_done(partial(ai.usual.retire, place(other), None), ai.clock)
            ai.clock.pass_by(1)
            assert ai.alive() == [kept]
            assert ai.usual.verify(secret) is Verdict.ACCEPTED
            assert ai.usual.verify(old) is Verdict.REFUSED


def test_the_last_key_is_retired_only_beside_another_one_that_works(ai: World) -> None:
    (one, _), (two, _) = ai.by_hand(), ai.by_hand(seconds=60)
    provider = ai.usual
    provider.observe((one,), ai.clock.now())
    with pytest.raises(errors.Rejected, match="last active"):
        provider.retire(place(one), None)
    provider.observe((one, two), ai.clock.now())
    ai.clock.pass_by(61)
    with pytest.raises(errors.Rejected, match="last active"):  # the other one has expired
        provider.retire(place(one), None)
    provider.revoke(place(one), None)
    assert ai.alive() == [two]


def test_nothing_is_switched_on_created_or_claimed(ai: World) -> None:
    handle, _ = ai.by_hand()
    key, calls = ai.seen(handle), len(ai.sandbox.calls())
    ai.usual.activate(place(handle), None)
    assert ai.usual.claim(key, "here", 1) is False
    with pytest.raises(errors.Rejected, match="no slots"):
        ai.usual.create(ai.wish(), ai.clock.now())
    assert len(ai.sandbox.calls()) == calls


# The organization's own rules.


@pytest.mark.parametrize("status", [400, 403])
def test_the_longest_life_that_the_organization_allows_is_named(status: int) -> None:
    with world(OpenAIBehaviour(policy_status=status)) as ai:
        ai.sandbox.dashboard.set_policy(3600)
        with pytest.raises(errors.Rejected) as caught:
            ai.usual.issue(ai.wish(), None)
        assert "3600 seconds" in caught.value.message
        assert "policy.lifetime of openai-main_1" in caught.value.hint


def test_the_limit_of_keys_is_named() -> None:
    with world(OpenAIBehaviour(keys_per_account=1)) as ai:
        ai.by_hand()
        with pytest.raises(errors.Rejected, match="at most 1 API keys") as caught:
            ai.usual.issue(ai.wish(), None)
        assert "nobody uses" in caught.value.hint


def test_an_admin_key_that_may_only_read_is_told_what_it_lacks(ai: World) -> None:
    handle, _ = ai.by_hand()
    ai.sandbox.dashboard.limit_admin_key(ai.sandbox.admin_key_id, ["api.management.read"])
    assert ai.seen(handle).state == "ACTIVE"
    for call in (
        lambda: ai.usual.issue(ai.wish(), None),
        lambda: ai.usual.revoke(place(handle), None),
    ):
        with pytest.raises(errors.Rejected) as caught:
            call()
        assert "api.management.write" in caught.value.message
        assert "keyman policy openai-main_1" in caught.value.hint


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_of_the_wrong_kind_is_told_from_one_that_lacks_a_scope(status: int) -> None:
    with world(OpenAIBehaviour(wrong_kind_status=status)) as ai:
        _, secret = ai.by_hand()
        with pytest.raises(errors.Rejected) as caught:
            ai.provider_with(admin_key=secret).list_keys()
        assert "sk-admin-" in caught.value.hint
        assert secret.reveal()[:12] not in str(caught.value)


@pytest.mark.parametrize("shown", [True, False])
def test_an_unknown_admin_key_is_named_and_not_repeated(shown: bool) -> None:
    with world(OpenAIBehaviour(unknown_key_shown=shown)) as ai:
        provider = ai.provider_with(admin_key=Secret("sk-admin-abcdefgh-ijkl"))
        with pytest.raises(errors.Rejected) as caught:
            provider.list_keys()
        assert "the admin key is not accepted" in caught.value.hint
        assert "401 invalid_api_key" in caught.value.message
        assert "ijkl" not in str(caught.value) + caught.value.hint
        assert "sk-admin" not in str(caught.value)


@pytest.mark.parametrize("where", ["project_id", "service_account_id"])
def test_an_id_that_names_nothing_is_told(ai: World, where: str) -> None:
    provider = ai.provider_with(**{where: "proj_elsewhere"})
    with pytest.raises(errors.Rejected) as caught:
        provider.issue(ai.wish(), None)
    assert "proj_elsewhere" in caught.value.message
    assert "project_id and service_account_id" in caught.value.hint


@pytest.mark.parametrize("where", ["project_id", "service_account_id"])
@pytest.mark.parametrize("given", [None, "", "a/b", "proj_x?y=1", "proj_x#", "a b", "proj_ä", ".."])
def test_a_hostile_id_is_never_sent(ai: World, where: str, given: str | None) -> None:
    with pytest.raises(errors.Rejected, match=where):
        ai.provider_with(**{where: given}).issue(ai.wish(), None)
    assert ai.sandbox.calls("ListApiKeys") == []


@pytest.mark.parametrize("handle", ["", "a/b", "../x", "key?x", "key#", "key\n", "kéy", "x" * 200])
def test_a_hostile_handle_is_never_sent(ai: World, handle: str) -> None:
    calls = len(ai.sandbox.calls())
    for call in (
        partial(ai.usual.observe, (handle,), ai.clock.now()),
        partial(ai.usual.revoke, place(handle), None),
        partial(ai.usual.retire, place(handle), None),
    ):
        with pytest.raises(errors.Rejected):
            call()
    assert len(ai.sandbox.calls()) == calls


# The admin key.


def test_without_an_admin_key_it_is_said_what_is_missing(ai: World) -> None:
    with pytest.raises(errors.Rejected, match="no admin key") as caught:
        ai.provider_with(admin_key=None).issue(ai.wish(), None)
    assert "OPENAI_ADMIN_KEY" in caught.value.hint


def test_the_admin_key_of_another_credential_is_read_at_each_call(ai: World) -> None:
    provider = ai.provider_with(admin_key=None, admin_credential="openai-admin")
    with pytest.raises(errors.Rejected, match="openai-admin has no version yet"):
        provider.issue(ai.wish(), None)
    ai.held["openai-admin"] = Secret(ai.sandbox.admin_key)
    first = provider.issue(ai.wish(), None)
    with openai.OpenAI(admin_api_key=ai.sandbox.admin_key, base_url=ai.sandbox.base_url) as person:
        made = person.admin.organization.admin_api_keys.create(name="next")
        person.admin.organization.admin_api_keys.delete(ai.sandbox.admin_key_id)
    with pytest.raises(errors.Rejected, match="401"):
        provider.observe((first.handle,), ai.clock.now())
    ai.held["openai-admin"] = Secret(made.value)
    assert provider.observe((first.handle,), ai.clock.now()).keys[0].state == "ACTIVE"


def test_a_service_accounts_key_is_never_used_to_manage_keys(ai: World) -> None:
    made = ai.usual.issue(ai.wish(), None)
    ai.held[ai.spec.name] = made.secret
    assert ai.seen(made.handle).state == "ACTIVE"


def test_what_cannot_be_read_now_is_asked_for_again_later(ai: World) -> None:
    """As by whoever opens a provider where no other credential can be read."""
    provider = Openai(
        ai.spec,
        replace(ai.options, admin_key=None, admin_credential="openai-admin"),
        network=Network(),
        clock=ai.clock,
        secret_of=no_secret,
    )
    with pytest.raises(errors.RetryLater, match="openai-admin"):
        provider.list_keys()


@pytest.mark.parametrize("given", ["", " ", "sk-admin-x\n", "sk-admin-ö", "sk admin"])
def test_an_admin_key_that_no_header_carries_is_told_and_not_shown(ai: World, given: str) -> None:
    with pytest.raises(errors.Rejected, match="no header carries") as caught:
        ai.provider_with(admin_key=Secret(given)).issue(ai.wish(), None)
    assert "admin_key" in caught.value.hint
    assert ai.sandbox.calls("ListApiKeys") == []


@pytest.mark.parametrize("seed", SEEDS)
def test_an_admin_key_is_rotated_by_itself(seed: int) -> None:
    with world(OpenAIBehaviour.from_seed(seed)) as ai:
        name, clock = ai.spec.name, ai.clock
        admin = ai.provider_with(key_type="admin", project_id=None, service_account_id=None)
        first = until_done(partial(admin.issue, ai.wish(), None), clock)
        ai.sandbox.dashboard.delete_key(ai.sandbox.admin_key_id)  # what it began with is not needed
        ai.held[name] = first.secret
        clock.pass_by(1)
        assert admin.observe((first.handle,), clock.now()).keys[0].state == "ACTIVE"
        second = until_done(partial(admin.issue, ai.wish(), None), clock)
        clock.pass_by(1)
        assert admin.verify(second.secret) is Verdict.ACCEPTED
        ai.held[name] = second.secret
        seen = admin.observe((first.handle, second.handle), clock.now())
        assert seen.keys[1].slots[0].mask == second.mask
        admin.retire(place(first.handle), None)
        clock.pass_by(1)
        assert admin.verify(first.secret) is Verdict.REFUSED
        assert ai.alive(admin=True) == [second.handle]
        assert admin.lookup().principal is None


def test_a_project_key_does_not_pass_for_an_admin_key(ai: World) -> None:
    _, secret = ai.by_hand()
    admin = ai.provider_with(key_type="admin")
    assert admin.verify(secret) is Verdict.FORBIDDEN
    assert admin.verify(Secret(ai.sandbox.admin_key)) is Verdict.ACCEPTED
    assert admin.verify(Secret("sk-admin-nobody")) is Verdict.REFUSED


# Text.


def test_what_applications_are_told_needs_nobody(ai: World) -> None:
    ai.sandbox.stop()
    told = ai.usual.lookup()
    assert (told.base_url, told.principal) == (ai.sandbox.base_url, ai.account)


def test_the_policy_names_scopes_role_and_where_to_click() -> None:
    lines = policy_statements("proj_x", "svc_acct_y")
    assert "api.management.read and api.management.write" in lines[0]
    assert "svc_acct_y in project proj_x: role member" in lines[-1]
    assert policy_statements(key_type="admin") == lines[:-1]


def test_nothing_is_logged_or_printed_that_is_secret(
    ai: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger().setLevel(logging.DEBUG)
    texts = []
    for effect in ("truncated", "lost_after", "garbage", "html", "status"):
        ai.sandbox.faults.add(Fault(effect, "CreateApiKey", count=1))
        with pytest.raises(errors.ProviderFailed) as caught:
            ai.provider_with().issue(ai.wish(), None)
        texts += [str(caught.value), repr(caught.value), str(caught.getrepr(style="native"))]
    made = ai.usual.issue(ai.wish(), None)
    ai.usual.verify(made.secret)
    ai.seen(made.handle)
    texts.append(repr((made, ai.usual.list_keys(), ai.usual._kept, ai.options)))
    out = "".join(capfd.readouterr()) + caplog.text + "".join(texts)
    assert CANARY not in out
    assert made.secret.reveal()[-30:] not in out
