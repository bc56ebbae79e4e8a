"""`keyman demo`: the whole system against the sandbox clouds, here and now, without any account.

The clouds are imitations; everything else is the real thing: a daemon in a process of its own with
its scheduler, journal and sealed store, the vendors' SDKs signing their calls over HTTP, and one
client per credential that looks its secret up and calls inference with it all the time. Lifetimes
are seconds instead of months. All state lies in a temporary home that is removed at the end, and
nothing that the user has set for another keyman or another cloud is looked at.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

import keyman
from keyman.cli import terminal
from keyman.cli.demo_clients import Caller, Count
from keyman.cli.demo_clouds import BY_HAND, MODELS, USUAL_MODEL, Clouds, clouds
from keyman.cli.demo_view import Watch
from keyman.cli.remote import Remote
from keyman.clock import SystemClock
from keyman.core.model import Secret
from keyman.errors import Error, NotRunning

DAEMON = """\
import ctypes, os, signal, sys
if sys.platform == "linux":  # should the demo be killed, this ends too
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    from keyman.__main__ import main
    sys.exit(main(["daemon"]))
"""
DAEMONS_LINES = "daemon.log"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SETTINGS = ("KEYMAN_", "OCI_", "GOOGLE_", "OPENAI_")
LONGEST_FOLDER = 60  # characters
CLOCK = SystemClock()
STARTS_WITHIN = 60.0  # seconds; a busy machine takes long to import the SDKs


@click.command("demo")
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=30, show_default=True, help="ends then …"
)
@click.option(
    "--rotations",
    type=click.IntRange(min=1),
    help="… or after so many rotations of each credential",
)
@click.option("--json", "as_json", is_flag=True, help="only the summary, for programs")
def command(*, seconds: float, rotations: int | None, as_json: bool) -> int:
    """See credentials of every kind rotate while clients keep calling with them.

    Example: keyman demo --seconds 30
    """
    for number in ENDINGS:
        signal.signal(number, _interrupt)
    with (
        tempfile.TemporaryDirectory(prefix="keyman-demo-", dir=_roomy()) as folder,
        clouds() as sky,
    ):
        home = Path(folder) / "home"
        with _daemon(sky.configure(Path(folder)), home) as process:
            counts, spent = _run(process, home, sky, seconds, rotations, as_json=as_json)
    return _report(counts, spent, as_json=as_json)


def _roomy() -> str | None:
    """Where temporary folders go; a socket's path must be short, and some systems' are not."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= LONGEST_FOLDER else "/tmp"  # noqa: S108 - made 0700 by tempfile


@contextmanager
def _daemon(config: Path, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon as a process of its own; gone, whatever happens, when this is left."""
    _look_away_from_the_users_own()
    os.environ["KEYMAN_SOCKET"] = str(home / "agent.sock")
    package = str(Path(keyman.__file__).parents[1])
    path = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "KEYMAN_HOME": str(home),
        "KEYMAN_CONFIG": str(config),
        "PYTHONPATH": os.pathsep.join(path),
    }
    with (config.parent / DAEMONS_LINES).open("wb") as lines:
        # The command line is our own interpreter and module. A session of its own: Ctrl-C is for
        # the demo alone, which then stops the daemon.
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", DAEMON, str(os.getpid())],
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=lines,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)  # an impatient second Ctrl-C leaves no daemon
        _end(process)


def _look_away_from_the_users_own() -> None:
    """This process is the demo and nothing else, so its environment may be cleared for good."""
    for name in list(os.environ):
        if name.startswith(SETTINGS) and name != "KEYMAN_TRACEBACK":
            del os.environ[name]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run(
    process: subprocess.Popen[bytes],
    home: Path,
    sky: Clouds,
    seconds: float,
    rotations: int | None,
    *,
    as_json: bool,
) -> tuple[dict[str, Count], float]:
    """Let clients call until the earlier limit; returns what they met."""
    stop = threading.Event()
    with Watch(quiet=as_json) as watch:
        names = _wait_for_secrets(process, home, sky, watch)
        callers = [Caller(name, MODELS.get(name, USUAL_MODEL), stop) for name in names]
        began = CLOCK.monotonic()
        for caller in callers:
            caller.start()
        counts = {caller.credential: caller.count for caller in callers}
        while (spent := CLOCK.monotonic() - began) < seconds and process.poll() is None:
            watch.show(_statuses(home), counts, spent, seconds)
            turning = [count.rotations for name, count in counts.items() if name != BY_HAND]
            if rotations and min(turning) >= rotations:
                break
            CLOCK.sleep(0.1)
        stop.set()
        for caller in callers:
            caller.join(timeout=10)
        if process.poll() is not None:
            raise _ended_early(home)
        watch.show(_statuses(home), counts, spent, seconds)
    return counts, spent


def _ended_early(home: Path) -> NotRunning:
    """The daemon is gone: its own lines say why."""
    lines = (home.parent / DAEMONS_LINES).read_text(errors="replace").splitlines()
    for line in lines[-10:]:
        terminal.note(line)
    return NotRunning("the demo's daemon ended by itself", hint="its last lines are above")


def _wait_for_secrets(
    process: subprocess.Popen[bytes], home: Path, sky: Clouds, watch: Watch
) -> list[str]:
    """Until the first version of every credential is there; returns their names."""
    deadline = CLOCK.monotonic() + STARTS_WITHIN
    put = False
    while CLOCK.monotonic() < deadline:
        if process.poll() is not None:
            raise _ended_early(home)
        statuses = _statuses(home)
        watch.show(statuses, {}, 0, 0)
        if statuses and not put:
            Remote(home / "agent.sock").put(BY_HAND, Secret(sky.by_hand), None)
            put = True
        if statuses and all(one["current"] for one in statuses):
            return [one["name"] for one in statuses]
        CLOCK.sleep(0.05)
    raise NotRunning(f"the demo's daemon gave no secret within {STARTS_WITHIN:.0f} s")


def _statuses(home: Path) -> list[dict[str, Any]]:
    try:
        statuses: list[dict[str, Any]] = Remote(home / "agent.sock").every()["credentials"]
    except Error:
        return []
    return statuses


def _report(counts: dict[str, Count], spent: float, *, as_json: bool) -> int:
    each = {name: _figures(count, spent) for name, count in counts.items()}
    keys = ("rotations", "lookups", "requests", "rejected")
    total: dict[str, Any] = {key: sum(one[key] for one in each.values()) for key in keys}
    total["seconds"] = round(spent, 1)
    failed = total["rejected"] > 0 or total["rotations"] == 0
    if as_json:
        terminal.show_json({**total, "credentials": each})
        return 1 if failed else 0
    rotations, lookups, requests = (
        terminal.counted(total[f"{what}s"], what) for what in ("rotation", "lookup", "request")
    )
    terminal.say(
        f"{rotations}, {lookups} and {requests} in {spent:.0f} s: {total['rejected']} rejected"
    )
    if total["rotations"] == 0:
        terminal.warn(f"{spent:.0f} s are too short to see a rotation: try --seconds 30")
    return 1 if failed else 0


def _figures(count: Count, spent: float) -> dict[str, Any]:
    return {
        "rotations": count.rotations,
        "lookups": count.lookups,
        "requests": count.requests,
        "rejected": count.rejected,
        "seconds": round(spent, 1),
    }
