"""Where Google tokens come from, by the `kind` of a source; each fetches one when it is asked to.

Nothing here looks around by itself: no gcloud is started, no metadata server waited for, nobody's
project asked for. A source remembers what lies in its file, never a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from keyman import errors
from keyman.vendors.google_addresses import (
    Endpoints,
    account_in,
    check_account,
    impersonation_address,
    metadata_address,
)
from keyman.vendors.google_federation import ExternalAccount
from keyman.vendors.google_files import CredentialsFile, Held, Info, Nested, adc_file, read_as
from keyman.vendors.google_files import type_of as type_in
from keyman.vendors.google_keys import (
    AuthorizedUser,
    Scopes,
    ServiceAccount,
    Source,
    noted,
    refreshed,
)
from keyman.vendors.google_outcomes import Told
from keyman.vendors.google_refusals import HOUR, Asked, Hop
from keyman.vendors.google_transport import Transport, Wire

IAM_SCOPE = "https://www.googleapis.com/auth/iam"
_TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105 (a path)
_IN_FILES: tuple[type[ServiceAccount | AuthorizedUser | ExternalAccount], ...] = (
    ServiceAccount,
    AuthorizedUser,
    ExternalAccount,
)


class Settings(Protocol):
    """`source:` of a credential; what its kind needs is there."""

    @property
    def kind(self) -> str: ...
    @property
    def file(self) -> str | PathLike[str] | None: ...
    @property
    def target(self) -> str | None: ...
    @property
    def lifetime(self) -> timedelta: ...
    @property
    def delegates(self) -> tuple[str, ...]: ...
    @property
    def origin(self) -> Settings | None: ...


def source_of(settings: Settings, endpoints: Endpoints, wire: Wire) -> Source:
    """The source that the configuration names. Reads and asks nothing yet.

    Raises ConfigError for a kind that does not exist.
    """
    kind = settings.kind
    if kind == "impersonate":
        assert settings.origin, "somebody impersonates"
        origin = source_of(settings.origin, endpoints, wire)
        seconds = settings.lifetime.total_seconds()
        wanted = Wanted(settings.target or "", settings.delegates, seconds)
        return Impersonated(origin, wanted, endpoints, wire)
    if kind == "metadata":
        return Metadata(endpoints, wire)
    if kind == "adc":
        return Adc(endpoints, wire)
    for each in _IN_FILES:
        if each.kind == kind:
            return each(CredentialsFile(Path(settings.file or "")), endpoints, wire)
    raise errors.ConfigError(f"google has no source of kind {kind!r}")


class Metadata:
    """The service account of the machine or pod that keyman runs on.

    Asked without google-auth, which needs a package for it that keyman doesn't, sends two requests
    for one token, and takes up to a dozen seconds to find out that nobody is there.
    """

    principal: str | None = None
    quota_project: str | None = None
    patience = 0.0

    def __init__(self, endpoints: Endpoints, wire: Wire) -> None:
        self._endpoints, self._wire = endpoints, wire

    def fetch(self, scopes: Scopes) -> Told:
        query = urlencode({"scopes": ",".join(scopes)}, safe=",:/")
        url = f"{metadata_address(self._endpoints)}{_TOKEN_PATH}?{query}"
        transport = Transport(self._wire, {url: Asked(Hop.METADATA, "metadata")})
        transport(url, headers={"Metadata-Flavor": "Google"})
        return noted(transport)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose token is wanted, through whom, and for how long it should live."""

    target: str
    delegates: tuple[str, ...] = ()
    seconds: float = HOUR


class Impersonated:
    """A service account whose tokens another principal may make.

    The other one's token is asked for each time: so a refusal of it says something.
    """

    quota_project: str | None = None

    def __init__(self, origin: Source, wanted: Wanted, endpoints: Endpoints, wire: Wire) -> None:
        self._origin, self._wanted = origin, wanted
        self._endpoints, self._wire = endpoints, wire

    @property
    def principal(self) -> str | None:
        return self._wanted.target

    @property
    def patience(self) -> float:
        return self._origin.patience

    def fetch(self, scopes: Scopes) -> Told:
        address = impersonation_address(self._endpoints, self._wanted.target)
        delegates = [_resource(each) for each in self._wanted.delegates]
        first = self._origin.fetch((IAM_SCOPE,))
        return refreshed(
            self._credentials(first, address, delegates, scopes),
            self._wire,
            {address: self._asked()},
        )

    def _asked(self) -> Asked:
        caller, wanted = self._origin.principal, self._wanted
        return Asked(Hop.IMPERSONATE, "impersonate", "", caller, wanted.target, wanted.seconds)

    def _credentials(
        self, first: Told, address: str, delegates: list[str], scopes: Scopes
    ) -> object:
        from google.auth import impersonated_credentials
        from google.oauth2 import credentials

        known: Any = credentials.Credentials
        make: Any = impersonated_credentials.Credentials
        return make(
            known(first.secret.reveal(), quota_project_id=self._origin.quota_project),
            target_principal=self._wanted.target,
            target_scopes=list(scopes),
            delegates=delegates or None,
            lifetime=int(self._wanted.seconds),
            iam_endpoint_override=address,
        )


class Adc:
    """Whatever Google's libraries would find here: the file that the environment names, the file
    that gcloud leaves, the metadata server.

    Found without google-auth, which starts gcloud for it (a second), waits long for a metadata
    server, and asks addresses of a file before anybody could look at them.
    """

    def __init__(self, endpoints: Endpoints, wire: Wire) -> None:
        self._endpoints, self._wire = endpoints, wire
        self._metadata, self._answered = Metadata(endpoints, wire), False
        self._file: tuple[Path, CredentialsFile] | None = None
        self._made: tuple[Info, Source] | None = None

    @property
    def principal(self) -> str | None:
        return self._source().principal

    @property
    def quota_project(self) -> str | None:
        return self._source().quota_project

    @property
    def patience(self) -> float:
        return self._source().patience

    def fetch(self, scopes: Scopes) -> Told:
        source = self._source()
        try:
            told = source.fetch(scopes)
        except errors.RetryLater as error:
            if source is not self._metadata or self._answered:
                raise
            raise _nothing_found(error) from None
        self._answered = source is self._metadata
        return told

    def _source(self) -> Source:
        path = adc_file()
        if path is None:
            return self._metadata
        if self._file is None or self._file[0] != path:
            self._file = path, CredentialsFile(path)
        file = self._file[1]
        info = file.read()
        if self._made is None or self._made[0] is not info:
            self._made = info, self._of(file)
        return self._made[1]

    def _of(self, held: Held) -> Source:
        """The source that a file stands for, by its type."""
        found = type_in(held.read())
        if found == "impersonated_service_account":
            info = read_as(found, held)
            target = check_account(account_in(info["service_account_impersonation_url"]))
            wanted = Wanted(target, tuple(info.get("delegates") or ()))
            origin = self._of(Nested(held, "source_credentials"))
            return Impersonated(origin, wanted, self._endpoints, self._wire)
        for kind in _IN_FILES:
            if kind.type == found:
                return kind(held, self._endpoints, self._wire)
        read_as(ServiceAccount.type, held)
        raise AssertionError("a type that nobody knows was refused")


def _resource(account: str) -> str:
    """An account as IAM wants a delegate to be named."""
    prefix = "projects/-/serviceAccounts/"
    return prefix + check_account(str(account).removeprefix(prefix))


def _nothing_found(error: errors.RetryLater) -> errors.Rejected:
    return errors.Rejected(
        f"there are no application default credentials here ({error.message})",
        hint="set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth application-default login`, or"
        " better: name the kind of `source` and its file in the configuration",
    )
