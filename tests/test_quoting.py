"""What is written for a shell means the same value there, or is refused.

Thousands of values through the real shells, each started once. PowerShell and cmd.exe run on no
machine of ours: for those two the rules of their grammars, as their makers state them, are applied
to the lines instead.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from keyman import quoting
from keyman.errors import UsageError
from tests import judges
from tests.judges import environment_after, node_dotenv, program, python_dotenv

COUNT = 4000
SAFE_BUT = ["=ls", "a:=ls", "%self", "%"]  # of the safe letters, and yet not safe
VALUES = [*SAFE_BUT, *judges.values(seed=8, count=COUNT)]
ORDINARY = "sk-ant_Az09./+=:@%,-"


def script(values: list[str], dialect: str) -> str:
    return quoting.lines({f"V{place}": value for place, value in enumerate(values)}, dialect)


def carried(dialect: str, values: list[str]) -> list[str]:
    """Those that are not refused."""
    return [value for value in values if not refused(dialect, value)]


def refused(dialect: str, value: str) -> bool:
    try:
        quoting.lines({"V": value}, dialect)
    except UsageError:
        return True
    return False


SHELLS = {
    "sh": ["sh", "-c", 'eval "$(cat)"; exec "$0" "$@"'],
    "dash": ["dash", "-c", 'eval "$(cat)"; exec "$0" "$@"'],
    "bash": ["bash", "-c", 'eval "$(cat)"; exec "$0" "$@"'],
    "zsh": ["zsh", "-f", "-c", 'eval "$(cat)"; exec "$0" "$@"'],
    "busybox": ["busybox", "sh", "-c", 'eval "$(cat)"; exec "$0" "$@"'],
}
FISH = ["--no-config", "-c", "source; exec $argv"]


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_that_read_sh_get_every_value(shell: str) -> None:
    name, *options = SHELLS[shell]
    assert environment_after([program(name), *options], script(VALUES, "sh"), len(VALUES)) == VALUES


def test_fish_gets_every_value() -> None:
    command = [program("fish"), *FISH]
    assert environment_after(command, script(VALUES, "fish"), len(VALUES)) == VALUES


def test_every_letter_there_is_gets_through() -> None:
    """A hundred at a time: shells keep some of the private ones for themselves."""
    known = (chr(code) for code in range(1, 0x11000) if not 0xD800 <= code < 0xE000)
    letters = [letter for letter in known if letter not in "\r\n"]
    values = ["".join(letters[at : at + 100]) for at in range(0, len(letters), 100)]
    for name, *options in (*SHELLS.values(), ["fish", *FISH]):
        lines = script(values, "fish" if name == "fish" else "sh")
        found = environment_after([program(name), *options], lines, len(values))
        assert [pair for pair in zip(values, found, strict=True) if pair[0] != pair[1]] == [], name


def test_removing_leaves_nothing_behind_in_any_shell() -> None:
    kept = {"V0": "one", "V1": "two"}
    for name, *options in SHELLS.values():
        lines = quoting.lines(kept, "sh") + quoting.lines({"V1": None, "V2": None}, "sh")
        found = environment_after([program(name), *options], f"set -e\n{lines}", 3)
        assert found == ["one", judges.MISSING.decode(), judges.MISSING.decode()], name
    lines = quoting.lines(kept, "fish") + quoting.lines({"V1": None, "V2": None}, "fish")
    found = environment_after([program("fish"), *FISH], lines, 3)
    assert found == ["one", *[judges.MISSING.decode()] * 2]


def test_what_is_safe_stands_bare_and_means_the_same_to_every_parser() -> None:
    values = [value for value in VALUES if quoting.safe(value)]
    assert len(values) > COUNT // 10
    text = script(values, "dotenv")
    assert text == "".join(f"V{place}={value}\n" for place, value in enumerate(values))
    assert list(python_dotenv(text).values()) == values
    assert list(node_dotenv([text])[0].values()) == values
    for shell in ("sh", "bash", "zsh"):
        command = [program(shell), "-c", 'set -a; eval "$(cat)"; exec "$0" "$@"']
        assert environment_after(command, text, len(values)) == values, shell


def test_keys_as_they_are_handed_out_stand_bare() -> None:
    for key in ("sk-proj-aB3_x-Y", "ya29.a0Af_H6-x", "http://127.0.0.1:8/v1", "c2VjcmV0Cg=="):
        assert quoting.safe(key)
        assert quoting.sh("K", key) == f"export K={key}"
        assert quoting.fish("K", key) == f"set -gx K {key}"


@pytest.mark.parametrize("value", ["", *SAFE_BUT, "a b", "a$b", "a'b", "é", "a;b", "~", "a!b"])
def test_what_is_not_safe_is_quoted(value: str) -> None:
    assert not quoting.safe(value)
    assert quoting.sh("K", value).startswith(("export K='", 'export K="'))


# .env


def test_python_dotenv_gets_every_value() -> None:
    assert list(python_dotenv(script(VALUES, "dotenv")).values()) == VALUES


def test_node_s_dotenv_gets_every_value_on_which_the_two_agree() -> None:
    values = [value for value in VALUES if quoting.agreed_on(value)]
    assert len(values) > COUNT // 3
    texts = [quoting.lines({"V": value}, "dotenv") for value in values]
    read = [found["V"] for found in node_dotenv(texts)]
    assert [pair for pair in zip(values, read, strict=True) if pair[0] != pair[1]] == []


def test_nothing_is_removed_in_a_dotenv() -> None:
    assert quoting.lines({"A": None, "B": "b"}, "dotenv") == "B=b\n"


# PowerShell: a literal in single quotes ends at one of five characters, unless it is doubled.


def powershell_reads(line: str) -> tuple[str, str]:
    quote = "['\u2018\u2019\u201a\u201b]"
    literal = f"{quote}((?:(?!{quote}).|{quote}{quote})*){quote}"
    found = re.fullmatch(rf"\$env:(\w+) = {literal}", line, re.DOTALL)
    assert found, line
    return found[1], re.sub(f"({quote}){quote}", r"\1", found[2])


def test_powershell_reads_every_value() -> None:
    for value in VALUES:
        assert powershell_reads(quoting.powershell("V", value)) == ("V", value)


def test_powershell_removes_and_persists() -> None:
    assert quoting.powershell("V", None) == "$env:V = $null"
    kept = "[Environment]::SetEnvironmentVariable('V', 'it''s', 'User')"
    assert quoting.powershell_persistent("V", "it's") == kept
    gone = "[Environment]::SetEnvironmentVariable('V', $null, 'User')"
    assert quoting.powershell_persistent("V", None) == gone


# cmd.exe: `set "NAME=VALUE"` takes all up to the last quote. A percent sign means one thing in a
# batch file and another at the prompt, an exclamation mark may be expanded.


def cmd_reads(line: str) -> tuple[str, str]:
    found = re.fullmatch(r'set "([^=]+)=([^"%!\x00-\x1f]*)"', line)
    assert found, line
    return found[1], found[2]


def test_cmd_reads_every_value_that_it_is_given() -> None:
    values = carried("cmd", VALUES)
    assert len(values) > COUNT // 5
    for value in values:
        assert cmd_reads(quoting.cmd("V", value)) == ("V", value)
    assert quoting.cmd("V", None) == 'set "V="'


@pytest.mark.parametrize("value", ["100%", "%PATH%", "a!b", 'a"b', "", "a\x1bb"])
def test_cmd_is_not_given_what_it_may_bend(value: str) -> None:
    assert refused("cmd", value)


# What nobody is given.


@pytest.mark.parametrize("dialect", quoting.DIALECTS)
@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\r\nb", "a\0b", "\n", "a\n", "\ud800"])
def test_line_ends_and_nul_are_refused_everywhere(dialect: str, value: str) -> None:
    with pytest.raises(UsageError) as raised:
        quoting.lines({"V": value}, dialect)
    assert value not in raised.value.message + raised.value.hint
    assert "V" in raised.value.message


def test_no_message_repeats_a_value() -> None:
    for write, value in ((quoting.cmd, "sk-very-secret!"), (quoting.powershell, "")):
        with pytest.raises(UsageError) as raised:
            write("V", value)
        assert "very" not in f"{raised.value.message} {raised.value.hint}"


WRITERS: dict[str, Callable[[str, str | None], str]] = {"sh": quoting.sh, "fish": quoting.fish}


@pytest.mark.parametrize("shell", WRITERS)
def test_nothing_in_a_value_is_run(shell: str, tmp_path: Path) -> None:
    """The oldest trick: the value closes the quotes and brings a command."""
    for value in ("'; touch ran; '", "$(touch ran)", "`touch ran`", '"; touch ran; "', TRICK):
        line = WRITERS[shell]("V", value)
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
        subprocess.run([program(shell), "-c", line], cwd=tmp_path, env=env, check=True, timeout=60)
    assert not (tmp_path / "ran").exists()


TRICK = "\\'; touch ran"
