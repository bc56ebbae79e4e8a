"""Orders and their receipts, through a daemon and without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from tests.commands.shapes import RECEIPT, mistakes
from tests.commands.world import Cloud, Home

GOES_ON = "no daemon is running: `keyman daemon` goes on with what is left to do"


@pytest.fixture(params=["daemon", "alone"])
def begun(place: Home, request: pytest.FixtureRequest) -> Iterator[Home]:
    """A home with version 1, and a daemon or none."""
    place.configure(overlap="1s")
    place.start()
    with place.daemon() if request.param == "daemon" else nullcontext():
        yield place


def receipt(place: Home, *words: str) -> dict[str, Any]:
    done = place.keyman(*words, "--json")
    assert done.status == 0, done.err
    said: dict[str, Any] = done.json
    assert mistakes(said, RECEIPT) == []
    assert set(said) == set(RECEIPT)
    return said


def test_what_is_revoked_first_is_replaced_before_the_command_ends(place: Home) -> None:
    place.configure(overlap="1s")
    place.edit("successes: 1, every: 100ms", "successes: 3, every: 300ms")
    place.start()
    receipt(place, "revoke", "genai", "--now", "--yes")
    assert place.keyman("get", "genai", "--field", "version").out == "2\n"


def test_whoever_is_left_without_a_secret_is_told(place: Home, sky: Cloud) -> None:
    place.configure(overlap="1s")
    place.start()
    with sky.fault(operation="RenewApiKey", effect="throttle"):
        done = place.keyman("revoke", "genai", "--now", "--yes", "--timeout", "2s")
    assert (done.status, "keyman daemon" in done.err) == (7, True), done


@pytest.mark.parametrize("daemon", [True, False])
def test_whoever_has_no_daemon_is_told_what_is_left_to_do(place: Home, *, daemon: bool) -> None:
    """An overlap that nobody ends, an order that nobody carries out; but not what is done."""
    place.configure(overlap="1h")
    place.start()
    with place.daemon() if daemon else nullcontext():
        rotated = place.keyman("rotate", "genai")
        waits = place.keyman("rotate", "genai", "--no-wait", "--json")
        rolled_back = place.keyman("rollback", "genai")
        switched = place.keyman("activate", "genai", "--slot", "key-two")
    assert waits.json["state"] == "waiting"
    said = "" if daemon else f"keyman: warning: {GOES_ON}\n"
    assert [done.err for done in (rotated, waits, rolled_back)] == [said] * 3
    assert switched.err == ""


def test_a_receipt_for_every_kind_of_order(begun: Home, sky: Cloud) -> None:
    """Rotate → rollback → switch a slot → revoke → new key, each told as it came out."""
    made = receipt(begun, "rotate", "genai", "--overlap", "2s", "--reason", "test")
    assert (made["kind"], made["state"]) == ("rotate", "done")
    assert made["from"] == {"version": 1, "slot": "key-one"}
    assert made["to"] == {"version": 2, "slot": "key-two"}
    assert made["promoted_at"] == made["finished_at"]
    assert made["until"] is not None

    back = receipt(begun, "rollback", "genai")
    assert (back["from"]["version"], back["to"]) == (2, {"version": 3, "slot": "key-one"})
    assert begun.keyman("get", "genai", "--field", "version").out == "3\n"

    on = receipt(begun, "activate", "genai", "--slot", "key-two")
    assert (on["state"], on["promoted_at"], on["revoked"]) == ("done", None, [])

    gone = receipt(begun, "revoke", "genai", "--yes")
    assert [(one["version"], one["slot"]) for one in gone["revoked"]] == [(3, "key-one")]
    assert gone["to"] == {"version": 4, "slot": "key-two"}
    assert gone["alive_seconds"] >= 0
    key = begun.keyman("status", "genai", "--json").json["key_id"]
    assert sky.states(key) == {"key-one": "REVOKED", "key-two": "ACTIVE"}

    other = receipt(begun, "rotate", "genai", "--new-key")
    assert (other["kind"], other["to"]["version"]) == ("new-key", 5)
    assert begun.keyman("status", "genai", "--json").json["key_id"] != key


def test_a_second_rotate_joins_the_first(begun: Home) -> None:
    begun.keyman("rotate", "genai", "--overlap", "1h")
    first = receipt(begun, "rotate", "genai", "--no-wait")
    second = receipt(begun, "rotate", "genai", "--no-wait")
    assert first["order"] == second["order"]
    assert second["state"] == "waiting"
    assert second["until"] is not None
    other = begun.keyman("rotate", "genai", "--new-key")
    assert (other.status, "under way" in other.err) == (1, True)


@pytest.mark.slow
@pytest.mark.parametrize("daemon", [True, False])
def test_one_that_joins_an_order_which_rests_ends_the_rest(
    place: Home, sky: Cloud, daemon: bool
) -> None:
    place.configure(overlap="1s")
    place.edit("retry: {first: 200ms, max: 2s}", "retry: {first: 1h, max: 1h}")
    place.start()
    with place.daemon() if daemon else nullcontext():
        with sky.fault(operation="RenewApiKey", effect="status", status=500):
            first = place.keyman("rotate", "genai", "--timeout", "2s", "--json").json
            assert (first["state"], first["error"] is None) == ("running", False)
        assert place.keyman("status", "genai", "--json").json["failures"] == 1
        second = receipt(place, "rotate", "genai", "--reason", "mended", "--timeout", "40s")
        assert (second["order"], second["state"]) == (first["order"], "done")
        told = place.keyman("history", "genai", "--json").json["entries"]
    [joined] = [one for one in told if one["what"] == "joined rotate"]
    assert (joined["reason"], joined["detail"]) == ("mended", f"order {first['order']}")


def test_a_rollback_takes_the_place_of_a_rotation_that_waits(begun: Home) -> None:
    begun.keyman("rotate", "genai", "--overlap", "1h")
    waits = receipt(begun, "rotate", "genai", "--no-wait")
    back = receipt(begun, "rollback", "genai")
    assert (back["state"], back["to"]["version"]) == ("done", 3)
    assert waits["state"] == "waiting"
    assert begun.keyman("status", "genai", "--json").json["order"] is None


def test_not_promoted_in_time(begun: Home) -> None:
    begun.keyman("rotate", "genai", "--overlap", "1h")
    done = begun.keyman("rotate", "genai", "--timeout", "100ms", "--json")
    assert (done.status, done.json["state"], done.json["promoted_at"]) == (7, "waiting", None)
    assert mistakes(done.json, RECEIPT) == []


@pytest.mark.slow
def test_the_order_that_had_to_wait_is_carried_out(begun: Home) -> None:
    begun.keyman("rotate", "genai", "--overlap", "1s")
    assert receipt(begun, "rotate", "genai")["to"]["version"] == 3


def test_what_is_revoked_already_costs_no_call(place: Home, sky: Cloud) -> None:
    place.start()
    assert receipt(place, "revoke", "genai", "--version", "1", "--yes")["revoked"]
    before = sky.calls()
    again = place.keyman("revoke", "genai", "--version", "1", "--yes", "--json")
    assert (again.status, again.json["state"]) == (0, "done")
    assert sky.calls() == before


def test_a_revocation_reaches_a_slots_present_tenant(begun: Home, sky: Cloud) -> None:
    begun.keyman("rotate", "genai", "--overlap", "1h")
    gone = receipt(begun, "revoke", "genai", "--slot", "key-one", "--yes")
    assert [(one["version"], one["slot"]) for one in gone["revoked"]] == [(1, "key-one")]
    assert gone["promoted_at"] is None
    assert begun.keyman("get", "genai", "--field", "version").out == "2\n"


def test_everything_at_once(begun: Home) -> None:
    """One receipt a credential; afterwards lookups have a new secret again."""
    before = begun.keyman("get", "genai").out
    done = begun.keyman("revoke", "--everything", "--now", "--yes", "--json")
    assert done.status == 0, done.err
    [said] = done.json
    assert mistakes(said, RECEIPT) == []
    assert [one["version"] for one in said["revoked"]] == [1]
    again = begun.keyman("rotate", "genai") if not begun.answers() else None
    assert again is None or again.status == 0
    assert begun.keyman("get", "genai").out != before


def test_the_provider_refuses(begun: Home, sky: Cloud) -> None:
    before = begun.keyman("get", "genai").out
    with sky.fault(effect="status", status=403, operation="RenewApiKey"):
        done = begun.keyman("rotate", "genai", "--json")
    assert (done.status, done.json["state"]) == (1, "failed")
    assert "403" in done.json["error"]
    assert done.err.startswith("keyman: error: genai: OCI refused to renew key-two")
    assert begun.keyman("get", "genai").out == before


def test_a_dry_run_changes_nothing(begun: Home, sky: Cloud) -> None:
    def changes() -> int:
        """A daemon that has just begun still looks at what is there."""
        asked = [call["operation"] for call in sky.ask("GET", "log")]
        return len([one for one in asked if not one.startswith(("Get", "List"))])

    before = begun.keyman("get", "genai").out, changes()
    done = begun.keyman("rotate", "genai", "--dry-run", "--json")
    steps = [(one["step"], one["slot"]) for one in done.json["steps"]]
    assert steps[:2] == [("request", "key-two"), ("issue", "key-two")]
    assert steps[-1] == ("retire", "key-one")
    assert set(done.json["steps"][0]) == {"at", "credential", "step", "slot", "reason"}
    assert (begun.keyman("get", "genai").out, changes()) == before


def test_an_order_on_a_name_that_is_not_configured(begun: Home) -> None:
    for words in (("rotate",), ("rollback",), ("revoke", "--yes"), ("activate", "--slot", "a")):
        done = begun.keyman(words[0], "nobody", *words[1:], "--json")
        assert (done.status, done.json["error"]["code"]) == (3, "not_found"), words
        assert done.err.count("\n") == 2


def test_wrong_options_change_nothing(place: Home) -> None:
    for words in (
        ("rotate", "genai", "--overlap", "yesterday"),
        ("rotate", "genai", "--timeout", "-1s"),
        ("rotate", "genai", "--reason", "two\nlines"),
        ("revoke", "genai", "--version", "0", "--yes"),
        ("revoke", "genai"),
        ("rotate",),
        ("demo", "--seconds", "none"),
    ):
        done = place.keyman(*words, "--json")
        assert (done.status, done.json["error"]["code"]) == (2, "usage"), words
    assert not place.state.exists()
