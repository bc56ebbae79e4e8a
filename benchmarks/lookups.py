"""What a lookup costs: from memory, over the socket, and until a promotion is seen.

The agent is the real one, in a process of its own. Its peer on the socket is an echo of as many
bytes as its answer has, by the same kind of client and server: a blocking socket here, a Protocol
on uvloop there. Beside a hit from memory stands google-auth's, beside the echo redis.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import uvloop

import keyman
from benchmarks import peers
from benchmarks.asked_agent import lookups_go_to
from benchmarks.figure import Figure
from keyman import client
from keyman.app import App, open_app
from keyman.client import asking
from keyman.config import load
from keyman.core.model import Secret, Stage
from keyman.serving.api import Api
from keyman.serving.server import Agent
from keyman.serving.snapshot import Answer, Handout

NAME = "genai"
CONFIG = """\
credentials:
  genai: {provider: static, base_url: https://inference.example.com/20231130/actions/v1}
"""
HIT, SEEN, WARM = 0.3, 100.0, 1.3  # µs, µs, times an echo
CALLS, ROUNDS = 100, 300  # of the socket's
HITS, REPEATS = 2_000, 400
PROMOTIONS = 300


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with lookups_go_to(home), program("agent", str(home)) as agent:
            keyman.get(NAME)
            yield from _hits()
            yield _seen(agent)
            yield _warm(home)


# From memory.


def _hits() -> Iterator[Figure]:
    provider = keyman.provider(NAME)
    ways: dict[str, Callable[[], object]] = {
        "keyman.get": lambda: keyman.get(NAME),
        "keyman.secret": lambda: keyman.secret(NAME),
        "a provider": provider,
    }
    assert client.lookup(NAME)["value"] == keyman.get(NAME)
    empty, google = _each(lambda: None), _each(peers.google_hit())
    for what, way in ways.items():
        took = _each(way) - (empty if way is not provider else 0)
        beside = (
            f"google-auth's with its header {google:.2f} µs" if way is ways["keyman.get"] else ""
        )
        yield Figure(f"a hit of {what}, freshness looked at", took, HIT, "µs", beside)


def _each(call: Callable[[], object]) -> float:
    """Microseconds a call."""
    return _undisturbed(timeit.repeat(call, number=HITS, repeat=REPEATS)) / HITS * 1e6


def _undisturbed(took: list[float]) -> float:
    """The best tenth: the others shared the processor, or waited for one to wake up."""
    return statistics.quantiles(took, n=10)[0]


# Until it is seen.


def _seen(agent: subprocess.Popen[str]) -> Figure:
    """The clock starts at the switch, when the agent has written the new answer out and shown it,
    and stops when another process, which calls `keyman.secret` all the time, has it in its hand.
    """
    with program("poller") as poller:
        begun, seen = _told(agent, "promote\n"), _told(poller)
    # Who was kept from looking for a while may have missed one, and has seen a later one.
    took = [
        (min(seen[v] for v in seen if v >= version) - at) / 1000 for version, at in begun.items()
    ]
    slow = statistics.quantiles(took, n=10)[8]
    return Figure(
        "from a promotion until another process has it",
        statistics.median(took),
        SEEN,
        "µs",
        detail=f"median of {PROMOTIONS}, the slowest tenth takes more than {slow:.0f}",
    )


def _told(process: subprocess.Popen[str], asked: str = "") -> dict[int, int]:
    """Version → ns, of all promotions; both stay silent meanwhile, since whoever reads what they
    say would take a processor from them.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(asked)
    process.stdin.flush()
    words = process.stdout.readline().split()
    return {int(version): int(at) for version, at in (word.split(":") for word in words)}


def _all(times: dict[int, int]) -> None:
    print(*(f"{version}:{at}" for version, at in times.items()), flush=True)


# Over the socket.


def _warm(home: Path) -> Figure:
    found = asking.lookup(f"/api/v1/secrets/{NAME}")
    answer, place = found.raw, str(home / "echo.sock")
    with (
        program("echo", place),
        socket.socket(socket.AF_UNIX) as peer,
        peers.redis(home, found.body) as redis,
    ):
        peer.connect(place)

        def echo() -> object:
            peer.sendall(answer)
            return peer.recv(65536)

        ways = [lambda: client.lookup(NAME), echo, *([redis] if redis else [])]
        mine, theirs, *other = _side_by_side(*ways)
    beside = f"redis {other[0]:.1f} µs" if other else peers.absent("redis")
    return Figure(
        "a lookup over the socket beside an echo",
        mine / theirs,
        WARM,
        detail=f"{mine:.1f} beside {theirs:.1f} µs, {len(answer)} bytes; {beside}",
    )


def _side_by_side(*ways: Callable[[], object]) -> list[float]:
    """Microseconds a call, of each, from short rounds by turns."""
    took: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for way, each in zip(ways, took, strict=True):
            begun = time.perf_counter_ns()
            for _ in range(CALLS):
                way()
            each.append((time.perf_counter_ns() - begun) / CALLS / 1000)
    return [_undisturbed(each) for each in took]


# The processes beside us.


@contextmanager
def program(*words: str) -> Iterator[subprocess.Popen[str]]:
    """This file in a process of its own, once it says that it is up."""
    command = [sys.executable, "-m", "benchmarks.lookups", *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        try:
            yield process
        finally:
            process.kill()


def agent(home: str) -> None:
    config = Path(home, "config.yaml")
    config.write_text(CONFIG)
    config.chmod(0o600)
    with ExitStack() as stack:
        app = stack.enter_context(open_app(load(config, home=Path(home), environ={})))
        api = Api(app.desk, app.snapshot, reload=dict, since=app.clock.now())
        serving = Agent(api, Path(home, "agent.sock"))
        switched: list[int] = []
        app.snapshot.subscribe(lambda _: switched.append(time.time_ns()))
        _promote(app, 1)
        serving.start()
        stack.callback(serving.stop)
        _up()
        for _ in sys.stdin:
            versions = range(2, 2 + PROMOTIONS)
            for version in versions:
                time.sleep(0.002 + 0.001 * (version % 7))
                _promote(app, version)
            _all(dict(zip(versions, switched[1:], strict=True)))


def _promote(app: App, version: int) -> None:
    lookup = app.rotator.managed[NAME].provider.lookup()
    secret = Secret(f"sk-{version:048}")
    handout = Handout(NAME, secret, version, None, Stage.CURRENT, None, "static", lookup)
    app.snapshot.publish(NAME, Answer(version, handout, handout))


def poller() -> None:
    known = keyman.secret(NAME).version
    _up()
    seen: dict[int, int] = {}
    while known <= PROMOTIONS:
        found = keyman.secret(NAME).version
        if found != known:
            known = found
            seen[found] = time.time_ns()
    _all(seen)


def echo(path: str) -> None:
    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = cast("asyncio.Transport", transport)

        def data_received(self, data: bytes) -> None:
            self._transport.write(data)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_unix_server(Echo, path)
        _up()
        await loop.create_future()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def _up() -> None:
    print("up", flush=True)


if __name__ == "__main__":
    parts: dict[str, Callable[..., None]] = {"agent": agent, "poller": poller, "echo": echo}
    parts[sys.argv[1]](*sys.argv[2:])
