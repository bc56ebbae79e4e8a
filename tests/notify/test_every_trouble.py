"""Whatever can go wrong is told exactly once, with a next move: the real rooms of the daemon, the
sandboxes' clouds with each of their faults, apprise, and a webhook that is really called.

Only time is not waited for: hours pass between two troubles by setting the clock ahead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyman.app import App
from keyman.clock import SystemClock
from keyman.config import NetworkSettings
from keyman.core.model import OrderKind
from keyman.desk import Wish
from keyman.errors import Error
from keyman.notify.courier import Courier
from keyman.sandbox.faults import Effect, Fault
from keyman.sandbox.google import GoogleSandbox
from tests.commands.world import Cloud, Home, cloud, home
from tests.notify.receiver import Receiver, receiver

LIMIT = timedelta(seconds=90)
MORE = """\
  vertex:
    provider: google
    project: sandbox-project
    location: us-central1
    base_url: {base_url}
    source: {{kind: service-account, file: sa.json}}
    endpoints: {{token: '{url}', iam: '{url}', sts: '{url}', metadata: '{url}'}}
  partner: {{provider: static, mirrors: [copy], policy: {{rotate_before: 14d}}}}
stores:
  copy: {{kind: sealed-file, path: "{{home}}/elsewhere/copy.db"}}
notify:
- {{url: '{hook}', name: on-call}}
"""


class Ahead(SystemClock):
    """The system's clock, and some hours more."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead

    def boot(self) -> float:
        return super().boot() + self.ahead.total_seconds()

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead.total_seconds()

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
        super().sleep(min(seconds, 1.0), wake)


class Kept(Courier):
    """One process for all messages of these tests: apprise is imported once."""

    def close(self) -> None:
        pass


@dataclass
class Place:
    sky: Cloud
    google: GoogleSandbox
    home: Home
    app: App
    clock: Ahead
    hook: Receiver

    # What goes on.

    def calm(self) -> None:
        """Hours later, and all is well: nothing of what was still waits to be told."""
        self.clock.ahead += timedelta(hours=4)
        for name in self.app.names():
            self.goes_on(name)
        self.heard()

    def goes_on(self, name: str) -> None:
        """Turns of it until it rests in peace."""
        self._turns(name, lambda: self.health(name) in ("ok", "due", "rotating"))

    def goes_wrong(self, name: str) -> None:
        self._turns(name, lambda: self.health(name) in ("failing", "at-risk", "down"))

    def rotates(self, name: str = "genai") -> None:
        said = self.app.desk.order(name, Wish(OrderKind.ROTATE))
        done = ("done", "failed")
        self._turns(name, lambda: self.app.desk.receipt(said["order"])["state"] in done)

    def begins_to_rotate(self, name: str = "genai") -> None:
        self.app.desk.order(name, Wish(OrderKind.ROTATE))
        self.goes_wrong(name)

    def health(self, name: str) -> str:
        return str(self.app.desk.status(name)["health"])

    def _turns(self, name: str, so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT.total_seconds()
        while True:
            try:
                self.app.turn(name)
            except Error:  # the daemon's turns go on as well
                time.sleep(0.1)
            if so():
                return
            assert time.monotonic() < deadline, self.app.desk.status(name)
            time.sleep(0.05)

    def heard(self) -> list[dict[str, Any]]:
        """What arrived at the webhook by now, looked at twice: nothing is said again."""
        for _ in range(2):
            assert self.app.notifying.settle(60) == []
        got, self.hook.got[:] = list(self.hook.got), []
        return got

    def hears_once(self) -> dict[str, Any]:
        (one,) = self.heard()
        assert "\nNext: " in one["message"]
        assert "\nTold by: keyman on " in one["message"]
        return one

    @property
    def store(self) -> Path:
        return self.home.state / "secrets.db"


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    google, clock = GoogleSandbox(seed=1), Ahead()
    with (
        cloud() as sky,
        receiver() as hook,
        google.serve(),
        home(sky, overlap="1m") as made,
        Courier(NetworkSettings()) as first,
    ):
        urls = {"base_url": google.base_url, "url": google.url, "hook": hook.url()}
        made.config.write_text(made.config.read_text() + MORE.format(**urls))
        google.files.service_account(made.folder / "sa.json")
        (made.state / "elsewhere").mkdir(parents=True, mode=0o700)
        made.state.chmod(0o700)
        first.__class__ = Kept
        with App(made.settings, clock=clock) as app:
            app.notifying._courier = lambda _: first
            app.notifying._running = True
            put(app, clock, timedelta(days=400))
            yield Place(sky, google, made, app, clock, hook)
        first.__class__ = Courier


def put(app: App, clock: Ahead, lasts: timedelta) -> None:
    from keyman.core.model import Secret

    app.desk.put("partner", Secret(f"sk-{clock.ahead}"), clock.now() + lasts, "ada")
    app.mirroring.settle(30, every=True)


@contextmanager
def fault(place: Place, **rule: Any) -> Iterator[None]:
    with place.sky.fault(**rule):
        yield


FAULTS: dict[Effect, dict[str, Any]] = {
    "lost_before": {},
    "lost_after": {},
    "truncated": {},
    "garbage": {},
    "throttle": {"retry_after": 1},
    "incorrect_state": {"count": 2},  # the first may be met by a call that is to be refused anyway
    "status": {"status": 500},
    "html": {"status": 502},
}


@pytest.mark.parametrize("effect", FAULTS)
def test_a_fault_that_the_next_try_overcomes(place: Place, effect: Effect) -> None:
    place.calm()
    with fault(place, effect=effect, operation="RenewApiKey", **{"count": 1, **FAULTS[effect]}):
        place.rotates()
        said = place.hears_once()
    assert said["title"] == "keyman: genai failed and is well again"
    assert "\nWhy: " in said["message"]


def test_every_fault_of_the_sandbox_is_tried(place: Place) -> None:
    known = set(Effect.__args__)  # type: ignore[attr-defined]
    assert known == {*FAULTS, "delay"}
    assert Fault("delay").effect == "delay"


@pytest.mark.slow
def test_an_answer_that_comes_too_late(place: Place) -> None:
    """Idle for the twenty seconds that keyman waits for Oracle."""
    place.calm()
    with fault(place, effect="delay", operation="RenewApiKey", count=1, seconds=22):
        place.rotates()
        said = place.hears_once()
    assert said["title"] == "keyman: genai failed and is well again"


REFUSALS = {
    "not allowed": {"status": 403},
    "not signed in": {"status": 401},
    "not found": {"status": 404},
    "broken": {"status": 500},
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_provider_that_goes_on_refusing(place: Place, what: str) -> None:
    place.calm()
    with fault(place, effect="status", operation="RenewApiKey", **REFUSALS[what]):
        place.clock.ahead += timedelta(days=29)  # until it is due: an order would be given up
        place.goes_wrong("genai")
        assert place.hears_once()["title"].startswith("keyman: genai is failing: ")
        place.clock.ahead += timedelta(minutes=2)
        assert place.heard() == []
    place.clock.ahead += timedelta(hours=2)
    place.goes_on("genai")
    (over,) = place.heard()
    assert over["title"] == "keyman: genai is well again"


def test_a_provider_that_nobody_can_see(place: Place) -> None:
    place.calm()
    with fault(place, effect="lost_before"):
        place.clock.ahead += timedelta(hours=1)
        place.goes_wrong("genai")
        place.hears_once()
    place.clock.ahead += timedelta(hours=2)
    place.goes_on("genai")
    assert len(place.heard()) == 1


def test_a_new_secret_that_is_never_accepted(place: Place) -> None:
    place.calm()
    place.home.edit("within: 120s", "within: 1s")
    place.app.take_up(place.home.settings)
    with fault(place, effect="status", status=401, operation="ChatCompletions"):
        place.app.desk.order("genai", Wish(OrderKind.ROTATE))
        place.goes_wrong("genai")
        place.hears_once()
    place.home.edit("within: 1s", "within: 120s")
    place.app.take_up(place.home.settings)
    place.clock.ahead += timedelta(hours=2)
    place.rotates()
    place.goes_on("genai")
    place.heard()


def test_somebody_switches_off_a_slot_in_the_console(place: Place) -> None:
    place.calm()
    status = place.app.desk.status("genai")
    place.sky.console("deactivate", status["key_id"], status["current"]["slot"])
    place.clock.ahead += timedelta(minutes=20)
    place._turns(
        "genai", lambda: bool(place.app.journal.news(place.app.journal.news_kept()[1] - 1, 1))
    )
    place.goes_on("genai")
    said = place.hears_once()
    assert "drift" in said["title"] + said["message"]


def test_the_store_is_lost(place: Place) -> None:
    place.calm()
    kept = place.store.read_bytes()
    place.store.write_bytes(b"this is no store of anybody's" * 100)
    try:
        place.begins_to_rotate()
        assert "genai" in place.hears_once()["title"]
    finally:
        place.store.write_bytes(kept)
    place.clock.ahead += timedelta(hours=2)
    place.goes_on("genai")
    assert [one["title"] for one in place.heard()] == ["keyman: genai is well again"]


def test_a_mirror_fails(place: Place) -> None:
    place.calm()
    copy = place.home.state / "elsewhere/copy.db"
    kept = copy.read_bytes()
    copy.write_bytes(b"this is no store of anybody's" * 100)
    place.app.mirroring.settle(30, every=True)
    assert place.hears_once()["title"].startswith("keyman: the mirror copy of partner fails: ")
    copy.write_bytes(kept)
    place.app.mirroring.settle(30, every=True)
    (over,) = place.heard()
    assert over["title"] == "keyman: the mirror copy of partner follows again"


def test_a_secret_that_comes_by_hand_expires(place: Place) -> None:
    place.calm()
    put(place.app, place.clock, timedelta(days=10))
    said = place.hears_once()
    assert said["title"].startswith("keyman: partner: version ")
    assert "Next: `keyman put partner` brings the next secret" in said["message"]
    put(place.app, place.clock, timedelta(days=400))
    (over,) = place.heard()
    assert over["title"] == "keyman: partner has a secret that lasts again"


def test_tokens_can_t_be_had(place: Place) -> None:
    place.calm()
    place.google.faults.add(Fault("status", "*Token", status=401))
    try:
        place.clock.ahead += timedelta(minutes=50)
        place.goes_wrong("vertex")
        assert "vertex" in place.hears_once()["title"]
    finally:
        place.google.faults.clear()
    place.clock.ahead += timedelta(hours=1)
    place.goes_on("vertex")
    assert [one["title"] for one in place.heard()] == ["keyman: vertex is well again"]


def test_the_journal_can_t_be_written(place: Place) -> None:
    """Nothing can be recorded of it, so it is told by what the daemon itself sees."""
    place.calm()
    with place.app.journal._writing() as connection:
        connection.exec_driver_sql("ALTER TABLE leases RENAME TO elsewhere")
    try:
        for _ in range(3):
            with pytest.raises(Error):
                place.app.turn("genai")
            place.clock.ahead += timedelta(seconds=45)
        assert place.hears_once()["title"].startswith("keyman: keyman's own work does not go on: ")
    finally:
        with place.app.journal._writing() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO leases")
    place.goes_on("genai")
    assert [one["title"] for one in place.heard()] == ["keyman: keyman's own work goes on again"]
