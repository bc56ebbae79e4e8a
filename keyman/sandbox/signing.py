"""Who signed this request? The check OCI makes of every control-plane call.

Knows the draft-cavage signature as OCI uses it: RSA with SHA-256 over a list of headers that must
include those OCI asks for, a date near the service's own clock, and a body that has the hash the
caller signed. It holds public keys only. Every refusal is a 401, whatever the reason, as at OCI;
the reason given here is for whoever debugs a test.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from keyman.sandbox.server import RefusedError, Request

MAX_SKEW_SECONDS = 300
EVERY_CALL = ("date", "(request-target)", "host")
CALLS_WITH_BODY = ("content-length", "content-type", "x-content-sha256")
_FIELD = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Principal:
    """Who is calling: a user, an instance, a pod. `name` is fit for logs."""

    tenancy: str
    name: str


@dataclass(frozen=True)
class Known:
    """A public key and whom it stands for; tokens end, keys of users don't."""

    key: RSAPublicKey
    principal: Principal
    expires: datetime | None = None


@dataclass(frozen=True)
class Signature:
    """The parts of an Authorization header."""

    key_id: str
    headers: tuple[str, ...]
    value: bytes


class Verifier:
    """The public keys a service knows, and the check against them."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self._known: dict[str, Known] = {}

    def register_user(self, tenancy: str, user: str, public_key_pem: str | bytes) -> str:
        """Let a user's API signing key in; returns its fingerprint, as the console shows it."""
        key = load_public(public_key_pem)
        fingerprint = fingerprint_of(key)
        self._known[f"{tenancy}/{user}/{fingerprint}"] = Known(key, Principal(tenancy, user))
        return fingerprint

    def register_token(
        self, token: str, key: RSAPublicKey, principal: Principal, expires: datetime
    ) -> None:
        """Let in whoever holds this token and signs with the session key it was issued for."""
        self._known[f"ST${token}"] = Known(key, principal, expires)

    def forget_tokens(self) -> None:
        """Make every token issued so far worthless, as if the service had lost faith in them."""
        self._known = {k: v for k, v in self._known.items() if not k.startswith("ST$")}

    def verify(self, request: Request) -> Principal:
        """The caller, or a 401."""
        signature = parse(request.headers.get("authorization", ""))
        known = self._known.get(signature.key_id)
        if known is None:
            raise denied("unknown keyId")
        if known.expires is not None and self.now() >= known.expires:
            raise denied("the token has expired")
        check(request, signature, known.key, self.now(), EVERY_CALL)
        return known.principal


def denied(reason: str) -> RefusedError:
    """The 401 of the control plane."""
    text = "The required information to complete authentication was not provided or was incorrect."
    return RefusedError(401, "NotAuthenticated", text, {"x-sandbox-reason": reason})


def parse(header: str) -> Signature:
    """Take an Authorization header apart."""
    scheme, _, rest = header.partition(" ")
    given = dict(_FIELD.findall(rest))
    if scheme.lower() != "signature" or not {"keyId", "headers", "signature"} <= given.keys():
        raise denied("no signature")
    if given.get("algorithm") != "rsa-sha256" or given.get("version") != "1":
        raise denied("unknown algorithm or version")
    try:
        value = base64.b64decode(given["signature"], validate=True)
    except binascii.Error as error:
        raise denied("the signature is not base64") from error
    return Signature(given["keyId"], tuple(given["headers"].lower().split()), value)


def check(
    request: Request,
    signature: Signature,
    key: RSAPublicKey,
    now: datetime,
    required: tuple[str, ...],
) -> None:
    """Raise a 401 unless this request carries a fresh and complete signature made with this key."""
    wants_body = request.method in {"POST", "PUT", "PATCH"}
    missing = {*required, *(CALLS_WITH_BODY if wants_body else ())} - set(signature.headers)
    if missing:
        raise denied(f"not signed: {', '.join(sorted(missing))}")
    _check_date(request, now)
    if wants_body:
        _check_body(request)
    try:
        key.verify(signature.value, _signed_text(request, signature), padding.PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise denied("the signature does not match") from error


def _check_date(request: Request, now: datetime) -> None:
    try:
        date = parsedate_to_datetime(request.headers.get("date", ""))
    except ValueError as error:
        raise denied("no readable date") from error
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    if abs((now - date).total_seconds()) > MAX_SKEW_SECONDS:
        raise denied("the date is too far from this service's clock")


def _check_body(request: Request) -> None:
    digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
    if request.headers.get("x-content-sha256") != digest:
        raise denied("x-content-sha256 is not the hash of the body")


def _signed_text(request: Request, signature: Signature) -> bytes:
    lines = []
    for name in signature.headers:
        if name == "(request-target)":
            value = f"{request.method.lower()} {request.target}"
        elif name in request.headers:
            value = request.headers[name]
        else:
            raise denied(f"signed but not sent: {name}")
        lines.append(f"{name}: {value}")
    return "\n".join(lines).encode()


def load_public(pem: str | bytes) -> RSAPublicKey:
    """An RSA public key from PEM; OCI knows no other kind."""
    key = load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
    if not isinstance(key, RSAPublicKey):
        raise TypeError("OCI signs with RSA keys only")
    return key


def fingerprint_of(key: RSAPublicKey) -> str:
    """MD5 over the key's DER form, because that is how OCI names signing keys."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.md5(der, usedforsecurity=False).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
