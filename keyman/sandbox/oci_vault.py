"""An imitation of the secrets of OCI Vault: management and retrieval, on one address.

    sandbox = OciVaultSandbox(seed=7, behaviour=VaultBehaviour.from_seed(7))
    config = sandbox.make_profile(folder)          # like ~/.oci/config, with a key that is let in
    with sandbox.serve() as url:
        ...                                        # service_endpoint=url, of both clients

Every call is checked for its signature and for permission (`forbid`); what it does is in
`oci_vault_api.py`, and what the documents leave open in `oci_vault_behaviour.py`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

from keyman.sandbox import oci_vault_secrets as vaults
from keyman.sandbox.doors import Doors
from keyman.sandbox.oci_vault_api import COMPARTMENT, KEY, VAULT, Api
from keyman.sandbox.oci_vault_behaviour import VaultBehaviour
from keyman.sandbox.oci_vault_secrets import Secret, not_found
from keyman.sandbox.profiles import write_profile
from keyman.sandbox.sandboxed import Call, Sandboxed, system_now
from keyman.sandbox.server import Json, RefusedError, Reply, Request, json_reply
from keyman.sandbox.signing import Verifier

TENANCY, USER = "ocid1.tenancy.oc1..sandbox", "ocid1.user.oc1..sandbox"
REGION = "us-chicago-1"
_ROUTES = [
    ("POST", r"/20180608/secrets", "CreateSecret"),
    ("GET", r"/20180608/secrets", "ListSecrets"),
    ("GET", r"/20180608/secrets/([^/]+)", "GetSecret"),
    ("PUT", r"/20180608/secrets/([^/]+)", "UpdateSecret"),
    ("GET", r"/20180608/secrets/([^/]+)/versions", "ListSecretVersions"),
    ("POST", r"/20180608/secrets/([^/]+)/actions/scheduleDeletion", "ScheduleSecretDeletion"),
    ("POST", r"/20180608/secrets/([^/]+)/actions/cancelDeletion", "CancelSecretDeletion"),
    (
        "POST",
        r"/20180608/secrets/([^/]+)/version/(\d+)/actions/scheduleDeletion",
        "ScheduleSecretVersionDeletion",
    ),
    ("GET", r"/20190301/secretbundles/([^/]+)", "GetSecretBundle"),
    ("POST", r"/20190301/secretbundles/actions/getByName", "GetSecretBundleByName"),
]


class OciVaultSandbox(Sandboxed):
    """One vault of one region, answering over HTTP."""

    def __init__(
        self,
        *,
        behaviour: VaultBehaviour | None = None,
        seed: int | None = None,
        now: Callable[[], datetime] = system_now,
        signed_now: Callable[[], datetime] = system_now,
    ) -> None:
        super().__init__(now, seed)
        self.behaviour = behaviour or VaultBehaviour()
        self.verifier = Verifier(signed_now)
        self._api = Api(self.now, lambda: self.behaviour, self._new_id)
        self._forbidden: set[str] = set()
        self.open_doors(Doors(self, {}))

    def make_profile(self, folder: Path | str) -> Path:
        """Write a config file like ~/.oci/config with a fresh signing key that is let in."""
        profile = write_profile(Path(folder), "DEFAULT", TENANCY, USER, REGION)
        self.verifier.register_user(TENANCY, USER, profile.public_key)
        return profile.config

    def forbid(self, *operations: str) -> None:
        """Withdraw the permission for operations (patterns), or for `keys`; replaces the last."""
        with self.lock:
            self._forbidden = set(operations)
            self._api.key_forbidden = "keys" in self._forbidden

    def truth(self) -> Json:
        """Versions and stages of each secret by name, without contents."""
        with self.lock:
            return {secret.name: self._told(secret) for secret in self._api.secrets.values()}

    def _told(self, secret: Secret) -> Json:
        vaults.settle(secret, self.now(), self.behaviour)
        going = [version.number for version in secret.versions if version.goes]
        stages = {v.number: sorted(v.stages) for v in secret.versions if v.number not in going}
        named = {v.number: v.name for v in secret.versions}
        state = secret.state(self.now())
        return {
            "state": state,
            "tags": secret.tags,
            "stages": stages,
            "names": named,
            "going": going,
        }

    def secret(self, name: str) -> Secret:
        """For the hand of a person, who changes it as he likes."""
        return next(secret for secret in self._api.secrets.values() if secret.name == name)

    def _new_id(self) -> str:
        return f"ocid1.vaultsecret.oc1.{REGION}.{self.random_text(16)}"

    def answer(self, request: Request) -> Reply:
        reply = super().answer(request)
        asked_id = request.headers.get("opc-request-id", "")
        headers = {"opc-request-id": f"{asked_id}/{secrets.token_hex(16).upper()}"}
        return Reply(reply.status, reply.body, {**headers, **reply.headers}, reply.cut)

    def operation(self, request: Request) -> str:
        return self._route(request)[0]

    def _route(self, request: Request) -> tuple[str, tuple[str, ...]]:
        for method, pattern, operation in _ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and request.method == method:
                return operation, match.groups()
        return "Unknown", ()

    def render(self, operation: str, error: RefusedError) -> Reply:
        numbers = self.behaviour.error_codes == "numbers"
        code = str(error.status) if numbers else error.code
        return json_reply(error.status, {"code": code, "message": error.message}, error.headers)

    def act(self, request: Request, call: Call) -> Reply:
        call.actor = self.verifier.verify(request).name
        operation, found = self._route(request)
        if operation == "Unknown":
            raise not_found()
        call.target = "/".join(found)
        if not self.behaviour.permission_before_etag:
            self._check_etag(operation, found, request)
        if any(fnmatchcase(operation, pattern) for pattern in self._forbidden):
            raise not_found(self.behaviour.forbidden_status)
        self._check_etag(operation, found, request)
        return self._api.operations[operation](request, *found)

    def _check_etag(self, operation: str, found: tuple[str, ...], request: Request) -> None:
        wanted = request.headers.get("if-match")
        secret = self._api.secrets.get(found[0]) if found else None
        if wanted is not None and secret is not None and wanted not in {"*", secret.etag}:
            raise RefusedError(412, "NoEtagMatch", "The resource has changed meanwhile.")


__all__ = ["COMPARTMENT", "KEY", "REGION", "TENANCY", "USER", "VAULT", "OciVaultSandbox"]
