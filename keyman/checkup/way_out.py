"""Questions about the way to the providers: does the proxy lead there, is the CA bundle of use?"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from keyman.checkup.finding import Finding
from keyman.config import NetworkSettings, Settings, StaticOptions
from keyman.config.values import loopback

SECONDS = 5.0
LONGEST_ANSWER = 4096
VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY")


def of_the_way_out(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Asks the proxy to lead to the first host that a credential needs; opens nothing there."""
    network = settings.network
    if network.ca_bundle is not None:
        yield from _of_bundle(network.ca_bundle, now)
    if network.proxy is not None:
        yield from _of_proxy(network.proxy, next(_hosts(settings), None))


def of_proxy_variables(
    network: NetworkSettings, environ: Mapping[str, str] = os.environ
) -> Iterator[Finding]:
    """Worth a word where somebody can't be reached: other programs follow these."""
    named = next((name for name in VARIABLES if environ.get(name)), None)
    if network.proxy is None and named:
        yield Finding(
            "info",
            "proxy_ignored",
            f"{named} is set, and keyman follows no proxy variable",
            "if the way out is through that proxy, say so in network.proxy",
        )


def _of_bundle(bundle: Path, now: datetime) -> Iterator[Finding]:
    said = f"network.ca_bundle: {bundle}"
    hint = "a PEM file with the authorities to trust, readable by whoever runs keyman"
    try:
        ssl.create_default_context(cafile=bundle)
        authorities = x509.load_pem_x509_certificates(bundle.read_bytes())
    except (ssl.SSLError, ValueError):
        yield Finding("error", "ca_bundle_unusable", f"{said} holds no certificates", hint)
    except OSError as error:
        what = f"{said} can't be read: {error.strerror}"
        yield Finding("error", "ca_bundle_unusable", what, hint)
    else:
        if all(one.not_valid_after_utc <= now for one in authorities):
            what = f"{said} holds no certificate that is still valid"
            yield Finding("error", "ca_bundle_expired", what, "put the authorities of today there")


def _hosts(settings: Settings) -> Iterator[tuple[str, int]]:
    """Where credentials are used, beyond this machine."""
    for one in settings.credentials.values():
        address = urlsplit(one.options.base_url or "")
        # A static one may have an address that keyman itself never asks.
        asked = not isinstance(one.options, StaticOptions) or one.options.verify_get is not None
        host = address.hostname if asked and address.scheme == "https" else None
        if host and not loopback(host):
            yield host, address.port or 443


def _of_proxy(proxy: str, host: tuple[str, int] | None) -> Iterator[Finding]:
    at = urlsplit(proxy)
    address = (at.hostname or "", at.port or (443 if at.scheme == "https" else 80))
    hint = "correct network.proxy, or start it; null goes without one"
    try:
        with socket.create_connection(address, SECONDS) as line:
            answer = _led(line, host) if host and at.scheme == "http" else None
    except OSError as error:
        why = error.strerror or "it took too long"
        what = f"network.proxy: nobody answers at {proxy}: {why}"
        yield Finding("error", "proxy_unreachable", what, hint)
        return
    if host and answer is not None and answer != "200":
        what = f"network.proxy: {proxy} answers {answer} when asked to lead to {host[0]}"
        if answer == "407":
            hint = "it wants a password, and keyman gives none: let it in by its address instead"
        yield Finding("error", "proxy_refuses", what, hint)


def _led(line: socket.socket, host: tuple[str, int]) -> str:
    """The status with which a proxy answers to CONNECT; `no HTTP` from somebody else."""
    name = f"{host[0]}:{host[1]}"
    line.settimeout(SECONDS)
    line.sendall(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    said = line.recv(LONGEST_ANSWER).split(b"\r\n")[0].split(b" ")
    if len(said) < 2 or not said[0].startswith(b"HTTP/") or not said[1].isdigit():
        return "no HTTP"
    return said[1][:3].decode()


def unreached(found: Iterable[Finding]) -> bool:
    """Whether somebody could not be reached."""
    return any(one.code in ("provider_failed", "no_verdict", "unreachable") for one in found)
