"""What surrounds a workload inside OCI: the metadata service, federation, and pod tokens.

`OciIdentity` is the metadata service of one instance and the federation endpoint that turns its
certificate into a session token. `OkeProxymux` is the TLS endpoint that a pod in OKE asks. Both
issue tokens that the sandbox of a service (say `OciGenaiSandbox`) then accepts as signers.

    identity = OciIdentity(genai)
    with identity.serve():
        os.environ["OCI_METADATA_BASE_URL"] = identity.metadata_url
        InstancePrincipalsSecurityTokenSigner(federation_endpoint=identity.federation_endpoint)
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import NameOID

from keyman.sandbox import signing
from keyman.sandbox.faults import FaultPlan, suffer
from keyman.sandbox.profiles import new_key, private_pem, write_private
from keyman.sandbox.server import HOST, RefusedError, Reply, Request, Service, json_reply
from keyman.sandbox.tokens import TokenIssuer

INSTANCE = "ocid1.instance.oc1.us-chicago-1.sandbox"
POD = "ocid1.workload.oc1.us-chicago-1.sandbox"
_METADATA = "/opc/v2/"
_FEDERATION_SIGNS = ("date", "(request-target)")


class Surrounded(Protocol):
    """The service whose callers get their tokens here."""

    verifier: signing.Verifier
    tenancy: str
    compartment: str
    region: str


def issuer_for(service: Surrounded, token_seconds: float = 1200.0) -> TokenIssuer:
    """Tokens that `service` accepts."""
    return TokenIssuer(
        service.verifier,
        tenancy=service.tenancy,
        compartment=service.compartment,
        region=service.region,
        token_seconds=token_seconds,
    )


class _Faulty(Service):
    """A service whose answers, all through `act`, can be spoilt by rules."""

    def __init__(
        self, now: Callable[[], datetime], issuer: TokenIssuer, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(now, tls)
        self.issuer = issuer
        self.faults = FaultPlan()
        self.calls: list[str] = []

    def answer(self, request: Request) -> Reply:
        operation = self.operation(request)
        self.calls.append(operation)
        fault = self.faults.draw(operation, request)
        if fault is None:
            return self._act(operation, request)
        return suffer(fault, lambda: self._act(operation, request))

    def operation(self, request: Request) -> str:
        """What the request asks for, as faults name it."""
        raise NotImplementedError

    def act(self, operation: str, request: Request) -> Reply:
        """Answer it."""
        raise NotImplementedError

    def _act(self, operation: str, request: Request) -> Reply:
        try:
            return self.act(operation, request)
        except RefusedError as error:
            body = {"code": error.code, "message": error.message}
            return json_reply(error.status, body, error.headers)


class OciIdentity(_Faulty):
    """Metadata service and federation endpoint. Operations: GetMetadata, IssueInstanceToken."""

    def __init__(self, service: Surrounded, *, token_seconds: float = 1200.0) -> None:
        super().__init__(service.verifier.now, issuer_for(service, token_seconds))
        ca_key, self._leaf_key = new_key(), new_key()
        self._ca = _certificate(_name("Sandbox CA"), ca_key, ca_key.public_key(), self.now())
        subject = _name(INSTANCE, f"opc-tenant:{service.tenancy}")
        self._leaf = _certificate(
            subject, ca_key, self._leaf_key.public_key(), self.now(), issuer=self._ca.subject
        )
        self._documents = self._describe(service)

    @property
    def metadata_url(self) -> str:
        """For OCI_METADATA_BASE_URL."""
        return f"{self.url}{_METADATA}".rstrip("/")

    @property
    def federation_endpoint(self) -> str:
        return f"{self.url}/v1/x509"

    def operation(self, request: Request) -> str:
        return "IssueInstanceToken" if request.path == "/v1/x509" else "GetMetadata"

    def act(self, operation: str, request: Request) -> Reply:
        return self._federate(request) if operation == "IssueInstanceToken" else self._read(request)

    def _read(self, request: Request) -> Reply:
        if request.headers.get("authorization") != "Bearer Oracle":
            raise RefusedError(401, "NotAuthenticated", "The metadata service wants its header.")
        document = self._documents.get(request.path.removeprefix(_METADATA).rstrip("/"))
        if document is None or request.method != "GET":
            raise RefusedError(404, "NotFound", "No such metadata.")
        return Reply(200, document, {"content-type": "text/plain"})

    def _federate(self, request: Request) -> Reply:
        body = request.json()
        certificate = x509.load_der_x509_certificate(_decoded(body.get("certificate")))
        self._check_issued_by_us(certificate)
        key = certificate.public_key()
        assert isinstance(key, RSAPublicKey)
        signature = signing.parse(request.headers.get("authorization", ""))
        digest = certificate.fingerprint(SHA1())  # noqa: S303 (it is how federation names it)
        fingerprint = ":".join(f"{byte:02X}" for byte in digest)
        if signature.key_id != f"{self.issuer.tenancy}/fed-x509/{fingerprint}":
            raise signing.denied("the keyId doesn't name this certificate")
        signing.check(request, signature, key, self.now(), _FEDERATION_SIGNS)
        return json_reply(200, {"token": self.issuer.issue(INSTANCE, _session_key(body))})

    def _check_issued_by_us(self, certificate: x509.Certificate) -> None:
        authority = self._ca.public_key()
        assert isinstance(authority, RSAPublicKey)
        try:
            authority.verify(
                certificate.signature,
                certificate.tbs_certificate_bytes,
                padding.PKCS1v15(),
                SHA256(),
            )
        except InvalidSignature as error:
            raise signing.denied("the certificate is not from here") from error

    def _describe(self, service: Surrounded) -> dict[str, bytes]:
        facts = {
            "id": INSTANCE,
            "region": service.region,
            "canonicalRegionName": service.region,
            "compartmentId": service.compartment,
            "tenantId": service.tenancy,
        }
        documents = {f"instance/{name}": value.encode() for name, value in facts.items()}
        return documents | {
            "instance": json.dumps(facts).encode(),
            "identity/cert.pem": self._leaf.public_bytes(Encoding.PEM),
            "identity/key.pem": private_pem(self._leaf_key),
            "identity/intermediate.pem": self._ca.public_bytes(Encoding.PEM),
        }


class OkeProxymux(_Faulty):
    """What a pod in OKE asks for its token, over TLS; `ca_file` is what the pod has to trust.
    The only operation is IssuePodToken.
    """

    def __init__(self, service: Surrounded, folder: Path, *, token_seconds: float = 1200.0) -> None:
        now = service.verifier.now
        key = new_key()
        name = _name("Sandbox proxymux")
        certificate = _certificate(name, key, key.public_key(), now())
        self.ca_file = write_private(
            folder / "proxymux-ca.pem", certificate.public_bytes(Encoding.PEM)
        )
        key_file = write_private(folder / "proxymux.pem", private_pem(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file, key_file)
        super().__init__(now, issuer_for(service, token_seconds), context)

    def operation(self, request: Request) -> str:
        return "IssuePodToken"

    def act(self, operation: str, request: Request) -> Reply:
        scheme, _, account = request.headers.get("authorization", "").partition(" ")
        if request.path != "/resourcePrincipalSessionTokens" or request.method != "POST":
            raise RefusedError(404, "NotFound", "No such path.")
        if scheme != "Bearer" or account.count(".") != 2:
            raise RefusedError(401, "NotAuthenticated", "No service account token.")
        token = self.issuer.issue(POD, _session_key(request.json(), "podKey"))
        return Reply(200, base64.b64encode(json.dumps({"token": f"ST${token}"}).encode()))


def _session_key(body: dict[str, object], field: str = "publicKey") -> RSAPublicKey:
    key = load_der_public_key(_decoded(body.get(field)))
    assert isinstance(key, RSAPublicKey)
    return key


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error as error:
        raise RefusedError(400, "InvalidParameter", "Not base64.") from error


def _name(common: str, unit: str | None = None) -> x509.Name:
    parts = [(NameOID.COMMON_NAME, common), (NameOID.ORGANIZATIONAL_UNIT_NAME, unit)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value])


def _certificate(
    subject: x509.Name,
    signer: RSAPrivateKey,
    key: RSAPublicKey,
    now: datetime,
    *,
    issuer: x509.Name | None = None,
) -> x509.Certificate:
    """A certificate for the loopback address; signed by itself unless an issuer is named."""
    address = x509.IPAddress(ipaddress.ip_address(HOST))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(signer, SHA256())
    )
