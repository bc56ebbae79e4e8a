"""OpenAI: keys of one service account (or an organization's admin keys), made and deleted.

There are no slots: every issue makes a key, two are alive during an overlap, and retiring one
deletes it. Making a key can't be repeated safely, so each carries the wish it was made for in its
name; a call without an answer is settled before the next one is made, and what is left of it is
deleted. docs/openai.md lists what OpenAI's documents leave open, with the test of each.

Never makes a key while a call of its own may still make one, never deletes one that may matter to
anybody, and never keeps a secret.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from keyman import errors
from keyman.clock import Clock
from keyman.core.inventory import There
from keyman.core.model import KeySeen, Observed, Place, Secret, Spec, State, Verdict, Version
from keyman.providers.protocol import Created, Issued, Lookup
from keyman.vendors import openai_keys, openai_orphans, openai_probe
from keyman.vendors.network import Network
from keyman.vendors.openai_admin import LONGEST_LIFE_SECONDS, AdminApi, Family
from keyman.vendors.openai_calls import Line
from keyman.vendors.openai_keys import Found, Intent, Listed
from keyman.vendors.openai_orphans import Kept
from keyman.vendors.openai_outcomes import Refused
from keyman.vendors.openai_unanswered import Settled, Unanswered

ADMIN = "admin"
SETTLED = Settled()  # this process's


class Options(Protocol):
    """What the configuration says of such a credential."""

    @property
    def admin_key(self) -> Secret | None: ...
    @property
    def admin_credential(self) -> str | None: ...
    @property
    def key_type(self) -> str: ...
    @property
    def project_id(self) -> str | None: ...
    @property
    def service_account_id(self) -> str | None: ...
    @property
    def base_url(self) -> str: ...


class Openai:
    """One credential whose secrets are keys of one service account, or admin keys."""

    def __init__(
        self,
        spec: Spec,
        options: Options,
        *,
        network: Network,
        clock: Clock,
        secret_of: Callable[[str], Secret],
    ) -> None:
        self._spec, self._options, self._clock = spec, options, clock
        self._secret_of = secret_of
        self._line = Line(options.base_url, network)
        self._api = AdminApi(self._line, self._family, self._admin_key, spec.name)
        self._kept = Kept()
        self._opened = clock.now()
        self._unanswered = Unanswered(spec.late.total_seconds(), clock.boot())
        self._whose = spec.installation, spec.name

    # What is there.

    def observe(
        self, handles: tuple[str, ...], now: datetime, optional: tuple[str, ...] = ()
    ) -> Observed:
        """Look at each key, in one list; one that the list does not show is asked for by itself.

        A key that even then is not there is DELETED: unlike others, this API tells so for sure.
        Deletes what a call of this process made that was never answered; else it changes nothing,
        since whoever checks looks too.
        """
        for handle in handles:
            openai_keys.check_id("id of a key", handle)
        self._kept = self._kept.told(handles)
        if not handles and not self._unanswered:
            return Observed(now, ())
        there = self._api.list()
        self._settle(there)
        by_id = {key.id: key for key in there}
        return Observed(now, tuple(self._see(handle, by_id.get(handle), now) for handle in handles))

    def _see(self, handle: str, listed: Listed | None, now: datetime) -> KeySeen:
        try:
            return (listed or self._api.look(handle)).seen(now)
        except Refused as refusal:
            if not refusal.gone:
                raise
            return openai_keys.gone(handle)

    def list_keys(self) -> tuple[Found, ...]:
        """Every key of the service account, or of the organization's admins."""
        now = self._clock.now()
        whose = None if self._for_admins else self._options.service_account_id
        there = (key for key in self._api.list() if key.owner == whose)
        return tuple(Found(key.name, key.seen(now)) for key in there)

    def inventory(self) -> tuple[There, ...]:
        """Every key of the project, or of the organization's admins, whoever made it."""
        now = self._clock.now()
        return tuple(key.there(now) for key in self._api.list())

    def owner_of(self, handle: str) -> str | None:
        """The service account that a key belongs to; None if it is a person's or nobody's."""
        return self._api.look(handle).owner

    def account_role(self) -> str | None:
        """What the service account may do: `none` means that its keys may do nothing.

        None for admin keys, which belong to no account.
        """
        options = self._options
        if self._for_admins:
            return None
        return self._api.role(options.project_id, options.service_account_id)

    def lookup(self) -> Lookup:
        principal = None if self._for_admins else self._options.service_account_id
        return Lookup(base_url=self._options.base_url, principal=principal)

    def verify(self, secret: Secret) -> Verdict:
        question = openai_probe.ADMIN_KEYS if self._for_admins else openai_probe.MODELS
        return openai_probe.verdict(self._line, question, secret)

    # What changes something.

    def issue(self, wish: Version, etag: str | None) -> Issued:
        """Make a key, after sweeping away what earlier wishes and lost answers left behind.

        Raises RetryLater while an earlier call may still make one.
        """
        seconds = self._seconds_left(wish)
        self._meet(wish)
        there, now = self._api.list(), self._clock.now()
        self._settle(there, wish.attempt)
        self._sweep(openai_orphans.of_earlier_wishes(there, self._spec, self._kept, wish, now))
        self._wait_for_the_unanswered()
        return self._make(wish, seconds)

    def activate(self, place: Place, etag: str | None) -> None:
        """Keys are active from the beginning."""

    def retire(self, place: Place, etag: str | None) -> None:
        """Delete the key, since it can't be switched off. Raises Rejected for the last one."""
        others = (self._kept.now or frozenset()) - {place.handle}
        now = self._clock.now()
        if not any(self._see(h, None, now).state == State.ACTIVE for h in sorted(others)):
            raise errors.Rejected(
                f"{place.handle} is the last active key, so it stays",
                hint=f"have another one made first: `keyman rotate {self._spec.name}`",
            )
        self._delete(place.handle)

    def revoke(self, place: Place, etag: str | None) -> None:
        self._delete(place.handle)

    # What keys have none of.

    def create(self, wish: Version, standby_expires_at: datetime) -> Created:
        raise errors.Rejected(
            "keys of OpenAI have no slots: there is nothing to create beside the key itself",
            hint="a key is made by issue",
        )

    def claim(self, key: KeySeen, owner: str, epoch: int) -> bool:
        """A key carries no tags that could say whose it is."""
        return False

    # How.

    @property
    def _for_admins(self) -> bool:
        return self._options.key_type == ADMIN

    def _family(self) -> Family:
        options = self._options
        if self._for_admins:
            return Family.of_admins()
        return Family.of_account(options.project_id, options.service_account_id)

    def _admin_key(self) -> Secret:
        """Read at each call: it may have been rotated since the last one.

        For admin keys it is this credential's own current secret, once there is one.
        """
        given = self._options.admin_key
        if given is not None:
            return (self._own_secret() if self._for_admins else None) or given
        name = self._options.admin_credential
        if name is None:
            hint = "say which: `admin_key: !env OPENAI_ADMIN_KEY`, or `{credential: NAME}`"
            raise errors.Rejected("there is no admin key to manage keys with", hint=hint)
        try:
            return self._secret_of(name)
        except errors.ProviderFailed:
            raise
        except errors.Error as error:
            what = f"there is no admin key to manage keys with: {error.message}"
            raise errors.Rejected(what, hint=f"{name}: {error.hint}") from None

    def _own_secret(self) -> Secret | None:
        try:
            return self._secret_of(self._spec.name)
        except errors.Error:
            return None  # not yet, or no more: the configured key is there for that

    def _seconds_left(self, wish: Version) -> int:
        assert wish.expires_at, "a wish for a key names its end"
        seconds = math.ceil((wish.expires_at - self._clock.now()).total_seconds())
        if not 0 < seconds <= LONGEST_LIFE_SECONDS:
            raise errors.Rejected(
                f"a key that lives for {seconds} s can't be made",
                hint="OpenAI's keys live for up to 365 days: shorten policy.lifetime",
            )
        return seconds

    def _meet(self, wish: Version) -> None:
        """Learn whether a call for this wish may be under way from before this was opened."""
        settled = SETTLED.has(self._whose, wish.attempt)
        age = 0.0 if settled else (self._opened - wish.requested_at).total_seconds()
        if self._unanswered.meet(wish.attempt, age):
            SETTLED.add(self._whose, wish.attempt)

    def _make(self, wish: Version, seconds: int) -> Issued:
        settled = SETTLED.has(self._whose, wish.attempt)
        SETTLED.drop(self._whose)
        try:
            made = self._api.make(Intent.of(self._spec, wish).name, seconds)
        except errors.Unknown:
            self._unanswered.add(wish.attempt, self._clock.boot())
            raise
        except errors.ProviderFailed:  # a definite no
            if settled:
                SETTLED.add(self._whose, wish.attempt)
            raise
        return Issued(made.secret, made.id, made.mask, made.expires_at)

    def _settle(self, there: tuple[Listed, ...], *wished: str) -> None:
        """Delete what unanswered calls and these wishes made, and learn what need not be awaited.

        A key that a list still shows and that is gone when it is to be deleted says nothing.
        """
        for attempt in {*self._unanswered, *wished}:
            came = self._sweep(openai_orphans.of_attempt(there, self._spec, self._kept, attempt))
            self._unanswered.settle(attempt, self._clock.boot(), came=came)

    def _wait_for_the_unanswered(self) -> None:
        now = self._clock.boot()
        left = self._unanswered.left(now)
        if left > 0:
            sent = "a call that was to make a key got no answer, and may still make one"
            maybe = "a key may have been asked for before keyman was started or reloaded, and the"
            raise errors.RetryLater(
                sent if self._unanswered.certain(now) else f"{maybe} call may still make one",
                hint="nothing to do: keyman makes the next one when that can't be any more",
                retry_after=left,
            )

    def _sweep(self, left: Iterable[Listed]) -> bool:
        """Delete keys; True if one was really there. A list may still show what is gone."""
        found = [self._delete(key.id) for key in left]
        return any(found)

    def _delete(self, handle: str) -> bool:
        """True if it was there."""
        try:
            self._api.delete(handle)
        except Refused as refusal:
            if not refusal.gone:
                raise
            return False
        return True
