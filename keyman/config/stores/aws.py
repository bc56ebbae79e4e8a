"""Stores in AWS Secrets Manager."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from keyman.config import values
from keyman.config.places import Anchor
from keyman.config.schema import Contradiction, SomeTime, StoreSection, Text, Url, scalar
from keyman.config.store_settings import AwsSecretsManager


class AwsSection(StoreSection):
    kind: Literal["aws-secrets-manager"]
    region: Annotated[str, scalar(values.region)] | None = None
    prefix: Annotated[str, scalar(values.secret_path)] = "keyman/"
    profile: Annotated[str, scalar(values.profile)] | None = None
    kms_key_id: Text | None = None
    endpoint: Url | None = None
    timeout: SomeTime = timedelta(seconds=10)

    def place(self, anchor: Anchor) -> AwsSecretsManager:
        return AwsSecretsManager(
            region=self.region or "",
            prefix=self.prefix,
            profile=self.profile,
            kms_key_id=self.kms_key_id,
            endpoint=self.endpoint,
            timeout=self.timeout,
        )

    def contradictions(self) -> Iterator[Contradiction]:
        if self.region is None:
            yield Contradiction(("region",), "region is required (eu-central-1 for example)")
