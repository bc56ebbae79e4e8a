"""What becomes of a credential that left the configuration, once somebody says `forget`.

Its secrets leave every store, mirrors included, and its record the journal. Its key at the
provider stays as it is, unless it is to be revoked: for that the journal remembers, from the last
start at which the credential was configured, how its provider is reached. Nothing secret is among
that, so what needs a secret that was written into the configuration itself can't be revoked any
more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from keyman import errors
from keyman.config import NetworkSettings, OpenaiOptions, Options, spec_of
from keyman.core.model import Credential, Observed, Place, Spec
from keyman.core.picture import GONE
from keyman.core.policy import Policy
from keyman.core.situation import Situation
from keyman.db.journal import Event, Journal
from keyman.providers import SecretOf, open_provider
from keyman.providers.protocol import Provider
from keyman.rotator import Rotator
from keyman.stores.protocol import Pointing, Store
from keyman.views import Json
from keyman.whereabouts import options_of


class Farewell:
    """Forgets, in an order that can be repeated after any failure: provider, stores, journal, and
    the journal only with nothing left in any store.

    `busy(name)`, once it is set, tells whether somebody is still writing its mirrors.
    """

    def __init__(
        self,
        journal: Journal,
        stores: Mapping[str, Store],
        rotator: Rotator,
        network: NetworkSettings,
        secret_of: SecretOf,
    ) -> None:
        self._journal = journal
        self._stores = stores
        self._rotator = rotator
        self.network = network
        self._secret_of = secret_of
        self.busy: Callable[[str], bool] = lambda _: False

    def forget(self, name: str, *, revoke: bool, by: str = "") -> Json:
        """A store that can't be asked holds up nobody: it is named in the answer, and the record
        stays until it was emptied too.

        Raises NotFound if nothing is known of it, ProviderFailed with nothing dropped yet,
        Conflict: ask again.
        """
        if self.busy(name):
            raise errors.Conflict(f"a mirror of {name} is just being written", hint="ask again")
        left: dict[str, errors.Error] = {}
        kept = [store for store in self._stores if self._try(store, name, _holds, left)]
        if name not in self._journal.names() and not kept:
            self._refuse_unknown(name, left)
        reached = self._reached(name) if revoke else None
        now = self._rotator.clock.now
        self._journal.note(Event(now(), name, "ordered forget", by, detail="revoke" * revoke))
        gone = self._revoke(*reached) if reached else []
        for store in kept:
            self._try(store, name, _empty, left)
        slots = ", ".join(str(one["slot"]) for one in gone)
        said = [f"revoked at the provider: {slots}"] if slots else []
        if left:
            said.append(f"left in {', '.join(sorted(left))}")
            self._journal.note(Event(now(), name, "forgotten in part", by, detail="; ".join(said)))
        else:
            self._journal.forget(name, [Event(now(), name, "forgotten", by, detail="".join(said))])
        return {
            "name": name,
            "forgotten": not left,
            "revoked": gone,
            "left": [_left(store, name, error) for store, error in sorted(left.items())],
        }

    def _try(
        self,
        store: str,
        name: str,
        what: Callable[[Store, str], bool],
        left: dict[str, errors.Error],
    ) -> bool:
        """Do that with the store of that name; one that fails is among those `left`."""
        try:
            return what(self._stores[store], name)
        except errors.Error as error:
            left[store] = error
            return False

    def _refuse_unknown(self, name: str, left: Mapping[str, errors.Error]) -> None:
        for store, error in left.items():
            what = f"nothing is known of {name!r} here, and {store} can't be asked: {error.message}"
            raise errors.StoreFailed(what, hint=error.hint)
        known = sorted(set(self._journal.names()) - set(self._rotator.managed))
        raise errors.NotFound(
            f"nothing is known of {name!r}",
            hint=f"known and not configured any more: {', '.join(known) or 'none'}",
        )

    def _revoke(self, spec: Spec, provider: Provider) -> list[Json]:
        """Destroy what is ours at the provider, and look that it is."""
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
                f"{spec.name}: the provider does not show every secret as revoked yet",
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
        provider, options = known["provider"], options_of(known)
        spec = spec_of(name, provider, Policy(), options, self._journal.installation)
        _refuse_without_means(spec, options)
        return spec, open_provider(
            provider,
            spec,
            options,
            network=self.network,
            clock=self._rotator.clock,
            secret_of=self._secret_of,
        )


def _holds(store: Store, name: str) -> bool:
    """Anything of the credential, also if only those see it who read the store directly."""
    if store.list(name):
        return True
    return isinstance(store, Pointing) and store.pointed(name) is not None


def _empty(store: Store, name: str) -> bool:
    if isinstance(store, Pointing):
        store.point(name, None)
    for _, number in store.list(name):
        store.drop(name, number)
    return True


def _left(store: str, name: str, error: errors.Error) -> Json:
    again = f"`keyman forget {name}` again once it answers, or without it in the configuration"
    return {"store": store, "error": error.message, "hint": f"{error.hint}; then {again}"}


def _refuse_without_means(spec: Spec, options: Options) -> None:
    """Raise UsageError where the provider has no way to revoke, or we no secret to ask it with."""
    name, without = spec.name, "forget it without --revoke"
    if spec.mints:
        raise errors.UsageError(f"tokens of {name} can't be revoked: they end soon", hint=without)
    if not spec.revokes:
        raise errors.UsageError(
            f"{name} is {spec.provider}: keyman can't revoke its secret",
            hint=f"have it revoked where it was made, then {without}",
        )
    if not isinstance(options, OpenaiOptions):
        return
    if options.key_type == "admin" and options.admin_credential in (None, name):
        raise errors.UsageError(
            f"the admin key {name} would have to delete itself",
            hint=f"delete it in OpenAI's settings, then {without}",
        )
    if options.admin_credential is None:
        raise errors.UsageError(
            f"the admin key that made the keys of {name} was not written down",
            hint=f"put {name} back into the configuration and run `keyman revoke {name} --all`; "
            f"or {without}",
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
