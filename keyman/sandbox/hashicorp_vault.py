"""An imitation of HashiCorp Vault and OpenBao: KV version 2, tokens and policies, two sign-ins.

    sandbox = HashicorpVaultSandbox()
    with sandbox.serve() as url:
        hvac.Client(url, sandbox.root_token).secrets.kv.v2.create_or_update_secret("a", {"b": "c"})

One engine is mounted at secret/, and one method of each kind where it usually is. `sealed` and
`state` say how the node is; `deny` takes a policy away in the middle. Paths under /sandbox/ are
doors for tests (`doors.py`).

Operations, as faults and the log name them: ReadSecret, WriteSecret, DeleteLatest, DeleteVersions,
UndeleteVersions, DestroyVersions, ListSecrets, ReadMetadata, WriteMetadata, DeleteMetadata,
ReadConfig, WriteConfig, LookupSelf, RenewSelf, RevokeSelf, AppRoleLogin, KubernetesLogin,
CapabilitiesSelf, Health, SealStatus, NoSuchPath.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from keyman.sandbox.doors import Doors
from keyman.sandbox.profiles import write_private
from keyman.sandbox.questions import Questions, yes_or_no
from keyman.sandbox.sandboxed import Call, Sandboxed, system_now
from keyman.sandbox.server import Json, RefusedError, Reply, Request, json_reply
from keyman.sandbox.vault_kv import KvEngine
from keyman.sandbox.vault_kv_calls import carried_out
from keyman.sandbox.vault_routes import AREAS, LOGINS, NOWHERE, WITHOUT_TOKEN, Mounted, Route, route
from keyman.sandbox.vault_tokens import Policy, Role, Token, Tokens

_STATES = {
    "active": 200,
    "standby": 429,
    "dr_secondary": 472,
    "performance_standby": 473,
    "uninitialized": 501,
}
OWN = {"secret/*": ("create", "read", "update", "delete", "list")}
_UNSUPPORTED = "1 error occurred:\n\t* unsupported operation\n\n"


@dataclass(frozen=True)
class VaultBehaviour(Questions):
    """What differs between releases."""

    invalid_token_told: bool = yes_or_no()
    capabilities_repeated: bool = yes_or_no()  # beside `data`, at the top of the answer


class HashicorpVaultSandbox(Sandboxed):
    """One node that is the whole cluster, over HTTP."""

    def __init__(
        self,
        *,
        behaviour: VaultBehaviour | None = None,
        seed: int | None = None,
        now: Callable[[], datetime] = system_now,
    ) -> None:
        super().__init__(now, seed)
        self.behaviour = behaviour or VaultBehaviour()
        self.sealed = False
        self.state = "active"
        self.engines: dict[Mounted, KvEngine] = {}
        self.methods: dict[Mounted, str] = {("", kind): kind for kind in LOGINS}
        self.tokens = Tokens(self.now, self.random_text)
        self.root_token = self.tokens.make(["root"]).id
        self.enable_engine("secret")
        self.open_doors(Doors(self, {}))

    def enable_engine(self, mount: str, namespace: str = "") -> KvEngine:
        return self.engines.setdefault((namespace, mount), KvEngine(self.now))

    def token(self, policy: Policy | str, *, name: str = "keyman", **more: float | str) -> str:
        """A token with that policy and the default one; the rest as `Tokens.make` takes it."""
        self.tokens.allow(name, policy)
        return self.tokens.make([name], **more).id  # type: ignore[arg-type]

    def approle(self, policy: Policy | str, *, uses: int = 0, **more: float) -> tuple[str, str]:
        """A role's id and one secret id, which serves so many times (0: ever)."""
        self.tokens.allow("approle", policy)
        role_id, secret_id = (str(uuid.UUID(bytes=self.dice.randbytes(16))) for _ in range(2))
        role = Role(["approle"], role_id=role_id, secret_ids={secret_id: uses}, **more)  # type: ignore[arg-type]
        self.tokens.approles["", "approle", "keyman"] = role
        return role_id, secret_id

    def kubernetes(self, policy: Policy | str, account: str, **more: float) -> str:
        """A role `keyman` for the service account NAMESPACE/NAME; the account's token."""
        self.tokens.allow("kubernetes", policy)
        self.tokens.kubernetes["", "kubernetes", "keyman"] = Role(
            ["kubernetes"],
            accounts={account},
            **more,  # type: ignore[arg-type]
        )
        jwt = f"eyJ{self.random_text(60)}"
        self.tokens.jwts[jwt] = account
        return jwt

    def write_credentials(self, folder: Path, policy: Policy | str = OWN) -> dict[str, Path]:
        """A token with that policy, and what the two roles sign in with, as files."""
        role_id, secret_id = self.approle(policy)
        values = {
            "vault-token": self.token(policy),
            "role-id": role_id,
            "secret-id": secret_id,
            "jwt": self.kubernetes(policy, "default/keyman"),
        }
        return {name: write_private(folder / name, value) for name, value in values.items()}

    def truth(self) -> Json:
        """What is kept, by path; values as SHA-256."""
        with self.lock:
            return {
                f"{namespace}|{mount}/{path}": {
                    str(number): {
                        name: hashlib.sha256(str(value).encode()).hexdigest()
                        for name, value in (version.data or {}).items()
                    }
                    for number, version in key.versions.items()
                }
                for (namespace, mount), engine in self.engines.items()
                for path, key in engine.keys.items()
            }

    def operation(self, request: Request) -> str:
        return self._route(request).operation

    def _route(self, request: Request) -> Route:
        return route(request, self.engines, self.methods)

    def act(self, request: Request, call: Call) -> Reply:
        where = self._route(request)
        call.target = where.path
        if self.sealed and call.operation not in {"Health", "SealStatus"}:
            raise RefusedError(503, "", "Vault is sealed")
        if call.operation in WITHOUT_TOKEN:
            return self._without_token(request, where)
        self.tokens.invalid_is_told = self.behaviour.invalid_token_told
        token = self.tokens.find(request.headers.get("x-vault-token"), where.namespace)
        call.actor = token.accessor
        self.tokens.check(token, where.path, self._capability(where))
        if call.operation == NOWHERE:
            raise _no_such_path(where)
        if where.mount is None:
            return self._about_itself(request, call, token)
        status, data = carried_out(self.engines[where.namespace, where.mount], where, request)
        return Reply(204) if status == 204 else self._envelope(data, status=status)

    def render(self, operation: str, error: RefusedError) -> Reply:
        worded = {
            "TooManyRequests": f'request path "{operation}": rate limit quota exceeded',
            "InternalServerError": "internal error",
            "CannotParseRequest": "failed to parse JSON input",
        }
        text = worded.get(error.code, error.message)
        return json_reply(error.status, {"errors": [text] if text else []}, error.headers)

    def _without_token(self, request: Request, where: Route) -> Reply:
        if where.operation == "Health":
            return self._health(request)
        if where.operation == "SealStatus":
            return json_reply(200, {"type": "shamir", "initialized": True, "sealed": self.sealed})
        sign_in = self.tokens.by_approle
        if where.operation == "KubernetesLogin":
            sign_in = self.tokens.by_kubernetes
        token = sign_in(where.namespace, where.mount or "", request.json())
        return self._envelope(auth=token.auth(token.ttl))

    def _health(self, request: Request) -> Reply:
        status = 503 if self.sealed else _STATES[self.state]
        asked = {"standby": "standbyok", "performance_standby": "perfstandbyok"}.get(self.state)
        if asked and not self.sealed and request.query.get(asked) == "true":
            status = 200
        told = {
            "initialized": self.state != "uninitialized",
            "sealed": self.sealed,
            "standby": self.state != "active",
            "performance_standby": self.state == "performance_standby",
            "server_time_utc": int(self.now().timestamp()),
            "version": "1.20.0",
            "cluster_name": "sandbox",
        }
        return json_reply(status, told)

    def _about_itself(self, request: Request, call: Call, token: Token) -> Reply:
        if call.operation == "CapabilitiesSelf":
            paths = request.json().get("paths") or []
            told: Json = {path: self.tokens.capabilities(token, path) for path in paths}
            if len(told) == 1:
                told["capabilities"] = next(iter(told.values()))
            top = told if self.behaviour.capabilities_repeated else {}
            return self._envelope(told, **top)
        if call.operation == "RenewSelf":
            lease = self.tokens.renew(token)
            return self._envelope(auth=token.auth(lease))
        if call.operation == "RevokeSelf":
            self.tokens.tokens.pop(token.id, None)
            return Reply(204)
        return self._envelope(self.tokens.told(token))

    def _capability(self, where: Route) -> str:
        engine = self.engines.get((where.namespace, where.mount or ""))
        has_paths = engine is not None and where.area in {"data", "metadata"}
        if engine is not None and has_paths and where.rest not in engine.keys:
            return {"update": "create"}.get(where.capability, where.capability)
        return where.capability

    def _envelope(
        self,
        data: Json | None = None,
        *,
        auth: Json | None = None,
        status: int = 200,
        **top: object,
    ) -> Reply:
        body = {
            "request_id": str(uuid.UUID(bytes=self.dice.randbytes(16))),
            "lease_id": "",
            "renewable": False,
            "lease_duration": 0,
            "data": data,
            "wrap_info": None,
            "warnings": None,
            "auth": auth,
            "mount_type": "kv" if data and not top else "",
        }
        return json_reply(status, {**body, **top})


def _no_such_path(where: Route) -> RefusedError:
    if where.mount is None:
        said = f'no handler for route "{where.path}". route entry not found.'
        return RefusedError(404, "", said)
    return RefusedError(405, "", _UNSUPPORTED) if where.area in AREAS else RefusedError(404, "", "")
