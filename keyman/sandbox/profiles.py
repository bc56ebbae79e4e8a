"""Files as the OCI command line leaves them: a config with one profile, and its signing key."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from keyman.sandbox.signing import fingerprint_of


@dataclass(frozen=True)
class Profile:
    """What was written, and the public half for whoever is to let it in."""

    config: Path
    key_file: Path
    fingerprint: str
    public_key: bytes


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_private(path: Path, content: bytes | str) -> Path:
    """Write a file that only its owner may read; such files hold keys and tokens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    data = content.encode() if isinstance(content, str) else content
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    return path


def write_profile(folder: Path, name: str, tenancy: str, user: str, region: str) -> Profile:
    """A profile and its key in `folder`. Of a config that is already there the other profiles stay;
    one of this name was an earlier sandbox's, and goes.
    """
    key = new_key()
    fingerprint = fingerprint_of(key.public_key())
    key_file = write_private(folder.resolve() / f"{name.lower()}.pem", private_pem(key))
    config = folder.resolve() / "config"
    before = _without(name, config.read_text()) if config.exists() else ""
    lines = [
        f"[{name}]",
        f"user={user}",
        f"fingerprint={fingerprint}",
        f"tenancy={tenancy}",
        f"region={region}",
        f"key_file={key_file}",
    ]
    write_private(config, before + "\n".join([*lines, ""]))
    return Profile(config, key_file, fingerprint, public_pem(key.public_key()))


def _without(name: str, text: str) -> str:
    """The config's text without that profile."""
    sections = re.split(r"(?m)^(?=\[)", text)
    return "".join(one for one in sections if not one.startswith(f"[{name}]"))
