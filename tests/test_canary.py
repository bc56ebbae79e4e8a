"""Secrets that are easy to recognise, then a search for them in everything that was left behind.

A secret may be in the store (sealed), in the memory of those who need it and in the answer to an
allowed caller. Not in a log, an error, the journal, a temporary file, a command line or an
environment; not in clear, not encoded. tests/canary says what happens in the lives searched here.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.canary import life as lives
from tests.canary.life import PREFIX, ROOT, TYPED, Life, life
from tests.canary.scan import columns, files, leaks, masked, shapes
from tests.canary.watch import Watch

WHOLE_LIFE = (
    lives.mistakes_in_the_configuration,
    lives.wrong_credentials_of_our_own,
    lives.first_start,
    lives.garbage_and_lost_answers,
    lives.orders,
    lives.a_hand_in_the_console,
    lives.hostile_clients,
    lives.sudden_death,
    lives.a_store_that_fails,
    lives.questions,
)


def lines_of_the_signing_key(lived: Life) -> list[str]:
    """Any line of the PEM between its first and last: keyman's own credential."""
    pem = (lived.profile.parent / "default.pem").read_text().splitlines()
    return pem[2:-2]


def found(lived: Life, watch: Watch) -> list[str]:
    """Every trace of any secret of this life."""
    tails = [secret.removeprefix(PREFIX) for secret in lived.handed]
    secrets = [PREFIX, TYPED, *(tail for tail in tails if tail), *lines_of_the_signing_key(lived)]
    return leaks([*lived.evidence(), *watch.seen], secrets) + masked(lived.output())


SHORT_LIFE = (
    lives.wrong_credentials_of_our_own,
    lives.first_start,
    lives.garbage_and_lost_answers,
    lives.a_store_that_fails,
)


@pytest.mark.slow
@pytest.mark.parametrize(("log_format", "chapters"), [("text", WHOLE_LIFE), ("json", SHORT_LIFE)])
def test_no_life_leaves_a_secret_behind(
    tmp_path: Path, log_format: str, chapters: tuple[Callable[[Life], None], ...]
) -> None:
    with life(tmp_path / "a", log_format) as lived, Watch() as watch:
        for chapter in chapters:
            chapter(lived)
            assert found(lived, watch) == [], chapter.__name__
    assert len(lived.handed) >= len(chapters) / 2, "hardly a secret was handed out"
    assert any(b"DEBUG" in said or b'"debug"' in said for _, said in lived.output())
    assert any(b"daemon" in content for what, content in watch.seen if what.endswith("cmdline"))


@pytest.mark.slow
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_adoption_leaves_no_secret_behind(tmp_path: Path, log_format: str) -> None:
    with life(tmp_path / "b", log_format) as lived, Watch() as watch:
        lives.adoption(lived)
        assert found(lived, watch) == []


# The search itself can fail.


@pytest.mark.parametrize("shape", list(shapes(PREFIX)))
def test_a_planted_leak_is_seen(tmp_path: Path, shape: str) -> None:
    """In each disguise, in the middle of something else."""
    (tmp_path / "some.log").write_bytes(b"before " + shapes(PREFIX)[shape] + b" after")
    assert any(shape in said for said in leaks(files(tmp_path), [PREFIX]))


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz"])
def test_a_leak_inside_of_base64_is_seen_at_any_offset(tmp_path: Path, before: str) -> None:
    command = (
        f"import base64, sys; print(base64.b64encode(({before!r} + sys.stdin.read()).encode()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], input=f"{PREFIX}0123 and more", capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    (tmp_path / "some.log").write_text(done.stdout)
    assert leaks(files(tmp_path), [PREFIX])


def test_a_leak_into_the_journal_is_seen(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "keyman.db")) as journal:
        journal.execute("create table events (detail text)")
        journal.execute("insert into events values (?)", (f"got {PREFIX}",))
        journal.commit()
    assert leaks(columns(tmp_path / "keyman.db"), [PREFIX])


def test_a_leak_into_a_command_line_or_an_environment_is_seen() -> None:
    waits = [sys.executable, "-c", "input()"]
    for command, environ in (([*waits, PREFIX], {}), (waits, {"LEAK": PREFIX})):
        with (
            Watch() as watch,
            subprocess.Popen(command, env=environ, stdin=subprocess.PIPE) as process,
        ):
            assert process.stdin is not None
            for _ in range(200):
                if leaks(watch.seen, [PREFIX]):
                    break
                watch.join(0.02)
            process.stdin.close()
        assert leaks(watch.seen, [PREFIX])


def test_the_last_resort_is_seen_to_fire(tmp_path: Path) -> None:
    """A secret in a log call is masked there; the mask is what the search finds."""
    command = (
        "import logging, sys; from keyman import telemetry; telemetry.start_logging('debug');"
        "logging.getLogger('keyman').debug('got %s', sys.stdin.read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, input=f"{PREFIX}0123456789", text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert masked([("stderr", done.stderr.encode())]), done.stderr
    assert logging.getLogger("keyman").handlers == []
