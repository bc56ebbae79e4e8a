"""The configuration as the rest of keyman sees it: plain frozen values, everything filled in.

Paths are absolute, durations are timedeltas, defaults are merged. Nothing here knows of YAML.
Secrets among them are `Secret`, so that settings may be printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from keyman.core.model import Secret, Spec
from keyman.core.policy import Policy


@dataclass(frozen=True, slots=True)
class StoreKey:
    """Where the key comes from under which a sealed file is sealed."""

    kind: str  #: file | keyring | passphrase | systemd-credential | env
    path: Path  #: for kinds file and passphrase
    passphrase: Secret | None = None  #: for kind passphrase, and there always set
    name: str | None = None  #: for kind systemd-credential; this and the rest: None is the usual
    variable: str | None = None  #: for kind env
    backend: str | None = None  #: for kind keyring
    service: str | None = None  #: for kind keyring


@dataclass(frozen=True, slots=True)
class StoreSettings:
    kind: str  #: sealed-file | keyring | memory
    path: Path  #: for kind sealed-file
    key: StoreKey  #: for kind sealed-file
    backend: str | None = None  #: for kind keyring: which one; None for the platform's own
    service: str | None = None  #: for kind keyring

    def options(self) -> dict[str, Any]:
        """All but the kind, by the names of the file, as the stores take them."""
        key = {item.name: getattr(self.key, item.name) for item in fields(self.key)}
        return {"path": self.path, "backend": self.backend, "service": self.service, "key": key}


@dataclass(frozen=True, slots=True)
class AgentSettings:
    socket: Path
    allow_uids: tuple[int, ...] = ()  #: beside the daemon's own and root


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


@dataclass(frozen=True, slots=True)
class OciAuth:
    """How keyman itself signs in to Oracle's control plane."""

    kind: str  #: config-file | session-token | instance-principal | resource-principal | …
    file: Path  #: the SDK's configuration file, for the first two kinds
    profile: str = "DEFAULT"
    token: Path | None = None  #: session token; None: where the profile says


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


@dataclass(frozen=True, slots=True)
class CredentialSettings:
    name: str
    provider: str
    policy: Policy
    options: OciGenaiOptions
    env: EnvNames

    def spec(self, installation: str) -> Spec:
        """What the core needs to know of it, in the name of this installation."""
        return Spec(
            name=self.name,
            provider=self.provider,
            policy=self.policy,
            slots=self.options.slots,
            key_id=self.options.api_key_id,
            installation=installation,
            late=self.options.late_after,
        )


@dataclass(frozen=True, slots=True)
class Settings:
    home: Path
    source: Path | None  #: the file that was read
    database: str  #: an SQLAlchemy address
    store: StoreSettings
    agent: AgentSettings
    network: NetworkSettings = NetworkSettings()
    log: LogSettings = LogSettings()
    defaults: Policy = field(default_factory=Policy)
    credentials: Mapping[str, CredentialSettings] = field(
        default_factory=lambda: MappingProxyType({})
    )
