"""JSON Web Tokens signed with RS256: made, taken apart, verified. Knows no vendor's claims."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from keyman.sandbox.server import Json


@dataclass(frozen=True)
class Parsed:
    """A token taken apart. Nothing in it is to be believed before `signed_by` says so."""

    head: Json
    claims: Json
    signed: bytes
    signature: bytes

    def signed_by(self, key: RSAPublicKey) -> bool:
        try:
            key.verify(self.signature, self.signed, padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True


def encode(claims: Json, key: RSAPrivateKey) -> str:
    """A signed token."""
    head = _base64(json.dumps({"alg": "RS256", "typ": "JWT"}).encode())
    signed = f"{head}.{_base64(json.dumps(claims).encode())}"
    return f"{signed}.{_base64(key.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"


def parse(token: str) -> Parsed:
    """Take a token apart; ValueError if it is none."""
    head, claims, signature = token.split(".")
    parts = [json.loads(_decoded(part)) for part in (head, claims)]
    if not all(isinstance(part, dict) for part in parts):
        raise ValueError("header and claims are objects")
    return Parsed(parts[0], parts[1], f"{head}.{claims}".encode(), _decoded(signature))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
