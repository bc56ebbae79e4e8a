"""The Admin API as OpenAI's own client speaks it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from keyman.sandbox.keys import sha256
from tests.sandbox.openai.world import World

Worlds = Callable[..., World]


def refused(call: Callable[[], object]) -> Any:
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    return caught.value


def test_a_service_account_comes_with_its_first_key(world: World) -> None:
    made = world.accounts.create(world.project, name="bot")
    assert (made.object, made.role) == ("organization.project.service_account", "member")
    assert made.api_key.value.startswith("sk-svcacct-sandbox-")
    assert made.api_key.object == "organization.project.service_account.api_key"
    assert made.api_key.expires_at is None
    assert world.ask(made.api_key.value) == 200
    found = world.accounts.list(world.project)
    assert [each.name for each in found] == ["apps", "bot"]
    assert world.accounts.retrieve(made.id, project_id=world.project).id == made.id


def test_a_service_account_can_be_made_without_a_key(world: World) -> None:
    make: Any = world.accounts.create
    made = make(world.project, name="bot", create_service_account_only=True)
    assert (made.api_key, made.role) == (None, "none")
    key = world.accounts.api_keys.create(made.id, project_id=world.project)
    assert world.get(key).owner_project_access == "inactive"
    assert world.ask(key.value) == 403
    world.accounts.update(made.id, project_id=world.project, role="member", name="robot")
    assert world.ask(key.value) == 200
    error = refused(
        lambda: make(
            world.project, name="x", create_service_account_only=True, expires_in_seconds=9
        )
    )
    assert (error.status_code, error.param) == (400, "expires_in_seconds")


def test_an_account_has_several_keys_each_shown_once(world: World) -> None:
    first, second = world.create("one"), world.create("two")
    assert first.value != second.value
    assert world.ask(first.value) == world.ask(second.value) == 200
    shown = world.get(first)
    assert (shown.name, shown.owner.service_account.id) == ("one", world.account)
    assert first.value not in str(shown)
    assert shown.redacted_value.endswith(first.value[-4:])
    assert set(world.listed()) == {first.id, second.id}


def test_making_a_key_is_not_idempotent(world: World) -> None:
    more: Any = {"extra_headers": {"Idempotency-Key": "same"}}
    assert world.create("same", **more).id != world.create("same", **more).id


def test_the_clients_retries_make_orphans(world: World) -> None:
    world.break_next("status", "CreateApiKey", status=500, done=True)
    retrying = world.admin_of(world.sandbox.admin_key, retries=2)
    projects = retrying.admin.organization.projects
    projects.service_accounts.api_keys.create(world.account, project_id=world.project, name="x")
    assert len(world.listed()) == 2


def test_a_deleted_key_is_gone_and_its_siblings_stay(world: World) -> None:
    first, second = world.create(), world.create()
    gone = world.delete(first)
    assert (gone.object, gone.deleted) == ("organization.project.api_key.deleted", True)
    assert (world.ask(first.value), world.ask(second.value)) == (401, 200)
    assert world.listed() == [second.id]
    assert refused(lambda: world.delete(first)).status_code == 404
    assert refused(lambda: world.get(first)).status_code == 404


def test_keys_go_with_their_account(world: World) -> None:
    key = world.create()
    gone = world.accounts.delete(world.account, project_id=world.project)
    assert gone.object == "organization.project.service_account.deleted"
    assert (world.ask(key.value), world.listed()) == (401, [])
    assert refused(world.create).status_code == 404


def test_lists_come_in_pages(world: World) -> None:
    made = [world.create(f"k{number}").id for number in range(7)]
    page = world.keys.list(world.project, limit=3)
    assert ([key.id for key in page.data], page.has_more) == (made[:3:-1], True)
    assert world.listed(limit=3) == made[::-1]
    nowhere = refused(lambda: world.keys.list(world.project, after="key_nowhere"))
    assert (nowhere.status_code, nowhere.param) == (400, "after")
    assert refused(lambda: world.keys.list(world.project, limit=0)).param == "limit"
    assert refused(lambda: world.keys.list(world.project, limit=101)).param == "limit"


def test_keys_whose_owner_lost_access_are_shown_if_asked_for(openai_of: Worlds) -> None:
    for default, hidden in (("any", False), ("active", True)):
        world = openai_of(default_list=default)
        key = world.create()
        world.dashboard.set_role(world.account, "none")
        assert world.listed() == [key.id]
        assert world.listed(owner_project_access="inactive") == [key.id]
        assert world.listed(owner_project_access="active") == []
        assert [k.id for k in world.keys.list(world.project)] == ([] if hidden else [key.id])


@pytest.mark.parametrize(("order", "first"), [("newest", 1), ("oldest", 0)])
def test_the_order_of_a_list_is_open(openai_of: Worlds, order: str, first: int) -> None:
    world = openai_of(list_order=order)
    made = [world.create().id, world.create().id]
    assert world.listed()[0] == made[first]


def test_a_list_may_lag(openai_of: Worlds) -> None:
    world = openai_of(list_lags=30.0)
    key = world.create()
    assert world.get(key).id == key.id
    assert world.listed() == []
    world.wait(31)
    assert world.listed() == [key.id]
    world.delete(key)
    assert world.listed() == [key.id]
    world.wait(31)
    assert world.listed() == []


@pytest.mark.parametrize("seconds", [0, -1, 31_536_001, "60", True])
def test_a_life_has_bounds(world: World, seconds: Any) -> None:
    error = refused(lambda: world.create(expires_in_seconds=seconds))
    assert (error.status_code, error.param) == (400, "expires_in_seconds")
    assert world.listed() == []


def test_a_life_is_told_and_kept(world: World) -> None:
    key = world.create(expires_in_seconds=60)
    assert 58 <= key.expires_at - time.time() <= 61
    assert world.get(key).expires_at == key.expires_at
    assert world.ask(key.value) == 200
    world.wait(61)
    assert world.ask(key.value) == 401


@pytest.mark.parametrize("status", [400, 403])
def test_an_organisation_demands_short_lives(openai_of: Worlds, status: int) -> None:
    world = openai_of(policy_status=status)
    old = world.create()
    world.dashboard.set_policy(3600)
    missing, long = refused(world.create), refused(lambda: world.create(expires_in_seconds=3601))
    assert (missing.status_code, missing.code) == (status, "expiration_required")
    assert (long.status_code, long.code) == (status, "expiration_too_long")
    assert world.ask(world.create(expires_in_seconds=3600).value) == 200
    assert world.ask(old.value) == 200
    assert refused(lambda: world.admin_keys.create(name="x")).code == "expiration_required"
    world.dashboard.set_policy(None, expiry_required=True)
    assert refused(world.create).code == "expiration_required"
    world.create(expires_in_seconds=31_536_000)


@pytest.mark.parametrize(("listed", "count"), [(True, 1), (False, 0)])
def test_an_expired_key_may_vanish_from_lists(openai_of: Worlds, listed: bool, count: int) -> None:
    world = openai_of(expired_listed=listed)
    key = world.create(expires_in_seconds=10)
    world.wait(11)
    assert len(world.listed()) == count
    update: Any = world.keys.update
    error = refused(lambda: update(key.id, project_id=world.project, expires_in_seconds=60))
    assert error.code == "api_key_expired"
    world.delete(key)


def test_a_life_can_be_changed_and_counts_from_then_on(world: World) -> None:
    key = world.create()
    update: Any = world.keys.update
    update(key.id, project_id=world.project, expires_in_seconds=100)
    world.wait(90)
    shown = update(key.id, project_id=world.project, expires_in_seconds=100)
    assert shown.expires_at - time.time() > 180
    world.wait(90)
    assert world.ask(key.value) == 200
    world.wait(20)
    assert world.ask(key.value) == 401
    assert refused(lambda: update(key.id, project_id=world.project)).status_code == 400


def test_only_so_many_keys_may_be_allowed(openai_of: Worlds) -> None:
    world = openai_of(keys_per_account=2)
    first, _ = world.create(), world.create()
    assert refused(world.create).code == "api_key_limit_reached"
    world.delete(first)
    world.create()


def test_admin_keys_are_made_listed_used_and_deleted(world: World) -> None:
    made = world.admin_keys.create(name="next", expires_in_seconds=1000)
    assert made.value.startswith("sk-admin-sandbox-")
    assert made.object == "organization.admin_api_key"
    listed = list(world.admin_keys.list())
    assert [key.name for key in listed] == ["first", "next"]
    assert [key.name for key in world.admin_keys.list(order="desc", limit=1)] == ["next", "first"]
    assert world.admin_keys.retrieve(made.id).expires_at == made.expires_at
    following = world.admin_of(made.value).admin.organization.admin_api_keys
    gone = following.delete(world.sandbox.admin_key_id)
    assert gone.object == "organization.admin_api_key.deleted"
    assert refused(world.admin_keys.list).status_code == 401
    world.wait(1001)
    assert refused(following.list).status_code == 401


def test_an_unknown_or_a_missing_admin_key_is_refused(world: World) -> None:
    error = refused(world.admin_of("sk-admin-nonsense").admin.organization.admin_api_keys.list)
    assert (error.status_code, error.code) == (401, "invalid_api_key")
    status, said = world.http("GET", "/v1/organization/admin_api_keys")
    assert (status, said["error"]["type"]) == (401, "invalid_request_error")


@pytest.mark.parametrize("status", [401, 403])
def test_each_kind_of_key_is_for_its_own_side(openai_of: Worlds, status: int) -> None:
    world = openai_of(wrong_kind_status=status)
    key = world.create()
    error = refused(world.admin_of(key.value).admin.organization.admin_api_keys.list)
    assert (error.status_code, error.code) == (status, "missing_scope")
    assert world.ask(world.sandbox.admin_key) == status


def test_an_admin_key_may_be_limited_to_reading(world: World) -> None:
    key = world.create()
    world.dashboard.limit_admin_key(world.sandbox.admin_key_id, ["api.management.read"])
    assert world.listed() == [key.id]
    for call in (world.create, lambda: world.delete(key)):
        error = refused(call)
        assert (error.status_code, error.code) == (403, "missing_scope")
        assert "api.management.write" in error.message
    assert world.ask(key.value) == 200


@pytest.mark.parametrize(("told", "header"), [(True, "1"), (False, None)])
def test_too_many_calls_are_throttled(openai_of: Worlds, told: bool, header: str | None) -> None:
    world = openai_of(admin_calls_per_minute=2, retry_after=told)
    world.listed()
    world.listed()
    error = refused(world.listed)
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
    assert error.response.headers.get("retry-after") == header
    world.wait(61)
    world.listed()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("projects/{p}/service_accounts", {"name": "x", "nonsense": 1}, 400),
        ("projects/{p}/service_accounts", {}, 400),
        ("projects/{p}/service_accounts", [], 400),
        ("projects/elsewhere/service_accounts", {"name": "x"}, 404),
        ("projects/{p}/service_accounts/nobody/api_keys", {"name": "x"}, 404),
        ("projects/{p}/service_accounts/{a}/api_keys", {"name": 1}, 400),
        ("projects/{p}/service_accounts/{a}/api_keys", {"scopes": "all"}, 400),
        ("admin_api_keys", {}, 400),
        ("nonsense", {}, 404),
    ],
)
def test_what_is_not_right_is_refused(world: World, path: str, body: Any, status: int) -> None:
    where = path.format(p=world.project, a=world.account)
    sent = {"authorization": f"Bearer {world.sandbox.admin_key}"}
    got, said = world.http("POST", f"/v1/organization/{where}", body, sent)
    assert got == status
    assert set(said["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("redacted", "like"), [("head_tail", "sk-svcacct-"), ("tail", "sk-..."), ("constant", "sk-*")]
)
def test_what_is_shown_of_a_value_is_open(openai_of: Worlds, redacted: str, like: str) -> None:
    world = openai_of(redacted=redacted)
    assert world.get(world.create()).redacted_value.startswith(like)


def test_calls_are_logged_in_order_of_effect(world: World) -> None:
    key = world.create()
    world.delete(key)
    made, gone = world.sandbox.calls("CreateApiKey"), world.sandbox.calls("DeleteApiKey")
    assert [(call.target, call.secret) for call in made] == [(key.id, sha256(key.value))]
    assert (gone[0].target, gone[0].actor) == (key.id, world.sandbox.admin_key_id)
    assert made[0].number < gone[0].number
