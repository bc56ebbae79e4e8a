"""What people change in the provider's console: noticed within `observe_every`, told once, and
dealt with by the rules of the core, one test for each kind of change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyman.app import App
from keyman.core.model import OrderKind
from keyman.desk import Wish
from keyman.once import do_what_is_due
from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.oci_genai import OciGenaiSandbox
from keyman.sandbox.openai import OpenAISandbox
from keyman.views import Json
from tests.commands.kinds import home_with
from tests.commands.test_check import in_process
from tests.commands.world import Cloud, Home, until
from tests.serving.listener import listening

OFTEN = 0.3  # seconds between two looks
GENEROUS = timedelta(seconds=30)
Told = list[tuple[str, int | None, str]]


def quick(place: Home) -> None:
    """Pictures count soon after a change of ours, and are taken often."""
    place.edit("within: 120s", "within: 300ms")
    place.edit("max_client_staleness: 1s", f"max_client_staleness: 1s, observe_every: {OFTEN}s")


@contextmanager
def running(sandbox: OciGenaiSandbox) -> Iterator[tuple[App, str]]:
    """All of keyman in this process, with its first version settled; and the key's id."""
    with in_process(sandbox) as place:
        quick(place)
        with place.open() as app:
            do_what_is_due(app)
            go_on(app, lambda: status(app)["health"] == "ok")
            look_again(app)
            yield app, str(status(app)["key_id"])


def status(app: App, name: str = "genai") -> Json:
    return app.desk.status(name)


def version(app: App, name: str = "genai") -> int | None:
    current = status(app, name)["current"]
    return current["version"] if current else None


def go_on(app: App, done: Callable[[], bool], name: str = "genai") -> None:
    app.drive(name, GENEROUS, done)
    assert done(), status(app, name)


def look_again(app: App, name: str = "genai") -> None:
    """A few more looks, which find nothing new."""
    app.drive(name, timedelta(seconds=4 * OFTEN), lambda: False)


def told(app: App, what: str = "drift") -> Told:
    heard = (one for _, one in app.journal.news(0, 1000))
    return [(one.what, one.version, one.reason) for one in heard if one.what == what]


HOLDS_ANOTHER = "its slot holds another secret"
DONE_TO_A_SLOT: list[tuple[Callable[[Any, str], object], str, str]] = [
    (lambda c, key: c.renew(key, "key-one"), HOLDS_ANOTHER, "ACTIVE"),
    (lambda c, key: c.set_state(key, "key-one", "INACTIVE"), "its slot is INACTIVE", "INACTIVE"),
    (lambda c, key: c.set_state(key, "key-one", "REVOKED"), "its slot is REVOKED", "REVOKED"),
]


@pytest.mark.parametrize(
    ("change", "what", "after"),
    DONE_TO_A_SLOT,
    ids=["renewed", "switched off", "revoked"],
)
def test_what_is_done_to_the_current_slot(
    change: Callable[[Any, str], object], what: str, after: str
) -> None:
    """Its secret is replaced at once; the slot stays as the person left it."""
    sandbox = OciGenaiSandbox()
    with running(sandbox) as (app, key):
        change(sandbox.console, key)
        go_on(app, lambda: version(app) == 2)
        look_again(app)
        assert told(app) == [("drift", 1, what)]
        assert told(app, "promoted") == [("promoted", 1, ""), ("promoted", 2, "")]
        slots = {slot["name"]: slot["state"] for slot in status(app)["slots"]}
        assert slots == {"key-one": after, "key-two": "ACTIVE"}
        calls = sandbox.calls()
        since = next(at for at, call in enumerate(calls) if call.actor == "console")
        assert [call for call in calls[since + 1 :] if call.slot == "key-one"] == []


def test_what_is_revoked_right_after_its_promotion_is_not_handed_out_for_a_minute() -> None:
    """Pictures are not believed so soon: its secret is tried twice, and is known to be dead."""
    sandbox = OciGenaiSandbox()
    with in_process(sandbox) as place:
        place.edit("max_client_staleness: 1s", "max_client_staleness: 1s, observe_every: 1s")
        with place.open() as app:
            do_what_is_due(app)
            sandbox.console.set_state(str(status(app)["key_id"]), "key-one", "REVOKED")
            go_on(app, lambda: version(app) == 2)
            assert told(app) == [("drift", 1, "its slot is REVOKED")]
            assert len(told(app, "down")) == 1


@pytest.mark.slow
def test_another_expiry_is_noticed_where_all_masks_look_alike() -> None:
    sandbox = OciGenaiSandbox(behaviour=Behaviour(key_mask="constant"))
    with running(sandbox) as (app, key):
        sandbox.console.renew(key, "key-one", datetime.now(UTC) + timedelta(days=7))
        go_on(app, lambda: version(app) == 2)
        look_again(app)
        assert told(app) == [("drift", 1, HOLDS_ANOTHER)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "what", "state"),
    DONE_TO_A_SLOT,
    ids=["renewed", "switched off", "revoked"],
)
def test_what_is_done_to_a_previous_slot(
    change: Callable[[Any, str], object], what: str, state: str
) -> None:
    """Nothing is replaced for it and nothing switched on again: no lookup depends on it."""
    sandbox = OciGenaiSandbox()
    with running(sandbox) as (app, key):
        app.desk.order("genai", Wish(OrderKind.ROTATE))
        go_on(app, lambda: version(app) == 2)
        look_again(app)
        change(sandbox.console, key)
        go_on(app, lambda: bool(told(app)))
        look_again(app)
        assert told(app) == [("drift", 1, what)]
        slots = {slot["name"]: slot["state"] for slot in status(app)["slots"]}
        assert slots == {"key-one": state, "key-two": "ACTIVE"}
        assert (version(app), status(app)["health"]) == (2, "ok")


@pytest.mark.slow
def test_the_key_was_deleted_and_is_shown_so() -> None:
    sandbox = OciGenaiSandbox(behaviour=Behaviour(deleted_key="DELETED"))
    with running(sandbox) as (app, key):
        sandbox.console.delete(key)
        go_on(app, lambda: status(app)["health"] == "down")
        look_again(app)
        assert told(app) == [("drift", 1, "its slot is DELETED")]
        assert len(told(app, "down")) == 1
        assert "--new-key" in status(app)["hint"]


def test_the_key_was_deleted_and_is_not_found() -> None:
    """A 404 alone is no proof: so the secret is probed, and that it is refused is one."""
    sandbox = OciGenaiSandbox(behaviour=Behaviour(deleted_key="404"))
    with running(sandbox) as (app, key):
        sandbox.console.delete(key)
        go_on(app, lambda: status(app)["health"] == "down")
        look_again(app)
        assert told(app) == [("drift", 1, "the provider refuses it")]
        assert len(told(app, "down")) == 1
        assert "--new-key" in status(app)["hint"]


def test_a_new_name_and_other_tags_are_nobodys_business() -> None:
    sandbox = OciGenaiSandbox()
    with running(sandbox) as (app, key):
        sandbox.console.update(key, {"displayName": "ours_now"}, {})
        look_again(app)
        sandbox.console.update(key, {}, {"freeformTags": {}})
        look_again(app)
        assert told(app) == []
        assert status(app)["health"] == "ok"
        app.desk.order("genai", Wish(OrderKind.ROTATE))
        go_on(app, lambda: version(app) == 2)
        assert told(app) == []


OPENAI = """\
  main:
    provider: openai
    admin_key: !env ADMIN
    project_id: {project}
    service_account_id: {account}
    base_url: {url}
    verify: {{successes: 1, every: 1ms, within: 300ms}}
    late_after: 1s
"""


@contextmanager
def running_openai(sandbox: OpenAISandbox) -> Iterator[tuple[App, str]]:
    with sandbox.serve():
        account = str(sandbox.dashboard.create_account("apps")["id"])
        text = OPENAI.format(project=sandbox.project, account=account, url=sandbox.base_url)
        with home_with(text, ADMIN=sandbox.admin_key) as place:
            place.edit(
                "max_client_staleness: 1s", f"max_client_staleness: 1s, observe_every: {OFTEN}s"
            )
            with place.open() as app:
                do_what_is_due(app)
                look_again(app, "main")
                keys = sandbox.truth()["keys"]
                yield app, next(key["id"] for key in keys if key["owner"] == account)


@pytest.mark.slow
def test_a_key_of_openai_was_given_another_end() -> None:
    """It is told, and the next rotation begins by the new one."""
    sandbox = OpenAISandbox(seed=1)
    with running_openai(sandbox) as (app, key):
        sandbox.dashboard.expire_key(key, 70 * 86_400)
        go_on(app, lambda: bool(told(app)), "main")
        look_again(app, "main")
        [(_, number, why)] = told(app)
        assert number == 1
        assert why.startswith("it ends at ")
        assert version(app, "main") == 1
        sandbox.dashboard.expire_key(key, 3600)
        go_on(app, lambda: version(app, "main") == 2, "main")
        assert len(told(app)) == 2


def test_a_key_of_openai_was_deleted() -> None:
    sandbox = OpenAISandbox(seed=1)
    with running_openai(sandbox) as (app, key):
        sandbox.dashboard.delete_key(key)
        go_on(app, lambda: version(app, "main") == 2, "main")
        look_again(app, "main")
        assert told(app) == [("drift", 1, "its key is DELETED")]
        assert len(told(app, "promoted")) == 2


def test_a_daemon_notices_by_itself_and_tells_who_listens(place: Home, sky: Cloud) -> None:
    quick(place)
    key = place.start()
    time.sleep(OFTEN)
    with place.daemon(), listening(place.state / "agent.sock") as listener:
        sky.console("deactivate", key, "key-one")
        drifted = listener.hear()[0]
        assert (drifted["event"], drifted["data"]["version"]) == ("drift", 1)
        assert drifted["data"]["reason"] == "its slot is INACTIVE"
        while "promoted" not in [one["event"] for one in listener.events]:
            listener.hear()
        before = len(sky.ask("GET", "log"))
        until(lambda: len(sky.ask("GET", "log")) > before + 2)
        assert [one["event"] for one in listener.events].count("drift") == 1
        assert place.keyman("get", "genai", "--field", "version").out == "2\n"
    assert sky.states(key) == {"key-one": "INACTIVE", "key-two": "ACTIVE"}
