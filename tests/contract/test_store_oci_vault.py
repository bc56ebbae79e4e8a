"""OCI Vault as a store: what Oracle's documents leave open, what breaks, and who may read what."""

import contextlib
import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from keyman.clock import new_id
from keyman.core.model import Secret
from keyman.errors import SecretDamaged, StoreFailed
from keyman.sandbox.oci_vault_behaviour import VaultBehaviour
from keyman.stores.oci_vault import OciVault
from keyman.stores.oci_vault_changes import NOTHING_YET
from keyman.stores.protocol import Pointing
from tests.contract import test_store as contract
from tests.contract.oci_vault_world import WRITES, World, opened_in
from tests.contract.places.oci_vault import options_of, vault
from tests.contract.store_process import ROOT
from tests.contract.test_store import Place


def contrary() -> VaultBehaviour:
    """Every question answered the other way than kindly."""
    asked = [each for each in fields(VaultBehaviour) if "answers" in each.metadata]
    return VaultBehaviour(**{each.name: each.metadata["answers"][-1] for each in asked})


VAULTS = {"contrary": contrary()} | {
    f"seed-{seed}": VaultBehaviour.from_seed(seed, pace=0.2) for seed in (3, 5)
}


# The contract suite, over vaults that answer the open questions in other ways.

store = contract.store
test_a_reader_in_another_process_sees_whole_values_in_order = (
    contract.test_a_reader_in_another_process_sees_whole_values_in_order
)
test_absent_is_none = contract.test_absent_is_none
test_another_installation_sees_nothing = contract.test_another_installation_sees_nothing
test_dropped_is_gone_and_dropping_again_is_harmless = (
    contract.test_dropped_is_gone_and_dropping_again_is_harmless
)
test_putting_twice_is_harmless_and_putting_another_replaces = (
    contract.test_putting_twice_is_harmless_and_putting_another_replaces
)
test_reopened_it_has_everything = contract.test_reopened_it_has_everything
test_threads_share_one_store = contract.test_threads_share_one_store
test_two_processes_put_at_once_and_nothing_is_lost = (
    contract.test_two_processes_put_at_once_and_nothing_is_lost
)
test_what_is_kept_after_closing_is_what_durable_promises = (
    contract.test_what_is_kept_after_closing_is_what_durable_promises
)
test_what_was_put_comes_back = contract.test_what_was_put_comes_back


def all_in_time() -> list[Any]:
    """The contrary one at once, the others where all is run."""
    others = sorted(VAULTS.keys() - {"contrary"})
    return ["contrary", *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


@pytest.fixture(params=all_in_time())
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    sandbox = vault(request, VAULTS[request.param])
    options = {"installation": new_id(), "home": request.getfixturevalue("tmp_path")}
    found = Place("oci-vault", options | options_of(sandbox))
    yield found
    for opened in found.opened:
        opened.close()


@pytest.fixture
def durable(place: Place) -> Place:
    return place


def test_an_empty_secret_is_kept_even_where_nothing_empty_can_be(store: OciVault) -> None:
    store.put("genai", 1, Secret(""))
    assert store.get("genai", 1) == Secret("")


@pytest.mark.slow
def test_a_life_of_rotations_ends_with_what_was_last_promoted(store: OciVault) -> None:
    for number in range(1, 6):
        store.ready("genai")
        store.put("genai", number, Secret(f"secret {number}"))
        assert store.pointed("genai") == (number - 1 or None)
        store.point("genai", number)
        assert store.pointed("genai") == number
        if number > 2:
            store.drop("genai", number - 2)
    assert store.list() == [("genai", 4), ("genai", 5)]
    store.point("genai", None)
    assert store.pointed("genai") is None
    assert store.get("genai", 5) == Secret("secret 5")


# What is true of every vault, tried with the kindest.


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened_in(tmp_path) as made:
        yield made


@pytest.fixture
def kind(world: World) -> OciVault:
    return world.open()


def test_opening_asks_nobody_and_loads_no_sdk(world: World) -> None:
    options = {**world.options, "timeout": None}
    program = (
        "import json, sys; from keyman.stores import open_store;"
        "given = json.load(sys.stdin); given.pop('timeout'); open_store('oci-vault', given);"
        "sys.exit('oci' in sys.modules)"
    )
    told = json.dumps(options, default=str)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, input=told, text=True, check=False)
    assert done.returncode == 0
    assert world.sandbox.calls() == []


def test_it_can_point(kind: OciVault) -> None:
    assert isinstance(kind, Pointing)


def test_direct_readers_get_what_was_pointed_at_and_before_that_nothing(
    world: World, kind: OciVault
) -> None:
    kind.put("genai", 7, Secret("seven"))
    assert world.as_a_direct_reader() == NOTHING_YET
    kind.point("genai", 7)
    kind.put("genai", 8, Secret("eight"))
    assert (world.as_a_direct_reader(), kind.pointed("genai")) == ("seven", 7)
    kind.point("genai", 8)
    assert world.as_a_direct_reader() == "eight"
    assert world.as_a_direct_reader(stage="PREVIOUS") == "seven"
    kind.point("genai", None)
    assert (world.as_a_direct_reader(), kind.pointed("genai")) == (NOTHING_YET, None)
    assert kind.list("genai") == [("genai", 7), ("genai", 8)]


def test_pointing_again_changes_nothing(world: World, kind: OciVault) -> None:
    kind.point("never", None)
    kind.put("genai", 7, Secret("seven"))
    for number in (7, 7, None, None):
        kind.point("genai", number)
        before = len(world.sandbox.calls())
        kind.point("genai", number)
        assert not set(world.operations(before)) & set(WRITES)


@pytest.mark.parametrize("name", ["genai", "never"])
def test_what_is_not_there_can_not_be_pointed_at(kind: OciVault, name: str) -> None:
    kind.put("genai", 7, Secret("seven"))
    with pytest.raises(StoreFailed, match="no version 9"):
        kind.point(name, 9)


def test_every_moment_shows_nothing_or_what_was_pointed_at(world: World, kind: OciVault) -> None:
    for number in range(1, 5):
        kind.put("genai", number, Secret(f"never {number}"))
        kind.put("genai", number, Secret(f"secret {number}"))
        if number % 2:
            kind.point("genai", number)
        kind.drop("genai", number - 2)
    kind.point("genai", None)
    assert set(world.sandbox.shown) == {NOTHING_YET, "secret 1", "secret 3"}


@pytest.mark.slow
def test_the_vault_holds_few_versions_however_often_it_rotates(
    world: World, kind: OciVault
) -> None:
    for number in range(1, 46):
        kind.put("genai", number, Secret(f"secret {number}"))
        kind.point("genai", number)
        kind.drop("genai", number - 2)
        world.sandbox.time_shift += timedelta(hours=1)
        assert len(world.secret["stages"]) <= 4
    assert kind.list() == [("genai", 44), ("genai", 45)]
    assert len(world.secret["tags"]["keyman-dropped"]) < 20


@pytest.mark.slow
def test_more_rotations_than_can_be_pending_deletion_wait_for_room(
    world: World, kind: OciVault
) -> None:
    def rotate(number: int) -> None:
        kind.ready("genai")
        kind.put("genai", number, Secret(f"secret {number}"))
        kind.point("genai", number)
        kind.drop("genai", number - 2)

    done = 0
    with contextlib.suppress(StoreFailed):
        while True:
            rotate(done + 1)
            done += 1
    assert done > 50
    assert kind.get("genai", done) == Secret(f"secret {done}")
    with pytest.raises(StoreFailed, match="all that OCI allows"):
        kind.ready("genai")
    world.sandbox.time_shift += timedelta(days=2)
    rotate(done + 1)
    assert kind.pointed("genai") == done + 1


def test_dropping_the_current_one_leaves_direct_readers_nothing_and_no_secret_in_the_vault(
    world: World, kind: OciVault
) -> None:
    for number in (7, 8):
        kind.put("genai", number, Secret(f"secret {number}"))
        kind.point("genai", number)
    for number in (7, 8):
        kind.drop("genai", number)
    assert world.as_a_direct_reader() == NOTHING_YET
    names = world.secret["names"]
    left = [names[number] for number in world.secret["stages"]]
    assert left == ["keyman-nothing", "keyman-nothing.2"]
    kind.put("genai", 9, Secret("nine"))
    kind.point("genai", 9)
    assert (kind.list(), world.as_a_direct_reader()) == ([("genai", 9)], "nine")


def test_a_replaced_secret_is_not_what_its_number_stands_for(world: World, kind: OciVault) -> None:
    kind.put("genai", 7, Secret("first"))
    kind.point("genai", 7)
    kind.put("genai", 7, Secret("second"))
    assert kind.pointed("genai") is None
    kind.point("genai", 7)
    assert (world.as_a_direct_reader(), kind.pointed("genai")) == ("second", 7)


@pytest.mark.parametrize("stays", ["PENDING", "DEPRECATED"])
def test_what_was_replaced_does_not_come_back_when_its_successor_is_dropped(
    world: World, kind: OciVault, stays: str
) -> None:
    world.sandbox.behaviour = replace(world.sandbox.behaviour, superseded_pending=stays)
    for value in ("first", "second"):
        kind.put("genai", 7, Secret(value))
    for number in (7, 8, 9):
        kind.put("genai", number, Secret("second"))
        kind.point("genai", number)
    kind.drop("genai", 7)
    world.sandbox.time_shift += timedelta(days=3)
    assert kind.get("genai", 7) is None
    assert kind.list() == [("genai", 8), ("genai", 9)]
    kind.put("genai", 7, Secret("third"))
    assert kind.get("genai", 7) == Secret("third")


def test_versions_and_tags_of_others_stay(world: World, kind: OciVault) -> None:
    kind.put("genai", 7, Secret("seven"))
    world.sandbox.secret("keyman-genai").tags["team"] = "blue"
    world.upload_by_hand(b"theirs", "by-hand")
    for number in (8, 9, 10):
        kind.put("genai", number, Secret("x"))
        kind.point("genai", number)
        kind.drop("genai", number - 1)
    assert world.secret["tags"]["team"] == "blue"
    assert "by-hand" in [world.secret["names"][n] for n in world.secret["stages"]]
    assert kind.list() == [("genai", 10)]


def test_two_who_drop_at_once_do_not_undo_each_other(world: World, kind: OciVault) -> None:
    for number in (7, 8, 9):
        kind.put("genai", number, Secret("x"))
        kind.point("genai", number)
    secret = world.sandbox.secret("keyman-genai")

    def another_drops_eight() -> None:
        secret.tags = {**secret.tags, "keyman-dropped": "3"}
        secret.etag = "another"

    world.sandbox.meanwhile = another_drops_eight
    kind.drop("genai", 9)
    assert kind.list() == [("genai", 7)]


def test_a_drop_that_a_lagging_list_does_not_show_is_not_undone(
    world: World, kind: OciVault
) -> None:
    kind.put("genai", 7, Secret("x"))
    kind.put("genai", 8, Secret("x"))
    secret = world.sandbox.secret("keyman-genai")
    secret.tags["keyman-dropped"] = "3"
    secret.before, secret.stale = copy.deepcopy(secret), 4
    del secret.before.versions[-1]
    kind.drop("genai", 7)
    secret.stale = 0
    assert kind.list() == []


def test_a_version_that_is_no_text_is_damaged_and_the_rest_is_not(
    world: World, kind: OciVault
) -> None:
    kind.put("genai", 7, Secret("seven"))
    world.upload_by_hand(b"\xff\xfe", "keyman-8")
    with pytest.raises(SecretDamaged):
        kind.get("genai", 8)
    assert kind.get("genai", 7) == Secret("seven")


# Whose it is.


def test_another_installations_secret_is_not_touched(world: World, kind: OciVault) -> None:
    kind.put("genai", 7, Secret("ours"))
    other = world.open(installation=new_id())
    before = world.secret
    for act in (
        partial(other.put, "genai", 7, Secret("theirs")),
        partial(other.point, "genai", 7),
        partial(other.ready, "genai"),
    ):
        with pytest.raises(StoreFailed, match="another installation") as refused:
            act()
        assert "`prefix` of its own" in refused.value.hint
    other.drop("genai", 7)
    assert (other.list(), other.list("genai"), other.pointed("genai")) == ([], [], None)
    assert world.secret == before
    apart = world.open(installation=new_id(), prefix="apart-")
    apart.put("genai", 7, Secret("theirs"))
    assert kind.get("genai", 7) == Secret("ours")


def test_what_another_installation_left_empty_is_taken_over(world: World, kind: OciVault) -> None:
    kind.put("genai", 7, Secret("seven"))
    kind.point("genai", 7)
    kind.drop("genai", 7)
    other = world.open(installation=new_id())
    before = world.secret
    other.ready("genai")
    assert world.secret == before
    other.put("genai", 7, Secret("theirs"))
    other.point("genai", 7)
    assert (other.list(), world.as_a_direct_reader()) == ([("genai", 7)], "theirs")
    assert (kind.list(), kind.get("genai", 7)) == ([], None)
    with pytest.raises(StoreFailed, match="another installation"):
        kind.put("genai", 8, Secret("eight"))


def test_two_stores_of_one_installation_may_have_prefixes_that_begin_alike(
    world: World, kind: OciVault
) -> None:
    other = world.open(prefix="keyman-team-")
    kind.put("genai", 7, Secret("seven"))
    other.put("genai", 8, Secret("eight"))
    assert (kind.list(), other.list()) == ([("genai", 7)], [("genai", 8)])


def test_of_two_stores_with_prefixes_that_begin_alike_one_has_the_secret(
    world: World, kind: OciVault
) -> None:
    other = world.open(prefix="keyman-a-")
    kind.put("a-b", 7, Secret("seven"))
    kind.point("a-b", 7)
    before, calls = world.sandbox.truth()["keyman-a-b"], len(world.sandbox.calls())
    for act in (
        partial(other.ready, "b"),
        partial(other.put, "b", 7, Secret("x")),
        partial(other.point, "b", 7),
        partial(other.point, "b", None),
    ):
        with pytest.raises(StoreFailed, match="keyman-a-b is another credential's: 'a-b'") as told:
            act()
        assert "`prefix`" in told.value.hint
    other.drop("b", 7)
    assert (other.get("b", 7), other.list(), other.list("b")) == (None, [], [])
    assert (other.pointed("b"), other.read_current("b")) == (None, None)
    assert not set(world.operations(calls)) & set(WRITES)
    assert world.sandbox.truth()["keyman-a-b"] == before
    kind.drop("a-b", 7)
    with pytest.raises(StoreFailed, match="another credential's"):  # empty or not: one may come
        other.put("b", 7, Secret("x"))
    other.put("c", 7, Secret("x"))
    assert (kind.list(), other.list()) == ([], [("c", 7)])


def test_of_two_stores_that_make_one_secret_at_once_the_slower_is_refused(
    world: World, kind: OciVault
) -> None:
    other = world.open(prefix="keyman-a-")
    assert kind.list("a-b") == []
    other.put("b", 7, Secret("theirs"))
    secret = world.sandbox.secret("keyman-a-b")
    secret.before, secret.stale = None, 2  # not listed yet
    with pytest.raises(StoreFailed, match="another credential's: 'b'"):
        kind.put("a-b", 7, Secret("x"))
    assert other.get("b", 7) == Secret("theirs")


def test_a_secret_that_does_not_say_whose_credential_s_it_is_stays_until_it_does(
    world: World, kind: OciVault
) -> None:
    kind.put("genai", 7, Secret("seven"))
    tags = world.sandbox.secret("keyman-genai").tags
    del tags["keyman-name"]
    before = world.secret
    for act in (
        partial(kind.ready, "genai"),
        partial(kind.put, "genai", 8, Secret("x")),
        partial(kind.get, "genai", 7),
        partial(kind.drop, "genai", 7),
        partial(kind.point, "genai", 7),
    ):
        with pytest.raises(StoreFailed, match="does not say which credential") as refused:
            act()
        assert refused.value.hint.endswith("freeform tag must be keyman-name=genai")
    assert world.secret == before
    tags["keyman-name"] = "genai"
    assert kind.get("genai", 7) == Secret("seven")


def test_a_secret_without_a_mark_is_not_taken_over(world: World, kind: OciVault) -> None:
    kind.put("genai", 7, Secret("seven"))
    world.sandbox.secret("keyman-genai").tags.clear()
    for act in (
        partial(kind.put, "genai", 8, Secret("x")),
        partial(kind.get, "genai", 7),
        partial(kind.drop, "genai", 7),
    ):
        with pytest.raises(StoreFailed, match="nobody we know") as refused:
            act()
        assert "freeform tag must be keyman=" in refused.value.hint


def test_a_secret_that_somebody_is_deleting_is_left_to_them(world: World, kind: OciVault) -> None:
    kind.put("genai", 7, Secret("seven"))
    kind.put("other", 1, Secret("x"))
    secret = world.sandbox.secret("keyman-genai")
    secret.goes = world.sandbox.now() + timedelta(days=5)
    acts: list[Callable[[], object]] = [
        partial(kind.put, "genai", 8, Secret("x")),
        partial(kind.get, "genai", 7),
        partial(kind.drop, "genai", 7),
        partial(kind.point, "genai", 7),
        partial(kind.pointed, "genai"),
        partial(kind.ready, "genai"),
        partial(kind.list, "genai"),
    ]
    before = len(world.sandbox.calls())
    for act in acts:
        with pytest.raises(StoreFailed, match="PENDING_DELETION") as refused:
            act()
        assert "cancel-deletion" in refused.value.hint
    assert not set(world.operations(before)) & set(WRITES)
    assert kind.list() == [("other", 1)]
    secret.goes = None
    assert kind.get("genai", 7) == Secret("seven")


@pytest.mark.slow
def test_a_secret_that_is_deleted_is_made_anew_only_if_its_name_is_free(
    world: World, kind: OciVault
) -> None:
    kind.put("genai", 7, Secret("seven"))
    world.sandbox.secret("keyman-genai").goes = world.sandbox.now()
    assert kind.get("genai", 7) is None
    with pytest.raises(StoreFailed, match="name already exists"):
        kind.put("genai", 8, Secret("eight"))


def test_opened_for_reading_it_changes_nothing(world: World, kind: OciVault) -> None:
    kind.put("genai", 7, Secret("seven"))
    reader, before = world.open(read_only=True), len(world.sandbox.calls())
    for act in (
        partial(reader.put, "genai", 8, Secret("x")),
        partial(reader.put, "other", 1, Secret("x")),
        partial(reader.drop, "genai", 7),
        partial(reader.point, "genai", 7),
        partial(reader.ready, "genai"),
    ):
        with pytest.raises(StoreFailed, match="reading only"):
            act()
    assert reader.get("genai", 7) == Secret("seven")
    assert not set(world.operations(before)) & set(WRITES)


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/stores/oci-vault.md").read_text()))
    files = [*ROOT.glob("tests/contract/test_store*.py")]
    there = {n for f in files for n in re.findall(r"^def (test_\w+)", f.read_text(), re.MULTILINE)}
    assert len(named) > 30
    assert named - there == set()
