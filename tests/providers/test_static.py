"""Secrets that come by hand: what a probe proves, and what is refused with the way to go."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from keyman import errors
from keyman.clock import SystemClock
from keyman.config import StaticOptions
from keyman.core.model import KeySeen, Place, Secret, Spec, Stage, Verdict, Version
from keyman.providers import open_provider
from keyman.providers.protocol import Lookup, Provider
from keyman.sandbox.openai import OpenAISandbox
from keyman.sandbox.server import Reply, Request, Service
from keyman.vendors.static_probe import Probe, meaning

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SPEC = Spec("partner", "static", observes=False, claims=False, issues=False, revokes=False)
WISH = Version(1, Stage.REQUESTED, "attempt", NOW, None)
PLACE = Place("somewhere", None)


@dataclass(frozen=True)
class Network:
    proxy: str | None = None
    ca_bundle: str | None = None


class Stranger(Service):
    """Answers everything alike and keeps what it was sent."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(lambda: datetime.now(UTC))
        self.reply, self.requests = Reply(status, b"{}", headers or {}), list[Request]()

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.reply


def static(base_url: str | None = None, get: str | None = None, **network: Any) -> Provider:
    options = StaticOptions(base_url, None, get)
    return open_provider("static", SPEC, options, network=Network(**network), clock=SystemClock())


@pytest.fixture(scope="module")
def sandbox() -> Iterator[OpenAISandbox]:
    made = OpenAISandbox(seed=1)
    with made.serve():
        yield made


@pytest.fixture
def key(sandbox: OpenAISandbox) -> Secret:
    account = sandbox.dashboard.create_account("apps")["id"]
    return Secret(sandbox.dashboard.create_key(account, "by hand")["value"])


def test_a_secret_is_tried_where_the_configuration_says(
    sandbox: OpenAISandbox, key: Secret
) -> None:
    provider = static(sandbox.base_url, "/models")
    assert provider.verify(key) is Verdict.ACCEPTED
    assert provider.verify(Secret("sk-nobody-ever-issued-this")) is Verdict.REFUSED
    assert static(sandbox.base_url, "/no-such-page").verify(key) is Verdict.SILENT


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.ACCEPTED),
        (204, Verdict.ACCEPTED),
        (429, Verdict.ACCEPTED),
        (401, Verdict.REFUSED),
        (403, Verdict.FORBIDDEN),
        (301, Verdict.SILENT),
        (400, Verdict.SILENT),
        (404, Verdict.SILENT),
        (500, Verdict.SILENT),
        (503, Verdict.SILENT),
        (511, Verdict.SILENT),
    ],
)
def test_what_each_status_means(status: int, verdict: Verdict) -> None:
    assert meaning(status) is verdict


@pytest.mark.parametrize(
    ("status", "kind", "verdict"),
    [
        (200, "text/html", Verdict.SILENT),
        (203, "Text/HTML; charset=utf-8", Verdict.SILENT),
        (200, "application/xhtml+xml", Verdict.SILENT),
        (429, "text/html", Verdict.SILENT),
        (200, "application/json", Verdict.ACCEPTED),
        (200, "text/plain", Verdict.ACCEPTED),
        (401, "text/html", Verdict.REFUSED),
        (403, "text/html", Verdict.FORBIDDEN),
    ],
)
def test_a_page_that_anybody_is_shown_accepts_nothing(
    status: int, kind: str, verdict: Verdict
) -> None:
    with Stranger(status, {"content-type": kind}).serve() as url:
        assert static(url, "/models").verify(Secret("x")) is verdict


def test_the_question_is_a_get_with_the_secret_in_its_header_alone() -> None:
    server = Stranger(200)
    with server.serve() as url:
        assert static(f"{url}/v1/", "/models?limit=1").verify(Secret("canary")) is Verdict.ACCEPTED
    [asked] = server.requests
    assert (asked.method, asked.path, asked.body) == ("GET", "/v1/models", b"")
    assert asked.headers["authorization"] == "Bearer canary"
    assert "canary" not in str(asked.query)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_secret_follows_no_redirect(status: int) -> None:
    elsewhere = Stranger(200)
    with elsewhere.serve() as there:
        door = Stranger(status, {"location": f"{there}/models"})
        with door.serve() as url:
            assert static(url, "/models").verify(Secret("canary")) is Verdict.SILENT
    assert not elsewhere.requests


def test_only_the_configured_proxy_is_used(
    sandbox: OpenAISandbox, key: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert static(sandbox.base_url, "/models").verify(key) is Verdict.ACCEPTED
    behind = static(sandbox.base_url, "/models", proxy="http://127.0.0.1:9")
    assert behind.verify(key) is Verdict.SILENT


@pytest.mark.parametrize("odd", ["", " ", "ö", "a\nb: c", "x" * 1_000_000])
def test_an_impossible_secret_is_never_accepted(sandbox: OpenAISandbox, odd: str) -> None:
    verdict = static(sandbox.base_url, "/models").verify(Secret(odd))
    assert verdict in (Verdict.REFUSED, Verdict.SILENT)


@pytest.mark.parametrize("bundle", ["/no/such/file", "/dev/null"])
def test_a_ca_bundle_that_can_not_be_used_proves_nothing(bundle: str) -> None:
    probe = Probe("https://127.0.0.1:9/models", Network(ca_bundle=bundle))
    assert probe.verdict(Secret("x")) is Verdict.SILENT


def test_nobody_there_proves_nothing() -> None:
    assert static("http://127.0.0.1:9", "/models").verify(Secret("x")) is Verdict.SILENT


class Talker(BaseHTTPRequestHandler):
    """Talks for as long as anybody listens."""

    sent = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            for _ in range(2000):
                Talker.sent += self.wfile.write(b" " * 65_536)

    def log_message(self, *_: object) -> None:
        """Not to standard error."""


def test_an_endless_answer_is_not_listened_to() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Talker) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert static(address, "/models").verify(Secret("x")) is Verdict.ACCEPTED
        server.shutdown()
    assert Talker.sent < 20_000_000


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    """However often a byte of it arrives; and what comes after that counts no more."""

    def drip(door: socket.socket) -> None:
        with door, suppress(OSError), door.accept()[0] as line:
            line.sendall(b"HTTP/1.1 200 OK\r\n")
            for _ in range(40):
                line.sendall(b"x: y\r\n")
                time.sleep(0.05)
            line.sendall(b"content-length: 0\r\n\r\n")

    door = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=drip, args=(door,), daemon=True).start()
    address = f"http://127.0.0.1:{door.getsockname()[1]}/models"
    assert Probe(address, Network(), deadline=0.3).verdict(Secret("x")) is Verdict.SILENT


def test_without_an_address_there_is_no_verdict() -> None:
    assert static("https://partner.example/v1").verify(Secret("x")) is Verdict.SILENT


def test_what_applications_are_told() -> None:
    told = static("https://partner.example/v1").lookup()
    assert told == Lookup("https://partner.example/v1", None, None)
    assert static().lookup() == Lookup()


def test_there_is_nothing_to_look_at() -> None:
    assert static().observe(("a",), NOW, ("a",)) is None


@pytest.mark.parametrize(
    "verb",
    [
        lambda provider: provider.issue(WISH, None),
        lambda provider: provider.create(WISH, NOW),
        lambda provider: provider.claim(KeySeen("a", "ACTIVE", ()), "me", 1),
        lambda provider: provider.activate(PLACE, None),
        lambda provider: provider.retire(PLACE, None),
        lambda provider: provider.revoke(PLACE, None),
    ],
    ids=["issue", "create", "claim", "activate", "retire", "revoke"],
)
def test_what_only_a_person_can_do_is_refused(verb: Callable[[Provider], object]) -> None:
    with pytest.raises(
        errors.Rejected, match="partner is static: its secret comes by hand"
    ) as said:
        verb(static())
    assert said.value.hint.endswith("keyman put partner")
