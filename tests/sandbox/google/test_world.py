"""Faults, counters, doors and the sandbox as a process; and many callers at once."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import google.auth.exceptions
import pytest
from google.oauth2 import service_account

from keyman.sandbox.google_accounts import CLOUD
from keyman.sandbox.google_behaviour import GoogleBehaviour
from keyman.sandbox.google_files import PERSON, SERVICE, TARGET
from keyman.sandbox.keys import sha256
from keyman.sandbox.sandboxed import peak
from tests.sandbox.google.world import World

REFUSED = google.auth.exceptions.RefreshError
LOST = google.auth.exceptions.TransportError
Worlds = Callable[..., World]


def door(world: World, method: str, name: str, body: object = None) -> Any:
    status, answer = world.http(method, f"/sandbox/{name}", body)
    assert status == 200, answer
    return answer


def test_every_question_is_asked_in_some_test_here() -> None:
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    questions = {question.name for question in fields(GoogleBehaviour)}
    assert {name for name in questions if not any(f"{name}=" in text for text in texts)} == set()


def test_each_answer_comes_up_for_some_seed() -> None:
    worlds = [GoogleBehaviour.from_seed(seed) for seed in range(100)]
    for question in fields(GoogleBehaviour):
        answers = question.metadata.get("answers", (question.default,))
        assert {getattr(world, question.name) for world in worlds} == set(answers)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_answers_a_new_token_is_taken(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    world = World(GoogleBehaviour.from_seed(seed), seed=seed)
    credentials = world.service_account(tmp_path)
    for _ in range(10):
        assert world.ask(world.refreshed(credentials))[0] == 200
        world.wait(dice.choice([0, 1, 3000, 4000]))
    world.close()


def test_a_lost_answer_does_not_tell_whether_a_token_was_made(
    google: World, tmp_path: Path
) -> None:
    credentials = google.service_account(tmp_path)
    for effect, made in (("lost_before", 0), ("lost_after", 1), ("truncated", 2)):
        google.break_next(effect, "AssertionToken")
        with pytest.raises(LOST):
            google.refreshed(credentials)
        assert len(google.sandbox.tokens.all()) == made
    assert len(google.sandbox.token_requests()) == 3
    assert len(google.sandbox.token_requests(SERVICE)) == 2


@pytest.mark.parametrize(("status", "retried"), [(500, True), (502, False)])
def test_google_auth_retries_some_server_errors_itself(
    google: World, tmp_path: Path, status: int, retried: bool
) -> None:
    google.break_next("html", "*Token", status=status)
    with nullcontext() if retried else pytest.raises(REFUSED):
        google.refreshed(google.service_account(tmp_path))


def test_a_captive_portal_answers_200_in_html(google: World, tmp_path: Path) -> None:
    google.break_next("html", status=200)
    with pytest.raises((TypeError, REFUSED)):
        google.refreshed(google.service_account(tmp_path))


def test_a_fault_can_say_exactly_what_a_test_wants(google: World, tmp_path: Path) -> None:
    body = '{"error": "invalid_grant", "error_subtype": "invalid_rapt"}'
    google.break_next("status", "RefreshToken", status=400, body=body)
    credentials = google.person_from(google.files.authorized_user(tmp_path / "adc.json"))
    with pytest.raises(REFUSED, match="Reauthentication"):
        google.refreshed(credentials)
    google.refreshed(credentials)


def test_throttling_is_worded_by_each_service(google: World) -> None:
    google.break_next("throttle", count=2, retry_after=3)
    status, said = google.form("/token", {})
    assert (status, said["error"]) == (429, "rate_limit_exceeded")
    status, said = google.ask("any")
    assert (status, said["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")


def test_only_so_many_tokens_a_second_may_be_allowed(google_of: Worlds) -> None:
    world = google_of(token_requests_per_second=2)
    info = world.files.authorized_user_info()
    names = ("client_id", "client_secret", "refresh_token")
    good = {"grant_type": "refresh_token", **{name: info[name] for name in names}}
    assert [world.form("/token", good)[0] for _ in range(3)] == [200, 200, 429]
    world.wait(1)
    assert world.form("/token", good)[0] == 200


def test_requests_are_counted_by_principal_and_second(google: World, tmp_path: Path) -> None:
    credentials = google.service_account(tmp_path)
    for _ in range(3):
        google.refreshed(credentials)
    google.wait(10)
    google.refreshed(credentials)
    google.refreshed(google.person_from(google.files.authorized_user(tmp_path / "adc.json")))
    assert len(google.sandbox.token_requests()) == 5
    assert len(google.sandbox.token_requests(SERVICE)) == 4
    assert len(google.sandbox.token_requests(PERSON)) == 1
    assert google.sandbox.peak_requests(5) == 3
    assert google.sandbox.peak_requests(60) == 5


@pytest.mark.parametrize(
    ("times", "most"),
    [([], 0), ([1.0], 1), ([1.0, 1.5, 2.0, 2.1], 3), ([1.0, 2.5, 2.6, 9.0], 2)],
)
def test_the_peak_is_the_busiest_second(times: list[float], most: int) -> None:
    assert peak(times) == most


def test_lives_are_short_if_one_wants(google_of: Worlds, tmp_path: Path) -> None:
    world = google_of({"token_seconds": 36.0})
    world.person.let_impersonate(SERVICE, TARGET)
    said = world.assertion(_assertion_of(world))[1]
    assert said["expires_in"] in {34, 35}
    assert world.ask(said["access_token"])[0] == 200
    world.wait(36)
    assert world.ask(said["access_token"])[0] == 401
    door(world, "POST", "token_seconds", {"seconds": 3600})
    assert world.assertion(_assertion_of(world))[1]["expires_in"] > 3500


def _assertion_of(world: World) -> str:
    load: Any = service_account.Credentials.from_service_account_info
    made = load(world.files.service_account_info(), scopes=[CLOUD])
    return str(made._make_authorization_grant_assertion().decode())


@pytest.mark.slow
def test_many_principals_at_once_get_their_own_tokens(google: World) -> None:
    assertions = []
    for number in range(40):
        info = google.files.service_account_info(f"sa{number}@x.iam.gserviceaccount.com")
        load: Any = service_account.Credentials.from_service_account_info
        made = load(info, scopes=[CLOUD])
        assertions.append(made._make_authorization_grant_assertion().decode())
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda a: google.assertion(a)[1]["access_token"], assertions))
    assert len(set(tokens)) == 40
    for number in (0, 39):
        email = f"sa{number}@x.iam.gserviceaccount.com"
        assert len(google.sandbox.token_requests(email)) == 1
        assert [t.sha256 for t in google.person.tokens_of(email)] == [sha256(tokens[number])]


def test_expired_tokens_are_forgotten_beyond_a_limit(google: World) -> None:
    tokens = google.sandbox.tokens
    tokens._limit = 5
    made = [tokens.mint("service", "a", (CLOUD,), 10)[0] for _ in range(9)]
    assert len(tokens.all()) == 9
    google.wait(11)
    tokens.mint("service", "a", (CLOUD,), 10)
    assert len(tokens.all()) == 5
    assert tokens.find(made[0]) is None


def test_another_process_reaches_all_that(google: World, tmp_path: Path) -> None:
    files = door(google, "POST", "credentials", {"folder": str(tmp_path)})
    assert set(files) == {"service-account", "authorized-user", "external-account", "impersonated"}
    assert all(Path(file).stat().st_mode & 0o777 == 0o600 for file in files.values())
    google.refreshed(google.person_from(Path(files["authorized-user"])))
    door(google, "POST", "drift", {"action": "require_reauth", "email": PERSON})
    told = door(google, "GET", "truth")
    assert told["people"][PERSON]["needs_reauth"]
    assert told["token_requests"] == 1
    assert door(google, "POST", "drift", {"action": "revoke_tokens", "principal": PERSON}) == 1
    rule = {"effect": "throttle", "operation": "RefreshToken"}
    assert door(google, "POST", "faults", rule) == {"numbers": [1]}
    log = door(google, "GET", "log?operation=RefreshToken")
    assert [call["actor"] for call in log] == [PERSON]
    assert "ya29." not in str([told, log, door(google, "GET", "counts")])
    assert door(google, "POST", "behaviour", {"expires_in_as_text": True})["expires_in_as_text"]


@pytest.mark.parametrize(
    "body",
    [
        {"action": "nonsense"},
        {"action": "__init__"},
        {"action": "disable_account"},
        {"action": "disable_account", "email": "nobody"},
        {},
    ],
)
def test_a_door_used_wrongly_says_so(google: World, body: object) -> None:
    status, answer = google.http("POST", "/sandbox/drift", body)
    assert status == 400
    assert answer["error"]


def test_it_runs_as_a_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "keyman.sandbox", "--service", "google", "--seed", "7"]
    more = ["--profile-dir", str(tmp_path), "--mark", "canary", "--token-seconds", "36"]
    process = subprocess.Popen(
        [*command, *more], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    assert process.stdout is not None
    with process, process.stdout as out:
        try:
            url = out.readline().strip()
            world = World()
            world.close()
            world.url = url
            load: Any = service_account.Credentials.from_service_account_file
            file = tmp_path / "service-account.json"
            token = world.refreshed(load(str(file), scopes=[CLOUD]))
            assert "canary-" in token
            assert door(world, "GET", "truth")["token_requests"] == 1
        finally:
            process.terminate()
        assert process.wait(5) == 0
