"""What was sealed by the keyman of today opens with any later one: the formats, spelt out again.

Sealed here by other code, from the words in docs and headers. A change that seals and unseals alike
in another way passes every other test, and makes every store and backup there is worthless.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyman.core.model import Secret
from keyman.errors import StoreFailed, UsageError
from keyman.housekeeping import backup_file
from keyman.stores.seals import fresh_key, key_id, seal, unseal
from tests.test_private_file import without_waiting

KEY, NONCE = bytes(range(32)), bytes(range(12))
PASSPHRASE = "correct horse battery staple"
SALT = bytes(range(32, 64))
PIECE = 64 * 1024


def bound_to(*fields: bytes) -> bytes:
    named = hmac.new(KEY, b"keyman key id", hashlib.sha256).digest()[:16]
    told = (b"keyman sealed file", b"1", named, *fields)
    return b"".join(struct.pack(">I", len(field)) + field for field in told)


def test_a_seal_made_elsewhere_opens() -> None:
    sealed = NONCE + AESGCM(KEY).encrypt(NONCE, b"sk-one", bound_to(b"secret", b"", b"genai"))
    assert unseal(KEY, sealed, b"secret", b"", b"genai") == b"sk-one"
    for others in ((b"secret", b"genai", b""), (b"secretgenai",), (b"secret", b"", b"genai", b"")):
        with pytest.raises(InvalidTag):
            unseal(KEY, sealed, *others)


def test_a_seal_opens_elsewhere_and_no_two_are_alike() -> None:
    sealed = seal(KEY, b"sk-one", b"secret")
    assert AESGCM(KEY).decrypt(sealed[:12], sealed[12:], bound_to(b"secret")) == b"sk-one"
    assert len(sealed) == 12 + len(b"sk-one") + 16
    assert len({seal(KEY, b"", b"")[:12] for _ in range(100)}) == 100
    assert unseal(KEY, seal(KEY, b"", b""), b"") == b""  # as short as one can be


@pytest.mark.parametrize("cut", [0, 1, 12, 27])
def test_what_is_too_short_for_a_seal_is_none(cut: int) -> None:
    with pytest.raises(InvalidTag):
        unseal(KEY, seal(KEY, b"", b"")[:cut], b"")


def test_a_key_has_256_bits_and_a_name_that_stays() -> None:
    assert len(fresh_key()) == 32
    assert fresh_key() != fresh_key()
    assert key_id(KEY).hex() == hmac.new(KEY, b"keyman key id", hashlib.sha256).hexdigest()[:32]


def a_backup(content: bytes, cost: int = 14, lanes: int = 1, block: int = 8) -> bytes:
    header = b"keyman backup\n\x00" + struct.pack(">HBBB32s", 1, cost, block, lanes, SALT)
    key = hashlib.scrypt(
        PASSPHRASE.encode(), salt=SALT, n=2**cost, r=block, p=lanes, dklen=32, maxmem=1 << 30
    )
    pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)] or [b""]
    sealed = [
        AESGCM(key).encrypt(
            number.to_bytes(11, "big") + bytes([number == len(pieces) - 1]), piece, header
        )
        for number, piece in enumerate(pieces)
    ]
    return header + b"".join(sealed)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
def test_a_backup_made_elsewhere_opens(tmp_path: Path, size: int) -> None:
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    path = tmp_path / "backup"
    path.write_bytes(a_backup(content))
    assert backup_file.read(path, Secret(PASSPHRASE)) == content


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_costs_within_bounds_are_paid(tmp_path: Path, lanes: int) -> None:
    path = tmp_path / "backup"
    path.write_bytes(a_backup(b"all", lanes=lanes))
    assert backup_file.read(path, Secret(PASSPHRASE)) == b"all"


@pytest.mark.parametrize(
    ("cost", "lanes", "block"), [(13, 1, 8), (14, 0, 8), (14, 5, 8), (14, 1, 7), (21, 1, 8)]
)
def test_costs_out_of_bounds_are_refused_before_anything_is_paid(
    tmp_path: Path, cost: int, lanes: int, block: int
) -> None:
    path = tmp_path / "backup"
    header = b"keyman backup\n\x00" + struct.pack(">HBBB32s", 1, cost, block, lanes, SALT)
    path.write_bytes(header + bytes(99))
    with pytest.raises(StoreFailed, match="costs that are out of bounds"):
        backup_file.read(path, Secret(PASSPHRASE))


def test_a_backup_opens_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    content = b"x" * (PIECE + 1)
    backup_file.write(path, content, Secret(PASSPHRASE))
    made = path.read_bytes()
    header, pieces = made[:52], made[52:]
    magic, kind, cost, block, lanes, salt = struct.unpack(">15sHBBB32s", header)
    assert (magic, kind, block, lanes) == (b"keyman backup\n\x00", 1, 8, 1)
    assert cost >= 17  # 128 MiB for each guess
    key = hashlib.scrypt(
        PASSPHRASE.encode(), salt=salt, n=2**cost, r=8, p=1, dklen=32, maxmem=1 << 30
    )
    first, second = pieces[: PIECE + 16], pieces[PIECE + 16 :]
    opened = AESGCM(key).decrypt(bytes(12), first, header)
    last = AESGCM(key).decrypt(bytes(10) + b"\x01\x01", second, header)
    assert opened + last == content
    backup_file.write(path, content, Secret(PASSPHRASE))
    assert path.read_bytes()[20:52] != salt


@pytest.mark.parametrize(
    "sizes", [(0,), (1,), (PIECE - 1,), (PIECE,), (PIECE, 1), (PIECE, PIECE), (PIECE, PIECE, 5)]
)
def test_pieces_are_numbered_and_the_last_one_says_so(sizes: tuple[int, ...]) -> None:
    content, last = os.urandom(sum(sizes)), len(sizes) - 1
    sealed = list(backup_file._sealed(content, KEY, b"its header"))
    nonces = [number.to_bytes(11, "big") + bytes([number == last]) for number in range(len(sizes))]
    opened = [
        AESGCM(KEY).decrypt(nonce, piece, b"its header")
        for nonce, piece in zip(nonces, sealed, strict=True)
    ]
    assert tuple(map(len, opened)) == sizes
    assert b"".join(opened) == content


@pytest.mark.parametrize("what", ["somebody's", "link", "folder", "empty"])
def test_what_is_no_backup_is_not_written_over(tmp_path: Path, what: str) -> None:
    path = tmp_path / "backup"
    (tmp_path / "real").write_bytes(a_backup(b""))
    if what == "link":
        path.symlink_to("real")
    elif what == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"" if what == "empty" else b"keyman backup\nof somebody's")
    with pytest.raises(UsageError, match="is no backup of keyman's"):
        backup_file.refuse_to_replace(path)
    with pytest.raises(UsageError):
        backup_file.write(path, b"all", Secret(PASSPHRASE))


def test_a_backup_or_nothing_may_be_written_over(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    backup_file.refuse_to_replace(path)
    path.write_bytes(a_backup(b""))
    backup_file.refuse_to_replace(path)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing", "is not there"),
        ("folder", "is not a plain file"),
        ("pipe", "is not a plain file"),
        ("empty", "is not a backup of keyman's"),
        ("cut", "is not a backup of keyman's"),
        ("another's", "is not a backup of keyman's"),
    ],
)
def test_what_is_no_backup_is_not_read(tmp_path: Path, what: str, said: str) -> None:
    path = tmp_path / "backup"
    content = {"empty": b"", "cut": a_backup(b"")[:51], "another's": b"x" * 99}
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what in content:
        path.write_bytes(content[what])
    with without_waiting(), pytest.raises(StoreFailed, match=said):
        backup_file.read(path, Secret(PASSPHRASE))
