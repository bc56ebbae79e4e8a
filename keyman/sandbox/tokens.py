"""Session tokens of OCI: signed claims bound to a public key, and the files they come in.

A token is worth something only together with the private half of the key it was issued for, so
issuing one also tells the verifier about that key. Tokens are counted by real time, as the SDK
does; a test that wants an expired one issues it with a negative life.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from keyman.sandbox import jwt
from keyman.sandbox.profiles import new_key, private_pem, write_private
from keyman.sandbox.server import Json
from keyman.sandbox.signing import Principal, Verifier, fingerprint_of


class TokenIssuer:
    """Issues tokens that one verifier accepts."""

    def __init__(
        self,
        verifier: Verifier,
        *,
        tenancy: str,
        compartment: str,
        region: str,
        token_seconds: float = 1200.0,
    ) -> None:
        self.verifier = verifier
        self.tenancy = tenancy
        self.compartment = compartment
        self.region = region
        self.token_seconds = token_seconds
        self.issued = 0
        self._key = new_key()

    def issue(self, subject: str, session_key: RSAPublicKey) -> str:
        """A token for whoever holds the private half of `session_key`."""
        self.issued += 1
        begin = self.verifier.now()
        end = begin + timedelta(seconds=self.token_seconds)
        claims = {**self._claims(subject, begin, end), "jti": f"token-{self.issued}"}
        token = jwt.encode(claims, self._key)
        self.verifier.register_token(token, session_key, Principal(self.tenancy, subject), end)
        return token

    def service_account_token(self) -> str:
        """What Kubernetes mounts into a pod; here any will do, as long as it hasn't expired."""
        begin = self.verifier.now()
        end = begin + timedelta(seconds=self.token_seconds)
        subject = "system:serviceaccount:default:keyman"
        return jwt.encode(self._claims(subject, begin, end), self._key)

    def write_resource_principal(self, folder: Path) -> dict[str, str]:
        """A token and its key as files, and the environment that points at them (version 2.2)."""
        session_key = new_key()
        subject = "ocid1.fnfunc.oc1..sandbox"
        token = write_private(folder / "rpst", self.issue(subject, session_key.public_key()))
        key = write_private(folder / "rpst.pem", private_pem(session_key))
        return {
            "OCI_RESOURCE_PRINCIPAL_VERSION": "2.2",
            "OCI_RESOURCE_PRINCIPAL_RPST": str(token.resolve()),
            "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM": str(key.resolve()),
            "OCI_RESOURCE_PRINCIPAL_REGION": self.region,
        }

    def write_session(self, folder: Path, name: str = "DEFAULT") -> Path:
        """A config as `oci session authenticate` leaves it: token, key, and a profile for both."""
        session_key = new_key()
        subject = "ocid1.user.oc1..session"
        token = write_private(folder / "token", self.issue(subject, session_key.public_key()))
        key = write_private(folder / "session.pem", private_pem(session_key))
        lines = [
            f"[{name}]",
            f"fingerprint={fingerprint_of(session_key.public_key())}",
            f"key_file={key.resolve()}",
            f"tenancy={self.tenancy}",
            f"region={self.region}",
            f"security_token_file={token.resolve()}",
        ]
        return write_private(folder / "config", "\n".join([*lines, ""]))

    def _claims(self, subject: str, begin: datetime, end: datetime) -> Json:
        return {
            "sub": subject,
            "iss": "authService.sandbox",
            "iat": int(begin.timestamp()),
            "exp": int(end.timestamp()),
            "res_tenant": self.tenancy,
            "res_compartment": self.compartment,
        }
