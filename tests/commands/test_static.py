"""Credentials that come by hand: what each command does for them, and what it says it can't do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from keyman.sandbox.openai import OpenAISandbox
from tests.commands.kinds import findings, home_with
from tests.commands.world import Home, until

PARTNER = """\
  partner:
    provider: static
    base_url: {url}
    verify: {{get: /models}}
"""


SOON = {"expires_soon": [("warning", "partner")]}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[OpenAISandbox]:
    made = OpenAISandbox(seed=1)
    with made.serve():
        yield made


@pytest.fixture
def place(sandbox: OpenAISandbox) -> Iterator[Home]:
    with home_with(PARTNER.format(url=sandbox.base_url)) as made:
        yield made


def new_key(sandbox: OpenAISandbox) -> tuple[str, str]:
    """A good key, and its id."""
    account = sandbox.dashboard.create_account("apps")["id"]
    made = sandbox.dashboard.create_key(account, "by hand")
    return made["value"], made["id"]


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def put(place: Home, secret: str, *words: str) -> None:
    done = place.keyman("put", "partner", *words, stdin=secret + "\n")
    assert done.status == 0, done.err


@pytest.mark.slow
def test_what_is_refused_where_it_came_from_is_seen_by_itself(sandbox: OpenAISandbox) -> None:
    """Nobody complains and nobody asks: the daemon's own probes find it, twice."""
    with home_with(PARTNER.format(url=sandbox.base_url)) as place:
        place.edit("max_client_staleness: 1s", "max_client_staleness: 1s, observe_every: 1s")
        secret, number = new_key(sandbox)
        put(place, secret)
        with place.daemon():
            sandbox.dashboard.delete_key(number)
            until(lambda: place.keyman("status", "partner", "--json").json["health"] == "down")
            shown = place.keyman("status", "partner", "--json").json
            assert shown["last_error"] == "the provider refuses the current secret"
            assert "`keyman put partner`" in shown["hint"]
            assert place.keyman("get", "partner").status == 4
            put(place, new_key(sandbox)[0])
            assert place.keyman("status", "partner", "--json").json["health"] == "ok"
        told = place.keyman("history", "partner", "--json").json
        assert [one["what"] for one in told["entries"]].count("down") == 1


def test_what_check_finds_refused_the_daemon_hears_of(place: Home, sandbox: OpenAISandbox) -> None:
    """It would have asked by itself a quarter of an hour later."""
    secret, number = new_key(sandbox)
    put(place, secret)
    with place.daemon():
        sandbox.dashboard.delete_key(number)
        assert "refused" in findings(place)
        until(lambda: place.keyman("get", "partner").status == 4)


def test_before_anybody_brought_it(place: Home) -> None:
    assert findings(place)["not_put"] == [("warning", "partner")]
    done = place.keyman("get", "partner", "--json")
    assert (done.status, done.json["error"]["code"]) == (4, "not_adopted")
    assert "keyman put partner" in done.json["error"]["hint"]


def test_it_is_handed_out_as_it_was_brought(place: Home, sandbox: OpenAISandbox) -> None:
    value, _ = new_key(sandbox)
    put(place, value)
    assert findings(place) == {}
    told = place.keyman("get", "partner", "--json").json
    assert (told["value"], told["base_url"]) == (value, sandbox.base_url)
    assert (told["slot"], told["expires_at"], told["provider"]) == (None, None, "static")


def test_a_secret_that_died_is_found(place: Home, sandbox: OpenAISandbox) -> None:
    value, key_id = new_key(sandbox)
    put(place, value)
    sandbox.dashboard.delete_key(key_id)
    assert findings(place) == {"refused": [("error", "partner")]}
    place.edit("/models", "/no-such-page")
    assert findings(place) == {"no_verdict": [("warning", "partner")]}


@pytest.mark.parametrize(
    ("days", "found", "told"),
    [
        *((15, {}, told) for told in ("with the secret", "in the configuration", "later")),
        *((13, SOON, told) for told in ("with the secret", "in the configuration", "later")),
        (-1, {"expired": [("error", "partner")]}, "later"),
    ],
)
def test_its_end_is_announced(
    place: Home, sandbox: OpenAISandbox, days: int, found: dict[str, object], told: str
) -> None:
    value, _ = new_key(sandbox)
    ends = in_days(days)
    if told == "in the configuration":
        place.edit("provider: static", f"provider: static\n    expires_at: {ends}")
    put(place, value, *(("--expires-at", ends) if told == "with the secret" else ()))
    if told == "later":
        place.edit("provider: static", f"provider: static\n    expires_at: {ends}")
    assert findings(place) == found


def test_the_first_warning_can_be_set(place: Home, sandbox: OpenAISandbox) -> None:
    put(place, new_key(sandbox)[0], "--expires-at", in_days(13))
    place.edit("provider: static", "provider: static\n    policy: {rotate_before: 3d}")
    assert findings(place) == {}


def test_without_an_address_nothing_is_tried(place: Home) -> None:
    place.edit("    verify: {get: /models}\n", "")
    put(place, "whatever it is")
    assert findings(place) == {}


def test_it_needs_no_permission(place: Home) -> None:
    done = place.keyman("policy", "partner")
    assert (done.status, "needs no permission" in done.out) == (0, True)
    one = place.keyman("policy", "partner", "--one-key", "--json")
    assert (one.status, one.json["error"]["code"]) == (2, "usage")


def test_keyman_can_forget_it_and_not_revoke_it(place: Home, sandbox: OpenAISandbox) -> None:
    put(place, new_key(sandbox)[0])
    place.edit("  partner:", "  other:")
    refused = place.keyman("forget", "partner", "--revoke", "--json")
    assert (refused.status, refused.json["error"]["code"]) == (2, "usage")
    assert "revoked where it was made" in refused.json["error"]["hint"]
    assert "ordered forget" not in place.keyman("history", "partner").out
    [left] = [x for x in place.keyman("check", "--json").json["findings"] if x["code"] == "left"]
    assert left["hint"] == "keyman forget partner"
    with place.open() as app:
        assert app.store.list("partner") == [("partner", 1)]
    assert place.keyman("forget", "partner").status == 0
    with place.open() as app:
        assert app.store.list("partner") == []


def test_a_whole_file_is_no_secret_and_that_is_said(place: Home) -> None:
    done = place.keyman("put", "partner", stdin="k" * (16 * 1024 + 1))
    assert (done.status, "longer than 16384 bytes" in done.err) == (2, True)


def test_what_is_over_already_is_not_put(place: Home, sandbox: OpenAISandbox) -> None:
    value, _ = new_key(sandbox)
    done = place.keyman("put", "partner", "--expires-at", in_days(-1), stdin=value)
    assert done.status == 2
    assert "over already" in done.err
    assert place.keyman("get", "partner").status == 4


def test_a_secret_that_no_store_has_any_more_is_a_finding(
    place: Home, sandbox: OpenAISandbox
) -> None:
    put(place, new_key(sandbox)[0])
    for path in place.state.glob("secrets.db*"):
        path.unlink()
    place.keyman("daemon", "--once")
    assert findings(place)["lost"] == [("error", "partner")]
    put(place, new_key(sandbox)[0])
    assert "lost" not in findings(place)
