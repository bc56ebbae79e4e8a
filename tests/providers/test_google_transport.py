"""The way to Google: timeouts, redirects, proxies, certificates, and what the environment says."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from keyman import errors
from keyman.clock import SystemClock
from keyman.sandbox.profiles import new_key, private_pem
from keyman.sandbox.server import Reply, Request, Service
from keyman.vendors import google_transport
from keyman.vendors.google import Tokens
from keyman.vendors.google_refusals import Asked, Hop
from keyman.vendors.google_transport import Transport, Wire
from tests.providers.google_world import HOPS, Endpoints, Network, World

GOOGLES_HOSTS = (
    "oauth2.googleapis.com",
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
)
REAL = Endpoints()
ASKED = Asked(Hop.TOKEN, "service-account")


class Elsewhere(Service):
    """Answers everything in one way, and remembers who asked."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(lambda: datetime.now(UTC))
        self.reply, self.seen = reply, list[Request]()

    def answer(self, request: Request) -> Reply:
        self.seen.append(request)
        return self.reply


class Tunnel:
    """A proxy that leads whoever says CONNECT to one place, and notes where he meant to go."""

    def __init__(self, port: int) -> None:
        self._port, self.meant = port, list[str]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._led: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self._led.append(threading.Thread(target=self._lead, args=(client,)))
                self._led[-1].start()

    def _lead(self, client: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked and (part := client.recv(4096)):
            asked += part
        self.meant.append(asked.split(b" ")[1].decode())
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with client, socket.create_connection(("127.0.0.1", self._port)) as there:
            back = threading.Thread(target=_pour, args=(there, client))
            back.start()
            _pour(client, there)
            back.join()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for each in self._led:
            each.join()


def _pour(source: socket.socket, drain: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            drain.sendall(part)
    for end in (source, drain):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for Google's hosts that nobody else trusts, and its key."""
    key, now = new_key(), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "not Google")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in GOOGLES_HOSTS]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    bundle, key_file = folder / "bundle.pem", folder / "key.pem"
    bundle.write_bytes(made.public_bytes(Encoding.PEM))
    key_file.write_bytes(private_pem(key))
    return bundle, key_file


@contextmanager
def behind_tls(google: World, folder: Path) -> Iterator[tuple[Tunnel, Path]]:
    """The sandbox at Google's own addresses: a proxy that leads there, and whom to trust then."""
    bundle, key_file = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, key_file)
    google.sandbox.stop()
    google.sandbox.tls = context
    google.sandbox.start(0)
    tunnel = Tunnel(int(google.sandbox.url.rpartition(":")[2]))
    try:
        yield tunnel, bundle
    finally:
        tunnel.close()


@pytest.fixture(autouse=True)
def _no_trust_is_kept() -> None:
    google_transport._trusted.cache_clear()


# Where questions go.


@pytest.mark.parametrize(
    ("kind", "meant"),
    [
        ("service-account", ["oauth2"]),
        ("authorized-user", ["oauth2"]),
        ("external-account", ["sts", "iamcredentials"]),
        ("impersonate", ["oauth2", "iamcredentials"]),
    ],
)
def test_googles_own_addresses_are_asked_through_the_configured_proxy(
    google: World, tmp_path: Path, kind: str, meant: list[str]
) -> None:
    sandbox = google.sandbox
    sandbox.files.service_account(google.files["service-account"], real_addresses=True)
    sandbox.files.external_account(
        google.files["external-account"], target="t@x.iam.gserviceaccount.com", real_addresses=True
    )
    source = google.source(kind)
    with behind_tls(google, tmp_path) as (tunnel, bundle):
        network = Network(tunnel.url, bundle)
        issued = google.provider(source, endpoints=REAL, network=network).issue(google.wish(), None)
        assert tunnel.meant == [f"{host}.googleapis.com:443" for host in meant]
        assert google.asked() == list(HOPS[kind])
        assert issued.secret.reveal().startswith("ya29.")


def test_a_certificate_that_is_not_trusted_ends_it(google: World, tmp_path: Path) -> None:
    source = google.source("authorized-user")
    with behind_tls(google, tmp_path) as (tunnel, _):
        provider = google.provider(source, endpoints=REAL, network=Network(tunnel.url))
        with pytest.raises(errors.RetryLater, match="certificate is not trusted") as caught:
            provider.issue(google.wish(), None)
        assert "network.ca_bundle" in caught.value.hint
        assert google.asked() == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_cannot_be_used_is_named(
    google: World, tmp_path: Path, content: str | None
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content:
        bundle.write_text(content)
    provider = google.provider("authorized-user", endpoints=REAL, network=Network(None, bundle))
    with pytest.raises(errors.Rejected, match=r"ca_bundle.*bundle\.pem") as caught:
        provider.issue(google.wish(), None)
    assert caught.value.__context__ is None


def test_a_bundle_that_was_replaced_is_read_anew(google: World, tmp_path: Path) -> None:
    source = google.source("authorized-user")
    old = tmp_path / "old"
    old.mkdir()
    with behind_tls(google, tmp_path) as (tunnel, bundle):
        good, (other, _) = bundle.read_bytes(), certificate(old)
        bundle.write_bytes(other.read_bytes())
        provider = google.provider(source, endpoints=REAL, network=Network(tunnel.url, bundle))
        with pytest.raises(errors.RetryLater, match="not trusted"):
            provider.issue(google.wish(), None)
        bundle.write_bytes(good)
        provider.issue(google.wish(), None)


def test_trust_is_loaded_once_for_all_credentials(google: World) -> None:
    first, *others = [Wire(Network(), SystemClock())._trust("https://x") for _ in range(3)]
    assert all(other is first for other in others)


def test_variables_of_the_environment_move_no_question(
    google: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")
    monkeypatch.setenv("GCE_METADATA_IP", "127.0.0.1:9")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
    monkeypatch.setenv("GOOGLE_API_USE_CLIENT_CERTIFICATE", "true")
    for kind in ("service-account", "authorized-user", "external-account", "metadata"):
        google.provider(kind).issue(google.wish(), None)


@pytest.mark.parametrize("kind", ["metadata", "service-account"])
def test_no_proxy_stands_between_keyman_and_its_own_machine(google: World, kind: str) -> None:
    with Elsewhere(Reply(502)).serve() as proxy:
        google.provider(kind, network=Network(proxy)).issue(google.wish(), None)


@pytest.mark.parametrize("reply", [Reply(502), Reply(407), Reply(403, b"<html>")])
def test_a_proxy_that_refuses_is_told(google: World, reply: Reply) -> None:
    with Elsewhere(reply).serve() as proxy:
        provider = google.provider("authorized-user", endpoints=REAL, network=Network(proxy))
        with pytest.raises(errors.RetryLater, match="proxy refused"):
            provider.issue(google.wish(), None)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(google: World, status: int) -> None:
    thief = Elsewhere(Reply(200, b"{}"))
    with thief.serve() as there:
        detour = Elsewhere(Reply(status, headers={"location": there}))
        with detour.serve() as url:
            provider = google.provider("service-account", endpoints=Endpoints(token=url))
            with pytest.raises(errors.RetryLater, match=f"somebody else.*{status}"):
                provider.issue(google.wish(), None)
    assert (len(detour.seen), thief.seen) == (1, [])


def test_what_nobody_laid_out_is_not_asked() -> None:
    with Elsewhere(Reply(200, b"{}")).serve() as url:
        transport = Transport(Wire(Network(), SystemClock()), {f"{url}/token": ASKED})
        for address in (url, f"{url}/token/x", f"{url}/token?x", "http://169.254.169.254/"):
            with pytest.raises(errors.Rejected, match="nobody configured"):
                transport(address)


# How long it may take.


@contextmanager
def dripping() -> Iterator[str]:
    """A server whose answer takes four seconds, and never pauses long."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip() -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(200):
                if over.wait(0.02):
                    return
                connection.sendall(b" ")

    with listener:
        dripper = threading.Thread(target=drip, daemon=True)
        dripper.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        dripper.join()


def test_an_answer_that_drips_for_ever_is_given_up(google: World) -> None:
    source = google.source("service-account")
    with dripping() as url:
        tokens = Tokens(
            source,
            ("x",),
            Endpoints(token=url),
            network=Network(),
            clock=SystemClock(),
            deadline=0.3,
        )
        with pytest.raises(errors.RetryLater, match="took too long") as caught:
            tokens.fetch()
    assert caught.value.__context__ is None


def test_a_peer_that_swallows_every_packet_is_given_up(google: World) -> None:
    """As a metadata server where there is none; its two seconds are real."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    full = [socket.socket() for _ in range(4)]
    for each in full:
        each.setblocking(False)
        with suppress(BlockingIOError):
            each.connect(listener.getsockname())
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    provider = google.provider("metadata", endpoints=Endpoints(metadata=url))
    with pytest.raises(errors.RetryLater, match="nobody answers there"):
        provider.issue(google.wish(), None)
    for each in [*full, listener]:
        each.close()


@pytest.mark.parametrize(
    ("hop", "connect"), [(Hop.TOKEN, 5.0), (Hop.IMPERSONATE, 5.0), (Hop.METADATA, 2.0)]
)
def test_timeouts_are_our_own(hop: Hop, connect: float) -> None:
    wire = Wire(Network(), SystemClock())
    with wire._client(Asked(hop, "x"), "http://127.0.0.1") as client:
        assert (client.timeout.connect, client.timeout.read) == (connect, 10.0)
        assert not client.follow_redirects
        assert not client.trust_env


def test_an_answer_without_bounds_is_given_up(google: World) -> None:
    body = json.dumps({"access_token": "ya29.canary", "expires_in": 3600, "x": "y" * 300_000})
    google.break_next("garbage", "AssertionToken", body=body)
    with pytest.raises(errors.RetryLater):
        google.provider().issue(google.wish(), None)


# What went wrong, in words.


def _led_to(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_led_to(httpx2.ConnectError("x"), socket.gaierror(-2, "x")), "name can't be resolved"),
        (_led_to(httpx2.ConnectError("x"), ssl.SSLCertVerificationError("x")), "not trusted"),
        (httpx2.ConnectError("x"), "nobody answers there"),
        (httpx2.ConnectTimeout("x"), "nobody answers there"),
        (httpx2.ReadTimeout("x"), "did not answer in time"),
        (httpx2.ReadError("x"), "the line broke"),
        (httpx2.RemoteProtocolError("x"), "the line broke"),
        (httpx2.ProxyError("x"), "the proxy refused"),
        (ConnectionResetError("x"), "the line broke"),
        (ValueError("x"), "makes no sense"),
    ],
)
def test_what_came_between_is_named(error: Exception, words: str) -> None:
    failure = google_transport._no_answer(ASKED, error)
    assert isinstance(failure, errors.RetryLater)
    assert words in failure.message


def test_every_error_of_the_http_client_has_a_meaning() -> None:
    kinds = [each for each in vars(httpx2).values() if isinstance(each, type)]
    ours = [each for each in kinds if issubclass(each, httpx2.TransportError | httpx2.InvalidURL)]
    assert len(ours) > 10
    for kind in ours:
        assert issubclass(kind, google_transport._FAILURES)
        failure = google_transport._no_answer(ASKED, kind("canary"))
        assert isinstance(failure, errors.Rejected | errors.RetryLater)
        assert "canary" not in failure.message


# What it costs.


def test_the_provider_is_cheap_to_import() -> None:
    program = (
        "import sys, keyman.providers\n"
        "assert not {'google.auth', 'httpx2'} & set(sys.modules)\n"
        "import keyman.providers.google\n"
        "assert not {'google.auth', 'requests', 'cryptography'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_google_auth_is_never_asked_to_look_around_or_to_send() -> None:
    """Its own transports and its search for credentials are not even loaded."""
    program = (
        "import sys\n"
        "from tests.providers.google_world import HOPS, world\n"
        "with world() as google:\n"
        "    for kind in HOPS:\n"
        "        kind == 'adc' or google.provider(kind).issue(google.wish(), None)\n"
        "names = ('transport.requests', 'transport.urllib3', 'compute_engine')\n"
        "assert 'google.auth.impersonated_credentials' in sys.modules\n"
        "assert not [n for n in names if f'google.auth.{n}' in sys.modules]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
