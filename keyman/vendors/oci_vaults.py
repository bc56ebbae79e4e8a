"""The secrets of an OCI vault: the calls of its two services, and their answers in our own words.

Each call is sent once; errors are those of oci_outcomes.py, with hints that fit a vault and name
the IAM statements that may be missing. Knows nothing of what keyman keeps there or how it names
it. A content is in here only between its answer and whoever asked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from keyman.clock import Clock
from keyman.errors import ProviderFailed, SecretDamaged
from keyman.vendors.network import Network
from keyman.vendors.oci import Service
from keyman.vendors.oci_iam import vault_statements
from keyman.vendors.oci_identity import Auth, Identity
from keyman.vendors.oci_outcomes import LIMITS, Collided, Refused

T = TypeVar("T")
PAGES = 1000
MANAGE, READ = "manage secret-family", "read secret-bundles"
ENCRYPT = (MANAGE, "use vaults", "use keys")  # contents are encrypted under the vault's key
_RELATED = "RelatedResourceNotAuthorizedOrNotFound"
_FULL = (
    "a vault secret has room for 30 versions and 30 more that are pending deletion, 20 each in the"
    " always-free tier, a tenancy for 5,000 secrets: delete what is not keyman's, or wait a day"
)
_NOT_TAKEN = "compare prefix, vault_id and key_id in the configuration with what is there"


@dataclass(frozen=True, slots=True)
class Where:
    """A vault, how it is reached, and who asks."""

    region: str | None
    compartment_id: str
    vault_id: str
    key_id: str
    auth: Auth
    management: str | None = None  #: endpoint; None: the region's
    retrieval: str | None = None


@dataclass(frozen=True, slots=True)
class SecretSeen:
    id: str
    name: str
    state: str
    tags: Mapping[str, str]
    etag: str | None


@dataclass(frozen=True, slots=True)
class VersionSeen:
    number: int
    name: str
    stages: frozenset[str]
    going: bool  #: its deletion is scheduled, or over


class Vaults:
    """The secrets of one vault. `clients` gives the SDK's classes: management, then retrieval."""

    def __init__(
        self,
        where: Where,
        clients: tuple[Callable[[], Any], Callable[[], Any]],
        *,
        network: Network,
        clock: Clock,
        deadline: float,
    ) -> None:
        self._where = where
        identity = Identity(where.auth, where.region, network)
        endpoints = (where.management, where.retrieval)
        self._management, self._retrieval = (
            Service(
                client,
                identity,
                endpoint=endpoint,
                network=network,
                clock=clock,
                permission="",  # said by `_needs`, call by call
                deadline=deadline,
            )
            for client, endpoint in zip(clients, endpoints, strict=True)
        )

    def close(self) -> None:
        self._management.close()
        self._retrieval.close()

    def named(self, name: str | None = None) -> list[SecretSeen]:
        """The secrets of the vault, or those of that name, as lists show them: without etag."""
        by_name = {} if name is None else {"name": name}
        compartment, vault = self._where.compartment_id, self._where.vault_id

        def send(client: Any, onward: dict[str, str]) -> Any:
            return client.list_secrets(compartment, vault_id=vault, limit=100, **by_name, **onward)

        return [_secret(item, {}) for item in self._pages("list the vault's secrets", send)]

    def look(self, secret: str) -> SecretSeen:
        return self._ask(
            self._management,
            f"show the vault secret {secret}",
            lambda client: client.get_secret(secret),
            _secret,
        )

    def versions(self, secret: str) -> tuple[VersionSeen, ...]:
        def send(client: Any, onward: dict[str, str]) -> Any:
            return client.list_secret_versions(secret, limit=100, **onward)

        what = f"list the versions of the vault secret {secret}"
        return tuple(_version(item) for item in self._pages(what, send))

    def content(self, secret: str, *, number: int | None = None, name: str | None = None) -> str:
        """What the version of that number or name holds. SecretDamaged if it is no text."""
        version = {"secret_version_name": name} if number is None else {"version_number": number}
        what = f"give a version of the vault secret {secret} ({name or number})"
        return self._ask(
            self._retrieval,
            what,
            lambda client: client.get_secret_bundle(secret, **version),
            lambda data, _: _content(data, number, name),
            needs=(READ,),
        )

    def create(self, name: str, content: dict[str, Any], tags: Mapping[str, str]) -> str:
        """Make a secret; `content` as `contents` builds it. Returns the secret's id."""
        body = {
            "compartmentId": self._where.compartment_id,
            "vaultId": self._where.vault_id,
            "keyId": self._where.key_id,
            "secretName": name,
            "secretContent": content,
            "freeformTags": dict(tags),
        }
        return self._ask(
            self._management,
            f"make the vault secret {name}",
            lambda client: client.create_secret(body),
            lambda data, _: _text(data["id"]),
            changes=True,
            needs=ENCRYPT,
        )

    def change(self, secret: SecretSeen, body: dict[str, Any], *, etag: str | None = None) -> None:
        """Update a secret, unless it has changed since it was seen."""
        # A repeat is told apart by the name of the version: this call takes no retry token.
        match = {"if_match": etag or secret.etag} if etag or secret.etag else {}
        self._ask(
            self._management,
            f"change the vault secret {secret.name}",
            lambda client: client.update_secret(secret.id, body, **match),
            lambda data, _: _text(data["id"]),
            changes=True,
            needs=ENCRYPT if "secretContent" in body else (MANAGE,),
        )

    def destroy(self, secret: SecretSeen, number: int, at: datetime) -> None:
        """Have a version deleted at that time. It must be DEPRECATED."""
        body = {"timeOfDeletion": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        self._ask(
            self._management,
            f"delete version {number} of the vault secret {secret.name}",
            lambda client: client.schedule_secret_version_deletion(secret.id, number, body),
            lambda _data, _headers: None,
            changes=True,
        )

    def _pages(self, what: str, send: Callable[..., Any]) -> Iterator[Any]:
        onward: dict[str, str] = {}
        for _ in range(PAGES):
            items, page = self._ask(
                self._management,
                what,
                partial(send, onward=onward),
                lambda data, headers: (_items(data), headers.get("opc-next-page")),
            )
            yield from items
            if not page:
                return
            onward = {"page": page}

    def _ask(
        self,
        service: Service,
        what: str,
        send: Callable[[Any], Any],
        read: Callable[[Any, Mapping[str, str]], T],
        *,
        changes: bool = False,
        needs: tuple[str, ...] = (MANAGE,),
    ) -> T:
        try:
            return service.call(what, send, read, changes=changes)
        except Refused as refusal:
            refusal.hint = self._hint(refusal, needs)
            raise
        except ProviderFailed as failure:
            failure.hint = failure.hint.replace("`endpoint`", "`management` and `retrieval`")
            raise

    def _hint(self, refusal: Refused, needs: tuple[str, ...]) -> str:
        if refusal.status in (403, 404) or refusal.reason == _RELATED:
            statements = "; ".join(f"`{statement}`" for statement in self._needs(needs))
            return (
                "OCI gives one answer for two causes. Either it does not exist in this region and"
                " compartment (compare compartment_id, vault_id, key_id and region), or keyman may"
                f" not do this: the IAM statements for it are {statements}"
            )
        if refusal.status == 401:
            return refusal.hint
        return _FULL if refusal.reason in LIMITS else _NOT_TAKEN

    def _needs(self, allowed: tuple[str, ...]) -> list[str]:
        return vault_statements(allowed, self._where.compartment_id, self._where.auth.kind)


def contents(version_name: str, text: str, stage: str = "PENDING") -> dict[str, Any]:
    """A version to be staged; while it is PENDING, nobody gets it unasked."""
    content = base64.b64encode(text.encode()).decode()
    return {
        "contentType": "BASE64",
        "name": version_name,
        "stage": stage,
        "content": content,
    }


def maybe_taken(refusal: Refused | Collided) -> bool:
    """Can it mean that a name is taken already? OCI says so with 400 and a code of many uses."""
    return refusal.status in (400, 409) and refusal.reason not in {*LIMITS, _RELATED}


def _secret(data: Any, headers: Mapping[str, str]) -> SecretSeen:
    tags = {str(name): str(value) for name, value in (data.get("freeformTags") or {}).items()}
    return SecretSeen(
        _text(data["id"]),
        _text(data["secretName"]),
        _text(data["lifecycleState"]),
        tags,
        headers.get("etag"),
    )


def _version(data: Any) -> VersionSeen:
    return VersionSeen(
        int(data["versionNumber"]),
        str(data.get("name") or ""),
        frozenset(str(stage) for stage in data.get("stages") or ()),
        going=bool(data.get("timeOfDeletion")),
    )


def _content(data: Any, number: int | None, name: str | None) -> str:
    if data["versionNumber" if name is None else "versionName"] != (number or name):
        raise ValueError("about another version")
    try:
        return base64.b64decode(data["secretBundleContent"]["content"], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise SecretDamaged(f"the vault's version {number or name} holds no text") from None


def _items(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise TypeError("not a list")
    return data


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("a text is missing")
    return value
