"""Credentials of `google`: access tokens for Vertex AI's OpenAI-compatible endpoint.

A token can be had at any time and ends by itself, so little of the usual policy applies to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from keyman.config import values
from keyman.config.places import Anchor
from keyman.config.schema import (
    Contradiction,
    CredentialSection,
    Hours,
    Section,
    SomeTime,
    Text,
    Url,
    distinct,
    refused,
    scalar,
    some,
)
from keyman.config.settings import GoogleEndpoints, GoogleOptions, GoogleSource
from keyman.config.store_settings import DEFAULT
from keyman.core.policy import Policy, RetireBy, Verification

LIFE = timedelta(hours=1)
LONGEST_LIFE = timedelta(hours=12)
LEAD = timedelta(minutes=5)
SHARE = 0.25
METADATA_LEAD = timedelta(seconds=225)
"""Until shortly before a token's end the metadata server gives out the same one again."""
LONGEST_PAUSE = timedelta(minutes=1)
"""Between attempts: a token's last minutes are no time to wait for an hour."""

TAKES = {
    "service-account": {"file"},
    "authorized-user": {"file"},
    "external-account": {"file"},
    "impersonate": {"target", "lifetime", "delegates", "from"},
    "metadata": set[str](),
    "adc": set[str](),
}
NEEDS = {"file", "target"}

_NO_OVERLAP = "google has no overlap: a token works until its own end, whatever comes after it"
_NO_RETIRING = "google has nothing to retire: a token ends by itself"
_Account = Annotated[str, scalar(values.account)]
_Scope = Annotated[str, scalar(values.scope)]
_Project = Annotated[str, scalar(values.project)]


def base_url(project: str, location: str, endpoint_id: str) -> str:
    """Where OpenAI clients go for that project, location and endpoint."""
    if location == "global":
        host = "aiplatform.googleapis.com"
    elif "-" in location:
        host = f"{location}-aiplatform.googleapis.com"
    else:  # us, eu: several regions in one
        host = f"aiplatform.{location}.rep.googleapis.com"
    place = f"projects/{project}/locations/{location}"
    return f"https://{host}/v1/{place}/endpoints/{endpoint_id}"


class OriginSection(Section):
    """Who impersonates."""

    kind: (
        Literal["service-account", "authorized-user", "external-account", "metadata", "adc"] | None
    ) = None
    file: Text | None = None


class SourceSection(Section):
    kind: (
        Literal[
            "service-account",
            "authorized-user",
            "external-account",
            "impersonate",
            "metadata",
            "adc",
        ]
        | None
    ) = None
    file: Text | None = None
    target: _Account | None = None
    lifetime: SomeTime | None = None
    delegates: Annotated[tuple[_Account, ...], AfterValidator(distinct)] = ()
    origin: OriginSection | None = Field(default=None, alias="from")


class EndpointsSection(Section):
    token: Url | None = None
    iam: Url | None = None
    sts: Url | None = None
    metadata: Url | None = None


class GooglePolicySection(Section):
    lifetime: SomeTime | None = None
    rotate_before: SomeTime | None = None
    window: Hours | None = None
    overlap: Annotated[None, refused(_NO_OVERLAP)] = None
    max_overlap: Annotated[None, refused(_NO_OVERLAP)] = None
    wait_for_clients: Annotated[None, refused(_NO_OVERLAP)] = None
    retire: Annotated[None, refused(_NO_RETIRING)] = None


class GoogleSection(CredentialSection):
    provider: Literal["google"]
    project: _Project | None = None
    location: Annotated[str, scalar(values.location)] | None = None
    endpoint_id: Annotated[str, scalar(values.endpoint_id)] = "openapi"
    base_url: Url | None = None
    source: SourceSection = SourceSection()
    scopes: Annotated[tuple[_Scope, ...], AfterValidator(some)] = (
        "https://www.googleapis.com/auth/cloud-platform",
    )
    endpoints: EndpointsSection = EndpointsSection()
    quota_project: _Project | None = None
    policy: GooglePolicySection = GooglePolicySection()

    @property
    def life(self) -> timedelta:
        """How long a token lives, as far as that is known beforehand."""
        impersonates = self.source.kind == "impersonate"
        asked = self.source.lifetime or self.policy.lifetime
        return asked if asked and impersonates else LIFE

    def over(self, usual: Policy) -> Policy:
        lead, share = self._lead()
        return replace(
            usual,
            lifetime=self.life,
            rotate_before=lead,
            rotate_before_share=share,
            overlap=timedelta(0),
            max_overlap=None,
            retire=RetireBy.KEEP,
            window=self.policy.window,
            retry=replace(usual.retry, max=min(usual.retry.max, LONGEST_PAUSE)),
            verify=Verification(successes=0),
        )

    def _lead(self) -> tuple[timedelta, float]:
        if self.policy.rotate_before:
            return self.policy.rotate_before, 0.0
        repeats = self.source.kind in ("metadata", "adc")  # which may turn out to be the same
        return (METADATA_LEAD, 0.0) if repeats else (LEAD, SHARE)

    def policy_problems(self, policy: Policy) -> list[str]:
        """None of the usual ones: see `contradictions`, which know the source."""
        return []

    def options(self, anchor: Anchor) -> GoogleOptions:
        location = self.location or "global"
        derived = base_url(self.project or "", location, self.endpoint_id)
        ends = self.endpoints
        return GoogleOptions(
            project=self.project,
            location=location,
            endpoint_id=self.endpoint_id,
            base_url=self.base_url or derived,
            source=self._source(anchor),
            scopes=self.scopes,
            endpoints=GoogleEndpoints(ends.token, ends.iam, ends.sts, ends.metadata),
            quota_project=self.quota_project,
        )

    def _source(self, anchor: Anchor) -> GoogleSource:
        def file(written: str | None) -> Path | None:
            return anchor.path(written) if written else None

        source, origin = self.source, None
        kind = source.kind or ""
        if kind == "impersonate":
            who = source.origin or OriginSection(kind="adc")
            origin = GoogleSource(who.kind or "", file(who.file))
        return GoogleSource(
            kind, file(source.file), source.target, self.life, source.delegates, origin
        )

    def contradictions(self) -> Iterator[Contradiction]:
        if self.store != DEFAULT or self.mirrors:
            text = "google's tokens rest in memory only: no store holds what lives an hour"
            yield Contradiction(("store", "mirrors"), text)
        if self.base_url is None and not self.project:
            text = "project is required (unless base_url is given)"
            yield Contradiction(("project", "base_url"), text)
        if self.base_url is None and not self.location:
            text = "location is required: a region, or global (unless base_url is given)"
            yield Contradiction(("location", "base_url"), text)
        yield from _keys_of(self.source, ("source",))
        if self.source.origin:
            yield from _keys_of(self.source.origin, ("source", "from"))
        yield from self._lives()
        yield from super().contradictions()

    def _lives(self) -> Iterator[Contradiction]:
        about, lifetime = ("source", "policy"), self.policy.lifetime
        if lifetime and self.source.kind != "impersonate":
            text = "Google decides how long these tokens live; only impersonate can ask for more"
            yield Contradiction(about, text, at=("policy", "lifetime"))
            return
        if lifetime and self.source.lifetime not in (None, lifetime):
            text = "source.lifetime says otherwise: one of them is enough"
            yield Contradiction(about, text, at=("policy", "lifetime"))
        if self.life > LONGEST_LIFE:
            text = "Google lets no token live longer than 12h"
            at = ("source" if self.source.lifetime else "policy", "lifetime")
            yield Contradiction(about, text, at=at)
        lead = self._lead()[0]
        if lead >= self.life:
            text = "rotate_before (5m if nothing is said) must be less than the token's life"
            yield Contradiction(about, text, at=("policy",))


def _keys_of(source: SourceSection | OriginSection, at: tuple[str, ...]) -> Iterator[Contradiction]:
    """What this kind of source needs and is not given, and the other way round."""
    if source.kind is None:
        known = ", ".join(kind for kind in TAKES if kind != "impersonate" or len(at) == 1)
        yield Contradiction(("source",), f"kind is required: one of {known}", at=at)
        return
    given = {
        described.alias or name
        for name, described in type(source).model_fields.items()
        if name != "kind" and getattr(source, name)
    }
    takes = TAKES[source.kind]
    for key in sorted(given - takes):
        fit = " and ".join(kind for kind, keys in TAKES.items() if key in keys)
        text = f"belongs to {fit}, not to {source.kind}"
        yield Contradiction(("source",), text, at=(*at, key))
    for key in sorted((takes & NEEDS) - given):
        yield Contradiction(("source",), f"{key} is required for {source.kind}", at=at)
