"""Credentials of `static`: secrets that somebody brings with `keyman put`.

Nothing is issued, so of a policy only `rotate_before` has a meaning: the first warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Literal

from keyman.config import values
from keyman.config.places import Anchor
from keyman.config.schema import (
    Contradiction,
    CredentialSection,
    Section,
    SomeTime,
    Url,
    refused,
    scalar,
)
from keyman.config.settings import StaticOptions
from keyman.core.policy import Policy, RetireBy, Verification

FIRST_WARNING = timedelta(days=14)

_BY_HAND = "means nothing here: the secret comes by hand, and keyman only watches its expiry"
Pointless = Annotated[None, refused(_BY_HAND)]


class StaticVerifySection(Section):
    get: Annotated[str, scalar(values.path)] | None = None


class StaticPolicySection(Section):
    rotate_before: SomeTime = FIRST_WARNING
    lifetime: Pointless = None
    overlap: Pointless = None
    max_overlap: Pointless = None
    wait_for_clients: Pointless = None
    retire: Pointless = None
    window: Pointless = None


class StaticSection(CredentialSection):
    provider: Literal["static"]
    base_url: Url | None = None
    expires_at: Annotated[datetime, scalar(values.moment)] | None = None
    verify: StaticVerifySection = StaticVerifySection()
    policy: StaticPolicySection = StaticPolicySection()

    def over(self, usual: Policy) -> Policy:
        return replace(
            usual,
            lifetime=values.LONGEST,
            rotate_before=self.policy.rotate_before,
            max_overlap=None,
            retire=RetireBy.KEEP,
            window=None,
            verify=Verification(successes=1 if self.verify.get else 0),
        )

    def policy_problems(self, policy: Policy) -> list[str]:
        """None: there is no lifetime that anything could exceed."""
        return []

    def options(self, anchor: Anchor) -> StaticOptions:
        return StaticOptions(self.base_url, self.expires_at, self.verify.get)

    def contradictions(self) -> Iterator[Contradiction]:
        if self.verify.get and not self.base_url:
            text = "base_url is required: verify.get is a path below it"
            yield Contradiction(("base_url", "verify"), text)
        yield from super().contradictions()
