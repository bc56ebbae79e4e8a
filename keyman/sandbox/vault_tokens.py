"""Who may do what at the imitated Vault: tokens and their leases, policies, two ways to sign in.

Knows no HTTP. A policy is a table of paths, or the text that an operator would upload.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keyman.sandbox.server import Json, RefusedError

Policy = Mapping[str, Iterable[str]]
_STANZA = re.compile(r'path\s+"([^"]+)"\s*\{\s*capabilities\s*=\s*\[([^\]]*)\]\s*\}')
_DEFAULT = {
    "auth/token/lookup-self": ["read"],
    "auth/token/renew-self": ["update"],
    "auth/token/revoke-self": ["update"],
    "sys/capabilities-self": ["update"],
}
_INVALID = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"
_DENIED = "1 error occurred:\n\t* permission denied\n\n"


@dataclass
class Token:
    id: str
    accessor: str
    policies: list[str]
    begun: datetime
    ttl: float  #: seconds; 0: without end
    ends: datetime | None
    namespace: str = ""
    longest: float = 0.0  #: seconds after which no renewal helps; 0: none
    renewable: bool = True
    uses: int = 0  #: left; 0: any number
    metadata: dict[str, str] | None = None

    def auth(self, lease: float) -> Json:
        """The `auth` of an envelope."""
        return {
            "client_token": self.id,
            "accessor": self.accessor,
            "policies": self.policies,
            "token_policies": self.policies,
            "metadata": self.metadata,
            "lease_duration": int(lease),
            "renewable": self.renewable,
            "entity_id": "",
            "token_type": "service",
            "orphan": True,
            "mfa_requirement": None,
            "num_uses": self.uses,
        }


@dataclass
class Role:
    """What a sign-in brings: of approle with its secret ids, of kubernetes with its accounts."""

    policies: list[str]
    ttl: float = 3600.0
    longest: float = 0.0
    token_uses: int = 0
    renewable: bool = True
    role_id: str = ""
    secret_ids: dict[str, int] = field(
        default_factory=dict
    )  #: how often each still serves; 0: ever
    needs_secret_id: bool = True
    accounts: set[str] = field(default_factory=set)  #: service accounts, as NAMESPACE/NAME


class Tokens:
    """All tokens, policies and roles. Roles are kept by namespace, mount and name."""

    def __init__(self, now: Callable[[], datetime], random_text: Callable[[int], str]) -> None:
        self._now, self._random_text = now, random_text
        self.tokens: dict[str, Token] = {}
        self.policies: dict[str, dict[str, list[str]]] = {"default": _DEFAULT, "root": {}}
        self.approles: dict[tuple[str, str, str], Role] = {}
        self.kubernetes: dict[tuple[str, str, str], Role] = {}
        self.jwts: dict[str, str] = {}  #: a service account's token → NAMESPACE/NAME
        self.invalid_is_told = True

    def allow(self, name: str, policy: Policy | str) -> None:
        stanzas = _parsed(policy) if isinstance(policy, str) else policy
        self.policies[name] = {path: list(names) for path, names in stanzas.items()}

    def make(
        self, policies: Iterable[str], *, ttl: float = 0.0, longest: float = 0.0, **more: object
    ) -> Token:
        now = self._now()
        given = sorted({*policies} | (set() if "root" in policies else {"default"}))
        ends = now + timedelta(seconds=ttl) if ttl else None
        token = Token(
            f"hvs.{self._random_text(24)}",
            self._random_text(18),
            given,
            now,
            ttl,
            ends,
            longest=longest,
            **more,  # type: ignore[arg-type]
        )
        self.tokens[token.id] = token
        return token

    def find(self, given: str | None, namespace: str) -> Token:
        """Whose token it is; one use less from now on."""
        if not given:
            raise RefusedError(403, "", "permission denied")
        token = self.tokens.get(given)
        within = token and f"{namespace}/".startswith(
            f"{token.namespace}/" if token.namespace else ""
        )
        if token is None or not within or (token.ends and token.ends <= self._now()):
            raise RefusedError(403, "", _INVALID if self.invalid_is_told else "permission denied")
        if token.uses == 1:
            del self.tokens[token.id]
        token.uses = max(0, token.uses - 1)
        return token

    def renew(self, token: Token) -> float:
        """The lease it has now, in seconds."""
        if not token.renewable or token.ends is None:
            raise RefusedError(400, "", "lease is not renewable")
        now, lease = self._now(), token.ttl
        if token.longest:
            left = token.begun + timedelta(seconds=token.longest) - now
            lease = min(lease, left.total_seconds())
        token.ends = now + timedelta(seconds=lease)
        return lease

    def told(self, token: Token) -> Json:
        """What lookup-self tells."""
        left = (token.ends - self._now()).total_seconds() if token.ends else 0
        return {
            "id": token.id,
            "accessor": token.accessor,
            "policies": token.policies,
            "creation_time": int(token.begun.timestamp()),
            "creation_ttl": int(token.ttl),
            "ttl": int(left),
            "renewable": token.renewable and token.ends is not None,
            "expire_time": token.ends.isoformat() if token.ends else None,
            "explicit_max_ttl": 0,
            "num_uses": token.uses,
            "orphan": True,
            "path": "auth/token/create",
            "type": "service",
            "meta": token.metadata,
        }

    def capabilities(self, token: Token, path: str) -> list[str]:
        """Sorted; `deny` alone if there are none."""
        if "root" in token.policies:
            return ["root"]
        found: dict[str, set[str]] = {}
        for policy in token.policies:
            for pattern, names in self.policies.get(policy, {}).items():
                if _matches(pattern, path):
                    found.setdefault(pattern, set()).update(names)
        best = found[max(found, key=_priority)] if found else set()
        return ["deny"] if not best or "deny" in best else sorted(best)

    def check(self, token: Token, path: str, capability: str) -> None:
        if not {capability, "root"} & set(self.capabilities(token, path)):
            raise RefusedError(403, "", _DENIED)

    def by_approle(self, namespace: str, mount: str, given: Json) -> Token:
        if not given.get("role_id"):
            raise RefusedError(400, "", "missing role_id")
        roles = [r for (ns, m, _), r in self.approles.items() if (ns, m) == (namespace, mount)]
        role = next((role for role in roles if role.role_id == given["role_id"]), None)
        if role is None or not self._spend(role, given.get("secret_id")):
            raise RefusedError(400, "", "invalid role or secret ID")
        return self._of_role(role, namespace, {})

    def _spend(self, role: Role, secret_id: object) -> bool:
        if not role.needs_secret_id:
            return True
        left = role.secret_ids.get(str(secret_id))
        if left == 1:
            del role.secret_ids[str(secret_id)]
        elif left:
            role.secret_ids[str(secret_id)] = left - 1
        return left is not None

    def by_kubernetes(self, namespace: str, mount: str, given: Json) -> Token:
        role = self.kubernetes.get((namespace, mount, str(given.get("role"))))
        if role is None:
            raise RefusedError(400, "", f"invalid role name {given.get('role')!r}")
        account = self.jwts.get(str(given.get("jwt")))
        if account is None:
            raise RefusedError(403, "", "permission denied")
        if account not in role.accounts:
            raise RefusedError(403, "", "service account name not authorized")
        return self._of_role(role, namespace, {"service_account_name": account})

    def _of_role(self, role: Role, namespace: str, metadata: dict[str, str]) -> Token:
        return self.make(
            role.policies,
            ttl=role.ttl,
            longest=role.longest,
            namespace=namespace,
            uses=role.token_uses,
            renewable=role.renewable,
            metadata=metadata,
        )


def _parsed(text: str) -> dict[str, list[str]]:
    stanzas = {path: re.findall(r'"([^"]+)"', names) for path, names in _STANZA.findall(text)}
    left = re.sub(r"#[^\n]*", "", _STANZA.sub("", text)).strip()
    if left or not stanzas:
        raise RefusedError(400, "", "failed to parse policy")
    return stanzas


def _matches(pattern: str, path: str) -> bool:
    glob = pattern.endswith("*")
    parts = [re.escape(part) for part in pattern.removesuffix("*").split("+")]
    found = re.fullmatch("[^/]+".join(parts) + (".*" if glob else ""), path, re.DOTALL)
    return found is not None


def _priority(pattern: str) -> tuple[int, bool, int, int, str]:
    """Which of several matching patterns counts, as HashiCorp's page on policies ranks them."""
    wild = [pattern.find(sign) for sign in "+*" if sign in pattern]
    first = min(wild, default=len(pattern) + 1)
    return first, not pattern.endswith("*"), -pattern.count("+"), len(pattern), pattern
