"""The agent under load: lookups a second, news for many at once, memory for many names.

Lookups come over the unix socket from a closed loop in C (load.c), beside nginx with a fixed body
of the same size, a bare Protocol on httptools, and uvicorn with Starlette; all by turns, so that
they meet the same moods of the machine. What is missing on this machine is said, with the command
that brings it.
"""

from __future__ import annotations

import json
import random
import resource
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.figure import Figure

HERE = Path(__file__).resolve().parent
PATH = "/api/v1/secrets/genai"
CONNECTIONS, SECONDS, ROUNDS = 32, 1.0, 9
SLOWER_THAN_NGINX = 1 / 0.6
WAITING, NEWS_ROUNDS, NEWS_WITHIN = 1000, 5, 1.0
NAMES, NAMES_WEIGH = 10_000, 100.0  # MiB
NGINX = """\
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
  uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
  server {{
    listen unix:{socket};
    location / {{
      default_type application/json; add_header Cache-Control no-store; return 200 '{body}';
    }}
  }}
}}
"""


def figures() -> Iterator[Figure]:
    missing = {"cc": "gcc", "nginx": "nginx-light"}
    wanted = " ".join(package for name, package in missing.items() if not shutil.which(name))
    with tempfile.TemporaryDirectory() as folder:
        if wanted:
            print(f"lookups a second: not measured. apt-get install {wanted}")
        else:
            yield from _lookups(Path(folder))
        yield _news(Path(folder))
        yield _names(Path(folder))


# Lookups a second.


@dataclass
class Pace:
    """What one of them reached, round by round."""

    rates: list[float] = field(default_factory=list)
    halves: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        rate, half, tail = map(statistics.median, (self.rates, self.halves, self.tails))
        return f"{rate / 1000:.0f}k/s, p50 {half:.0f} µs, p99 {tail:.0f} µs"


def _lookups(folder: Path) -> Iterator[Figure]:
    load = folder / "load"
    subprocess.run(["cc", "-O2", "-o", load, HERE / "load.c"], check=True)
    with ExitStack() as stack:
        places = {"agent": folder / "agent.sock"}
        stack.enter_context(program("agent", places["agent"]))
        body = _asked(places["agent"])
        for name in ("bare", "starlette"):
            places[name] = folder / f"{name}.sock"
            stack.enter_context(program(name, places[name], body))
        places["nginx"] = folder / "nginx.sock"
        stack.enter_context(_nginx(folder, places["nginx"], body))
        paces = _by_turns(load, places)
    beside = {name: _beside(paces[name], paces["agent"]) for name in ("nginx", "bare")}
    others = "; ".join(f"{name} {paces[name]}" for name in ("nginx", "bare", "starlette"))
    yield Figure(
        f"nginx's lookups a second over the agent's, {CONNECTIONS} connections",
        beside["nginx"],
        SLOWER_THAN_NGINX,
        detail=f"the agent {paces['agent']}; {others}; bare over agent {beside['bare']:.2f}",
    )


def _by_turns(load: Path, places: dict[str, Path]) -> dict[str, Pace]:
    paces = {name: Pace() for name in places}
    for number in range(ROUNDS + 1):
        for name in random.sample(list(places), len(places)):
            asked = [load, places[name], PATH, CONNECTIONS, SECONDS]
            said = subprocess.run(
                list(map(str, asked)), check=True, capture_output=True, text=True
            ).stdout
            rate, half, tail = map(float, said.split())
            if number:  # the first round only warms
                paces[name].rates.append(rate)
                paces[name].halves.append(half)
                paces[name].tails.append(tail)
    return paces


def _beside(theirs: Pace, ours: Pace) -> float:
    return statistics.median(a / b for a, b in zip(theirs.rates, ours.rates, strict=True))


def _asked(place: Path) -> str:
    """The body of one lookup's answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(place))
        connection.sendall(f"GET {PATH} HTTP/1.1\r\nHost: keyman\r\n\r\n".encode())
        return connection.recv(65536).partition(b"\r\n\r\n")[2].decode()


@contextmanager
def _nginx(folder: Path, place: Path, body: str) -> Iterator[None]:
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, socket=place, body=body))
    with subprocess.Popen(["nginx", "-c", config, "-p", folder]) as process:
        try:
            while not place.exists():
                time.sleep(0.01)
            yield
        finally:
            process.terminate()


# News for many at once.


def _news(folder: Path) -> Figure:
    """From before the new answer is written out until the last of those who wait has it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * WAITING), hard))
    place = folder / "news.sock"
    took = []
    with program("agent", place) as process, ExitStack() as stack:
        waiting = [stack.enter_context(_connected(place)) for _ in range(WAITING)]
        for version in range(1, NEWS_ROUNDS + 1):
            for connection in waiting:
                asked = f"GET {PATH}?after={version}&wait=60s HTTP/1.1\r\nHost: keyman\r\n\r\n"
                connection.sendall(asked.encode())
            told = _told(process, f"promote {version + 1} {WAITING}")
            took.append(_all_have(waiting) - float(told))
    return Figure(
        f"from a promotion to the last of {WAITING} waiting clients",
        statistics.median(took),
        NEWS_WITHIN,
        "s",
        detail=f"worst of {NEWS_ROUNDS}: {max(took):.2f} s",
    )


def _connected(place: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(place))
    return connection


def _all_have(waiting: list[socket.socket]) -> float:
    """The moment at which each of them has its answer: a head, and then one JSON object."""
    with selectors.DefaultSelector() as ready:
        for connection in waiting:
            ready.register(connection, selectors.EVENT_READ)
        left = len(waiting)
        while left:
            for key, _ in ready.select(60):
                assert isinstance(key.fileobj, socket.socket)
                said = key.fileobj.recv(65536)
                assert said.startswith((b"HTTP/1.1 200", b"{")), said
                if said.endswith(b"}"):
                    ready.unregister(key.fileobj)
                    left -= 1
    return time.monotonic()


# Memory for many names.


def _names(folder: Path) -> Figure:
    place = folder / "names.sock"
    with program("agent", place) as process:
        weighed = psutil.Process(process.pid)
        before = weighed.memory_info().rss
        _told(process, f"publish {NAMES}")
        more = (weighed.memory_info().rss - before) / 2**20
    return Figure(f"what {NAMES} names add to the agent", more, NAMES_WEIGH, "MiB")


# The processes that are measured.


@contextmanager
def program(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """One of benchmarks/servers.py, once it says that it is up."""
    command = [sys.executable, "-m", "benchmarks.servers", *map(str, words)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == "up"
        try:
            yield process
        finally:
            process.kill()


def _told(process: subprocess.Popen[str], wish: str) -> str:
    """What the process answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{wish}\n")
    process.stdin.flush()
    return process.stdout.readline()
