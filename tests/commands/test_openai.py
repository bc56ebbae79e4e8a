"""Credentials of OpenAI: admin keys that come from elsewhere, `check`, and saying farewell."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from keyman.core.model import OrderKind, Secret
from keyman.desk import Wish
from keyman.once import do_what_is_due
from keyman.sandbox.openai import OpenAISandbox
from tests.commands.kinds import findings, home_with
from tests.commands.world import Home, until

MAIN = """\
  main:
    provider: openai
    admin_key: {{credential: admin}}
    project_id: {project}
    service_account_id: {account}
    base_url: {url}
    verify: {{successes: 1, every: 100ms}}
    late_after: 1s
  admin: {{provider: static}}
"""
WRITTEN_OUT = ("admin_key: {credential: admin}", "admin_key: !env ADMIN")


@pytest.fixture
def sandbox() -> Iterator[OpenAISandbox]:
    made = OpenAISandbox(seed=1)
    with made.serve():
        yield made


@pytest.fixture
def account(sandbox: OpenAISandbox) -> str:
    return str(sandbox.dashboard.create_account("apps")["id"])


@pytest.fixture
def place(sandbox: OpenAISandbox, account: str) -> Iterator[Home]:
    text = MAIN.format(project=sandbox.project, account=account, url=sandbox.base_url)
    with home_with(text, ADMIN=sandbox.admin_key) as made:
        yield made


def bring(place: Home, admin_key: str) -> None:
    done = place.keyman("put", "admin", stdin=admin_key)
    assert done.status == 0, done.err


def once(place: Home) -> None:
    with place.open() as app:
        do_what_is_due(app)


def made_of(sandbox: OpenAISandbox, account: str) -> list[str]:
    """Ids of the account's keys that are there now."""
    keys = sandbox.truth()["keys"]
    return [key["id"] for key in keys if key["owner"] == account and not key["deleted"]]


def test_before_the_first_start(place: Home, sandbox: OpenAISandbox, account: str) -> None:
    found = findings(place)
    assert found["will_create"] == [("info", "main")]
    assert found["provider_failed"] == [("error", "main")]  # nobody brought the admin key
    bring(place, sandbox.admin_key)
    assert findings(place) == {"will_create": [("info", "main")]}
    assert made_of(sandbox, account) == []


def test_all_is_well_once_it_runs(place: Home, sandbox: OpenAISandbox, account: str) -> None:
    bring(place, sandbox.admin_key)
    once(place)
    assert findings(place) == {}
    told = place.keyman("get", "main", "--json").json
    assert told["value"].startswith("sk-svcacct-sandbox-")
    assert (told["base_url"], told["principal"]) == (sandbox.base_url, account)


def test_the_admin_key_is_read_at_each_call(place: Home, sandbox: OpenAISandbox) -> None:
    """Rotated by hand under a running daemon, the next call is signed with the new one."""
    bring(place, "sk-admin-of-yesterday")
    with place.open() as app:
        app.rotator.advance("main")
        assert app.desk.status("main")["failures"] == 1
        app.desk.put("admin", Secret(sandbox.admin_key), None, "a test")
        app.desk.order("main", Wish(OrderKind.ROTATE))
        do_what_is_due(app)
        assert app.desk.status("main")["current"]["version"] == 1


def test_an_admin_key_that_ended_is_not_used(place: Home, sandbox: OpenAISandbox) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    done = place.keyman("put", "admin", "--expires-at", soon, stdin=sandbox.admin_key)
    assert done.status == 0, done.err
    until(lambda: "expired" in findings(place))
    found = findings(place)
    assert found["expired"] == [("error", "admin")]
    assert found["provider_failed"] == [("error", "main")]


def test_somebody_deleted_the_key(place: Home, sandbox: OpenAISandbox, account: str) -> None:
    bring(place, sandbox.admin_key)
    once(place)
    place.edit("every: 100ms", "every: 1ms, within: 2ms")  # a picture counts at once
    sandbox.dashboard.delete_key(made_of(sandbox, account)[0])
    found = findings(place)
    assert found["drift"] == [("error", "main")]
    assert found["refused"] == [("error", "main")]


def test_a_key_of_another_account_than_the_configured_one(
    place: Home, sandbox: OpenAISandbox, account: str
) -> None:
    bring(place, sandbox.admin_key)
    once(place)
    other = str(sandbox.dashboard.create_account("others")["id"])
    place.edit(account, other)
    assert findings(place) == {"other_account": [("warning", "main")]}
    said = place.keyman("check", "--json").json["findings"]
    [message] = [one["message"] for one in said if one["code"] == "other_account"]
    assert f"of {account}, and lookups say that it is of {other}" in message
    assert place.keyman("rotate", "main").status == 0
    assert findings(place) == {}


def test_an_admin_key_that_is_written_out_is_not_watched(
    place: Home, sandbox: OpenAISandbox
) -> None:
    place.edit(*WRITTEN_OUT)
    found = findings(place)
    assert found["admin_key_unwatched"] == [("info", "main")]
    place.environ["ADMIN"] = "sk-admin-wrong"
    assert findings(place)["provider_failed"] == [("error", "main")]


def test_the_account_must_be_there_and_may_do_something(
    place: Home, sandbox: OpenAISandbox, account: str
) -> None:
    bring(place, sandbox.admin_key)
    sandbox.dashboard.set_role(account, "none")
    assert findings(place)["account_without_role"] == [("error", "main")]
    sandbox.dashboard.delete_account(account)
    assert findings(place)["provider_failed"] == [("error", "main")]


def test_admin_keys_belong_to_no_account(place: Home, sandbox: OpenAISandbox) -> None:
    admin = (
        f"provider: openai, key_type: admin, admin_key: !env ADMIN, base_url: '{sandbox.base_url}'"
    )
    place.config.write_text(f"credentials: {{main: {{{admin}}}}}")
    once(place)
    assert findings(place) == {}


def test_a_strange_address_is_a_warning(place: Home, sandbox: OpenAISandbox) -> None:
    place.edit(f"base_url: {sandbox.base_url}", "base_url: https://api.openai.com.example/v1")
    place.environ["KEYMAN__NETWORK__PROXY"] = "http://127.0.0.1:9"
    assert findings(place)["strange_host"] == [("warning", "main")]


def test_what_it_takes(place: Home, account: str) -> None:
    done = place.keyman("policy", "main")
    assert done.status == 0
    assert account in done.out


# ----------------------------------------------------------------------------------------- farewell


def left(place: Home) -> None:
    place.edit("  main:", "  other:")


def test_a_key_is_deleted_with_the_admin_credential_that_is_still_there(
    place: Home, sandbox: OpenAISandbox, account: str
) -> None:
    bring(place, sandbox.admin_key)
    once(place)
    assert len(made_of(sandbox, account)) == 1
    left(place)
    done = place.keyman("forget", "main", "--revoke", "--json")
    assert (done.status, len(done.json["revoked"])) == (0, 1), done.err
    assert made_of(sandbox, account) == []


def test_an_admin_key_is_not_written_down_for_a_farewell(
    place: Home, sandbox: OpenAISandbox, account: str
) -> None:
    place.edit(*WRITTEN_OUT)
    once(place)
    for file in place.state.iterdir():
        assert not file.is_file() or sandbox.admin_key.encode() not in file.read_bytes(), file
    left(place)
    done = place.keyman("forget", "main", "--revoke", "--json")
    assert (done.status, done.json["error"]["code"]) == (2, "usage")
    assert (
        "the admin key that made the keys of main was not written" in done.json["error"]["message"]
    )
    assert len(made_of(sandbox, account)) == 1
    assert place.keyman("forget", "main").status == 0


def test_an_admin_key_does_not_delete_itself(place: Home, sandbox: OpenAISandbox) -> None:
    place.config.write_text(
        "credentials: {main: {provider: openai, key_type: admin, admin_key: !env ADMIN, "
        f"base_url: '{sandbox.base_url}'}}}}"
    )
    once(place)
    left_out = "credentials: {admin: {provider: static}}"
    place.config.write_text(left_out)
    done = place.keyman("forget", "main", "--revoke", "--json")
    assert (done.status, done.json["error"]["code"]) == (2, "usage")
    assert "would have to delete itself" in done.json["error"]["message"]
