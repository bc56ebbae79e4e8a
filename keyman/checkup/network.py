"""Questions about answering over the network: is anybody let in, and is the certificate good?"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from cryptography import x509

from keyman import errors
from keyman.checkup.finding import Finding
from keyman.config import Settings, TlsFiles
from keyman.config.places import look_at
from keyman.db.journal import Client
from keyman.serving.tls import context_of
from keyman.views import time_text

SOON = timedelta(days=14)  # what renews certificates by itself does so earlier than this
_ANEW = "put a new one there, then: keyman reload"


def of_network(settings: Settings, clients: Sequence[Client], now: datetime) -> Iterator[Finding]:
    """`clients` are all that were ever added."""
    at = settings.agent.listen
    if at is None:
        return
    if all(one.revoked_at for one in clients):
        yield Finding(
            "warning",
            "no_clients",
            "agent.listen is set, and no client has a token: nobody can ask there",
            "keyman client add NAME --allow CREDENTIAL, or take agent.listen out",
        )
    if at.tls is not None:
        yield from _of_certificate(at.tls, now)


def _of_certificate(files: TlsFiles, now: datetime) -> Iterator[Finding]:
    """Nothing is said of a key that can't be read anyway."""
    try:
        context_of(files)
        first = x509.load_pem_x509_certificates(files.cert.read_bytes())[0]
    except (errors.ConfigError, ValueError) as error:
        message = error.message if isinstance(error, errors.ConfigError) else "it can't be read"
        yield Finding("error", "tls_unusable", message, getattr(error, "hint", _ANEW))
        return
    yield from _of_its_days(files, first, now)
    found = look_at(files.key)
    if found and found.st_mode & (stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP):
        yield Finding(
            "warning",
            "tls_key_open",
            f"agent.tls: others on this machine may read or change {files.key}",
            f"chmod 600 {files.key}",
        )


def _of_its_days(
    files: TlsFiles, certificate: x509.Certificate, now: datetime
) -> Iterator[Finding]:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    said = f"agent.tls: the certificate {files.cert}"
    if now >= ends:
        yield Finding("error", "tls_expired", f"{said} expired at {time_text(ends)}", _ANEW)
    elif now < begins:
        yield Finding("error", "tls_not_yet", f"{said} begins at {time_text(begins)}", _ANEW)
    elif ends - now < SOON:
        yield Finding("warning", "tls_expires_soon", f"{said} ends at {time_text(ends)}", _ANEW)
