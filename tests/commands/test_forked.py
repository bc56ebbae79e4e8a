"""The forks that other tests take for processes of keyman are like real starts.

Each test has both begin, or end, in the same way, and compares what they tell.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keyman.cli.main import COMMANDS
from tests.commands.forked import ROOT, Forked, fits, stub
from tests.commands.world import GENEROUS

TELLS = "tests.commands.tells"
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
ENDS = ("falls off", "exits", "says why", "raises", "SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
EACH_BY_ITSELF = """
import os, sys
import keyman.cli.main, rich.text, sqlalchemy
for command in sys.argv[1:]:
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        from keyman.__main__ import main
        os._exit(main([command, "--help"]))
    if os.waitpid(pid, 0)[1]:
        print(command)
"""


def environ(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def real(*words: str, **how: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", TELLS, *words]
    return subprocess.Popen(command, text=True, **{"env": environ(), **PIPES, **how})


def forked(*words: str, **how: Any) -> subprocess.Popen[str]:
    return Forked(TELLS, words, **{"env": environ(), **PIPES, **how})


def end_of(process: subprocess.Popen[str], said: str = "") -> tuple[int, str, str]:
    with process:
        out, err = process.communicate(said, timeout=GENEROUS)
    return process.returncode, out, err.splitlines()[-1] if err else ""


def test_it_begins_as_a_real_start_does(tmp_path: Path) -> None:
    variables = environ(ODD="ä\n'", TZ="Asia/Tokyo", HOME=str(tmp_path))
    variables.pop("PATH", None)
    odd = {"env": variables, "cwd": tmp_path}
    words = ("a", "b c", "", "--ü")
    begins = [end_of(start(*words, **odd), "line\nä") for start in (real, forked)]
    told = [json.loads(out) for _, out, _ in begins]
    assert told[1] == told[0]
    assert told[1]["read"] == "line\nä"


def test_it_has_the_streams_of_whoever_starts_it_where_none_are_given(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Forked(TELLS, ["end", "raises"], env=environ()) as process:
        process.wait(GENEROUS)
    out, err = capfd.readouterr()
    assert out.splitlines() == ["a thread", "the end"]
    assert err.endswith("ValueError: odd\n")


def test_what_it_writes_to_one_stream_can_go_to_the_other() -> None:
    ends = []
    for start in (real, forked):
        with start("end", "raises", stderr=subprocess.STDOUT) as process:
            said = process.communicate(timeout=GENEROUS)[0].splitlines()
            ends.append(sorted((said[0], said[-3], said[-2], said[-1])))
    assert ends[1] == ends[0]


@pytest.mark.parametrize("how", ENDS)
def test_it_ends_as_a_real_start_does(how: str) -> None:
    assert end_of(forked("end", how)) == end_of(real("end", how))


def test_it_is_known_to_run_until_it_has_ended() -> None:
    with forked() as process:
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait(GENEROUS) == process.poll() == -signal.SIGKILL


def test_its_end_is_the_end_of_its_streams_while_others_run() -> None:
    """None of them holds an end that is another's."""
    with forked() as first, forked() as second, forked() as third:
        assert second.communicate("x", timeout=GENEROUS)[0]
        assert first.communicate("x", timeout=GENEROUS)[0]
        assert third.communicate("x", timeout=GENEROUS)[0]


def test_a_shell_may_start_one(tmp_path: Path) -> None:
    program = tmp_path / "tells.py"
    stub(TELLS, program)
    ours = [sys.executable, "-IS", str(program)]
    for words in (*(["end", how] for how in ENDS), ["a", "b c"]):
        through = subprocess.Popen([*ours, *words], text=True, env=environ(), **PIPES)  # type: ignore[call-overload]
        assert end_of(through, "ä") == end_of(real(*words), "ä")


def test_variables_that_count_from_the_start_ask_for_a_real_one() -> None:
    assert fits(environ())
    assert fits(environ(HOME="/nowhere", KEYMAN_HOME="/nowhere"))
    assert not fits(environ(PYTHONUTF8="0"))
    assert not fits(environ(LC_ALL="C"))
    assert not fits({k: v for k, v in environ().items() if k != "PYTHONPATH"})


@pytest.mark.slow
def test_every_command_starts_with_no_other_s_imports() -> None:
    """What a command forgets to import, the interpreter at hand would hide."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", EACH_BY_ITSELF, *COMMANDS],
        env=environ(),
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == []
