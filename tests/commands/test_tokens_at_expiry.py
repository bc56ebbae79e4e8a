"""Tokens round their end: many who ask at once, a token endpoint that is down, reports, restarts.

The daemon is a process, google-auth signs, and a Google on the loopback says what was asked of it
and until when its tokens live: that, and not what keyman believes, is the truth here. An hour is
a few seconds long. What clocks do is tried inside of the test's process, with a clock that can be
set wrong.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from keyman import errors
from keyman.app import App
from keyman.clock import SystemClock
from keyman.daemon import SWEEP_EVERY, Daemon
from keyman.sandbox.faults import Fault
from keyman.sandbox.google import GoogleSandbox
from keyman.sandbox.google_files import SERVICE
from tests.commands.kinds import home_with
from tests.commands.world import GENEROUS, ROOT, Home, until

ONE = """\
  {name}:
    provider: google
    base_url: {base_url}
    source: {source}
    endpoints: {{token: '{url}', metadata: '{url}'}}
    policy: {{rotate_before: {lead}}}
"""
FILE = "{kind: service-account, file: sa.json}"
LIFE, LEAD = 16, 5  # seconds; Google says one less, and keyman takes the whole seconds of that
DOWN = Fault("status", "AssertionToken", status=503)


@contextmanager
def google(seconds: float = LIFE) -> Iterator[GoogleSandbox]:
    made = GoogleSandbox(seed=1, token_seconds=seconds)
    with made.serve():
        yield made


@contextmanager
def at_home(
    sandbox: GoogleSandbox, lead: float = LEAD, source: str = FILE, names: tuple[str, ...] = ()
) -> Iterator[Home]:
    """A home with that credential, called vertex, or with several."""
    text = "".join(
        ONE.format(
            name=name,
            base_url=sandbox.base_url,
            url=sandbox.url,
            source=source,
            lead=f"{lead:g}s",
        )
        for name in names or ("vertex",)
    )
    with home_with(text) as place:
        sandbox.files.service_account(place.folder / "sa.json")
        yield place


def asked(sandbox: GoogleSandbox) -> int:
    return len(sandbox.token_requests())


def token(place: Home) -> dict[str, Any]:
    """The object of `get --json`, once there is one."""
    until(lambda: place.keyman("get", "vertex").status == 0)
    said: dict[str, Any] = place.keyman("get", "vertex", "--json").json
    return said


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def true_end(sandbox: GoogleSandbox, digest: str) -> float:
    """Until when Google takes the token."""
    return next(t.expires for t in sandbox.person.tokens_of(SERVICE) if t.sha256 == digest)


# ------------------------------------------------------------------------------- who asks all along

ASKS = """\
import hashlib, json, sys, threading, time
from keyman import client
from keyman.errors import Error

done, given, refused = threading.Event(), {}, []

def ask():
    last = False
    while not last:  # once more after it is over: who starts late has asked, too
        last = done.is_set()
        began = time.time()
        try:
            value = client.lookup("vertex")["value"]
        except Error as error:
            refused.append([error.code, time.time()])
        else:
            given[hashlib.sha256(value.encode()).hexdigest()] = began
        done.wait(0.05)

threads = [threading.Thread(target=ask) for _ in range(int(sys.argv[1]))]
for each in threads: each.start()
sys.stdin.read()
done.set()
for each in threads: each.join()
json.dump({"given": given, "refused": refused}, sys.stdout)
"""


class Crowd:
    """Processes that look the token up all the time; each is so many threads."""

    def __init__(self, place: Home, sizes: list[int]) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", ASKS, str(size)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=place.variables,
                cwd=ROOT,
            )
            for size in sizes
        ]
        self.given: dict[str, float] = {}  # a token's SHA-256 → when it was last asked for
        self.refused: list[tuple[str, float]] = []  # why there was none, and when that was said

    def go_home(self) -> None:
        for process in self._processes:
            out, _ = process.communicate("", GENEROUS)
            said = json.loads(out)
            for digest, at in said["given"].items():
                self.given[digest] = max(at, self.given.get(digest, 0.0))
            self.refused += [(code, at) for code, at in said["refused"]]


@contextmanager
def crowd(place: Home, sizes: list[int]) -> Iterator[Crowd]:
    made = Crowd(place, sizes)
    try:
        yield made
    finally:
        made.go_home()


def nobody_got_a_dead_one(made: Crowd, sandbox: GoogleSandbox) -> bool:
    return all(at < true_end(sandbox, digest) for digest, at in made.given.items())


@pytest.mark.slow
def test_a_hundred_threads_and_ten_processes_cost_one_request_at_expiry() -> None:
    with google() as sandbox, at_home(sandbox) as place, place.daemon():
        first = token(place)
        ends = moment(first["expires_at"])
        with crowd(place, [100, *[1] * 10]) as everybody:
            until(lambda: time.time() > ends)
    assert everybody.refused == []
    assert nobody_got_a_dead_one(everybody, sandbox)
    assert len(everybody.given) == 2
    assert len([at for at in sandbox.token_requests() if at < ends]) == 2  # the first one's, too


@pytest.mark.slow
def test_all_who_come_while_the_first_token_is_on_its_way_share_it() -> None:
    with google(3600) as sandbox, at_home(sandbox) as place:
        sandbox.faults.add(Fault("delay", "AssertionToken", seconds=3))
        with place.daemon(), crowd(place, [20, *[1] * 5]) as everybody:
            token(place)
    assert {code for code, _ in everybody.refused} <= {"no_usable_secret"}
    assert (len(everybody.given), asked(sandbox)) == (1, 1)


# ------------------------------------------------------------------------- a token endpoint is down


def answer_of(place: Home, path: str) -> httpx2.Response:
    way = httpx2.HTTPTransport(uds=str(place.state / "agent.sock"))
    with httpx2.Client(transport=way, base_url="http://agent", timeout=GENEROUS) as agent:
        return agent.get(path)


def status(place: Home) -> dict[str, Any]:
    said: dict[str, Any] = place.keyman("status", "vertex", "--json").json
    return said


@pytest.mark.slow
def test_an_endpoint_that_is_down_costs_nobody_a_lookup_before_the_token_ends() -> None:
    with google() as sandbox, at_home(sandbox) as place, place.daemon():
        first = token(place)
        ends = moment(first["expires_at"])
        sandbox.faults.add(DOWN)
        with crowd(place, [5, 1]) as everybody:
            until(lambda: status(place)["failures"])
            before = status(place)["health"]
            until(lambda: time.time() > ends + 1)
            refused = answer_of(place, "/api/v1/secrets/vertex")
            after, said = status(place), place.keyman("get", "vertex")
            sandbox.faults.clear()
            again = token(place)
    assert before in {"failing", "at-risk"}
    assert {code for code, _ in everybody.refused} == {"no_usable_secret"}
    assert min(at for _, at in everybody.refused) >= ends
    assert nobody_got_a_dead_one(everybody, sandbox)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_usable_secret")
    assert int(refused.headers["retry-after"]) >= 1
    assert "keyman status" in refused.json()["error"]["hint"]
    assert (after["health"], after["current"]) == ("down", None)
    assert "503" in after["last_error"]
    assert (said.status, said.err.count("\n")) == (4, 2)
    assert again["version"] > first["version"]


# ------------------------------------------------------------------------------------------ reports

REPORTS = """\
import json, sys, threading
from keyman import client

version, answers, ready = int(sys.argv[1]), [], threading.Barrier(50)

def report():
    ready.wait()
    path = "/api/v1/secrets/vertex/rejected"
    status, said = client.call("POST", path, {"version": version}, timeout=60)
    answers.append([status, said.get("version")])

threads = [threading.Thread(target=report) for _ in range(50)]
sys.stdin.read()
for each in threads: each.start()
for each in threads: each.join()
json.dump(answers, sys.stdout)
"""


def storm(place: Home, version: int) -> set[tuple[int, int]]:
    """500 clients report that version at once; (status, version) of the answers."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", REPORTS, str(version)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=place.variables,
            cwd=ROOT,
        )
        for _ in range(10)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.close()
        process.stdin = None
    told = [json.loads(process.communicate(timeout=GENEROUS)[0]) for process in processes]
    assert sum(map(len, told)) == 500
    return {(status, version) for each in told for status, version in each}


@pytest.mark.slow
def test_a_storm_of_reports_is_one_refresh() -> None:
    with google(3600) as sandbox, at_home(sandbox) as place, place.daemon():
        assert token(place)["version"] == 1
        assert storm(place, 1) == {(200, 2)}
        assert asked(sandbox) == 2
        assert storm(place, 1) == {(200, 2)}  # these come late
        assert asked(sandbox) == 2
        assert token(place)["version"] == 2


def test_a_report_that_comes_late_is_about_a_token_that_is_gone() -> None:
    with google(3600) as sandbox, at_home(sandbox) as place, place.open() as app:
        app.rotator.advance("vertex")
        for _ in range(2):
            app.rotator.report("vertex", 1)
            app.rotator.advance("vertex")
        assert (asked(sandbox), app.snapshot.look_up("vertex").version) == (2, 2)


def test_an_endpoint_that_refuses_every_token_costs_no_token_a_call() -> None:
    """A policy is missing, say: each new token is refused like the one before."""
    with google(3600) as sandbox, at_home(sandbox) as place, place.open() as app:
        app.rotator.advance("vertex")
        for _ in range(5):
            app.rotator.report("vertex", app.snapshot.look_up("vertex").version)
            app.rotator.advance("vertex")
        assert asked(sandbox) == 2


@pytest.mark.slow
def test_a_storm_about_a_token_that_the_metadata_server_gives_again_is_no_loop() -> None:
    source = "{kind: metadata}"
    with google(3600) as sandbox, at_home(sandbox, source=source) as place, place.daemon():
        first = token(place)
        assert storm(place, 1) == {(202, 1)}
        assert storm(place, 1) == {(202, 1)}
        assert asked(sandbox) == 2
        assert "the token of last time again" in status(place)["last_error"]
        assert token(place) == first  # nobody knows better than the clients, and it may work
        sandbox.time_shift += timedelta(minutes=58)
        assert place.keyman("rotate", "vertex").status == 0
        assert (token(place)["version"], asked(sandbox)) == (2, 3)


# -------------------------------------------------------------------------------- ends of processes


def test_a_killed_daemon_is_replaced_by_one_with_a_fresh_token() -> None:
    with google(3600) as sandbox, at_home(sandbox) as place:
        with place.daemon() as daemon:
            first = token(place)
            daemon.kill()
            daemon.wait()
        with place.daemon():
            second = token(place)
        with place.daemon():
            third = token(place)
        assert len({each["value"] for each in (first, second, third)}) == 3
        assert [each["version"] for each in (first, second, third)] == [1, 2, 3]
        assert asked(sandbox) == 3
        assert rows(place) == (1, 0)


_OF_NAMES = "SELECT count(*) FROM events WHERE name != ''"  # not those of the daemon itself


def rows(place: Home) -> tuple[int, int]:
    """The most versions that a credential has, and how much history there is."""
    per_name = "SELECT count(*) AS n FROM versions GROUP BY name ORDER BY n DESC LIMIT 1"
    with closing(sqlite3.connect(place.state / "keyman.db")) as journal:
        return journal.execute(per_name).fetchone()[0], _one(journal, _OF_NAMES)


def pages(place: Home) -> int:
    with closing(sqlite3.connect(place.state / "keyman.db")) as journal:
        return _one(journal, "PRAGMA page_count")


def _one(journal: sqlite3.Connection, question: str) -> int:
    return int(journal.execute(question).fetchone()[0])


@pytest.mark.slow
def test_the_journal_does_not_grow_with_the_tokens() -> None:
    """A report is the quickest way to the next token."""
    names = tuple(f"t{number}" for number in range(10))
    sizes = []
    with google(3600) as sandbox, at_home(sandbox, names=names) as place:
        with place.open() as app:
            for _ in range(4):
                refresh_all(app, names, times=10)
                sizes.append(pages(place))
        assert asked(sandbox) == 400
        assert rows(place) == (1, 0)
    # Two hundred promotions are a page of news, of which the newest 20,000 are kept.
    assert sizes[3] - sizes[1] <= 1


def refresh_all(app: App, names: tuple[str, ...], *, times: int) -> None:
    for _ in range(times):
        for name in names:
            current = app.desk.status(name)["current"]
            if current:
                app.rotator.report(name, current["version"], surely=True)
            app.rotator.advance(name)


# ------------------------------------------------------------------------------------ wrong clocks


class Settable(SystemClock):
    """The system's, but somebody sets its wall."""

    shift = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.shift


class Nobody:
    """An agent that nobody asks."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


@contextmanager
def signals_kept() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    kept[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def serve_while(app: App, clock: Settable, act: Callable[[], None]) -> None:
    """Run the daemon's own loop here, where signals are, and `act` beside it."""
    daemon = Daemon(
        app.rotator.advance,
        app.names,
        clock,
        Nobody(),
        lambda: None,
        clock_set=app.clock_set,
        keep_house=app.keep_house,
    )
    failed: list[BaseException] = []

    def beside() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 (raised where pytest sees it)
            failed.append(error)
        finally:
            daemon.stop()

    with signals_kept():
        threading.Thread(target=beside).start()
        daemon.serve()
    if failed:
        raise failed[0]


GUARDS_SECOND = 1.0
BUSY = 1.0  # what a busy machine may add


@pytest.mark.slow
@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(hours=-1), timedelta(seconds=-20)])
def test_a_clock_that_is_set_neither_lengthens_a_tokens_life_nor_shortens_it(by: timedelta) -> None:
    """By what a clock says that nobody sets; nothing new is to be had meanwhile."""
    clock, got, missing = Settable(), [], []
    with google() as sandbox, at_home(sandbox, LEAD) as place, open_with(place, clock) as app:

        def look(stop: float) -> None:
            while time.time() < stop:
                began = time.time()
                try:
                    body = app.snapshot.look_up("vertex").plain.body
                except errors.NoUsableSecret:
                    missing.append(time.time())
                else:
                    got.append((began, hashlib.sha256(body.strip()).hexdigest()))
                clock.sleep(0.02)

        def act() -> None:
            until(lambda: app.desk.status("vertex")["current"])
            sandbox.faults.add(DOWN)
            ends = moment(app.desk.status("vertex")["current"]["expires_at"])
            look(time.time() + 1)
            clock.shift = by
            look(ends + 3)

        serve_while(app, clock, act)
        dead = true_end(sandbox, got[0][1])
    assert {digest for _, digest in got} == {got[0][1]}
    assert all(at < dead for at, _ in got)
    stated = dead - 3  # a second that Google keeps, one that whole seconds cost, one for the way
    gap = [at for at in missing if at < stated]
    assert not gap or max(gap) - min(gap) < GUARDS_SECOND + BUSY
    assert max(at for at, _ in got) >= stated - GUARDS_SECOND - BUSY


@contextmanager
def open_with(place: Home, clock: Settable) -> Iterator[App]:
    with App(place.settings, clock=clock) as app:
        yield app


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_token_that_came_after_the_clock_was_set_keeps_the_life_it_was_told(
    by: timedelta,
) -> None:
    """The guard looks once a second: by then a turn may have fetched a token by the new time."""
    clock = Settable()
    with google(3600) as sandbox, at_home(sandbox) as place, open_with(place, clock) as app:
        app.rotator.advance("vertex")
        clock.shift = by
        app.rotator.report("vertex", 1)
        app.rotator.advance("vertex")
        assert asked(sandbox) == 2
        told = app.desk.status("vertex")["current"]
        app.clock_set(by)
        assert app.desk.status("vertex")["current"] == told


def test_a_record_that_cannot_be_read_keeps_no_other_token_from_following_the_clock() -> None:
    clock, names = Settable(), ("broken", "sound")
    with (
        google(3600) as sandbox,
        at_home(sandbox, names=names) as place,
        open_with(place, clock) as app,
    ):
        for name in names:
            app.rotator.advance(name)
        told = moment(app.desk.status("sound")["current"]["expires_at"])
        with closing(sqlite3.connect(place.state / "keyman.db")) as journal, journal:
            journal.execute("UPDATE credentials SET provider = 'x' WHERE name = 'broken'")
        clock.shift = timedelta(hours=1)
        app.clock_set(clock.shift)
        now = moment(app.desk.status("sound")["current"]["expires_at"])
    assert abs(now - told - 3600) <= 1


def test_at_a_start_nobody_waits_for_the_sweep() -> None:
    names = tuple(f"t{number}" for number in range(4))
    with google(3600) as sandbox, at_home(sandbox, names=names) as place, place.daemon():
        until(lambda: asked(sandbox) == len(names))
    times = sandbox.token_requests()
    assert times[-1] - times[0] < SWEEP_EVERY.total_seconds() / 2


@pytest.mark.slow
def test_tokens_that_are_all_due_after_a_long_stop_are_asked_for_one_after_the_other() -> None:
    names = tuple(f"t{number}" for number in range(40))
    with google(8) as sandbox, at_home(sandbox, 2, names=names) as place:
        with place.daemon() as daemon:
            until(lambda: asked(sandbox) >= len(names))
            daemon.send_signal(signal.SIGSTOP)
            before = asked(sandbox)
            time.sleep(10)
            daemon.send_signal(signal.SIGCONT)
            until(lambda: asked(sandbox) >= before + len(names))
        assert sandbox.peak_requests() < 20
