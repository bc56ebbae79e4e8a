"""`keyman write`: a file that is always whole, its owner's alone, and where it should be."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from dotenv import dotenv_values

from keyman.cli.rendered_file import RenderedFile
from keyman.errors import NotAllowed, StoreFailed, UsageError
from tests.commands.odd_agent import lookup, odd_agent
from tests.commands.world import GENEROUS, Cloud, Home, home, until

ROOT_ONLY = pytest.mark.skipif(
    os.geteuid() != 0, reason="gives files to others: sudo .venv/bin/pytest tests/commands"
)


@pytest.fixture(scope="module")
def kept(sky: Cloud) -> Iterator[Home]:
    """A home whose daemon runs and where nothing changes: one for all that only look."""
    with home(sky) as made:
        made.start()
        with made.daemon():
            yield made


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def secret(place: Home) -> str:
    return place.keyman("get", "genai").out.strip()


# What is in it.


def test_a_new_file_has_the_variables_and_is_its_owner_s_alone(kept: Home, to: Path) -> None:
    done = kept.run("write", "genai", "--to", str(to))
    url = kept.keyman("get", "genai", "--field", "base_url").out.strip()
    assert (done.status, done.err) == (0, "")
    assert done.out == f"genai: version 1 written to {to}\n"
    assert to.read_text() == f"OPENAI_API_KEY={secret(kept)}\nOPENAI_BASE_URL={url}\n"
    assert mode(to) == 0o600
    assert os.listdir(to.parent) == [".env"]  # noqa: PTH208


def test_other_lines_stay(kept: Home, to: Path) -> None:
    to.write_bytes(b"# ours\r\nexport OPENAI_API_KEY='old' # team\r\nA=\xff\r\nB=2")
    to.chmod(0o600)
    assert kept.keyman("write", "genai", "--to", str(to)).status == 0
    new, url = secret(kept).encode(), kept.cloud.url.encode()
    assert to.read_bytes() == (
        b"# ours\r\nexport OPENAI_API_KEY=" + new + b" # team\r\nA=\xff\r\nB=2\r\n"
        b"OPENAI_BASE_URL=" + url + b"/20231130/actions/v1\r\n"
    )


def test_the_variables_are_named_as_elsewhere(place: Home, to: Path) -> None:
    place.configure(env="{key: MY_KEY, base_url: MY_URL}")
    place.start()
    assert place.keyman("write", "genai", "--to", str(to)).status == 0
    assert list(dotenv_values(to)) == ["MY_KEY", "MY_URL"]
    assert place.keyman("write", "genai", "--to", str(to), "--var", "OTHER").status == 0
    assert list(dotenv_values(to)) == ["MY_KEY", "MY_URL", "OTHER"]


def test_json_is_what_get_says(kept: Home, to: Path) -> None:
    assert kept.keyman("write", "genai", f"--to={to}", "--format=json").status == 0
    assert to.read_text() == kept.keyman("get", "genai", "--json").out


def test_raw_is_the_secret_alone(kept: Home, to: Path) -> None:
    to.write_text("before")
    to.chmod(0o600)
    assert kept.keyman("write", "genai", "--to", str(to), "--format", "raw").status == 0
    assert to.read_text() == secret(kept)


def test_what_no_line_can_hold_goes_raw_only(place: Home, to: Path) -> None:
    with odd_agent(lookup("sk-first\nsk-second\n")) as path:
        place.environ["KEYMAN_SOCKET"] = str(path)
        refused = place.keyman("write", "odd", "--to", str(to))
        assert (refused.status, to.exists(), "sk-" in refused.err) == (2, False, False)
        assert place.keyman("write", "odd", "--to", str(to), "--format", "raw").status == 0
    assert to.read_text() == "sk-first\nsk-second\n"


def test_a_relative_path_is_below_the_current_folder(kept: Home, tmp_path: Path) -> None:
    with kept.process("write", "genai", "--to", "x.env", cwd=tmp_path) as process:
        process.communicate(timeout=GENEROUS)
    assert (process.returncode, (tmp_path / "x.env").exists()) == (0, True)


# When it is written.


def test_unchanged_content_is_not_written_again(kept: Home, to: Path) -> None:
    kept.keyman("write", "genai", "--to", str(to))
    before = to.stat()
    done = kept.keyman("write", "genai", "--to", str(to))
    assert done.out == f"genai: version 1 was already in {to}\n"
    assert (to.stat().st_ino, to.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_who_reads_meanwhile_never_meets_a_part(to: Path) -> None:
    """And somebody else who keeps another line current loses nothing."""
    ours, theirs = RenderedFile(str(to)), RenderedFile(str(to))
    stop = threading.Event()

    def other() -> None:
        count = 0
        while not stop.wait(0.001):  # as nobody is who starts anew at once: that is not fair
            count += 1
            theirs.replace(partial(line, b"B", count))

    def line(name: bytes, number: int, there: bytes) -> bytes:
        kept = [one for one in there.splitlines() if not one.startswith(name)]
        return b"\n".join([*kept, b"%s=%d" % (name, number) * 500]) + b"\n"

    thread = threading.Thread(target=other)
    thread.start()
    try:
        for number in range(200):
            ours.replace(partial(line, b"A", number))
            found = to.read_bytes().splitlines()
            assert b"A=%d" % number * 500 in found
            assert len(found) <= 2
    finally:
        stop.set()
        thread.join()
    assert len(to.read_bytes().splitlines()) == 2


def test_what_an_editor_saved_meanwhile_is_not_lost(to: Path) -> None:
    """It changes the file between our look and our writing, and knows no lock of ours."""
    to.write_bytes(b"A=1\n")
    to.chmod(0o600)
    saves = iter((b"A=2\n", b"A=3\n"))

    def render(there: bytes) -> bytes:
        edited = next(saves, None)
        if edited:
            to.with_name("edited").write_bytes(edited)
            to.with_name("edited").chmod(0o600)
            to.with_name("edited").rename(to)
        return there + b"KEY=new\n"

    assert RenderedFile(str(to)).replace(render) is True
    assert to.read_bytes() == b"A=3\nKEY=new\n"


def test_a_file_that_keeps_changing_is_given_up(to: Path) -> None:
    def render(there: bytes) -> bytes:
        to.write_bytes(there + b"x")
        to.chmod(0o600)
        return b"new"

    with pytest.raises(StoreFailed, match="keeps changing"):
        RenderedFile(str(to)).replace(render)
    assert os.listdir(to.parent) == [".env"]  # noqa: PTH208


def test_what_a_killed_one_left_behind_is_cleared_away(to: Path) -> None:
    to.with_name("..env.keyman").write_text("half of it")
    RenderedFile(str(to)).replace(lambda _: b"whole")
    assert os.listdir(to.parent) == [".env"]  # noqa: PTH208


@pytest.mark.slow
def test_a_lock_of_somebody_else_s_stops_nobody(to: Path) -> None:
    """Whoever may read the folder may lock it, and keep that. Ours still do each other no harm."""
    wrong: list[Exception] = []
    together, began = threading.Barrier(8), set[int]()

    def render(number: int, _: bytes) -> bytes:
        if number not in began:
            began.add(number)
            together.wait(GENEROUS)
        return b"%d\n" % number * 100_000

    def write(number: int) -> None:
        try:
            RenderedFile(str(to)).replace(partial(render, number))
        except Exception as error:  # noqa: BLE001 whatever it is
            wrong.append(error)

    folder = os.open(to.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    patience = threading.Timer(GENEROUS, os.close, [folder])
    patience.start()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (wrong, patience.is_alive()) == ([], True)
    patience.cancel()
    os.close(folder)
    lines = to.read_bytes().splitlines()
    assert (len(lines), len(set(lines))) == (100_000, 1)
    assert os.listdir(to.parent) == [".env"]  # noqa: PTH208


def test_a_failure_leaves_what_was_there(to: Path) -> None:
    to.write_text("A=1\n")
    to.chmod(0o600)

    def fails(_: bytes) -> bytes:
        raise UsageError("no")

    with pytest.raises(UsageError):
        RenderedFile(str(to)).replace(fails)
    assert (to.read_text(), os.listdir(to.parent)) == ("A=1\n", [".env"])  # noqa: PTH208


def test_a_full_disk_leaves_what_was_there(to: Path) -> None:
    """A limit on the size of files stands for it."""
    to.write_text("A=1\n")
    to.chmod(0o600)
    program = (
        "import resource, signal, sys\n"
        "from keyman.cli.rendered_file import RenderedFile\n"
        "from keyman.errors import StoreFailed\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "try:\n"
        "    RenderedFile(sys.argv[1]).replace(lambda _: bytes(1000))\n"
        "except StoreFailed as error:\n"
        "    print(error.message)\n"
    )
    command = [sys.executable, "-c", program, str(to)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "could not be written: File too large" in ran.stdout
    assert (to.read_text(), os.listdir(to.parent)) == ("A=1\n", [".env"])  # noqa: PTH208


# Whose it is.


@pytest.mark.parametrize(
    ("had", "has"),
    [
        (0o600, 0o600),
        (0o400, 0o400),
        (0o644, 0o600),
        (0o640, 0o600),
        (0o777, 0o600),
        (0o444, 0o400),
        (0o700, 0o600),
        (0o4711, 0o600),
    ],
    ids=oct,
)
def test_rights_only_ever_become_narrower(kept: Home, to: Path, had: int, has: int) -> None:
    to.write_text("A=1\n")
    to.chmod(had)
    done = kept.keyman("write", "genai", "--to", str(to))
    assert (done.status, mode(to)) == (0, has)
    wide = bool(had & 0o077)
    assert (f"{to} was open to others ({had:04o}); it is {has:04o} now" in done.err) == wide
    to.chmod(had)
    again = kept.keyman("write", "genai", "--to", str(to))
    assert ("already" in again.out, mode(to), "warning" in again.err) == (True, has, wide)


@pytest.mark.parametrize("umask", [0o000, 0o777], ids=oct)
def test_the_umask_changes_nothing(kept: Home, to: Path, umask: int) -> None:
    with kept.process("write", "genai", "--to", str(to), umask=umask) as process:
        process.communicate(timeout=GENEROUS)
    assert mode(to) == 0o600


@ROOT_ONLY
def test_a_file_of_somebody_else_s_is_refused(to: Path) -> None:
    to.write_text("A=1\n")
    shutil.chown(to, 12345)
    with pytest.raises(NotAllowed, match="uid 12345"):
        RenderedFile(str(to)).replace(lambda _: b"secret")
    assert to.read_text() == "A=1\n"


# Where it is.


def test_a_symbolic_link_is_refused(kept: Home, to: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    for there in (False, True):
        if there:
            target.write_text("A=1\n")
        to.unlink(missing_ok=True)
        to.symlink_to(target)
        done = kept.keyman("write", "genai", "--to", str(to))
        assert (done.status, to.is_symlink(), target.exists()) == (2, True, there)
        assert "symbolic link" in done.err
    assert target.read_text() == "A=1\n"


def test_a_link_that_appears_meanwhile_is_not_followed(to: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("theirs")

    def render(_: bytes) -> bytes:
        to.unlink(missing_ok=True)
        to.symlink_to(target)
        return b"secret"

    with pytest.raises(UsageError, match="symbolic link"):
        RenderedFile(str(to)).replace(render)
    assert target.read_text() == "theirs"
    to.unlink()
    to.with_name("..env.keyman").symlink_to(target)  # nor one where ours is made
    RenderedFile(str(to)).replace(lambda _: b"secret")
    assert (target.read_text(), to.read_text()) == ("theirs", "secret")


def test_a_folder_that_is_swapped_meanwhile_gets_nothing(tmp_path: Path) -> None:
    """The folder that was opened is the one that is written to."""
    asked, moved, other = tmp_path / "asked", tmp_path / "moved", tmp_path / "other"
    asked.mkdir()
    other.mkdir()

    def render(_: bytes) -> bytes:
        asked.rename(moved)
        asked.symlink_to(other)
        return b"secret"

    RenderedFile(str(asked / "x.env")).replace(render)
    assert list(other.iterdir()) == []
    assert (moved / "x.env").read_text() == "secret"


def test_only_regular_files_are_replaced(kept: Home, to: Path) -> None:
    os.mkfifo(to)
    assert kept.keyman("write", "genai", "--to", str(to)).status == 2
    to.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(to))
        assert kept.keyman("write", "genai", "--to", str(to)).status == 2
    to.unlink()
    to.mkdir()
    assert kept.keyman("write", "genai", "--to", str(to)).status == 2
    assert kept.keyman("write", "genai", "--to", "/dev/null").status == 2
    assert list(to.iterdir()) == []


def test_folders_are_not_made(kept: Home, tmp_path: Path) -> None:
    done = kept.keyman("write", "genai", "--to", str(tmp_path / "no" / "x.env"))
    assert (done.status, done.err.count("\n"), list(tmp_path.iterdir())) == (2, 2, [])
    (tmp_path / "file").touch()
    assert kept.keyman("write", "genai", "--to", str(tmp_path / "file" / "x")).status == 2
    for odd in ("/", "..", f"{tmp_path}/.."):
        assert kept.keyman("write", "genai", "--to", odd).status == 2


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("", 2),
        ("genai", 2),
        ("genai --to", 2),
        ("genai partner --to x", 2),
        ("genai --to x --format yaml", 2),
        ("genai --to x --format raw --var X", 2),
        ("genai --to x --var 1", 2),
        ("genai --to x --loudly", 2),
        ("nobody --to x", 3),
    ],
)
def test_mistakes_are_two_lines_and_write_nothing(
    kept: Home, tmp_path: Path, words: str, status: int
) -> None:
    with kept.process("write", *words.split(), cwd=tmp_path) as process:
        out, err = process.communicate(timeout=GENEROUS)
    assert (process.returncode, out, err.count("\n")) == (status, "", 2), err
    assert list(tmp_path.iterdir()) == []


# --watch


@contextmanager
def watching(place: Home, to: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    with place.process("write", "genai", "--to", str(to), "--watch", *words) as process:
        try:
            until(to.exists)
            yield process
        finally:
            process.kill()


def has(to: Path, value: str) -> bool:
    return dotenv_values(to).get("OPENAI_API_KEY") == value


@pytest.mark.slow
def test_each_promotion_is_written_although_daemons_come_and_go(place: Home, to: Path) -> None:
    place.start()
    to.write_text("A=1 # kept\n")
    to.chmod(0o600)
    with watching(place, to) as process:
        for _ in range(2):
            with place.daemon():
                for rotates in (False, True):
                    if rotates:
                        assert place.keyman("rotate", "genai", "--overlap", "0s").status == 0
                    now = secret(place)
                    until(lambda now=now: has(to, now), to.read_text)
        process.terminate()
        out, err = process.communicate(timeout=GENEROUS)
    assert process.returncode == 0
    assert to.read_text().startswith("A=1 # kept\n")
    assert re.findall(r"version (\d)", out) == ["1", "2", "3"]
    assert err.count("asking again") >= 1
    assert err.count("asking again") <= 6


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["int", "term"]
)
def test_watching_ends_as_other_commands_do(
    kept: Home, to: Path, number: signal.Signals, status: int
) -> None:
    with watching(kept, to) as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=GENEROUS)
    assert (process.returncode, err) == (status, "")


def test_a_file_that_can_t_be_written_for_a_while_is_written_later(place: Home, to: Path) -> None:
    place.start()
    with place.daemon(), watching(place, to) as process:
        first = to.read_text()
        to.rename(to.with_name("aside"))
        to.mkdir()
        assert place.keyman("rotate", "genai").status == 0
        assert process.stderr is not None
        assert "is not a regular file" in process.stderr.readline()
        assert process.poll() is None
        to.rmdir()
        until(lambda: to.exists() and has(to, secret(place)))
    assert to.read_text() != first


def test_the_json_of_a_watched_file_is_always_whole(place: Home, to: Path) -> None:
    place.start()
    with place.daemon(), watching(place, to, "--format", "json"):
        assert place.keyman("rotate", "genai").status == 0
        until(lambda: json.loads(to.read_text())["version"] == 2, to.read_text)
