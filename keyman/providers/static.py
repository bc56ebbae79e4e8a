"""Secrets that come by hand: kept, served and watched, never issued.

There is nobody to ask for one. What can be done is to see whether the one that was brought is
accepted, if the configuration says where; everything else is refused with the way to go.
"""

from __future__ import annotations

from datetime import datetime
from typing import NoReturn, Protocol

from keyman import errors
from keyman.clock import Clock
from keyman.core.model import KeySeen, Observed, Place, Secret, Spec, Verdict, Version
from keyman.providers.protocol import Created, Issued, Lookup
from keyman.vendors.network import Network
from keyman.vendors.static_probe import Probe


class Options(Protocol):
    """What the configuration says of such a credential."""

    @property
    def base_url(self) -> str | None: ...
    @property
    def verify_get(self) -> str | None: ...


class Static:
    def __init__(self, spec: Spec, options: Options, *, network: Network, clock: Clock) -> None:
        self._name, self._base_url = spec.name, options.base_url
        self._probe: Probe | None = None
        if options.base_url and options.verify_get:
            self._probe = Probe(options.base_url.rstrip("/") + options.verify_get, network)

    def observe(
        self, handles: tuple[str, ...], now: datetime, optional: tuple[str, ...] = ()
    ) -> Observed | None:
        """None: there is nobody who could show anything."""
        return None

    def verify(self, secret: Secret) -> Verdict:
        """SILENT if the configuration does not say where a good secret is accepted."""
        return self._probe.verdict(secret) if self._probe else Verdict.SILENT

    def lookup(self) -> Lookup:
        return Lookup(base_url=self._base_url)

    def claim(self, key: KeySeen, owner: str, epoch: int) -> bool:
        self._refuse("no key is claimed")

    def create(self, wish: Version, standby_expires_at: datetime) -> Created:
        self._refuse("no key is created")

    def issue(self, wish: Version, etag: str | None) -> Issued:
        self._refuse("no secret is issued")

    def activate(self, place: Place, etag: str | None) -> None:
        self._refuse("nothing is switched on")

    def retire(self, place: Place, etag: str | None) -> None:
        self._refuse("nothing is switched off")

    def revoke(self, place: Place, etag: str | None) -> None:
        self._refuse("nothing is revoked")

    def _refuse(self, what: str) -> NoReturn:
        raise errors.Rejected(
            f"{self._name} is static: its secret comes by hand, {what}",
            hint=f"have it replaced where it was made, then: keyman put {self._name}",
        )
