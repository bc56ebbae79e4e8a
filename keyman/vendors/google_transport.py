"""HTTP on the way to a Google token: the transport that google-auth's credentials are handed.

Asks only whom it was told to expect, each once, with timeouts of its own, and follows no redirect
and no proxy variable. An answer that is no success never gets back to google-auth, which would ask
twice more with pauses between, or make an error of it that can't be told from others: our error
goes through it instead. The token is noted here, because google-auth counts its life by a clock
of its own.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from keyman import errors
from keyman.clock import Clock
from keyman.vendors.google_addresses import is_local
from keyman.vendors.google_outcomes import NOTHING_TO_DO, Answer, Told, meaning, told
from keyman.vendors.google_refusals import Asked, Hop
from keyman.vendors.network import Network

CONNECT_SECONDS, READ_SECONDS = 5.0, 10.0
METADATA_CONNECT_SECONDS = 2.0  # it is on this machine or nowhere, and there packets may be lost
BODY_BYTES = 262_144
_FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, RuntimeError, ValueError, OSError)
_UNSENDABLE = (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)


class Wire:
    """The network, used as the configuration wants it."""

    def __init__(self, network: Network, clock: Clock) -> None:
        self._network, self._clock = network, clock

    def ask(
        self, asked: Asked, url: str, method: str, body: Any, headers: Mapping[Any, Any] | None
    ) -> Answer:
        """Send one request. Raises RetryLater without an answer, Rejected if it can't be sent."""
        asked_at = self._clock.now()
        try:
            with (
                self._client(asked, url) as client,
                client.stream(method, url, content=body, headers=headers) as reply,
            ):
                told_headers = {name.lower(): value for name, value in reply.headers.items()}
                return Answer(reply.status_code, told_headers, _beginning(reply), asked_at)
        except _FAILURES as error:
            raise _no_answer(asked, error) from None

    def _client(self, asked: Asked, url: str) -> httpx2.Client:
        local = is_local(urlsplit(url))
        metadata = asked.hop is Hop.METADATA
        connect = METADATA_CONNECT_SECONDS if metadata else CONNECT_SECONDS
        return httpx2.Client(
            verify=self._trust(url),
            proxy=None if local else self._network.proxy,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(READ_SECONDS, connect=connect),
            headers={"accept-encoding": "identity"},
        )

    def _trust(self, url: str) -> ssl.SSLContext:
        if not url.startswith("https:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bundle = self._network.ca_bundle
        if bundle is None:
            return _trusted(None, None)
        try:
            return _trusted(str(bundle), Path(bundle).stat().st_mtime_ns)
        except OSError as error:  # ssl's own errors are such, too
            raise errors.Rejected(
                f"network.ca_bundle can't be used: {bundle} ({type(error).__name__})",
                hint="it must be a file of certificates (PEM)",
            ) from None


@lru_cache(maxsize=4)
def _trusted(bundle: str | None, _changed: int | None) -> ssl.SSLContext:
    """Whose certificates count: for all credentials of a process, since loading them costs most
    of a call and a megabyte.
    """
    if bundle is None:
        return httpx2.create_ssl_context(trust_env=False)
    return ssl.create_default_context(cafile=bundle)


class Transport:
    """One journey to a token, as google-auth calls it; `told` is the token it ended with."""

    def __init__(
        self, wire: Wire, routes: Mapping[str, Asked], subjects: Mapping[str, Asked] | None = None
    ) -> None:
        self._wire, self._routes = wire, routes
        self._subjects = subjects or {}
        self.told: Told | None = None

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[Any, Any] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Answer:
        """Ask, and answer google-auth only with a success. Raises Rejected, RetryLater."""
        asked = self._routes.get(url)
        if asked is None:
            return self._subject(url, method, body, headers)
        answer = self._success(asked, url, method, body, headers)
        outcome = told(asked, answer)
        if isinstance(outcome, errors.Error):
            raise outcome
        self.told = outcome
        return Answer(200, answer.headers, outcome.legible, answer.asked_at)

    def _subject(
        self, url: str, method: str, body: Any, headers: Mapping[Any, Any] | None
    ) -> Answer:
        """What the token of another cloud is made of; google-auth reads it as it is."""
        found = (self._subjects[each] for each in self._subjects if _below(url, each))
        asked = next(found, None)
        if asked is None:
            raise errors.Rejected(
                f"google-auth would ask {urlsplit(url).hostname}, which nobody configured",
                hint="please report this, with the version of google-auth",
            )
        return self._success(asked, url, method, body, headers)

    def _success(
        self, asked: Asked, url: str, method: str, body: Any, headers: Mapping[Any, Any] | None
    ) -> Answer:
        answer = self._wire.ask(asked, url, method, body, headers)
        if answer.status != 200:
            raise meaning(asked, answer)
        return answer


def _below(url: str, address: str) -> bool:
    return url == address or url.startswith(address.rstrip("/") + "/")


def _beginning(reply: httpx2.Response) -> bytes:
    body = b""
    for chunk in reply.iter_bytes():
        body += chunk
        if len(body) > BODY_BYTES:
            raise ValueError("an answer without end")
    return body


def _no_answer(asked: Asked, error: Exception) -> errors.ProviderFailed:
    if isinstance(error, _UNSENDABLE):
        return errors.Rejected(
            f"the question to {asked.hop} can't be sent ({type(error).__name__})",
            hint="compare `endpoints`, network.proxy and the credentials file with what is there",
        )
    why, hint = _why(error)
    return errors.RetryLater(f"no answer from {asked.hop}: {why}", hint=hint)


def _why(error: Exception) -> tuple[str, str]:
    """What came between, and the next move."""
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return (
            "its certificate is not trusted",
            "a captive portal, or a proxy that reads along? sign in, or set network.ca_bundle",
        )
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "its name can't be resolved (DNS)", f"is the network up? {NOTHING_TO_DO}"
    for kind, words in _WORDS.items():
        if isinstance(error, kind):
            return words, NOTHING_TO_DO
    return "the line broke", NOTHING_TO_DO


_WORDS: dict[type[Exception], str] = {
    httpx2.ProxyError: "the proxy refused to lead there",
    httpx2.ConnectTimeout: "nobody answers there",
    httpx2.ConnectError: "nobody answers there",
    httpx2.TimeoutException: "it did not answer in time",
    ValueError: "it makes no sense",
}


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
