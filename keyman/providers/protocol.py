"""What a provider (whoever issues secrets) must be able to do.

Every verb tries once and either returns or raises one of errors.Rejected, RetryLater, Unknown
or SecretLost; backoff is a rule of the core. Every verb may be called twice for one wish.
No object of a vendor's SDK and no exception of one leaves a provider.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from keyman.core.model import KeySeen, Observed, Place, Secret, Verdict, Version


@dataclass(frozen=True, slots=True)
class Issued:
    """A secret that the provider made, shown this once."""

    secret: Secret
    handle: str
    mask: str | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Created:
    """A new object at the provider. `issued` is None if it was made earlier and its secrets are
    lost; `standby` names the slot whose secret nobody kept.
    """

    handle: str
    issued: Issued | None
    standby: str | None


@dataclass(frozen=True, slots=True)
class Lookup:
    """What an application needs beside the secret."""

    base_url: str | None = None
    principal: str | None = None
    quota_project: str | None = None


class Provider(Protocol):
    def observe(
        self, handles: tuple[str, ...], now: datetime, optional: tuple[str, ...] = ()
    ) -> Observed | None:
        """What is there now; None where the provider has nothing to show.

        An optional key that is not found is shown as NOT_SHOWN; any other one is Rejected.
        """

    def claim(self, key: KeySeen, owner: str, epoch: int) -> bool:
        """Write who owns the key; True if an older owner's late call was then seen refused."""

    def create(self, wish: Version, standby_expires_at: datetime) -> Created:
        """Make a new object with the wish's attempt as its tag, or find the one made earlier."""

    def issue(self, wish: Version, etag: str | None) -> Issued:
        """Have the wish's slot filled (or a key made). The old secret there dies at once."""

    def activate(self, place: Place, etag: str | None) -> None:
        """Switch the place on. Harmless if it is."""

    def verify(self, secret: Secret) -> Verdict:
        """Probe with the secret. Never raises for what the other side says."""

    def retire(self, place: Place, etag: str | None) -> None:
        """Switch the place off, reversibly where the provider can."""

    def revoke(self, place: Place, etag: str | None) -> None:
        """Destroy the secret in the place for good."""

    def lookup(self) -> Lookup:
        """What applications are told beside the secret."""
