"""The store in AWS Secrets Manager when calls or their answers are lost, late, cut or refused."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyman.core.model import Secret
from keyman.errors import StoreFailed
from keyman.stores.aws_secrets_manager import PLACEHOLDER, AwsSecretsManager
from tests.contract import aws_between as faults
from tests.contract.aws_world import CANARY, PENDING, PREVIOUS, World, failing, fill, filled
from tests.contract.aws_world import world as aws_world
from tests.contract.places.aws_secrets_manager import moto

pytestmark = pytest.mark.slow


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    with aws_world(monkeypatch, tmp_path) as made:
        yield made


Act = Callable[[AwsSecretsManager, str], None]
# What is put first, which is current, what is done, what direct readers may get meanwhile (the last
# one: afterwards).
ACTS: dict[str, tuple[tuple[int, ...], int | None, Act, tuple[str, ...]]] = {
    "the first put": ((), None, lambda s, n: s.put(n, 1, Secret("value 1")), (PLACEHOLDER,)),
    "a put": ((1,), 1, lambda s, n: s.put(n, 2, Secret("value 2")), ("value 1",)),
    "another value": ((1, 2), 2, lambda s, n: s.put(n, 1, Secret("other")), ("value 2",)),
    "a first pointing": ((1,), None, lambda s, n: s.point(n, 1), (PLACEHOLDER, "value 1")),
    "a pointing": ((1, 2), 1, lambda s, n: s.point(n, 2), ("value 1", "value 2")),
    "to nothing": ((1, 2), 2, lambda s, n: s.point(n, None), ("value 2", PLACEHOLDER)),
    "a drop": ((1, 2), 2, lambda s, n: s.drop(n, 1), ("value 2",)),
    "a drop of the current": ((1,), 1, lambda s, n: s.drop(n, 1), ("value 1", PLACEHOLDER)),
}
BREAKS = [faults.lost_before, faults.lost_after, faults.cut_short]


@pytest.mark.slow
@pytest.mark.parametrize("act", ACTS)
def test_whatever_call_fails_and_however_it_is_simply_done_again(world: World, act: str) -> None:
    """Every call of every operation, broken in every way."""
    numbers, pointed, do, readable = ACTS[act]
    calm, broken, nth = world.plain(), world.store(), 0
    while len(world.wire.calls) >= nth:  # as many as the one before took
        for how, fault in enumerate(BREAKS):
            name = f"genai-{nth}-{how}"
            fill(calm, name, *numbers, pointed=pointed)
            world.wire.heal()
            world.wire.break_call(fault, nth=nth)
            done = done_in_spite_of_it(do, broken, name)
            assert world.reads(name=name) in ((None, *readable) if not numbers else readable)
            assert 2 not in numbers or calm.get(name, 2) == Secret("value 2")  # untouched by all
            if not done:
                do(calm, name)
            assert_done(act, calm, name)
            assert world.reads(name=name) == readable[-1]
            if "drop" in act:
                assert "value 1" not in (world.reads(PENDING, name), world.reads(PREVIOUS, name))
        nth += 1
    assert nth > 2


def done_in_spite_of_it(do: Act, store: AwsSecretsManager, name: str) -> bool:
    try:
        do(store, name)
    except StoreFailed:
        return False
    return True


def assert_done(act: str, store: AwsSecretsManager, name: str) -> None:
    one = store.get(name, 1)
    assert one == {"a drop": None, "a drop of the current": None}.get(
        act, Secret("other" if act == "another value" else "value 1")
    )
    two = act not in ("the first put", "a first pointing", "a drop of the current")
    numbers = ([] if one is None else [1]) + ([2] if two else [])
    assert store.list(name) == [(name, number) for number in numbers]
    pointed = {"a put": 1, "a first pointing": 1, "a pointing": 2, "another value": 2, "a drop": 2}
    assert store.pointed(name) == pointed.get(act)


@pytest.mark.parametrize("fault", [faults.garbled, faults.cut_short])
@pytest.mark.parametrize(
    ("operation", "act"),
    [
        ("GetSecretValue", lambda s: s.get("genai", 1)),
        ("DescribeSecret", lambda s: s.drop("genai", 1)),
        ("DescribeSecret", lambda s: s.pointed("genai")),
        ("ListSecrets", lambda s: s.list()),
    ],
)
def test_an_answer_that_makes_no_sense_is_not_taken_for_nothing(
    world: World, fault: faults.Fault, operation: str, act: Callable[[AwsSecretsManager], object]
) -> None:
    store = filled(world, 1, pointed=1)
    world.wire.break_call(fault, of=operation)
    failing(lambda: act(store))


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        faults.lost_before,
        faults.lost_after,
        faults.refused("ThrottlingException"),
        faults.refused("ServiceUnavailable", 503),
    ],
)
def test_what_passes_by_itself_is_not_noticed(world: World, fault: faults.Fault) -> None:
    filled(world, 1, pointed=1)
    store = world.store(attempts=2)
    world.wire.break_call(fault, of="PutSecretValue")
    world.wire.break_call(fault, of="UpdateSecretVersionStage")
    store.put("genai", 2, Secret("value 2"))
    world.wire.break_call(fault, of="UpdateSecretVersionStage")
    store.point("genai", 2)
    assert (store.pointed("genai"), len(world.labels())) == (2, 3)


def test_a_put_that_aws_carries_out_late_takes_no_number_along(world: World) -> None:
    store, late = filled(world, 1, pointed=1), faults.Held()
    world.wire.break_call(late, of="PutSecretValue")
    failing(lambda: store.put("genai", 2, Secret("lost")))
    store.put("genai", 2, Secret("value 2"))
    store.point("genai", 2)
    assert late.arrive() == 200
    assert (store.get("genai", 2), world.reads()) == (Secret("value 2"), "value 2")
    assert store.list() == [("genai", 1), ("genai", 2)]


def test_a_promotion_that_aws_carries_out_late_is_refused(world: World) -> None:
    store, late = filled(world, 1, 2, 3, pointed=1), faults.Held()
    world.wire.break_call(late, of="UpdateSecretVersionStage")
    failing(lambda: store.point("genai", 2))
    store.point("genai", 3)
    assert late.arrive() == 400
    assert (world.reads(), store.pointed("genai")) == ("value 3", 3)


@pytest.mark.parametrize("ours", [True, False])
def test_a_secret_that_somebody_else_made_meanwhile_is_used_if_it_is_ours(
    world: World, ours: bool
) -> None:
    other = world.store(endpoint=moto(), installation=None if ours else "another")

    def faster(call: faults.Call) -> None:
        other.put("genai", 1, Secret("value 1"))
        faults.none(call)

    store = world.store()
    world.wire.break_call(faster, of="CreateSecret")
    if ours:
        store.put("genai", 2, Secret("value 2"))
        assert store.list() == [("genai", 1), ("genai", 2)]
    else:
        told = failing(lambda: store.put("genai", 2, Secret("value 2")))
        assert "not of this installation" in told.message


def test_a_secret_that_another_credential_made_meanwhile_is_not_used(world: World) -> None:
    first, tokens = world.store(endpoint=moto()), set[str]()

    def faster(call: faults.Call) -> None:
        first.put("a-b", 1, Secret("value 1"))
        tokens.add(json.loads(call.body)["ClientRequestToken"])
        faults.none(call)

    world.wire.break_call(faster, of="CreateSecret")
    told = failing(lambda: world.store(prefix="a-").put("b", 1, Secret("value 2")))
    assert "another credential's: 'a-b'" in told.message
    assert (first.get("a-b", 1), world.reads(PENDING, "a-b")) == (Secret("value 1"), "value 1")
    # AWS takes a creation with a token that it knows for a repetition, whatever its tags.
    assert not tokens & {*world.labels("a-b")}


def test_what_was_just_written_may_be_absent_for_a_moment(world: World) -> None:
    store = world.store()
    for operation in ("PutSecretValue", "UpdateSecretVersionStage", "GetSecretValue"):
        world.wire.break_call(faults.absent, of=operation)
    store.put("genai", 1, Secret("value 1"))
    assert (store.get("genai", 1), len(world.labels())) == (Secret("value 1"), 2)


@pytest.mark.slow
def test_what_never_comes_back_was_not_kept(world: World) -> None:
    store = filled(world, 1)
    world.wire.break_all(faults.absent, of="GetSecretValue")
    assert "did not give back" in failing(lambda: store.put("genai", 2, Secret(CANARY))).message


def test_absent_is_told_by_one_call(world: World) -> None:
    store = filled(world, 1)
    assert (store.get("genai", 2), store.get("never", 1)) == (None, None)
    assert world.wire.calls == ["GetSecretValue"] * 2


def test_whose_it_is_is_asked_once(world: World) -> None:
    made = world.store()
    made.put("new", 1, Secret("value 1"))
    world.wire.heal()
    made.get("new", 1)
    assert world.wire.calls == ["GetSecretValue"]
    filled(world, 1, 2)
    store = world.store()
    assert (store.get("genai", 1), store.get("genai", 2)) == (Secret("value 1"), Secret("value 2"))
    assert sorted(world.wire.calls) == ["DescribeSecret", "GetSecretValue", "GetSecretValue"]


def test_an_answer_that_never_comes_is_not_waited_for(world: World) -> None:
    filled(world, 1)
    store, silence = world.store(timeout=0.3), faults.Silence()
    world.wire.break_call(silence, of="GetSecretValue")
    told = failing(lambda: store.get("genai", 1))
    silence.over.set()
    assert "ReadTimeoutError" in told.message
    assert "network" in told.hint


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["GetSecretValue", "ListSecrets"])
def test_an_answer_that_trickles_in_is_given_up(world: World, operation: str) -> None:
    filled(world, 1)
    store = world.store(timeout=2.0)
    store.get("genai", 1)  # entering has a time of its own
    world.wire.break_call(faults.Trickle(0.25, 60), of=operation)
    told = failing(lambda: store.list() if operation == "ListSecrets" else store.get("genai", 1))
    assert "no whole answer within 3 s" in told.message
    assert "network" in told.hint
    assert store.get("genai", 1) == Secret("value 1")
