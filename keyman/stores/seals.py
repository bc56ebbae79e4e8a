"""Seals of the sealed file: AES-256-GCM over a random nonce, bound to what is sealed and by whom.

Knows bytes only: no file, no database, no name of a place.
"""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT = 1
KEY_BYTES = 32

_NONCE_BYTES, _TAG_BYTES = 12, 16


def fresh_key() -> bytes:
    return AESGCM.generate_key(KEY_BYTES * 8)


def seal(key: bytes, plain: bytes, *bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, _binding(key, *bound))


def unseal(key: bytes, sealed: object, *bound: bytes) -> bytes:
    """What was sealed; InvalidTag if it is not exactly that, bound to exactly this."""
    if not isinstance(sealed, bytes) or len(sealed) < _NONCE_BYTES + _TAG_BYTES:
        raise InvalidTag
    nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    return AESGCM(key).decrypt(nonce, rest, _binding(key, *bound))


def _binding(key: bytes, *bound: bytes) -> bytes:
    """Each field behind its length, so that no two lists of fields look the same."""
    fields = (b"keyman sealed file", str(FORMAT).encode(), key_id(key), *bound)
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def key_id(key: bytes) -> bytes:
    """Names a key without telling anything of it; tells a wrong key from a damaged file."""
    return hmac.digest(key, b"keyman key id", "sha256")[:16]
