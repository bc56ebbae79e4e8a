"""From the configuration to the parties of a credential: its provider, its store, and whose secret
it signs in with. Opens what it is asked for; asks nobody anything.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Protocol

from keyman import errors
from keyman.clock import Clock
from keyman.config import CredentialSettings, OpenaiOptions, Settings, StaticOptions, StoreSettings
from keyman.config.places import look_at
from keyman.config.store_settings import Memory as MemoryPlace
from keyman.core.health import worth_trying
from keyman.core.model import Secret
from keyman.db.journal import Journal
from keyman.performer import Managed
from keyman.providers import SecretOf, open_provider
from keyman.stores import open_store
from keyman.stores.protocol import Store


def configured(settings: Settings, name: str) -> CredentialSettings:
    """That credential's part of the configuration. Raises NotFound."""
    if name not in settings.credentials:
        known = ", ".join(sorted(settings.credentials)) or "none yet"
        raise errors.NotFound(f"no credential {name!r}", hint=f"known: {known}")
    return settings.credentials[name]


def open_the_store(said: StoreSettings, settings: Settings, name: str, *, read_only: bool) -> Store:
    """One of the configuration's stores, for the installation of that name.

    Raises StoreFailed, ConfigError, and NotAllowed if this user may not look there.
    """
    if said.file:
        look_at(said.file)
    options = {
        **said.options(),
        "installation": name,
        "home": settings.home,
        "read_only": read_only,
        "network": settings.network,
    }
    return open_store(said.kind, options)


class Stores(Mapping[str, Store]):
    """The stores of a configuration, by name. Each is opened when it is first asked for: who only
    wants to know a record needs no key. Raises what `open_the_store` raises.

    One that takes long to open keeps nobody waiting who asks for another.
    """

    def __init__(self, settings: Settings, installation: str, *, read_only: bool = False) -> None:
        self._settings = settings
        self._installation = installation
        self._read_only = read_only
        self._opened: dict[str, Store] = {}
        self._opening = {name: threading.Lock() for name in settings.stores}

    def __getitem__(self, name: str) -> Store:
        with self._opening[name]:
            if name not in self._opened:
                said = self._settings.stores[name]
                self._opened[name] = open_the_store(
                    said, self._settings, self._installation, read_only=self._read_only
                )
            return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings.stores)

    def __len__(self) -> int:
        return len(self._settings.stores)

    def leave(self) -> None:
        """Close nothing any more: somebody may be in the midst of a call that hangs."""
        self._opened.clear()

    def close(self) -> None:
        for name in list(self._opened):
            self._opened.pop(name).close()


class Elsewhere(Mapping[str, Store]):
    """The other stores in which a credential's secrets may be, mirrors first. Looking into one
    makes none: a file that is not there has nothing, nor has what forgets.
    """

    def __init__(
        self, settings: Settings, one: CredentialSettings, stores: Mapping[str, Store]
    ) -> None:
        self._settings, self._one, self._stores = settings, one, stores

    def __getitem__(self, name: str) -> Store:
        return self._stores[name]

    def __iter__(self) -> Iterator[str]:
        others = dict.fromkeys((*self._one.mirrors, *sorted(self._settings.stores)))
        return (name for name in others if name != self._one.store and self._lasts(name))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _lasts(self, name: str) -> bool:
        said = self._settings.stores[name]
        if said.file is None:
            return not isinstance(said.place, MemoryPlace)
        try:
            return look_at(said.file) is not None
        except errors.NotAllowed:  # opening it says so too
            return True


class Rooms(Protocol):
    """Where the parties of a credential find what they need."""

    @property
    def clock(self) -> Clock: ...
    @property
    def journal(self) -> Journal | None:
        """None where nothing ever ran."""

    @property
    def stores(self) -> Mapping[str, Store]:
        """By their names in the configuration."""

    @property
    def tokens(self) -> Store:
        """Where tokens are kept: in memory, whatever the configuration says of the store."""


def managed_by(settings: Settings, one: CredentialSettings, rooms: Rooms) -> Managed:
    """The credential with its provider and store. Asks nobody anything."""
    spec = one.spec(rooms.journal.installation if rooms.journal else "not yet named")
    provider = open_provider(
        one.provider,
        spec,
        one.options,
        network=settings.network,
        clock=rooms.clock,
        secret_of=secret_of(settings, rooms),
    )
    if spec.mints:
        return Managed(spec, provider, rooms.tokens)
    elsewhere = Elsewhere(settings, one, rooms.stores)
    return Managed(spec, provider, rooms.stores[one.store], one.store, one.mirrors, elsewhere)


def secret_of(settings: Settings, rooms: Rooms) -> SecretOf:
    """Reads the current secret of another credential, each time anew: it may have been rotated.

    What it returns raises NotFound, NoUsableSecret or StoreFailed.
    """

    def read(name: str) -> Secret:
        one, journal = configured(settings, name), rooms.journal
        current = journal and journal.load(one.spec(journal.installation))[0].current
        secret = None
        # Also one out of a backup: signing in with it is how it is proven.
        if current and worth_trying(current, rooms.clock.now()):
            secret = rooms.stores[one.store].get(name, current.number)
            if secret is not None and journal and not current.is_of(secret, journal.installation):
                secret = None  # somebody changed it: that is given to nobody
        if secret is None:
            raise errors.NoUsableSecret(f"{name} has no usable secret", hint=how_to_get_one(one))
        return secret

    return read


def how_to_get_one(one: CredentialSettings) -> str:
    if isinstance(one.options, StaticOptions):
        return f"`keyman put {one.name}` takes it from standard input"
    if isinstance(one.options, OpenaiOptions) and one.options.admin_credential == one.name:
        return f"give {one.name} its first admin key (admin_key: best !env or !file)"
    return f"`keyman status {one.name}` says why"
