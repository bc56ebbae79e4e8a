"""A disk that fails, forgets or fills up costs nobody a secret, and people are told of it.

This is a slice: `python -m tests.disk.faults` has every call to the disk fail, and
`python -m tests.disk.power_cuts` has power go after each of them. Both plant bugs, too, and break
if one is not found; a few seconds of each are run here.
"""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from keyman.core.model import Secret
from keyman.db.journal import Event, Journal
from keyman.errors import StoreFailed
from keyman.lock import HomeLock, held_by
from keyman.stores.sealed_file import SealedFile
from tests import servers
from tests.disk.calls import Call
from tests.disk.images import Disk
from tests.disk.outside import START
from tests.disk.tracing import why_not
from tests.proof.report import MARK

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "/home"
DICE = 200  # images of one state


def ran(*words: str) -> dict[str, Any]:
    """What a part of the proof says it tried: in a process of its own, which has one thread."""
    servers.require("ptrace", found=not why_not(), hint=why_not())
    done = subprocess.run(
        [sys.executable, "-m", *words, "--workers", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1].removeprefix(MARK))
    return told


@pytest.mark.slow
def test_a_call_that_fails_costs_nothing_and_planted_bugs_are_found() -> None:
    said = ran("tests.disk.faults", "--count", "12")
    assert said["broken"] == 0
    assert said["tried"] == {"lives on a broken disk": 12, "planted bugs": 2}


@pytest.mark.parametrize(
    "fault",
    [
        "slots/openat store.sealed/EIO/once",  # SQLite goes on reading only
        pytest.param("slots/ftruncate daemon.lock/EIO/on", marks=pytest.mark.slow),
        pytest.param("slots/fchmod generation/EIO/on", marks=pytest.mark.slow),
        # The folder of a new journal.
        pytest.param("first start/fsync life/ENOSPC/on", marks=pytest.mark.slow),
    ],
)
def test_what_once_broke(fault: str) -> None:
    servers.require("ptrace", found=not why_not(), hint=why_not())
    words = [sys.executable, "-m", "tests.disk.faults", "--replay", fault]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_power_cut_takes_nothing_that_was_acknowledged_and_weaknesses_are_found() -> None:
    said = ran("tests.disk.power_cuts", "--count", "30")
    assert said["broken"] == 0
    assert said["tried"]["power cuts"] >= 30
    assert said["tried"]["planted weaknesses"] == 5


# ---------------------------------------------------------------- what a disk may do at a power cut


def images(found: Path, *calls: Call) -> list[dict[str, bytes]]:
    found.mkdir(exist_ok=True)
    disk = Disk(Path(FOLDER), found)
    for call in calls:
        disk.play(call)
    return [disk.image(random.Random(seed)) for seed in range(DICE)]


def made(name: str, file: int = 3) -> Call:
    return Call("openat", f"{FOLDER}/{name}", flags=os.O_CREAT | os.O_RDWR, result=file)


def write(name: str, offset: int, data: bytes) -> Call:
    path = f"{FOLDER}/{name}"
    return Call("pwrite64", path, len(data), offset, data=data, result=len(data))


def synced(name: str = "") -> Call:
    return Call("fsync", f"{FOLDER}/{name}".rstrip("/"))


def test_what_was_synced_is_there_and_what_was_not_may_be_torn(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"o" * 8192)
    every = images(tmp_path, write("a", 0, b"s" * 512), synced("a"), write("a", 512, b"n" * 1024))
    assert {image["a"][:512] for image in every} == {b"s" * 512}
    torn = {image["a"][512:1536] for image in every}
    assert {b"o" * 1024, b"n" * 1024, b"n" * 512 + b"o" * 512, b"o" * 512 + b"n" * 512} == torn
    assert {image["a"][1536:] for image in every} == {b"o" * 6656}


def test_a_name_is_there_for_good_once_its_folder_is_synced(tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    begun = made("a"), write("a", 0, b"new"), synced("a")
    assert {frozenset(image) for image in images(tmp_path / "found", *begun)} == {
        frozenset(),
        frozenset({"a"}),
    }
    every = images(tmp_path / "found", *begun, synced())
    assert every == [{"a": b"new"}] * DICE


def test_what_replaces_a_file_may_come_before_its_content(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"old")
    moved = Call("rename", f"{FOLDER}/a", other=f"{FOLDER}/b")
    every = images(tmp_path, made("a"), write("a", 0, b"new"), moved)
    assert {image["b"] for image in every} == {b"old", b"new", b""}


def test_what_an_fsync_that_failed_was_to_write_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    failed = Call("fsync", f"{FOLDER}/a", result=-errno.EIO)
    every = images(tmp_path, write("a", 0, b"new"), failed, synced("a"))
    assert every == [{"a": b"old"}] * DICE


# ---------------------------------------------------------------------------------- what once broke


def test_a_connection_that_was_opened_when_nothing_could_be_written_is_given_up(
    tmp_path: Path,
) -> None:
    with closing(Journal.open(f"sqlite:///{tmp_path / 'keyman.db'}")) as journal:
        broken = [True]

        def as_the_disk_allows(raw: Any, _: object) -> None:
            raw.execute(f"PRAGMA query_only={int(broken[0])}")

        event.listen(journal._engine, "connect", as_the_disk_allows)
        journal._engine.dispose()
        with pytest.raises(StoreFailed, match="readonly"):
            journal.note(Event(START, "", "noted"))
        broken[0] = False
        journal.note(Event(START, "", "noted"))
        assert [one.kind for one in journal.events()] == ["noted"]


def test_what_is_dropped_is_synced_although_an_earlier_try_may_have_dropped_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.sealed"
    with closing(SealedFile(path, bytes(32), "here")) as store:
        store.put("genai", 1, Secret("sk-1"))
        store.drop("genai", 1)
        before = changes(path)
        store.drop("genai", 1)
        assert changes(path) > before


def changes(path: Path) -> int:
    """SQLite counts in the file's header what it has committed to it."""
    return int.from_bytes(path.read_bytes()[24:28], "big")


def test_a_lock_that_cannot_be_taken_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="lock") as failed:
        HomeLock(tmp_path / "nowhere" / "daemon.lock")
    assert "writable" in failed.value.hint


def test_a_lock_is_let_go_on_a_broken_disk(tmp_path: Path) -> None:
    path = tmp_path / "daemon.lock"
    lock = HomeLock(path)
    reading = os.open(path, os.O_RDONLY)
    os.dup2(reading, lock._file, inheritable=False)  # cutting the file to nothing fails from now on
    os.close(reading)
    lock.release()
    assert held_by(path) is None
