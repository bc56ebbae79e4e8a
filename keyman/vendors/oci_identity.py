"""Who calls OCI: the signer of one profile or principal, built when first needed and kept.

Knows the five kinds of `auth:` and what each reads. A profile's file gives the credentials and
nothing else: `endpoint` in it would move our calls to another host, and `log_requests` would print
bodies and signatures to standard output. Nothing here is retried, and nobody is ever asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from keyman import errors
from keyman.vendors.network import Network

FILE_KINDS = ("config-file", "session-token")
KINDS = (*FILE_KINDS, "instance-principal", "resource-principal", "oke-workload")
_OF_THE_PROFILE = ("tenancy", "user", "fingerprint", "key_file", "pass_phrase")
Signing = tuple[dict[str, Any], Any]
"""The SDK's config, and its signer."""
Watched = dict[Path, object]
"""The files a signer was made from, and how each was then."""


SIGNERS_KEPT = 16
_SIGNERS: dict[bytes, Any] = {}


class Auth(Protocol):
    """`auth:` of a credential: one of KINDS; what lies in files, where the kind reads them."""

    @property
    def kind(self) -> str: ...
    @property
    def file(self) -> str | PathLike[str] | None: ...
    @property
    def profile(self) -> str | None: ...
    @property
    def token(self) -> str | PathLike[str] | None: ...


@dataclass(frozen=True, slots=True)
class SignIn:
    """An `Auth` from plain values."""

    kind: str
    file: str | PathLike[str] | None = None
    profile: str | None = None
    token: str | PathLike[str] | None = None


class Identity:
    """The signer of one profile or principal.

    Checking a key costs 40 ms and a principal's token a round trip, so it is kept for all calls.
    Files are looked at before every call: a profile that changed is read anew.
    """

    def __init__(
        self,
        auth: Auth,
        region: str | None,
        network: Network,
        *,
        federation_endpoint: str | None = None,
    ) -> None:
        self._auth, self._region, self._network = auth, region, network
        self._federation_endpoint = federation_endpoint
        self._held: tuple[Signing, Watched] | None = None

    def __str__(self) -> str:
        if self._auth.kind in FILE_KINDS:
            return f"profile {self._profile} of {self._file}"
        return self._auth.kind

    @property
    def _file(self) -> str:
        return str(self._auth.file or "~/.oci/config")

    @property
    def _profile(self) -> str:
        return self._auth.profile or "DEFAULT"

    @property
    def stale(self) -> bool:
        """Must the signer be built: for the first time, or because its files changed?"""
        held = self._held
        return held is None or any(_stamp(file) != seen for file, seen in held[1].items())

    def forget(self) -> None:
        self._held = None

    def present(self) -> Signing:
        """The SDK's config and signer. Raises what the SDK raises."""
        held = self._held
        if held is not None and not self.stale:
            return held[0]
        watched: Watched = {}
        build = {
            "config-file": self._from_config_file,
            "session-token": self._from_session_token,
            "instance-principal": self._from_instance,
            "resource-principal": self._from_resource,
            "oke-workload": self._from_pod,
        }[self._auth.kind]
        signing = build(watched)
        self._held = signing, watched
        return signing

    def _from_config_file(self, watched: Watched) -> Signing:
        from oci.config import validate_config

        given = self._read_profile(watched)
        config = {name: given[name] for name in _OF_THE_PROFILE if given.get(name)}
        config["region"] = self._region or given.get("region")
        validate_config(config)
        return config, _api_key_signer(config, _watch(config["key_file"], watched).read_bytes())

    def _from_session_token(self, watched: Watched) -> Signing:
        from oci.auth.signers import SecurityTokenSigner
        from oci.signer import load_private_key_from_file

        given = self._read_profile(watched)
        if self._auth.token:
            given["security_token_file"] = str(self._auth.token)
        for needed in ("security_token_file", "key_file"):
            if not given.get(needed):
                raise self._refusal(f"the profile has no {needed}")
            if not _watch(given[needed], watched).is_file():
                raise self._refusal(f"its {needed} {given[needed]} does not exist")
        token = Path(given["security_token_file"]).expanduser().read_text(encoding="ascii").strip()
        key_file = str(Path(given["key_file"]).expanduser())
        key = load_private_key_from_file(key_file, given.get("pass_phrase"))
        return {"region": self._region}, SecurityTokenSigner(token, key)

    def _read_profile(self, watched: Watched) -> dict[str, Any]:
        from oci.config import from_file
        from oci.exceptions import ConfigFileNotFound, InvalidKeyFilePath, ProfileNotFound

        _watch(self._file, watched)
        given: dict[str, Any] | None = None
        with suppress(ConfigFileNotFound, InvalidKeyFilePath, ProfileNotFound):
            given = from_file(self._file, self._profile)
        if given is None:
            raise self._unusable()
        return given

    def _unusable(self) -> errors.Rejected:
        """Why there is no profile to read, from a look at the file."""
        file, parser = Path(self._file).expanduser(), ConfigParser(interpolation=None)
        if not parser.read(file, encoding="utf-8"):
            try:
                file.stat()
            except FileNotFoundError:
                return self._refusal("the file does not exist")
            except OSError as error:
                return self._refusal(f"the file can't be looked at: {error.strerror}")
            return self._refusal("the file can't be read")
        if self._profile not in parser:
            named = [*(["DEFAULT"] if parser.defaults() else []), *parser.sections()]
            return self._refusal(f"the file has no such profile, only {', '.join(named) or 'none'}")
        return self._refusal(f"its key_file {parser[self._profile]['key_file']} does not exist")

    def _refusal(self, why: str) -> errors.Rejected:
        makes = "oci setup config"
        if self._auth.kind == "session-token":
            makes = f"oci session authenticate --profile-name {self._profile}"
        hint = f"`{makes}` makes file, profile and key; or name others in `auth`"
        return errors.Rejected(f"cannot sign as {self}: {why}", hint=hint)

    def _from_instance(self, _: Watched) -> Signing:
        from oci.auth.signers import InstancePrincipalsSecurityTokenSigner
        from oci.circuit_breaker import NoCircuitBreakerStrategy
        from oci.retry import NoneRetryStrategy

        # Off OCI the SDK's own strategy would look for the metadata service for minutes.
        signer = InstancePrincipalsSecurityTokenSigner(
            retry_strategy=NoneRetryStrategy(),
            federation_endpoint=self._federation_endpoint,
            federation_client_retry_strategy=NoneRetryStrategy(),
            federation_client_circuit_breaker_strategy=NoCircuitBreakerStrategy(),
            federation_client_cert_bundle_verify=_verify(self._network),
        )
        use_network(signer.federation_client.requests_session, self._network)
        return {"region": self._region}, signer

    def _from_resource(self, _: Watched) -> Signing:
        from oci.auth.signers import get_resource_principals_signer

        return {"region": self._region}, get_resource_principals_signer()

    def _from_pod(self, _: Watched) -> Signing:
        from oci.auth.signers import get_oke_workload_identity_resource_principal_signer
        from oci.retry import NoneRetryStrategy

        token = self._auth.token  # None: where Kubernetes mounts it
        signer = get_oke_workload_identity_resource_principal_signer(
            service_account_token_path=str(token) if token else None,
            retry_strategy=NoneRetryStrategy(),
        )
        signer.requests_session.trust_env = False  # the proxymux is inside the cluster: no proxy
        return {"region": self._region}, signer


def _api_key_signer(config: Mapping[str, Any], key: bytes) -> Any:
    """The signer of this user with this key: one for all who sign alike, for a tenancy may have a
    hundred credentials. It has no state; what it was made from is kept as a digest only.
    """
    from oci.signer import Signer

    who = (config["tenancy"], config["user"], config["fingerprint"])
    locked = config.get("pass_phrase")
    parts = (*(part.encode() for part in (*who, locked or "")), key)
    made_of = sha256(b"".join(sha256(part).digest() for part in parts)).digest()
    signer = _SIGNERS.pop(made_of, None)
    if signer is None:
        signer = Signer(*who, None, pass_phrase=locked, private_key_content=key.strip())
    _SIGNERS[made_of] = signer  # the last one used goes last
    for oldest in list(_SIGNERS)[:-SIGNERS_KEPT]:
        _SIGNERS.pop(oldest, None)
    return signer


def _watch(file: str | PathLike[str], watched: Watched) -> Path:
    """The file, noted as it is before it is read, so that a change meanwhile shows."""
    path = Path(file).expanduser()
    watched[path] = _stamp(path)
    return path


def _stamp(file: Path) -> object:
    """What changes whenever the file does."""
    try:
        seen = file.stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _verify(network: Network) -> str | bool:
    return str(network.ca_bundle) if network.ca_bundle else True


def use_network(session: Any, network: Network) -> None:
    """Make a `requests` session follow the configuration and nothing else."""
    session.trust_env = False
    session.verify = _verify(network)
    session.proxies = {"http": network.proxy, "https": network.proxy} if network.proxy else {}
    session.max_redirects = 0
