"""Backups, and what becomes of a home that one brings back: real commands, a sandbox cloud."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from keyman.once import do_what_is_due
from keyman.sandbox.openai import OpenAISandbox
from tests.commands.killed import each_instant
from tests.commands.kinds import home_with
from tests.commands.world import GENEROUS, Cloud, Done, Home, home, until

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def words(place: Home) -> tuple[str, ...]:
    """How the passphrase is handed over in most of these tests."""
    place.environ["WORDS"] = PASSPHRASE
    return ("--passphrase-env", "WORDS")


@pytest.fixture
def backup(place: Home) -> Path:
    return place.folder / "keyman.backup"


def value(place: Home) -> str:
    return place.keyman("get", "genai").out.strip()


def rotated(place: Home) -> None:
    assert place.keyman("rotate", "genai", "--timeout", "60s").status == 0


def refused(done: Done, status: int = 1) -> str:
    """The two lines of an error, after making sure that they are two."""
    lines = done.err.splitlines()
    assert (done.status, len(lines)) == (status, 2), done.err
    assert lines[0].startswith("keyman: error: ")
    assert lines[1].startswith("keyman: hint: ")
    assert "run `keyman check`" not in lines[1]
    return done.err


def everything(folder: Path) -> dict[str, bytes]:
    """What lies in a home, but for the lock that every command takes."""
    names = {"daemon.lock", "generation", "keyring.lock"}
    found = (path for path in sorted(folder.rglob("*")) if path.name not in names)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.is_file()}


# ------------------------------------------------------------------------------- taking a backup


def test_a_backup_brings_everything_to_an_empty_home(
    place: Home, sky: Cloud, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    rotated(place)
    before = value(place), place.keyman("status", "genai", "--json").json
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with home(sky) as other:
        other.environ["WORDS"] = PASSPHRASE
        done = other.keyman("restore", str(backup), *words, "--json")
        assert done.status == 0, done.err
        assert (done.json["credentials"], done.json["aside"]) == (["genai"], [])
        assert done.json["secrets"] >= 2
        other.start()
        status = other.keyman("status", "genai", "--json").json
        assert (value(other), status["current"]) == (before[0], before[1]["current"])


def test_a_backup_is_taken_beside_a_running_daemon(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    with place.daemon():
        done = place.keyman("backup", "--to", str(backup), *words, "--json")
        assert (done.status, done.json["credentials"]) == (0, 1)
        rotated(place)
        assert place.keyman("backup", "--to", str(backup), *words).status == 0
        held = refused(place.keyman("restore", str(backup), *words), 6)
        assert "stop the daemon" in held
    assert [path.name for path in place.state.iterdir() if "backup" in path.name] == []


def test_no_secret_is_in_a_backup_in_clear(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    written = backup.read_bytes()
    assert value(place).encode() not in written
    assert b"SQLite format" not in written
    assert PASSPHRASE.encode() not in written


@pytest.mark.slow
def test_the_passphrase_comes_from_a_file_a_variable_or_nobody(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    file = place.folder / "passphrase"
    file.write_text(f"{PASSPHRASE}\nanything else\n")
    file.chmod(0o644)
    from_file = ("--passphrase-file", str(file))
    warned = place.keyman("backup", "--to", str(backup), *from_file)
    assert (warned.status, "others may read" in warned.err) == (0, True)
    assert place.keyman("restore", str(backup), *words, "--replace").status == 0
    for wrong in (
        (),
        ("--passphrase-env", "NOWHERE"),
        (*from_file, *words),
        ("--passphrase-file", str(place.folder / "nowhere")),
    ):
        refused(place.keyman("backup", "--to", str(backup), *wrong), 2)
    for short in ("", "eleven char"):
        place.environ["WORDS"] = short
        refused(place.keyman("backup", "--to", str(backup), *words), 2)


def test_what_a_killed_backup_left_is_swept_and_one_under_way_is_not(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    left, at_work = place.state / ".backup-left", place.state / ".backup-at-work"
    for folder in (left, at_work):
        folder.mkdir()
        (folder / "keyman.db").touch()
    os.utime(left, (0, 0))
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    assert (left.exists(), at_work.exists()) == (False, True)


@pytest.mark.parametrize("what", ["a file of somebody's", "a link", "a folder", "nothing above it"])
def test_what_lies_there_and_is_no_backup_is_not_overwritten(
    place: Home, backup: Path, words: tuple[str, ...], what: str
) -> None:
    place.start()
    theirs = place.folder / "theirs"
    theirs.write_text("precious")
    if what == "a file of somebody's":
        backup = theirs
    elif what == "a link":
        backup.symlink_to(theirs)
    elif what == "a folder":
        backup.mkdir()
    else:
        backup = place.folder / "nowhere" / "keyman.backup"
    done = place.keyman("backup", "--to", str(backup), *words)
    refused(done, status=1 if what == "nothing above it" else 2)
    assert theirs.read_text() == "precious"


def test_before_the_first_start_there_is_nothing_to_back_up(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    refused(place.keyman("backup", "--to", str(backup), *words), 6)
    assert not place.state.exists()


@pytest.mark.slow
def test_a_full_disk_leaves_the_earlier_backup_and_no_remains(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    earlier = backup.read_bytes()
    with place.process(
        "backup", "--to", str(backup), *words, preexec_fn=lambda: files_end_at(16 * 1024)
    ) as process:
        _, err = process.communicate(timeout=GENEROUS)
    assert process.returncode == 1
    assert err.startswith("keyman: error: "), err
    assert len(err.splitlines()) == 2
    assert backup.read_bytes() == earlier
    assert {path.name for path in place.folder.iterdir()} == {"home", "config.yaml", backup.name}
    assert [path for path in place.state.iterdir() if path.name.startswith(".")] == []


def files_end_at(size: int) -> None:
    """As on a full disk: nothing written goes beyond so many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


# ------------------------------------------------------------------------------- hostile backups


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["not ours", "a pipe", "a folder", "nothing", "cut", "wrong words"]
)
def test_what_does_not_open_changes_nothing(
    place: Home, backup: Path, words: tuple[str, ...], what: str
) -> None:
    place.start()
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    whole = backup.read_bytes()
    backup.unlink()
    if what == "not ours":
        backup.write_bytes(b"PK\x03\x04 something else entirely" * 100)
    elif what == "a pipe":
        os.mkfifo(backup)
    elif what == "a folder":
        backup.mkdir()
    elif what == "cut":
        backup.write_bytes(whole[:-1])
    elif what == "wrong words":
        backup.write_bytes(whole)
        place.environ["WORDS"] = "correct horse battery maple"
    before = everything(place.state)
    done = place.keyman("restore", str(backup), *words, "--replace")
    assert PASSPHRASE not in refused(done)
    assert everything(place.state) == before


# --------------------------------------------------------------------------------------- restoring


def test_a_home_with_a_journal_is_left_alone_without_replace(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    before = everything(place.state)
    assert "--replace" in refused(place.keyman("restore", str(backup), *words))
    assert everything(place.state) == before


@pytest.mark.slow
def test_what_was_there_is_kept_aside_and_still_opens(
    place: Home, sky: Cloud, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    rotated(place)
    newest = value(place)
    [aside] = place.keyman("restore", str(backup), *words, "--replace", "--json").json["aside"]
    assert Path(aside).parent == place.state
    names = {path.name for path in Path(aside).iterdir()}
    assert {"keyman.db", "secrets.db", "store.key"} <= names
    assert stat.S_IMODE(Path(aside).stat().st_mode) == 0o700
    with home(sky) as old:
        Path(aside).rename(old.state)
        assert value(old) == newest


@pytest.mark.slow
def test_a_restore_that_cannot_write_changes_nothing(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    before = everything(place.state)
    with place.process(
        "restore",
        str(backup),
        *words,
        "--replace",
        preexec_fn=lambda: files_end_at(16 * 1024),
    ) as process:
        _, err = process.communicate(timeout=GENEROUS)
    assert process.returncode == 1, err
    assert len(err.splitlines()) == 2, err
    assert everything(place.state) == before


def test_until_the_provider_was_asked_a_restored_home_hands_nothing_out(
    place: Home, sky: Cloud, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    secret = value(place)
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    assert place.keyman("restore", str(backup), *words, "--replace").status == 0
    done = place.keyman("get", "genai")
    assert (done.status, done.out) == (4, "")
    assert "out of a backup" in done.err
    assert "being verified" in done.err
    status = place.keyman("status", "genai", "--json").json
    assert (status["health"], status["current"]) == ("down", None)
    with sky.fault(effect="status", status=503, operation="ChatCompletions"), place.daemon():
        until(lambda: place.keyman("status", "genai", "--json").json["failures"] > 0)
        assert place.keyman("get", "genai").status == 4
    with place.daemon():
        until(lambda: place.keyman("get", "genai").status == 0)
        assert value(place) == secret


@pytest.mark.slow
def test_a_backup_from_before_two_rotations_leads_to_a_fresh_key(
    place: Home, sky: Cloud, backup: Path, words: tuple[str, ...]
) -> None:
    """Its secret is dead by then, and the slot that it knows as free has one that clients hold."""
    place.configure(overlap="2s")
    key = place.start()
    dead = value(place)
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    rotated(place)
    with place.open() as app:
        until(lambda: do_what_is_due(app) == [] and "INACTIVE" in sky.states(key).values())
    rotated(place)
    held = value(place)
    assert place.keyman("restore", str(backup), *words, "--replace").status == 0
    seen = set[str]()
    with place.daemon():

        def fresh() -> bool:
            got = place.keyman("get", "genai")
            seen.add(got.out.strip()) if got.status == 0 else None
            assert calls_with(sky, held), "what a client holds was refused"
            return got.status == 0

        until(fresh, (place.folder / "daemon.log").read_text)
    assert dead not in seen
    [new] = seen
    assert new not in (dead, held)
    assert calls_with(sky, new)
    assert calls_with(sky, held)
    current = place.keyman("status", "genai", "--json").json["current"]
    assert current["version"] > 2000


def calls_with(sky: Cloud, secret: str) -> bool:
    """A client's call: does inference take it?"""
    body = {"model": "meta.llama-3.3-70b-instruct", "messages": [{"role": "user", "content": "hi"}]}
    url = f"{sky.url}/20231130/actions/v1/chat/completions"
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    try:
        with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=GENEROUS) as answer:
            return bool(answer.status == 200)
    except HTTPError:
        return False


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_the_old_home_or_one_to_be_restored_again(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    secret = value(place)
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    seen = set[int]()
    for ended in each_instant(place, "restore", str(backup), *words, "--replace", step=13):
        status = place.keyman("get", "genai").status
        seen.add(status)
        assert status in (0, 4, 6), "the old home, the restored one, or one without a journal"
        if status == 0:
            assert value(place) == secret
        if status == 6:
            assert place.keyman("restore", str(backup), *words).status == 0
        if status != 0 and ended:  # as it was, for the next one
            place.start()
    assert seen >= {0, 4}
    place.start()
    assert value(place) == secret
    assert list(place.state.glob(".*")) == [], "what was killed is swept by the next"


# --------------------------------------------------------------- where nobody but a person can say


STATIC = "  partner:\n    provider: static\n    base_url: {url}\n"


@pytest.mark.slow
def test_a_secret_by_hand_waits_for_a_person_s_word(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.config.write_text(place.config.read_text() + STATIC.format(url="https://api.example.com"))
    place.start()
    assert place.keyman("put", "partner", stdin="sk-partner").status == 0
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    restore = ("restore", str(backup), *words, "--replace")
    done = place.keyman(*restore)
    assert "partner" in done.err
    place.start()
    got = place.keyman("get", "partner")
    assert (got.status, "--trust partner" in got.err) == (4, True)
    done = place.keyman("restore", "--trust", "partner", "--json")
    assert (done.status, done.json) == (0, {"trusted": ["partner"]})
    assert place.keyman("get", "partner").out == "sk-partner\n"
    assert place.keyman("restore", "--trust", "partner", "--json").json == {"trusted": []}
    assert place.keyman(*restore, "--trust", "partner").status == 0
    assert place.keyman("get", "partner").out == "sk-partner\n"
    assert place.keyman(*restore).status == 0
    assert place.keyman("put", "partner", stdin="sk-another").status == 0
    assert place.keyman("get", "partner").out == "sk-another\n"
    assert place.keyman("get", "partner", "--previous").status == 4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "status"), [("genai", 2), ("nobody", 3)])
def test_a_person_s_word_counts_only_where_no_provider_can_be_asked(
    place: Home, backup: Path, words: tuple[str, ...], name: str, status: int
) -> None:
    place.start()
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    before = everything(place.state)
    restore = ("restore", str(backup), *words, "--replace", "--trust", name)
    refused(place.keyman(*restore), status)
    refused(place.keyman("restore", "--trust", name), status)
    refused(place.keyman("restore"), 2)
    assert everything(place.state) == before


# ---------------------------------------------------------------------- stores other than the first


@pytest.mark.slow
def test_each_secret_goes_into_the_store_that_the_configuration_names_now(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    secret = value(place)
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    second = "stores: {second: {kind: sealed-file, path: '{home}/second.db'}}\n"
    place.config.write_text(second + place.config.read_text() + "    store: second\n")
    assert place.keyman("restore", str(backup), *words, "--replace").status == 0
    place.start()
    assert value(place) == secret
    [default, second] = place.keyman("store", "check", "--json").json["stores"]
    assert (default["secrets"], second["secrets"]) == (0, 1)


@pytest.mark.slow
def test_with_the_journal_lost_the_store_that_is_there_is_used(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    secret, store = value(place), place.state / "secrets.db"
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    for lost in place.state.glob("keyman.db*"):
        lost.unlink()
    number = store.stat().st_ino
    assert place.keyman("restore", str(backup), *words).status == 0
    assert store.stat().st_ino == number
    place.start()
    assert value(place) == secret


@pytest.mark.slow
def test_the_remains_of_a_lost_journal_do_not_spoil_the_restored_one(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    log = place.state / "keyman.db-wal"
    with place.daemon() as daemon:
        until(lambda: log.stat().st_size > 0)
        daemon.kill()
        daemon.wait()
    (place.state / "keyman.db").unlink()
    [aside] = place.keyman("restore", str(backup), *words, "--json").json["aside"]
    assert "keyman.db-wal" in {path.name for path in Path(aside).iterdir()}
    place.start()
    assert value(place)


@pytest.mark.slow
def test_a_lost_key_is_made_anew_with_the_store_from_the_backup(
    place: Home, backup: Path, words: tuple[str, ...]
) -> None:
    place.start()
    secret = value(place)
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    (place.state / "store.key").unlink()
    assert place.keyman("get", "genai").status == 1
    assert place.keyman("restore", str(backup), *words, "--replace").status == 0
    place.start()
    assert value(place) == secret


# -------------------------------------------------------------------------------- of another kind


OPENAI = """\
  main:
    provider: openai
    admin_key: {{credential: admin}}
    project_id: {project}
    service_account_id: {account}
    base_url: {url}
    verify: {{successes: 1, every: 100ms}}
    late_after: 1s
  admin: {{provider: static}}
"""


def started(place: Home) -> None:
    with place.open() as app:
        do_what_is_due(app)


@pytest.fixture
def openai() -> Iterator[tuple[Home, OpenAISandbox, str]]:
    sandbox = OpenAISandbox(seed=1)
    account = str(sandbox.dashboard.create_account("apps")["id"])
    with sandbox.serve():
        said = OPENAI.format(project=sandbox.project, account=account, url=sandbox.base_url)
        with home_with(said, WORDS=PASSPHRASE) as made:
            assert made.keyman("put", "admin", stdin=sandbox.admin_key).status == 0
            started(made)
            yield made, sandbox, account


@pytest.mark.parametrize("revoked", [False, True])
@pytest.mark.slow
def test_a_key_that_was_deleted_since_is_replaced_and_one_that_was_made_since_is_left(
    openai: tuple[Home, OpenAISandbox, str], revoked: bool
) -> None:
    """The admin key that this takes is itself out of the backup, and handed to nobody."""
    place, sandbox, account = openai
    backup, words = place.folder / "keyman.backup", ("--passphrase-env", "WORDS")
    secret = place.keyman("get", "main").out
    assert place.keyman("backup", "--to", str(backup), *words).status == 0
    assert place.keyman("rotate", "main").status == 0
    held = place.keyman("get", "main", "--json").json["value"]
    if revoked:
        assert place.keyman("revoke", "main", "--version", "1", "--yes").status == 0
    assert place.keyman("restore", str(backup), *words, "--replace").status == 0
    assert place.keyman("get", "main").status == 4
    started(place)
    assert (place.keyman("get", "main").out == secret) is not revoked
    got = place.keyman("get", "main")
    assert (got.status, got.out.strip() == held) == (0, False), place.keyman("status", "main").out
    alive = [key for key in sandbox.truth()["keys"] if key["owner"] == account]
    assert sum(not key["deleted"] for key in alive) == 2
    assert place.keyman("get", "admin").status == 4
