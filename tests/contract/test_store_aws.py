"""The store in AWS Secrets Manager: what direct readers get, whose a secret is, AWS's limits."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyman.core.model import Secret
from keyman.errors import SecretDamaged, StoreFailed
from keyman.stores.aws_secrets_manager import PLACEHOLDER, AwsSecretsManager
from keyman.stores.protocol import Pointing
from tests.contract.aws_world import CURRENT, PENDING, PREVIOUS, World, failing, filled
from tests.contract.aws_world import world as aws_world
from tests.contract.places.aws_secrets_manager import REGION


def tags_of(store: AwsSecretsManager, name: str) -> list[dict[str, str]]:
    """What it gives its own secret of that name."""
    return [{"Key": "keyman", "Value": store._owner}, {"Key": "keyman-name", "Value": name}]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    with aws_world(monkeypatch, tmp_path) as made:
        yield made


def test_a_version_that_is_put_is_not_what_direct_readers_get(world: World) -> None:
    store = filled(world, 1)
    assert isinstance(store, Pointing)
    assert (world.reads(), world.reads(PENDING)) == (PLACEHOLDER, "value 1")
    assert store.pointed("genai") is None
    store.point("genai", 1)
    store.put("genai", 2, Secret("value 2"))
    assert (world.reads(), world.reads(PENDING)) == ("value 1", "value 2")
    assert store.pointed("genai") == 1


def test_who_is_pointed_to_gets_the_bare_secret_and_is_no_longer_pending(world: World) -> None:
    store = filled(world, 1, 2)
    store.point("genai", 2)
    assert (world.reads(), world.reads(PENDING)) == ("value 2", None)
    store.point("genai", 1)
    assert (world.reads(), world.reads(PREVIOUS)) == ("value 1", "value 2")
    assert (store.pointed("genai"), store.list("genai")) == (1, [("genai", 1), ("genai", 2)])


def test_pointed_to_nothing_direct_readers_get_no_secret(world: World) -> None:
    store = filled(world, 1, pointed=1)
    store.point("genai", None)
    assert (world.reads(), store.pointed("genai")) == (PLACEHOLDER, None)
    assert store.get("genai", 1) == Secret("value 1")
    store.point("genai", 1)
    assert world.reads() == "value 1"


def test_the_placeholder_is_made_again_when_aws_has_cleared_it_away(world: World) -> None:
    store = filled(world, 1, 2, pointed=1)
    store.point("genai", 2)
    del world.moto().versions[store._placeholder("genai")]
    world.moto().set_default_version_id(None)
    store.point("genai", None)
    assert (world.reads(), store.pointed("genai")) == (PLACEHOLDER, None)


def test_the_placeholder_keeps_a_label_so_that_aws_does_not_clear_it_away(world: World) -> None:
    store = filled(world, 1, 2, pointed=1)
    store.point("genai", 2)
    assert world.labels()[store._placeholder("genai")] == ["keyman-nothing"]
    assert all(world.labels().values())


def test_pointing_where_it_points_already_changes_nothing(world: World) -> None:
    store = filled(world, 1, pointed=1)
    store.point("genai", 1)
    store.point("never", None)
    assert set(world.wire.calls) == {"DescribeSecret"}
    store.point("genai", None)
    world.wire.heal()
    store.point("genai", None)
    assert set(world.wire.calls) == {"DescribeSecret"}


@pytest.mark.parametrize("number", [2, 11])
def test_what_is_not_stored_can_not_be_pointed_to(world: World, number: int) -> None:
    store = filled(world, 1, pointed=1)
    with pytest.raises(StoreFailed, match="not stored"):
        store.point("genai", number)
    with pytest.raises(StoreFailed, match="not stored"):
        store.point("never", number)
    assert world.reads() == "value 1"


def test_a_strangers_new_current_version_is_noticed_and_replaced(world: World) -> None:
    """Moto then has two with AWSCURRENT, which AWS never has: right under both."""
    store = filled(world, 1, 2, pointed=1)
    world.aws.put_secret_value(SecretId=world.id(), SecretString="by hand")
    assert store.pointed("genai") is None
    store.point("genai", 2)
    assert store.pointed("genai") == 2
    assert [labels for labels in world.labels().values() if CURRENT in labels] == [
        [CURRENT, "keyman-2"]
    ]


@pytest.mark.parametrize("pointed", [1, 2])
def test_dropped_is_given_by_no_label_any_more(world: World, pointed: int) -> None:
    store = filled(world, 1, 2, pointed=1)
    store.point("genai", pointed)
    version = world.version("keyman-1")
    store.drop("genai", 1)
    assert world.labels()[version] == []
    assert world.reads() == (PLACEHOLDER if pointed == 1 else "value 2")
    assert (store.list(), store.get("genai", 1)) == ([("genai", 2)], None)
    assert store.pointed("genai") == (None if pointed == 1 else 2)


def test_dropped_before_it_was_promoted_it_is_not_pending_either(world: World) -> None:
    store = filled(world, 1, 2, pointed=1)
    store.drop("genai", 2)
    assert (world.reads(PENDING), world.reads()) == (None, "value 1")


def test_a_secret_without_any_version_is_not_filled_with_a_current_one(world: World) -> None:
    store = world.store()
    world.aws.create_secret(
        Name=world.id(), Tags=[*tags_of(store, "genai"), {"Key": "x", "Value": "y"}]
    )
    store.point("genai", None)
    store.put("genai", 1, Secret("value 1"))
    assert (world.reads(), store.get("genai", 1)) == (PLACEHOLDER, Secret("value 1"))


def test_the_same_value_again_makes_no_second_version(world: World) -> None:
    store = filled(world, 1)
    before = world.labels()
    store.put("genai", 1, Secret("value 1"))
    assert world.labels() == before
    for value in ("two", "value 1", "two"):
        store.put("genai", 1, Secret(value))
        assert store.get("genai", 1) == Secret(value)
    assert len(world.labels()) == 3


def test_ids_and_tags_tell_nothing_of_value_or_installation(world: World) -> None:
    other = world.store(installation="another", prefix="other-")
    for store in (world.store(), other):
        for name, number in (("genai", 1), ("genai", 2), ("gen", 1)):
            store.put(name, number, Secret("the same"))
    listed = world.aws.get_paginator("list_secrets").paginate()
    mine = [s for page in listed for s in page["SecretList"] if s["Name"].startswith(world.prefix)]
    versions = [version for secret in mine for version in secret["SecretVersionsToStages"]]
    assert len(versions) == len(set(versions)) == 6 + 4  # with a placeholder each
    plain = hashlib.sha256(b"the same").hexdigest()
    assert all(version.replace("-", "")[:8] not in plain for version in versions)
    assert world.installation not in json.dumps(mine, default=str)


def test_what_a_stranger_labelled_as_ours_is_damaged_and_said_so(world: World) -> None:
    store = filled(world, 1, 2)
    world.move("keyman-1", to=world.version("keyman-2"))
    with pytest.raises(SecretDamaged, match="keyman-1") as damaged:
        store.get("genai", 1)
    assert "value" not in damaged.value.message + damaged.value.hint
    assert store.get("genai", 2) == Secret("value 2")
    world.aws.put_secret_value(
        SecretId=world.id(), SecretBinary=b"\xff\xfe", VersionStages=["keyman-3"]
    )
    with pytest.raises(SecretDamaged, match="keyman-3"):
        store.get("genai", 3)
    store.put("genai", 3, Secret("value 3"))
    assert store.get("genai", 3) == Secret("value 3")


@pytest.mark.parametrize("tagged", [True, False])
def test_another_installations_secret_is_left_alone(world: World, tagged: bool) -> None:
    store = filled(world, 1, pointed=1)
    if not tagged:
        world.aws.untag_resource(SecretId=world.id(), TagKeys=["keyman"])
    before, other = world.labels(), world.store(installation="another" if tagged else None)
    for refused in (
        lambda: other.put("genai", 2, Secret("theirs")),
        lambda: other.point("genai", 1),
        lambda: other.point("genai", None),
        lambda: other.ready("genai"),
    ):
        told = failing(refused)
        assert "not of this installation" in told.message
        assert "prefix" in told.hint
        assert f"keyman={other._owner} and keyman-name=genai" in told.hint
    other.drop("genai", 1)
    assert (other.pointed("genai"), other.list(), world.labels()) == (None, [], before)
    assert store.get("genai", 1) == Secret("value 1")  # a value proves itself, tagged or not
    assert other.get("genai", 1) == (None if tagged else Secret("value 1"))


@pytest.mark.slow
def test_of_two_stores_with_prefixes_that_begin_alike_one_has_the_secret(world: World) -> None:
    first, second = world.store(), world.store(prefix="a-")
    first.put("a-b", 1, Secret("value 1"))
    first.point("a-b", 1)
    before, asked = world.labels("a-b"), len(world.wire.calls)
    for refused in (
        lambda: second.ready("b"),
        lambda: second.put("b", 1, Secret("value 2")),
        lambda: second.point("b", 1),
        lambda: second.point("b", None),
    ):
        told = failing(refused)
        assert told.message == f"{world.id('a-b')} at AWS is another credential's: 'a-b'"
        assert "`prefix`" in told.hint
    second.drop("b", 1)
    assert set(world.wire.calls[asked:]) == {"DescribeSecret"}
    asked = len(world.wire.calls)
    assert second.list() == []
    assert world.wire.calls[asked:] == ["ListSecrets"]
    assert (second.get("b", 1), second.list("b")) == (None, [])
    assert (second.pointed("b"), second.read_current("b")) == (None, None)
    assert (world.labels("a-b"), world.reads(name="a-b")) == (before, "value 1")
    assert (first.list(), first.get("a-b", 1)) == ([("a-b", 1)], Secret("value 1"))
    second.put("c", 1, Secret("value 3"))
    assert (first.list(), second.list()) == ([("a-b", 1)], [("c", 1)])


def test_a_secret_that_does_not_say_whose_credential_s_it_is_stays_until_it_does(
    world: World,
) -> None:
    """As one made by hand, or by a keyman of before that tag."""
    store = filled(world, 1, pointed=1)
    world.aws.untag_resource(SecretId=world.id(), TagKeys=["keyman-name"])
    before = world.labels()
    for refused in (
        lambda: store.ready("genai"),
        lambda: store.put("genai", 2, Secret("value 2")),
        lambda: store.point("genai", 1),
        lambda: store.drop("genai", 1),
        lambda: store.pointed("genai"),
        lambda: store.list("genai"),
        store.list,
    ):
        told = failing(refused)
        assert "does not say which credential it is of" in told.message
        assert f"tag-resource --secret-id {world.id()} --region {REGION}" in told.hint
        assert told.hint.endswith("--tags Key=keyman-name,Value=genai")
    assert store.get("genai", 1) == Secret("value 1")
    assert world.labels() == before
    world.aws.tag_resource(SecretId=world.id(), Tags=tags_of(store, "genai"))
    store.put("genai", 2, Secret("value 2"))
    assert store.list() == [("genai", 1), ("genai", 2)]


def test_a_secret_about_to_be_deleted_is_neither_used_nor_made_again(world: World) -> None:
    store = filled(world, 1, pointed=1)
    world.aws.delete_secret(SecretId=world.id(), RecoveryWindowInDays=7)
    for refused in (
        lambda: store.ready("genai"),
        lambda: store.put("genai", 2, Secret("value 2")),
        lambda: store.get("genai", 1),
        lambda: store.point("genai", 1),
        lambda: store.drop("genai", 1),
        lambda: store.list("genai"),
        lambda: store.pointed("genai"),
    ):
        restore = f"restore-secret --secret-id {world.id()} --region {REGION}"
        assert restore in failing(refused).hint
    assert "CreateSecret" not in world.wire.calls
    world.aws.restore_secret(SecretId=world.id())
    store.put("genai", 2, Secret("value 2"))
    assert store.list() == [("genai", 1), ("genai", 2)]


def test_ready_and_put_refuse_before_awss_labels_run_out(world: World) -> None:
    store = filled(world, *range(1, 17))
    for refused in (
        lambda: store.ready("genai"),
        lambda: store.put("genai", 17, Secret("value 17")),
    ):
        told = failing(refused)
        assert "20 labels" in told.message
        assert "keyman status genai" in told.hint
    assert set(world.wire.calls) == {"DescribeSecret"}
    store.put("genai", 16, Secret("another"))
    store.point("genai", 1)
    store.point("genai", None)
    store.point("genai", 16)
    assert len({label for labels in world.labels().values() for label in labels}) <= 20
    store.drop("genai", 1)
    store.ready("genai")
    store.put("genai", 17, Secret("value 17"))


def test_ready_changes_nothing(world: World) -> None:
    store = world.store()
    store.ready("genai")
    assert store.list() == []
    changes: list[Callable[[], None]] = [
        lambda: store.put("genai", 1, Secret("value 1")),
        lambda: store.point("genai", 1),
        lambda: store.put("genai", 2, Secret("value 2")),
        lambda: store.point("genai", None),
    ]
    for change in changes:
        change()
        before = world.labels()
        store.ready("genai")
        assert world.labels() == before


@pytest.mark.slow
def test_the_list_goes_over_all_pages_and_takes_only_ours(world: World) -> None:
    store = world.store()
    names = [f"n{n:03}" for n in range(105)]
    for name in [*names, "deeper/genai", "Capital", "n"]:
        made = world.aws.create_secret(
            Name=world.id(name), SecretString="x", Tags=tags_of(store, name)
        )
        world.aws.update_secret_version_stage(
            SecretId=world.id(name), VersionStage="keyman-7", MoveToVersionId=made["VersionId"]
        )
    outside = f"x{world.id()}"
    world.aws.create_secret(Name=outside, SecretString="x", Tags=tags_of(store, "genai"))
    world.aws.create_secret(Name=world.id("strangers"), SecretString="x")
    assert store.list() == [(name, 7) for name in sorted([*names, "n"])]
    assert world.wire.calls.count("DescribeSecret") == 106  # a stranger's is not asked about


@pytest.mark.parametrize("label", ["keyman-01", "keyman-", "keyman--1", "keyman-1x", "Keyman-1"])
def test_labels_that_are_no_numbers_of_ours_are_not_listed(world: World, label: str) -> None:
    store = filled(world, 2)
    world.aws.put_secret_value(SecretId=world.id(), SecretString="x", VersionStages=[label])
    assert store.list() == [("genai", 2)]


def test_opened_for_reading_only_it_changes_nothing(world: World) -> None:
    filled(world, 1, pointed=1)
    reader = world.store(read_only=True)
    for refused in (
        lambda: reader.ready("genai"),
        lambda: reader.put("genai", 2, Secret("value 2")),
        lambda: reader.drop("genai", 1),
        lambda: reader.point("genai", None),
    ):
        assert "reading only" in failing(refused).message
    assert world.wire.calls == []
    assert reader.get("genai", 1) == Secret("value 1")
    assert (reader.list(), reader.pointed("genai")) == ([("genai", 1)], 1)


def test_a_key_of_ones_own_encrypts_what_is_made(world: World) -> None:
    world.store(kms_key_id="alias/ours").put("genai", 1, Secret("value 1"))
    assert world.aws.describe_secret(SecretId=world.id())["KmsKeyId"] == "alias/ours"
