"""Credentials of `openai`: keys of one service account, or admin keys, through the Admin API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from keyman.config import values
from keyman.config.places import Anchor
from keyman.config.schema import (
    Contradiction,
    CredentialSection,
    Duration,
    PolicySection,
    Section,
    Url,
    VerifySection,
    scalar,
)
from keyman.config.settings import OpenaiOptions, OpenaiVerify
from keyman.core.model import Secret
from keyman.core.policy import Policy, RetireBy

LONGEST_LIFE = timedelta(days=365)
ADMIN_KEY = "must be the key itself (best !env or !file), or {credential: NAME}"


class CredentialReference(Section):
    """Another credential, whose current secret is meant."""

    credential: Annotated[str, scalar(values.name)]


def _key_or_reference(raw: Any, follow: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(raw, str):
        return values.secret(raw)
    if not isinstance(raw, dict):
        raise ValueError(ADMIN_KEY)  # noqa: TRY004  (pydantic collects ValueErrors)
    return follow(raw)


if TYPE_CHECKING:
    AdminKey = Secret | CredentialReference
else:
    # Not a union for pydantic: its complaints would name the alternatives instead of the key.
    AdminKey = Annotated[CredentialReference, WrapValidator(_key_or_reference)]


class OpenaiSection(CredentialSection):
    provider: Literal["openai"]
    admin_key: AdminKey | None = None
    key_type: Literal["service-account", "admin"] = "service-account"
    project_id: Annotated[str, scalar(values.project_id)] | None = None
    service_account_id: Annotated[str, scalar(values.service_account_id)] | None = None
    base_url: Url = "https://api.openai.com/v1"
    verify: VerifySection = VerifySection()
    late_after: Duration = timedelta(minutes=6)
    policy: PolicySection = PolicySection()

    def over(self, usual: Policy) -> Policy:
        policy = replace(self.policy.over(usual), verify=self.verify.proof)
        if policy.retire is RetireBy.DEACTIVATE:  # the default means: switch it off
            policy = replace(policy, retire=RetireBy.REVOKE)
        return policy

    def policy_problems(self, policy: Policy) -> list[str]:
        said = policy.problems()
        if policy.lifetime > LONGEST_LIFE:
            said.append("lifetime must be at most 365d: OpenAI makes no key that lives longer")
        return said

    def options(self, anchor: Anchor) -> OpenaiOptions:
        given, verify = self.admin_key, self.verify
        return OpenaiOptions(
            admin_key=given if isinstance(given, Secret) else None,
            admin_credential=None if isinstance(given, Secret | None) else given.credential,
            key_type=self.key_type,
            project_id=self.project_id,
            service_account_id=self.service_account_id,
            base_url=self.base_url,
            verify=OpenaiVerify(verify.successes, verify.every, verify.within),
            late_after=self.late_after,
        )

    def contradictions(self) -> Iterator[Contradiction]:
        if self.admin_key is None:
            text = "admin_key is required: it " + ADMIN_KEY
            yield Contradiction(("admin_key",), text)
        for key in ("project_id", "service_account_id"):
            given = getattr(self, key) is not None
            if self.key_type == "admin" and given:
                text = "an admin key belongs to the organization: it has no project and no account"
                yield Contradiction(("key_type", key), text, at=(key,))
            elif self.key_type != "admin" and not given:
                text = f"{key} is required (unless key_type is admin)"
                yield Contradiction(("key_type", key), text)
        if "retire" in self.policy.model_fields_set and self.policy.retire is RetireBy.DEACTIVATE:
            text = "OpenAI can't switch a key off: revoke (which deletes it) or keep"
            yield Contradiction(("policy",), text, at=("policy", "retire"))
        yield from self.verify.contradictions()
        yield from super().contradictions()
