"""Keys taken over, replaced, switched by hand and forgotten."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest

from keyman.whereabouts import options_of, whereabouts
from tests.commands.world import Cloud, Home, until


@pytest.fixture
def given(place: Home, sky: Cloud) -> tuple[Home, str, dict[str, str]]:
    """A home whose configuration names a key that a person made: its id and secrets."""
    key, secrets = sky.by_hand()
    place.configure(api_key_id=key, overlap="1s")
    return place, key, secrets


def changes(sky: Cloud, key: str) -> list[str]:
    """What keyman changed at this key, in order."""
    log = sky.ask("GET", "log")
    mine = [call for call in log if call["key_id"] == key and call["actor"] != "console"]
    return [call["operation"] for call in mine if call["operation"] != "GetApiKey"]


def test_a_wrong_secret_is_not_adopted_and_nothing_recorded(
    given: tuple[Home, str, dict[str, str]], sky: Cloud
) -> None:
    place, key, _ = given
    done = place.keyman("adopt", "genai", "--slot", "key-one", "--json", stdin="sk-wrong")
    assert (done.status, done.json["error"]["code"]) == (1, "provider_failed")
    assert "sk-wrong" not in done.out + done.err
    assert place.keyman("status", "genai", "--json").json["adopted"] is False
    assert changes(sky, key) == []
    assert place.keyman("get", "genai").status == 4


@pytest.mark.parametrize("ending", ["", "\n"])
def test_adopting_keeps_what_is_in_use(
    given: tuple[Home, str, dict[str, str]], sky: Cloud, ending: str
) -> None:
    place, key, secrets = given
    done = place.keyman(
        "adopt", "genai", "--slot", "key-two", "--json", stdin=secrets["key-two"] + ending
    )
    assert done.status == 0, done.err
    assert (done.json["current"]["version"], done.json["current"]["slot"]) == (1, "key-two")
    assert changes(sky, key) == []
    assert place.keyman("get", "genai").out == secrets["key-two"] + "\n"


@pytest.mark.parametrize("typed", ["", "\n", "two\nlines", "a\n\n", "a\x1b[2Jb", "x" * 20_000])
def test_what_can_be_no_secret_is_refused_before_anything(place: Home, typed: str) -> None:
    done = place.keyman("adopt", "genai", "--slot", "key-one", stdin=typed)
    assert done.status == 2
    assert not place.state.exists()


def test_the_slot_must_be_the_one_the_secret_is_in(
    given: tuple[Home, str, dict[str, str]],
) -> None:
    """The probe accepts any live secret; the mask tells that it isn't this slot's."""
    place, _, secrets = given
    done = place.keyman("adopt", "genai", "--slot", "key-one", stdin=secrets["key-two"])
    assert done.status == 1
    assert place.keyman("status", "genai", "--json").json["adopted"] is False


@pytest.mark.slow
def test_a_new_key_replaces_a_whole_key(place: Home, sky: Cloud) -> None:
    """Created, verified, promoted; the old one is switched off when its overlap is over."""
    place.configure(overlap="1s")
    old = place.start()
    done = place.keyman("rotate", "genai", "--new-key", "--json")
    assert (done.status, done.json["state"]) == (0, "done"), done.err
    assert "allow any-user to use generative-ai-family" in done.err
    assert sky.states(old)["key-one"] == "ACTIVE"
    new = place.keyman("status", "genai", "--json").json["key_id"]
    assert new != old
    with place.daemon():
        until(lambda: sky.states(old)["key-one"] == "INACTIVE")
    assert place.keyman("get", "genai", "--field", "version").out == "2\n"


@pytest.mark.slow
def test_the_receipt_of_a_new_key_says_what_to_write(place: Home, sky: Cloud) -> None:
    """The configuration names the key that is left; where it names none nothing is stale."""
    place.configure()
    old = place.start()
    quiet = place.keyman("rotate", "genai", "--new-key", "--json")
    assert "api_key_id" not in quiet.err
    place.configure(api_key_id=old)
    done = place.keyman("rotate", "genai", "--new-key")
    new = place.keyman("status", "genai", "--json").json["key_id"]
    assert done.status == 0
    assert f"is stale now, write:\n  api_key_id: {new}\n" in done.err
    assert new in place.keyman("policy", "genai", "--one-key").out
    place.configure(api_key_id=new)
    assert "other_key" not in place.keyman("check").out


def test_no_mark_is_missed_on_a_key_that_was_just_made(place: Home, sky: Cloud) -> None:
    """By whoever marked the one before it in the same life, too."""
    place.configure(overlap="1s")
    place.start()
    with place.daemon():
        assert place.keyman("rotate", "genai").status == 0
        assert place.keyman("rotate", "genai", "--new-key").status == 0
        found = [one["code"] for one in place.keyman("check", "--json").json["findings"]]
    assert "mark_gone" not in found


def test_a_key_deleted_in_the_console_is_replaced_by_a_new_one(place: Home, sky: Cloud) -> None:
    """OCI answers 404 as it does where a permission is missing: the probe tells that it is dead."""
    place.configure(overlap="1s")
    old = place.start()
    sky.console("delete", old, "key-one")
    refused = place.keyman("rotate", "genai")
    assert refused.status == 1
    assert "`keyman rotate genai --new-key`" in refused.err
    assert place.keyman("get", "genai").status == 4, "known to be dead, so not handed out"
    done = place.keyman("rotate", "genai", "--new-key", "--json")
    assert (done.status, done.json["state"]) == (0, "done"), done.err
    shown = place.keyman("status", "genai", "--json").json
    assert (shown["health"], shown["current"]["version"]) == ("ok", 2)
    assert shown["key_id"] != old


def test_switches_by_hand(place: Home, sky: Cloud) -> None:
    key = place.start()
    assert sky.states(key) == {"key-one": "ACTIVE", "key-two": "INACTIVE"}
    assert place.keyman("activate", "genai", "--slot", "key-two").status == 0
    assert sky.states(key)["key-two"] == "ACTIVE"
    assert place.keyman("deactivate", "genai", "--slot", "key-two").status == 0
    assert sky.states(key)["key-two"] == "INACTIVE"
    refused = place.keyman("deactivate", "genai", "--slot", "key-one", "--json")
    assert (refused.status, refused.json["error"]["code"]) == (1, "conflict")
    assert sky.states(key)["key-one"] == "ACTIVE"


def test_a_switch_that_the_provider_refuses_is_all_that_fails(place: Home, sky: Cloud) -> None:
    place.start()
    with sky.fault(effect="status", status=400, operation="SetApiKeyState"):
        refused = place.keyman("activate", "genai", "--slot", "key-two")
    assert refused.status == 1
    assert "400" in refused.err
    shown = place.keyman("status", "genai", "--json").json
    assert (shown["health"], shown["failures"], shown["order"]) == ("ok", 0, None)


def test_a_slot_in_its_overlap_is_not_switched_off(place: Home, sky: Cloud) -> None:
    key = place.start()
    place.keyman("rotate", "genai")
    assert place.keyman("deactivate", "genai", "--slot", "key-one").status == 1
    assert sky.states(key) == {"key-one": "ACTIVE", "key-two": "ACTIVE"}


def left(place: Home) -> None:
    """The credential leaves the configuration under another's name."""
    place.edit("  genai:", "  other:")


def stored(place: Home, name: str) -> list[tuple[str, int]]:
    with place.open() as app:
        return app.store.list(name)


def test_forgetting_takes_the_secrets_out_of_the_store(place: Home, sky: Cloud) -> None:
    key = place.start()
    place.keyman("rotate", "genai")
    assert stored(place, "genai") == [("genai", 1), ("genai", 2)]
    refused = place.keyman("forget", "genai", "--json")
    assert (refused.status, refused.json["error"]["code"]) == (1, "conflict")
    left(place)
    before = sky.states(key)
    done = place.keyman("forget", "genai", "--json")
    assert (done.status, done.json) == (
        0,
        {"name": "genai", "forgotten": True, "revoked": [], "left": []},
    )
    assert stored(place, "genai") == []
    assert sky.states(key) == before
    assert place.keyman("forget", "genai").status == 3


@pytest.mark.parametrize("served", [True, False], ids=["daemon", "alone"])
def test_forgetting_with_revoke_destroys_at_the_provider_first(
    place: Home, sky: Cloud, *, served: bool
) -> None:
    key = place.start()
    place.keyman("rotate", "genai")
    left(place)
    with place.daemon() if served else nullcontext():
        done = place.keyman("forget", "genai", "--revoke", "--json")
    assert done.status == 0, done.err
    assert sorted(one["slot"] for one in done.json["revoked"]) == ["key-one", "key-two"]
    assert sky.states(key) == {"key-one": "REVOKED", "key-two": "REVOKED"}
    assert stored(place, "genai") == []


def test_what_can_not_be_revoked_is_not_forgotten(place: Home, sky: Cloud) -> None:
    key = place.start()
    left(place)
    with sky.fault(effect="status", status=403, operation="SetApiKeyState"):
        done = place.keyman("forget", "genai", "--revoke", "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "provider_failed")
    assert stored(place, "genai") == [("genai", 1)]
    assert place.keyman("forget", "genai", "--revoke").status == 0
    assert sky.states(key)["key-one"] == "REVOKED"


def test_a_strangers_secret_is_left_alone(place: Home, sky: Cloud) -> None:
    """Somebody regenerated our slot since: what is in it now is theirs."""
    key = place.start()
    sky.console("renew", key, "key-one")
    place.edit("within: 120s", "within: 1ms")  # a picture is taken for the newest at once
    left(place)
    done = place.keyman("forget", "genai", "--revoke", "--json")
    assert (done.status, done.json["revoked"]) == (0, []), done.err
    assert sky.states(key)["key-one"] == "ACTIVE"


def test_whereabouts_are_remembered_whole(place: Home) -> None:
    one = place.settings.credentials["genai"]
    assert options_of(json.loads(whereabouts(one))) == one.options
