"""Where a request to the imitated Vault leads: which operation, on what of which engine.

Pure. An engine and a method are known by namespace and mount.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from keyman.sandbox.server import Request

Mounted = tuple[str, str]
"""Namespace and mount."""
NOWHERE = "NoSuchPath"
LOGINS = {"approle": "AppRoleLogin", "kubernetes": "KubernetesLogin"}
WITHOUT_TOKEN = {"Health", "SealStatus", *LOGINS.values()}
_KV = {
    ("GET", "data"): "ReadSecret",
    ("POST", "data"): "WriteSecret",
    ("DELETE", "data"): "DeleteLatest",
    ("POST", "delete"): "DeleteVersions",
    ("POST", "undelete"): "UndeleteVersions",
    ("POST", "destroy"): "DestroyVersions",
    ("LIST", "metadata"): "ListSecrets",
    ("GET", "metadata"): "ReadMetadata",
    ("POST", "metadata"): "WriteMetadata",
    ("DELETE", "metadata"): "DeleteMetadata",
    ("GET", "config"): "ReadConfig",
    ("POST", "config"): "WriteConfig",
}
AREAS = {area for _, area in _KV}
_FIXED = {
    ("GET", "auth/token/lookup-self"): "LookupSelf",
    ("POST", "auth/token/renew-self"): "RenewSelf",
    ("POST", "auth/token/revoke-self"): "RevokeSelf",
    ("POST", "sys/capabilities-self"): "CapabilitiesSelf",
    ("GET", "sys/health"): "Health",
    ("HEAD", "sys/health"): "Health",
    ("GET", "sys/seal-status"): "SealStatus",
}


@dataclass(frozen=True)
class Route:
    operation: str
    method: str
    path: str  #: as policies name it
    namespace: str
    mount: str | None = None  #: of an engine or a method
    area: str = ""  #: of an engine: data, metadata, …
    rest: str = ""

    @property
    def capability(self) -> str:
        """What a policy must allow; `create` or `update` depends on what is there."""
        return {"GET": "read", "LIST": "list", "DELETE": "delete"}.get(self.method, "update")


def route(request: Request, engines: Collection[Mounted], methods: Mapping[Mounted, str]) -> Route:
    method, path = _asked(request)
    namespace = request.headers.get("x-vault-namespace", "").strip("/")
    if found := _FIXED.get((method, path)):
        return Route(found, method, path, namespace)
    if path.startswith("auth/"):
        mount = path.removeprefix("auth/").removesuffix("/login")
        kind = methods.get((namespace, mount), "") if path.endswith("/login") else ""
        login = LOGINS.get(kind, NOWHERE) if method == "POST" else NOWHERE
        return Route(login, method, path, namespace, mount)
    for where, mount in engines:
        if where == namespace and path.startswith(f"{mount}/"):
            area, _, rest = path.removeprefix(f"{mount}/").partition("/")
            name = _KV.get((method, area), NOWHERE)
            complete = rest or area == "config" or method == "LIST"
            done = name if complete else NOWHERE
            return Route(done, method, path, namespace, mount, area, rest.strip("/"))
    return Route(NOWHERE, method, path, namespace)


def _asked(request: Request) -> tuple[str, str]:
    """Method and path as Vault understands them: PUT is POST, and a GET may ask for a list."""
    method = {"PUT": "POST"}.get(request.method, request.method)
    path = request.path.removeprefix("/v1/")
    if method == "GET" and request.query.get("list") == "true":
        method = "LIST"
    return (method, f"{path.rstrip('/')}/") if method == "LIST" else (method, path)
