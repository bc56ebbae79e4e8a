"""`keyman discover`: whose keys lie at the providers, what others changed, and what may be done."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from keyman.app import App
from keyman.sandbox.oci_genai import OciGenaiSandbox
from keyman.sandbox.openai import OpenAISandbox
from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from tests.commands.kinds import home_with
from tests.commands.shapes import TIME, mistakes
from tests.commands.test_check import in_process
from tests.commands.world import COMPARTMENT, Cloud, Home, cloud, home, until

NOTHING = type(None)
UNMANAGED = {
    "provider": str,
    "id": str,
    "name": str,
    "where": str,
    "account": (str, NOTHING),
    "state": str,
    "slots": [
        {"name": str, "state": str, "expires_at": (TIME, NOTHING), "last_used_at": (TIME, NOTHING)}
    ],
    "created_at": (TIME, NOTHING),
    "expires_at": (TIME, NOTHING),
    "last_used_at": (TIME, NOTHING),
    "origin": ("people", "another-installation", "lost", "earlier", "left", "not-adopted"),
    "installation": (str, NOTHING),
    "credential": (str, NOTHING),
    "notes": [str],
    "hint": str,
}
DRIFT = {
    "credential": str,
    "slot": (str, NOTHING),
    "version": (int, NOTHING),
    "stage": (str, NOTHING),
    "what": str,
    "seen_at": TIME,
    "hint": str,
}
FAILED = {"credential": str, "provider": str, "code": str, "message": str, "hint": str}
SHAPE = {"unmanaged": [UNMANAGED], "drift": [DRIFT], "failed": [FAILED], "asked": [str]}


@pytest.fixture
def sky() -> Iterator[Cloud]:
    """One of each test's own: what others made is what this is about."""
    with cloud() as made:
        yield made


def found(place: Home, *, status: int = 0) -> dict[str, Any]:
    done = place.keyman("discover", "--json")
    assert (done.status, done.err) == (status, "")
    said: dict[str, Any] = done.json
    assert mistakes(said, SHAPE) == []
    return said


def origins(place: Home) -> dict[str, str]:
    """Name of a key → whose it is."""
    return {one["name"]: one["origin"] for one in found(place)["unmanaged"]}


def test_what_is_managed_is_not_listed(place: Home) -> None:
    place.start()
    assert found(place) == {
        "unmanaged": [],
        "asked": [f"{COMPARTMENT} in {place.cloud.url}"],
        "drift": [],
        "failed": [],
        "not_listed": [],
    }


def test_before_the_first_start(place: Home, sky: Cloud) -> None:
    sky.by_hand()
    assert origins(place) == {"by_hand": "people"}


def test_a_key_in_use_is_found_adopted_and_left_as_it_is(place: Home, sky: Cloud) -> None:
    key, secrets = sky.by_hand()
    place.start()
    before = sky.key(key)
    [one] = found(place)["unmanaged"]
    assert (one["id"], one["origin"], one["credential"]) == (key, "people", None)
    assert [slot["name"] for slot in one["slots"]] == ["key-one", "key-two"]
    assert "api_key_id" in one["hint"]
    assert "keyman adopt NAME --slot SLOT" in one["hint"]
    place.configure(api_key_id=key)
    place.edit("  genai:", "  chat:")
    waiting = {one["name"]: one for one in found(place)["unmanaged"]}
    assert waiting["by_hand"]["origin"] == "not-adopted"
    assert waiting["by_hand"]["hint"].startswith("keyman adopt chat --slot")
    assert waiting["keyman_genai"]["origin"] == "left"
    assert waiting["keyman_genai"]["hint"].startswith("keyman forget genai")
    done = place.keyman("adopt", "chat", "--slot", "key-one", stdin=secrets["key-one"])
    assert done.status == 0, done.err
    assert origins(place) == {"keyman_genai": "left"}
    assert sky.key(key)["slots"] == before["slots"]


def test_looking_changes_nothing(place: Home, sky: Cloud) -> None:
    place.start()
    sky.by_hand()
    before, kept = len(sky.ask("GET", "log")), (place.state / "keyman.db").read_bytes()
    found(place)
    calls = [call["operation"] for call in sky.ask("GET", "log")[before:]]
    assert set(calls) == {"ListApiKeys", "GetApiKey"}
    assert (place.state / "keyman.db").read_bytes() == kept


def test_another_installation_and_this_one_before(place: Home, sky: Cloud) -> None:
    with home(sky) as other:
        other.start()
        place.edit("  genai:", "  chat:")
        with place.open():
            pass
        [one] = found(place)["unmanaged"]
        assert (one["name"], one["origin"]) == ("keyman_genai", "another-installation")
        with other.open() as app:
            assert one["installation"] == app.journal.installation
        assert "--take-over" in one["hint"]
    place.start_all()
    place.edit("  chat:", "  anew:")
    assert place.keyman("forget", "chat").status == 0
    assert origins(place)["keyman_chat"] == "lost"


def test_a_key_that_was_replaced(place: Home) -> None:
    """Though the configuration may still name it."""
    place.configure(overlap="1s")
    place.configure(overlap="1s", api_key_id=place.start())
    assert place.keyman("rotate", "genai", "--new-key").status == 0
    with place.daemon():
        until(lambda: origins(place) == {"keyman_genai": "earlier"}, lambda: found(place))
    [one] = found(place)["unmanaged"]
    assert one["credential"] == "genai"


def test_what_others_changed_is_told_to_the_daemon(place: Home, sky: Cloud) -> None:
    """It looks once in a quarter of an hour, and hears of this at once."""
    place.edit("level: warning", "level: info")
    key = place.start()
    place.edit("within: 120s", "within: 300ms")
    with place.daemon():
        sky.rests()  # it looks when it has begun
        sky.console("deactivate", key, "key-one")
        time.sleep(0.3)
        [one] = found(place)["drift"]
        assert (one["credential"], one["slot"], one["stage"]) == ("genai", "key-one", "current")
        assert one["what"] == "its slot is INACTIVE"

        def replaced() -> bool:
            said = place.keyman("status", "genai", "--json").json
            return bool(said["current"] and said["current"]["version"] == 2)

        until(replaced)
        assert found(place)["drift"] == []
    assert "genai: version 1 reported as rejected by" in (place.folder / "daemon.log").read_text()


def test_without_a_daemon_it_is_only_said(place: Home, sky: Cloud) -> None:
    key = place.start()
    place.edit("within: 120s", "within: 1ms")
    sky.console("renew", key, "key-one")
    said = place.keyman("discover")
    assert said.status == 0
    assert "drift: genai/key-one: version 1 (current): its slot holds another secret" in said.out
    assert said.out.endswith("0 unmanaged, 1 change by others\n")


def test_what_one_refuses_hides_nothing_of_the_others(place: Home, sky: Cloud) -> None:
    place.start()
    sky.by_hand()
    more = {
        "openai": "{provider: openai, admin_key: !env ADMIN, project_id: proj_x,"
        " service_account_id: s, base_url: 'http://127.0.0.1:9/v1'}",
        "vertex": "{provider: google, project: my-project, location: global, source: {kind: adc}}",
        "hand": "{provider: static}",
    }
    text = place.config.read_text()
    place.config.write_text(text + "".join(f"  {name}: {said}\n" for name, said in more.items()))
    place.environ["ADMIN"] = "sk-admin-of-nobody"
    said = found(place, status=1)
    assert [one["name"] for one in said["unmanaged"]] == ["by_hand"]
    [failed] = said["failed"]
    assert (failed["credential"], failed["code"]) == ("openai", "provider_failed")
    assert [one["credential"] for one in said["not_listed"]] == ["vertex", "hand"]
    shown = place.keyman("discover")
    assert shown.status == 1
    assert "error: openai: no answer from OpenAI" in shown.out
    assert "info: vertex (google): access tokens are kept nowhere" in shown.out


OPENAI = """\
  main:
    provider: openai
    admin_key: !env ADMIN
    project_id: {project}
    service_account_id: {account}
    base_url: {url}
    verify: {{successes: 1, every: 1ms, within: 30s}}
    late_after: 1s
"""


@pytest.fixture
def openai() -> Iterator[OpenAISandbox]:
    sandbox = OpenAISandbox(seed=1, behaviour=OpenAIBehaviour())
    with sandbox.serve():
        yield sandbox


def managed_home(sandbox: OpenAISandbox, account: str) -> Any:
    text = OPENAI.format(project=sandbox.project, account=account, url=sandbox.base_url)
    return home_with(text, ADMIN=sandbox.admin_key)


def test_keys_of_a_project(openai: OpenAISandbox) -> None:
    ours = str(openai.dashboard.create_account("apps")["id"])
    other = str(openai.dashboard.create_account("others")["id"])
    openai.dashboard.create_key(ours, "by hand")
    theirs = openai.dashboard.create_key(other, "batch job")["id"]
    openai.dashboard.create_user_key("my laptop")
    openai.dashboard.create_key(other, "keyman/fedcba987654/chat/3/wish")
    with managed_home(openai, ours) as place:
        place.start_all()
        listed = {one["name"]: one for one in found(place)["unmanaged"]}
    assert {name: one["origin"] for name, one in listed.items()} == {
        "by hand": "people",
        "batch job": "people",
        "my laptop": "people",
        "keyman/fedcba987654/chat/3/wish": "another-installation",
    }
    assert "lead the application there" in listed["by hand"]["hint"]
    assert listed["batch job"]["account"] == other
    assert f"keyman adopt NAME --key-id {theirs}" in listed["batch job"]["hint"]
    assert "a person's key can't be managed" in listed["my laptop"]["hint"]


def test_somebody_gave_a_key_another_end(openai: OpenAISandbox) -> None:
    account = str(openai.dashboard.create_account("apps")["id"])
    with managed_home(openai, account) as place:
        place.start_all()
        place.edit("within: 30s", "within: 2ms")  # a picture counts at once
        [key] = [key for key in openai.truth()["keys"] if key["owner"] == account]
        openai.dashboard.expire_key(key["id"], 3600)
        [one] = found(place)["drift"]
        assert one["what"].startswith("it ends at ")
        openai.dashboard.delete_key(key["id"])
        [one] = found(place)["drift"]
        assert one["what"] == "its key is DELETED"


def test_what_replaced_keys_of_openai_come_to_says_nothing_of_slots(openai: OpenAISandbox) -> None:
    account = str(openai.dashboard.create_account("apps")["id"])
    with managed_home(openai, account) as place:
        place.start_all()
        [old] = [key["id"] for key in openai.truth()["keys"] if key["owner"] == account]
        assert place.keyman("rotate", "main").status == 0
        openai.dashboard.delete_key(old)
        [one] = found(place)["drift"]
        assert (one["what"], one["hint"]) == (
            "its key is DELETED",
            "nothing to do: no lookup depends on it",
        )


# What a provider says of itself can't be trusted.

HOSTILE = (
    "\x1b]0;owned\x07\x9b2J\u202egnp.exe\u2066\u200f\u061c<script>\r\nkeyman: error: gone\u2028x"
)
MARKS = "\x1b\x07\x9b\u202e\u2066\u200f\u061c\r\u2028"


def test_names_can_not_drive_the_terminal(openai: OpenAISandbox) -> None:
    account = str(openai.dashboard.create_account("apps")["id"])
    openai.dashboard.create_user_key(HOSTILE)
    openai.dashboard.create_user_key("long" * 10_000)
    with managed_home(openai, account) as place:
        place.start_all()
        shown = place.keyman("discover")
        said = place.keyman("discover", "--json")
    assert shown.status == 0, shown.err
    assert [mark for mark in MARKS if mark in shown.out + said.out] == []
    assert "\\x1b]0;owned\\x07" in shown.out
    assert not any(line.startswith("keyman: error") for line in shown.out.splitlines())
    assert max(map(len, shown.out.splitlines())) < 400
    names = [one["name"] for one in json.loads(said.out)["unmanaged"]]
    assert HOSTILE in names, "programs get what was said, in ASCII"
    assert said.out.isascii()


def test_marks_and_states_can_not_either() -> None:
    """In what `check` and `status` say of a managed key, too."""
    sandbox = OciGenaiSandbox()
    with in_process(sandbox) as place:
        place.start()
        place.edit("  genai:", "  chat:")
        place.start_all()
        first, second = sandbox.cloud.keys.values()
        first.display_name = HOSTILE
        for key in (first, second):
            key.freeform_tags |= {"keyman-owner": f"{HOSTILE}:7", "keyman": f"{HOSTILE}/{HOSTILE}"}
        second.slots[1].state = HOSTILE
        asked = [("discover",), ("discover", "--json"), ("check",), ("check", "--json")]
        asked += [("status", "chat"), ("status",), ("status", "--json")]
        with place.open() as app:
            app.drive("chat", timedelta(seconds=2), lambda: health_of(app) == "at-risk")
        said = [place.keyman(*words) for words in asked]
    text = "".join(one.out + one.err for one in said)
    assert "another keyman's (\\x1b]0;owned" in text
    assert "owned" in said[2].out, "check names who drives the key"
    assert [mark for mark in MARKS if mark in text] == []
    assert not any(line.startswith("keyman: error: gone") for line in text.splitlines())


def health_of(app: App) -> str:
    return str(app.desk.status("chat")["health"])
