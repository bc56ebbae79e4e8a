"""What Prometheus reads, read by Prometheus' own parser."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from keyman import __version__, errors
from keyman.clock import SystemClock
from keyman.core.model import Credential, Spec
from keyman.core.news import News
from keyman.meter import Meter
from keyman.serving.api import Api
from keyman.serving.metrics import Family, Sample, exposed
from keyman.serving.server import Agent
from tests.serving import tcp_world
from tests.serving.world import CANARY, START, World, nothing_usable

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def figures(text: str) -> Figures:
    """Name and labels of every sample → its value, by Prometheus' rules."""
    found: Figures = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def scraped(world: World) -> Figures:
    status, headers, text = world.ask("GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert CANARY not in text
    return figures(text)


def of(found: Figures, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def credential(name: str = "genai", **more: Any) -> Credential:
    return Credential(Spec(name, "oci-genai"), **more)


class Counted(World):
    """A world whose meter is at hand."""

    def start(self) -> Agent:
        self.meter = Meter()
        api = Api(self.desk, self.snapshot, reload=self._reload, since=START, meter=self.meter)
        self.agent = Agent(api, self.path, **self._options)
        self.agent.start()
        return self.agent


@pytest.fixture
def counted(world: World) -> World:
    """The world of these tests, with a meter."""
    world.agent.stop()
    world.__class__ = Counted
    world.start()
    return world


def meter_of(world: World) -> Meter:
    assert isinstance(world, Counted)
    return world.meter


def test_what_is_running(world: World) -> None:
    found = scraped(world)
    assert of(found, "keyman_up") == 1
    (build,) = (key for key in found if key[0] == "keyman_build_info")
    assert dict(build[1])["version"] == __version__


def test_when_current_secrets_expire(world: World) -> None:
    world.expire_in("genai", 8, timedelta(hours=1))
    found = scraped(world)
    expires = (world.clock.wall + timedelta(hours=1)).timestamp()
    assert of(found, "keyman_credential_expiry_timestamp_seconds", credential="genai") == expires
    assert of(found, "keyman_credential_expiry_timestamp_seconds", credential="vertex") is None
    assert of(found, "keyman_credential_version", credential="genai") == 8
    assert of(found, "keyman_credential_version", credential="vertex") == 1


@pytest.mark.parametrize("told", ["ok", "due", "rotating", "failing", "at-risk"])
def test_one_word_says_how_each_is(counted: World, told: str) -> None:
    meter_of(counted).knows(credential(told=told))
    assert words(scraped(counted)) == {"genai": told, "vertex": "ok"}


def words(found: Figures) -> dict[str, str]:
    """The credentials' health, with exactly one word true of each."""
    health: dict[str, dict[str, float]] = {}
    for (name, labels), value in found.items():
        if name == "keyman_credential_health":
            said = dict(labels)
            health.setdefault(said["credential"], {})[said["health"]] = value
    assert all(sum(one.values()) == 1 and len(one) == 6 for one in health.values())
    return {name: next(w for w, v in one.items() if v) for name, one in health.items()}


def test_lookups_have_the_last_word_on_that(counted: World) -> None:
    """The secret expired, or is refused, and no record says so yet."""
    meter_of(counted).knows(credential(told="ok"))
    counted.snapshot.publish("genai", nothing_usable(9))
    counted.expire_in("vertex", 2, timedelta(seconds=5))
    counted.clock.wall += timedelta(seconds=5)
    found = scraped(counted)
    assert words(found) == {"genai": "down", "vertex": "down"}
    assert of(found, "keyman_credential_version", credential="genai") is None


def test_messages_to_people_by_what_became_of_them(counted: World) -> None:
    meter = meter_of(counted)
    meter.targets(["pager", "mail"])
    for target, done in (("pager", True), ("pager", False), ("mail", False), ("mail", True)):
        meter.told(target, done=done)
    meter.told("gone", done=False)
    found = scraped(counted)
    assert of(found, "keyman_notify_failing", target="pager") == 1
    assert of(found, "keyman_notify_failing", target="mail") == 0
    assert of(found, "keyman_notifications_total", target="pager", outcome="sent") == 1
    assert of(found, "keyman_notifications_total", target="mail", outcome="failed") == 1
    assert of(found, "keyman_notify_failing", target="gone") is None
    meter.targets(["mail"])
    assert of(scraped(counted), "keyman_notify_failing", target="pager") is None


def test_turns_that_came_to_no_end(counted: World) -> None:
    assert of(scraped(counted), "keyman_turns_failed_total") == 0
    meter_of(counted).turn_failed()
    assert of(scraped(counted), "keyman_turns_failed_total") == 1


def test_rotations_by_how_they_ended(counted: World) -> None:
    told = ("promoted", "retired", "given-up", "promoted", "failing")
    meter_of(counted).heard([News(START, "genai", what) for what in told])
    found = scraped(counted)
    assert of(found, "keyman_rotations_total", credential="genai", outcome="promoted") == 2
    assert of(found, "keyman_rotations_total", credential="genai", outcome="given-up") == 1
    assert len([key for key in found if key[0] == "keyman_rotations_total"]) == 2


def test_what_left_the_configuration_is_counted_no_more(counted: World) -> None:
    meter = meter_of(counted)
    meter.heard([News(START, "genai", "promoted"), News(START, "gone", "promoted")])
    meter.knows(credential("gone", told="failing"))
    meter.keep({"genai", "vertex"})
    found = scraped(counted)
    assert not [key for key in found if ("credential", "gone") in key[1]]
    assert of(found, "keyman_rotations_total", credential="genai", outcome="promoted") == 1


ENDINGS: list[tuple[str, BaseException | None]] = [
    ("done", None),
    ("rejected", errors.SlotRefused("no")),
    ("retry_later", errors.RetryLater("later")),
    ("unknown", errors.Unknown("lost")),
    ("secret_lost", errors.SecretLost("lost")),
    ("store_failed", errors.SecretDamaged("broken")),
    ("failed", KeyError("ours")),
]


@pytest.mark.parametrize(("outcome", "error"), ENDINGS, ids=[outcome for outcome, _ in ENDINGS])
def test_calls_of_providers(counted: World, outcome: str, error: BaseException | None) -> None:
    ticks = iter((10.0, 12.5, 100.0, 100.25))
    for _ in range(2):
        met = contextlib.suppress(type(error)) if error else contextlib.nullcontext()
        with met, meter_of(counted).asking("oci-genai", "issue", lambda: next(ticks)):
            if error:
                raise error
    found = scraped(counted)
    which = {"provider": "oci-genai", "step": "issue"}
    assert of(found, "keyman_provider_calls_total", **which, outcome=outcome) == 2
    assert of(found, "keyman_provider_call_duration_seconds_sum", **which) == 2.75
    assert of(found, "keyman_provider_call_duration_seconds_count", **which) == 2


def test_when_somebody_last_had_a_turn(counted: World) -> None:
    assert of(scraped(counted), "keyman_last_turn_timestamp_seconds") is None
    meter_of(counted).turned(START)
    assert of(scraped(counted), "keyman_last_turn_timestamp_seconds") == START.timestamp()


def test_lookups_and_those_who_are_connected(world: World) -> None:
    before = scraped(world)
    for _ in range(3):
        world.ask("GET", "/api/v1/secrets/genai")
    world.ask("GET", "/api/v1/secrets/genai?stage=previous")
    world.ask("GET", "/api/v1/credentials/genai")
    found = scraped(world)
    for kind, asked in (("plain", 3), ("other", 1)):
        then = of(before, "keyman_lookups_total", kind=kind)
        now = of(found, "keyman_lookups_total", kind=kind)
        assert now is not None
        assert now - (then or 0) == asked
    assert of(found, "keyman_agent_connections") == 1  # whoever scrapes


def test_it_speaks_of_every_name_and_so_is_for_who_may_see_all() -> None:
    with tcp_world.network() as net:
        assert net.over_tcp("GET /metrics", net.client("one", "genai")).status == 403
        assert net.over_tcp("GET /metrics", net.client("all")).status == 200


def test_a_scrape_asks_no_journal(world: World) -> None:
    world.desk.trouble = errors.StoreFailed("disk I/O error")
    assert of(scraped(world), "keyman_up") == 1


# The format.


@pytest.mark.parametrize(
    "value", ["plain", 'a "quote"', "back\\slash", "two\nlines", "\\n", "☂", "}", ","]
)
def test_label_values_come_back_as_they_were(value: str) -> None:
    family = Family("keyman_x", "gauge", "An x.", [Sample(1, (("y", value), ("z", "")))])
    assert figures(exposed([family]).decode()) == {
        ("keyman_x", frozenset({("y", value), ("z", "")})): 1
    }


@pytest.mark.parametrize("value", [0, 1, True, 0.1, 1795251600.123456, 2**53 - 1, 1e-9])
def test_values_come_back_as_they_were(value: float) -> None:
    found = figures(exposed([Family("keyman_x", "gauge", "An x.", [Sample(value)])]).decode())
    assert found[("keyman_x", frozenset())] == pytest.approx(float(value), rel=1e-14)


def test_each_family_says_once_what_it_is(counted: World) -> None:
    """And by the conventions: counters end in _total, times in _seconds."""
    meter = meter_of(counted)
    meter.turned(START)
    meter.heard([News(START, "genai", "promoted")])
    meter.targets(["pager"])
    with meter.asking("oci-genai", "observe", SystemClock().monotonic):
        pass
    counted.expire_in("genai", 8, timedelta(hours=1))
    families = list(text_string_to_metric_families(counted.ask("GET", "/metrics")[2]))
    assert len({family.name for family in families}) == len(families) == 14
    for family in families:
        assert family.documentation.endswith(".")
        names = {sample.name for sample in family.samples}
        assert family.type in ("gauge", "counter", "summary")
        assert (family.type == "counter") == any(name.endswith("_total") for name in names)


def test_a_family_without_samples_is_left_out() -> None:
    assert exposed([Family("keyman_x", "gauge", "An x.", [])]) == b""
