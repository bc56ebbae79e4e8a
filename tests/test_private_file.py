"""Files that only their owner may read: made once, replaced whole, and nothing left beside them."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyman.errors import StoreFailed
from keyman.stores import private_file

HINT = (
    "the folder must exist and be writable, the disk not full; "
    "`keyman daemon` makes what is missing at its first start"
)


@contextmanager
def at_most(what: int, units: int) -> Iterator[None]:
    """No more of it than so much is there for this process."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (units, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


def nobody(*_: object) -> None:
    raise TimeoutError("waited for somebody who writes into the pipe")


@contextmanager
def without_waiting() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, nobody)
    signal.alarm(10)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def open_files() -> list[Path]:
    return sorted(Path("/dev/fd").iterdir())


def lies_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.name: (stat.S_IMODE(path.lstat().st_mode), path.read_bytes())
        for path in folder.iterdir()
    }


def test_it_is_made_once_and_then_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert private_file.make(path, b"first") is True
    assert private_file.make(path, b"second") is False
    assert lies_in(tmp_path) == {"key": (0o600, b"first")}
    path.unlink()
    path.symlink_to("nowhere")
    assert private_file.make(path, b"third") is False
    assert path.readlink() == Path("nowhere")


def test_what_is_there_is_found_where_nothing_can_be_written(tmp_path: Path) -> None:
    private_file.make(tmp_path / "key", b"first")
    with at_most(resource.RLIMIT_FSIZE, 0):
        assert private_file.make(tmp_path / "key", b"second") is False


def test_of_many_who_make_it_at_once_one_has_made_it(tmp_path: Path) -> None:
    many, path = 8, tmp_path / "key"
    together = threading.Barrier(many)

    def begin(number: int) -> tuple[bool, int]:
        together.wait()
        return private_file.make(path, b"%d" % number), number

    with ThreadPoolExecutor(many) as pool:
        (maker,) = [number for made, number in pool.map(begin, range(many)) if made]
    assert lies_in(tmp_path) == {"key": (0o600, b"%d" % maker)}


def test_it_is_replaced_whole_and_a_link_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (folder / "key").symlink_to(tmp_path / "elsewhere")
    for content in (b"first", b"second"):
        private_file.replace(folder / "key", content)
        assert lies_in(folder) == {"key": (0o600, content)}
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"


WRITES: dict[str, Callable[[Path, bytes], object]] = {
    "made": private_file.make,
    "written": private_file.replace,
}


@pytest.mark.parametrize("done", WRITES)
@pytest.mark.parametrize(
    ("what", "why"),
    [(resource.RLIMIT_FSIZE, errno.EFBIG), (resource.RLIMIT_NOFILE, errno.EMFILE)],
    ids=["full disk", "no descriptor left"],
)
def test_what_cannot_be_written_is_said_and_leaves_nothing(
    tmp_path: Path, done: str, what: int, why: int
) -> None:
    path = tmp_path / "key"
    with at_most(what, 0), pytest.raises(StoreFailed) as failed:
        WRITES[done](path, b"content")
    assert failed.value.message == f"{path} could not be {done}: {os.strerror(why)}"
    assert failed.value.hint == HINT
    assert lies_in(tmp_path) == {}


def test_what_cannot_take_its_place_is_not_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    with pytest.raises(StoreFailed, match="could not be written: "):
        private_file.replace(tmp_path / "key", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_what_is_read_is_what_was_written_and_nothing_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert private_file.read(path) is None
    private_file.make(path, b"content")
    before = open_files()
    assert private_file.read(path) == b"content"
    private_file.replace(path, b"other")
    private_file.refuse_shared(path)
    assert open_files() == before


LOOKS: dict[str, Callable[[Path], object]] = {
    "read": private_file.read,
    "examined": private_file.refuse_shared,
}


@pytest.mark.parametrize("done", LOOKS)
def test_what_others_could_have_read_or_written_is_refused(tmp_path: Path, done: str) -> None:
    path = tmp_path / "key"
    private_file.make(path, b"content")
    for mode in (0o601, 0o602, 0o604, 0o610, 0o620, 0o640, 0o677):
        path.chmod(mode)
        with pytest.raises(StoreFailed) as refused:
            LOOKS[done](path)
        assert refused.value.message == f"{path} is open to other users (mode {mode:o})"
        assert refused.value.hint == (
            f"chmod 600 {path}, and rotate its secrets if others use this machine"
        )
    for mode in (0o400, 0o600, 0o700):
        path.chmod(mode)
        LOOKS[done](path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away: sudo make test")
@pytest.mark.parametrize("done", LOOKS)
def test_what_belongs_to_another_user_is_refused(tmp_path: Path, done: str) -> None:
    path = tmp_path / "key"
    private_file.make(path, b"content")
    os.chown(path, 65534, -1)
    with pytest.raises(StoreFailed) as refused:
        LOOKS[done](path)
    assert refused.value.message == f"{path} belongs to another user (uid 65534)"
    assert refused.value.hint == "run keyman as that user, or give the file to this one"


@pytest.mark.parametrize("done", LOOKS)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_plain_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None], done: str
) -> None:
    path = tmp_path / "key"
    make(path)
    before = open_files()
    with without_waiting(), pytest.raises(StoreFailed) as refused:
        LOOKS[done](path)
    assert refused.value.message == f"{path} is not a plain file"
    assert refused.value.hint == "move away what lies there"
    assert open_files() == before


def test_a_link_is_refused_and_not_followed(tmp_path: Path) -> None:
    private_file.make(tmp_path / "real", b"content")
    path = tmp_path / "key"
    path.symlink_to("real")
    with pytest.raises(StoreFailed, match="could not be read: "):
        private_file.read(path)
    with pytest.raises(StoreFailed, match="is not a plain file"):
        private_file.refuse_shared(path)


def test_what_is_missing_cannot_be_examined(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="could not be examined: ") as failed:
        private_file.refuse_shared(tmp_path / "key")
    assert failed.value.hint == HINT
