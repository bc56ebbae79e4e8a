"""The configuration as the rest of keyman sees it: plain frozen values, everything filled in.

Paths are absolute, durations are timedeltas, defaults are merged. Nothing here knows of YAML.
Secrets among them are `Secret`, so that settings may be printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TypedDict

from keyman.config.notify_settings import NotifyTarget
from keyman.config.store_settings import DEFAULT, OciAuth, StoreSettings
from keyman.core.model import Secret, Spec
from keyman.core.policy import Policy


@dataclass(frozen=True, slots=True)
class TlsFiles:
    cert: Path  #: PEM: the agent's certificate, and those between it and an authority
    key: Path  #: PEM, not encrypted


@dataclass(frozen=True, slots=True)
class Listen:
    """Where in the network the agent answers clients with tokens, beside its socket."""

    host: str  #: an address
    port: int
    tls: TlsFiles | None = None  #: None only on an address of this machine alone
    hosts: tuple[str, ...] = ()  #: what else clients call it, perhaps with another port


@dataclass(frozen=True, slots=True)
class AgentSettings:
    socket: Path
    allow_uids: tuple[int, ...] = ()  #: beside the daemon's own and root
    listen: Listen | None = None


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    proxy: str | None = None
    ca_bundle: Path | None = None


@dataclass(frozen=True, slots=True)
class LogSettings:
    level: str = "info"  #: debug | info | warning | error
    format: str = "text"  #: text | json


@dataclass(frozen=True, slots=True)
class EnvNames:
    """What `keyman env` and `keyman run` call a credential's secret and its address."""

    key: str = "OPENAI_API_KEY"
    base_url: str = "OPENAI_BASE_URL"


class Traits(TypedDict, total=False):
    """What the core must know of a kind of provider: the members of `Spec` of the same names."""

    slots: tuple[str, ...]
    key_id: str | None
    observes: bool
    claims: bool
    issues: bool
    probes: bool
    revokes: bool
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class OciVerify:
    """What to ask inference for when a new secret is tried."""

    model: str
    successes: int
    every: timedelta
    within: timedelta


@dataclass(frozen=True, slots=True)
class OciGenaiOptions:
    region: str | None  #: None only if endpoint and base_url are both given
    compartment_id: str | None  #: None only if api_key_id is given
    api_key_id: str | None
    slots: tuple[str, ...]
    auth: OciAuth
    endpoint: str | None  #: control plane; None leaves it to the SDK and the region
    base_url: str  #: inference
    verify: OciVerify
    late_after: timedelta  #: a call without an answer may still take effect so much later

    def traits(self) -> Traits:
        return {"slots": self.slots, "key_id": self.api_key_id}


@dataclass(frozen=True, slots=True)
class GoogleSource:
    """Where Google's access tokens come from."""

    kind: str  #: service-account | authorized-user | external-account | impersonate | metadata | …
    file: Path | None = None  #: for the first three kinds, and there always set
    target: str | None = None  #: impersonate: whose tokens; this and the rest for that kind only
    lifetime: timedelta = timedelta(hours=1)
    delegates: tuple[str, ...] = ()
    origin: GoogleSource | None = None  #: who impersonates (`from`); there always set


@dataclass(frozen=True, slots=True)
class GoogleEndpoints:
    """Addresses to ask instead of Google's own."""

    token: str | None = None
    iam: str | None = None
    sts: str | None = None
    metadata: str | None = None


@dataclass(frozen=True, slots=True)
class GoogleOptions:
    project: str | None  #: None only if base_url was given
    location: str
    endpoint_id: str
    base_url: str  #: inference
    source: GoogleSource
    scopes: tuple[str, ...]
    endpoints: GoogleEndpoints
    quota_project: str | None  #: None: what the source's file says, if it does
    late_after: timedelta = timedelta(0)  #: a token that comes late takes nothing from anybody

    def traits(self) -> Traits:
        return {"observes": False, "claims": False, "probes": False, "revokes": False}


@dataclass(frozen=True, slots=True)
class OpenaiVerify:
    successes: int
    every: timedelta
    within: timedelta


@dataclass(frozen=True, slots=True)
class OpenaiOptions:
    admin_key: Secret | None  #: exactly one of this and the next
    admin_credential: str | None  #: the credential whose current secret is the admin key
    key_type: str  #: service-account | admin
    project_id: str | None  #: this and the next: for service accounts, and there always set
    service_account_id: str | None
    base_url: str
    verify: OpenaiVerify
    late_after: timedelta  #: a call without an answer may still take effect so much later

    def traits(self) -> Traits:
        return {"claims": False}


@dataclass(frozen=True, slots=True)
class StaticOptions:
    base_url: str | None
    expires_at: datetime | None  #: as somebody told us
    verify_get: str | None  #: the path below base_url that accepts the secret
    late_after: timedelta = timedelta(0)  #: nothing is ever asked for

    def traits(self) -> Traits:
        return {
            "observes": False,
            "claims": False,
            "issues": False,
            "probes": self.verify_get is not None,
            "revokes": False,
            "expires_at": self.expires_at,
        }


Options = OciGenaiOptions | GoogleOptions | OpenaiOptions | StaticOptions


@dataclass(frozen=True, slots=True)
class CredentialSettings:
    name: str
    provider: str
    policy: Policy
    options: Options
    env: EnvNames
    allow_uids: tuple[int, ...] | None = None  #: of the agent's, who may look it up; None: all
    store: str = DEFAULT  #: where its secrets rest
    mirrors: tuple[str, ...] = ()  #: stores that hold what may be used of it as well

    def spec(self, installation: str) -> Spec:
        """What the core needs to know of it, in the name of this installation."""
        return spec_of(self.name, self.provider, self.policy, self.options, installation)


def spec_of(name: str, provider: str, policy: Policy, options: Options, installation: str) -> Spec:
    return Spec(
        name=name,
        provider=provider,
        policy=policy,
        installation=installation,
        late=options.late_after,
        **options.traits(),
    )


@dataclass(frozen=True, slots=True)
class Settings:
    home: Path
    source: Path | None  #: the file that was read
    database: str  #: an SQLAlchemy address
    stores: Mapping[str, StoreSettings]  #: by name; `store` is always there
    agent: AgentSettings
    network: NetworkSettings = NetworkSettings()
    log: LogSettings = LogSettings()
    defaults: Policy = field(default_factory=Policy)
    notify: tuple[NotifyTarget, ...] = ()
    credentials: Mapping[str, CredentialSettings] = field(
        default_factory=lambda: MappingProxyType({})
    )

    @property
    def store(self) -> StoreSettings:
        """Where the secrets of credentials rest that say nothing of it."""
        return self.stores[DEFAULT]

    @property
    def allow_uids(self) -> dict[str, tuple[int, ...]]:
        """Name → who of `agent.allow_uids` may look it up, where that is not everyone."""
        every = self.credentials.values()
        return {one.name: one.allow_uids for one in every if one.allow_uids is not None}
