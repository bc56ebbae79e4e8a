"""OCI Vault as a store when something breaks: lost answers, throttling, permissions, no room."""

import base64
import copy
import json
import logging
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from keyman.core.model import Secret
from keyman.errors import StoreFailed
from keyman.sandbox.faults import FaultPlan
from keyman.sandbox.oci_vault import COMPARTMENT
from keyman.stores.oci_vault import OciVault
from keyman.stores.oci_vault_changes import NOTHING_YET
from tests.contract.oci_vault_world import READS, WRITES, World, lived, opened_in, well_lived

pytestmark = pytest.mark.slow

CANARY = "sk-canary-of-the-vault-0123456789"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened_in(tmp_path) as made:
        yield made


@pytest.fixture
def kind(world: World) -> OciVault:
    return world.open()


# What breaks.


@pytest.mark.slow
@pytest.mark.parametrize("operation", WRITES + READS)
@pytest.mark.parametrize(
    "effect", ["lost_before", "lost_after", "truncated", "garbage", "throttle", "incorrect_state"]
)
def test_whichever_answer_is_lost_repeating_gets_there(
    world: World, kind: OciVault, operation: str, effect: str
) -> None:
    for nth in (1, 2, 3):
        world.break_on(effect, operation, nth=nth)
    lived(kind)
    well_lived(world, kind)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_in_any_weather_repeating_gets_there(world: World, kind: OciVault, seed: int) -> None:
    world.sandbox.faults = FaultPlan(seed)
    for effect in ("lost_before", "lost_after", "throttle", "incorrect_state"):
        world.break_on(effect, "*", chance=0.05)
    lived(kind)
    well_lived(world, kind)


def test_an_answer_that_was_lost_after_the_upload_adds_no_second_version(
    world: World, kind: OciVault
) -> None:
    kind.put("genai", 7, Secret("seven"))
    world.break_on("lost_after", "UpdateSecret", count=1)
    kind.put("genai", 8, Secret("eight"))
    assert sorted(world.secret["names"].values()) == ["keyman-7", "keyman-8", "keyman-nothing"]


@pytest.mark.parametrize("stale", [0, 3])
def test_a_creation_whose_answer_was_lost_is_found(
    world: World, kind: OciVault, stale: int
) -> None:
    world.sandbox.behaviour = replace(world.sandbox.behaviour, stale_reads=stale)
    world.break_on("lost_after", "CreateSecret", count=1)
    kind.put("genai", 8, Secret("eight"))
    assert kind.get("genai", 8) == Secret("eight")
    assert list(world.sandbox.truth()) == ["keyman-genai"]


def test_a_list_that_lags_behind_a_lost_upload_adds_no_second_version(
    world: World, kind: OciVault
) -> None:
    kind.put("genai", 7, Secret("seven"))
    world.sandbox.behaviour = replace(world.sandbox.behaviour, stale_reads=4)
    world.break_on("lost_after", "UpdateSecret", count=1)
    kind.put("genai", 8, Secret("eight"))
    assert sorted(world.secret["names"].values()) == ["keyman-7", "keyman-8", "keyman-nothing"]


@pytest.mark.parametrize("status", [400, 409])
def test_a_name_that_holds_another_secret_is_passed_by(
    world: World, kind: OciVault, status: int
) -> None:
    kind.put("genai", 7, Secret("seven"))
    world.upload_by_hand(b"another", "keyman-8")
    world.sandbox.behaviour = replace(world.sandbox.behaviour, taken_name=status)
    secret = world.sandbox.secret("keyman-genai")
    secret.before, secret.stale = copy.deepcopy(secret), 6
    del secret.before.versions[-1]  # nobody lists it yet
    kind.put("genai", 8, Secret("eight"))
    assert kind.get("genai", 8) == Secret("eight")


@pytest.mark.parametrize("status", [400, 409])
def test_a_name_that_stays_taken_by_what_is_destroyed_is_passed_by(
    world: World, kind: OciVault, status: int
) -> None:
    answers = replace(world.sandbox.behaviour, destroyed_names_stay_taken=True, taken_name=status)
    world.sandbox.behaviour = answers
    kind.put("genai", 7, Secret("seven"))
    kind.put("genai", 8, Secret("eight"))
    kind.drop("genai", 7)
    world.sandbox.time_shift += timedelta(days=3)
    kind.put("genai", 7, Secret("again"))
    assert kind.get("genai", 7) == Secret("again")


@pytest.mark.slow
def test_a_secret_that_stays_busy_is_waited_for_and_then_left(world: World, kind: OciVault) -> None:
    kind.put("genai", 7, Secret("seven"))
    secret = world.sandbox.secret("keyman-genai")
    secret.busy_as, secret.busy_until = "UPDATING", world.sandbox.now() + timedelta(seconds=0.4)
    kind.put("genai", 8, Secret("eight"))
    secret.busy_until = world.sandbox.now() + timedelta(hours=1)
    with pytest.raises(StoreFailed, match="stays busy") as refused:
        kind.put("genai", 9, Secret("nine"))
    assert "tries again" in refused.value.hint
    assert kind.get("genai", 8) == Secret("eight")


def test_throttled_it_fails_at_once_and_changes_nothing(world: World, kind: OciVault) -> None:
    kind.put("genai", 7, Secret("seven"))
    before = world.secret
    world.break_on("throttle", "UpdateSecret", retry_after=30)
    with pytest.raises(StoreFailed, match="429"):
        kind.put("genai", 8, Secret("eight"))
    assert world.operations()[-1] == "UpdateSecret"
    assert world.secret == before


def test_a_vault_out_of_reach_is_said_to_be(world: World) -> None:
    closed = world.open(management="http://127.0.0.1:9", retrieval="http://127.0.0.1:9")
    for act in (
        partial(closed.ready, "genai"),
        partial(closed.put, "genai", 1, Secret("x")),
        partial(closed.get, "genai", 1),
        partial(closed.drop, "genai", 1),
        closed.list,
        partial(closed.point, "genai", 1),
        partial(closed.pointed, "genai"),
    ):
        with pytest.raises(StoreFailed, match="nobody answers there"):
            act()


def test_an_address_that_leads_elsewhere_names_the_keys_of_the_store(
    world: World, kind: OciVault
) -> None:
    world.break_on("status", "ListSecrets", status=307, body="elsewhere")
    with pytest.raises(StoreFailed) as refused:
        kind.ready("genai")
    assert "`management` and `retrieval`" in refused.value.hint


# Permissions, and what `ready` knows beforehand.


@pytest.mark.parametrize("status", [404, 403])
@pytest.mark.parametrize(
    ("forbidden", "statement"),
    [
        ("ListSecrets", "manage secret-family"),
        ("GetSecret", "manage secret-family"),
        ("ListSecretVersions", "manage secret-family"),
        ("UpdateSecret", "manage secret-family"),
        ("GetSecretBundle", "read secret-bundles"),
    ],
)
def test_ready_names_the_statement_that_is_missing(
    world: World, kind: OciVault, forbidden: str, statement: str, status: int
) -> None:
    kind.put("genai", 7, Secret("seven"))
    kind.ready("genai")
    world.sandbox.behaviour = replace(world.sandbox.behaviour, forbidden_status=status)
    world.sandbox.forbid(forbidden)
    before = world.secret
    with pytest.raises(StoreFailed, match=str(status)) as refused:
        world.open().ready("genai")
    needed = f"`allow group GROUP to {statement} in compartment id {COMPARTMENT}`"
    assert needed in refused.value.hint
    assert world.secret == before


@pytest.mark.parametrize("status", [404, 400])
def test_a_put_without_the_key_names_the_key(world: World, kind: OciVault, status: int) -> None:
    world.sandbox.behaviour = replace(world.sandbox.behaviour, forbidden_key=status)
    world.sandbox.forbid("keys")
    with pytest.raises(StoreFailed) as refused:
        kind.put("genai", 7, Secret("seven"))
    for resource in ("manage secret-family", "use vaults", "use keys"):
        assert f"to {resource} in compartment" in refused.value.hint


@pytest.mark.parametrize("forbidden", WRITES + READS)
def test_without_permission_nothing_is_taken_for_absent_and_nothing_for_done(
    world: World, kind: OciVault, forbidden: str
) -> None:
    kind.put("genai", 7, Secret("seven"))
    kind.point("genai", 7)
    world.sandbox.forbid(forbidden)
    other = world.open()
    if forbidden in READS:
        with pytest.raises(StoreFailed, match="NotAuthorizedOrNotFound"):
            other.get("genai", 7)
    if forbidden == "UpdateSecret":
        for act in (partial(other.drop, "genai", 7), partial(other.point, "genai", None)):
            with pytest.raises(StoreFailed, match="NotAuthorizedOrNotFound"):
                act()
    world.sandbox.forbid()
    assert kind.get("genai", 7) == Secret("seven")


def test_what_cannot_be_destroyed_yet_fails_nobody_and_is_told(
    world: World, kind: OciVault, caplog: pytest.LogCaptureFixture
) -> None:
    world.sandbox.forbid("ScheduleSecretVersionDeletion")
    lived(kind)
    assert kind.list() == [("genai", 3)]
    assert "a version stays for now" in caplog.text
    assert "manage secret-family" in caplog.text
    world.sandbox.forbid()
    well_lived(world, kind)


def test_ready_is_silent_where_a_put_would_do_and_changes_nothing(
    world: World, kind: OciVault
) -> None:
    kind.ready("genai")
    assert world.sandbox.truth() == {}
    kind.put("genai", 7, Secret("seven"))
    before = world.secret, world.sandbox.secret("keyman-genai").etag
    kind.ready("genai")
    assert (world.secret, world.sandbox.secret("keyman-genai").etag) == before


def test_ready_says_that_there_is_no_room(world: World, kind: OciVault) -> None:
    kind.put("genai", 7, Secret("seven"))
    for number in range(28):
        world.upload_by_hand(b"theirs", f"by-hand-{number}")
    with pytest.raises(StoreFailed, match="30 versions") as refused:
        kind.ready("genai")
    assert "keyman did not make" in refused.value.hint
    with pytest.raises(StoreFailed, match="30 versions"):
        kind.put("genai", 8, Secret("eight"))
    kind.put("genai", 7, Secret("seven"))  # is there already
    assert len(world.secret["stages"]) == 30


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 409])
def test_a_smaller_limit_than_documented_is_told_as_it_comes(
    world: World, kind: OciVault, status: int
) -> None:
    answers = replace(world.sandbox.behaviour, active_limit=3, update_at_limit=status)
    world.sandbox.behaviour = answers
    kind.put("genai", 7, Secret("seven"))
    world.upload_by_hand(b"theirs", "by-hand")
    with pytest.raises(StoreFailed, match="LimitExceeded"):
        kind.put("genai", 8, Secret("eight"))


# What is sent, and what is said.


def test_no_update_carries_a_retry_token_and_no_creation_a_secret(
    world: World, kind: OciVault
) -> None:
    lived(kind)
    sent = [headers for operation, headers in world.sandbox.headers if operation in WRITES]
    assert not any("opc-retry-token" in headers for headers in sent)
    first = world.sandbox.secret("keyman-genai").versions[0]
    assert base64.b64decode(first.content).decode() == NOTHING_YET


@pytest.mark.parametrize("operation", [*WRITES, *READS])
def test_no_error_and_no_log_shows_a_secret(
    world: World, kind: OciVault, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    kind.put("genai", 7, Secret("before"))
    encoded = base64.b64encode(CANARY.encode()).decode()
    said = json.dumps({"code": "InvalidParameter", "message": f"{CANARY} or {encoded} is bad"})
    world.break_on("status", operation, status=400, body=said, done=operation != "UpdateSecret")
    for act in (
        partial(kind.put, "genai", 8, Secret(CANARY)),
        partial(kind.put, "other", 8, Secret(CANARY)),
        partial(kind.point, "genai", 8),
        partial(kind.drop, "genai", 8),
        partial(kind.ready, "genai"),
    ):
        try:
            act()
        except StoreFailed as failure:
            told = "".join(traceback.format_exception(failure)) + failure.hint
            assert CANARY not in told
            assert encoded not in told
    assert CANARY not in caplog.text
    assert encoded not in caplog.text


def test_short_words_of_a_secret_are_blotted_out_too(world: World, kind: OciVault) -> None:
    kind.put("genai", 7, Secret("before"))
    said = json.dumps({"code": "InvalidParameter", "message": "hunter2 (aHVudGVyMg==) is bad"})
    world.break_on("status", "UpdateSecret", status=400, body=said)
    with pytest.raises(StoreFailed, match="is bad") as refused:
        kind.put("genai", 8, Secret("hunter2"))
    assert "hunter2" not in refused.value.message
    assert "aHVudGVyMg" not in refused.value.message
