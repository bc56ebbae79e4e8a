"""Ten thousand Google tokens kept fresh by one daemon, against a sandbox in this process.

    python -m benchmarks.ten_thousand_tokens               steady: three cycles of compressed hours
    python -m benchmarks.ten_thousand_tokens --all         all of them: start, memory, journal

Compressed is the hour, and with it the number of credentials, so that as many tokens a second are
asked for as 10,000 credentials need whose tokens live for an hour: a token of 96 s stands for one
of 3600 s, and 267 credentials for 10,000. What each request and each record costs is not
compressed. With --all the hour is an hour, and what is measured is the first fetch of all.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psutil

from benchmarks import daemon_weight
from benchmarks.asked_agent import lookups_go_to
from benchmarks.figure import Figure
from keyman import client
from keyman.errors import Error
from keyman.sandbox.google import GoogleSandbox

TOKENS, HOUR = 10_000, 3600.0
LEAD = 0.25  # of a token's life, as without a policy; said in seconds, for its least is 5 minutes
TOLD_SHORT = 2.0  # seconds: Google keeps one to itself, and keyman what is no whole one
LIBRARIES = f"{daemon_weight.LIBRARIES}, google.auth.crypt, google.oauth2.service_account"
ONE = """\
  {name}:
    provider: google
    base_url: {base_url}
    source: {{kind: service-account, file: {name}.json}}
    endpoints: {{token: '{url}'}}
    policy: {{rotate_before: {lead}s}}
"""


@dataclass
class Bench:
    """A daemon that runs on so many credentials, and those who ask it meanwhile."""

    sandbox: GoogleSandbox
    folder: Path
    names: list[str]
    process: psutil.Process
    unserved: list[str] = field(default_factory=list)

    @property
    def busy(self) -> float:
        """Processor seconds of the daemon so far."""
        times = self.process.cpu_times()
        return times.user + times.system

    def journal_bytes(self) -> int:
        return sum(path.stat().st_size for path in (self.folder / "home").glob("keyman.db*"))

    def requests(self) -> dict[str, list[float]]:
        """When each account's tokens were asked for."""
        by_account: dict[str, list[float]] = defaultdict(list)
        for call in self.sandbox.calls("AssertionToken"):
            by_account[call.actor].append(call.at)
        return by_account

    def least_left(self) -> float:
        """Seconds that the old token still had, as keyman was told, at the latest refresh."""
        gaps = [b - a for times in self.requests().values() for a, b in pairwise(times)]
        return self.sandbox.token_seconds - TOLD_SHORT - max(gaps)

    def look_up(self, stop: threading.Event) -> None:
        """As applications do: now this one, now that, all the time."""
        while not stop.wait(0.05):
            name = random.choice(self.names)
            try:
                client.lookup(name)
            except Error as error:
                self.unserved.append(f"{name}: {error.message}")


def figures() -> Iterator[Figure]:
    """The steady state, in a few minutes."""
    return steady(credentials=None, token_seconds=96.0, cycles=3)


def steady(*, credentials: int | None, token_seconds: float, cycles: int) -> Iterator[Figure]:
    count = credentials or round(TOKENS * token_seconds / HOUR)
    with running(count, token_seconds) as bench:
        _say(f"{count} credentials whose tokens live for {token_seconds:g} s: {cycles} cycles")
        _until(lambda: len(bench.requests()) == count)
        stop = threading.Event()
        asking = threading.Thread(target=bench.look_up, args=(stop,))
        asking.start()
        began, busy, sizes = time.monotonic(), bench.busy, []
        for cycle in range(1, cycles + 1):
            time.sleep(token_seconds * (1 - LEAD))
            sizes.append(bench.journal_bytes())
            asked = len(bench.sandbox.token_requests())
            _say(f"cycle {cycle}: {asked} requests, journal {sizes[-1] / 2**20:.2f} MiB")
        lasted, spent = time.monotonic() - began, bench.busy - busy
        stop.set()
        asking.join()
        late = -bench.least_left()
        peak = bench.sandbox.peak_requests()
        refreshed = len(bench.sandbox.token_requests()) - count
    share, rate = 100 * spent / lasted, refreshed / lasted
    least = f"the old token had at least {-late:.1f} s of {token_seconds:g} s left"
    yield Figure("latest refresh after the old token's end", max(late, 0.0), 0, "s", least)
    yield Figure("lookups without a token", len(bench.unserved), 0, "", _first(bench.unserved))
    yield Figure("most token requests in a second", peak, 19, "", f"{rate:.2f} on average")
    each = f"{1000 * spent / refreshed:.1f} ms for each token"
    yield Figure("the daemon's share of one core", share, 25, "%", each)
    grown = 100 * (sizes[-1] / sizes[min(1, len(sizes) - 1)] - 1)
    yield Figure("growth of the journal since the second cycle", grown, 1, "%")


def everything(*, credentials: int) -> Iterator[Figure]:
    """All credentials at once, with tokens of an hour: the first fetch of each, then a minute."""
    with running(credentials, HOUR) as bench, peer() as beside:
        began, busy = time.monotonic(), bench.busy
        _until(lambda: len(bench.requests()) == credentials, seconds=credentials)
        lasted, spent = time.monotonic() - began, bench.busy - busy
        _say(
            f"{credentials} first tokens in {lasted:.0f} s, {100 * spent / lasted:.0f} % of a core"
        )
        time.sleep(5)
        rested = bench.busy
        time.sleep(60)
        resting = (bench.busy - rested) / 60
        mine, theirs = bench.process.memory_info().rss, beside.memory_info().rss
        peak, journal = bench.sandbox.peak_requests(), bench.journal_bytes()
    _say(f"journal {journal / 2**20:.1f} MiB, {journal / credentials / 1024:.2f} KiB a credential")
    yield Figure("most token requests in a second at the start", peak, 19, "")
    yield Figure("the daemon's share of one core once all are there", 100 * resting, 25, "%")
    yield Figure(
        "the daemon's memory for each credential",
        (mine - theirs) / credentials / 1024,
        64,
        "KiB",
        f"{mine / 2**20:.0f} MiB beside {theirs / 2**20:.0f} MiB of the libraries alone",
    )


@contextmanager
def running(count: int, token_seconds: float) -> Iterator[Bench]:
    """A daemon in a process of its own, from its start."""
    sandbox = GoogleSandbox(token_seconds=token_seconds)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kb-", dir="/tmp")))
        url = stack.enter_context(sandbox.serve())
        names = [f"t{number}" for number in range(count)]
        _configure(sandbox, folder, names, url)
        home, config = str(folder / "home"), str(folder / "config.yaml")
        environment = {**os.environ, "KEYMAN_HOME": home, "KEYMAN_CONFIG": config}
        stack.enter_context(lookups_go_to(folder / "home"))
        command = [sys.executable, "-m", "keyman", "daemon"]
        yield Bench(sandbox, folder, names, stack.enter_context(_process(command, environment)))


def _configure(sandbox: GoogleSandbox, folder: Path, names: list[str], url: str) -> None:
    """Each has an account and a file of its own, so that the sandbox can tell them apart."""
    text = ["log: {level: warning}\ncredentials:\n"]
    lead = round(sandbox.token_seconds * LEAD)
    for name in names:
        email = f"{name}@{sandbox.project}.iam.gserviceaccount.com"
        sandbox.files.service_account(folder / f"{name}.json", email)
        text.append(ONE.format(name=name, base_url=sandbox.base_url, url=url, lead=lead))
    (folder / "config.yaml").write_text("".join(text))
    (folder / "config.yaml").chmod(0o600)


@contextmanager
def peer() -> Iterator[psutil.Process]:
    """A process that has imported what the daemon imports, and does nothing."""
    command = [sys.executable, "-c", f"import {LIBRARIES}, signal; signal.pause()"]
    with _process(command, dict(os.environ)) as process:
        yield process


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[psutil.Process]:
    started = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    try:
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait(timeout=30)


def _until(so: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not so():
        if time.monotonic() > deadline:
            raise TimeoutError("the daemon did not get so far")
        time.sleep(0.5)


def _first(said: list[str]) -> str:
    return f"e.g. {said[0]}" if said else ""


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--all", action="store_true", help="the first fetch of all, uncompressed")
    parser.add_argument("--credentials", type=int, help=f"as many as come to {TOKENS} an hour")
    parser.add_argument("--token-seconds", type=float, default=96.0, help="how long a token lives")
    parser.add_argument("--cycles", type=int, default=3, help="refreshes of each token")
    given = parser.parse_args()
    if given.all:
        found = everything(credentials=given.credentials or TOKENS)
    else:
        found = steady(
            credentials=given.credentials, token_seconds=given.token_seconds, cycles=given.cycles
        )
    missed = False
    for figure in found:
        print(figure.line(), flush=True)
        missed = missed or not figure.reached
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
