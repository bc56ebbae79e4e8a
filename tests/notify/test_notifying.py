"""Telling from a real journal: kills at every point, targets that fail, reloads, old journals."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keyman.config import NetworkSettings, Told
from keyman.core.model import Secret
from keyman.db.journal import Journal
from keyman.db.news import KEPT
from keyman.errors import StoreFailed
from keyman.notify import GATHERS, LONGEST_PAUSE, LOOKS_EVERY, UNSURE_AT_MOST
from keyman.notify.memo import memo_of
from keyman.notify.standing import standing
from tests.notify.office import SOON, Ledger, Office, Power, PowerCut, hook

FAILING = "genai is failing: no answer"
WELL = "genai is well again"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(f"sqlite:///{tmp_path}/keyman.db")
    yield made
    made.teller.close()
    made.journal.close()


def metrics(office: Office, name: str = "hook") -> tuple[int, int, bool]:
    told = office.meter.read().told[name]
    return told.sent, told.failed, told.failing


def standing_of(office: Office) -> list[Any]:
    return standing(office.targets, office.journal.told())


# ---------------------------------------------------------------------------------------- the rule


def test_what_happens_is_told_soon_and_once(office: Office) -> None:
    office.happens("failing", reason="no answer")
    assert office.heard() == []
    office.passes(seconds=GATHERS + 5)
    assert office.heard() == [FAILING]
    office.passes(hours=1)
    office.happens("ok")
    office.passes(minutes=1)
    assert office.heard() == [FAILING, WELL]
    assert metrics(office) == (2, 0, False)


def test_what_comes_together_is_gathered_first(office: Office) -> None:
    office.has("vertex", "partner")
    for name in ("genai", "vertex", "partner"):
        office.happens("failing", name, "no answer")
        office.passes(seconds=2)
    office.passes(minutes=1)
    assert office.heard() == ["3 credentials failing: no answer"]


def test_nobody_is_asked_for_while_there_is_nothing_to_say(office: Office) -> None:
    """A courier is a process: one at the start tries the address, none is begun for nothing."""
    office.passes(minutes=1)
    assert office.post.opened == 1
    office.passes(hours=1)
    office.happens("promoted", version=2)
    office.passes(minutes=5)
    assert office.post.opened == 1


def test_a_bad_address_is_told_of_at_the_start_and_until_it_is_mended(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "keyman.notify")
    office.targets = (replace(hook(), url=Secret("slak://T0psecretT0ken")), hook("other"))
    office.restarts()
    office.passes(minutes=1)
    said = [one.getMessage() for one in caplog.records]
    assert said == ["hook can't be told: apprise can't read its address"]
    assert [one["state"] for one in standing_of(office)] == ["failing", "unused"]
    assert metrics(office)[2] is True
    office.targets = (hook(), hook("other"))
    office.restarts()
    office.passes(minutes=1)
    assert [one["state"] for one in standing_of(office)] == ["unused", "unused"]
    assert office.heard() == [], "nothing was wrong but the address"


# ----------------------------------------------------------------------- what nobody knows for sure


def test_what_may_have_arrived_is_sent_thrice_at_most_and_what_follows_once(
    office: Office,
) -> None:
    """One address with a good and a bad receiver: the good one must not get it for ever."""
    office.post.partly["json://hook"] = "HTTP 403"
    office.happens("failing", reason="no answer")
    office.passes(hours=5)
    assert office.heard() == [FAILING] * UNSURE_AT_MOST
    (said,) = standing_of(office)
    assert (said["state"], said["error"], said["reached_at"]) == ("failing", "HTTP 403", None)
    office.restarts()
    office.happens("ok")
    office.passes(hours=2)
    assert office.heard() == [FAILING] * UNSURE_AT_MOST + [WELL]
    del office.post.partly["json://hook"]
    office.happens("failing", reason="no answer")
    office.passes(hours=2)
    assert office.heard()[-2:] == [WELL, FAILING]
    assert standing_of(office)[0]["state"] == "ok"


def test_what_was_not_tried_does_not_count_as_told(office: Office) -> None:
    """The courier of a message that nobody answers is killed: it takes nothing else with it."""
    office.has("vertex", "partner")
    office.passes(minutes=1)
    office.post.lost["json://hook"] = "no answer within 60 s"
    office.happens("failing", reason="no answer")
    for name in ("vertex", "partner"):
        office.happens("drift", name, reason=f"the slot of {name} is INACTIVE", version=1)
    while len(office.post.tried) < UNSURE_AT_MOST:
        office.passes(seconds=30)
    assert len(set(office.post.tried)) == 1
    del office.post.lost["json://hook"]
    office.passes(hours=1)
    assert (office.post.tried[0], office.heard()) == (FAILING, ["drift: 2 times, of 2 credentials"])


def test_a_restart_forgets_not_how_often_it_was_sent(office: Office) -> None:
    office.post.partly["json://hook"] = "no answer within 60 s"
    office.happens("failing", reason="no answer")
    for _ in range(6):
        office.passes(minutes=1)
        office.restarts()
    office.passes(hours=1)
    assert office.heard() == [FAILING] * UNSURE_AT_MOST


def test_what_surely_did_not_arrive_is_tried_for_as_long_as_it_takes(office: Office) -> None:
    office.post.refuses["json://hook"] = "HTTP 500"
    office.happens("failing", reason="no answer")
    office.passes(hours=5)
    del office.post.refuses["json://hook"]
    office.passes(hours=1)
    assert office.heard() == [FAILING]


# -------------------------------------------------------------------------------------------- kills


def life(url: str, power: Power) -> Office:
    """Trouble, its end, drift; the power may go, and comes back ten minutes later."""
    office = Office(url, power=power, inline=True)
    told = (("failing", "no answer"), ("drift", "its slot is INACTIVE"), ("ok", ""), ("down", "x"))
    for what, why in told:
        office.happens(what, reason=why)
        try:
            office.passes(minutes=12)
        except PowerCut:
            power.cut_at = None
            office.restarts()
            office.passes(minutes=12)
    office.passes(minutes=12)
    return office


@pytest.mark.slow
def test_a_kill_at_any_point_repeats_at_most_one_message_and_loses_none(tmp_path: Path) -> None:
    calm = life(f"sqlite:///{tmp_path}/calm.db", Power())
    told, effects = calm.heard(), calm.power.effects
    assert len(told) == 4
    assert effects >= 16, "sent and kept, each of them with a before and an after"
    for cut_at in range(effects):
        cut = life(f"sqlite:///{tmp_path}/{cut_at}.db", Power(cut_at))
        heard = cut.heard()
        repeated = [one for place, one in enumerate(heard[1:]) if one == heard[place]]
        once = [one for place, one in enumerate(heard) if place == 0 or one != heard[place - 1]]
        assert len(repeated) <= 1, (cut_at, heard)
        assert once == told, (cut_at, heard)


def test_a_restart_repeats_nothing_and_reminds_as_if_there_had_been_none(office: Office) -> None:
    office.happens("down", reason="it expired")
    office.passes(minutes=1)
    for _ in range(5):
        office.restarts()
        office.passes(minutes=5)
    assert len(office.heard()) == 1
    office.restarts()
    office.passes(minutes=40)
    assert len(office.heard()) == 2, "an hour is over"


def test_weeks_without_a_daemon_are_one_message(office: Office) -> None:
    office.passes(minutes=1)
    office.teller.close()
    for _ in range(50):
        office.happens("failing", reason="no answer")
        office.jumps(minutes=5)
        office.happens("ok")
        office.jumps(hours=12)
    office.restarts()
    office.passes(minutes=30)
    assert office.heard() == ["50 things happened that are over by now"]


# ------------------------------------------------------------------------------ targets that fail


def test_a_target_that_refuses_is_tried_again_and_told_of_once(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.post.refuses["json://hook"] = "HTTP 500"
    office.happens("failing", reason="no answer")
    for number in range(90):  # whatever else happens is no reason to hurry
        office.passes(minutes=2)
        office.happens("promoted", version=number)
    opened = office.post.opened
    assert 10 <= opened <= 3 * 3600 / LONGEST_PAUSE + 8, "less and less often"
    assert [one.getMessage() for one in caplog.records] == ["hook can't be told: HTTP 500"]
    (said,) = standing_of(office)
    assert (said["state"], said["error"], said["reached_at"]) == ("failing", "HTTP 500", None)
    assert metrics(office) == (0, opened, True)
    office.post.refuses.clear()
    office.passes(minutes=20)
    assert office.heard() == [FAILING]
    (said,) = standing_of(office)
    assert (said["state"], said["error"]) == ("ok", None)
    assert metrics(office) == (1, opened, False)


def test_what_is_over_before_it_could_be_told_is_told_as_that(office: Office) -> None:
    office.post.refuses["json://hook"] = "HTTP 500"
    office.happens("failing", reason="no answer")
    office.passes(minutes=10)
    office.happens("ok")
    office.post.refuses.clear()
    office.passes(minutes=30)
    assert office.heard() == ["genai failed and is well again"]


def test_one_that_hangs_keeps_nobody_waiting(office: Office) -> None:
    office.targets = (hook("slow"), hook("quick"))
    office.teller.use(office.targets, NetworkSettings())
    office.post.hangs["json://slow"] = threading.Event()
    office.happens("failing", reason="no answer")
    office.clock.passed += 2 * office.clock.passed.resolution
    office.jumps(seconds=60)
    office.teller.tend()
    deadline = threading.Event()
    for _ in range(600):
        if office.heard("quick"):
            break
        deadline.wait(0.1)
    assert office.heard("quick") == [FAILING]
    assert office.heard("slow") == []
    office.happens("ok")  # a rotation's save waits for nobody
    office.post.hangs["json://slow"].set()
    assert office.teller.lanes.wait(SOON)
    assert office.heard("slow") == [FAILING]


def test_an_address_that_apprise_can_t_read_is_told_of_without_it(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.targets = (replace(hook(), url=Secret("slak://T0psecret")),)
    office.teller.use(office.targets, NetworkSettings())
    office.happens("failing", reason="no answer")
    office.passes(minutes=2)
    assert standing_of(office)[0]["error"] == "apprise can't read its address"
    assert "T0psecret" not in caplog.text + str(office.journal.told()) + repr(office.targets)


# ------------------------------------------------------------------------------- who hears of what


def test_each_target_hears_what_it_chose(office: Office) -> None:
    office.has("vertex")
    office.targets = (
        hook("all"),
        hook("down", Told.DOWN, Told.OK),
        hook("vertex", credentials=["vertex"]),
    )
    office.teller.use(office.targets, NetworkSettings())
    office.happens("failing", reason="no answer")
    office.happens("down", "vertex", "it expired")
    office.passes(minutes=1)
    office.happens("ok")
    office.passes(minutes=1)
    down = "vertex is down: no usable secret: it expired"
    assert office.heard("all") == [down, FAILING, WELL]
    assert office.heard("down") == [down]
    assert office.heard("vertex") == [down]


def test_a_reload_that_adds_a_target_tells_it_what_is_wrong_and_nothing_of_before(
    office: Office,
) -> None:
    office.has("vertex")
    office.passes(minutes=1)
    office.happens("failing", reason="no answer")
    office.happens("drift", "vertex", "its slot is INACTIVE")
    office.passes(minutes=5)
    office.targets = (hook(), hook("new"))
    office.teller.use(office.targets, NetworkSettings())
    office.passes(minutes=5)
    assert office.heard("new") == [FAILING]
    assert len(office.heard()) == 2, "and the other one hears nothing twice"


def test_a_target_that_left_is_forgotten_and_begins_anew_if_it_comes_back(office: Office) -> None:
    office.happens("failing", reason="no answer")
    office.passes(minutes=1)
    office.teller.use((), NetworkSettings())
    assert office.journal.told() == {}
    office.passes(minutes=1)
    office.teller.use((hook(),), NetworkSettings())
    office.passes(minutes=1)
    assert office.heard() == [FAILING, FAILING]


# --------------------------------------------------------------------------- journals that are odd


def test_news_that_are_not_kept_any_more_are_made_up_for_by_the_records(office: Office) -> None:
    office.has("vertex")
    office.happens("failing", reason="no answer")
    office.passes(minutes=1)
    office.happens("ok")
    office.happens("down", "vertex", "it expired")
    memo = memo_of(office.journal.told()["hook"])
    assert memo
    forget(office.journal, upto=memo.seen + 2)
    office.happens("promoted", version=3)
    office.passes(minutes=1)
    assert office.heard() == [FAILING, "vertex is down: no usable secret: it expired", WELL]


def forget(journal: Journal, upto: int) -> None:
    with journal._writing() as connection:
        connection.exec_driver_sql("DELETE FROM news WHERE seq <= ?", (upto,))
    assert upto < KEPT


def test_a_journal_that_was_restored_from_an_old_copy_repeats_nothing(office: Office) -> None:
    office.happens("failing", reason="no answer")
    office.passes(minutes=1)
    with office.journal._writing() as connection:
        connection.exec_driver_sql(
            "UPDATE meta SET value = replace(value, '\"seen\":1', '\"seen\":99')"
        )
    assert '"seen":99' in office.journal.told()["hook"]
    office.restarts()
    office.passes(minutes=30)
    assert office.heard() == [FAILING]
    office.happens("ok")
    office.passes(minutes=2)
    assert office.heard() == [FAILING, WELL]


def test_a_memo_that_nobody_can_read_begins_anew(office: Office) -> None:
    office.happens("failing", reason="no answer")
    office.passes(minutes=1)
    office.journal.keep_told({"hook": "{nonsense"})
    office.restarts()
    office.passes(minutes=1)
    assert office.heard() == [FAILING, FAILING], "rather twice than never"


class Full(Ledger):
    """A journal on a disk that has no room, until somebody makes some."""

    full = True

    def keep_told(self, said: Any) -> None:
        if self.full:
            raise StoreFailed("no space left")
        super().keep_told(said)


def test_a_memo_that_can_t_be_kept_holds_as_long_as_the_process_lives(office: Office) -> None:
    office.journal.__class__ = Full
    office.happens("failing", reason="no answer")
    office.passes(hours=2)
    assert office.heard().count(FAILING) == 1
    office.journal.full = False  # type: ignore[attr-defined]
    office.happens("ok")
    office.passes(minutes=2)
    office.restarts()
    office.passes(minutes=10)
    assert office.heard().count(FAILING) == 1
    assert office.heard().count(WELL) == 1


class Gone(Ledger):
    def load_all(self, specs: Any) -> Any:
        raise StoreFailed("the disk is gone")

    def news(self, seen: int, many: int) -> Any:
        raise StoreFailed("the disk is gone")

    def keep_told(self, said: Any) -> None:
        raise StoreFailed("the disk is gone")


def test_a_journal_that_can_t_be_read_is_told_of_once(office: Office) -> None:
    office.passes(minutes=12)
    office.journal.__class__ = Gone
    office.passes(hours=5)
    assert office.heard() == [
        "keyman's own work does not go on: the journal fails: the disk is gone"
    ]
    office.journal.__class__ = Ledger
    office.passes(minutes=2)
    assert office.heard()[1:] == ["keyman's own work goes on again"]


def test_turns_that_fail_are_told_after_a_minute_and_silence_after_two_hours(
    office: Office,
) -> None:
    watch = office.teller.standstill
    office.turns = False
    watch.failed("genai", "no space left")
    office.passes(seconds=50)
    watch.ended("genai")
    office.passes(minutes=30)
    assert office.heard() == []
    watch.failed("genai", "no space left")
    office.passes(minutes=3)
    assert office.heard() == [
        "keyman's own work does not go on: the turns of genai fail: no space left"
    ]
    watch.ended("genai")
    office.passes(minutes=2)
    silent = Office(office.url.replace("keyman.db", "silent.db"), turns=False)
    for _ in range(130):
        silent.passes(minutes=1)
    (said,) = silent.heard()
    assert said.startswith("keyman's own work does not go on: no credential came to the end")
    silent.teller.close()


# ------------------------------------------------------------------------------- a command alone


def test_a_command_tells_before_it_ends_and_says_who_could_not_be_told(tmp_path: Path) -> None:
    office = Office(f"sqlite:///{tmp_path}/keyman.db")
    office.happens("failing", reason="no answer")
    assert office.teller.settle(SOON) == []
    assert office.heard() == [FAILING]
    office.happens("ok")
    office.post.refuses["json://hook"] = "HTTP 500"
    assert office.teller.settle(SOON) == ["hook could not be told: HTTP 500"]
    office.teller.close()


def test_closing_waits_for_nobody(office: Office) -> None:
    office.post.hangs["json://hook"] = threading.Event()
    office.happens("failing", reason="no answer")
    office.jumps(seconds=LOOKS_EVERY)
    office.teller.tend()
    with suppress(Exception):
        office.teller.close()
    assert not office.teller.lanes.idle
    office.post.hangs["json://hook"].set()
    assert office.teller.lanes.wait(SOON)
