"""`keyman history` and `keyman audit verify`: what an auditor finds, with a real daemon at work."""

from __future__ import annotations

import os
import re
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from keyman.audit_verify import said_in
from keyman.db.audit import KEPT_AT_LEAST, KEPT_FOR
from keyman.db.journal import Event, Journal
from keyman.errors import StoreFailed
from tests.commands.test_reading import files
from tests.commands.world import Home, home, until

PASSPHRASE = "correct horse battery staple"
WHO = f"uid {os.getuid()} ("
CLOSED = "CREATE TRIGGER closed BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'full'); END"


def entries(place: Home, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = place.keyman("history", *words, "--json").json["entries"]
    return found


def lines(place: Home, *words: str) -> list[str]:
    """`what` and who, of everything."""
    every = entries(place, "--since", "1h", *words)
    return [f"{one['what']} by {(one['by'] or 'nobody').split()[0]}" for one in every]


def in_the_file(place: Home, statement: str) -> None:
    """By another program, with the journal's own SQLite: two in one process lose their locks."""
    journal = Journal.open(place.settings.database, migrate=False)
    with closing(journal), journal._writing() as connection:
        connection.exec_driver_sql(statement)


def verified(place: Home, *words: str) -> Any:
    return place.run("audit", "verify", "--json", *words)


def test_a_rotation_is_told_with_who_why_and_how_long(place: Home) -> None:
    place.start()
    with place.daemon():
        assert place.keyman("rotate", "genai", "--reason", "audit").status == 0
        found = entries(place, "genai")
    told = {one["what"]: one for one in found}
    ordered = told["ordered rotate"]
    assert (ordered["by"].startswith(WHO), ordered["reason"]) == (True, "audit")
    request = told["request"]
    assert (request["by"], request["version"], request["slot"]) == ("daemon", 2, "key-two")
    assert "audit" in request["reason"]
    assert request["took"] is None
    for what in ("issue", "verify", "promote"):
        assert 0 <= told[what]["took"] < 60
    assert [one["entry"] for one in found] == sorted({one["entry"] for one in found})
    assert {one["credential"] for one in found} == {"genai"}
    assert all(re.fullmatch("[0-9a-f]{64}", one["hash"]) for one in found)


def test_the_same_is_read_with_and_without_a_daemon_and_leaves_no_trace(place: Home) -> None:
    place.start()
    before, alone = files(place), entries(place)
    assert files(place) == before
    with place.daemon():
        beside = entries(place)
    assert beside[: len(alone)] == alone


def test_everybody_who_acts_is_named(place: Home) -> None:
    """By what an auditor would miss if it were not there."""
    place.environ["WORDS"] = PASSPHRASE
    words = ("--passphrase-env", "WORDS")
    backup = str(place.folder / "it.backup")
    place.keyman("rotate", "genai")  # with nothing there yet
    assert place.keyman("daemon", "--once").status == 0
    with place.daemon():
        assert place.keyman("rollback", "genai").status != 0
        assert place.keyman("client", "add", "build", "--all").status == 0
        assert place.keyman("client", "revoke", "build").status == 0
        place.config.write_text(place.config.read_text().replace("overlap: 1d", "overlap: 2d"))
        assert place.keyman("reload").status == 0
        assert place.keyman("backup", "--to", backup, *words).status == 0
    assert place.keyman("rotate", "genai").status == 0
    assert place.keyman("store", "rekey").status == 0
    said = lines(place)
    for line in (
        "refused rotate by uid",
        "create by daemon",  # --once
        "daemon started by nobody",
        "refused rollback by uid",
        "client added by uid",
        "client revoked by uid",
        "ordered reload by uid",
        "new configuration by nobody",
        "backup by uid",
        "daemon stopped by nobody",
        "ordered rotate by uid",
        "promote by uid",  # no daemon runs: the command itself does it
        "ordered store rekey by uid",
    ):
        assert line in said, line
    [new] = [one for one in entries(place) if one["what"] == "new configuration"]
    assert new["detail"] == "changed: genai"
    assert verified(place).status == 0


@pytest.mark.slow
def test_what_somebody_does_in_the_console_is_told(place: Home) -> None:
    place.edit("defaults: {", "defaults: {observe_every: 1s, ")
    key = place.start()
    place.cloud.console("revoke", key, "key-one")
    with place.daemon():
        until(lambda: "drift by nobody" in lines(place))
        until(lambda: entries(place, "genai")[-1]["what"] != "request")
    drift = next(one for one in entries(place) if one["what"] == "drift")
    assert (drift["version"], drift["slot"]) == (1, "key-one")
    assert drift["reason"]


def test_lookups_are_not_in_it(place: Home) -> None:
    place.start()
    with place.daemon():
        before = len(entries(place))
        for words in (("get", "genai"), ("env", "genai"), ("status",), ("list",)):
            assert place.keyman(*words).status == 0
        assert len(entries(place)) == before


# --------------------------------------------------------------------------------- how it is asked


def test_it_may_be_limited(place: Home) -> None:
    place.start()
    every = entries(place)
    assert entries(place, "--limit", "2") == every[-2:]
    assert entries(place, "--since", "1h") == every
    time.sleep(0.01)
    assert entries(place, "--since", "0.001s") == []
    assert "older ones" in place.keyman("history", "--limit", "2").err


def test_of_what_nobody_knows(place: Home) -> None:
    assert place.keyman("history").out == "nothing happened\n"
    assert place.keyman("history", "genai").out == "nothing happened\n"
    for name in ("nobody", "gen ai", "genai\n", "../x"):
        assert place.keyman("history", "--", name).status == 3
    assert not place.state.exists()
    assert place.keyman("audit", "verify").status == 6


def test_of_what_left_the_configuration(place: Home) -> None:
    place.start()
    place.config.write_text("log: {level: warning}\n")
    assert place.keyman("forget", "genai").status == 0
    said = lines(place, "genai")
    assert said[-2:] == ["ordered forget by uid", "forgotten by uid"]


# ------------------------------------------------------------------------------------------ judging


def test_the_log_says_where_the_history_ends(place: Home) -> None:
    place.configure(overlap="1s")
    place.edit("log: {level: warning}", "log: {level: info}")
    place.start()
    log = place.folder / "daemon.log"
    with place.daemon():
        for _ in range(2):
            assert place.keyman("rotate", "genai").status == 0
        promoted = [one for one in entries(place) if one["what"] == "promote"][1:]
        until(lambda: {(one["entry"], one["hash"]) for one in promoted} <= set(said_in(log)))
    last = entries(place)[-1]
    assert last["what"] == "daemon stopped"
    assert said_in(log)[-1] == (last["entry"], last["hash"])
    done = verified(place, "--log", str(log))
    assert (done.status, done.json["ok"], done.json["heads"]) == (0, True, len(said_in(log)))
    end = f"{last['entry']}:{last['hash']}"
    assert place.run("audit", "verify", "--head", end).out.startswith("whole: ")
    cut_tail_and_head_row(place, last["entry"] - 3)
    assert verified(place).status == 0  # this is why the log has it
    for words in (("--log", str(log)), ("--head", end)):
        done = verified(place, *words)
        assert (done.status, done.json["misfit"]["what"]) == (1, "log")
        assert "tail" in done.json["misfit"]["means"]


@pytest.mark.slow
def test_the_log_tells_of_what_was_pruned(place: Home) -> None:
    place.edit("log: {level: warning}", "log: {level: info}")
    log, now = place.folder / "daemon.log", datetime.now(UTC)
    with place.open() as app:
        for at in (now - 2 * KEPT_FOR, now):
            app.journal.note(*[Event(at, "", f"{n}") for n in range(KEPT_AT_LEAST)])
    kept = [f"{one['entry']}:{one['hash']}" for one in entries(place, "--limit", "2000")]
    with place.daemon():
        until(lambda: "audit: pruned 1000 entries" in log.read_text())
        until(lambda: "pruned" in {one["what"] for one in entries(place)})
    done = verified(place, "--log", str(log), "--head", kept[4], "--head", kept[1000])
    assert (done.status, done.json["pruned"], done.json["misfit"]) == (0, 1, None)
    assert (
        "were pruned since: 1"
        in place.run("audit", "verify", f"--head={kept[4]}", f"--log={log}").out
    )
    assert verified(place, "--head", kept[1000]).status == 0
    done = verified(place, "--head", kept[4])
    assert (done.status, done.json["misfit"]["what"]) == (1, "log")
    assert "no log that was given" in done.json["misfit"]["means"]


def cut_tail_and_head_row(place: Home, last: int) -> None:
    in_the_file(place, f"DELETE FROM events WHERE seq > {last}")
    seal = f"(SELECT hash FROM events WHERE seq = {last})"
    in_the_file(place, f"UPDATE chain SET seq = {last}, hash = {seal}, count = {last}")


def test_an_edit_is_found_beside_a_running_daemon(place: Home) -> None:
    place.start()
    with place.daemon():
        assert verified(place).status == 0
        in_the_file(place, "UPDATE events SET reason = 'none' WHERE seq = 2")
        done = place.run("audit", "verify")
        assert (done.status, done.out) == (1, "")
        first, second = done.err.splitlines()
        assert first.startswith("keyman: error: entry 2: edited: ")
        assert second.startswith("keyman: hint: ")
        assert place.keyman("get", "genai").status == 0


@pytest.mark.parametrize("head", ["5", "5:abc", "x:" + "ab" * 32, ":" + "ab" * 32])
def test_a_head_must_be_one(place: Home, head: str) -> None:
    assert place.keyman("audit", "verify", "--head", head).status == 2


def test_a_restored_home_is_whole_and_its_log_is_told_apart(place: Home) -> None:
    place.environ["WORDS"] = PASSPHRASE
    words = ("--passphrase-env", "WORDS")
    backup = str(place.folder / "it.backup")
    place.start()
    assert place.keyman("backup", "--to", backup, *words).status == 0
    assert place.keyman("rotate", "genai").status == 0
    lost = entries(place)[-1]
    assert place.keyman("restore", backup, "--replace", *words).status == 0
    said = {one["what"]: one for one in entries(place)}
    assert said["backup"]["detail"] == f"to {backup}"
    ended = f"ended with {lost['entry']}, {lost['hash']}"
    assert ended in said["backup restored"]["detail"]
    assert said["restored"]["by"].startswith(WHO)
    assert verified(place).status == 0
    done = verified(place, "--head", f"{lost['entry']}:{lost['hash']}")
    assert "backup restored" in done.json["misfit"]["means"]
    [aside] = place.state.glob("before-restore-*/keyman.db")
    done = verified(place, "--head", f"{lost['entry']}:{lost['hash']}", str(aside))
    assert done.status == 0


# ------------------------------------------------------------------------- it can't be written


def test_without_history_nothing_is_changed_and_lookups_go_on(place: Home) -> None:
    key = place.start()
    secret = place.keyman("get", "genai").out
    with place.daemon():
        before = place.cloud.key(key)
        in_the_file(place, CLOSED)
        for words in (
            ("rotate", "genai"),
            ("revoke", "genai", "--yes"),
            ("client", "add", "build", "--all"),
            ("reload",),
            ("backup", "--to", str(place.folder / "b"), "--passphrase-env", "WORDS"),
        ):
            place.environ["WORDS"] = PASSPHRASE
            done = place.keyman(*words)
            assert done.status == 1, words
            assert done.err.startswith("keyman: error: the journal failed: full"), words
        assert place.keyman("get", "genai").out == secret
        assert place.cloud.key(key) == before
        in_the_file(place, "DROP TRIGGER closed")
        assert place.keyman("rotate", "genai").status == 0
    assert place.keyman("get", "genai").out != secret
    assert verified(place).status == 0


def test_a_daemon_starts_and_serves_all_the_same(place: Home) -> None:
    place.start()
    secret = place.keyman("get", "genai").out
    in_the_file(place, CLOSED)
    with place.daemon():
        assert place.keyman("get", "genai").out == secret
    said = (place.folder / "daemon.log").read_text()
    assert "daemon started: the history does not say so: the journal failed: full" in said


@pytest.mark.slow
def test_a_step_without_its_record_is_the_last_one(place: Home) -> None:
    """It may have been done before that was known. Nothing is, afterwards, until it can be told."""
    place.configure(overlap="1s")
    place.start()
    assert place.keyman("rotate", "genai").status == 0
    time.sleep(1.1)  # what comes next is to switch the old slot off
    with place.open_as_command() as app:
        app.note("something")
        in_the_file(place, CLOSED)
        before, after = changes(place), []
        for _ in range(3):
            with pytest.raises(StoreFailed, match="full"):
                app.rotator.advance("genai")
            after.append(changes(place))
        assert before < after[0] == after[1] == after[2]
        in_the_file(place, "DROP TRIGGER closed")
        app.rotator.advance("genai")
        kinds = [event.kind for event in app.journal.events()]
    assert kinds[-3:] == ["history goes on", "claim", "retire"]
    assert verified(place).status == 0


@pytest.mark.slow
def test_a_process_that_never_wrote_any_changes_nothing_before_it_did(place: Home) -> None:
    """One a minute, from a timer, would else repeat the last step for ever."""
    place.configure(overlap="1s")
    place.start()
    assert place.keyman("rotate", "genai").status == 0
    time.sleep(1.1)  # what comes next is to switch the old slot off
    in_the_file(place, CLOSED)
    before = changes(place)
    for _ in range(2):
        with place.open_as_command() as app, pytest.raises(StoreFailed, match="full"):
            app.rotator.advance("genai")
    with place.open() as app:  # as the daemon does, which serves all the same
        app.note_if_possible("daemon started")
        with pytest.raises(StoreFailed, match="full"):
            app.rotator.advance("genai")
    assert place.keyman("daemon", "--once").status == 1
    assert changes(place) == before
    in_the_file(place, "DROP TRIGGER closed")
    assert place.keyman("daemon", "--once").status == 0
    assert changes(place) > before
    kinds = [one["what"] for one in entries(place)]
    assert kinds[-3:] == ["history goes on", "claim", "retire"]


def test_who_has_written_something_proves_nothing_again(place: Home) -> None:
    place.configure(overlap="1s")
    place.start()
    assert place.keyman("rotate", "genai").status == 0
    kinds = [one["what"] for one in entries(place)]
    assert "history goes on" not in kinds
    assert "claim" in kinds


def test_a_key_is_taken_over_only_after_that_was_written(place: Home) -> None:
    key, secrets = place.cloud.by_hand()
    place.configure(api_key_id=key)
    adopting = ("adopt", "genai", "--slot", "key-one")
    with home(place.cloud, api_key_id=key) as other:
        assert other.keyman(*adopting, stdin=secrets["key-one"]).status == 0
        assert other.keyman("deactivate", "genai", "--slot", "key-two").status == 0
        with other.open() as app:
            theirs = app.journal.installation
    with place.open():
        pass
    in_the_file(place, CLOSED)
    before = changes(place)
    done = place.keyman(*adopting, "--take-over", stdin=secrets["key-one"])
    assert (done.status, changes(place)) == (1, before), done.err
    in_the_file(place, "DROP TRIGGER closed")
    assert place.keyman(*adopting, "--take-over", stdin=secrets["key-one"]).status == 0
    assert changes(place) > before
    ordered, adopted = entries(place, "genai")[:2]
    assert (ordered["what"], adopted["what"]) == ("ordered adopt", "adopted")
    assert (ordered["by"].startswith(WHO), theirs in ordered["detail"]) == (True, True)


def changes(place: Home) -> int:
    """How often the provider was asked to change something."""
    calls = place.cloud.ask("GET", "log")
    return sum(call["operation"] in ("UpdateApiKey", "SetApiKeyState") for call in calls)
