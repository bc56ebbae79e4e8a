"""The generation page as it is written: what is kept, what is replaced, and what is never mixed up.

That clients see it, from another process, is tested in tests/test_held.py.
"""

from __future__ import annotations

import hmac
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyman import errors
from keyman.app import App, open_app
from keyman.client.page import BEAT, COUNT, ENTRY, HEADER, MAGIC, TAG, VERSION, WORD, place
from keyman.config import Settings, load
from keyman.core.model import Secret
from keyman.lock import COMMAND
from keyman.providers.protocol import Lookup
from keyman.serving.page import FIRST_SIZE, Mark, Page, open_page
from keyman.serving.snapshot import Answer, Handout, Snapshot
from tests.serving import world as worlds
from tests.serving.world import SetClock, nothing_usable, secret_of, version_is

ROOT = Path(__file__).parents[2]
ROOM = (FIRST_SIZE // WORD - HEADER) // ENTRY  # names on a page of the first size


def now() -> datetime:
    return datetime.now(UTC)


KEY = b"of this installation"


def opened(folder: Path, *, shared: bool = False, now: Callable[[], datetime] = now) -> Page:
    page = open_page(folder, key=KEY, shared=shared, now=now)
    assert page is not None
    return page


def words_of(folder: Path) -> list[int]:
    return list(memoryview((folder / "generation").read_bytes()).cast("Q"))


def tag_of(name: str, key: bytes = KEY) -> bytes:
    return hmac.digest(key, name.encode(), "sha256")[:16]


def tag_at(words: list[int], index: int) -> bytes:
    at = place(index)
    return b"".join(word.to_bytes(WORD, sys.byteorder) for word in words[at - TAG : at])


def standing(folder: Path, key: bytes = KEY, *, among: Iterable[str]) -> dict[str, int]:
    """What the page says of whichever of these names it shows: the version that may be used on."""
    words = words_of(folder)
    tags = {tag_at(words, index): place(index) + VERSION for index in range(words[COUNT])}
    found = {name: tags.get(tag_of(name, key)) for name in among}
    return {name: words[at] for name, at in found.items() if at is not None}


def shown(page: Page, name: str, version: int = 7) -> Mark:
    mark = page.mark(name, version)
    assert mark is not None
    page.show(mark)
    return mark


# The file.


def test_the_file_is_as_it_is_described(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as page:
        first, second = shown(page, "genai"), shown(page, "v" * 63, 0)
        page.beat()
        words = words_of(tmp_path)
    assert (tmp_path / "generation").read_bytes()[:8] == b"keyman\0\2"
    assert words[0] == MAGIC
    assert abs(words[BEAT] - time.time_ns()) < 60_000_000_000
    assert words[COUNT] == 2
    assert (first.entry, second.entry) == (0, 1)
    assert (tag_at(words, 0), tag_at(words, 1)) == (tag_of("genai"), tag_of("v" * 63))
    assert str(first) == f"0.{words[place(0)]}.{tag_of('genai').hex()}"
    assert (words[place(0)], words[place(0) + VERSION]) == (first.generation, 7)
    assert (words[place(1)], words[place(1) + VERSION]) == (second.generation, 0)
    assert set(words[3:HEADER]) == {0}
    assert reserved(tmp_path)


def reserved(folder: Path) -> bool:
    """Whether the disk keeps room for all of it: there are no holes to be filled later."""
    found = (folder / "generation").stat()
    return found.st_blocks * 512 >= found.st_size


def test_only_its_owner_may_look_at_it_unless_others_may_look_up(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        opened(tmp_path).close()
        assert (tmp_path / "generation").stat().st_mode & 0o7777 == 0o600
        opened(tmp_path, shared=True).close()
        assert (tmp_path / "generation").stat().st_mode & 0o7777 == 0o644
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["generation"]


def test_no_name_is_in_the_file(tmp_path: Path) -> None:
    """Others may read it than may know the name; and who knows one can't find it out either."""
    with closing(opened(tmp_path)) as page:
        shown(page, "payments")
    assert b"pay" not in (tmp_path / "generation").read_bytes()
    assert tag_at(words_of(tmp_path), 0) != tag_of("payments", b"of another installation")


def test_a_change_is_shown_only_when_it_is_said_so(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as page:
        first = shown(page, "genai", 7)
        second = page.mark("genai", 8)
        assert second is not None
        assert second.generation > first.generation
        assert words_of(tmp_path)[place(0) :][:2] == [first.generation, 7]
        page.show(second)
        assert words_of(tmp_path)[place(0) :][:2] == [second.generation, 8]


def test_the_version_is_shown_before_the_generation(tmp_path: Path) -> None:
    """Whoever is sent to ask by the one finds, if nobody answers, the other in its place."""
    order: list[int] = []

    class Watched:
        def __init__(self, words: memoryview[int]) -> None:
            self.words = words

        def __getitem__(self, at: int) -> int:
            return self.words[at]

        def __setitem__(self, at: int, word: int) -> None:
            order.append(at)
            self.words[at] = word

    with closing(opened(tmp_path)) as page:
        mark = page.mark("genai", 8)
        assert mark is not None
        whole = page._words
        page._words = Watched(whole)  # type: ignore[assignment]
        page.show(mark)
        page._words = whole
    assert order == [place(0) + VERSION, place(0)]


@pytest.mark.parametrize("clock", ["runs", "stands", "is set back"])
def test_a_generation_only_grows_and_is_met_once(tmp_path: Path, clock: str) -> None:
    times = iter({"runs": range(9), "stands": [0] * 9, "is set back": range(9, 0, -1)}[clock])
    start = now()
    with closing(opened(tmp_path, now=lambda: start + timedelta(seconds=next(times)))) as page:
        met = [shown(page, "genai").generation for _ in range(8)]
    assert met == sorted(set(met))


def test_a_page_put_back_from_a_copy_does_not_count_anew(tmp_path: Path) -> None:
    """The same file, as a backup does it that writes into what is there."""
    with closing(opened(tmp_path)) as page:
        shown(page, "genai")
    copy = (tmp_path / "generation").read_bytes()
    with closing(opened(tmp_path)) as page:
        met = {shown(page, "genai").generation for _ in range(50)}
    (tmp_path / "generation").write_bytes(copy)
    with closing(opened(tmp_path)) as page:
        again = {shown(page, "genai").generation for _ in range(50)}
    assert not met & again


def test_over_restarts_the_file_stays_and_counters_grow(tmp_path: Path) -> None:
    marks: dict[str, Mark] = {}
    inodes = set()
    for _ in range(3):
        with closing(opened(tmp_path)) as page:
            for name in ("vertex", "genai", "partner"):
                mark = shown(page, name)
                before = marks.get(name, Mark(mark.entry, 0, b"", 0))
                assert mark.entry == before.entry
                assert mark.generation > before.generation
                marks[name] = mark
        inodes.add((tmp_path / "generation").stat().st_ino)
    assert len(inodes) == 1
    assert words_of(tmp_path)[COUNT] == 3


def test_where_there_is_no_fallocate_it_grows_as_well(tmp_path: Path) -> None:
    assert in_a_process_with_little_room(ELSEWHERE + FULL, tmp_path, 1 << 20) == "200\n"
    assert reserved(tmp_path)


def test_until_the_first_beat_nobody_serves(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as page:
        page.beat()
    assert words_of(tmp_path)[BEAT], "as a daemon leaves it that is killed"
    with closing(opened(tmp_path)) as page:
        assert words_of(tmp_path)[BEAT] == 0
        page.beat()
        page.rest()
        assert words_of(tmp_path)[BEAT] == 0


def test_ten_thousand_names_each_with_a_place_of_its_own(tmp_path: Path) -> None:
    names = [f"name-{number}" for number in range(10_000)]
    with closing(opened(tmp_path)) as page:
        inode = (tmp_path / "generation").stat().st_ino
        marks = {name: shown(page, name) for name in names}
        again = {name: shown(page, name) for name in names[::97]}
    assert {mark.entry for mark in marks.values()} == set(range(10_000))
    assert all(marks[name].entry == mark.entry for name, mark in again.items())
    words = words_of(tmp_path)
    assert [tag_at(words, index) for index in range(words[COUNT])] == [*map(tag_of, names)]
    assert reserved(tmp_path)
    latest = {**marks, **again}
    assert all(words[place(mark.entry)] == mark.generation for mark in latest.values())
    assert (tmp_path / "generation").stat().st_ino == inode
    with closing(opened(tmp_path)) as page:
        mark = shown(page, "name-77", 7)
        assert mark.entry == 77
        assert mark.generation > words[place(77)]
    assert standing(tmp_path, among=names) == dict.fromkeys(names, 7)


def test_what_is_withdrawn_keeps_its_place(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as page:
        mark = shown(page, "genai")
        shown(page, "vertex")
        page.withdraw("genai")
        page.withdraw("nobody")
        words = words_of(tmp_path)
        assert words[place(0)] > mark.generation
        assert words[COUNT] == 2
        assert standing(tmp_path, among=["genai", "vertex"]) == {"genai": 0, "vertex": 7}
        assert shown(page, "genai").entry == 0


def test_others_than_these_are_withdrawn_by_whomever_they_were_shown(tmp_path: Path) -> None:
    names = ["genai", "vertex", "partner"]
    with closing(opened(tmp_path)) as page:
        marks = [shown(page, name) for name in names]
    with closing(opened(tmp_path)) as page:
        page.withdraw_others(["vertex", "new"])
    words = words_of(tmp_path)
    moved = [words[place(mark.entry)] > mark.generation for mark in marks]
    assert moved == [True, False, True]
    assert standing(tmp_path, among=names) == {"genai": 0, "vertex": 7, "partner": 0}


# Files that are none of ours.


def in_its_place(folder: Path) -> Path:
    return folder / "generation"


def another_program_s(page: Path) -> None:
    page.write_bytes(b"#!/bin/sh\n" * 1000)


def of_zeros(page: Path) -> None:
    page.write_bytes(bytes(FIRST_SIZE))


def cut(page: Path) -> None:
    os.truncate(page, 100)


def more_entries_than_room(page: Path) -> None:
    _set(page, COUNT, ROOM + 1)


def countless_entries(page: Path) -> None:
    _set(page, COUNT, 2**64 - 1)


def an_entry_without_a_tag(page: Path) -> None:
    _set(page, COUNT, 3)


def one_tag_twice(page: Path) -> None:
    words = list(memoryview(page.read_bytes()).cast("Q"))
    words[place(1) - TAG : place(1)] = words[place(0) - TAG : place(0)]
    page.write_bytes(b"".join(word.to_bytes(WORD, sys.byteorder) for word in words))


def a_counter_at_its_end(page: Path) -> None:
    _set(page, place(0), 2**64 - 2)


def of_the_format_before(page: Path) -> None:
    _set(page, 0, int.from_bytes(b"keyman\0\1", sys.byteorder))


def _set(page: Path, at: int, word: int) -> None:
    with page.open("r+b") as file:
        file.seek(at * WORD)
        file.write(word.to_bytes(WORD, sys.byteorder))


@pytest.mark.parametrize(
    "harm",
    [
        another_program_s,
        of_zeros,
        cut,
        more_entries_than_room,
        countless_entries,
        an_entry_without_a_tag,
        one_tag_twice,
        a_counter_at_its_end,
        of_the_format_before,
    ],
)
def test_a_file_that_is_not_sound_is_replaced_by_another(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    with closing(opened(tmp_path)) as page:
        shown(page, "genai")
        shown(page, "vertex")
        page.beat()
    harm(tmp_path / "generation")
    inode = (tmp_path / "generation").stat().st_ino
    with (
        (tmp_path / "generation").open("rb") as before,
        closing(opened(tmp_path)) as page,
    ):
        size = os.fstat(before.fileno()).st_size
        assert (
            size < (BEAT + 1) * WORD or before.read()[WORD : 2 * WORD] == bytes(WORD) or size < 64
        )
        assert os.fstat(before.fileno()).st_nlink == 0, "never changed under those who map it"
        assert shown(page, "genai").entry == 0
    assert (tmp_path / "generation").stat().st_ino != inode
    assert words_of(tmp_path)[COUNT] == 1


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"x" * FIRST_SIZE)
    (tmp_path / "generation").symlink_to(precious)
    with closing(opened(tmp_path)) as page:
        shown(page, "genai")
    assert precious.read_bytes() == b"x" * FIRST_SIZE
    assert not (tmp_path / "generation").is_symlink()


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root gives files away: sudo .venv/bin/pytest tests/serving"
)
def test_another_users_file_is_replaced(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as page:
        shown(page, "genai")
    os.chown(tmp_path / "generation", 12345, -1)
    with closing(opened(tmp_path)):
        assert (tmp_path / "generation").stat().st_uid == 0
        assert words_of(tmp_path)[COUNT] == 0


@pytest.mark.parametrize("kind", ["folder", "no folder to lie in"])
def test_where_there_can_be_no_page_there_is_none(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path if kind == "folder" else tmp_path / "missing"
    if kind == "folder":
        (tmp_path / "generation").mkdir()
        (tmp_path / "generation" / "something").touch()
    assert open_page(folder, key=KEY, shared=False, now=now) is None
    assert "clients ask each time" in caplog.text


def test_a_page_has_one_writer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two homes whose sockets lie in one folder: the second daemon does without."""
    with closing(opened(tmp_path)) as page:
        shown(page, "genai")
        assert open_page(tmp_path, key=KEY, shared=False, now=now) is None
        assert "clients ask each time" in caplog.text
        assert standing(tmp_path, among=["genai"]) == {"genai": 7}
    opened(tmp_path).close()


def test_a_tag_half_written_when_the_power_went_is_written_over(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as page:
        shown(page, "genai")
    _set(tmp_path / "generation", place(1) - TAG, int.from_bytes(b"half tag", sys.byteorder))
    with closing(opened(tmp_path)) as page:
        shown(page, "other")
    assert standing(tmp_path, among=["genai", "other"]) == {"genai": 7, "other": 7}
    assert words_of(tmp_path)[COUNT] == 2


KILLED = """
import itertools, sys
from datetime import UTC, datetime
from pathlib import Path
from keyman.serving.page import open_page
page = open_page(Path(sys.argv[1]), key=b"k", shared=False, now=lambda: datetime.now(UTC))
there = len(page._places)
marks = [page.mark(f"name-{n}", 7) for n in range(there)]
print([mark.entry for mark in marks] == [*range(there)], flush=True)
for number in itertools.count(there):
    page.show(page.mark(f"name-{number}", 7))
    page.beat()
"""


def test_a_writer_killed_at_any_moment_leaves_a_page_that_is_sound(tmp_path: Path) -> None:
    inodes = set()
    for pause in range(8):
        command = [sys.executable, "-c", KILLED, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "True\n"
            time.sleep(pause * 0.004)
            writer.kill()
        inodes.add((tmp_path / "generation").stat().st_ino)
    assert len(inodes) == 1


# A disk without room.


def in_a_process_with_little_room(program: str, folder: Path, room: int) -> str:
    """What it prints; its files may have so many bytes, as on a disk that is full after that."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    return subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=ROOT,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


FULL = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from keyman.serving.page import open_page
page = open_page(Path(sys.argv[1]), key=b"k", shared=False, now=lambda: datetime.now(UTC))
if page is None:
    print("none")
else:
    marks = [page.mark(f"name-{n}", 7) for n in range(200)]
    print(sum(mark is not None for mark in marks))
    page.show(page.mark("name-0", 7))
    page.beat()
"""


ELSEWHERE = "import os\nif hasattr(os, 'posix_fallocate'): del os.posix_fallocate\n"
SYSTEMS = pytest.mark.parametrize("system", ["", ELSEWHERE], ids=["this one", "no fallocate"])


@SYSTEMS
@pytest.mark.parametrize("room", [FIRST_SIZE - 1, 100, 0])
def test_on_a_full_disk_there_is_no_page(tmp_path: Path, system: str, room: int) -> None:
    assert in_a_process_with_little_room(system + FULL, tmp_path, room) == "none\n"
    assert list(tmp_path.iterdir()) == []


@SYSTEMS
@pytest.mark.parametrize("more", [0, 1001])
def test_a_page_that_cannot_grow_goes_on_for_the_names_that_it_has(
    tmp_path: Path, system: str, more: int
) -> None:
    ran = in_a_process_with_little_room(system + FULL, tmp_path, FIRST_SIZE + more)
    assert ran == f"{ROOM}\n"
    assert (tmp_path / "generation").stat().st_size == FIRST_SIZE
    with closing(opened(tmp_path)) as page:
        assert shown(page, "name-199").entry == ROOM


# What is answered, and what the page shows.


def generation(headers: str) -> tuple[int, int, bytes]:
    """Entry, generation and tag."""
    (line,) = (line for line in headers.split("\r\n") if line.startswith("keyman-generation: "))
    index, number, tag = line.partition(": ")[2].split(".")
    return int(index), int(number), bytes.fromhex(tag)


def head(snapshot: Snapshot, name: str, *, plain: bool = False) -> str:
    wire = snapshot.wire(name, plain=plain)
    assert wire is not None
    return wire.partition(b"\r\n\r\n")[0].decode()


def test_every_answer_carries_the_generation_that_the_page_shows(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as page:
        snapshot = Snapshot(SetClock(), page)
        for version in range(3, 9):
            for name in ("genai", "vertex"):
                snapshot.publish(name, version_is(name, version, previous=version - 1))
                entry, number, tag = mark = generation(head(snapshot, name))
                assert generation(head(snapshot, name, plain=True)) == mark
                said = snapshot.look_up(name).headers["keyman-generation"]
                assert said == f"{entry}.{number}.{tag.hex()}"
                assert words_of(tmp_path)[place(entry) :][:2] == [number, version]
                assert tag_at(words_of(tmp_path), entry) == tag == tag_of(name)


def test_without_a_page_no_answer_carries_one() -> None:
    snapshot = Snapshot(SetClock())
    snapshot.publish("genai", version_is("genai", 7))
    assert "generation" not in head(snapshot, "genai")
    snapshot.beat()
    snapshot.rest()
    snapshot.withdraw("genai")


SEVEN = version_is("genai", 7, previous=6)
TOMORROW = SetClock().now() + timedelta(days=1)


def seven_with(**change: Any) -> Answer:
    """The same version, and something else about it."""
    assert isinstance(SEVEN.current, Handout)
    return replace(SEVEN, current=replace(SEVEN.current, **change))


@pytest.mark.parametrize(
    ("case", "answer", "changed"),
    [
        ("the same record again", SEVEN, False),
        ("saved, and nothing changed that is answered", replace(SEVEN, revision=9), False),
        ("a promotion", version_is("genai", 8, previous=7), True),
        ("another place to call", seven_with(lookup=Lookup(base_url="https://else.example")), True),
        ("another end", seven_with(expires_at=TOMORROW), True),
        ("another secret", seven_with(secret=Secret("x")), True),
        ("the same, but it leaked", replace(SEVEN, standing=0), True),
        ("nothing usable", nothing_usable(8), True),
        ("the previous one retired", version_is("genai", 7), True),
    ],
)
def test_the_page_changes_with_what_is_answered_and_only_then(
    tmp_path: Path, case: str, answer: Answer, changed: bool
) -> None:
    with closing(opened(tmp_path)) as page:
        snapshot = Snapshot(SetClock(), page)
        told: list[str] = []
        snapshot.subscribe(told.append)
        snapshot.publish("genai", SEVEN)
        before, finished = words_of(tmp_path), snapshot.look_up("genai")
        snapshot.publish("genai", answer)
        assert (words_of(tmp_path)[place(0)] > before[place(0)]) is changed
        if not changed:
            assert snapshot.look_up("genai") is finished, "it is not built again either"
        assert told == ["genai"] * 2, "those who wait for an order hear of each record"


def test_the_same_refusal_is_the_same_answer(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as page:
        snapshot = Snapshot(SetClock(), page)
        snapshot.publish("genai", nothing_usable(3))
        before = words_of(tmp_path)
        snapshot.publish("genai", nothing_usable(4))
        assert words_of(tmp_path) == before
        snapshot.publish("genai", nothing_usable(5, errors.NotAdopted("another")))
        assert words_of(tmp_path)[place(0)] > before[place(0)]
        assert standing(tmp_path, among=["genai"]) == {"genai": 0}


def test_an_older_answer_changes_nothing(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as page:
        snapshot = Snapshot(SetClock(), page)
        snapshot.publish("genai", version_is("genai", 8))
        before = words_of(tmp_path)
        snapshot.publish("genai", version_is("genai", 7))
        assert words_of(tmp_path) == before


def test_first_the_page_then_the_answer_then_those_who_wait(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    class Watched(Page):
        def show(self, mark: Mark) -> None:
            known = snapshot.look_up("genai").version if snapshot.knows("genai") else 0
            seen.append(("page", known))
            super().show(mark)

    def told(name: str) -> None:
        assert words_of(tmp_path)[place(0)] == generation(head(snapshot, name))[1]
        seen.append(("told", snapshot.look_up(name).version))

    opened(tmp_path).close()
    with closing(Watched(os.open(tmp_path / "generation", os.O_RDWR), KEY, now)) as page:
        snapshot = Snapshot(SetClock(), page)
        snapshot.subscribe(told)
        for version in (7, 8):
            snapshot.publish("genai", version_is("genai", version))
    assert seen == [("page", 0), ("told", 7), ("page", 7), ("told", 8)]


def test_a_name_without_a_place_is_answered_all_the_same(tmp_path: Path) -> None:
    class Full(Page):
        def mark(self, name: str, version: int) -> Mark | None:
            return None

    opened(tmp_path).close()
    with closing(Full(os.open(tmp_path / "generation", os.O_RDWR), KEY, now)) as page:
        snapshot = Snapshot(SetClock(), page)
        snapshot.publish("genai", version_is("genai", 7))
        assert "generation" not in head(snapshot, "genai")
        snapshot.withdraw("genai")


def test_the_slow_way_carries_it_as_well() -> None:
    """What is answered through the framework: another stage, a long poll, a report."""
    with worlds.world() as here, closing(opened(here.path.parent)) as page:
        snapshot = here.snapshot = Snapshot(here.clock, page)
        here.desk.snapshot = snapshot
        here.agent.stop()
        here.start()
        here.serve("genai", 8, previous=7)
        entry, number, tag = generation(head(snapshot, "genai"))
        for call in (
            ("GET", "/api/v1/secrets/genai"),
            ("GET", "/api/v1/secrets/genai?stage=previous"),
            ("GET", "/api/v1/secrets/genai?after=7"),
            ("POST", "/api/v1/secrets/genai/rejected", {"version": 7}),
        ):
            status, headers, said = here.ask(*call)
            assert status == 200
            assert headers["keyman-generation"] == f"{entry}.{number}.{tag.hex()}"
            assert headers["cache-control"] == "no-store"
            assert headers["etag"] == f'"{said["version"]}"'
        here.agent.stop()


def test_who_holds_a_name_asks_once_more_when_others_may_see_it() -> None:
    with worlds.world() as here, closing(opened(here.path.parent)) as page:
        snapshot = here.snapshot = Snapshot(here.clock, page)
        here.agent.stop()
        here.start()
        here.serve("genai", 8)
        here.serve("other", 8)
        before = {name: generation(head(snapshot, name)) for name in ("genai", "other")}
        here.agent.doors.narrow({"genai": [1]})
        after = {name: generation(head(snapshot, name)) for name in ("genai", "other")}
        assert after["genai"] != before["genai"]
        assert after["other"] == before["other"]
        entry, number, _ = after["genai"]
        assert words_of(here.path.parent)[place(entry) :][:2] == [number, 8], "it may stand in"
        here.agent.doors.narrow({"genai": [1], "unknown": []})
        assert generation(head(snapshot, "genai")) == after["genai"]
        here.agent.stop()


def test_the_heart_beats_while_the_agent_serves() -> None:
    with worlds.world() as here:
        here.agent.stop()
        with closing(opened(here.path.parent)) as page:
            here.snapshot = Snapshot(here.clock, page)
            here.start()
            beats = {words_of(here.path.parent)[BEAT]}
            deadline = time.monotonic() + 30
            while len(beats) < 4 and time.monotonic() < deadline:
                time.sleep(0.05)
                beats.add(words_of(here.path.parent)[BEAT])
            assert len(beats) == 4
            assert max(beats) <= time.time_ns()
            here.agent.stop()
            assert words_of(here.path.parent)[BEAT] == 0


# The whole of keyman.

CONFIG = """\
credentials:
  genai: {provider: static, base_url: https://api.example.com/v1}
  partner: {provider: static, base_url: https://api.example.com/v1}
"""


def key_of(app: App) -> bytes:
    return f"keyman page {app.journal.installation}".encode()


def settings_in(folder: Path, text: str = CONFIG) -> Settings:
    config = folder / "config.yaml"
    config.write_text(text)
    config.chmod(0o600)
    return load(config, home=folder / "home", environ={})


BOTH, HOME = ("genai", "partner"), "home"


def test_a_daemon_tells_the_holders_of_what_left_the_configuration(tmp_path: Path) -> None:
    home = tmp_path / HOME
    with open_app(settings_in(tmp_path)) as app:
        key = key_of(app)
        for name in BOTH:
            app.desk.put(name, Secret(secret_of(name, 1)), None, "test")
        assert app.snapshot.names() == set(BOTH)
        assert standing(home, key, among=BOTH) == {"genai": 1, "partner": 1}
    before = words_of(home)
    with open_app(settings_in(tmp_path, "".join(CONFIG.splitlines(keepends=True)[:2]))) as app:
        assert app.snapshot.names() == {"genai"}
    after = words_of(home)
    assert standing(home, key, among=BOTH) == {"genai": 1, "partner": 0}
    assert after[COUNT] == 2
    assert all(after[place(n)] > before[place(n)] for n in range(2)), "who held it asks once"


def test_a_command_makes_no_page(tmp_path: Path) -> None:
    with open_app(settings_in(tmp_path), role=COMMAND) as app:
        app.desk.put("genai", Secret("x"), None, "test")
    assert not (tmp_path / HOME / "generation").exists()


def test_a_command_tells_the_holders_and_has_no_heartbeat(tmp_path: Path) -> None:
    """No daemon is there to answer, but what clients hold must not outlive what replaced it."""
    home = tmp_path / HOME
    with open_app(settings_in(tmp_path)) as app:
        key = key_of(app)
        app.desk.put("genai", Secret("x"), None, "test")
        app.desk.put("partner", Secret("y"), None, "test")
        app.snapshot.beat()  # and then it is killed
    inode = (home / "generation").stat().st_ino
    with open_app(settings_in(tmp_path), role=COMMAND) as app:
        assert words_of(home)[BEAT] == 0
        app.desk.put("genai", Secret("z"), None, "test")
    assert standing(home, key, among=BOTH) == {"genai": 2, "partner": 1}
    assert words_of(home)[BEAT] == 0
    assert (home / "generation").stat().st_ino == inode


def test_tags_are_of_the_installation_and_the_same_after_a_restart(tmp_path: Path) -> None:
    places = []
    for _ in range(2):
        with open_app(settings_in(tmp_path)) as app:
            assert (
                app.journal.installation.encode()
                not in (tmp_path / HOME / "generation").read_bytes()
            )
            places.append([tag_at(words_of(tmp_path / HOME), n) for n in range(2)])
    assert places[0] == places[1]
    assert words_of(tmp_path / HOME)[COUNT] == 2
