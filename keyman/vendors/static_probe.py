"""Is a secret that somebody brought accepted where it belongs? One GET, judged by its status.

Nothing is known of the other side but an address that a good secret may read. The body is not
looked at, no redirect is followed, and proxy and certificates are those of the configuration. A
web page is no answer: whoever shows one (a captive portal, a page to sign in) shows it to anybody.
"""

from __future__ import annotations

import ssl

import httpx2

from keyman.core.model import Secret, Verdict
from keyman.vendors.deadline import within
from keyman.vendors.network import Network

CONNECT_SECONDS, READ_SECONDS = 5.0, 10.0
DEADLINE_SECONDS = 30.0  # for the whole: the read timeout counts anew with every packet


class Probe:
    """Probes secrets against one address."""

    def __init__(self, url: str, network: Network, *, deadline: float = DEADLINE_SECONDS) -> None:
        self._url, self._network, self._deadline = url, network, deadline

    def verdict(self, secret: Secret) -> Verdict:
        """What the address says of the secret; SILENT for anything that proves nothing."""
        said = within(self._deadline, lambda: self._ask(secret))
        return meaning(*said) if said else Verdict.SILENT

    def _ask(self, secret: Secret) -> tuple[int, str] | None:
        """The status, and what kind of a body comes with it."""
        headers = {"authorization": f"Bearer {secret.reveal()}", "accept-encoding": "identity"}
        try:
            with self._client() as client, client.stream("GET", self._url, headers=headers) as said:
                return said.status_code, said.headers.get("content-type", "")
        except (httpx2.HTTPError, httpx2.InvalidURL, RuntimeError, ValueError, OSError):
            return None

    def _client(self) -> httpx2.Client:
        return httpx2.Client(
            verify=self._trusted(),
            proxy=self._network.proxy,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        )

    def _trusted(self) -> ssl.SSLContext:
        """Whose certificates count. Loading them takes long, so not for plain http."""
        if not self._url.startswith("https:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if bundle := self._network.ca_bundle:
            return ssl.create_default_context(cafile=bundle)
        return httpx2.create_ssl_context(trust_env=False)


def meaning(status: int, content_type: str = "") -> Verdict:
    """The verdict of a status.

    Who is throttled (429) was recognised: an address that a good secret may read counts by secret.
    """
    if status == 401:
        return Verdict.REFUSED
    if status == 403:
        return Verdict.FORBIDDEN
    known = 200 <= status < 300 or status == 429
    return Verdict.ACCEPTED if known and not _is_page(content_type) else Verdict.SILENT


def _is_page(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")
