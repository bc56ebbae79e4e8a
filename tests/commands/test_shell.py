"""How the program as a whole behaves at a shell: completion, help, locale, broken pipes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from keyman.once import do_what_is_due
from tests.commands.world import Home


@pytest.mark.parametrize(("typed", "offered"), [("rota", "rotate"), ("dea", "deactivate")])
def test_completion_offers_commands(place: Home, typed: str, offered: str) -> None:
    place.environ |= {"_KEYMAN_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
    place.environ["COMP_WORDS"] = f"keyman {typed}"
    assert place.run().out == f"plain,{offered}\n"


def test_completion_for_a_shell_can_be_sourced(place: Home) -> None:
    place.environ["_KEYMAN_COMPLETE"] = "zsh_source"
    done = place.run()
    assert (done.status, "#compdef keyman" in done.out) == (0, True)


def test_without_a_command_help_is_shown_and_the_status_says_wrong_usage(place: Home) -> None:
    done = place.keyman()
    assert (done.status, done.out) == (2, "")
    assert "Commands:" in done.err
    asked = place.keyman("--help")
    assert (asked.status, asked.err) == (0, "")
    assert "_KEYMAN_COMPLETE" in asked.out


def test_nothing_is_coloured_off_a_terminal_or_where_it_is_not_wanted(place: Home) -> None:
    place.environ["NO_COLOR"] = "1"
    assert "\x1b" not in at_a_terminal(place, "status")
    del place.environ["NO_COLOR"]
    assert "\x1b" in at_a_terminal(place, "status")
    assert "\x1b" not in place.keyman("status").out


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_a_narrow_terminal_loses_columns_and_no_health(place: Home, columns: int) -> None:
    place.environ |= {"COLUMNS": str(columns), "NO_COLOR": "1"}
    place.edit("  genai:", "  quite-a-long-name:")
    with place.open() as app:
        do_what_is_due(app)
    shown = at_a_terminal(place, "status").replace("\r", "").splitlines()
    table = [line for line in shown if line]
    assert max(map(len, table)) <= columns
    assert "HEALTH" in table[1]
    assert " ok " in table[2]
    assert ("NEXT" in table[1]) == (columns >= 80)


def test_a_locale_without_our_letters_stops_no_message(place: Home) -> None:
    place.environ |= {"PYTHONIOENCODING": "ascii"}
    done = place.run("get", "génai")
    assert done.status == 3
    done = place.run("status", "génai")
    assert (done.status, done.err.count("\n")) == (3, 2)


def test_a_reader_that_leaves_gets_no_traceback(place: Home) -> None:
    line = f"{place.folder}/keyman list | true"
    script = place.folder / "keyman"
    script.write_text('#!/bin/sh\nexec "$PYTHON" -P -m keyman "$@"\n')
    script.chmod(0o700)
    place.environ["PYTHON"] = sys.executable
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=place.variables, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


def at_a_terminal(place: Home, *words: str) -> str:
    """What the command shows on a terminal."""
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": subprocess.DEVNULL}
    place.environ["TERM"] = "xterm-256color"
    with place.process(*words, **streams) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux's way to say that nobody holds the other end any more
                break
            if not piece:
                break
            shown += piece
        process.wait()
    os.close(ours)
    return shown.decode()


def test_ours_is_the_command_that_runs(place: Home) -> None:
    """Neither a module nor a configuration of the current folder is ever taken."""
    (place.folder / "click.py").write_text("raise SystemExit(99)\n")
    (place.folder / "config.yaml.bak").write_text("")
    with place.process("list", cwd=Path(place.folder)) as process:
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "genai\n")
