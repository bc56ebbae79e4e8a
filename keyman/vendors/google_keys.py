"""Tokens for what lies in a file: a service account's key, or somebody's own login.

Signing and wording of requests is google-auth's, through a transport of ours; when to ask, how
long a token lives and what an error means is not left to it. No token is remembered here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from keyman import errors
from keyman.vendors.google_addresses import UNIVERSE, Endpoints, check_account, token_address
from keyman.vendors.google_files import Held, Info, read_as
from keyman.vendors.google_outcomes import Told
from keyman.vendors.google_refusals import Asked, Hop
from keyman.vendors.google_transport import Transport, Wire

Scopes = tuple[str, ...]
_DOMAIN = re.compile(r"[a-z0-9.-]{1,100}")


class Source(Protocol):
    """Somewhere tokens come from. What it says of itself may change with its file."""

    @property
    def principal(self) -> str | None:
        """The service account that a token is for, if that is known. Raises Rejected."""

    @property
    def quota_project(self) -> str | None:
        """Who pays for calls, as far as the source says. Raises Rejected."""

    @property
    def patience(self) -> float:
        """Seconds that it may need beside those for asking Google. Raises Rejected."""

    def fetch(self, scopes: Scopes) -> Told:
        """A token, asked for now. Raises Rejected, RetryLater, and what google-auth raises."""


class InFile:
    """What sources have in common whose credentials lie in a file."""

    kind, type = "", ""

    def __init__(self, held: Held, endpoints: Endpoints, wire: Wire) -> None:
        self._held, self._endpoints, self._wire = held, endpoints, wire

    def _read(self) -> Info:
        return read_as(self.type, self._held)

    @property
    def principal(self) -> str | None:
        return None

    @property
    def quota_project(self) -> str | None:
        found = self._read().get("quota_project_id")
        return found if isinstance(found, str) and found else None

    @property
    def patience(self) -> float:
        return 0.0


class ServiceAccount(InFile):
    """A service account's own key: an assertion signed with it is exchanged for a token."""

    kind, type = "service-account", "service_account"
    _made: tuple[Info, str, Scopes, Any] | None = None

    @property
    def principal(self) -> str | None:
        return check_account(self._read()["client_email"])

    def fetch(self, scopes: Scopes) -> Told:
        info = self._read()
        _check_universe(info, self._held, self._endpoints)
        address = token_address(self._endpoints, info.get("token_uri"))
        email = check_account(info["client_email"])
        asked = Asked(Hop.TOKEN, self.kind, str(self._held), caller=email)
        return refreshed(self._credentials(info, address, scopes), self._wire, {address: asked})

    def _credentials(self, info: Info, address: str, scopes: Scopes) -> Any:
        """Kept while the file is the same: to read a key takes longer than to sign with it."""
        made = self._made
        if made is None or made[0] is not info or made[1:3] != (address, scopes):
            from google.oauth2 import service_account

            load: Any = service_account.Credentials.from_service_account_info
            plain = {**info, "token_uri": address, "universe_domain": UNIVERSE}
            self._made = made = (info, address, scopes, load(plain, scopes=list(scopes)))
        return made[3]


class AuthorizedUser(InFile):
    """Somebody's own login, as gcloud leaves it: a refresh token is exchanged for a token."""

    kind, type = "authorized-user", "authorized_user"
    _made: tuple[Info, str, Any] | None = None

    def fetch(self, scopes: Scopes) -> Told:
        info = self._read()
        _check_universe(info, self._held, self._endpoints)
        # Google's own libraries overlook a token_uri in such a file, and so does this.
        address = token_address(self._endpoints)
        asked = Asked(Hop.TOKEN, self.kind, str(self._held))
        return refreshed(self._credentials(info, address), self._wire, {address: asked})

    def _credentials(self, info: Info, address: str) -> Any:
        """Kept while the file is the same: Google may have replaced the refresh token meanwhile.

        What a login may do was settled when it was made: it is never asked for other scopes.
        """
        made = self._made
        if made is None or made[0] is not info or made[1] != address:
            from google.oauth2 import credentials

            load: Any = credentials.Credentials.from_authorized_user_info
            plain = {**info, "universe_domain": UNIVERSE, "expiry": None}
            self._made = made = (info, address, load(plain).with_token_uri(address))
        return made[2]


def refreshed(
    credentials: Any,
    wire: Wire,
    routes: Mapping[str, Asked],
    subjects: Mapping[str, Asked] | None = None,
) -> Told:
    """The token that these credentials of google-auth get on the way that is laid out."""
    transport = Transport(wire, routes, subjects)
    credentials.refresh(transport)
    return noted(transport)


def noted(transport: Transport) -> Told:
    assert transport.told, "a journey that raised nothing ends with a token"
    return transport.told


def _check_universe(info: Info, held: Held, endpoints: Endpoints) -> None:
    """Elsewhere accounts sign their tokens themselves, and nobody there knows Google's address."""
    universe = info.get("universe_domain") or UNIVERSE
    if universe == UNIVERSE or endpoints.token:
        return
    named = universe if isinstance(universe, str) and _DOMAIN.fullmatch(universe) else "another one"
    raise errors.Rejected(
        f"{held} is for a universe of its own ({named}), not for {UNIVERSE}",
        hint="say in `endpoints.token` where tokens are had there",
    )
