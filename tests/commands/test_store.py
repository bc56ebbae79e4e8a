"""Stores tried out, emptied into each other and given new keys, by the real commands."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest

from keyman.clock import SystemClock
from keyman.core.model import Secret
from keyman.errors import StoreFailed
from keyman.housekeeping.checking import Checked, _try, throw_away
from keyman.housekeeping.house import House
from keyman.housekeeping.moving import copy
from keyman.stores.memory import Memory
from keyman.stores.sealed_file import SealedFile
from keyman.stores.sealing_key import load_key
from tests.commands.killed import each_instant
from tests.commands.world import Home

SECOND = "stores: {second: {kind: sealed-file, path: '{home}/second.db'}}\n"


@pytest.fixture
def two(place: Home) -> Home:
    """A home with two versions in its store, and an empty second store."""
    place.config.write_text(SECOND + place.config.read_text())
    place.start()
    assert place.keyman("rotate", "genai").status == 0
    return place


def value(place: Home) -> str:
    return place.keyman("get", "genai").out.strip()


def names(place: Home, store: str) -> None:
    """The configuration names this store for genai from now on."""
    text = place.config.read_text()
    text = re.sub(r"    store: \w+\n", "", text)
    place.config.write_text(f"{text}    store: {store}\n")


def inside(place: Home, file: str) -> list[tuple[str, int]]:
    with closing(sealed(place, file)) as store:
        return store.list()


def sealed(place: Home, file: str) -> SealedFile:
    with place.open() as app:
        installation = app.journal.installation
    key = load_key({"kind": "file", "path": place.state / "store.key"}, make=False)
    return SealedFile(place.state / file, key, installation)


def refused(place: Home, *words: str, status: int) -> str:
    done = place.keyman(*words)
    assert (done.status, len(done.err.splitlines())) == (status, 2), done.err
    return done.err


# ------------------------------------------------------------------------------------------- check


def test_a_check_uses_every_call_and_leaves_nothing_behind(two: Home) -> None:
    done = two.keyman("store", "check", "--json")
    assert done.status == 0, done.err
    default, second = done.json["stores"]
    assert (default["store"], default["kind"], default["ok"]) == ("default", "sealed-file", True)
    assert (default["durable"], default["mode"], default["secrets"]) == (True, "0600", 2)
    assert (second["store"], second["ok"], second["secrets"]) == ("second", True, 0)
    calls = [call["call"] for call in default["calls"]]
    assert calls == ["open", "list", "ready", "write", "read", "drop"]
    assert all(call["ms"] >= 0 for call in default["calls"])
    assert [name for name, _ in inside(two, "secrets.db")] == ["genai", "genai"]
    assert inside(two, "second.db") == []


def test_a_check_works_beside_a_daemon_and_takes_nothing_from_it(two: Home) -> None:
    with two.daemon():
        assert two.keyman("store", "check").status == 0
        assert two.keyman("rotate", "genai", "--no-wait").status == 0
        assert two.keyman("store", "check", "default").status == 0


def test_what_a_killed_check_left_is_swept_by_the_next(two: Home) -> None:
    with two.open() as app:
        installation = app.journal.installation
    with closing(sealed(two, "secrets.db")) as store:
        store.put(throw_away(installation), 1, Secret("left"))
    assert two.keyman("store", "check", "default").status == 0
    assert {name for name, _ in inside(two, "secrets.db")} == {"genai"}


def test_the_name_of_the_throw_away_can_be_no_credential_s(place: Home) -> None:
    place.edit("genai:", "_keyman-check:")
    assert place.keyman("list").status == 2


def test_before_the_first_start_a_check_makes_no_file(place: Home) -> None:
    done = place.keyman("store", "check")
    assert (done.status, "first start" in done.out) == (0, True)
    assert not place.state.exists()


def test_a_store_that_forgets_is_told_apart(place: Home) -> None:
    place.config.write_text("store: {kind: memory}\n" + place.config.read_text())
    assert place.keyman("store", "check", "--json").json["stores"][0]["durable"] is False


def test_an_unknown_store_is_refused(two: Home) -> None:
    assert "known: default, second" in refused(two, "store", "check", "third", status=3)


@pytest.mark.parametrize("lost", ["store.key", "secrets.db"])
def test_a_lost_file_is_reported_and_not_made_anew(two: Home, lost: str) -> None:
    (two.state / lost).unlink()
    done = two.keyman("store", "check", "default")
    assert (done.status, f"{lost} is missing" in done.err) == (1, True)
    assert not (two.state / lost).exists()


def test_a_secret_that_is_not_there_any_more_is_named(two: Home) -> None:
    with closing(sealed(two, "secrets.db")) as store:
        store.drop("genai", 1)
    done = two.keyman("store", "check", "--json")
    assert (done.status, done.json["stores"][0]["missing"]) == (1, ["genai/1"])
    assert "genai/1" in done.json["stores"][0]["error"]["message"]


def test_a_file_open_to_others_is_refused_with_the_way_out(two: Home) -> None:
    (two.state / "secrets.db").chmod(0o644)
    done = two.keyman("store", "check", "default")
    assert (done.status, "chmod 600" in done.err) == (1, True)
    [told] = two.keyman("store", "check", "default", "--json").json["stores"]
    assert (told["mode"], told["ok"]) == ("0644", False)


class Elsewhere(Memory):
    """A store that lasts, takes one secret at a time and knows a current one, as vaults do."""

    durable = True

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[int | None] = []

    def point(self, name: str, number: int | None) -> None:
        self.moves.append(number)

    def pointed(self, name: str) -> int | None:
        return self.moves[-1] if self.moves else None


class Forgetful(Elsewhere):
    def get(self, name: str, number: int) -> Secret | None:
        return None


class Clinging(Elsewhere):
    def drop(self, name: str, number: int) -> None:
        """Says yes, and keeps it."""


class Stubborn(Elsewhere):
    def pointed(self, name: str) -> int | None:
        return 1


class Forbidden(Elsewhere):
    def point(self, name: str, number: int | None) -> None:
        raise StoreFailed("point: 403", hint="allow secretsmanager:UpdateSecretVersionStage")


def tried(store: Elsewhere) -> tuple[Checked, str | None]:
    found = Checked("team", "vault")
    try:
        _try(found, lambda: store, "here", SystemClock())
    except StoreFailed as error:
        return found, error.message
    return found, None


def test_a_store_with_a_current_secret_of_its_own_is_pointed_and_pointed_away() -> None:
    store = Elsewhere()
    found, wrong = tried(store)
    assert (wrong, store.list()) == (None, [])
    assert [type(move) for move in store.moves] == [type(None), int, type(None)]
    assert list(found.calls)[-3:] == ["point", "point away", "drop"]


@pytest.mark.parametrize(
    ("store", "said"),
    [
        (Forgetful(), "does not give back"),
        (Clinging(), "still gives what was dropped"),
        (Stubborn(), "does not point where"),
        (Forbidden(), "403"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_store_that_does_not_do_as_told_is_found_out(store: Elsewhere, said: str) -> None:
    _, wrong = tried(store)
    assert said in str(wrong)
    assert isinstance(store, Clinging) or store.list() == []


# -------------------------------------------------------------------------------------------- copy


def test_moving_house_in_the_order_that_is_told(two: Home) -> None:
    secret = value(two)
    done = two.keyman("store", "copy", "--to", "second", "--json")
    assert (done.status, done.json["copied"], done.json["same"]) == (0, 2, 0)
    assert done.json["still_named"] == ["genai"]
    assert inside(two, "second.db") == inside(two, "secrets.db") != []
    names(two, "second")
    assert value(two) == secret
    moving = ("store", "copy", "--from", "default", "--to", "second", "--move", "--json")
    done = two.keyman(*moving)
    assert (done.json["same"], done.json["emptied"], done.json["still_named"]) == (2, 2, [])
    assert inside(two, "secrets.db") == []
    two.start()
    assert value(two) == secret
    again = two.keyman(*moving)
    assert (again.status, again.json["emptied"], again.json["lost"]) == (0, 0, [])
    assert value(two) == secret


def test_copying_again_copies_what_is_new_only(two: Home) -> None:
    copying = ("store", "copy", "--to", "second", "--json")
    assert two.keyman(*copying).json["copied"] == 2
    with closing(sealed(two, "second.db")) as second:
        second.drop("genai", 1)
        second.put("genai", 2, Secret("another"))
    assert two.keyman(*copying).json["copied"] == 2
    assert two.keyman(*copying).json["same"] == 2


def test_nothing_is_dropped_that_the_configuration_still_reads(two: Home) -> None:
    two.keyman("store", "copy", "--to", "second")
    before = inside(two, "secrets.db")
    move = ("store", "copy", "--to", "second", "--from", "default", "--move")
    assert "names another store" in refused(two, *move, status=1)
    assert "--from" in refused(two, "store", "copy", "--to", "second", "--move", status=2)
    names(two, "second")
    two.config.write_text(two.config.read_text() + "    mirrors: [default]\n")
    assert "mirror" in refused(two, *move, status=1)
    assert inside(two, "secrets.db") == before


def test_what_the_target_lacks_is_not_dropped_from_the_source(two: Home) -> None:
    """It is copied first, also by the call that empties."""
    names(two, "second")
    move = ("store", "copy", "--to", "second", "--from", "default", "--move", "--json")
    done = two.keyman(*move)
    assert (done.json["copied"], done.json["emptied"]) == (2, 2)
    assert (inside(two, "secrets.db"), len(inside(two, "second.db"))) == ([], 2)


def test_stores_that_take_one_at_a_time_are_copied_into_and_emptied_too(two: Home) -> None:
    names(two, "second")
    with closing(sealed(two, "secrets.db")) as default, two.open() as app:
        vault = Elsewhere()
        house = House(two.settings, app.journal, {"default": default, "second": vault})
        done = copy(house, "second", source="default", empty=True)
        assert (len(done.copied), len(done.emptied), default.list()) == (2, 2, [])
        house = House(two.settings, app.journal, {"default": vault, "second": default})
        done = copy(house, "second", source="default", empty=True)
        assert (len(done.emptied), vault.list(), len(default.list())) == (2, [], 2)


def test_a_target_that_does_not_keep_what_it_took_is_noticed_before_anything_is_dropped(
    two: Home,
) -> None:
    names(two, "second")
    with closing(sealed(two, "secrets.db")) as default, two.open() as app:
        house = House(two.settings, app.journal, {"default": default, "second": Forgetful()})
        with pytest.raises(StoreFailed, match="does not give back"):
            copy(house, "second", source="default", empty=True)
        assert len(default.list()) == 2


def test_what_no_store_has_any_more_is_named(two: Home) -> None:
    with closing(sealed(two, "secrets.db")) as store:
        store.drop("genai", 1)
    done = two.keyman("store", "copy", "--to", "second", "--json")
    assert (done.status, done.json["copied"], done.json["lost"]) == (0, 1, ["genai/1"])


def test_names_limit_what_is_copied(two: Home) -> None:
    assert "nobody" in refused(two, "store", "copy", "nobody", "--to", "second", status=3)
    assert two.keyman("store", "copy", "genai", "--to", "second", "--json").json["copied"] == 2


def test_a_store_that_can_not_be_the_target_is_refused(two: Home) -> None:
    two.edit("{home}/second.db'}", "{home}/second.db'}, short: {kind: memory}")
    refused(two, "store", "copy", "--to", "third", status=3)
    refused(two, "store", "copy", "--to", "default", "--from", "default", status=2)
    assert "forgets" in refused(two, "store", "copy", "--to", "short", status=2)


def test_a_running_daemon_is_not_worked_beside(two: Home) -> None:
    with two.daemon() as daemon:
        for words in (("copy", "--to", "second"), ("rekey",), ("rekey", "--finish")):
            assert f"(pid {daemon.pid})" in refused(two, "store", *words, status=6)


# ------------------------------------------------------------------------------------------- rekey


def test_another_key_opens_the_store_and_the_old_one_does_not(two: Home) -> None:
    secret, before = value(two), (two.state / "store.key").read_bytes()
    kept = two.folder / "kept.db"
    kept.write_bytes((two.state / "secrets.db").read_bytes())
    assert two.keyman("store", "rekey", "--json").json == {
        "stores": ["default"],
        "key": "file",
        "finished": True,
    }
    assert value(two) == secret
    assert (two.state / "store.key").read_bytes() != before
    assert (two.state / "store.key").stat().st_mode & 0o777 == 0o600
    (two.state / "store.key").write_bytes(before)
    assert two.keyman("get", "genai").status == 1


def test_stores_that_have_one_key_get_the_new_one_together(two: Home) -> None:
    two.keyman("store", "copy", "--to", "second")
    assert two.keyman("store", "rekey", "second", "--json").json["stores"] == ["default", "second"]
    assert two.keyman("store", "check").status == 0
    assert len(inside(two, "secrets.db")) == len(inside(two, "second.db")) == 2


def test_the_master_key_is_another_one_too(two: Home) -> None:
    """Or whoever once had the old key and file could read what comes later."""
    with closing(sealed(two, "secrets.db")) as store:
        before = store._master
    assert two.keyman("store", "rekey").status == 0
    with closing(sealed(two, "secrets.db")) as store:
        assert store._master != before
        assert len(store.list()) == 2
        assert all(store.get(*address) for address in store.list())


def test_a_key_of_another_kind_comes_in_and_then_is_alone(two: Home) -> None:
    secret = value(two)
    admit = ("store", "rekey", "--key", "env", "--variable", "STORE_KEY")
    two.environ["STORE_KEY"] = "a2V5" * 10 + "a2U="
    assert "not finished" not in two.keyman(*admit).out
    [told] = two.keyman("store", "check", "default", "--json").json["stores"]
    assert (told["keys"], told["ok"]) == (2, True)
    assert "--finish" in two.keyman("store", "check").err
    assert value(two) == secret
    key = "store: {key: {kind: env, variable: STORE_KEY}}\n"
    two.config.write_text(key + two.config.read_text())
    assert value(two) == secret
    assert two.keyman("store", "rekey", "--finish").status == 0
    assert value(two) == secret
    [told] = two.keyman("store", "check", "default", "--json").json["stores"]
    assert told["keys"] == 1
    assert "nothing to finish" in refused(two, "store", "rekey", "--finish", status=1)
    assert "handed over" in refused(two, "store", "rekey", status=2)


def test_a_passphrase_gets_another_salt(place: Home) -> None:
    key = "{kind: passphrase, passphrase: correct horse battery, path: '{home}/salt'}"
    place.config.write_text(f"store: {{key: {key}}}\n" + place.config.read_text())
    place.start()
    secret, before = value(place), (place.state / "salt").read_bytes()
    assert place.keyman("store", "rekey").status == 0
    assert (place.state / "salt").read_bytes() != before
    assert value(place) == secret


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("third",), 3),
        (("--key", "env", "--finish"), 2),
        (("--key", "file"), 2),
        (("--key", "file", "--path", "home/store.key"), 2),
        (("--key", "passphrase", "--path", "salt"), 2),
    ],
)
def test_what_can_not_be_a_new_key_is_refused(
    two: Home, words: tuple[str, ...], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two.folder)
    before = (two.state / "secrets.db").read_bytes()
    refused(two, "store", "rekey", *words, status=status)
    assert (two.state / "secrets.db").read_bytes() == before


def test_a_damaged_secret_stops_it_with_nothing_changed(two: Home) -> None:
    with closing(sqlite3.connect(two.state / "secrets.db")) as db, db:
        db.execute("UPDATE secrets SET data_key = zeroblob(60) WHERE number = 1")
    secret = value(two)
    assert "damaged" in refused(two, "store", "rekey", status=1)
    assert value(two) == secret


@pytest.mark.slow
def test_killed_at_each_of_its_writes_it_leaves_a_store_that_opens(two: Home) -> None:
    """As does another one that has the same key."""
    two.keyman("store", "copy", "--to", "second")
    secret, key = value(two), two.state / "store.key"
    seen = set[tuple[bool, bool]]()
    before, killed = key.read_bytes(), 0
    for ended in each_instant(two, "store", "rekey", step=3):
        with closing(sealed(two, "secrets.db")) as store:  # by the key that is in its place now
            assert store.get("genai", 2) == Secret(secret)
            assert len(inside(two, "second.db")) == 2
            seen.add((store.keys() > 1, key.read_bytes() != before))
        before, killed = key.read_bytes(), killed + (ended != 0)
    assert value(two) == secret
    assert [path for path in two.state.iterdir() if path.name.startswith(".secrets")] == []
    every = {(False, False), (True, False), (True, True), (False, True)}
    assert seen == every, "some moment was never met"
    assert killed > 10
