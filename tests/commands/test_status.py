"""`keyman status` and `keyman plan`, as people call them; `--watch` at a terminal and off one."""

from __future__ import annotations

import fcntl
import json
import re
import signal
import struct
import subprocess
import termios
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta

import pytest

from tests.commands.terminals import Terminal, at_a_terminal
from tests.commands.world import GENEROUS, Home

ALTERNATE, BACK = "\x1b[?1049h", "\x1b[?1049l"
HIDDEN, CURSOR = "\x1b[?25l", "\x1b[?25h"
STATIC = "  partner:\n    provider: static\n    base_url: https://api.example.com/v1\n"
PAINTED = "rotation begins"  # the last line of a whole screen
ATTRIBUTES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def begun(place: Home) -> Home:
    """The first version is there, and a static credential that nobody has given yet."""
    place.start()
    place.config.write_text(place.config.read_text() + STATIC)
    place.environ |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
    return place


def resize(terminal: Terminal, columns: int, lines: int) -> None:
    fcntl.ioctl(terminal.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def assert_clean(terminal: Terminal) -> None:
    """As it was found: the first screen, a cursor, keys that show and wait for Enter."""
    assert terminal.shown.count(ALTERNATE) == terminal.shown.count(BACK) > 0
    assert terminal.shown.rindex(BACK) > terminal.shown.rindex(ALTERNATE)
    assert terminal.shown.rindex(CURSOR) > terminal.shown.rindex(HIDDEN)
    modes = termios.tcgetattr(terminal.ours)[3]
    assert modes & termios.ECHO
    assert modes & termios.ICANON


# At a terminal.


def test_ctrl_c_leaves_the_terminal_as_it_was(begun: Home) -> None:
    with at_a_terminal(begun, "status", "--watch") as terminal:
        resize(terminal, 80, 24)
        terminal.sees(ALTERNATE)
        terminal.sees(PAINTED)
        assert not termios.tcgetattr(terminal.ours)[3] & termios.ICANON
        terminal.types("\x03", end="")
        assert terminal.ends() == 130
        assert_clean(terminal)
        assert "Traceback" not in terminal.shown


def test_q_quits_and_another_size_is_taken_up(begun: Home) -> None:
    with at_a_terminal(begun, "status", "--watch") as terminal:
        resize(terminal, 80, 24)
        terminal.sees(PAINTED)
        resize(terminal, 40, 6)
        for _ in range(10):  # what was painted before may still be on its way
            terminal.sees("NAME")
            if max(map(len, screen_after(terminal, "NAME"))) <= 40:
                break
        assert max(map(len, screen_after(terminal, "NAME"))) <= 40
        terminal.types("q", end="")
        assert terminal.ends() == 0
        assert_clean(terminal)


def screen_after(terminal: Terminal, word: str) -> list[str]:
    at = terminal.shown.rindex(word)
    return ATTRIBUTES.sub("", terminal.shown[at:]).splitlines()


def test_a_signal_to_end_leaves_the_terminal_as_it_was(begun: Home) -> None:
    with at_a_terminal(begun, "status", "genai", "--watch") as terminal:
        resize(terminal, 80, 24)
        terminal.sees("fingerprint:")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.ends() == 128 + signal.SIGTERM
        assert_clean(terminal)


@pytest.mark.slow
def test_what_goes_wrong_while_watching_is_told_under_the_last_picture(begun: Home) -> None:
    with at_a_terminal(begun, "status", "--watch") as terminal:
        resize(terminal, 100, 24)
        terminal.sees(PAINTED)
        begun.edit("provider: static", "provider: ecstatic")
        terminal.sees("as of ")
        terminal.sees("must be")
        begun.edit("provider: ecstatic", "provider: static")
        terminal.sees(PAINTED)
        terminal.types("q", end="")
        assert terminal.ends() == 0
        assert_clean(terminal)


@pytest.mark.parametrize("plain", [True, False])
def test_colour_is_for_terminals_that_want_it(begun: Home, plain: bool) -> None:
    if plain:
        begun.environ["NO_COLOR"] = "1"
    with at_a_terminal(begun, "status") as terminal:
        assert terminal.ends() == 0
    assert ALTERNATE not in terminal.shown
    assert bool(ATTRIBUTES.search(terminal.shown)) is not plain
    assert PAINTED in terminal.shown
    assert "partner" in terminal.shown


# Off a terminal.


@pytest.mark.slow
def test_off_a_terminal_the_list_is_printed_when_something_changes(begun: Home) -> None:
    with begun.process("status", "--watch", stdin=subprocess.DEVNULL) as watching:
        assert watching.stdout
        first = [watching.stdout.readline() for _ in range(4)]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", first[0])
        assert first[1].split()[:3] == ["NAME", "PROVIDER", "HEALTH"]
        assert [line.split()[0] for line in first[2:]] == ["partner", "genai"]
        assert begun.keyman("put", "partner", stdin="a secret").status == 0
        again = [watching.stdout.readline() for _ in range(4)]
        assert "ok" in "".join(again).split("partner")[1]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(GENEROUS) == 130
        assert watching.stdout.read() == ""


def test_json_is_one_line_for_each_look(begun: Home) -> None:
    with begun.process("status", "--watch", "--json") as watching:
        assert watching.stdout
        looks = [json.loads(watching.stdout.readline()) for _ in range(2)]
        watching.terminate()
        watching.wait(GENEROUS)
    assert [one["name"] for one in looks[1]["credentials"]] == ["genai", "partner"]


# Which.


def test_what_is_shown_can_be_narrowed(begun: Home) -> None:
    def found(*words: str) -> list[str]:
        said = begun.keyman("status", *words, "--json")
        assert said.status == 0, said.err
        return [one["name"] for one in said.json["credentials"]]

    assert found() == ["genai", "partner"]
    assert found("--unwell") == found("--health", "down") == ["partner"]
    assert found("gen*") == found("--provider", "oci-genai") == ["genai"]
    assert found("--health", "ok,due", "--health", "rotating") == ["genai"]
    assert found("--unwell", "gen*") == []


def test_what_cannot_be_shown_is_refused(begun: Home) -> None:
    for words, status, said in (
        (("x*",), 3, "no credential matches 'x*'"),
        (("genai", "--unwell"), 2, "genai is one credential"),
        (("--health", "well"), 2, "'well' is no health"),
        (("--provider", "aws"), 2, "'aws' is not one of"),
        (("nobody",), 3, "no credential 'nobody'"),
    ):
        done = begun.keyman("status", *words)
        assert (done.status, done.out) == (status, "")
        assert said in done.err
        assert "keyman: hint: " in done.err


def test_nothing_found_is_said(begun: Home) -> None:
    done = begun.keyman("status", "--health", "at-risk")
    assert (done.status, done.out) == (0, "none of 2 credentials: --health at-risk\n")


# Plans.


def test_a_plan_begins_with_what_status_says_comes_next(begun: Home) -> None:
    told = begun.keyman("plan", "--until", "1y", "--json").json
    following = begun.keyman("status", "genai", "--json").json["next"]
    first = told["steps"][0]
    assert (first["credential"], first["step"]) == ("genai", following["step"])
    apart = datetime.fromisoformat(first["at"]) - datetime.fromisoformat(following["at"])
    assert abs(apart) <= timedelta(seconds=1)
    assert [one["credential"] for one in told["troubles"]] == ["partner"]
    assert len([one for one in told["steps"] if one["step"] == "promote"]) > 10


def test_a_plan_reads_as_a_table_with_its_warnings(begun: Home) -> None:
    done = begun.keyman("plan", "--until", "60d")
    lines = done.out.splitlines()
    assert lines[0].split() == ["AT", "NAME", "STEP", "SLOT", "WHY"]
    assert "genai  request…promote  key-two  rotate_before reached" in lines[1]
    assert lines[-2].startswith("warning: partner, ")
    assert lines[-1] == "  a person must replace it where it comes from, then `keyman put partner`"
    assert max(map(len, lines)) <= 90


def test_a_plan_is_drawn(begun: Home) -> None:
    file = begun.folder / "plan.svg"
    done = begun.keyman("plan", "--until", "1y", "--plot", str(file))
    assert done.status == 0
    assert f"2 credentials drawn to {file}" in done.out
    assert ET.parse(file).getroot().tag.endswith("svg")
    refused = begun.keyman("plan", "--plot", str(begun.folder / "nowhere" / "plan.svg"))
    assert refused.status == 2
    assert "No such file or directory" in refused.err


def test_a_home_where_nothing_ran_has_a_plan_too(place: Home) -> None:
    steps = place.keyman("plan", "--until", "2d", "--json").json["steps"]
    assert [one["step"] for one in steps] == ["request", "create", "verify", "promote", "retire"]


def test_how_far_ahead_can_be_said_in_years(place: Home) -> None:
    for words, said in (("20y", "must not be longer than 10y"), ("soon", "such as 1y, 90d")):
        done = place.keyman("plan", "--until", words)
        assert done.status == 2
        assert said in done.err
