"""What becomes of a credential that left the configuration, once somebody says `forget`.

Its secrets leave the store and its record the journal. Its key at the provider stays as it is,
unless it is to be revoked: for that the journal remembers, from the last start at which the
credential was configured, how its provider is reached. Nothing secret is among that.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from keyman import errors
from keyman.config import CredentialSettings, NetworkSettings, OciAuth, OciGenaiOptions, OciVerify
from keyman.core.model import Credential, Observed, Place, Spec
from keyman.core.situation import GONE, Situation
from keyman.db.journal import Journal
from keyman.providers import open_provider
from keyman.providers.protocol import Provider
from keyman.rotator import Rotator
from keyman.stores.protocol import Store
from keyman.views import Json


def whereabouts(one: CredentialSettings) -> str:
    """How the credential's provider is reached, as text for the journal."""

    def plain(value: object) -> object:
        return value.total_seconds() if isinstance(value, timedelta) else str(value)

    said = {"provider": one.provider, "options": asdict(one.options)}
    return json.dumps(said, default=plain, sort_keys=True)


def options_of(said: dict[str, Any]) -> OciGenaiOptions:
    """The options that `whereabouts` was made from."""
    auth, verify = said["auth"], said["verify"]
    token = Path(auth["token"]) if auth["token"] else None
    spans = {key: timedelta(seconds=verify[key]) for key in ("every", "within")}
    return OciGenaiOptions(
        **{
            **said,
            "slots": tuple(said["slots"]),
            "auth": OciAuth(**{**auth, "file": Path(auth["file"]), "token": token}),
            "verify": OciVerify(**{**verify, **spans}),
            "late_after": timedelta(seconds=said["late_after"]),
        }
    )


class Farewell:
    """Forgets, in an order that can be repeated after any failure: provider, store, journal."""

    def __init__(
        self, journal: Journal, store: Store, rotator: Rotator, network: NetworkSettings
    ) -> None:
        self._journal = journal
        self._store = store
        self._rotator = rotator
        self.network = network

    def forget(self, name: str, *, revoke: bool) -> Json:
        """Raises NotFound if nothing is known of it, ProviderFailed with nothing dropped yet."""
        kept = self._store.list(name)
        if name not in self._journal.names() and not kept:
            raise errors.NotFound(f"nothing is known of {name!r}")
        gone = self._revoke(name) if revoke else []
        for _, number in self._store.list(name):
            self._store.drop(name, number)
        self._journal.forget(name)
        return {"name": name, "forgotten": True, "revoked": gone}

    def _revoke(self, name: str) -> list[Json]:
        """Destroy what is ours at the provider, and look that it is."""
        spec, provider = self._reached(name)
        now = self._rotator.clock.now()
        credential, _ = self._journal.load(spec)
        handles = tuple(dict.fromkeys(v.handle for v in credential.versions if v.handle))
        observed = provider.observe(handles, now) if handles else None
        if observed is None:
            return []
        ours = _ours(Situation(credential, observed, now), observed)
        for place in ours:
            provider.revoke(place, None)
        after = provider.observe(handles, now)
        if after is None or not all(_destroyed(after, place) for place in ours):
            raise errors.RetryLater(
                f"{name}: the provider does not show every secret as revoked yet",
                hint="nothing was forgotten: ask again",
            )
        return [_line(credential, place) for place in ours]

    def _reached(self, name: str) -> tuple[Spec, Provider]:
        said = self._journal.whereabouts(name)
        if said is None:
            raise errors.UsageError(
                f"nobody remembers how the provider of {name} was reached",
                hint=f"put {name} back into the configuration and run `keyman revoke {name} --all`",
            )
        known = json.loads(said)
        options = options_of(known["options"])
        spec = Spec(
            name,
            known["provider"],
            slots=options.slots,
            key_id=options.api_key_id,
            installation=self._journal.installation,
        )
        clock = self._rotator.clock
        return spec, open_provider(
            known["provider"], spec, options, network=self.network, clock=clock
        )


def _ours(s: Situation, o: Observed) -> list[Place]:
    """Places that still hold a secret of ours; one that a stranger filled since is left alone."""
    if s.other_owner:
        raise errors.Conflict(
            f"{s.other_owner} manages this key too", hint="forget it without --revoke"
        )
    places = [v.place for v in s.versions if v.place]
    if s.c.home and s.c.silence:
        places.append(Place(s.c.home, s.c.silence))
    live = (place for place in dict.fromkeys(places) if not _destroyed(o, place))
    return [place for place in live if _is_ours(s, place)]


def _is_ours(s: Situation, place: Place) -> bool:
    tenant = s.c.tenant(place)
    return tenant is None or s.filling(place) or s.shows(tenant)


def _destroyed(o: Observed, place: Place) -> bool:
    seen = o.slot(place)
    return seen is None or seen.state in GONE


def _line(c: Credential, place: Place) -> Json:
    tenant = c.tenant(place)
    return {"version": tenant.number if tenant else None, "slot": place.slot}
