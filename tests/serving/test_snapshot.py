"""What is answered for a record, and that nobody reads anything in between or out of order."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyman import errors
from keyman.core.model import Credential, Secret, Spec, Stage, Version
from keyman.providers.protocol import Lookup
from keyman.serving.snapshot import Answer, Handout, Snapshot, answer_for
from tests.serving.world import CANARY, START, SetClock, nothing_usable, secret_of, version_is

LOOKUP = Lookup(base_url="https://inference.example/v1", principal="svc", quota_project="quota")


def version(number: int, stage: Stage, **more: Any) -> Version:
    return Version(number, stage, f"attempt-{number}", START, START + timedelta(days=1), **more)


def record(*versions: Version, **spec: Any) -> Credential:
    return Credential(Spec("genai", "oci-genai", **spec), versions, revision=3)


SECRETS = {number: Secret(secret_of("genai", number)) for number in (6, 7)}
CURRENT = version(7, Stage.CURRENT, slot="key-one")
PREVIOUS = version(6, Stage.PREVIOUS, slot="key-two")


def answer(credential: Credential, *, now: timedelta = timedelta()) -> Answer:
    return answer_for(credential, SECRETS, LOOKUP, START + now)


def test_the_current_and_the_previous_version_are_handed_out_with_all_they_need() -> None:
    said = answer(record(PREVIOUS, CURRENT))
    assert isinstance(said.current, Handout)
    assert said.current.as_json() == {
        "name": "genai",
        "value": secret_of("genai", 7),
        "version": 7,
        "slot": "key-one",
        "stage": "current",
        "expires_at": "2026-11-22T09:00:00Z",
        "base_url": "https://inference.example/v1",
        "provider": "oci-genai",
        "principal": "svc",
        "quota_project": "quota",
    }
    assert isinstance(said.previous, Handout)
    assert (said.previous.version, said.previous.stage) == (6, "previous")
    assert said.revision == 3


@pytest.mark.parametrize(
    ("case", "current"),
    [
        ("expired", replace(CURRENT, expires_at=START)),
        ("known to be dead", replace(CURRENT, dead_at=START)),
        ("leaked, revoked first", replace(CURRENT, compromised_at=START, revoke_first=True)),
        ("its secret is not in the store", replace(CURRENT, number=8)),
        ("never promoted", replace(CURRENT, stage=Stage.PENDING)),
        ("switched off", replace(CURRENT, stage=Stage.RETIRED)),
    ],
)
def test_a_version_that_must_not_be_handed_out_is_an_error(case: str, current: Version) -> None:
    said = answer(record(PREVIOUS, current))
    assert type(said.current) is errors.NoUsableSecret
    assert said.current.retry_after
    assert isinstance(said.previous, Handout), "the previous one stands by itself"


def test_a_leaked_version_is_handed_out_until_its_replacement_is_there() -> None:
    said = answer(record(replace(CURRENT, compromised_at=START)))
    assert isinstance(said.current, Handout)


@pytest.mark.parametrize(
    ("case", "current", "standing"),
    [
        ("as it should be", CURRENT, 7),
        ("our store does not answer", replace(CURRENT, number=8), 8),
        ("our store lost it", replace(CURRENT, stored=False), 7),
        ("leaked, its replacement not there yet", replace(CURRENT, compromised_at=START), 0),
        ("known to be dead", replace(CURRENT, dead_at=START), 0),
        ("expired", replace(CURRENT, expires_at=START), 0),
        ("out of a backup", replace(CURRENT, restored_at=START), 0),
        ("destroyed", replace(CURRENT, stage=Stage.REVOKED), 0),
    ],
)
def test_who_holds_a_version_goes_on_alone_unless_something_speaks_against_it(
    case: str, current: Version, standing: int
) -> None:
    assert answer(record(PREVIOUS, current)).standing == standing


def test_a_dead_previous_version_is_not_handed_out_either() -> None:
    said = answer(record(replace(PREVIOUS, dead_at=START), CURRENT))
    assert isinstance(said.previous, errors.NoUsableSecret)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"key_id": "ocid1.x"}, errors.NotAdopted),
        ({"issues": False}, errors.NotAdopted),
        ({}, errors.NoUsableSecret),
    ],
)
def test_before_the_first_version_the_answer_says_what_is_missing(
    spec: dict[str, Any], expected: type[errors.Error]
) -> None:
    assert type(answer(record(**spec)).current) is expected


def test_an_answer_of_an_older_revision_never_replaces_a_newer_one() -> None:
    snapshot = Snapshot(SetClock())
    snapshot.publish("genai", version_is("genai", 8))
    snapshot.publish("genai", version_is("genai", 7))
    assert snapshot.look_up("genai").version == 8
    snapshot.publish("genai", nothing_usable(9))
    with pytest.raises(errors.NoUsableSecret):
        snapshot.look_up("genai")


def test_the_same_revision_may_be_published_again() -> None:
    """A reload changes what is said beside the secret, and the record stays as it is."""
    snapshot = Snapshot(SetClock())
    first = version_is("genai", 7)
    assert isinstance(first.current, Handout)
    snapshot.publish("genai", first)
    moved = replace(first.current, lookup=Lookup(base_url="https://elsewhere.example"))
    snapshot.publish("genai", replace(first, current=moved))
    said = json.loads(snapshot.look_up("genai").json.body)
    assert said["base_url"] == "https://elsewhere.example"


def test_expiry_is_seen_by_the_lookup_itself() -> None:
    clock = SetClock()
    snapshot = Snapshot(clock)
    snapshot.publish("genai", version_is("genai", 7, expires_at=START + timedelta(seconds=1)))
    assert snapshot.look_up("genai").version == 7
    assert snapshot.wire("genai", plain=True)
    clock.wall += timedelta(seconds=1)
    with pytest.raises(errors.NoUsableSecret, match="expired"):
        snapshot.look_up("genai")
    assert snapshot.wire("genai", plain=True) is None


def test_a_withdrawn_name_is_unknown() -> None:
    snapshot = Snapshot(SetClock())
    snapshot.publish("genai", version_is("genai", 7))
    snapshot.withdraw("genai")
    with pytest.raises(errors.NotFound):
        snapshot.look_up("genai")
    assert not snapshot.knows("genai")
    snapshot.publish("genai", version_is("genai", 1))
    assert snapshot.look_up("genai").version == 1


def test_raising_an_answer_gathers_no_frames_on_the_object_that_is_kept() -> None:
    error = errors.NotAdopted("genai: nobody has", hint="adopt it")
    snapshot = Snapshot(SetClock())
    snapshot.publish("genai", nothing_usable(1, error))
    with pytest.raises(errors.NotAdopted) as raised:
        snapshot.look_up("genai")
    assert (raised.value.message, raised.value.hint) == (error.message, error.hint)
    assert error.__traceback__ is None


def test_no_secret_in_what_is_printed_of_an_answer() -> None:
    assert CANARY not in repr(version_is("genai", 7, previous=6))
