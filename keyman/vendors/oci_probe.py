"""Is this secret accepted? Asked of OCI's inference endpoint as cheaply as it can be.

There is no list of models to ask for. A chat request that is no request (`{}`) costs nothing, and
tells a known secret (400) from an unknown one (401), but only where the service looks at the
secret before the request, which nobody promises. So each form of the question is first put with a
made-up secret: a form that such a secret survives teaches nothing, and the next is tried, down to
a paid request for a single token. Never more than a form needs, and never a guess.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keyman.clock import Clock, new_id
from keyman.core.model import Secret, Verdict
from keyman.vendors.deadline import within
from keyman.vendors.network import Network

if TYPE_CHECKING:
    import httpx2  # when it is first needed: a `get` without a daemon asks nobody

CONNECT_SECONDS, READ_SECONDS, DEADLINE_SECONDS = 5.0, 10.0, 30.0
BODY_BYTES = 16_384
CALIBRATION_SECONDS = 900.0  # so that every rotation learns anew which form is telling
NO_PERMISSION = ("notauthorized", "authorization failed")


@dataclass(frozen=True, slots=True)
class Seen:
    """What one request was answered: the status (None: no answer, and why) and the words, if it is
    JSON.
    """

    status: int | None
    said: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Calibrated:
    """The form that is telling, since when that is known, and the status a good secret gets."""

    body: Mapping[str, Any]
    at: float
    usual: int | None = None


class Probe:
    """Probes secrets against one base URL; remembers which form of the question is telling."""

    def __init__(self, base_url: str, model: str | None, network: Network, clock: Clock) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        paid = {"messages": [{"role": "user", "content": "ping"}], "max_tokens": 1}
        self._forms: list[dict[str, Any]] = [{}] + ([{"model": model, **paid}] if model else [])
        self._network, self._clock = network, clock
        self._calibrated: _Calibrated | None = None
        self._trust: ssl.SSLContext | None = None

    def verdict(self, secret: Secret) -> Verdict:
        """What the endpoint says of the secret; SILENT for anything that proves nothing."""
        client = self._client()
        if isinstance(client, Seen):
            return Verdict.SILENT
        with client:
            known = self._known()
            if known is None:
                return self._calibrate(client, secret)
            seen = self._ask(client, known.body, secret)
            if seen.status not in (401, known.usual):
                # An answer of a new kind: the endpoint may have changed what it looks at first.
                return self._calibrate(client, secret)
            return meaning(seen)

    def to_a_stranger(self) -> Seen:
        """What somebody with a made-up secret is answered. Where inference is, that is a 401, or a
        complaint about the request from an endpoint that looks at that first.
        """
        client = self._client()
        if isinstance(client, Seen):
            return client
        with client:
            return self._ask(client, {}, _made_up(Secret("")))

    def _known(self) -> _Calibrated | None:
        known = self._calibrated
        old = known and self._clock.monotonic() - known.at >= CALIBRATION_SECONDS
        return None if old else known

    def _calibrate(self, client: httpx2.Client, secret: Secret) -> Verdict:
        self._calibrated = None
        for body in self._forms:
            if self._ask(client, body, _made_up(secret)).status != 401:
                continue
            seen = self._ask(client, body, secret)
            verdict = meaning(seen)
            if verdict is not Verdict.SILENT:
                usual = seen.status if verdict is Verdict.ACCEPTED else None
                self._calibrated = _Calibrated(body, self._clock.monotonic(), usual)
            return verdict
        return Verdict.SILENT

    def _ask(self, client: httpx2.Client, body: Mapping[str, Any], secret: Secret) -> Seen:
        seen = within(DEADLINE_SECONDS, lambda: self._post(client, body, secret))
        return seen or Seen(None, why="it took too long")

    def _post(self, client: httpx2.Client, body: Mapping[str, Any], secret: Secret) -> Seen:
        import httpx2

        headers = {"authorization": f"Bearer {secret.reveal()}", "accept-encoding": "identity"}
        try:
            with client.stream("POST", self._url, json=dict(body), headers=headers) as reply:
                return Seen(reply.status_code, _words(_beginning(reply)))
        except (httpx2.HTTPError, httpx2.InvalidURL, RuntimeError, ValueError, OSError) as error:
            return Seen(None, why=_why(error))

    def _client(self) -> httpx2.Client | Seen:
        """None can be had where proxy or CA bundle are of no use."""
        try:
            return self._made_client()
        except (OSError, ValueError) as error:
            return Seen(None, why=f"the line can't be set up ({type(error).__name__})")

    def _made_client(self) -> httpx2.Client:
        import httpx2

        # A client for each verdict: a connection of its own is more likely to meet another of
        # the service's nodes, and none is left open.
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
        if not self._url.startswith("https:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if bundle := self._network.ca_bundle:
            return ssl.create_default_context(cafile=bundle)
        import httpx2

        return httpx2.create_ssl_context(trust_env=False)


def meaning(seen: Seen) -> Verdict:
    """The verdict, for a form of question that a made-up secret is answered 401."""
    status, said = seen.status, seen.said
    if status is None:
        return Verdict.SILENT
    if status == 401:
        return Verdict.REFUSED
    if status == 403 or (status == 404 and any(sign in (said or "") for sign in NO_PERMISSION)):
        return Verdict.FORBIDDEN
    # Known, but the request or the model is not. A page that is no JSON comes from somebody in
    # between; and who is throttled (429) has not been looked at yet.
    known = 200 <= status < 300 or (status in (400, 404, 422) and said is not None)
    return Verdict.ACCEPTED if known else Verdict.SILENT


def _why(error: Exception) -> str:
    import httpx2

    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is not trusted"
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return "nobody answers there"
    if isinstance(error, httpx2.ProxyError):
        return "the proxy does not lead there"
    if isinstance(error, httpx2.TimeoutException):
        return "it did not answer in time"
    return "the line broke"


def _beginning(reply: httpx2.Response) -> bytes:
    body = b""
    for chunk in reply.iter_bytes():
        body += chunk
        if len(body) >= BODY_BYTES:
            break
    return body[:BODY_BYTES]


def _words(body: bytes) -> str | None:
    try:
        return json.dumps(json.loads(body)).lower()
    except ValueError:
        return None


def _made_up(secret: Secret) -> Secret:
    """A secret of the same shape that nobody ever issued."""
    length = max(len(secret.reveal()) - 3, 32)
    letters = "".join(new_id() for _ in range(length // 32 + 1))
    return Secret(f"sk-{letters[:length]}")
