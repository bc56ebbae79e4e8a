"""The agent over TCP: where a URL leads, the token that goes along, and TLS.

Every lookup is one round trip: what is shared on one machine, the generation page, is not there
for others. Imported only where KEYMAN_URL is set, and `ssl` only for https.
"""

from __future__ import annotations

import _socket
import os
from time import monotonic

from keyman.errors import ConfigError, NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssl import SSLContext
    from typing import Any

PORTS = {"http": 80, "https": 443}
SHAPE = "KEYMAN_URL is not the address of an agent"
HINT = "e.g. https://keys.example.com:8425, without a path"
LONGEST_TOKEN = 4096  # bytes


class Door:
    """Where a URL leads."""

    __slots__ = ("authority", "host", "port", "scheme")

    def __init__(self, scheme: str, host: str, port: int, authority: str) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.authority = authority


def door(url: str) -> Door:
    """The parts of a URL. Raises ConfigError for what leads nowhere."""
    scheme, _, rest = url.partition("://")
    authority = rest.removesuffix("/").lower()
    host, colon, digits = authority.rpartition(":")
    if not colon or digits.endswith("]"):
        host, digits = authority, str(PORTS.get(scheme, ""))
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(SHAPE, hint=HINT)
    shown = host.isascii() and host.isprintable() and not set(host) & set(' /?#@\\%[]"<>')
    port = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 6 else 0
    if scheme not in PORTS or not host or not shown or not 0 < port < 65536:
        raise ConfigError(SHAPE, hint=HINT)
    return Door(scheme, host, port, authority)


# Who we are.

_tokens: dict[str, str] = {}  # file → the token that was in it


def headers(url: str) -> dict[str, str]:
    """What every request carries. Raises ConfigError without a token."""
    return {"Host": door(url).authority, "Authorization": f"Bearer {_token()}"}


def forget_token() -> None:
    """It was refused: read the file again."""
    _tokens.clear()


def _token() -> str:
    given = os.environ.get("KEYMAN_TOKEN")
    if given:
        return _checked("KEYMAN_TOKEN", given)
    path = os.environ.get("KEYMAN_TOKEN_FILE")
    if not path:
        raise ConfigError(
            "KEYMAN_URL needs a token", hint="put the path of a file with it into KEYMAN_TOKEN_FILE"
        )
    if path not in _tokens:
        _tokens[path] = _checked(path, _read(path))
    return _tokens[path]


def _read(path: str) -> str:
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            return os.read(file, LONGEST_TOKEN).decode("ascii", "replace")
        finally:
            os.close(file)
    except OSError as error:
        raise ConfigError(
            f"the token can't be read from {path}: {error.strerror}",
            hint="KEYMAN_TOKEN_FILE names a file that this user may read",
        ) from None


def _checked(place: str, raw: str) -> str:
    token = raw.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{place} holds no token", hint="`keyman client add` shows one")
    return token


# The way there.


def connect(url: str, patience: float) -> _socket.socket:
    """A connection to the agent. Raises NotRunning, or ConfigError for a way that isn't safe."""
    way = door(url)
    end = monotonic() + patience
    plain = _connected(way, end)
    return _wrapped(plain, way, end) if way.scheme == "https" else plain


def _connected(way: Door, end: float) -> _socket.socket:
    last = None
    for family, kind, protocol, _, place in _resolved(way):
        connection = _socket.socket(family, kind, protocol)
        try:
            connection.settimeout(max(0.001, end - monotonic()))
            connection.connect(place)
            connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        except OSError as error:
            last = error.strerror or "no answer in time"
            connection.close()
        else:
            return connection
    raise NotRunning(f"nobody answers on {way.authority}: {last}")


def _resolved(way: Door) -> list[tuple[int, int, int, str, Any]]:
    """The addresses to try. A token never leaves this machine in the clear."""
    try:
        found = _socket.getaddrinfo(way.host, way.port, 0, _socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotRunning(f"no address is known of {way.host}") from None
    if way.scheme == "http" and not all(_loopback(str(place[0])) for *_, place in found):
        raise ConfigError(
            "KEYMAN_URL would send the token in the clear", hint="https:// beyond this machine"
        )
    return list(found)


def _loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _wrapped(plain: _socket.socket, way: Door, end: float) -> _socket.socket:
    import socket
    import ssl

    whole = socket.socket(plain.family, plain.type, plain.proto, fileno=plain.detach())
    try:
        context = _context(os.environ.get("KEYMAN_CA_BUNDLE") or None)
        whole.settimeout(max(0.001, end - monotonic()))
        return context.wrap_socket(whole, server_hostname=way.host)
    except ssl.SSLCertVerificationError as error:
        raise NotRunning(
            f"{way.authority} is not who it says it is: {error.verify_message}",
            hint="KEYMAN_CA_BUNDLE names the file of authorities to trust",
        ) from None
    except OSError as error:
        why = error.strerror or "it does not answer in time"
        raise NotRunning(f"no TLS with {way.authority}: {why}") from None
    finally:
        whole.close()


_contexts: dict[str | None, tuple[tuple[int, ...], SSLContext]] = {}  # by bundle, and as it was


def _context(bundle: str | None) -> SSLContext:
    """Made once, since reading the system's authorities takes longer than many lookups; and anew
    once somebody has replaced the bundle.
    """
    import ssl

    try:
        now = _identity(bundle) if bundle else ()
        before, context = _contexts.get(bundle, (None, None))
        if context is None or before != now:
            context = ssl.create_default_context(cafile=bundle)
            _contexts[bundle] = now, context
    except OSError as error:  # ssl.SSLError among them
        raise ConfigError(
            f"KEYMAN_CA_BUNDLE can't be used: {error.strerror}",
            hint="it names a file of PEM certificates",
        ) from None
    return context


def _identity(path: str) -> tuple[int, ...]:
    """Differs once somebody wrote the file or put another in its place."""
    found = os.stat(path)  # noqa: PTH116 pathlib would double the time of the import
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
