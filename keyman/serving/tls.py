"""The agent's certificate: from two files to what a server needs."""

from __future__ import annotations

import ssl
from pathlib import Path

from keyman.config import TlsFiles
from keyman.errors import ConfigError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # for TLS 1.2; those of 1.3 are all good
HINT = "agent.tls names two PEM files that the user who runs keyman can read; `keyman check`"


def context_of(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/1.1 only. Raises ConfigError for files that won't do."""
    for path in (files.cert, files.key):
        _look_into(path)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(CIPHERS)
    made.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    made.set_alpn_protocols(["http/1.1"])
    try:
        # Without the last argument an encrypted key would be asked for at the terminal.
        made.load_cert_chain(files.cert, files.key, password=str)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "reason", None) or "they can't be read as PEM"
        why = str(why).lower().replace("_", " ")
        said = f"agent.tls: {files.cert} and {files.key} are no certificate and its key: {why}"
        raise ConfigError(said, hint=HINT) from None
    return made


def _look_into(path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        said = f"agent.tls: {path} cannot be read: {error.strerror}"
        raise ConfigError(said, hint=HINT) from None
