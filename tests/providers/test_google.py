"""Tokens of each kind of source: had, refreshed, shared, recognised when they come again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyman import errors
from keyman.clock import SystemClock
from keyman.core.model import KeySeen, Place, Verdict
from keyman.providers.google import Google, pause
from keyman.sandbox.google_behaviour import GoogleBehaviour
from keyman.sandbox.google_files import PERSON, SERVICE, TARGET
from keyman.sandbox.server import Reply, Request, Service, json_reply
from tests.providers.google_world import HOPS, KINDS, Endpoints, Source, World, world


@pytest.fixture
def adc(google: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment in which `kind: adc` finds something."""
    for name, value in google.adc_env.items():
        monkeypatch.setenv(name, value)


@dataclass
class SetClock(SystemClock):
    """A wall clock that is off by so much."""

    off: timedelta = field(default_factory=timedelta)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.off


# What comes out.


@pytest.mark.usefixtures("adc")
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_of_each_kind_is_taken_by_vertex(google: World, kind: str) -> None:
    wish = google.wish()
    issued = google.provider(kind).issue(wish, None)
    assert google.accepts(issued.secret)
    assert tuple(google.asked(*HOPS[kind])) == HOPS[kind]
    assert (issued.handle, issued.mask) == (wish.attempt, None)


@pytest.mark.usefixtures("adc")
@pytest.mark.parametrize("kind", KINDS)
def test_a_second_token_is_another_one(google: World, kind: str) -> None:
    provider = google.provider(kind)
    first = provider.issue(google.wish(), None)
    google.wait(3400)  # so that a metadata server has a new one
    second = provider.issue(google.wish(), None)
    assert first.secret != second.secret
    assert first.handle != second.handle
    assert google.accepts(second.secret)


@pytest.mark.usefixtures("adc")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_whatever_google_leaves_open_a_token_is_had(kind: str, seed: int) -> None:
    kind = "service-account" if kind == "adc" else kind
    with world(GoogleBehaviour.from_seed(seed), seed=seed) as made:
        provider = made.provider(kind)
        for _ in range(3):
            assert made.accepts(
                provider.issue(made.wish(), None).secret, {"x-goog-user-project": "p"}
            )
            made.wait(3500)


@pytest.mark.usefixtures("adc")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("off", [timedelta(0), timedelta(minutes=-7), timedelta(days=400)])
def test_a_life_is_counted_from_the_question_on_by_the_clock_handed_in(
    google: World, kind: str, off: timedelta
) -> None:
    clock = SetClock(off=off)
    provider = google.provider(kind, clock=clock)
    before = clock.now()
    ends = provider.issue(google.wish(), None).expires_at
    assert ends
    assert ends.utcoffset() == timedelta(0)
    assert ends.microsecond == 0
    life = timedelta(hours=1)
    assert before + life - timedelta(seconds=4) <= ends <= clock.now() + life


@pytest.mark.parametrize("told", [3599, "3599", 3599.9, "3599.9", 3600])
@pytest.mark.parametrize("kind", ["service-account", "authorized-user"])
def test_a_life_may_be_told_in_several_ways(google: World, kind: str, told: Any) -> None:
    token = {"access_token": "ya29.canary", "expires_in": told, "token_type": "Bearer"}
    google.break_next("garbage", "*Token", body=json.dumps(token))
    issued = google.provider(kind).issue(google.wish(), None)
    left = _left(google, issued.expires_at)
    assert 3590 < left <= float(told)


@pytest.mark.parametrize("fraction", ["", ".5", ".123456789"])
@pytest.mark.parametrize("kind", ["impersonate", "external-account"])
def test_the_moment_of_an_end_may_have_fractions(google: World, kind: str, fraction: str) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=30)
    token = {"accessToken": "ya29.canary", "expireTime": f"{ends:%Y-%m-%dT%H:%M:%S}{fraction}Z"}
    google.break_next("garbage", "GenerateAccessToken", body=json.dumps(token))
    issued = google.provider(kind).issue(google.wish(), None)
    assert issued.secret.reveal() == "ya29.canary"
    assert issued.expires_at
    assert ends - timedelta(seconds=4) <= issued.expires_at <= ends + timedelta(seconds=1)


def test_the_moment_of_an_end_is_told_by_googles_clock(google: World) -> None:
    google.wait(600)  # Google is ahead of us by that
    google.sandbox.signed_shift += timedelta(seconds=600)
    issued = google.provider("impersonate", clock=google.clock).issue(google.wish(), None)
    assert 3590 < _left(google, issued.expires_at) <= 3600


def test_a_longer_life_is_asked_for_and_had(google: World) -> None:
    source = replace(google.source("impersonate"), lifetime=timedelta(hours=12))
    google.sandbox.person.allow_long_lives(TARGET)
    issued = google.provider(source).issue(google.wish(), None)
    assert 43190 < _left(google, issued.expires_at) <= 43200
    google.wait(40_000)
    assert google.accepts(issued.secret)


@pytest.mark.parametrize("prefix", ["", "projects/-/serviceAccounts/"])
def test_a_chain_of_delegates_is_followed(google: World, prefix: str) -> None:
    person, middle = google.sandbox.person, "middle@sandbox-project.iam.gserviceaccount.com"
    person.let_impersonate(SERVICE, middle)
    person.let_impersonate(middle, TARGET)
    origin = google.source("service-account")
    source = Source("impersonate", target=TARGET, delegates=(prefix + middle,), origin=origin)
    assert google.accepts(google.provider(source).issue(google.wish(), None).secret)


@pytest.mark.parametrize("origin", ["authorized-user", "external-account", "metadata"])
def test_anybody_may_impersonate_who_is_allowed_to(google: World, origin: str) -> None:
    who = {"authorized-user": PERSON, "external-account": TARGET, "metadata": SERVICE}[origin]
    target = "other@sandbox-project.iam.gserviceaccount.com"
    google.sandbox.person.let_impersonate(who, target)
    source = Source("impersonate", target=target, origin=google.source(origin))
    issued = google.provider(source).issue(google.wish(), None)
    assert google.accepts(issued.secret)
    assert google.sandbox.person.tokens_of(target)


def test_the_first_token_of_an_impersonation_is_not_used_twice(google: World) -> None:
    provider = google.provider("impersonate")
    provider.issue(google.wish(), None)
    assert google.sandbox.person.revoke_tokens(SERVICE) == 1
    assert google.accepts(provider.issue(google.wish(), None).secret)


def test_the_first_token_of_a_workload_is_not_used_twice(google: World) -> None:
    provider = google.provider("external-account")
    provider.issue(google.wish(), None)
    [exchange] = google.sandbox.calls("ExchangeToken")
    assert google.sandbox.person.revoke_tokens(exchange.actor) == 1
    assert google.accepts(provider.issue(google.wish(), None).secret)


@pytest.mark.parametrize("old_works", [True, False])
def test_a_refresh_token_that_google_replaces_is_followed(*, old_works: bool) -> None:
    rules = GoogleBehaviour(rotates_refresh_token=True, old_refresh_token_works=old_works)
    with world(rules) as google:
        provider = google.provider("authorized-user")
        for _ in range(3):
            provider.issue(google.wish(), None)


def test_a_person_is_never_asked_for_other_scopes(google: World) -> None:
    scopes = ("https://www.googleapis.com/auth/drive",)
    provider = google.provider("authorized-user", scopes=scopes)
    assert google.accepts(provider.issue(google.wish(), None).secret)


# What applications are told.


@pytest.mark.usefixtures("adc")
@pytest.mark.parametrize(
    ("kind", "principal"),
    [
        ("service-account", SERVICE),
        ("authorized-user", None),
        ("external-account", TARGET),
        ("impersonate", TARGET),
        ("metadata", None),
        ("adc", SERVICE),
    ],
)
def test_a_lookup_names_whom_the_token_is_for(
    google: World, kind: str, principal: str | None
) -> None:
    told = google.provider(kind, base_url="https://x.example/v1").lookup()
    assert (told.base_url, told.principal) == ("https://x.example/v1", principal)
    assert google.asked() == []


def test_the_configured_quota_project_counts_more_than_the_files(google: World) -> None:
    assert google.provider("authorized-user").lookup().quota_project is None
    google.rewrite("authorized-user", quota_project_id="of-the-file")
    assert google.provider("authorized-user").lookup().quota_project == "of-the-file"
    configured = google.provider("authorized-user", quota_project="configured")
    assert configured.lookup().quota_project == "configured"


def test_a_person_with_a_quota_project_is_served_where_one_is_needed() -> None:
    with world(GoogleBehaviour(user_needs_quota_project=True)) as google:
        google.rewrite("authorized-user", quota_project_id="pays")
        provider = google.provider("authorized-user")
        secret = provider.issue(google.wish(), None).secret
        assert not google.accepts(secret)
        payer = provider.lookup().quota_project
        assert google.accepts(secret, {"x-goog-user-project": str(payer)})


def test_a_lookup_survives_a_file_that_is_gone(google: World) -> None:
    provider = google.provider("service-account")
    google.files["service-account"].unlink()
    told = provider.lookup()
    assert (told.principal, told.quota_project) == (None, None)


# The same token again.


def test_the_token_of_last_time_is_no_new_token(google: World) -> None:
    provider = google.provider("metadata")
    first = provider.issue(google.wish(), None)
    for _ in range(3):
        with pytest.raises(errors.RetryLater, match="token of last time") as caught:
            provider.issue(google.wish(), None)
        assert caught.value.retry_after == 60
    assert len(google.asked("MetadataToken")) == 4  # each try asks once
    google.wait(3600 - 230)
    assert provider.issue(google.wish(), None).secret != first.secret


def test_the_token_of_last_time_is_right_for_the_same_wish(google: World) -> None:
    """Its first answer may have been lost on the way to the store."""
    provider, wish = google.provider("metadata"), google.wish()
    assert provider.issue(wish, None).secret == provider.issue(wish, None).secret


def test_a_persons_token_that_google_repeats_is_recognised() -> None:
    with world(GoogleBehaviour(user_token_repeats_for=30.0)) as google:
        provider = google.provider("authorized-user")
        provider.issue(google.wish(), None)
        with pytest.raises(errors.RetryLater) as caught:
            provider.issue(google.wish(), None)
        assert caught.value.retry_after == 5
        google.wait(31)
        provider.issue(google.wish(), None)


@pytest.mark.parametrize(
    ("kind", "left", "seconds"),
    [
        ("metadata", 3000, 60),
        ("metadata", 301, 60),
        ("metadata", 300, 5),
        ("metadata", 3, 3),
        ("adc", 3000, 60),
        ("service-account", 3000, 5),
        ("authorized-user", 0.2, 1),
        ("metadata", -5, 1),
    ],
)
def test_the_pause_before_another_try_fits_what_is_left(
    kind: str, left: float, seconds: float
) -> None:
    assert pause(kind, timedelta(seconds=left)) == seconds


# Many at once.


def _at_once(number: int, act: Callable[[int], Any]) -> list[Any]:
    start = threading.Barrier(number)

    def run(index: int) -> Any:
        start.wait(10)
        try:
            return act(index)
        except errors.Error as error:
            return error

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def test_threads_that_want_the_same_share_one_request(google: World) -> None:
    google.break_next("delay", "AssertionToken", seconds=0.5)
    provider, wish = google.provider(), google.wish()
    issued = _at_once(16, lambda _: provider.issue(wish, None))
    assert len(google.asked("AssertionToken")) == 1
    assert {one.secret.reveal() for one in issued} == {issued[0].secret.reveal()}
    provider.issue(wish, None)
    assert len(google.asked("AssertionToken")) == 2  # what is over is not shared


def test_threads_share_a_failure_as_well(google: World) -> None:
    google.break_next("status", "AssertionToken", status=503, seconds=0.5)
    provider, wish = google.provider(), google.wish()
    failures = _at_once(16, lambda _: provider.issue(wish, None))
    assert len(google.asked("AssertionToken")) == 1
    assert {type(one) for one in failures} == {errors.RetryLater}
    assert google.accepts(provider.issue(wish, None).secret)


class Slow(Service):
    """A token endpoint that takes its time, and counts who asks at once."""

    def __init__(self) -> None:
        super().__init__(lambda: datetime.now(UTC))
        self.inside, self.most, self.made, self.guard = 0, 0, 0, threading.Lock()

    def answer(self, request: Request) -> Reply:
        with self.guard:
            self.inside, self.made = self.inside + 1, self.made + 1
            self.most = max(self.most, self.inside)
            token = f"ya29.canary-{self.made}"
        time.sleep(0.05)
        with self.guard:
            self.inside -= 1
        return json_reply(200, {"access_token": token, "expires_in": 3600})


def test_other_wishes_wait_for_their_turn(google: World) -> None:
    slow = Slow()
    with slow.serve() as url:
        provider = google.provider(endpoints=Endpoints(token=url))
        issued = _at_once(6, lambda _: provider.issue(google.wish(), None))
    assert len({one.secret.reveal() for one in issued}) == 6
    assert (slow.made, slow.most) == (6, 1)


# What can't be done.


def test_there_is_nothing_to_see_and_nothing_to_prove(google: World) -> None:
    provider = google.provider()
    secret = provider.issue(google.wish(), None).secret
    assert provider.observe(("x",), google.clock.now()) is None  # type: ignore[func-returns-value]
    assert provider.verify(secret) is Verdict.SILENT
    provider.activate(Place("x", None), None)
    assert google.asked() == ["AssertionToken"]


@pytest.mark.parametrize(
    ("words", "act"),
    [
        ("owner", lambda p: p.claim(KeySeen("x", "ACTIVE", ()), "here", 1)),
        ("nothing to create", lambda p: p.create(None, None)),
        ("switched off before it ends", lambda p: p.retire(Place("x", None), None)),
        ("destroyed before it ends", lambda p: p.revoke(Place("x", None), None)),
    ],
)
def test_what_cannot_be_done_is_said(
    google: World, words: str, act: Callable[[Google], None]
) -> None:
    with pytest.raises(errors.Rejected, match=words) as caught:
        act(google.provider())
    assert caught.value.hint != errors.Error.default_hint
    assert google.asked() == []


def test_a_kind_that_does_not_exist_is_told(google: World) -> None:
    with pytest.raises(errors.ConfigError, match="kind 'oidc'"):
        google.provider(Source("oidc"))


def test_opening_asks_and_reads_nothing(tmp_path: Path) -> None:
    with world() as google:
        google.provider(Source("service-account", tmp_path / "not there yet"))
        google.provider(Source("adc"))
        assert google.asked() == []


def _left(google: World, ends: datetime | None) -> float:
    assert ends
    return (ends - google.clock.now()).total_seconds()
