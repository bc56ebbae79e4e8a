"""TLS as a client sees it: a real handshake with a real certificate, or none."""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keyman.config import TlsFiles
from keyman.errors import ConfigError
from keyman.serving.tls import context_of
from keyman.serving.wire import Limits
from tests.serving.tcp_world import Authority, Network, network, parsed, read_reply, write_key
from tests.serving.test_api import waiting
from tests.serving.test_tcp import GENAI, VALUE, eventually
from tests.serving.world import read_all


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextlib.contextmanager
def encrypted(authority: Authority, limits: Limits | None = None) -> Iterator[Network]:
    with network(tls=authority.issue("agent"), limits=limits) as here:
        here.tls = authority.trust()
        yield here


@pytest.fixture
def net(authority: Authority) -> Iterator[Network]:
    with encrypted(authority) as here:
        yield here


def serial(connection: socket.socket) -> int:
    """Of the certificate that was shown on it."""
    assert isinstance(connection, ssl.SSLSocket)
    shown = connection.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown).serial_number


def answered(net: Network, token: str) -> int:
    """The certificate's number, of a connection that gets its answer."""
    with net.connect() as connection:
        connection.sendall(net.request(GENAI, token))
        assert read_reply(connection).json["value"] == VALUE
        return serial(connection)


# Handshakes.


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_is_answered(net: Network, version: ssl.TLSVersion) -> None:
    assert net.tls
    net.tls.minimum_version = net.tls.maximum_version = version
    assert net.over_tcp(GENAI, net.client("build")).json["value"] == VALUE


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_protocols_are_refused(net: Network, version: ssl.TLSVersion) -> None:
    assert net.tls
    net.tls.minimum_version = net.tls.maximum_version = version
    net.tls.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        net.connect()


@pytest.mark.parametrize("ciphers", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "AES256-SHA"])
def test_ciphers_that_do_not_forget_or_are_weak_are_refused(net: Network, ciphers: str) -> None:
    assert net.tls
    net.tls.maximum_version = ssl.TLSVersion.TLSv1_2
    net.tls.set_ciphers(ciphers)
    with pytest.raises(ssl.SSLError):
        net.connect()


def test_the_next_protocol_is_not_agreed_to(net: Network) -> None:
    assert net.tls
    net.tls.set_alpn_protocols(["h2", "http/1.1"])
    with net.connect() as connection:
        assert isinstance(connection, ssl.SSLSocket)
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_who_does_not_know_the_authority_does_not_speak_to_us(net: Network) -> None:
    net.tls = ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        net.connect()


def test_who_speaks_in_clear_is_told_nothing(
    net: Network, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    token = net.client("build")
    with socket.create_connection(net.address, 20) as clear:
        clear.sendall(net.request(GENAI, token))
        read = read_all(clear)
    assert b"HTTP" not in read
    assert VALUE.encode() not in read
    assert caplog.text == ""


# What holds without TLS holds with it.


def test_wrong_tokens_hosts_and_names_are_refused(net: Network) -> None:
    token = net.client("build", "genai")
    assert net.over_tcp(GENAI).status == 401
    assert net.over_tcp(GENAI, token, Host="evil.example").status == 403
    assert net.over_tcp(GENAI, token, Origin="https://evil.example").status == 403
    assert net.over_tcp("GET /api/v1/secrets/vertex", token).status == 404
    assert net.over_tcp("POST /api/v1/reload", token).status == 403


def test_what_is_too_long_is_answered(net: Network) -> None:
    token = net.client("build")
    head = net.request("POST /api/v1/secrets/genai/rejected", token, Content_Length="400000")
    assert parsed(net.put_raw(head, *([b"a" * 4000] * 100))).status == 400


def test_a_revoke_ends_its_connections(net: Network) -> None:
    token = net.client("build")
    with net.connect() as idle, net.connect() as poll:
        idle.sendall(net.request(GENAI, token))
        assert read_reply(idle).status == 200
        poll.sendall(net.request(f"{GENAI}?after=7&wait=30s", token))
        waiting(net, "genai", 1)
        net.register.revoke("build", "the test")
        for one in (idle, poll):
            with contextlib.suppress(ssl.SSLEOFError):
                assert read_all(one) == b""


def test_stop_ends_everything_within_two_seconds(net: Network) -> None:
    token = net.client("build")
    with net.connect() as connection:
        connection.sendall(net.request(GENAI, token))
        assert read_reply(connection).status == 200
        begun = time.monotonic()
        net.agent.stop()
        assert time.monotonic() - begun < 2


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here: apt-get install curl")
def test_curl(net: Network, authority: Authority) -> None:
    url = f"https://localhost:{net.address[1]}/api/v1/secrets/genai"
    command = ["curl", "--silent", "--show-error", "--fail", "--header", "@-", "--cacert"]
    ran = subprocess.run(
        [*command, authority.file, "--header", "Accept: text/plain", url],
        input=f"Authorization: Bearer {net.client('build')}\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert ran.stdout == f"{VALUE}\n"


# Handshakes that come to nothing.


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_a_handshake_that_does_not_end_is_ended(authority: Authority, begin: bytes) -> None:
    with (
        encrypted(authority, Limits(read_within=0.5)) as net,
        socket.create_connection(net.address, 20) as dribbling,
    ):
        dribbling.sendall(begin)
        begun = time.monotonic()
        assert read_all(dribbling)[:1] in (b"", b"\x15")
        assert time.monotonic() - begun < 5


def test_handshakes_under_way_count_as_strangers(authority: Authority) -> None:
    with encrypted(authority, Limits(tokenless=4)) as net, contextlib.ExitStack() as crowd:
        token = net.client("build")
        for _ in range(4):
            crowd.enter_context(socket.create_connection(net.address, 20))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            net.connect()
        assert net.over_tcp(GENAI, token, source="127.0.0.2").status == 200


def test_there_is_room_again_after_handshakes_that_failed(authority: Authority) -> None:
    with encrypted(authority, Limits(tokenless=4)) as net:
        for sent in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"):
            for _ in range(4):
                with socket.create_connection(net.address, 20) as one:
                    one.sendall(sent)
            tcp = net.agent._tcp
            assert tcp is not None
            assert eventually(lambda tcp=tcp: tcp._crowd.count == 0)
        assert net.over_tcp(GENAI, net.client("build")).status == 200


# Certificates.


def test_another_certificate_is_shown_from_a_reload_on(net: Network, authority: Authority) -> None:
    token = net.client("build")
    with net.connect() as before:
        first = serial(before)
        authority.issue("agent")
        assert answered(net, token) == first, "nobody asked for it yet"
        net.agent.reread_certificate()
        assert answered(net, token) != first
        before.sendall(net.request(GENAI, token))
        assert read_reply(before).status == 200, "connections go on under the one they began with"


def test_a_certificate_that_will_not_do_changes_nothing(net: Network, authority: Authority) -> None:
    token = net.client("build")
    first = answered(net, token)
    other = authority.issue("other")
    shutil.copy(other.key, authority.file.with_name("agent.key"))
    with pytest.raises(ConfigError, match="are no certificate and its key"):
        net.agent.reread_certificate()
    assert answered(net, token) == first


def test_without_tls_there_is_nothing_to_read_anew() -> None:
    with network() as net:
        net.agent.reread_certificate()
        assert net.over_tcp(GENAI, net.client("build")).status == 200


@pytest.mark.parametrize("which", ["cert", "key"])
def test_files_that_are_not_there_are_named(authority: Authority, which: str) -> None:
    files = authority.issue("agent")
    gone = getattr(files, which)
    gone.unlink()
    with pytest.raises(ConfigError) as caught:
        context_of(files)
    assert caught.value.message == f"agent.tls: {gone} cannot be read: No such file or directory"


def test_files_that_hold_something_else_are_refused(authority: Authority, tmp_path: Path) -> None:
    files, other = authority.issue("agent"), authority.issue("other")
    text = tmp_path / "text"
    text.write_text("-----BEGIN CANARY-----")
    for pair in (
        TlsFiles(files.cert, other.key),
        TlsFiles(text, files.key),
        TlsFiles(files.cert, text),
        TlsFiles(files.key, files.cert),
        TlsFiles(tmp_path, files.key),
    ):
        with pytest.raises(ConfigError) as caught:
            context_of(pair)
        assert "CANARY" not in f"{caught.value!r} {caught.value.hint}"


def test_an_encrypted_key_is_refused_and_not_asked_for(
    authority: Authority, capfd: pytest.CaptureFixture[str]
) -> None:
    files = authority.issue("agent")
    files.key.unlink()
    locked = serialization.BestAvailableEncryption(b"pass")
    write_key(files.key, ec.generate_private_key(ec.SECP256R1()), locked)
    with pytest.raises(ConfigError, match="are no certificate and its key"):
        context_of(files)
    assert capfd.readouterr() == ("", "")


def test_an_agent_whose_certificate_will_not_do_does_not_start(authority: Authority) -> None:
    files = authority.issue("agent")
    files.key.unlink()
    with (
        pytest.raises(ConfigError, match="cannot be read"),
        network(tls=files),
    ):
        pass
