"""Where Google is asked: its own addresses, what the configuration puts in their place, and what
a credentials file may name.

Pure. A credentials file says where its key or token is to be sent. Whoever slips such a file in
would get what keyman sends there, so an address in a file counts only if it is Google's; another
one has to be in the configuration. Plain http never leaves the machine, but for metadata servers,
which are asked that way.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from keyman import errors

TOKEN = "https://oauth2.googleapis.com/token"  # noqa: S105 (an address)
EXCHANGE = "https://sts.googleapis.com/v1/token"
IAM = "https://iamcredentials.googleapis.com"
METADATA = "http://169.254.169.254"  # not by name: where nobody knows the name, DNS may take long
UNIVERSE = "googleapis.com"
# Where tokens were had before; such addresses are still in keys that were made then. Much else is
# had there too, so only with these paths.
_BEFORE = {
    "accounts.google.com": ("/o/oauth2/token",),
    "www.googleapis.com": ("/oauth2/v3/token", "/oauth2/v4/token"),
}
_SERVICES = {
    "token_uri": "oauth2",
    "token_url": "sts",
    "service_account_impersonation_url": "iamcredentials",
}
# Alone, before or after a region, for mutual TLS, or through a private endpoint, as Google's own
# libraries take them. No wider: whoever makes a bucket chooses the first part of a host below
# storage.googleapis.com, so what stands between must look like a region.
_HOST_OF = (
    r"(?:[a-z0-9-]+[.-])?%s"
    r"(?:\.[a-z]+-[a-z]+-?[0-9]+|\.[a-z0-9-]+\.rep|-[a-z0-9-]+(?:\.p)?)?(?:\.mtls)?\.googleapis\.com"
)
_METADATA_HOSTS = {"169.254.169.254", "fd20:ce::254", "metadata.google.internal"}
_UNIQUE_LOCAL = ipaddress.ip_network("fc00::/7")
_HOST = re.compile(r"[a-z0-9.-]+|[0-9a-f:]+")
_ACCOUNT = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+|[0-9]+")
_IMPERSONATED = re.compile(r"/serviceAccounts/([^/:]+):generateAccessToken$")


class Endpoints(Protocol):
    """`endpoints:` of a credential; each None for Google's own."""

    @property
    def token(self) -> str | None: ...
    @property
    def iam(self) -> str | None: ...
    @property
    def sts(self) -> str | None: ...
    @property
    def metadata(self) -> str | None: ...


def token_address(endpoints: Endpoints, given: object = None) -> str:
    """Where a key or a refresh token is turned into an access token. Raises Rejected, as do all."""
    if endpoints.token:
        return _configured("token", endpoints.token, "/token")
    return _googles("token_uri", given) if given else TOKEN


def exchange_address(endpoints: Endpoints, given: object = None) -> str:
    """Where a foreign token is turned into a Google one."""
    if endpoints.sts:
        return _configured("sts", endpoints.sts, "/v1/token")
    return _googles("token_url", given) if given else EXCHANGE


def impersonation_address(endpoints: Endpoints, account: str, given: object = None) -> str:
    """Where a token for another service account is asked for."""
    path = f"/v1/projects/-/serviceAccounts/{check_account(account)}:generateAccessToken"
    if endpoints.iam:
        return _configured("iam", endpoints.iam) + path
    return _googles("service_account_impersonation_url", given) if given else IAM + path


def metadata_address(endpoints: Endpoints) -> str:
    """Where the metadata server is; paths begin behind it."""
    return _configured("metadata", endpoints.metadata) if endpoints.metadata else METADATA


def check_subject_address(given: object) -> None:
    """Refuse an address of a subject token that would be asked in clear across a network.

    It is the address of another cloud or of the machine itself, so it may be anybody's.
    """
    parts = _split(given)
    if parts is None or (parts.scheme != "https" and not is_local(parts)):
        raise errors.Rejected(
            f"a subject token is not fetched from {_shown(given)}",
            hint="credential_source must name an https address, or http on this machine or link",
        )


def check_account(account: object) -> str:
    """Refuse what is no service account: its name becomes a part of the address that is called."""
    if not isinstance(account, str) or not _ACCOUNT.fullmatch(account):
        raise errors.Rejected(
            f"{str(account)[:80]!r} is no service account",
            hint="a target looks like name@project.iam.gserviceaccount.com",
        )
    return account


def account_in(address: object) -> str | None:
    """The service account that an address of IAM is about."""
    found = _IMPERSONATED.search(address) if isinstance(address, str) else None
    return found[1] if found else None


def is_local(parts: SplitResult) -> bool:
    """Is it this machine or this link? No proxy belongs between."""
    host = parts.hostname or ""
    if host == "localhost" or host in _METADATA_HOSTS:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local or address in _UNIQUE_LOCAL


def _googles(field: str, given: object) -> str:
    parts = _split(given)
    host = (parts.hostname or "") if parts else ""
    before = field == "token_uri" and parts and parts.path in _BEFORE.get(host, ())
    known = before or re.fullmatch(_HOST_OF % _SERVICES[field], host)
    if parts and known and parts.scheme == "https" and parts.port in (None, 443):
        return str(given)
    key = {"token_uri": "token", "token_url": "sts"}.get(field, "iam")
    raise errors.Rejected(
        f"the credentials file would have keyman ask {_shown(given)} ({field}), not Google",
        hint=f"where does the file come from? If that is meant, say so in `endpoints.{key}`",
    )


def _configured(key: str, given: str, path: str = "") -> str:
    """The address in `endpoints`; one without a path gets Google's."""
    parts = _split(given)
    if parts is None or parts.query or (parts.scheme != "https" and not _may_be_plain(key, parts)):
        raise errors.Rejected(
            f"endpoints.{key} can't be used: {_shown(given)}",
            hint="an https address; http only to this machine (for metadata, its own addresses)",
        )
    return given.rstrip("/") + ("" if parts.path.strip("/") else path)


def _may_be_plain(key: str, parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if key == "metadata" and host in _METADATA_HOSTS:
        return True
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(given: object) -> SplitResult | None:
    """The parts of an address that every library reads alike; None if there is any doubt."""
    if not isinstance(given, str) or not (given.isascii() and given.isprintable()):
        return None
    try:
        parts = urlsplit(given)
        fine = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        return None
    known = parts.scheme in ("http", "https") and _HOST.fullmatch(parts.hostname or "")
    odd = "@" in parts.netloc or parts.fragment
    return parts if fine and known and not odd else None


def _shown(given: object) -> str:
    """The host alone: other parts of an address may hold a secret."""
    parts = _split(given)
    return str(parts.hostname) if parts else "an address that can't be read"
