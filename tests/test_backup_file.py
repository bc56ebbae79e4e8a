"""The file of a backup: changed, cut off, greedy, somebody else's.

What lies in it, byte by byte, is spelt out in tests/contract/test_formats.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest

from keyman.core.model import Secret
from keyman.errors import StoreFailed, UsageError
from keyman.housekeeping import backup_file
from keyman.housekeeping.backup_file import HEADER, MAGIC, PIECE
from tests.test_private_file import without_waiting

PASSPHRASE = "correct horse battery staple"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away: sudo make test")
def test_a_backup_of_another_user_is_not_replaced(tmp_path: Path) -> None:
    backup_file.write(tmp_path / "theirs", b"", Secret(PASSPHRASE))
    os.chown(tmp_path / "theirs", 65534, -1)
    with pytest.raises(UsageError, match="is there already"):
        backup_file.write(tmp_path / "theirs", b"ours", Secret(PASSPHRASE))


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


def spoilt(sealed: Path) -> Iterator[tuple[str, bytes]]:
    whole, piece, head = sealed.read_bytes(), PIECE + 16, HEADER.size
    pieces = [whole[at : at + piece] for at in range(head, len(whole), piece)]
    yield "cut within a piece", whole[:-1]
    yield "cut between pieces", whole[: head + piece]
    yield "cut within the header", whole[: head - 1]
    yield "only its header", whole[:head]
    yield "pieces exchanged", whole[:head] + pieces[1] + pieces[0] + b"".join(pieces[2:])
    yield "a piece doubled", whole[:head] + pieces[0] * 2 + b"".join(pieces[1:])
    yield "a piece left out", whole[:head] + b"".join(pieces[:1] + pieces[2:])
    yield "something added", whole + b"\0"
    in_the_header = (*range(len(MAGIC), head, 7), head - 1)  # each costs a scrypt
    for at in (*in_the_header, head, head + piece, len(whole) - 1):
        yield f"byte {at} flipped", with_a_bit_flipped(whole, at)


@pytest.mark.slow
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
    for what, content in spoilt(sealed):
        (tmp_path / "spoilt").write_bytes(content)
        assert opens(tmp_path / "spoilt"), what


KEY = bytes(range(32))


HINT = "give the passphrase that it was made with, or take another backup; nothing was changed"


def piece_by_piece(content: bytes, path: Path) -> bytes | tuple[str, str]:
    """What is opened with the right key, or why it is not."""
    try:
        return b"".join(backup_file._unsealed(BytesIO(content), KEY, b"its header", path))
    except StoreFailed as error:
        return error.message, error.hint


def test_the_first_piece_tells_a_wrong_passphrase_and_each_later_one_tells_damage(
    tmp_path: Path,
) -> None:
    content = os.urandom(2 * PIECE + 5)
    first, second, third = backup_file._sealed(content, KEY, b"its header")
    no_key = f"{tmp_path} does not open: the passphrase is wrong, or the file damaged", HINT
    damaged = f"{tmp_path} does not open: it is damaged or was cut off", HINT
    for pieces, found in (
        ((first, second, third), content),
        ((with_a_bit_flipped(first, 7), second, third), no_key),
        ((second, third), no_key),
        ((first,), no_key),
        ((), no_key),
        ((first, with_a_bit_flipped(second, 7), third), damaged),
        ((first, third), damaged),
        ((first, second), damaged),
        ((first, second, with_a_bit_flipped(third, 7)), damaged),
        ((first, second, third, b"."), damaged),
    ):
        assert piece_by_piece(b"".join(pieces), tmp_path) == found


@pytest.mark.parametrize(
    ("cost", "block", "lanes"), [(63, 8, 1), (17, 255, 1), (17, 8, 255), (1, 8, 1)]
)
def test_a_header_that_asks_for_gigantic_or_no_work_is_refused_at_once(
    sealed: Path, tmp_path: Path, cost: int, block: int, lanes: int
) -> None:
    header = HEADER.pack(MAGIC, 1, cost, block, lanes, b"s" * 32)
    (tmp_path / "greedy").write_bytes(header + sealed.read_bytes()[len(header) :])
    assert "out of bounds" in str(opens(tmp_path / "greedy"))


def test_the_highest_cost_is_not_too_high(tmp_path: Path) -> None:
    header = HEADER.pack(MAGIC, 1, 20, 8, 1, b"s" * 32)
    assert backup_file._checked(header, tmp_path) == header  # to pay it takes a gigabyte


@pytest.mark.skipif(not Path("/proc").exists(), reason="shown by Linux only: make test there")
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_plain_file_is_not_kept_open(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "backup"
    make(path)
    with without_waiting(), pytest.raises(StoreFailed, match="is not a plain file"):
        backup_file.read(path, Secret(PASSPHRASE))
    assert path not in {one.readlink() for one in Path("/proc/self/fd").iterdir() if one.exists()}


def test_a_backup_of_a_later_format_is_told_apart(sealed: Path, tmp_path: Path) -> None:
    later = HEADER.pack(MAGIC, 2, 17, 8, 1, b"s" * 32)
    (tmp_path / "later").write_bytes(later)
    assert "format 2" in str(opens(tmp_path / "later"))
