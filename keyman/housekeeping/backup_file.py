"""The file of a backup: bytes under a passphrase, and nothing known of what they mean.

    header   what it is · format · costs of scrypt · salt           in clear, part of every seal
    pieces   64 KiB each, sealed with AES-256-GCM under the key that scrypt makes of the passphrase

A piece's nonce is its number, and whether it is the last: none can be left out, doubled, moved or
cut off unnoticed. The salt is drawn for each file, so no two files share a key.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from keyman.core.model import Secret
from keyman.errors import StoreFailed, UsageError
from keyman.stores import private_file

MAGIC = b"keyman backup\n\x00"
FORMAT = 1
HEADER = struct.Struct(f">{len(MAGIC)}sHBBB32s")
COST, BLOCK, LANES = 17, 8, 1  # 128 MiB, and a quarter of a second
NAME_ONE = "name a file that `keyman backup` made"
LOWEST_COST, HIGHEST_COST = (
    14,
    20,
)  # what is read may differ, but neither invite guessing nor eat all
PIECE = 64 * 1024
TAG_BYTES = 16
SHORTEST = 12  # characters of a passphrase


def write(path: Path, content: bytes, passphrase: Secret) -> None:
    """Seal the content into the file, whole and durable, mode 0600.

    Raises UsageError if something else than an earlier backup lies there, StoreFailed if it can't
    be written.
    """
    refuse_to_replace(path)
    header = HEADER.pack(MAGIC, FORMAT, COST, BLOCK, LANES, os.urandom(32))
    pieces = _sealed(content, _key(header, passphrase), header)
    private_file.replace(path, b"".join((header, *pieces)))


def refuse_to_replace(path: Path) -> None:
    """Raise UsageError unless nothing lies there, or a backup of ours; StoreFailed if that can't
    be told.
    """
    with private_file.translated(path, "looked at"):
        try:
            found = path.lstat()
        except FileNotFoundError:
            return
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and _begins(path)
    if not ours:
        raise UsageError(
            f"{path} is there already, and is no backup of keyman's",
            hint="name another file: what lies there is not overwritten",
        )


def _begins(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read(path: Path, passphrase: Secret) -> bytes:
    """What was sealed. Raises StoreFailed if that isn't there, or not all and exactly that."""
    with private_file.translated(path, "read"), _plain_file(path) as file:
        header = file.read(HEADER.size)
        key = _key(_checked(header, path), passphrase)
        return b"".join(_unsealed(file, key, header, path))


def _plain_file(path: Path) -> BinaryIO:
    # Without O_NONBLOCK a pipe that nobody writes to would be waited for without end.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StoreFailed(f"{path} is not there", hint=NAME_ONE) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreFailed(f"{path} is not a plain file", hint=NAME_ONE)
    return os.fdopen(descriptor, "rb")


def _checked(header: bytes, path: Path) -> bytes:
    if len(header) < HEADER.size or not header.startswith(MAGIC):
        raise StoreFailed(f"{path} is not a backup of keyman's", hint=NAME_ONE)
    _, format_, cost, block, lanes, _ = HEADER.unpack(header)
    if format_ != FORMAT:
        raise StoreFailed(
            f"{path} is a backup of format {format_}; this keyman reads format {FORMAT}",
            hint="restore it with the keyman that made it",
        )
    if not LOWEST_COST <= cost <= HIGHEST_COST or block != BLOCK or not 1 <= lanes <= 4:
        raise _damaged(path, "its header asks for costs that are out of bounds")
    return header


def _key(header: bytes, passphrase: Secret) -> bytes:
    _, _, cost, block, lanes, salt = HEADER.unpack(header)
    kdf = Scrypt(salt=salt, length=32, n=2**cost, r=block, p=lanes)
    return kdf.derive(passphrase.reveal().encode())


def _sealed(content: bytes, key: bytes, header: bytes) -> Iterator[bytes]:
    seal = AESGCM(key)
    last = max(0, len(content) - 1) // PIECE
    for number in range(last + 1):
        piece = content[number * PIECE : (number + 1) * PIECE]
        yield seal.encrypt(_nonce(number, last=number == last), piece, header)


def _unsealed(file: BinaryIO, key: bytes, header: bytes, path: Path) -> Iterator[bytes]:
    seal, number = AESGCM(key), 0
    piece = file.read(PIECE + TAG_BYTES)
    while True:
        following = file.read(PIECE + TAG_BYTES)
        try:
            yield seal.decrypt(_nonce(number, last=not following), piece, header)
        except (InvalidTag, ValueError):
            if number == 0:
                raise _damaged(path, "the passphrase is wrong, or the file damaged") from None
            raise _damaged(path, "it is damaged or was cut off") from None
        if not following:
            return
        piece, number = following, number + 1


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _damaged(path: Path, why: str) -> StoreFailed:
    hint = "give the passphrase that it was made with, or take another backup; nothing was changed"
    return StoreFailed(f"{path} does not open: {why}", hint=hint)
