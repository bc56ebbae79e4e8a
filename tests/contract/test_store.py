"""What every store must do, asked of each of them: in memory, sealed file, the system's keyring."""

import itertools
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from keyman.clock import SystemClock, new_id
from keyman.core.model import Secret, Spec, Stage, Version
from keyman.errors import ConfigError, SecretDamaged, StoreFailed
from keyman.housekeeping.checking import Checked, _try
from keyman.performer import Managed
from keyman.stores import KINDS, open_store
from keyman.stores.protocol import Placed, Showing, Store
from tests.contract.store_process import ROOT, nth_value, process

DIFFICULT = [
    "",
    " ",
    " both sides ",
    "\ttab\t",
    "quote ' double \" back ` slash \\ dollar $HOME %s {x}",
    "naïve 🔑 ключ 鍵 \u202eright to left",
    "e\u0301 is not \u00e9",
    "percent%00 and \\u0000 spelt out",
    "\x1b[31m\x07\x7f\x85\u2028",
    "k" * 16 * 1024,
    "é" * 8 * 1024,
]
NAMES = [
    "genai",
    "gen",
    "genai-osaka",
    "genai_osaka",
    "Genai",
    "gen%",
    "'; DROP TABLE secrets",
    "é",
]


GRAMMATICAL = ["genai", "gen", "genai-osaka", "genai_osaka", "0", "a-_b", "x" * 63]
POINTING = ["aws-secrets-manager", "oci-vault", "vault"]
LOCAL = {"keyring", "memory", "sealed-file"}  # the others take names of credentials and no more


class ClockThatMoves(SystemClock):
    """Seconds pass between two looks, as they do between two of a person's commands."""

    passed = itertools.count(1)

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=next(self.passed))


@dataclass
class Place:
    """One store of one kind, which can be left and come back to."""

    kind: str
    options: dict[str, Any]
    opened: list[Store] = field(default_factory=list)

    def open(self, **more: Any) -> Store:
        self.opened.append(open_store(self.kind, {**self.options, **more}))
        return self.opened[-1]


def _each_of(kinds: Iterable[str]) -> list[Any]:
    """The imitated clouds have suites of their own: theirs is not the quickest word."""
    clouds = ("aws-secrets-manager", "oci-vault")
    marks = {kind: [pytest.mark.slow] if kind in clouds else [] for kind in kinds}
    return [pytest.param(kind, marks=marks[kind]) for kind in sorted(kinds)]


@pytest.fixture(params=_each_of(KINDS))
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield from _place_of(request)


@pytest.fixture(params=_each_of(set(KINDS) - {"memory"}))
def durable(request: pytest.FixtureRequest) -> Iterator[Place]:
    """As `place`, of the kinds that outlive a process."""
    yield from _place_of(request)


def _place_of(request: pytest.FixtureRequest) -> Iterator[Place]:
    folder: Path = request.getfixturevalue("tmp_path")
    options: dict[str, Any] = {"installation": new_id(), "home": folder}
    where = import_module(f"tests.contract.places.{request.param.replace('-', '_')}")
    found = Place(request.param, options | where.options(request))
    yield found
    for store in found.opened:
        store.close()


@pytest.fixture(params=POINTING)
def pointing(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store of each kind that has a current secret for those who read it directly."""
    for found in _place_of(request):
        yield found.open()


@pytest.fixture
def store(place: Place) -> Store:
    return place.open()


def test_it_says_whether_it_is_durable(place: Place, store: Store) -> None:
    assert store.durable == (place.kind != "memory")


def test_what_was_put_comes_back(store: Store) -> None:
    store.put("genai", 7, Secret("sk-one"), slot="key-one")
    assert store.get("genai", 7) == Secret("sk-one")


@pytest.mark.parametrize("value", DIFFICULT, ids=lambda value: ascii(value[:12]))
def test_difficult_characters_survive(store: Store, value: str) -> None:
    store.put("genai", 1, Secret(value))
    found = store.get("genai", 1)
    assert found is not None
    assert found.reveal() == value


@pytest.mark.slow
def test_difficult_names_and_numbers_stay_apart(place: Place, store: Store) -> None:
    names = NAMES if place.kind in LOCAL else GRAMMATICAL
    addresses = [(name, number) for name in names for number in (1, 11, 2**40)]
    for name, number in addresses:
        store.put(name, number, Secret(f"of {name} {number}"))
    for name, number in addresses:
        assert store.get(name, number) == Secret(f"of {name} {number}")
    assert store.list() == sorted(addresses)


@pytest.mark.parametrize(
    "value", ["a\nb", "a\r", "\0", "k" * (16 * 1024 + 1), "é" * (8 * 1024 + 1), "half \ud83d pair"]
)
def test_what_no_store_takes_is_refused_and_not_shown(store: Store, value: str) -> None:
    store.put("genai", 1, Secret("before"))
    with pytest.raises(StoreFailed) as refused:
        store.put("genai", 1, Secret(value))
    assert value not in refused.value.message + refused.value.hint
    assert refused.value.__cause__ is None
    assert store.get("genai", 1) == Secret("before")


def test_a_refused_secret_leaves_no_address(store: Store) -> None:
    with pytest.raises(StoreFailed):
        store.put("genai", 1, Secret("a\nb"))
    assert store.list() == []


def test_whoever_asks_whether_it_is_ready_changes_nothing(store: Store) -> None:
    store.ready("genai")
    assert store.list() == []
    store.put("genai", 1, Secret("one"))
    store.ready("genai")
    assert store.list() == [("genai", 1)]
    assert store.get("genai", 1) == Secret("one")


def test_absent_is_none(store: Store) -> None:
    assert store.get("genai", 1) is None
    store.put("genai", 1, Secret("x"))
    assert store.get("genai", 2) is None
    assert store.get("gena", 1) is None
    assert store.get("genai1", 1) is None


def test_putting_twice_is_harmless_and_putting_another_replaces(store: Store) -> None:
    for value in ("one", "one", "two"):
        store.put("genai", 1, Secret(value), slot="key-one")
    assert store.get("genai", 1) == Secret("two")
    store.put("genai", 1, Secret("three"), slot="key-two")
    assert store.get("genai", 1) == Secret("three")
    assert store.list() == [("genai", 1)]


def test_dropped_is_gone_and_dropping_again_is_harmless(store: Store) -> None:
    store.put("genai", 1, Secret("one"))
    store.put("genai", 2, Secret("two"))
    for _ in range(2):
        store.drop("genai", 1)
        assert store.get("genai", 1) is None
        assert store.list() == [("genai", 2)]
    assert store.get("genai", 2) == Secret("two")
    store.drop("never", 1)


def test_the_list_is_sorted_by_number_not_by_spelling(store: Store) -> None:
    assert store.list() == []
    for name, number in [("b", 10), ("b", 9), ("a", 2), ("b", 1)]:
        store.put(name, number, Secret("x"))
    assert store.list() == [("a", 2), ("b", 1), ("b", 9), ("b", 10)]


@pytest.mark.parametrize("name", ["gen", "genai", "genai-osaka", "gen%", "gena_"])
def test_the_list_of_one_name_holds_no_other(store: Store, name: str) -> None:
    for each in ("gen", "genai", "genai-osaka"):
        store.put(each, 1, Secret("x"))
    assert store.list(name) == ([(name, 1)] if name in ("gen", "genai", "genai-osaka") else [])


def test_another_installation_sees_nothing(place: Place, tmp_path: Path) -> None:
    place.open().put("genai", 1, Secret("ours"))
    key = {"kind": "file", "path": tmp_path / "other.key"}
    other = place.open(installation=new_id(), path=tmp_path / "other.db", key=key)
    assert other.get("genai", 1) is None
    assert other.list() == []


def test_a_name_that_is_no_text_fails_as_a_store_does(durable: Place) -> None:
    with pytest.raises(StoreFailed):
        durable.open().get("half \ud83d pair", 1)


def test_what_is_kept_after_closing_is_what_durable_promises(place: Place) -> None:
    first = place.open()
    first.put("genai", 1, Secret("x"))
    first.close()
    assert place.open().list() == ([] if place.kind == "memory" else [("genai", 1)])


def test_reopened_it_has_everything(durable: Place) -> None:
    with closing(durable.open()) as first:
        for number, value in enumerate(DIFFICULT):
            first.put("genai", number, Secret(value), slot="key-one")
        first.drop("genai", 3)
    again = durable.open()
    kept = [number for number in range(len(DIFFICULT)) if number != 3]
    assert again.list("genai") == [("genai", number) for number in kept]
    assert [again.get("genai", number) for number in kept] == [
        Secret(DIFFICULT[number]) for number in kept
    ]


def test_what_direct_readers_get_is_told_as_it_is(pointing: Store) -> None:
    assert isinstance(pointing, Showing)
    assert pointing.read_current("genai") is None
    for number, value in enumerate(("one", "", "k" * 16 * 1024), start=1):
        pointing.put("genai", number, Secret(value))
        pointing.point("genai", number)
        assert pointing.read_current("genai") == (number, Secret(value))
    pointing.put("genai", 4, Secret("to come"))
    assert pointing.read_current("genai") == (3, Secret("k" * 16 * 1024))
    pointing.point("genai", None)
    assert pointing.read_current("genai") is None


def test_what_is_dropped_is_what_direct_readers_do_not_get_either(pointing: Store) -> None:
    assert isinstance(pointing, Showing)
    pointing.put("genai", 1, Secret("one"))
    pointing.point("genai", 1)
    pointing.drop("genai", 1)
    assert (pointing.read_current("genai"), pointing.list("genai")) == (None, [])


def test_every_kind_can_be_tried_out_again_and_again(place: Place) -> None:
    """As `keyman store check` does, whose throw-away secret no credential can be."""
    for _ in range(2):
        found = Checked("team", place.kind)
        _try(found, place.open, "here", ClockThatMoves())
        assert {"write", "read", "drop"} <= set(found.calls)


def test_one_place_is_known_for_one_by_whatever_way(durable: Place) -> None:
    by_another_name = {"vault": {"address": _localhost(durable)}}
    one, other = durable.open(), durable.open(**by_another_name.get(durable.kind, {}))
    assert isinstance(one, Placed)
    assert isinstance(other, Placed)
    one.put("genai", 1, Secret("one"))
    one.put("genai", 2, Secret("two"))
    for number in (1, 2):
        assert one.place("genai", number) is not None
        assert one.place("genai", number) == other.place("genai", number)


def _localhost(place: Place) -> str:
    return str(place.options.get("address", "")).replace("127.0.0.1", "localhost")


def test_another_place_is_another(durable: Place, tmp_path: Path) -> None:
    elsewhere: dict[str, dict[str, Any]] = {
        "sealed-file": {"path": tmp_path / "other.db"},
        "keyring": {"service": "another"},
        "vault": {"prefix": "keyman/another"},
    }
    here = durable.open()
    there = durable.open(**elsewhere.get(durable.kind, {"prefix": "another-"}))
    assert isinstance(here, Placed)
    assert isinstance(there, Placed)
    for each in (here, there):
        each.put("genai", 1, Secret("the same"))
    assert here.place("genai", 1) != there.place("genai", 1)


def test_another_value_under_a_versions_number_is_given_to_nobody(store: Store) -> None:
    installation = "here"
    provider: Any = None
    managed = Managed(Spec("genai", "static", installation=installation), provider, store)
    ours = Secret("ours").fingerprint(installation)
    version = Version(1, Stage.CURRENT, "a", datetime.now(UTC), None, fingerprint=ours)
    assert managed.read(version) is None
    store.put("genai", 1, Secret("ours"))
    assert managed.read(version) == Secret("ours")
    store.put("genai", 1, Secret("a stranger's"))
    with pytest.raises(SecretDamaged) as refused:
        managed.read(version)
    assert "stranger" not in refused.value.message + refused.value.hint


def test_threads_share_one_store(store: Store) -> None:
    def work(worker: int) -> None:
        for number in range(3):
            store.put(f"w{worker}", number, Secret(f"{worker}.{number}"))
            assert store.get(f"w{worker}", number) == Secret(f"{worker}.{number}")
            store.list()
        store.drop(f"w{worker}", 0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert store.list() == [(f"w{worker}", number) for worker in range(4) for number in range(1, 3)]


@pytest.mark.slow
def test_two_processes_put_at_once_and_nothing_is_lost(durable: Place) -> None:
    def task(worker: str) -> dict[str, Any]:
        values = [[worker, number, f"{worker}{number}"] for number in range(8)]
        return {"kind": durable.kind, "options": durable.options, "put": values}

    with process(task("a")) as first, process(task("b")) as second:
        assert (first.wait(60), second.wait(60)) == (0, 0)
    store = durable.open()
    assert store.list() == [(worker, number) for worker in "ab" for number in range(8)]
    assert all(
        store.get(worker, number) == Secret(f"{worker}{number}") for worker, number in store.list()
    )


@pytest.mark.slow
def test_a_reader_in_another_process_sees_whole_values_in_order(durable: Place) -> None:
    reader = durable.open()
    seen: list[int] = []
    task = {"kind": durable.kind, "options": durable.options, "churn": 0}
    with process(task) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "0\n"
        while len(set(seen)) < 8:
            assert writer.poll() is None, "the writer failed beside a reader"
            found = reader.get("churn", 1)
            assert found is not None
            seen.append(int(found.reveal()[:8]))
            assert found.reveal() == nth_value(seen[-1])
            assert reader.list() == [("churn", 1)]
    assert seen == sorted(seen)


def test_an_unknown_kind_names_the_known() -> None:
    with pytest.raises(ConfigError) as refused:
        open_store("sealed_file", {})
    assert all(kind in refused.value.hint for kind in KINDS)


def test_only_the_kind_in_use_is_imported() -> None:
    program = (
        "import sys; from keyman.stores import open_store; open_store('memory', {});"
        "sys.exit(any(name in sys.modules for name in ('keyring', 'cryptography', 'sqlite3')))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
