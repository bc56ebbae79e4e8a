"""Mirrors and vaults that follow the journal: through outages, lost answers, hangs and kills."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from keyman import errors
from keyman.clock import new_id
from keyman.core import copies
from keyman.core.health import trouble
from keyman.core.model import Credential, KeySeen, Observed, Secret, Spec, Stage
from keyman.core.news import MIRROR_FAILING, MIRROR_OK
from keyman.core.policy import Policy, Verification
from keyman.db.journal import Journal
from keyman.db.sqlite import path_of
from keyman.lanes import Lanes
from keyman.mirroring import Mirroring
from keyman.mirroring.comparing import Comparing
from keyman.mirroring.follower import LONGEST_PAUSE
from keyman.performer import Managed, Performer
from keyman.providers.protocol import Lookup
from keyman.publisher import Publisher
from keyman.rotator import Rotator
from keyman.serving.snapshot import Snapshot
from keyman.stores.protocol import Store
from keyman.views import Json
from tests.blank_journal import lay_down
from tests.odd_store import Odd, OddVault

START = datetime(2026, 11, 21, 9, tzinfo=UTC)
SOON = 30.0  # seconds for what takes milliseconds
SPEC = Spec(
    "it",
    "static",
    Policy(observe_every=timedelta(minutes=15), verify=Verification(successes=0)),
    observes=False,
    claims=False,
    issues=False,
    probes=False,
    revokes=False,
)


class SetClock:
    """Time that a test tells."""

    def __init__(self) -> None:
        self.passed = timedelta(0)

    def now(self) -> datetime:
        return START + self.passed

    def boot(self) -> float:
        return self.passed.total_seconds()

    monotonic = boot

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
        raise AssertionError("nobody sleeps here")


class ByHand:
    """The provider of secrets that people bring."""

    def lookup(self) -> Lookup:
        return Lookup()


@dataclass
class House:
    """The rooms that mirrors need, around one credential whose secrets come by hand."""

    url: str
    own: Odd = field(default_factory=Odd)
    mirrors: dict[str, Odd] = field(default_factory=lambda: {"vault": OddVault()})
    elsewhere: dict[str, Store] = field(default_factory=dict)  #: where else secrets are looked for
    spec: Spec = SPEC
    clock: SetClock = field(default_factory=SetClock)
    told: list[str] = field(default_factory=list)
    brought: int = 0
    alone: bool = False  #: a command at work, which has no background

    def __post_init__(self) -> None:
        self.journal = Journal.open(lay_down(path_of(self.url)))
        self.spec = replace(self.spec, installation=self.journal.installation)
        self.start()

    def start(self) -> None:
        """As a new process would, on the same journal."""
        self.snapshot = Snapshot(self.clock)
        self.publisher = Publisher(self.snapshot, self.clock)
        provider: Any = ByHand()
        names = tuple(self.mirrors)
        self.managed = Managed(self.spec, provider, self.own, "own", names, self.elsewhere)
        self.rotator = Rotator(
            self.journal,
            {"it": self.managed},
            self.clock,
            new_id,
            owner=new_id(),
            home="here",
            changed=self._changed,
        )
        self.mirroring = Mirroring(
            self.journal,
            {"own": self.own, **self.mirrors},
            self.publisher,
            self.clock,
            self.rotator.meter,
            self._publish,
        )
        self.mirroring.telling.heard = lambda news: self.told.extend(one.what for one in news)
        self.publisher.publish(self.managed, self.record)
        self.mirroring.look_after([(self.managed, self.record)])
        if not self.alone:
            self.mirroring.start()

    def _publish(self, credential: Credential) -> None:
        self.publisher.publish(self.managed, credential)

    def _changed(self, credential: Credential) -> None:
        self._publish(credential)
        self.mirroring.follow(credential)

    @property
    def record(self) -> Credential:
        return self.journal.load(self.spec)[0]

    @property
    def vault(self) -> OddVault:
        found = self.mirrors["vault"]
        assert isinstance(found, OddVault)
        return found

    def bring(self) -> Secret:
        """Somebody brings the next secret; lookups have it when this returns."""
        self.brought += 1
        secret = Secret(f"sk-{self.brought}")
        self.rotator.put("it", secret, None, "ada")
        assert self.looked_up() == secret
        return secret

    def happens(self, number: int, **changes: Any) -> None:
        """The provider, or a person, says something new of a version."""
        credential, observed = self.journal.load(self.spec)
        changed = credential.with_version(number, **changes)
        self._changed(self.journal.save(changed, observed))

    def looked_up(self) -> Secret:
        return Secret(self.snapshot.look_up("it").plain.body.decode().rstrip("\n"))

    def seen(self, observed: Observed) -> None:
        """The provider was looked at, and shows this."""
        self._changed(self.journal.save(self.record, observed))

    def again(self) -> None:
        """A new process, which takes its first turn."""
        self.mirroring.close()
        self.rest()
        self.rotator.release()
        self.start()
        self.rotator.advance("it")
        self.rest()

    def history(self) -> list[str]:
        return [f"{one.kind} {one.detail}".strip() for one in self.journal.events("it")]

    def a_sweep_later(self) -> None:
        self.clock.passed += timedelta(seconds=LONGEST_PAUSE)
        self.mirroring.sweep()
        self.rest()

    def rest(self) -> None:
        assert self.mirroring.lanes.wait(SOON), "mirrors are still at it"

    def status(self, store: str = "vault") -> Json:
        self.rest()
        return next(one for one in self.mirroring.status("it") if one["store"] == store)

    def close(self) -> None:
        self.mirroring.close()
        self.mirroring.lanes.wait(SOON)
        self.journal.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/keyman.db"


@pytest.fixture
def house(url: str) -> Iterator[House]:
    made = House(url)
    yield made
    made.close()


@pytest.fixture
def pointing(url: str) -> Iterator[House]:
    """Its own store is one that strangers read; there is no mirror."""
    made = House(url, own=OddVault(), mirrors={})
    yield made
    made.close()


# --------------------------------------------------------------------------------------- following


def test_a_mirror_has_what_may_be_used_and_nothing_else(house: House) -> None:
    secrets = [house.bring() for _ in range(3)]
    house.rest()
    assert house.record.all_at(Stage.CURRENT)[0].number == 3
    usable = [v.number for v in house.record.all_at(Stage.CURRENT, Stage.PREVIOUS)]
    assert house.vault.numbers("it") == usable
    assert house.vault.read("it") == secrets[-1]
    assert house.status() == {
        "store": "vault",
        "state": "ok",
        "version": 3,
        "error": None,
        "since": "2026-11-21T09:00:00Z",
    }


def test_one_that_knows_no_current_secret_has_them_by_number(url: str) -> None:
    house = House(url, mirrors={"file": Odd()})
    house.bring()
    second = house.bring()
    assert house.status("file")["state"] == "ok"
    assert house.mirrors["file"].secrets["it", 2] == second
    house.close()


def test_a_vault_of_its_own_is_pointed_after_the_promotion(pointing: House) -> None:
    vault = pointing.own
    assert isinstance(vault, OddVault)
    for _ in range(3):
        secret = pointing.bring()
        pointing.rest()
        assert vault.read("it") == secret
    assert vault.given == [("it", 1), ("it", 2), ("it", 3)]
    assert pointing.status("own")["version"] == 3


def test_when_all_is_quiet_no_store_is_asked(house: House) -> None:
    house.bring()
    house.rest()
    before = len(house.vault.calls)
    for _ in range(10):
        house.mirroring.tend()
        house.a_sweep_later()
    assert house.vault.calls[before:] == []


def test_from_time_to_time_it_is_looked_at_all_the_same(house: House) -> None:
    secret = house.bring()
    house.bring()
    house.rest()
    house.vault.current["it"] = 1, secret
    house.vault.secrets["it", 2] = Secret("a stranger's")
    del house.vault.secrets["it", 1]
    house.clock.passed += SPEC.policy.observe_every
    house.a_sweep_later()
    assert house.vault.read("it") == house.looked_up()
    assert house.vault.numbers("it") == [1, 2]


def test_at_a_start_all_is_compared(house: House) -> None:
    house.bring()
    house.rest()
    house.mirroring.close()
    house.vault.secrets.clear()
    house.vault.current.clear()
    house.start()
    assert house.status()["state"] == "ok"
    assert house.vault.read("it") == house.looked_up()


def test_tokens_are_mirrored_nowhere(url: str) -> None:
    minted = replace(SPEC, provider="google", issues=True)
    house = House(url, spec=minted)
    house.mirroring.sweep()
    house.rest()
    assert (house.vault.calls, house.mirroring.status("it")) == ([], [])
    house.close()


# ----------------------------------------------------------------------------------------- trouble


def test_after_an_outage_of_several_promotions_one_sweep_is_enough(house: House) -> None:
    house.bring()
    house.rest()
    house.vault.down = True
    for _ in range(4):
        house.bring()
        house.a_sweep_later()
    assert house.status()["state"] == "failing"
    assert house.vault.numbers("it") == [1]
    house.vault.down = False
    house.a_sweep_later()
    assert house.vault.read("it") == house.looked_up()
    usable = [v.number for v in house.record.all_at(Stage.CURRENT, Stage.PREVIOUS)]
    assert house.vault.numbers("it") == usable
    assert house.status()["state"] == "ok"


def test_a_failing_one_rests_a_sweep_at_most(house: House) -> None:
    house.vault.down = True
    house.bring()
    house.rest()
    for _ in range(8):
        before = len(house.vault.calls)
        house.mirroring.tend()
        house.rest()
        assert len(house.vault.calls) == before, "it is asked again before its rest is over"
        house.a_sweep_later()
        assert len(house.vault.calls) == before + 1


def test_a_lost_answer_is_looked_after(house: House) -> None:
    house.vault.forgets_to_answer = True
    secret = house.bring()
    house.rest()
    assert house.status()["state"] == "failing"
    house.vault.forgets_to_answer = False
    house.a_sweep_later()
    assert house.vault.read("it") == secret
    assert house.status()["state"] == "ok"


def test_what_takes_no_more_is_still_emptied(house: House) -> None:
    """A full vault: the new version is refused, the old one goes, and then there is room."""
    house.bring()
    house.rest()

    def full(what: str) -> None:
        if what == "put" and house.vault.numbers("it"):
            raise errors.StoreFailed("the version limit is reached")

    house.vault.before = full
    for _ in range(4):
        house.bring()
        house.a_sweep_later()
    house.a_sweep_later()
    assert house.vault.numbers("it")[0] > 1


def test_one_that_does_not_show_what_it_is_told_is_said_to_fail(url: str) -> None:
    house = House(url, mirrors={"vault": Deaf()})
    house.bring()
    assert house.status()["state"] == "behind"  # it may need a moment
    for _ in range(3):
        house.a_sweep_later()
    assert house.status()["state"] == "failing"
    assert house.told == [MIRROR_FAILING]
    house.close()


class Deaf(OddVault):
    """Says yes to everything."""

    def point(self, name: str, number: int | None) -> None:
        self._asked("point")


def test_a_hanging_mirror_keeps_nobody_waiting(url: str) -> None:
    house = House(url, mirrors={"vault": OddVault(), "other": OddVault()})
    end = threading.Event()
    house.vault.hangs = end
    first = house.bring()
    assert house.vault.hung.wait(SOON)
    second = house.bring()  # a promotion, and lookups follow
    assert house.looked_up() == second != first
    until(lambda: other(house).read("it") == second)
    assert house.mirroring.settle(0.05) == ["it: its mirror vault is behind: no answer so far"]
    house.mirroring.close()
    assert not house.mirroring.lanes.idle, "it still hangs: nobody waited for it"
    assert not end.is_set()
    end.set()
    house.close()


def other(house: House) -> OddVault:
    found = house.mirrors["other"]
    assert isinstance(found, OddVault)
    return found


def until(so: Any) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if so():
            return
        pause.wait(0.01)
    raise AssertionError("it never came true")


def test_one_thread_at_a_time_writes_one_mirror(house: House) -> None:
    at_once: list[int] = []
    inside, counting = [0], threading.Lock()

    def noted(_: str) -> None:
        with counting:
            inside[0] += 1
            at_once.append(inside[0])
        threading.Event().wait(0.001)
        with counting:
            inside[0] -= 1

    house.vault.before = noted
    for _ in range(10):
        house.bring()
        house.mirroring.sweep()
    house.rest()
    assert set(at_once) == {1}
    assert house.vault.read("it") == house.looked_up()


@pytest.mark.parametrize("seed", range(6))
def test_direct_readers_are_never_ahead_and_in_the_end_not_behind(url: str, seed: int) -> None:
    dice = random.Random(seed)
    house = House(url)
    ahead: list[int] = []

    def look(what: str) -> None:
        """Who reads the vault at this very moment, and what the journal says."""
        shown = house.vault.current.get("it")
        if shown and (v := house.record.version(shown[0])) and v.promoted_at is None:
            ahead.append(shown[0])
        if dice.random() < 0.3:
            raise errors.StoreFailed("a bad day")

    house.vault.before = look
    for _ in range(12):
        house.vault.forgets_to_answer = dice.random() < 0.3
        house.bring()
        if dice.random() < 0.5:
            house.mirroring.tend()
    house.rest()
    house.vault.before, house.vault.forgets_to_answer = lambda _: None, False
    house.a_sweep_later()
    assert not ahead
    assert house.vault.read("it") == house.looked_up()
    numbers = [number for _, number in house.vault.given if number is not None]
    assert numbers == sorted(numbers), "an older one after a newer one"
    house.close()


# -------------------------------------------------------------------------------------- withdrawal


@pytest.mark.parametrize(
    "end",
    [
        {"compromised_at": START, "revoke_first": True},
        {"dead_at": START},
        {"stage": Stage.REVOKED, "revoked_at": START},
        {"expires_at": START},
    ],
    ids=["leaked", "refused", "revoked", "expired"],
)
def test_what_may_not_be_handed_out_leaves_the_mirror_at_once(
    house: House, end: dict[str, Any]
) -> None:
    house.bring()
    house.bring()
    house.rest()
    house.happens(2, **end)
    house.rest()
    with pytest.raises(errors.NoUsableSecret):
        house.looked_up()
    assert house.vault.read("it") is None
    assert 2 not in house.vault.numbers("it")


def test_what_expires_leaves_it_within_a_sweep_of_its_end(house: House) -> None:
    house.bring()
    house.happens(1, expires_at=START + timedelta(minutes=1))
    house.rest()
    assert house.vault.read("it") == house.looked_up()
    house.clock.passed += timedelta(minutes=1)
    house.a_sweep_later()
    assert (house.vault.read("it"), house.vault.numbers("it")) == (None, [])


def test_a_dead_one_is_taken_away_though_the_next_cannot_be_written(house: House) -> None:
    house.bring()
    house.rest()

    def writes_nothing(what: str) -> None:
        if what == "put":
            raise errors.StoreFailed("no room")

    house.vault.before = writes_nothing
    house.bring()
    house.rest()
    assert house.vault.read("it") == Secret("sk-1"), "it still works"
    house.happens(1, dead_at=START)
    house.rest()
    assert house.vault.read("it") is None
    assert house.status()["state"] == "failing"


@pytest.mark.parametrize("kind", [errors.StoreFailed, errors.Conflict])
def test_what_leaked_leaves_though_the_history_cannot_tell_of_what_comes(
    house: House, kind: type[errors.Error]
) -> None:
    house.bring()
    house.rest()
    house.vault.down = True
    house.bring()
    house.happens(1, compromised_at=START, revoke_first=True)
    house.rest()
    house.vault.down = False

    def untold(_: int) -> None:
        raise kind("the journal is full, or another process writes to it")

    record = house.record
    comparing = Comparing(
        house.vault,
        record,
        copies.goal(record, house.clock.now()),
        own=False,
        beside=house.own,
        proven=lambda _: True,
        secret=lambda number: house.own.get("it", number),
        goes_on=lambda: True,
        copies=untold,
    )
    assert house.vault.numbers("it") == [1]
    with pytest.raises(kind):
        comparing.converge()
    assert house.vault.numbers("it") == []


def test_who_left_the_configuration_leaves_his_mirrors_alone(house: House) -> None:
    secret = house.bring()
    house.rest()
    house.mirroring.look_after([])
    house.a_sweep_later()
    assert house.vault.read("it") == secret
    assert house.mirroring.status("it") == []


def test_while_a_backup_waits_for_its_proof_readers_keep_what_they_have(house: House) -> None:
    secret = house.bring()
    house.rest()
    house.happens(1, restored_at=START)
    for _ in range(6):
        house.a_sweep_later()
    with pytest.raises(errors.NoUsableSecret):
        house.looked_up()
    assert house.vault.read("it") == secret
    assert (house.status()["state"], house.told) == ("behind", [])
    house.happens(1, restored_at=None)
    assert house.status()["state"] == "ok"


def test_once_closed_it_makes_no_further_move(house: House) -> None:
    end = threading.Event()
    house.vault.hangs = end
    house.bring()
    assert house.vault.hung.wait(SOON)
    house.mirroring.close()
    end.set()
    house.rest()
    assert house.vault.numbers("it") == []
    assert house.told == []


# ------------------------------------------------------------------------------- what its own lost


def test_a_mirror_outlives_what_its_own_store_lost(house: House) -> None:
    secret = house.bring()
    house.rest()
    house.own.secrets.clear()
    house.mirroring.close()
    house.start()
    house.rotator.advance("it")  # takes note of the loss
    with pytest.raises(errors.NoUsableSecret):
        house.looked_up()
    house.a_sweep_later()
    assert house.vault.read("it") == secret


def test_its_own_store_being_away_does_not_make_the_mirror_wrong(house: House) -> None:
    house.bring()
    house.rest()
    house.own.down = True
    house.mirroring.close()
    house.start()
    assert house.status()["state"] == "ok"


def test_a_vaults_leftovers_go_but_not_what_nobody_knows(pointing: House) -> None:
    for _ in range(2):
        pointing.bring()
    pointing.rest()
    pointing.own.secrets["it", 99] = Secret("of a later life")
    pointing.clock.passed += SPEC.policy.observe_every
    pointing.a_sweep_later()
    assert 99 in pointing.own.numbers("it")


# ------------------------------------------------------------------------- somebody else's doings


@pytest.mark.parametrize("own", [False, True], ids=["its mirror", "its own"])
def test_a_current_one_that_was_edited_is_put_right(url: str, own: bool) -> None:
    house = House(url, own=OddVault()) if own else House(url)
    secret = house.bring()
    house.rest()
    vault = house.own if own else house.vault
    assert isinstance(vault, OddVault)
    vault.current["it"] = 1, Secret("a stranger's")
    before = len(vault.calls)
    house.clock.passed += SPEC.policy.observe_every
    house.a_sweep_later()
    assert vault.read("it") == secret
    looks = {"list", "get", "read_current"}
    assert [call for call in vault.calls[before:] if call not in looks] == ["point"]
    assert house.status("own" if own else "vault")["state"] == "ok"
    house.close()


def test_looking_at_the_current_one_costs_one_call(pointing: House) -> None:
    pointing.bring()
    pointing.rest()
    before = len(pointing.own.calls)
    pointing.clock.passed += SPEC.policy.observe_every
    pointing.a_sweep_later()
    assert pointing.own.calls[before:] == ["list", "read_current"]


def test_an_edited_version_is_given_to_nobody(url: str) -> None:
    house = House(url, own=OddVault(), mirrors={})
    house.bring()
    house.rest()
    vault = house.own
    assert isinstance(vault, OddVault)
    vault.secrets["it", 1] = Secret("a stranger's")
    vault.current.clear()
    house.mirroring.close()
    house.start()
    with pytest.raises(errors.NoUsableSecret, match="not what keyman put there"):
        house.looked_up()
    assert house.status("own")["state"] == "failing"
    assert vault.read("it") is None
    house.again()
    assert not house.record.versions[0].stored
    with pytest.raises(errors.NoUsableSecret):
        house.looked_up()
    house.close()


def test_no_mirror_is_filled_with_an_edited_version(house: House) -> None:
    house.bring()
    house.rest()
    house.vault.secrets.clear()
    house.vault.current.clear()
    house.own.secrets["it", 1] = Secret("a stranger's")
    house.mirroring.close()
    house.start()
    assert house.status()["state"] == "failing"
    assert house.vault.secrets == {}


KEYED = replace(SPEC, claims=True, key_id="key")


def claimed_by(owner: str) -> Observed:
    return Observed(START, (KeySeen("key", "ACTIVE", (), owner=owner),))


def test_who_lost_the_key_to_another_only_looks(url: str) -> None:
    house = House(url, own=OddVault(), spec=KEYED)
    house.bring()
    house.rest()
    house.seen(claimed_by("somebody else"))
    for vault in (house.own, house.vault):
        assert isinstance(vault, OddVault)
        vault.secrets["it", 7] = Secret("theirs")
        vault.current["it"] = 7, Secret("theirs")
        vault.calls.clear()
    house.happens(1, dead_at=START)
    for _ in range(3):
        house.clock.passed += SPEC.policy.observe_every
        house.a_sweep_later()
    for name, vault in (("own", house.own), ("vault", house.vault)):
        assert isinstance(vault, OddVault)
        assert set(vault.calls) <= {"list", "get", "read_current"}
        assert vault.read("it") == Secret("theirs")
        status = house.status(name)
        assert (status["state"], house.told) == ("behind", [])
        assert "somebody else" in status["error"]
    house.seen(claimed_by(house.spec.installation))
    house.happens(1, dead_at=None)
    house.a_sweep_later()
    assert house.vault.numbers("it") == [1, 7]
    house.close()


def test_what_readers_have_and_this_journal_never_heard_of_stays(url: str) -> None:
    """Its home was put back as it was a while ago, and nobody said `restore`."""
    house = House(url, own=OddVault())
    house.bring()
    house.rest()
    for vault in (house.own, house.vault):
        assert isinstance(vault, OddVault)
        vault.secrets["it", 3] = Secret("of later")
        vault.current["it"] = 3, Secret("of later")
    house.again()
    house.happens(1, dead_at=START)
    house.a_sweep_later()
    assert house.vault.read("it") == Secret("of later")
    assert house.status()["state"] == "behind"
    assert "knows nothing of" in house.status()["error"]
    house.clock.passed += timedelta(seconds=1)
    secret = house.bring()
    house.a_sweep_later()
    for vault in (house.own, house.vault):
        assert isinstance(vault, OddVault)
        assert vault.read("it") == secret
        assert 3 in vault.numbers("it"), "who else may need it is not known"
    assert house.status()["state"] == "ok"
    house.close()


@dataclass
class Way(OddVault):
    """One of several ways to one place."""

    def place(self, name: str, number: int) -> str | None:
        self._asked("place")
        return str(id(self.secrets))


def test_a_mirror_that_is_its_own_store_by_another_name_drops_nothing(url: str) -> None:
    own = Way()
    mirror = Way(secrets=own.secrets, current=own.current)
    house = House(url, own=own, mirrors={"vault": mirror})
    house.bring()
    house.bring()
    house.rest()
    house.happens(1, stage=Stage.RETIRED)
    house.rest()
    assert own.numbers("it") == [1, 2]
    assert house.status()["state"] == "failing"
    assert "the very place" in house.status()["error"]
    mirror.secrets = dict(own.secrets)  # it is another one from now on
    house.a_sweep_later()
    assert (own.numbers("it"), mirror.numbers("it")) == ([1, 2], [2])
    house.close()


# -------------------------------------------------------------------- what another store still has


def moved(url: str, **more: Any) -> House:
    """The configuration names another store for it than before, and nothing was copied."""
    house = House(url, mirrors={}, **more)
    house.bring()
    house.bring()
    house.elsewhere["old"] = house.own
    house.own = Odd()
    return house


def test_what_is_not_in_its_store_is_fetched_from_another(url: str) -> None:
    house = moved(url)
    house.again()
    assert house.looked_up() == Secret("sk-2")
    assert house.own.numbers("it") == [1, 2]
    assert house.history().count("secret moved from old") == 2
    assert "secret lost" not in house.history()
    house.close()


def test_what_was_fetched_stands_in_the_history_though_somebody_saved_meanwhile(url: str) -> None:
    house = moved(url)

    def somebody_saves(what: str) -> None:
        if what == "put" and house.own.calls.count("put") == 1:
            house.journal.save(house.record, None)

    house.own.before = somebody_saves
    with pytest.raises(errors.Conflict):
        house.again()
    assert "secret moved from old" not in house.history()
    house.rotator.advance("it")
    assert house.own.calls.count("put") == 2, "nothing was fetched twice"
    assert house.history().count("secret moved from old") == 2
    house.close()


def test_what_another_store_has_is_its_secret_or_it_is_lost(url: str) -> None:
    house = moved(url)
    old = house.elsewhere["old"]
    for number in (1, 2):
        old.put("it", number, Secret("a stranger's"))
    house.again()
    assert house.own.secrets == {}
    assert house.history().count("secret lost") == 2
    with pytest.raises(errors.NoUsableSecret):
        house.looked_up()
    house.close()


def test_a_damaged_one_is_mended_from_a_mirror(house: House) -> None:
    secret = house.bring()
    house.rest()
    house.elsewhere["vault"] = house.vault
    house.own.secrets["it", 1] = Secret("a stranger's")
    house.again()
    assert house.looked_up() == secret
    assert house.own.secrets["it", 1] == secret


def test_nothing_is_lost_while_somebody_who_may_have_it_cannot_be_asked(url: str) -> None:
    house = moved(url)
    old = house.elsewhere["old"]
    assert isinstance(old, Odd)
    old.down = True
    for _ in range(6):
        with pytest.raises(errors.StoreFailed, match=r"old can't be asked for it: .*sealed"):
            house.again()
    record = house.record
    assert "unseal it" in (record.last_hint or "")
    assert all(v.stored for v in record.versions)
    old.down = False
    house.again()
    assert house.looked_up() == Secret("sk-2")
    assert house.record.last_error is None
    house.close()


def test_what_was_taken_for_lost_is_found_when_its_store_is_named_again(url: str) -> None:
    house = moved(url)
    old = house.elsewhere.pop("old")
    house.again()
    with pytest.raises(errors.NoUsableSecret):
        house.looked_up()
    said = trouble(house.record, None, START)
    assert said is not None
    assert "store copy" in said[1]
    house.elsewhere["old"] = old
    house.again()
    assert house.looked_up() == Secret("sk-2")
    assert trouble(house.record, None, START) is None
    house.close()


@pytest.mark.parametrize(("failures", "waits"), [(0, True), (2, True), (3, False)])
def test_what_can_be_issued_anew_does_not_wait_for_ever(
    url: str, failures: int, waits: bool
) -> None:
    house = moved(url)
    old = house.elsewhere["old"]
    assert isinstance(old, Odd)
    old.down = True
    house.mirroring.close()
    house.start()
    spec = replace(house.spec, issues=True, observes=True)
    record = replace(house.record, spec=spec, failures=failures)
    performer = Performer(house.clock, new_id, house.spec.installation)
    asked = partial(performer.kept, house.managed, record, record.versions[1])
    if waits:
        with pytest.raises(errors.StoreFailed):
            asked()
    else:
        assert asked() is None
    house.close()


def test_who_does_not_drive_the_key_fetches_nothing(url: str) -> None:
    house = moved(url, spec=KEYED)
    house.seen(claimed_by("somebody else"))
    house.again()
    assert house.own.secrets == {}
    house.close()


def test_a_changed_store_is_looked_into_without_a_new_start(url: str) -> None:
    house = House(url, mirrors={})
    house.bring()
    house.rotator.advance("it")
    before, house.own = house.own, Odd()
    moved_to = replace(house.managed, store=house.own, store_name="new", elsewhere={"own": before})
    house.rotator.managed = {"it": moved_to}
    house.rotator.advance("it")
    assert house.own.numbers("it") == [1]
    house.close()


# -------------------------------------------------------------------------------- lookups and store


def test_lookups_come_back_with_the_store(house: House) -> None:
    secret = house.bring()
    house.rest()
    house.mirroring.close()
    house.own.down = True
    house.start()  # a start is not stopped by it
    with pytest.raises(errors.NoUsableSecret, match="can't be read: the store is sealed"):
        house.looked_up()
    house.a_sweep_later()
    house.own.down = False
    house.a_sweep_later()
    assert house.looked_up() == secret


def test_a_promotion_asks_the_store_for_nothing(url: str) -> None:
    """Its secret was read when it came: a vault that goes away now cuts nobody off."""
    house = House(url)
    house.bring()
    record = house.record
    now = house.clock.now()
    house.own.secrets["it", 2] = Secret("sk-next")
    wish = replace(record.versions[0], number=2, stage=Stage.PENDING, promoted_at=None)
    wish = replace(wish, fingerprint=Secret("sk-next").fingerprint(house.spec.installation))
    pending = replace(record, versions=(*record.versions, wish), revision=record.revision + 1)
    house.publisher.publish(house.managed, pending)
    house.own.down = True
    old = replace(record.versions[0], stage=Stage.PREVIOUS, replaced_at=now)
    new = replace(wish, stage=Stage.CURRENT, promoted_at=now)
    promoted = replace(pending, versions=(old, new), revision=pending.revision + 1)
    house.publisher.publish(house.managed, promoted)
    assert house.looked_up() == Secret("sk-next")
    house.close()


@pytest.mark.parametrize("value", ["sk-fits", "k" * (16 * 1024 + 1)])
def test_what_cannot_be_kept_is_not_even_shown_to_the_provider(url: str, value: str) -> None:
    house = House(url, spec=replace(SPEC, probes=True))
    house.own.down = value == "sk-fits"
    with pytest.raises(errors.StoreFailed):
        house.rotator.put("it", Secret(value), None, "ada")
    house.own.down = False
    with pytest.raises(AttributeError, match="verify"):  # now it would be asked for a verdict
        house.rotator.put("it", Secret("sk-fits"), None, "ada")
    house.close()


# ---------------------------------------------------------------------------------- what is told


def test_trouble_is_told_once_when_it_comes_and_once_when_it_is_over(house: House) -> None:
    house.vault.down = True
    house.bring()
    house.rest()
    for _ in range(3):
        house.a_sweep_later()
    assert house.told == [MIRROR_FAILING]
    house.vault.down = False
    house.a_sweep_later()
    house.bring()
    house.rest()
    assert house.told == [MIRROR_FAILING, MIRROR_OK]
    lines = [one for _, one in house.journal.news(0, 100) if one.what in house.told]
    assert [one.reason.partition(":")[0] for one in lines] == ["vault", "vault"]
    assert "sealed" in lines[0].reason


def test_it_is_told_once_over_restarts_too(house: House) -> None:
    house.vault.down = True
    house.bring()
    house.rest()
    for _ in range(2):
        house.mirroring.close()
        house.start()
        house.rest()
    assert house.told == [MIRROR_FAILING]
    house.mirroring.close()
    house.vault.down = False
    house.start()
    house.rest()
    assert house.told == [MIRROR_FAILING, MIRROR_OK]


def test_figures_say_who_is_behind(house: House) -> None:
    def behind() -> dict[tuple[str, str], bool]:
        house.rest()
        return house.rotator.meter.read().behind

    house.bring()
    assert behind() == {("it", "vault"): False}
    house.vault.down = True
    house.bring()
    assert behind() == {("it", "vault"): True}
    house.vault.down = False
    house.a_sweep_later()
    assert behind() == {("it", "vault"): False}


def test_no_secret_is_in_what_is_told(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    house.vault.down = True
    secret = house.bring().reveal()
    house.rest()
    said = caplog.text + repr(house.mirroring.status("it")) + repr(house.journal.news(0, 100))
    assert "sealed" in said
    assert secret not in said


# ------------------------------------------------------------------------------- without a daemon


def test_a_command_lets_its_mirrors_follow_once(url: str) -> None:
    house = House(url, alone=True)
    assert house.mirroring.settle(SOON) == []
    assert house.vault.calls == [], "it changed nothing"
    secret = house.bring()
    assert house.vault.calls == []
    assert house.mirroring.settle(SOON) == []
    assert house.vault.read("it") == secret
    house.vault.down = True
    house.bring()
    (said,) = house.mirroring.settle(SOON)
    assert "its mirror vault is behind: the store is sealed" in said
    house.close()


def test_once_in_a_while_it_looks_at_every_one(url: str) -> None:
    """As `daemon --once` does, which may be all there ever is."""
    house = House(url, alone=True)
    secret = house.bring()
    house.start()
    assert house.mirroring.settle(SOON, every=True) == []
    assert house.vault.read("it") == secret
    house.close()


# ------------------------------------------------------------------------------------------ lanes


def test_a_lane_that_hangs_holds_up_itself_only() -> None:
    end, done = threading.Event(), threading.Event()

    def work(lane: str, what: str) -> None:
        if lane == "slow":
            assert end.wait(SOON)
        elif what == "last":
            done.set()

    lanes = Lanes(work, width=2)
    for n in range(10):
        lanes.ask("slow", str(n))
    for what in ("first", "last"):
        lanes.ask("fast", what)
    assert done.wait(SOON)
    assert not lanes.wait(0.01)
    end.set()
    assert lanes.wait(SOON)


def test_a_lane_does_a_few_things_at_once_but_not_all() -> None:
    together, inside = threading.Barrier(2), threading.Semaphore(2)

    def work(lane: str, what: str) -> None:
        assert inside.acquire(blocking=False), "more than two"
        together.wait(SOON)
        inside.release()

    lanes = Lanes(work, width=2)
    for n in range(6):
        lanes.ask("lane", str(n))
    assert lanes.wait(SOON)
    assert not together.broken


def test_what_is_asked_for_while_under_way_is_done_once_more() -> None:
    begun, go_on, times = threading.Event(), threading.Event(), []

    def work(lane: str, what: str) -> None:
        times.append(what)
        begun.set()
        assert go_on.wait(SOON)

    lanes = Lanes(work)
    lanes.ask("lane", "it")
    assert begun.wait(SOON)
    for _ in range(5):
        lanes.ask("lane", "it")
    assert lanes.busy("it")
    go_on.set()
    assert lanes.wait(SOON)
    assert times == ["it", "it"]
    assert not lanes.busy("it")


def test_a_fault_ends_no_lane() -> None:
    done = []

    def work(lane: str, what: str) -> None:
        if what == "bad":
            raise KeyError(what)
        done.append(what)

    lanes = Lanes(work, width=1)
    for what in ("bad", "good"):
        lanes.ask("lane", what)
    assert lanes.wait(SOON)
    assert done == ["good"]


def test_closed_lanes_begin_nothing() -> None:
    done: list[str] = []
    lanes = Lanes(lambda _, what: done.append(what))
    lanes.close()
    lanes.ask("lane", "it")
    assert lanes.idle
    assert done == []


# ----------------------------------------------------------------------------------------- history


def test_the_history_says_of_each_copy_where_it_is(house: House) -> None:
    for _ in range(2):
        house.bring()
        house.rest()
        house.a_sweep_later()
    assert [line for line in house.history() if "vault" in line] == ["mirrored to vault"] * 2


CLOSED = "CREATE TRIGGER closed BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'full'); END"


def in_the_file(house: House, statement: str) -> None:
    with house.journal._writing() as connection:
        connection.exec_driver_sql(statement)


def test_nothing_is_put_where_the_history_does_not_say_so(url: str) -> None:
    house = House(url, alone=True)
    house.bring()
    in_the_file(house, CLOSED)
    for _ in range(2):
        assert "full" in house.mirroring.settle(SOON)[0]
        assert house.vault.secrets == {}
    in_the_file(house, "DROP TRIGGER closed")
    assert house.mirroring.settle(SOON) == []
    assert house.vault.numbers("it") == [1]
    assert house.history().count("mirrored to vault") == 1
    house.close()


def test_what_leaves_a_mirror_does_not_wait_for_the_history(house: House) -> None:
    house.bring()
    house.rest()
    in_the_file(house, CLOSED)
    house.happens(1, dead_at=START)
    house.rest()
    assert house.vault.read("it") is None


def test_it_is_said_once_however_often_it_is_tried(house: House) -> None:
    """And again for what somebody took out of the mirror."""

    def full(what: str) -> None:
        if what == "put":
            raise errors.StoreFailed("the version limit is reached")

    house.vault.before = full
    house.bring()
    for _ in range(5):
        house.a_sweep_later()
    assert house.history().count("mirrored to vault") == 1
    house.vault.before = lambda _: None
    house.a_sweep_later()
    assert (house.status()["state"], house.vault.numbers("it")) == ("ok", [1])
    assert house.history().count("mirrored to vault") == 1
    house.vault.secrets.clear()
    house.clock.passed += SPEC.policy.observe_every
    house.a_sweep_later()
    assert house.vault.numbers("it") == [1]
    assert house.history().count("mirrored to vault") == 2


def test_trouble_with_a_mirror_stands_in_the_history(house: House) -> None:
    house.rest()  # its first look, with nothing there yet
    house.vault.down = True
    house.bring()
    house.rest()
    house.vault.down = False
    house.a_sweep_later()
    kinds = [line.partition(" ")[0] for line in house.history()]
    assert kinds == ["put", "mirror-failing", "mirrored", "mirror-ok"]
