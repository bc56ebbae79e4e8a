"""Stores in HashiCorp Vault or OpenBao: an engine of KV version 2."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from keyman.config import values
from keyman.config.places import Anchor
from keyman.config.schema import (
    Contradiction,
    SecretText,
    Section,
    SomeTime,
    StoreSection,
    Text,
    Url,
    scalar,
)
from keyman.config.store_settings import HashicorpVault, VaultAuth

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
VaultPath = Annotated[str, scalar(values.vault_path)]


class VaultAuthSection(Section):
    kind: Literal["token", "approle", "kubernetes"] = "token"
    mount: VaultPath | None = None
    token: SecretText | None = None
    token_file: Text | None = None
    role_id: Text | None = None
    secret_id: SecretText | None = None
    role: Text | None = None
    jwt: Text = SERVICE_ACCOUNT

    def auth(self, anchor: Anchor) -> VaultAuth:
        return VaultAuth(
            self.kind,
            mount=self.mount,
            token=self.token,
            token_file=anchor.path(self.token_file) if self.token_file else None,
            role_id=self.role_id,
            secret_id=self.secret_id,
            role=self.role,
            jwt=anchor.path(self.jwt),
        )

    def missing(self) -> str | None:
        if self.kind == "token" and (self.token is None) == (self.token_file is None):
            return "give either token (best as !file or !env) or token_file"
        if self.kind == "approle" and self.role_id is None:
            return "role_id is required"
        if self.kind == "kubernetes" and self.role is None:
            return "role is required"
        return None


class VaultSection(StoreSection):
    kind: Literal["vault"]
    address: Url | None = None
    mount: VaultPath = "secret"
    prefix: VaultPath = "keyman"
    namespace: VaultPath | None = None
    auth: VaultAuthSection = VaultAuthSection()
    ca_bundle: Text | None = None
    timeout: SomeTime = timedelta(seconds=10)

    def place(self, anchor: Anchor) -> HashicorpVault:
        return HashicorpVault(
            address=(self.address or "").rstrip("/"),
            mount=self.mount,
            prefix=self.prefix,
            namespace=self.namespace,
            auth=self.auth.auth(anchor),
            ca_bundle=anchor.path(self.ca_bundle) if self.ca_bundle else None,
            timeout=self.timeout,
        )

    def contradictions(self) -> Iterator[Contradiction]:
        if self.address is None:
            yield Contradiction(("address",), "address is required (https://HOST:8200)")
        elif self.address.endswith("/v1"):
            yield Contradiction(("address",), "address must end before /v1, which keyman adds")
        missing = self.auth.missing()
        if missing:
            yield Contradiction(("auth",), missing, at=("auth",))
