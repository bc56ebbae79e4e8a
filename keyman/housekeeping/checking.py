"""Trying a store out: a throw-away secret is put, read back, listed, pointed at and dropped.

Under a name that no credential can have, so nothing of anybody's is touched and a daemon may be at
work meanwhile. Where a store itself knows a current secret, only the throw-away one's is moved.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field

from keyman.clock import Clock, new_id
from keyman.config import SealedFile, Settings, StoreSettings
from keyman.config.places import look_at
from keyman.core.model import Secret
from keyman.db.sqlite import path_of
from keyman.errors import Error, StoreFailed
from keyman.housekeeping.house import House, beside, place_of, stored
from keyman.housekeeping.moving import listed
from keyman.stores.protocol import Pointing, Store
from keyman.stores.sealed_file import SealedFile as SealedStore
from keyman.wiring import open_the_store

MARK = "_keyman-check"  # a credential's name begins with a letter or a digit
NOBODY = "keyman-store-check"  # the installation, where none has a name yet


@dataclass
class Checked:
    """How a store did: each call with its milliseconds, and what went wrong at last."""

    store: str
    kind: str
    durable: bool | None = None  #: None: it did not open
    mode: str | None = None  #: of its file, if it is one
    calls: dict[str, float] = field(default_factory=dict)
    secrets: int | None = None  #: how many of ours rest there
    missing: list[str] = field(default_factory=list)
    keys: int | None = None  #: that open it, if it is sealed
    error: Error | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


def check(settings: Settings, name: str, clock: Clock) -> Checked:
    """Raises nothing but what keeps everything from being looked at."""
    said = settings.stores[name]
    found = Checked(name, said.kind, mode=_mode(said))
    try:
        if look_at(path_of(settings.database)) is None:
            _try_first(found, said, settings, clock)
            return found
        with beside(settings, read_only=False) as house:
            _refuse_a_lost_file(said, house)
            _try(found, lambda: house.stores[name], house.journal.installation, clock)
            _count(found, house)
    except Error as error:
        found.error = error
    return found


def _mode(said: StoreSettings) -> str | None:
    there = look_at(said.file) if said.file else None
    return f"{stat.S_IMODE(there.st_mode):04o}" if there else None


def _try_first(found: Checked, said: StoreSettings, settings: Settings, clock: Clock) -> None:
    """Nothing ever ran here. A file is made by the daemon; what is elsewhere can be tried out."""
    if isinstance(said.place, SealedFile):
        return
    with ExitStack() as opened:

        def opening() -> Store:
            store = open_the_store(said, settings, NOBODY, read_only=False)
            return opened.enter_context(closing(store))

        _try(found, opening, NOBODY, clock)


def throw_away(installation: str) -> str:
    """Each installation has its own: what another one left in a vault is not its to change."""
    return f"{MARK}-{hashlib.sha256(installation.encode()).hexdigest()[:8]}"


def _refuse_a_lost_file(said: StoreSettings, house: House) -> None:
    """Opening it for writing would make another one, and hide that the first is gone."""
    if said.file is None or look_at(said.file) is not None or not list(_ours(said.name, house)):
        return
    raise StoreFailed(
        f"the file {said.file} is missing",
        hint="put it back, or `keyman restore` a backup; docs/runbooks.md says what else helps",
    )


def _ours(store: str, house: House) -> Iterator[tuple[str, int]]:
    every = stored(house)
    return (address for address in every if place_of(house.settings, address[0]) == store)


def _count(found: Checked, house: House) -> None:
    store = house.stores[found.store]
    found.keys = store.keys() if isinstance(store, SealedStore) else None
    ours = list(_ours(found.store, house))
    there = listed(store, {name for name, _ in ours})
    found.secrets = sum(address in there for address in ours)
    found.missing = [f"{name}/{number}" for name, number in ours if (name, number) not in there]
    if found.missing and store.durable:
        raise StoreFailed(
            f"{len(found.missing)} secrets that the journal knows are not in the store: "
            f"{', '.join(found.missing[:5])}",
            hint="the daemon replaces them when it starts; or put back a backup first",
        )


def _try(found: Checked, opened: Callable[[], Store], installation: str, clock: Clock) -> None:
    name = throw_away(installation)
    with _timed(found, "open", clock):
        store = opened()
    found.durable = store.durable
    with _timed(found, "list", clock):
        left = store.list(name)
    if isinstance(store, Pointing):
        store.point(name, None)
    for address in left:  # by a check that was killed
        store.drop(*address)
    # Some stores take a number once and never again.
    number, secret = int(clock.now().timestamp()), Secret(f"throw-away {new_id()}")
    with _timed(found, "ready", clock):
        store.ready(name)
    with _dropped_on_failure(store, name, number):
        with _timed(found, "write", clock):
            store.put(name, number, secret)
        with _timed(found, "read", clock):
            _expect(store.get(name, number) == secret, "does not give back what was put")
        _expect((name, number) in store.list(name), "does not list what was put")
        if isinstance(store, Pointing):
            _point(found, store, name, number, clock)
    with _timed(found, "drop", clock):
        store.drop(name, number)
    _expect(store.get(name, number) is None, "still gives what was dropped")


@contextmanager
def _dropped_on_failure(store: Store, name: str, number: int) -> Iterator[None]:
    try:
        yield
    except Error:
        with suppress(Error):  # what failed first is what there is to tell
            store.drop(name, number)
        raise


def _point(found: Checked, store: Pointing, name: str, number: int, clock: Clock) -> None:
    with _timed(found, "point", clock):
        store.point(name, number)
        _expect(store.pointed(name) == number, "does not point where it was told to")
    with _timed(found, "point away", clock):
        store.point(name, None)
        _expect(store.pointed(name) is None, "goes on pointing after it was told not to")


def _expect(so: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as it is said
    if not so:
        raise StoreFailed(f"the store {otherwise}", hint="keyman can't rely on it: use another one")


@contextmanager
def _timed(found: Checked, call: str, clock: Clock) -> Iterator[None]:
    began = clock.monotonic()
    yield
    found.calls[call] = round(1000 * (clock.monotonic() - began), 3)
