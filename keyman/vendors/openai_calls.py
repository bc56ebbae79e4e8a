"""One HTTP call to OpenAI, sent once: its answer, or what is known of one that never came.

Each call has a connection of its own: one kept open is closed by the other side at moments of its
choosing, and a key asked for just then would be neither made nor not made. No retry, no redirect,
proxy and certificates only as configured, and a deadline for the whole. The secret that signs the
call is in its header and nowhere else: nothing that is raised or returned here carries it.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from keyman.core.model import Secret
from keyman.vendors.deadline import within
from keyman.vendors.network import Network
from keyman.vendors.openai_outcomes import Answer

CONNECT_SECONDS, READ_SECONDS = 5.0, 15.0
DEADLINE_SECONDS = 30.0  # for a whole call: the read timeout counts anew with every packet
BODY_BYTES = 4 * 1024 * 1024
_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
)


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer: why, and whether the call may have arrived; `ours` if it could not be sent."""

    why: str
    sent: bool = True
    ours: bool = False


class Line:
    """The way to one base URL."""

    def __init__(
        self, base_url: str, network: Network, *, deadline: float = DEADLINE_SECONDS
    ) -> None:
        self._base, self._network, self._deadline = base_url.rstrip("/"), network, deadline
        self._trust: ssl.SSLContext | None = None

    def send(
        self,
        method: str,
        path: str,
        key: Secret,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer | Lost:
        """Send one call. Never raises for what the other side or the network does."""
        if not usable(key):
            return Lost("the key has characters that no header carries", sent=False, ours=True)
        try:
            client = self._client()
        except (OSError, ValueError, httpx2.InvalidURL) as error:
            why = f"the line can't be set up ({type(error).__name__})"
            return Lost(why, sent=False, ours=True)
        with client:
            request = (client, method, path, key, query, body)
            seen = within(self._deadline, lambda: self._exchange(*request))
        return seen or Lost("it took too long")

    def _exchange(
        self,
        client: httpx2.Client,
        method: str,
        path: str,
        key: Secret,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> Answer | Lost:
        headers = {"authorization": f"Bearer {key.reveal()}", "accept-encoding": "identity"}
        address = self._base + path
        try:
            with client.stream(
                method, address, params=query, json=body and dict(body), headers=headers
            ) as reply:
                return Answer(reply.status_code, _plain(reply.headers), _decoded(reply))
        except _NEVER_SENT as error:
            return Lost(_words(error), sent=False)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            return Lost("`base_url` is no address", sent=False, ours=True)
        except (httpx2.HTTPError, RuntimeError, ValueError, OSError) as error:
            return Lost(_words(error))

    def _client(self) -> httpx2.Client:
        self._trust = self._trust or self._trusted()
        return httpx2.Client(
            verify=self._trust,
            proxy=self._network.proxy,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        )

    def _trusted(self) -> ssl.SSLContext:
        """Whose certificates count. Loading them takes long, so it is done once, or not at all."""
        if not self._base.startswith("https:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if bundle := self._network.ca_bundle:
            return ssl.create_default_context(cafile=bundle)
        return httpx2.create_ssl_context(trust_env=False)


def usable(key: Secret) -> bool:
    """Can it be sent in a header at all? (A newline at the end is the usual slip.)"""
    text = key.reveal()
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _plain(headers: httpx2.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _decoded(reply: httpx2.Response) -> Any:
    """The JSON of the body; None for anything else, and for what is too long to be an answer."""
    body = b""
    for chunk in reply.iter_bytes():
        body += chunk
        if len(body) > BODY_BYTES:
            return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _words(error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is not trusted"
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return "nobody answers there"
    if isinstance(error, httpx2.ProxyError):
        return "the proxy refuses"
    if isinstance(error, httpx2.TimeoutException):
        return "it did not answer in time"
    return "the line broke"
