"""What one secret costs a shell: whole processes, from their start to their end.

The peer is a bare start of the same interpreter (`python -I -S -c pass`), run in turn with each
command in every round, so that all meet the same moods of the machine; `keyring get` and
secret-tool, which take longer, have rounds of their own with it. `keyman` is started as an
installer's script does it, with its modules compiled, as they are after the first call.
"""

from __future__ import annotations

import compileall
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import peers
from benchmarks.asked_agent import lookups_go_to, wait_for_secret
from benchmarks.daemon_weight import CONFIG
from benchmarks.figure import Figure
from keyman.sandbox.oci_genai import OciGenaiSandbox

ROOT = Path(__file__).resolve().parent.parent
ROUNDS, ROUNDS_WITHOUT = 60, 15
BARE = [sys.executable, "-I", "-S", "-c", "pass"]
SCRIPT = "#!{python}\nimport sys\nfrom keyman.__main__ import script\nsys.exit(script())\n"
# Left over from a test run or an editor, these would have modules compiled at every start.
SLOWING = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONPATH")


def figures() -> Iterator[Figure]:
    compileall.compile_dir(ROOT / "keyman", quiet=1)
    sandbox = OciGenaiSandbox()
    with tempfile.TemporaryDirectory() as folder, sandbox.serve() as url:
        environment = _home(Path(folder), sandbox, url)
        keyman = _installed(Path(folder))
        with _daemon(Path(folder), environment):
            beside = _keyrings(keyman, environment, Path(folder))
            yield from _with_a_daemon(keyman, environment, beside)
        yield from _without(keyman, environment)


def _keyrings(keyman: str, environment: dict[str, str], folder: Path) -> str:
    """What the desktop's keyring takes, in words."""
    with peers.keyrings(folder / "keyring") as (commands, needed):
        there = {name: command for name, command in commands.items() if command}
        ours = {"get": [keyman, "get", "genai"]}
        taken = _rounds(ours | there, environment | needed, ROUNDS_WITHOUT) if there else {}
    said = (f"{n} {_median(taken[n])}" if n in there else peers.absent(n) for n in commands)
    return f"{', '.join(said)}" + (f" beside {_median(taken['get'])}" if there else "")


def _with_a_daemon(keyman: str, environment: dict[str, str], beside: str) -> Iterator[Figure]:
    commands = {
        "get": [keyman, "get", "genai"],
        "env": [keyman, "env", "genai"],
        "run": [keyman, "run", "genai", "--", "true"],
    }
    with_nc = shutil.which("nc")
    if with_nc:
        commands["keyman-get"] = [str(ROOT / "scripts/keyman-get"), "genai"]
    taken = _rounds({"bare": BARE, **commands}, environment, ROUNDS)
    limits = {"get": 2.0, "keyman-get": 0.5}
    for name in ("get", "keyman-get") if with_nc else ("get",):
        what = "keyman-get with nc" if name == "keyman-get" else f"keyman {name}"
        also = ", ".join(f"{one} {_median(taken[one])}" for one in ("env", "run"))
        yield Figure(
            f"a whole `{what}` beside a bare start of Python",
            _beside(taken[name], taken["bare"]),
            limits[name],
            detail=f"{_median(taken[name])} beside {_median(taken['bare'])}"
            + (f"; keyman {also}; {beside}" if name == "get" else ""),
        )


def _without(keyman: str, environment: dict[str, str]) -> Iterator[Figure]:
    commands = {"bare": BARE, "get": [keyman, "get", "genai"]}
    taken = _rounds(commands, environment, ROUNDS_WITHOUT)
    yield Figure(
        "a whole `keyman get` without a daemon beside a bare start of Python",
        _beside(taken["get"], taken["bare"]),
        50.0,
        detail=f"{_median(taken['get'])} beside {_median(taken['bare'])}",
    )


def _rounds(
    commands: dict[str, list[str]], environment: dict[str, str], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each command in each round, in another order each time; the first only warms."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name in random.sample(list(commands), len(commands)):
            began = time.perf_counter()
            subprocess.run(commands[name], env=environment, stdout=subprocess.DEVNULL, check=True)
            if number:
                taken[name].append(time.perf_counter() - began)
    return taken


def _beside(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _median(seconds: list[float]) -> str:
    return f"{1000 * statistics.median(seconds):.1f} ms"


# What is measured: a home with one secret, and the command as it is installed.


def _home(folder: Path, sandbox: OciGenaiSandbox, url: str) -> dict[str, str]:
    config = folder / "config.yaml"
    config.write_text(
        CONFIG.format(
            compartment=sandbox.compartment,
            endpoint=url,
            base_url=sandbox.base_url,
            profile=sandbox.make_profile(folder / "oci"),
        )
    )
    config.chmod(0o600)
    kept = {name: value for name, value in os.environ.items() if name not in SLOWING}
    ours = {"KEYMAN_HOME": str(folder / "home"), "KEYMAN_CONFIG": str(config)}
    return {**kept, "PYTHONPATH": str(ROOT), **ours}


def _installed(folder: Path) -> str:
    script = folder / "keyman"
    script.write_text(SCRIPT.format(python=sys.executable))
    script.chmod(0o755)
    return str(script)


@contextmanager
def _daemon(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    command = [sys.executable, "-m", "keyman", "--log-level", "error", "daemon"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL) as process:
        try:
            with lookups_go_to(folder / "home"):
                wait_for_secret("genai")
                yield
        finally:
            process.terminate()
