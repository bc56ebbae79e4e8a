"""Google: access tokens that live for an hour, asked for through vendors/google.py.

A token has no slot and no name at Google, can't be looked at and can't be taken back: so this
provider issues, says who it issues for, and refuses the rest in words. Each try asks once; to ask
again does no harm. Many threads that want one at the same time share one request.

Remembers the last token that it handed out, in memory and only to recognise it: a metadata server
gives the same one until shortly before its end, and the old secret must not pass for a new one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import NoReturn, Protocol

from keyman import errors
from keyman.clock import Clock
from keyman.core.model import KeySeen, Place, Secret, Spec, Verdict, Version
from keyman.providers.protocol import Issued, Lookup
from keyman.vendors.google import Tokens
from keyman.vendors.google_addresses import Endpoints
from keyman.vendors.google_sources import Settings
from keyman.vendors.network import Network

AGAIN_SECONDS = 5.0
SELDOM_SECONDS = 60.0
METADATA_KEEPS = timedelta(minutes=5)  # until then before its end, it gives no new token


class Options(Protocol):
    """What the configuration says of such a credential."""

    @property
    def base_url(self) -> str: ...
    @property
    def source(self) -> Settings: ...
    @property
    def scopes(self) -> tuple[str, ...]: ...
    @property
    def endpoints(self) -> Endpoints: ...
    @property
    def quota_project(self) -> str | None: ...


class Google:
    """One credential whose secrets are access tokens."""

    def __init__(self, spec: Spec, options: Options, *, network: Network, clock: Clock) -> None:
        self._spec, self._options, self._clock = spec, options, clock
        self._tokens = Tokens(
            options.source, options.scopes, options.endpoints, network=network, clock=clock
        )
        self._flights = Flights()
        self._last: tuple[str, Secret] | None = None

    def issue(self, wish: Version, etag: str | None) -> Issued:
        """A token. Raises Rejected, or RetryLater if it is the one of another wish."""
        return self._flights.share(wish.attempt, lambda: self._issue(wish))

    def _issue(self, wish: Version) -> Issued:
        told = self._tokens.fetch()
        if self._last and self._last[0] != wish.attempt and self._last[1] == told.secret:
            raise self._the_same(told.expires_at)
        self._last = wish.attempt, told.secret
        return Issued(told.secret, wish.attempt, None, told.expires_at)

    def _the_same(self, ends: datetime) -> errors.RetryLater:
        left = ends - self._clock.now()
        return errors.RetryLater(
            f"Google handed out the token of last time again, which ends at {ends:%H:%M:%S} UTC",
            hint="nothing to do: keyman asks again; a metadata server makes a new token only in the"
            " last minutes of the old one",
            retry_after=pause(self._options.source.kind, left),
        )

    def lookup(self) -> Lookup:
        return Lookup(
            base_url=self._options.base_url,
            principal=self._tokens.principal,
            quota_project=self._options.quota_project or self._tokens.quota_project,
        )

    def observe(
        self, handles: tuple[str, ...], now: datetime, optional: tuple[str, ...] = ()
    ) -> None:
        """Nothing: Google shows nobody what tokens there are."""

    def activate(self, place: Place, etag: str | None) -> None:
        """Nothing: a token works from the moment it is handed out."""

    def verify(self, secret: Secret) -> Verdict:
        """No verdict, and no request: what Google just made needs no proof."""
        return Verdict.SILENT

    def claim(self, key: KeySeen, owner: str, epoch: int) -> NoReturn:
        raise _no_such_thing("an owner can't be written on a Google access token")

    def create(self, wish: Version, standby_expires_at: datetime) -> NoReturn:
        raise _no_such_thing("there is nothing to create at Google before a token can be had")

    def retire(self, place: Place, etag: str | None) -> NoReturn:
        raise _no_way_back("switched off")

    def revoke(self, place: Place, etag: str | None) -> NoReturn:
        raise _no_way_back("destroyed")


class Flights:
    """Work that is done one after the other, and once for all who want the same meanwhile."""

    def __init__(self) -> None:
        self._guard, self._turn = threading.Lock(), threading.Lock()
        self._under_way: dict[str, Future[Issued]] = {}

    def share(self, key: str, act: Callable[[], Issued]) -> Issued:
        """What `act` returns or raises: this one's, or the one's that is under way for the key."""
        with self._guard:
            flight = self._under_way.get(key)
            joined = flight is not None
            flight = flight or self._under_way.setdefault(key, Future())
        if not joined:
            self._fly(key, flight, act)
        return flight.result()

    def _fly(self, key: str, flight: Future[Issued], act: Callable[[], Issued]) -> None:
        try:
            with self._turn:
                flight.set_result(act())
        except BaseException as error:  # noqa: BLE001 (whoever waits must hear of any end)
            flight.set_exception(error)
        finally:
            with self._guard:
                del self._under_way[key]


def pause(kind: str, left: timedelta) -> float:
    """Seconds until it is worth while to ask for another token than the one that has so long left.

    Far from its end a metadata server has no other one, but being asked costs it nothing.
    """
    early = kind in ("metadata", "adc") and left > METADATA_KEEPS
    return max(1.0, min(SELDOM_SECONDS if early else AGAIN_SECONDS, left.total_seconds()))


def _no_such_thing(what: str) -> errors.Rejected:
    return errors.Rejected(what, hint="nothing to do: tokens are simply asked for")


def _no_way_back(done: str) -> errors.Rejected:
    return errors.Rejected(
        f"a Google access token can't be {done} before it ends",
        hint="it ends by itself, mostly within the hour. Sooner: disable its service account"
        " (`gcloud iam service-accounts disable EMAIL`), or if it is a person's `gcloud auth"
        " application-default revoke`; what else depends on these stops as well",
    )
