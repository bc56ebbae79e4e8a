"""The file of a backup: what is written, judged by a reader of its own, and what is refused."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyman.core.model import Secret
from keyman.errors import StoreFailed, UsageError
from keyman.housekeeping import backup_file

PASSPHRASE = "correct horse battery staple"
PIECE = 64 * 1024
HEADER = struct.Struct(">15sHBBB32s")
BEGINS = b"keyman backup\n\0"

# ----------------------------------------------------------------------------- what is written


def key_of(cost: int, block: int, lanes: int, salt: bytes, words: str = PASSPHRASE) -> AESGCM:
    room = 256 * 1024 * 1024
    return AESGCM(
        hashlib.scrypt(
            words.encode(), salt=salt, n=2**cost, r=block, p=lanes, maxmem=room, dklen=32
        )
    )


def nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")


def by_hand(content: bytes, *, cost: int = 14, block: int = 8, lanes: int = 1) -> bytes:
    """A backup that somebody else made."""
    header = HEADER.pack(BEGINS, 1, cost, block, lanes, b"s" * 32)
    key = key_of(cost, block, lanes, b"s" * 32)
    pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)] or [b""]
    last = len(pieces) - 1
    sealed = (
        key.encrypt(nonce(n, last=n == last), piece, header) for n, piece in enumerate(pieces)
    )
    return header + b"".join(sealed)


def read_by_hand(whole: bytes) -> bytes:
    header, rest = whole[: HEADER.size], whole[HEADER.size :]
    begins, format_, cost, block, lanes, salt = HEADER.unpack(header)
    assert (begins, format_, cost, block, lanes) == (BEGINS, 1, 17, 8, 1)
    key = key_of(cost, block, lanes, salt)
    pieces = [rest[at : at + PIECE + 16] for at in range(0, len(rest), PIECE + 16)]
    last = len(pieces) - 1
    return b"".join(
        key.decrypt(nonce(n, last=n == last), piece, header) for n, piece in enumerate(pieces)
    )


@pytest.mark.parametrize("size", [0, PIECE - 1, PIECE, 2 * PIECE + 1])
def test_anybody_who_knows_the_format_can_read_it(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    backup_file.write(tmp_path / "made", content, Secret(PASSPHRASE))
    assert read_by_hand((tmp_path / "made").read_bytes()) == content
    assert backup_file.read(tmp_path / "made", Secret(PASSPHRASE)) == content


@pytest.mark.parametrize("lanes", [1, 4])
def test_what_somebody_else_made_by_the_format_is_read(tmp_path: Path, lanes: int) -> None:
    content = os.urandom(2 * PIECE)
    (tmp_path / "theirs").write_bytes(by_hand(content, lanes=lanes))
    assert backup_file.read(tmp_path / "theirs", Secret(PASSPHRASE)) == content


def test_no_two_files_have_one_salt(tmp_path: Path) -> None:
    for name in ("one", "two"):
        backup_file.write(tmp_path / name, b"the same", Secret(PASSPHRASE))
    one, two = ((tmp_path / name).read_bytes()[: HEADER.size] for name in ("one", "two"))
    assert one[:-32] == two[:-32]
    assert one[-32:] != two[-32:]
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600


# -------------------------------------------------------------------------- what is in its place


def test_an_earlier_backup_is_replaced(tmp_path: Path) -> None:
    for content in (b"earlier", b"later"):
        backup_file.write(tmp_path / "made", content, Secret(PASSPHRASE))
    assert backup_file.read(tmp_path / "made", Secret(PASSPHRASE)) == b"later"


def somebodys(place: Path) -> None:
    place.write_text("precious")


def a_link(place: Path) -> None:
    backup_file.write(place.with_name("elsewhere"), b"", Secret(PASSPHRASE))
    place.symlink_to(place.with_name("elsewhere"))


@pytest.mark.parametrize("there", [somebodys, a_link, Path.mkdir])
def test_what_is_no_backup_is_not_replaced(tmp_path: Path, there: Callable[[Path], None]) -> None:
    place = tmp_path / "place"
    there(place)
    before = place.lstat()
    with pytest.raises(UsageError, match="is there already") as refused:
        backup_file.refuse_to_replace(place)
    assert "another file" in refused.value.hint
    with pytest.raises(UsageError, match="is there already"):
        backup_file.write(place, b"ours", Secret(PASSPHRASE))
    assert place.lstat() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away: sudo make test")
def test_a_backup_of_another_user_is_not_replaced(tmp_path: Path) -> None:
    backup_file.write(tmp_path / "theirs", b"", Secret(PASSPHRASE))
    os.chown(tmp_path / "theirs", 65534, -1)
    with pytest.raises(UsageError, match="is there already"):
        backup_file.write(tmp_path / "theirs", b"ours", Secret(PASSPHRASE))


# ------------------------------------------------------------------------------- what is refused


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "whole"
    backup_file.write(path, os.urandom(200_000), Secret(PASSPHRASE))
    return path


def opens(path: Path, passphrase: str = PASSPHRASE) -> str | None:
    """Why it does not; None if it does."""
    try:
        backup_file.read(path, Secret(passphrase))
    except StoreFailed as error:
        return error.message if error.hint != StoreFailed.default_hint else ""
    return None


def spoilt(sealed: Path, tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    whole, piece, head = sealed.read_bytes(), PIECE + 16, backup_file.HEADER.size
    pieces = [whole[at : at + piece] for at in range(head, len(whole), piece)]
    yield "cut within a piece", whole[:-1]
    yield "cut between pieces", whole[: head + piece]
    yield "cut within the header", whole[: head - 1]
    yield "only its header", whole[:head]
    yield "pieces exchanged", whole[:head] + pieces[1] + pieces[0] + b"".join(pieces[2:])
    yield "a piece doubled", whole[:head] + pieces[0] * 2 + b"".join(pieces[1:])
    yield "a piece left out", whole[:head] + b"".join(pieces[:1] + pieces[2:])
    yield "something added", whole + b"\0"
    in_the_header = (*range(len(backup_file.MAGIC), head, 7), head - 1)  # each costs a scrypt
    for at in (*in_the_header, head, head + piece, len(whole) - 1):
        yield f"byte {at} flipped", with_a_bit_flipped(whole, at)


def test_it_is_said_what_may_be_wrong(sealed: Path, tmp_path: Path) -> None:
    assert opens(sealed) is None
    assert "passphrase is wrong" in str(opens(sealed, "another passphrase"))
    whole, broken = sealed.read_bytes(), tmp_path / "broken"
    second, third = (HEADER.size + n * (PIECE + 16) for n in (1, 2))
    for content, said in (
        (with_a_bit_flipped(whole, HEADER.size), "the passphrase is wrong, or the file damaged"),
        (with_a_bit_flipped(whole, second), "damaged or was cut off"),
        (with_a_bit_flipped(whole, third), "damaged or was cut off"),
        (whole[: HEADER.size], "the passphrase is wrong, or the file damaged"),
        (whole[:third], "damaged or was cut off"),
    ):
        broken.write_bytes(content)
        assert said in str(opens(broken))


def with_a_bit_flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.slow
def test_whatever_was_changed_in_a_backup_it_does_not_open(sealed: Path, tmp_path: Path) -> None:
    for what, content in spoilt(sealed, tmp_path):
        (tmp_path / "spoilt").write_bytes(content)
        assert opens(tmp_path / "spoilt"), what


@pytest.mark.parametrize(
    ("cost", "block", "lanes"),
    [
        (63, 8, 1),
        (21, 8, 1),
        (13, 8, 1),
        (1, 8, 1),
        (17, 255, 1),
        (17, 7, 1),
        (17, 8, 255),
        (17, 8, 5),
        (17, 8, 0),
    ],
)
def test_a_header_that_asks_for_gigantic_or_no_work_is_refused_at_once(
    sealed: Path, tmp_path: Path, cost: int, block: int, lanes: int
) -> None:
    header = backup_file.HEADER.pack(backup_file.MAGIC, 1, cost, block, lanes, b"s" * 32)
    (tmp_path / "greedy").write_bytes(header + sealed.read_bytes()[len(header) :])
    assert "out of bounds" in str(opens(tmp_path / "greedy"))


def test_the_highest_cost_is_not_too_high(tmp_path: Path) -> None:
    header = HEADER.pack(BEGINS, 1, 20, 8, 1, b"s" * 32)
    assert backup_file._checked(header, tmp_path) == header  # to pay it takes a gigabyte


@pytest.mark.parametrize("kind", ["missing", "a folder", "a pipe", "another file"])
def test_what_is_no_backup_is_said_to_be_none(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "another file":
        path.write_bytes(b"PK\3\4" * 100)
    open_before = open_files()
    with pytest.raises(StoreFailed, match="is not") as refused:
        backup_file.read(path, Secret("a passphrase"))
    assert "keyman backup" in refused.value.hint
    assert open_files() == open_before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_backup_of_a_later_format_is_told_apart(sealed: Path, tmp_path: Path) -> None:
    later = backup_file.HEADER.pack(backup_file.MAGIC, 2, 17, 8, 1, b"s" * 32)
    (tmp_path / "later").write_bytes(later)
    assert "format 2" in str(opens(tmp_path / "later"))
