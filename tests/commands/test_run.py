"""`keyman run`: the command gets secrets, signals and the terminal, and we get its status."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.commands.odd_agent import lookup, odd_agent
from tests.commands.world import GENEROUS, ROOT, Cloud, Home, home, until

# Says which secret it was started with, and what it is sent; ends at SIGTERM, in its own time.
TELLS = """\
import os, signal, sys, time

def tell(what):
    with open(os.environ["TOLD"], "a") as told:
        told.write(f"{what}\\n")

def heard(number, frame):
    tell(signal.Signals(number).name)
    if number == signal.SIGTERM:
        time.sleep(float(os.environ.get("LAST", "0")))
        sys.exit(7)

for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH", "CONT"):
    signal.signal(getattr(signal, f"SIG{name}"), heard)
tell(f"has {os.environ['OPENAI_API_KEY']}")
print("ready", flush=True)
while True:
    signal.pause()
"""
FORWARDED = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH", "CONT")


@pytest.fixture(autouse=True)
def as_at_a_terminal() -> Iterator[None]:
    """Whoever runs the tests in the background may have had ignored what they send."""
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)}
    for one, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(one, signal.SIG_DFL)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.fixture(scope="module")
def kept(sky: Cloud) -> Iterator[Home]:
    """A home whose daemon runs and where nothing changes: one for all that only look."""
    with home(sky) as made:
        made.start()
        with made.daemon():
            yield made


@pytest.fixture
def telling(place: Home) -> Home:
    place.environ["TOLD"] = str(place.folder / "told")
    (place.folder / "tells.py").write_text(TELLS)
    place.start()
    return place


def tells(place: Home) -> list[str]:
    return [sys.executable, "-I", str(place.folder / "tells.py")]


def told(place: Home) -> list[str]:
    path = place.folder / "told"
    return path.read_text().splitlines() if path.exists() else []


def secret(place: Home) -> str:
    return place.keyman("get", "genai").out.strip()


@contextmanager
def running(place: Home, *words: str, **how: Any) -> Iterator[subprocess.Popen[str]]:
    """`keyman run genai WORDS`, once its command is ready."""
    with place.process("run", "genai", *words, **how) as process:
        try:
            until(lambda: told(place) or process.poll() is not None)
            yield process
        finally:
            process.terminate()  # which ends its command as well
            with suppress(subprocess.TimeoutExpired):
                process.wait(GENEROUS)
            process.kill()


# What the command gets.


def test_the_command_finds_the_variables_and_no_strays(kept: Home) -> None:
    kept.environ |= {"OPENAI_ORG_ID": "org-stray", "OPENAI_PROJECT_ID": "proj_stray"}
    done = kept.run("run", "genai", "--", "env")
    found = dict(line.partition("=")[::2] for line in done.out.splitlines())
    assert (done.status, done.err) == (0, "")
    assert found["OPENAI_API_KEY"] == secret(kept)
    assert found["OPENAI_BASE_URL"].startswith("http")
    assert found["HOME"] == str(kept.folder)
    assert {"OPENAI_ORG_ID", "OPENAI_PROJECT_ID"} & found.keys() == set()


@pytest.mark.parametrize("restart", [[], ["--restart"]], ids=["once", "restart"])
def test_arguments_arrive_as_they_were_given(kept: Home, restart: list[str]) -> None:
    words = ["a b", "--", "--help", "-x", "", "$HOME", "é"]
    shown = [sys.executable, "-I", "-c", "import sys; print(sys.argv[1:])", *words]
    done = kept.run("run", "genai", *restart, "--", *shown)
    assert (done.status, done.out) == (0, f"{words}\n")


@pytest.mark.parametrize("restart", [[], ["--restart"]], ids=["once", "restart"])
def test_what_is_piped_into_it_reaches_the_command(kept: Home, restart: list[str]) -> None:
    done = kept.run("run", "genai", *restart, "--", "cat", stdin="through")
    assert (done.status, done.out) == (0, "through")


@pytest.mark.slow
def test_without_restart_no_process_stays_between(telling: Home) -> None:
    with running(telling, "--", *tells(telling)) as process:
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert b"tells.py" in command
    assert b"keyman" not in command


@pytest.mark.parametrize("restart", [[], ["--restart"]], ids=["once", "restart"])
def test_no_secret_is_in_any_argv(telling: Home, restart: list[str]) -> None:
    with telling.daemon(), running(telling, *restart, "--", *tells(telling)):
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert secret(telling).encode() not in entry.read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue


@pytest.mark.parametrize("restart", [[], ["--restart"]], ids=["once", "restart"])
def test_signals_that_python_ignores_are_not_ignored_by_the_command(
    kept: Home, restart: list[str]
) -> None:
    """A `| head` behind a command that can't be told to stop would let it run for ever."""
    done = kept.run("run", "genai", *restart, "--", "grep", "-E", "SigIgn|SigBlk", STATUS)
    assert [mask(line) for line in done.out.splitlines()] == [0, 0], done.out


STATUS = "/proc/self/status"


def mask(line: str) -> int:
    """Of a line of STATUS; without the two signals that the C library keeps for itself."""
    return int(line.split()[1], 16) & ((1 << 31) - 1)


@pytest.mark.parametrize("restart", [[], ["--restart"]], ids=["once", "restart"])
def test_what_the_caller_had_ignored_stays_ignored(kept: Home, restart: list[str]) -> None:
    """As nohup does it."""
    words = " ".join([sys.executable, "-P", "-m", "keyman", "run", "genai", *restart])
    done = subprocess.run(
        ["sh", "-c", f"trap '' HUP; exec {words} -- grep SigIgn {STATUS}"],
        env=kept.variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert mask(done.stdout) == 1 << (signal.SIGHUP - 1)


ELSEWHERE = """\
import os, signal, sys
for module, name in (os, "posix_spawnp"), (signal, "SIGQUIT"), (signal, "SIGHUP"):
    delattr(module, name)
from keyman.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_restart_is_refused_where_it_can_not_be(kept: Home) -> None:
    """A Python that lacks what it lacks on Windows."""
    words = ["run", "genai", "--restart", "--", "true"]
    command = [sys.executable, "-c", ELSEWHERE, *words]
    done = subprocess.run(command, env=kept.variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--restart needs processes and signals" in done.stderr
    assert done.stderr.count("\n") == 2


# How it ends.


@pytest.mark.parametrize("restart", [[], ["--restart"]], ids=["once", "restart"])
@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 42"], 42),
        (["no-such-command-anywhere"], 127),
        (["/no/such/folder/x"], 127),
        (["/etc/passwd"], 126),
        (["/etc"], 126),
    ],
)
def test_the_status_is_the_command_s(
    kept: Home, restart: list[str], command: list[str], status: int
) -> None:
    done = kept.run("run", "genai", *restart, "--", *command)
    assert done.status == status
    assert done.err.count("\n") == (2 if status in (126, 127) else 0), done.err


@pytest.mark.slow
def test_a_signal_that_ends_it_shows_in_the_status(telling: Home) -> None:
    """Without --restart the shell sees the signal itself; with it, 128 and its number."""
    for restart, status in ([], -9), (["--restart"], 137):
        done = telling.run("run", "genai", *restart, "--", "sh", "-c", "kill -9 $$")
        assert done.status == status


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("", 2),
        ("genai", 2),
        ("genai --", 2),
        ("genai -- ''", 2),
        ("genai true", 2),
        ("-- true", 2),
        ("genai --loudly -- true", 2),
        ("nobody -- true", 3),
        ("genai Nobody -- true", 3),
    ],
)
def test_mistakes_are_two_lines_and_start_nothing(kept: Home, words: str, status: int) -> None:
    if "Nobody" in words:
        kept.environ["KEYMAN__CREDENTIALS__GENAI__ENV"] = "{key: A, base_url: B}"
    done = kept.run("run", *shlex.split(words))
    kept.environ.pop("KEYMAN__CREDENTIALS__GENAI__ENV", None)
    assert (done.status, done.out, done.err.count("\n")) == (status, "", 2), done.err


def test_what_no_environment_can_hold_is_refused(kept: Home) -> None:
    with odd_agent(lookup("sk-\0")) as path:
        kept.environ["KEYMAN_SOCKET"] = str(path)
        done = kept.run("run", "odd", "--", "true")
    del kept.environ["KEYMAN_SOCKET"]
    assert (done.status, done.err.count("\n")) == (2, 2), done.err


# Signals.


@pytest.mark.slow
@pytest.mark.parametrize("restart", [[], ["--restart"]], ids=["once", "restart"])
def test_signals_pass_through_once_each(telling: Home, restart: list[str]) -> None:
    with running(telling, *restart, "--", *tells(telling)) as process:
        for name in ("HUP", "USR1", "USR2", "WINCH", "CONT", "QUIT", "INT", "TERM"):
            process.send_signal(getattr(signal, f"SIG{name}"))
            until(lambda name=name: f"SIG{name}" in told(telling), lambda: str(told(telling)))
        assert process.wait(GENEROUS) == 7
    names = [line for line in told(telling) if line.startswith("SIG")]
    assert sorted(names) == sorted(f"SIG{name}" for name in FORWARDED)


@pytest.mark.parametrize("restart", [[], ["--restart"]], ids=["once", "restart"])
def test_the_terminal_is_the_command_s(telling: Home, restart: list[str]) -> None:
    """Ctrl-C comes once, although the terminal sends it to all in front; what is typed arrives."""
    ours, theirs = pty.openpty()
    words = ["run", "genai", *restart, "--", *tells(telling)]
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", ON_A_TERMINAL, "-P", "-m", "keyman", *words],
        env=telling.variables,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        until(lambda: told(telling))
        for typed, name in ((b"\x03", "SIGINT"), (b"\x1c", "SIGQUIT")):
            os.write(ours, typed)
            until(lambda name=name: name in told(telling))
        process.send_signal(signal.SIGTERM)
        assert process.wait(GENEROUS) == 7
    finally:
        process.kill()
        os.close(ours)
    assert told(telling)[1:] == ["SIGINT", "SIGQUIT", "SIGTERM"]


WAITS = """\
import signal
from keyman.cli.supervisor import _next
heard = {signal.SIGINT, signal.SIGHUP}
signal.pthread_sigmask(signal.SIG_BLOCK, heard)
while True:
    print("listening", flush=True)
    print(*_next(heard), flush=True)
"""


def test_a_signal_of_the_terminal_s_is_told_from_one_that_was_sent() -> None:
    """Only the kernel knows that the command has had it, too."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", ON_A_TERMINAL, "-c", WAITS],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=theirs,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    os.close(theirs)
    with process:
        assert process.stdout is not None
        heard = []
        for send in (
            lambda: os.write(ours, b"\x03"),
            lambda: process.send_signal(signal.SIGINT),
            lambda: process.send_signal(signal.SIGHUP),
        ):
            assert process.stdout.readline() == "listening\n"
            send()
            heard.append(process.stdout.readline().split())
        process.kill()
    os.close(ours)
    assert heard == [["2", "True"], ["2", "False"], ["1", "False"]]


ON_A_TERMINAL = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


# --restart


def test_a_promotion_starts_it_again_with_the_new_secret(telling: Home) -> None:
    first = secret(telling)
    with (
        telling.daemon(),
        running(telling, "--restart", "--", *tells(telling)) as process,
    ):
        assert telling.keyman("rotate", "genai").status == 0
        second = secret(telling)
        until(lambda: f"has {second}" in told(telling), lambda: str(told(telling)))
        process.terminate()
        assert process.wait(GENEROUS) == 7
    heard = [line for line in told(telling) if line != "SIGCONT"]  # which wakes one that is halted
    assert heard == [f"has {first}", "SIGTERM", f"has {second}", "SIGTERM"]


@pytest.mark.slow
def test_it_hears_of_promotions_although_daemons_come_and_go(telling: Home) -> None:
    with running(telling, "--restart", "--", *tells(telling)):
        for _ in range(2):
            with telling.daemon():
                assert telling.keyman("rotate", "genai", "--overlap", "0s").status == 0
                now = secret(telling)
                until(lambda now=now: f"has {now}" in told(telling), lambda: str(told(telling)))
    started = [line for line in told(telling) if line.startswith("has ")]
    assert len(started) == 3


def test_a_promotion_while_no_daemon_ran_is_noticed_afterwards(telling: Home) -> None:
    with running(telling, "--restart", "--", *tells(telling)):
        assert telling.keyman("rotate", "genai").status == 0
        assert len(told(telling)) == 1
        with telling.daemon():
            now = secret(telling)
            until(lambda: f"has {now}" in told(telling), lambda: str(told(telling)))


@pytest.mark.slow
def test_nothing_is_started_again_once_somebody_wanted_it_to_end(telling: Home) -> None:
    """The command takes its time to end; the promotion comes meanwhile."""
    telling.environ["LAST"] = "3"
    with telling.daemon(), running(telling, "--restart", "--", *tells(telling)) as process:
        process.terminate()
        until(lambda: "SIGTERM" in told(telling))
        assert telling.keyman("rotate", "genai").status == 0
        assert process.wait(GENEROUS) == 7
    assert [line for line in told(telling) if line.startswith("has ")] == told(telling)[:1]
    assert told(telling).count("SIGTERM") == 1


@pytest.mark.slow
def test_the_same_values_start_nothing_again(telling: Home) -> None:
    """A daemon that comes back answers anew, with what the command has already."""
    with running(telling, "--restart", "--", *tells(telling)):
        for _ in range(2):
            with telling.daemon():
                time.sleep(1)
        assert len(told(telling)) == 1


STUBBORN = """\
import sys, threading, time
from keyman.cli import supervisor
supervisor.PATIENCE = 0.3
with supervisor.Supervisor(sys.argv[1:], {"N": "1"}) as one:
    def later():
        time.sleep(0.5)
        one.renew({"N": "2"})
    one.start()
    threading.Thread(target=later, daemon=True).start()
    sys.exit(one.wait())
"""


def test_one_that_does_not_end_is_killed_and_started_again(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "trap '' TERM; [ $N = 2 ] && exit 5; while :; do sleep 0.1; done"]
    ran = subprocess.run(
        [sys.executable, "-c", STUBBORN, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=GENEROUS,
        check=False,
    )
    assert ran.returncode == 5
    assert "killing it" in ran.stderr
