"""What a process holds, against an agent in another: a change there is seen by the next call here.

The agent is the real one (tests/agent_process.py), on the system's clock, and is killed, stopped
and started again. What it cannot be made to do (a page that is not one, a heart that stops), the
test does to the files itself.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from operator import sub
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import keyman
from keyman.client import asking, connection, held, lookups
from keyman.client.held import HELD, Held
from keyman.client.page import BEAT, FRESH, HEADER, MAGIC, WORD, place
from tests.agent_process import ROOT, AgentProcess, agent_process
from tests.serving.world import secret_of


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentProcess]:
    """An agent that has not started, where this process's client looks for it."""
    HELD.clear()
    lookups._hung.clear()
    with agent_process() as one:
        monkeypatch.setenv("KEYMAN_SOCKET", str(one.path))
        yield one


@pytest.fixture
def serving(agent: AgentProcess) -> AgentProcess:
    agent.start(("genai", 7), ("vertex", 1))
    return agent


def stopped(pid: int) -> bool:
    """With all of its threads."""
    states = (
        one.read_text().rpartition(")")[2] for one in Path(f"/proc/{pid}/task").glob("*/stat")
    )
    return all(state.split()[0] == "T" for state in states)


@contextmanager
def frozen(agent: AgentProcess) -> Iterator[None]:
    """Whoever asks now gets no answer."""
    agent.send(signal.SIGSTOP)
    while not stopped(agent.pid):  # until then its heart may beat
        time.sleep(0.001)
    try:
        yield
    finally:
        agent.send(signal.SIGCONT)


# Without a question.


def test_a_hit_asks_nobody(serving: AgentProcess) -> None:
    keyman.get("genai")
    with frozen(serving):
        assert keyman.get("genai") == secret_of("genai", 7)
        assert keyman.secret("genai").version == 7
        assert keyman.provider("genai")() == secret_of("genai", 7)
        assert HELD["genai"].fresh()


def test_a_promotion_is_seen_by_the_very_next_call(serving: AgentProcess) -> None:
    for version in range(8, 60):
        serving.serve("genai", version, previous=version - 1)
        assert keyman.get("genai") == secret_of("genai", version)
        assert keyman.secret("genai").version == version
        assert keyman.get("vertex") == secret_of("vertex", 1)


def test_who_is_not_concerned_need_not_ask(serving: AgentProcess) -> None:
    keyman.get("vertex")
    keyman.get("genai")
    serving.serve("genai", 8)
    assert not HELD["genai"].fresh()
    assert HELD["vertex"].fresh()


def test_what_is_said_again_need_not_be_asked_again(serving: AgentProcess) -> None:
    serving.serve("genai", 8, previous=7)
    secret = keyman.secret("genai")
    serving.serve("genai", 8, previous=7)
    assert HELD["genai"].fresh()
    assert keyman.secret("genai") is secret


@pytest.mark.parametrize("end", ["refuse", "withdraw"])
def test_what_is_no_longer_handed_out_is_refused_by_the_next_call(
    serving: AgentProcess, end: str
) -> None:
    keyman.get("genai")
    if end == "refuse":
        serving.refuse("genai", 8)
    else:
        serving.withdraw("genai")
    with pytest.raises((keyman.NoUsableSecret, keyman.NotFound)):
        keyman.get("genai")
    serving.serve("genai", 9)
    assert keyman.get("genai") == secret_of("genai", 9)


def words_of(path: Path) -> list[int]:
    return list(memoryview(path.read_bytes()).cast("Q"))


class Counting(ThreadPoolExecutor):
    """A loop's executor that tells how often it was given something to do."""

    given = 0

    def submit(self, *args: Any, **more: Any) -> Future[Any]:
        self.given += 1
        return super().submit(*args, **more)


def test_who_awaits_a_hit_needs_no_thread(serving: AgentProcess) -> None:
    async def ask() -> tuple[list[str], int]:
        threads = Counting()
        asyncio.get_running_loop().set_default_executor(threads)
        provider = keyman.provider("genai")
        got = [await provider.aio() for _ in range(50)]
        return got, threads.given

    got, threads = asyncio.run(ask())
    assert set(got) == {secret_of("genai", 7)}
    assert threads == 1, "the first one was a question"


@pytest.mark.parametrize(
    ("case", "fresh", "change"),
    [
        ("as it should be", True, {}),
        ("another generation is current", False, {"shown": 43}),
        ("it is about to expire", True, {"left": 1_000_000_000}),
        ("it has expired", False, {"left": 0}),
        ("the agent's heart has just not stopped", True, {"age": FRESH - 1_000_000_000}),
        ("the agent's heart has stopped", False, {"age": FRESH}),
        ("somebody has set the clock back", False, {"age": -1_000_000_000}),
        ("the agent has stopped on purpose", False, {"age": None}),
    ],
)
def test_what_is_held_is_used_only_while_it_is_surely_current(
    monkeypatch: pytest.MonkeyPatch, case: str, fresh: bool, change: dict[str, int | None]
) -> None:
    shown, left = change.get("shown", 42), change.get("left", 10**11)
    age = change.get("age", 0)
    now = time.time_ns()
    mine = Held(("elsewhere",))
    mine.words = (MAGIC, 0 if age is None else now - age, 1, *[0] * 7, shown or 0, 1)
    mine.at, mine.generation, mine.value = place(0), 42, "it"
    mine.until = now + (left or 0)
    mine.secret = keyman.Secret({"name": "genai", "value": "it", "version": 1})
    monkeypatch.setitem(HELD, "genai", mine)
    monkeypatch.setenv("KEYMAN_SOCKET", "/nowhere/agent.sock")
    assert mine.fresh() is fresh
    assert (lookups.current("genai") is mine.secret) is fresh
    if fresh:
        assert keyman.get("genai") == "it"
    else:
        with pytest.raises(keyman.NotRunning):
            keyman.get("genai")


# While the agent is away, and afterwards.


def test_a_daemon_that_is_killed_and_comes_back(serving: AgentProcess) -> None:
    keyman.get("genai")
    inode = serving.page.stat().st_ino
    for version in range(8, 14):
        serving.kill()
        assert keyman.get("genai") == secret_of("genai", version - 1)
        serving.start(("genai", version), ("vertex", 1))
        assert keyman.get("genai") == secret_of("genai", version)
        assert HELD["genai"].fresh()
    assert serving.page.stat().st_ino == inode


def test_who_found_nobody_asks_again_if_somebody_came_meanwhile(serving: AgentProcess) -> None:
    """Else it would say of a daemon that answers that it doesn't."""
    keyman.get("genai")
    serving.kill()
    with writer(serving.page) as words:
        words[HELD["genai"].at] += 1  # so it asks
    serving.path.unlink()

    def come_back() -> None:
        line, _ = old.accept()
        serving.path.unlink()
        serving.start(("genai", 9))
        line.close()

    with socket.socket(socket.AF_UNIX) as old, ThreadPoolExecutor(1) as pool:
        old.bind(str(serving.path))
        old.listen()
        back = pool.submit(come_back)
        assert keyman.secret("genai").version == 9
        back.result()


def test_a_promotion_that_was_committed_and_not_told(serving: AgentProcess) -> None:
    """Killed between the record and the page: the next daemon begins with the newer version."""
    keyman.get("genai")
    before = HELD["genai"].generation
    serving.kill()
    serving.start(("genai", 8))
    assert words_of(serving.page)[HELD["genai"].at] > before
    assert keyman.get("genai") == secret_of("genai", 8)


def nothing_stands_in(name: str) -> None:
    for _ in range(3):
        with pytest.raises(keyman.NoUsableSecret, match="nobody answers"):
            keyman.get(name)
        with pytest.raises(keyman.NoUsableSecret, match="nobody answers"):
            keyman.secret(name)


def revoked(serving: AgentProcess) -> None:
    serving.refuse("genai", 8)


def revoked_and_replaced(serving: AgentProcess) -> None:
    serving.refuse("genai", 8)
    serving.serve("genai", 9)


def replaced(serving: AgentProcess) -> None:
    serving.serve("genai", 8, previous=7)
    assert lookups.lookup("genai")["version"] == 8, "somebody else has it, and we do not"


def leaked(serving: AgentProcess) -> None:
    """Still answered, until its replacement is there."""
    serving.serve("genai", 7, standing=0)
    assert lookups.lookup("genai")["version"] == 7


def withdrawn(serving: AgentProcess) -> None:
    serving.withdraw("genai")


ENDS = [revoked, revoked_and_replaced, replaced, leaked, withdrawn]


@pytest.mark.parametrize("end", ENDS)
def test_what_ended_is_not_used_though_the_agent_dies(
    serving: AgentProcess, end: Callable[[AgentProcess], None]
) -> None:
    """This process did not ask after that: the page alone has told."""
    keyman.get("genai")
    keyman.get("vertex")
    end(serving)
    serving.kill()
    nothing_stands_in("genai")
    assert keyman.get("vertex") == secret_of("vertex", 1)


def test_a_leaked_version_is_looked_up_for_as_long_as_the_agent_says_so(
    serving: AgentProcess,
) -> None:
    keyman.get("genai")
    serving.serve("genai", 7, standing=0)
    assert keyman.get("genai") == secret_of("genai", 7)
    assert HELD["genai"].fresh()


def test_an_agent_that_started_and_died_said_nothing_new(serving: AgentProcess) -> None:
    """Each start marks every name: who holds the same version, and has not asked, may go on."""
    keyman.get("genai")
    before = HELD["genai"].generation
    for _ in range(3):
        serving.kill()
        serving.start(("genai", 7), ("vertex", 1))
    serving.kill()
    assert words_of(serving.page)[HELD["genai"].at] > before
    assert keyman.get("genai") == secret_of("genai", 7)


def test_an_agent_that_started_with_another_version_and_died_said_it(
    serving: AgentProcess,
) -> None:
    keyman.get("genai")
    serving.kill()
    serving.start(("genai", 8))
    serving.kill()
    nothing_stands_in("genai")


def test_who_may_see_it_says_nothing_against_the_secret(serving: AgentProcess) -> None:
    """Whoever has it goes on, also who would be told now that there is no such name."""
    keyman.get("genai")
    serving.ask_again("genai")
    assert not HELD["genai"].fresh()
    serving.kill()
    assert keyman.get("genai") == secret_of("genai", 7)


def test_after_a_stop_what_is_held_is_used_and_not_for_fresh(serving: AgentProcess) -> None:
    keyman.get("genai")
    serving.stop()
    assert words_of(serving.page)[BEAT] == 0
    assert keyman.get("genai") == secret_of("genai", 7)
    assert not HELD["genai"].fresh()


def test_a_name_that_left_while_the_daemon_was_away_is_told_to_its_holders(
    serving: AgentProcess,
) -> None:
    """What the daemon before it served and this one does not, is what App.use withdraws."""
    keyman.get("vertex")
    serving.kill()
    serving.start(("genai", 7))
    serving.withdraw("vertex")
    with pytest.raises(keyman.NotFound):
        keyman.get("vertex")


@contextmanager
def when_called(function: Callable[..., Any], meanwhile: Callable[[], None]) -> Iterator[None]:
    """Have that happen as the function is entered for the first time."""
    todo = [meanwhile]

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is function.__code__ and todo:
            todo.pop()()

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)
    assert not todo


def test_who_begins_to_serve_while_nobody_answered_is_asked(serving: AgentProcess) -> None:
    """It promoted something between the refused connection and the look at what is held."""

    def begin_to_serve() -> None:
        serving.start(("genai", 7))
        serving.serve("genai", 8, previous=7)

    keyman.get("genai")
    serving.kill()
    with writer(serving.page) as words:
        words[BEAT] = 0
    with when_called(held.instead, begin_to_serve):
        assert keyman.get("genai") == secret_of("genai", 8)


def test_it_is_used_until_it_expires_and_not_longer(serving: AgentProcess) -> None:
    serving.serve("genai", 8, lasts=2)
    assert keyman.get("genai") == secret_of("genai", 8)
    serving.kill()
    while time.time_ns() < HELD["genai"].until:
        time.sleep(0.05)
    with pytest.raises(keyman.NotRunning):
        keyman.get("genai")


def test_an_agent_that_hangs_holds_nobody_up(serving: AgentProcess) -> None:
    """Asked once without an answer it is left alone, and asked again once its heart beats."""
    keyman.get("genai")
    with frozen(serving):
        with writer(serving.page) as words:
            words[BEAT] -= 2 * FRESH
        assert keyman.get("genai") == secret_of("genai", 7)
        assert lookups._hangs(HELD["genai"])
        for _ in range(1000):
            assert keyman.get("genai") == secret_of("genai", 7)
    seen = words_of(serving.page)[BEAT]
    serving.serve("genai", 8)
    while words_of(serving.page)[BEAT] == seen:
        time.sleep(0.02)
    assert keyman.get("genai") == secret_of("genai", 8)


# Processes, threads, signals.


def test_a_forked_child_goes_on_with_what_its_parent_held(serving: AgentProcess) -> None:
    program = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import keyman
from keyman.client import asking
from keyman.client.held import HELD
keyman.get("genai")
read, write = os.pipe()
told, tell = os.pipe()
if os.fork() == 0:
    fresh = HELD["genai"].fresh()
    parents = asking._kept.connection
    os.write(write, b"1" if fresh and keyman.get("genai").endswith("-7") else b"0")
    os.read(told, 1)
    os.write(write, keyman.get("genai").encode())
    os.write(write, b" apart" if asking._kept.connection is not parents else b" shared")
    os._exit(0)
print(os.read(read, 1).decode(), flush=True)
sys.stdin.readline()
os.write(tell, b"!")
os.wait()
print(os.read(read, 999).decode(), keyman.get("genai"))
"""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "1\n"
        serving.serve("genai", 8)
        out, _ = child.communicate("go\n", timeout=60)
    newest = secret_of("genai", 8)
    assert out == f"{newest} apart {newest}\n"


def test_no_thread_meets_less_than_what_was_promoted_before_it_asked(
    serving: AgentProcess,
) -> None:
    """20 threads; versions are promoted, and the daemon is killed twice under them."""
    promoted, done = [7], threading.Event()
    wrong: list[str] = []
    seen, asked = [7] * 20, [0] * 20

    def read(number: int) -> None:
        while not done.is_set():
            time.sleep(0.0002)  # twenty that never do would starve each other's questions
            floor = promoted[0]
            asked[number] += 1
            try:
                found = keyman.secret("genai")
            except keyman.Error as error:
                wrong.append(repr(error))
                return
            if found.version < floor or found.value != secret_of("genai", found.version):
                wrong.append(f"{found.version} though {floor} was promoted")
            seen[number] = found.version

    readers = [threading.Thread(target=read, args=[number]) for number in range(20)]
    for one in readers:
        one.start()
    for version in range(8, 200):
        if version % 70 == 0:
            begun = list(asked)  # who asked before the page told of the promotion must ask again
            while min(map(sub, asked, begun)) < 2 and not wrong:
                time.sleep(0.001)
            assert min(seen) == version - 1 or wrong
            serving.kill()  # nothing is promoted from here on: what is held may stand in
            serving.start(("genai", version - 1))
        serving.serve("genai", version, previous=version - 1)
        promoted[0] = version
    done.set()
    for one in readers:
        one.join(30)
    assert wrong == []


def test_signal_handlers_may_look_up(serving: AgentProcess) -> None:
    """Every half millisecond, wherever the main thread is: asking, noting, using."""
    program = f"""
import signal, sys
sys.path.insert(0, {str(ROOT)!r})
import keyman
from keyman.client.held import HELD
seen, mine = [], []
def handler(*_):
    HELD.pop("genai", None)
    seen.append(keyman.get("genai"))
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0005)
while len(seen) < 500 or len(mine) < 2000:
    HELD.pop("genai", None)
    mine.append(keyman.get("genai"))
signal.setitimer(signal.ITIMER_REAL, 0)
print({{*mine, *seen}})
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == (f"{ {secret_of('genai', 7)} }\n", "")


def test_noting_may_be_interrupted_by_noting() -> None:
    """A handler that asks, in a thread that is just noting: it must not wait for itself."""
    done = threading.Event()

    def interrupted() -> None:
        with held._lock():
            held.note("interrupted", held.refused(("x",), unusable=True), time.monotonic())
        done.set()

    threading.Thread(target=interrupted, daemon=True).start()
    assert done.wait(20)
    del HELD["interrupted"]


# Pages that are none.


@contextmanager
def writer(path: Path) -> Iterator[memoryview[int]]:
    with (
        path.open("r+b") as file,
        mmap.mmap(file.fileno(), 0) as whole,
        memoryview(whole) as octets,
        octets.cast("Q") as words,
    ):
        yield words


def wrong_magic(page: Path) -> None:
    with writer(page) as words:
        words[0] += 1


def linked(page: Path) -> None:
    page.rename(page.with_name("elsewhere"))
    page.symlink_to("elsewhere")


def cut_short(page: Path) -> None:
    short = page.with_name("short")
    short.write_bytes(page.read_bytes()[: (HEADER + 1) * WORD])
    short.chmod(0o600)
    short.rename(page)


def empty(page: Path) -> None:
    page.unlink()
    page.touch(0o600)


def writable_by_others(page: Path) -> None:
    page.chmod(0o622)


def a_folder(page: Path) -> None:
    page.unlink()
    page.mkdir()


def a_pipe(page: Path) -> None:
    page.unlink()
    os.mkfifo(page, 0o600)


def another_s_name(page: Path) -> None:
    with writer(page) as words:
        words[HEADER] ^= 1


def no_entries(page: Path) -> None:
    with writer(page) as words:
        words[2] = 0


def gone(page: Path) -> None:
    page.unlink()


def another_s_file(page: Path) -> None:
    os.chown(page, 12345, -1)


HOSTILE = [
    wrong_magic,
    linked,
    cut_short,
    empty,
    writable_by_others,
    a_folder,
    a_pipe,
    another_s_name,
    no_entries,
    gone,
]


@pytest.mark.parametrize("harm", HOSTILE)
def test_with_a_page_that_is_none_every_call_asks(
    serving: AgentProcess, harm: Callable[[Path], None]
) -> None:
    harm(serving.page)
    for version in range(8, 12):
        serving.serve("genai", version)
        assert keyman.get("genai") == secret_of("genai", version)
        assert not HELD["genai"].fresh()
    serving.kill()
    assert keyman.get("genai") == secret_of("genai", 11)


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root gives files away: sudo .venv/bin/pytest tests/test_held.py"
)
def test_another_users_page_is_not_looked_at(serving: AgentProcess) -> None:
    another_s_file(serving.page)
    keyman.get("genai")
    assert not HELD["genai"].fresh()


def test_a_page_that_was_replaced_is_mapped_anew(serving: AgentProcess) -> None:
    keyman.get("genai")
    serving.stop()
    serving.page.unlink()
    serving.start(("genai", 8))
    assert keyman.get("genai") == secret_of("genai", 8)
    assert HELD["genai"].fresh()
    serving.serve("genai", 9)
    assert keyman.get("genai") == secret_of("genai", 9)


@pytest.mark.parametrize(
    ("case", "start", "used"),
    [
        ("it says the same", [("genai", 7), ("vertex", 1)], True),
        ("it says that another version is current", [("genai", 8), ("vertex", 1)], False),
        ("it shows the name elsewhere", [("vertex", 1), ("genai", 7)], False),
        ("it does not show the name", [], False),
    ],
)
def test_while_nobody_answers_a_page_counts_that_replaced_the_one_that_we_know(
    serving: AgentProcess, case: str, start: list[tuple[str, int]], used: bool
) -> None:
    keyman.get("genai")
    serving.stop()
    serving.page.unlink()
    serving.start(*start)
    serving.kill()
    if used:
        assert keyman.get("genai") == secret_of("genai", 7)
    else:
        nothing_stands_in("genai")


def test_a_page_that_is_gone_with_its_agent_says_nothing_against_it(serving: AgentProcess) -> None:
    keyman.get("genai")
    serving.stop()
    serving.page.unlink()
    assert not HELD["genai"].fresh()
    assert keyman.get("genai") == secret_of("genai", 7)


TAG = "0123456789abcdef" * 2


@pytest.mark.parametrize("of_before", [False, True])
@pytest.mark.parametrize(
    "mark",
    [
        "0.{}.{}",
        "",
        "0",
        "0.{}",
        "0.{}.",
        "0.{}.zz",
        f"0.{{}}.{TAG}",
        "1.{}.{}",
        "-1.{}.{}",
        "0.{}.{}00",
    ],
)
def test_a_mark_that_does_not_fit_the_page_has_its_holder_ask(
    serving: AgentProcess, mark: str, of_before: bool
) -> None:
    """`ENTRY.GENERATION` is what agents sent when the page was of another format."""
    said = asking.lookup("/api/v1/secrets/genai")
    _, generation, tag = said.headers["keyman-generation"].split(".")
    if of_before:
        with writer(serving.page) as words:
            words[0] = int.from_bytes(b"keyman\0\1", sys.byteorder)
    headers = {"keyman-generation": mark.format(generation, tag)}
    answer = connection.Answer(200, headers, said.raw, len(said.raw) - len(said.body), said.source)
    fits = mark == "0.{}.{}" and not of_before
    assert held.given(answer, ("here",)).fresh() is fits


def test_a_damaged_page_is_replaced_and_its_holders_ask(serving: AgentProcess) -> None:
    keyman.get("genai")
    serving.kill()
    with writer(serving.page) as words:
        words[2] = 1 << 40
    mapped = HELD["genai"].words
    serving.start(("genai", 8))
    assert mapped[BEAT] == 0
    assert keyman.get("genai") == secret_of("genai", 8)
    assert HELD["genai"].fresh()


def test_generations_of_two_pages_are_never_the_same(serving: AgentProcess) -> None:
    """Whoever pairs an answer of one daemon with the page of the next must notice."""
    keyman.get("genai")
    first = HELD["genai"].generation
    serving.stop()
    serving.page.unlink()
    serving.start(("genai", 7))
    keyman.get("genai")
    assert HELD["genai"].generation > first


def test_others_may_look_at_the_page_only_if_they_may_look_up(agent: AgentProcess) -> None:
    agent.start(("genai", 7), shared=True)
    assert agent.page.stat().st_mode & 0o777 == 0o644
    keyman.get("genai")
    assert HELD["genai"].fresh()
    agent.stop()
    agent.start(("genai", 7))
    assert agent.page.stat().st_mode & 0o777 == 0o600


def test_a_page_that_grows_is_followed(serving: AgentProcess) -> None:
    """A page of one sheet has room for 126 names."""
    keyman.get("genai")
    for number in range(200):
        serving.serve(f"name-{number}", 1)
        assert keyman.get(f"name-{number}") == secret_of(f"name-{number}", 1)
        assert HELD[f"name-{number}"].fresh()
    assert HELD["genai"].fresh()
    serving.serve("genai", 8)
    serving.serve("name-3", 2)
    assert keyman.get("genai") == secret_of("genai", 8)
    assert keyman.get("name-3") == secret_of("name-3", 2)
    assert HELD["name-199"].fresh()
