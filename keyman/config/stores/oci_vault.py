"""Stores in OCI Vault."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from keyman.config import values
from keyman.config.places import Anchor
from keyman.config.schema import Contradiction, SomeTime, StoreSection, Url, scalar
from keyman.config.signing_in import OciAuthSection
from keyman.config.store_settings import OciVault

SecretName = Annotated[str, scalar(values.secret_prefix)]


class OciVaultSection(StoreSection):
    kind: Literal["oci-vault"]
    region: Annotated[str, scalar(values.region)] | None = None
    compartment_id: Annotated[str, scalar(values.compartment_id)] | None = None
    vault_id: Annotated[str, scalar(values.vault_id)] | None = None
    key_id: Annotated[str, scalar(values.master_key_id)] | None = None
    prefix: SecretName = "keyman-"
    auth: OciAuthSection = OciAuthSection()
    management: Url | None = None
    retrieval: Url | None = None
    timeout: SomeTime = timedelta(seconds=20)

    def place(self, anchor: Anchor) -> OciVault:
        return OciVault(
            region=self.region,
            compartment_id=self.compartment_id or "",
            vault_id=self.vault_id or "",
            key_id=self.key_id or "",
            prefix=self.prefix,
            auth=self.auth.auth(anchor),
            management=self.management,
            retrieval=self.retrieval,
            timeout=self.timeout,
        )

    def contradictions(self) -> Iterator[Contradiction]:
        for key in ("compartment_id", "vault_id", "key_id"):
            if getattr(self, key) is None:
                yield Contradiction((key,), f"{key} is required")
        if self.region is None and not (self.management and self.retrieval):
            text = "region is required (unless management and retrieval are given)"
            yield Contradiction(("region", "management", "retrieval"), text)
