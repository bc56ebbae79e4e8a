"""Credentials of `oci-genai`: API keys of OCI Generative AI with their slots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator

from keyman.config import values
from keyman.config.places import Anchor
from keyman.config.schema import (
    Contradiction,
    CredentialSection,
    Duration,
    PolicySection,
    Url,
    VerifySection,
    scalar,
    some,
)
from keyman.config.settings import OciGenaiOptions, OciVerify
from keyman.config.signing_in import OciAuthSection
from keyman.core.policy import Policy

INFERENCE = "https://inference.generativeai.{region}.oci.oraclecloud.com/20231130/actions/v1"

Slot = Annotated[str, scalar(values.slot)]


class OciVerifySection(VerifySection):
    model: Annotated[str, scalar(values.model)] = "meta.llama-3.3-70b-instruct"


class OciGenaiSection(CredentialSection):
    provider: Literal["oci-genai"]
    region: Annotated[str, scalar(values.region)] | None = None
    compartment_id: Annotated[str, scalar(values.compartment_id)] | None = None
    api_key_id: Annotated[str, scalar(values.api_key_id)] | None = None
    slots: Annotated[tuple[Slot, ...], AfterValidator(some)] = ("key-one", "key-two")
    auth: OciAuthSection = OciAuthSection()
    endpoint: Url | None = None
    base_url: Url | None = None
    verify: OciVerifySection = OciVerifySection()
    late_after: Duration = timedelta(minutes=6)
    policy: PolicySection = PolicySection()

    def over(self, usual: Policy) -> Policy:
        return replace(self.policy.over(usual), verify=self.verify.proof)

    def options(self, anchor: Anchor) -> OciGenaiOptions:
        verify = self.verify
        return OciGenaiOptions(
            region=self.region,
            compartment_id=self.compartment_id,
            api_key_id=self.api_key_id,
            slots=self.slots,
            auth=self.auth.auth(anchor),
            endpoint=self.endpoint,
            base_url=self.base_url or INFERENCE.format(region=self.region),
            verify=OciVerify(verify.model, verify.successes, verify.every, verify.within),
            late_after=self.late_after,
        )

    def contradictions(self) -> Iterator[Contradiction]:
        if self.region is None and not (self.endpoint and self.base_url):
            text = "region is required (unless endpoint and base_url are given)"
            yield Contradiction(("region", "endpoint", "base_url"), text)
        if self.api_key_id is None and self.compartment_id is None:
            text = "compartment_id is required (unless api_key_id is given)"
            yield Contradiction(("compartment_id", "api_key_id"), text)
        yield from self.verify.contradictions()
        yield from super().contradictions()
