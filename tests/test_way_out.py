"""The way to the providers, as `check` looks at it: odd proxies, bundles of no use."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from keyman.checkup.way_out import of_proxy_variables, of_the_way_out
from keyman.config import NetworkSettings, Settings, load
from tests.credentials import NOW

CONFIG = """\
credentials:
  vertex:
    {provider: google, project: my-project, location: global, source: {kind: metadata}}
"""


@dataclass
class Proxy:
    """Answers whatever it is asked with one line, and keeps what it was asked."""

    says: bytes
    url: str = ""
    asked: bytes = b""


@contextmanager
def proxy(says: bytes) -> Iterator[Proxy]:
    made = Proxy(says)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while b"\r\n\r\n" not in made.asked and (piece := self.request.recv(4096)):
                made.asked += piece
            self.request.sendall(made.says)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield made
        server.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    file.chmod(0o600)
    return load(file, home=tmp_path, environ={})


def codes(settings: Settings, **network: object) -> list[str]:
    made = replace(settings, network=NetworkSettings(**network))  # type: ignore[arg-type]
    found = list(of_the_way_out(made, NOW))
    assert all(one.severity == "error" and one.hint for one in found)
    return [one.code for one in found]


def test_nothing_is_said_of_what_is_not_there(settings: Settings) -> None:
    assert codes(settings) == []


@pytest.mark.parametrize(
    ("says", "wrong"),
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n", []),
        (b"HTTP/1.0 200 OK\r\n\r\n", []),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", ["proxy_refuses"]),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", ["proxy_refuses"]),
        (b"SSH-2.0-OpenSSH_9.9\r\n", ["proxy_refuses"]),
        (b"HTTP/1.1\r\n\r\n", ["proxy_refuses"]),
        (b"", ["proxy_refuses"]),
    ],
)
def test_a_proxy(settings: Settings, says: bytes, wrong: list[str]) -> None:
    with proxy(says) as there:
        assert codes(settings, proxy=there.url) == wrong
    assert there.asked.startswith(b"CONNECT aiplatform.googleapis.com:443 HTTP/1.1\r\n")


def test_what_a_proxy_answers_is_not_repeated(settings: Settings) -> None:
    with proxy(b"HTTP/1.1 \x1b[2J407 gone\r\n\r\n") as there:
        made = replace(settings, network=NetworkSettings(proxy=there.url))
        [one] = of_the_way_out(made, NOW)
    assert "\x1b" not in one.message
    assert "no HTTP" in one.message


def test_a_proxy_that_wants_a_password_is_told_apart(settings: Settings) -> None:
    with proxy(b"HTTP/1.1 407 no\r\n\r\n") as there:
        made = replace(settings, network=NetworkSettings(proxy=there.url))
        [one] = of_the_way_out(made, NOW)
    assert "keyman gives none" in one.hint


def test_nobody_is_the_proxy(settings: Settings) -> None:
    assert codes(settings, proxy="http://127.0.0.1:9") == ["proxy_unreachable"]


def bundle(folder: Path, ends: datetime) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(ends - timedelta(days=30))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{ends:%Y}.pem"
    path.write_bytes(made.public_bytes(Encoding.PEM))
    return path


def test_a_bundle(settings: Settings, tmp_path: Path) -> None:
    later, over = (
        bundle(tmp_path, NOW + timedelta(days=9)),
        bundle(tmp_path, datetime(2020, 2, 2, tzinfo=UTC)),
    )
    assert codes(settings, ca_bundle=later) == []
    assert codes(settings, ca_bundle=over) == ["ca_bundle_expired"]
    both = tmp_path / "both.pem"
    both.write_bytes(over.read_bytes() + later.read_bytes())
    assert codes(settings, ca_bundle=both) == []


@pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff\x00", None])
def test_a_bundle_of_no_use(settings: Settings, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bundle.pem"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert codes(settings, ca_bundle=path) == ["ca_bundle_unusable"]
    assert codes(settings, ca_bundle=tmp_path / "missing") == ["ca_bundle_unusable"]


def test_variables_that_nobody_follows() -> None:
    environ = {"https_proxy": "http://proxy:3128"}
    [one] = of_proxy_variables(NetworkSettings(), environ)
    assert (one.code, one.severity) == ("proxy_ignored", "info")
    assert list(of_proxy_variables(NetworkSettings(), {})) == []
    assert list(of_proxy_variables(NetworkSettings(proxy="http://proxy:3128"), environ)) == []
