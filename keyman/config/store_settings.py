"""The configuration's stores as the rest of keyman sees them: where each is, how it is entered."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from keyman.core.model import Secret

DEFAULT = "default"  # what the section `store` is called where stores are named


@dataclass(frozen=True, slots=True)
class OciAuth:
    """How keyman itself signs in to Oracle's control plane."""

    kind: str  #: config-file | session-token | instance-principal | resource-principal | …
    file: Path  #: the SDK's configuration file, for the first two kinds
    profile: str = "DEFAULT"
    token: Path | None = None  #: session token; None: where the profile says


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
class Memory:
    """Forgets everything with its process."""


@dataclass(frozen=True, slots=True)
class Keyring:
    backend: str | None = None  #: which one; None for the platform's own
    service: str | None = None  #: the name to keep secrets under; None: one per installation


@dataclass(frozen=True, slots=True)
class SealedFile:
    path: Path
    key: StoreKey


@dataclass(frozen=True, slots=True)
class VaultAuth:
    """How keyman signs in to HashiCorp Vault or OpenBao."""

    kind: str  #: token | approle | kubernetes
    mount: str | None = None  #: of the method; None: where it is usually mounted
    token: Secret | None = None  #: for kind token, unless token_file
    token_file: Path | None = None  #: for kind token; read anew whenever it is refused
    role_id: str | None = None  #: for kind approle
    secret_id: Secret | None = None  #: for kind approle; None: the role needs none
    role: str | None = None  #: for kind kubernetes
    jwt: Path | None = None  #: for kind kubernetes: the service account's token


@dataclass(frozen=True, slots=True)
class HashicorpVault:
    address: str  #: https://HOST:PORT
    mount: str  #: of the KV version 2 engine
    prefix: str  #: what all our paths begin with
    namespace: str | None
    auth: VaultAuth
    ca_bundle: Path | None  #: None: `network.ca_bundle`, else the system's
    timeout: timedelta  #: of one call


@dataclass(frozen=True, slots=True)
class OciVault:
    region: str | None  #: None: the endpoints say it
    compartment_id: str
    vault_id: str
    key_id: str  #: the symmetric master key in that vault
    prefix: str  #: what all our secrets' names begin with
    auth: OciAuth
    management: str | None  #: endpoint; None leaves it to the SDK and the region
    retrieval: str | None  #: endpoint; the same
    timeout: timedelta  #: of one call


@dataclass(frozen=True, slots=True)
class AwsSecretsManager:
    region: str
    prefix: str  #: what all our secrets' names begin with
    profile: str | None  #: of AWS's own files; None: as its SDK finds credentials
    kms_key_id: str | None  #: None: the account's own for Secrets Manager
    endpoint: str | None  #: None leaves it to the SDK and the region
    timeout: timedelta  #: of one call


StorePlace = Memory | Keyring | SealedFile | HashicorpVault | OciVault | AwsSecretsManager


@dataclass(frozen=True, slots=True)
class StoreSettings:
    name: str  #: as credentials name it; `DEFAULT` is the section `store`
    kind: str
    place: StorePlace

    @property
    def file(self) -> Path | None:
        """The file that it is, if it is one."""
        return self.place.path if isinstance(self.place, SealedFile) else None

    def options(self) -> dict[str, Any]:
        """All but the kind, by the names of the file, as the stores take them."""
        return _plain(self.place)


def _plain(section: Any) -> dict[str, Any]:
    values = {item.name: getattr(section, item.name) for item in fields(section)}
    return {name: _plain(value) if is_dataclass(value) else value for name, value in values.items()}
