"""From the configuration to the parties of a credential: its provider, its store, and whose secret
it signs in with. Opens what it is asked for; asks nobody anything.
"""

from __future__ import annotations

from typing import Protocol

from keyman import errors
from keyman.clock import Clock
from keyman.config import CredentialSettings, OpenaiOptions, Settings, StaticOptions
from keyman.config.places import look_at
from keyman.core.health import usable
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


def open_the_store(settings: Settings, installation: str, *, read_only: bool = False) -> Store:
    """Where this configuration keeps secrets. Raises StoreFailed, ConfigError, and NotAllowed if
    this user may not look there.
    """
    if settings.store.kind == "sealed-file":
        look_at(settings.store.path)
    options = {
        **settings.store.options(),
        "installation": installation,
        "home": settings.home,
        "read_only": read_only,
    }
    return open_store(settings.store.kind, options)


class Rooms(Protocol):
    """Where the parties of a credential find what they need."""

    @property
    def clock(self) -> Clock: ...
    @property
    def journal(self) -> Journal | None:
        """None where nothing ever ran."""

    @property
    def store(self) -> Store: ...
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
    return Managed(spec, provider, rooms.tokens if spec.mints else rooms.store)


def secret_of(settings: Settings, rooms: Rooms) -> SecretOf:
    """Reads the current secret of another credential, each time anew: it may have been rotated.

    What it returns raises NotFound, NoUsableSecret or StoreFailed.
    """

    def read(name: str) -> Secret:
        one, journal = configured(settings, name), rooms.journal
        current = journal and journal.load(one.spec(journal.installation))[0].current
        secret = None
        if current and usable(current, rooms.clock.now()):
            secret = rooms.store.get(name, current.number)
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
