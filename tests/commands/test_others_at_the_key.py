"""Others at the same key: people who use its second slot, and another installation that drives it.
What keyman then leaves alone, it names: in status, receipts, check and the log.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.commands.shapes import RECEIPT, mistakes
from tests.commands.world import GENEROUS, Cloud, Home, until

AT_ONCE = ("within: 120s", "within: 1ms")  # a picture is taken for the newest at once
OFTEN = ("max_client_staleness: 1s", "max_client_staleness: 1s, observe_every: 500ms")


@pytest.fixture
def shared(place: Home, sky: Cloud) -> str:
    """A key whose first slot was entrusted to keyman, and whose second one others use."""
    key, secrets = sky.by_hand()
    place.configure(api_key_id=key)
    ask(sky, secrets["key-two"])
    place.edit(*OFTEN)
    done = place.keyman("adopt", "genai", "--slot", "key-one", stdin=secrets["key-one"])
    assert done.status == 0, done.err
    return key


def ask(sky: Cloud, secret: str) -> None:
    """What applications do."""
    body = {"model": "meta.llama-3.3-70b-instruct", "messages": [{"role": "user", "content": "hi"}]}
    url = f"{sky.url}/20231130/actions/v1/chat/completions"
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=GENEROUS) as answer:
        assert answer.status == 200


def status(place: Home) -> dict[str, Any]:
    said: dict[str, Any] = place.keyman("status", "genai", "--json").json
    return said


def names_the_slot(text: str | None) -> bool:
    return text is not None and "key-two is ACTIVE with a secret that is not keyman's" in text


def test_a_rotation_that_waits_for_them_says_so_everywhere(place: Home, shared: str) -> None:
    with place.daemon():
        done = place.keyman("rotate", "genai", "--timeout", "1s", "--json")
        assert (done.status, done.json["state"]) == (7, "waiting")
        assert mistakes(done.json, RECEIPT) == []
        assert names_the_slot(done.json["error"])
        assert done.json["until"] is not None
        said = status(place)
        assert (said["health"], said["failures"]) == ("failing", 0)
        assert names_the_slot(said["last_error"])
        assert names_the_slot(said["next"]["reason"])
        assert said["next"]["at"] == done.json["until"]
        assert "keyman deactivate genai --slot key-two" in said["hint"]
        told = place.keyman("rotate", "genai", "--timeout", "1s").out
        assert "at the earliest" in told
        assert "hint: `keyman deactivate genai --slot key-two`" in told
        shown = place.keyman("status", "genai").out
        assert "0 times" not in shown
        assert "trouble:" in shown
        assert place.keyman("deactivate", "genai", "--slot", "key-two").status == 0
        until(lambda: status(place)["current"]["version"] == 2, lambda: status(place))
    assert "genai: failing: key-two is ACTIVE" in (place.folder / "daemon.log").read_text()


def test_a_leak_that_waits_for_them_is_told_and_need_not(place: Home, shared: str) -> None:
    with place.daemon():
        done = place.keyman("revoke", "genai", "--yes", "--timeout", "1s")
        assert done.status == 7
        assert names_the_slot(done.out)
        assert "keyman revoke genai --now" in done.out
        assert status(place)["health"] == "at-risk"
        assert place.keyman("revoke", "genai", "--now", "--yes").status == 0
    assert "genai: at-risk: key-two is ACTIVE" in (place.folder / "daemon.log").read_text()


def test_check_finds_them_before_the_slot_is_needed(place: Home, shared: str) -> None:
    found = {one["code"]: one for one in place.keyman("check", "--json").json["findings"]}
    held = found["slot_in_use"]
    assert (held["severity"], held["slot"]) == ("warning", "key-two")
    assert names_the_slot(held["message"])
    assert "--new-key" in held["hint"]


def another_drives(sky: Cloud, key: str) -> None:
    known = sky.key(key)["freeformTags"]
    owner = next(tag for tag, value in known.items() if ":" in value)
    body = {"action": "tag", "key_id": key, "slot": None, "tags": {**known, owner: "elsewhere:7"}}
    sky.ask("POST", "drift", body)


def test_what_another_installation_revoked_is_not_handed_out(place: Home, sky: Cloud) -> None:
    """And that is told in the log, each thing once."""
    place.edit(*OFTEN)
    key = place.start()
    place.edit(*AT_ONCE)  # not before: a first secret would be given up that is proven later
    log = place.folder / "daemon.log"
    with place.daemon():
        another_drives(sky, key)
        until(lambda: status(place)["health"] == "at-risk", lambda: status(place))
        sky.console("revoke", key, "key-one")
        until(lambda: place.keyman("get", "genai").status == 4, lambda: status(place))
        said = status(place)
        assert (said["health"], said["current"], said["next"]) == ("down", None, None)
        found = {one["code"]: one for one in place.keyman("check", "--json").json["findings"]}
        assert "installation elsewhere drives the key" in found["drift"]["hint"]
        before = len(sky.ask("GET", "log"))
        until(lambda: len(sky.ask("GET", "log")) > before + 3)  # looks on, and says no more
    lines = [line for line in log.read_text().splitlines() if "WARNING" in line.upper()]
    for word in ("drift: version 1 in key-one", "at-risk: ", "down: "):
        assert sum(f"genai: {word}" in line for line in lines) == 1, (word, lines)
    assert sky.states(key)["key-two"] == "INACTIVE", "nothing was done about it"
