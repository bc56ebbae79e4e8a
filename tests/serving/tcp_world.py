"""An agent that answers over TCP, its clients in a real journal, and certificates for it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import secrets
import socket
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from keyman.config import Listen, TlsFiles
from keyman.db.journal import Journal
from keyman.register import Register
from keyman.serving.api import Api
from keyman.serving.server import Agent
from tests.blank_journal import lay_down
from tests.serving.world import START, World, read_all

SELF = "the test"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Network(World):
    """One home whose agent answers over TCP as well."""

    def __init__(self, home: Path, journal: Journal, *, listen: Listen, **agent: Any) -> None:
        self.journal = journal
        self.listen = listen
        self.tls: ssl.SSLContext | None = None
        super().__init__(home, listen=listen, **agent)

    def start(self) -> Agent:
        self.register = Register(self.journal, self.clock)
        reload = self._reload
        api = Api(self.desk, self.snapshot, reload=reload, since=START, clients=self.register)
        self.agent = Agent(api, self.path, **self._options)
        self.agent.start()
        return self.agent

    def client(self, name: str, *grants: str) -> str:
        """A new client's token."""
        token = f"kmc_{secrets.token_urlsafe(32)}"
        digest = hashlib.sha256(token.encode()).hexdigest()
        self.register.add(name, digest, grants or ("*",), SELF)
        return token

    @property
    def address(self) -> tuple[str, int]:
        address = self.agent.address
        assert address is not None
        return address

    @property
    def host(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def connect(self, source: str = "") -> socket.socket:
        """A connection, encrypted if the agent's are."""
        host, port = self.address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        raw = socket.create_connection((host, port), 20, (source, 0) if source else None)
        return self.tls.wrap_socket(raw, server_hostname=host) if self.tls else raw

    def request(
        self, call: str, token: str | None = None, body: object = None, **headers: str
    ) -> bytes:
        """The bytes of a request that says everything right, but for what `headers` change."""
        sent = b"" if body is None else json.dumps(body).encode()
        said = {"Host": self.host}
        said |= {"Authorization": f"Bearer {token}"} if token else {}
        said |= {"Content-Length": str(len(sent))} if sent else {}
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{call} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items() if value)]
        return "\r\n".join([*lines, "", ""]).encode() + sent

    def put_raw(self, *pieces: bytes, source: str = "") -> bytes:
        """Send bytes as they are, then read until the agent hangs up."""
        with self.connect(source) as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for piece in pieces:
                    connection.sendall(piece)
            return read_all(connection)

    def over_tcp(
        self,
        call: str,
        token: str | None = None,
        body: object = None,
        *,
        source: str = "",
        **headers: str,
    ) -> Reply:
        """One request over a connection of its own."""
        headers.setdefault("Connection", "close")
        asked = self.request(call, token, body, **headers)
        return parsed(self.put_raw(asked, source=source), call)


def parsed(raw: bytes, call: str = "GET /") -> Reply:
    assert raw, "hung up without an answer"
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    found = Reply(int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body)
    if not call.startswith("HEAD") and found.status not in (204, 304):
        assert len(body) == int(found.headers["content-length"]), "more or less than announced"
    return found


def read_reply(connection: socket.socket) -> Reply:
    """One answer of a connection that stays."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return Reply(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())


@contextlib.contextmanager
def network(
    host: str = "127.0.0.1",
    *,
    tls: TlsFiles | None = None,
    hosts: tuple[str, ...] = (),
    **agent: Any,
) -> Iterator[Network]:
    with (
        tempfile.TemporaryDirectory() as home,
        contextlib.closing(Journal.open(lay_down(Path(home, "keyman.db")))) as journal,
    ):
        here = Network(Path(home), journal, listen=Listen(host, 0, tls, hosts), **agent)
        here.serve("genai", 7, previous=6)
        here.serve("vertex", 1)
        try:
            yield here
        finally:
            here.agent.stop()


# Certificates.


class Authority:
    """Signs certificates that a client trusts who has `file`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
        self.file = folder / "ca.pem"
        until = datetime.now(UTC) + timedelta(days=1)
        made = self._signed(self._name, self._key, until, ca=True)
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        *hosts: str,
        ends: timedelta = timedelta(days=90),
        begins: timedelta | None = None,
    ) -> TlsFiles:
        """A certificate for these hosts (this machine, unless any are named) that ends then."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [_general(host) for host in hosts or ("127.0.0.1", "::1", "localhost")]
        now = datetime.now(UTC)
        made = self._signed(subject, key, now + ends, names=names, begins=begins)
        files = TlsFiles(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        files.cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        write_key(files.key, key, serialization.NoEncryption())
        return files

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        ends: datetime,
        *,
        names: list[x509.GeneralName] | None = None,
        begins: timedelta | None = None,
        ca: bool = False,
    ) -> x509.Certificate:
        begin = datetime.now(UTC) + begins if begins else ends - timedelta(days=365)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def trust(self) -> ssl.SSLContext:
        """What a client needs that trusts this authority alone."""
        return ssl.create_default_context(cafile=self.file)


def write_key(
    path: Path, key: ec.EllipticCurvePrivateKey, how: serialization.KeySerializationEncryption
) -> None:
    path.touch(mode=0o600)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(pem, form, how))


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
