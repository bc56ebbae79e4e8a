"""A home with its journal and stores, for work beside or instead of the daemon.

Knows which secrets there should be: what the journal calls stored. Asks no provider anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from keyman.clock import Clock
from keyman.config import DEFAULT, Settings, prepare_home
from keyman.config.places import look_at
from keyman.core.model import Credential, Secret, Spec
from keyman.db.journal import Event, Journal
from keyman.db.sqlite import path_of
from keyman.errors import Conflict, NotFound, NotRunning
from keyman.lock import COMMAND, HomeLock
from keyman.stores.protocol import Store
from keyman.wiring import Stores

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class House:
    settings: Settings
    journal: Journal
    stores: Mapping[str, Store]
    warnings: list[str] = field(default_factory=list)


@contextmanager
def alone(settings: Settings) -> Iterator[House]:
    """The home under its lock, for changes. Raises NotRunning if a keyman works on it, or if
    nothing ever ran there.
    """
    require_journal(settings)
    with ExitStack() as opened:
        warnings = opened.enter_context(locked(settings))
        yield opened.enter_context(_opened(settings, read_only=False, warnings=warnings))


@contextmanager
def beside(settings: Settings, *, read_only: bool = True) -> Iterator[House]:
    """The home as it is, whether or not a daemon works on it."""
    require_journal(settings)
    with _opened(settings, read_only=read_only, warnings=[], look_only=True) as house:
        yield house


@contextmanager
def _opened(
    settings: Settings, *, read_only: bool, warnings: list[str], look_only: bool = False
) -> Iterator[House]:
    with ExitStack() as opened:
        journal = Journal.open(settings.database, migrate=not look_only, read_only=look_only)
        opened.callback(journal.close)
        stores = Stores(settings, journal.installation, read_only=read_only)
        opened.callback(stores.close)
        yield House(settings, journal, stores, warnings)


@contextmanager
def locked(settings: Settings) -> Iterator[list[str]]:
    """Nobody else works on the home meanwhile; yields what had to be changed on it. Raises
    NotRunning while somebody does.
    """
    warnings = prepare_home(settings.home)
    try:
        lock = HomeLock(settings.home / "daemon.lock", COMMAND)
    except Conflict as held:
        raise NotRunning(
            held.message, hint="stop the daemon, and start it again afterwards"
        ) from None
    with lock:
        yield warnings


def note(house: House, clock: Clock, kind: str, by: str, detail: str = "") -> None:
    """Write into the history who does what with the whole home. Raises StoreFailed, Conflict."""
    house.journal.note(Event(clock.now(), "", kind, by, detail=detail))


def require_journal(settings: Settings) -> None:
    """Raises NotRunning in a home where nothing ever ran."""
    path = path_of(settings.database)
    if look_at(path) is None:
        raise NotRunning(f"there is no journal at {path} yet", hint="start `keyman daemon` once")


def the_store(settings: Settings, name: str) -> str:
    """The name, if a store is configured under it. Raises NotFound."""
    if name not in settings.stores:
        known = ", ".join(sorted(settings.stores))
        raise NotFound(f"no store {name!r} is configured", hint=f"known: {known}")
    return name


def records(house: House) -> Iterator[Credential]:
    """What the journal says of every credential, also of those that left the configuration."""
    for name, provider in house.journal.providers().items():
        one = house.settings.credentials.get(name)
        known = one is not None and one.provider == provider
        spec = one.spec(house.journal.installation) if one and known else Spec(name, provider)
        yield house.journal.load(spec)[0]


def stored(house: House) -> dict[Address, str | None]:
    """Every secret that the journal calls stored, and the slot that it came for."""
    return {
        (c.name, v.number): v.slot
        for c in records(house)
        for v in c.versions
        if v.stored and v.issued_at and not c.spec.mints
    }


def place_of(settings: Settings, name: str) -> str:
    """The store in which the credential's secrets rest, by the configuration as it is now."""
    one = settings.credentials.get(name)
    return one.store if one else DEFAULT


def same(one: Secret | None, other: Secret | None) -> bool:
    return one is not None and one == other
