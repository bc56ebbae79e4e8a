"""Another key from outside for a sealed file, and another master key with it.

    the key is made beside the old one     the file opens with the old key
    the file admits it                     … with either
    it takes the old key's place           … with either, and that place has the new one
    the file closes to all others          … with the new key alone

Power may go between any two of these: the key that the configuration names opens the file at every
moment, and doing it again begins or finishes it. No secret is sealed anew, its own key is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keyman.config import SealedFile as Place
from keyman.config import Settings, StoreKey
from keyman.errors import Conflict, NotRunning, UsageError
from keyman.housekeeping.house import House, the_store
from keyman.stores.sealed_file import SealedFile
from keyman.stores.sealing_key import exchange, load_key


@dataclass(frozen=True, slots=True)
class Rekeyed:
    stores: tuple[str, ...]
    kind: str  #: of the key
    finished: bool  #: no other key opens them any more


def sealed(settings: Settings, name: str) -> Place:
    """The sealed file of that name. Raises NotFound, UsageError."""
    said = settings.stores[the_store(settings, name)]
    if not isinstance(said.place, Place):
        files = [one.name for one in settings.stores.values() if isinstance(one.place, Place)]
        hint = f"sealed files: {', '.join(files) or 'none'}"
        raise UsageError(
            f"the store {name} is of kind {said.kind}: it has no key of ours", hint=hint
        )
    return said.place


def rekey(house: House, name: str) -> Rekeyed:
    """A new key where the configuration says that the old one is, for every store that has it.

    Raises UsageError where it is handed over from outside, StoreFailed.
    """
    key = sealed(house.settings, name).key
    stores = {each: _opened(house, each) for each in _with_this_key(house.settings, name)}
    made = exchange(_options(house, key))
    for store in stores.values():
        store.admit(made.key)
    made.take_place()
    for store in stores.values():
        store.close_to_others(made.key)
    return Rekeyed(tuple(stores), key.kind, finished=True)


def _with_this_key(settings: Settings, name: str) -> list[str]:
    """Sealed files whose key lies in the same place: what replaces it there replaces it for all."""
    place = _whereabouts(sealed(settings, name).key)
    others = (one for one in settings.stores.values() if isinstance(one.place, Place))
    same = [one for one in others if _whereabouts(sealed(settings, one.name).key) == place]
    # A file that is not there yet will be made with whatever key is there then.
    return [one.name for one in same if one.name == name or (one.file and one.file.exists())]


def _whereabouts(key: StoreKey) -> tuple[object, ...]:
    if key.kind == "keyring":
        return key.kind, key.backend, key.service
    return key.kind, key.path


def admit(house: House, name: str, another: StoreKey) -> Rekeyed:
    """Let another key open the file as well, before the configuration names it; made if it is
    missing and of a kind that keyman makes.
    """
    place, store = sealed(house.settings, name), _opened(house, name)
    if another.kind == place.key.kind == "file" and another.path == place.key.path:
        raise UsageError("that is the key in use", hint=f"`keyman store rekey {name}` replaces it")
    store.admit(load_key(_options(house, another), make=True))
    return Rekeyed((name,), another.kind, finished=False)


def finish(house: House, name: str) -> Rekeyed:
    """Let the key that the configuration names be the only one."""
    place, store = sealed(house.settings, name), _opened(house, name)
    if store.keys() == 1:
        raise Conflict(f"one key opens the store {name} already", hint="there is nothing to finish")
    store.close_to_others(load_key(_options(house, place.key), make=False))
    return Rekeyed((name,), place.key.kind, finished=True)


def _opened(house: House, name: str) -> SealedFile:
    said = house.settings.stores[name]
    if said.file is None or not said.file.exists():
        raise NotRunning(
            f"the file {said.file} is not there", hint="`keyman store check` says more"
        )
    store = house.stores[name]
    assert isinstance(store, SealedFile)
    return store


def _options(house: House, key: StoreKey) -> dict[str, Any]:
    said = {field: getattr(key, field) for field in StoreKey.__dataclass_fields__}
    return {**said, "installation": house.journal.installation, "home": house.settings.home}
