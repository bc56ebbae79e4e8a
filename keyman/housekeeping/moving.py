"""From one store into another: every secret that the journal calls stored, read back and compared.

May be repeated after any failure: what is there and the same is left alone. The source is emptied
only when everything was verified and the configuration names the target already, so that at every
moment the store which the configuration names has all that the journal knows.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from keyman.core.model import Secret
from keyman.errors import Conflict, NotFound, SecretDamaged, StoreFailed, UsageError
from keyman.housekeeping.house import Address, House, place_of, stored, the_store
from keyman.stores.protocol import Kept, Placed, Pointing, Store, Wholesale

AT_ONCE = 200  # secrets held in memory and put together
CALLS_AT_ONCE = 8  # to a vault: what each of those supported takes without throttling
A = TypeVar("A")
B = TypeVar("B")
_NAME = operator.itemgetter(0)
Told = Callable[[int, int], None]  #: how many are through, of how many


@dataclass
class Copied:
    copied: list[Address] = field(default_factory=list)
    same: list[Address] = field(default_factory=list)  #: were there already
    lost: list[Address] = field(default_factory=list)  #: the journal knows them, no store does
    emptied: list[Address] = field(default_factory=list)
    still_named: list[str] = field(default_factory=list)  #: whose `store` is another one


def copy(
    house: House,
    target: str,
    *,
    source: str | None = None,
    names: Collection[str] = (),
    empty: bool = False,
    told: Told = lambda _done, _of: None,
) -> Copied:
    """Copy what rests in `source` (None: in the store that each credential names) into `target`.

    `names` limits it to these credentials; `empty` drops from the source what the target was seen
    to have. Raises NotFound, UsageError, Conflict (`empty`, and the configuration names another
    store than the target, or both are one place), StoreFailed; what was copied until then stays.
    """
    the_store(house.settings, target)
    wanted = _wanted(house, names)
    if source is not None and the_store(house.settings, source) == target:
        raise UsageError(f"--from and --to are both {target}", hint="name two stores")
    if not house.stores[target].durable:
        raise UsageError(f"{target} forgets everything when keyman stops", hint="name another one")
    if empty:
        _refuse_to_empty(house, source, target, wanted)
    done = Copied()
    for place, addresses in _by_source(house, wanted, source, target).items():
        _copy(house, place, target, addresses, wanted, done, told)
    if empty and source is not None:
        _empty(house.stores[source], house.stores[target], [*done.copied, *done.same], done)
    moved = {name for name, _ in (*done.copied, *done.same)}
    configured = moved & set(house.settings.credentials)
    done.still_named = sorted(n for n in configured if place_of(house.settings, n) != target)
    return done


def _wanted(house: House, names: Collection[str]) -> dict[Address, str | None]:
    every = stored(house)
    known = {name for name, _ in every}
    if unknown := sorted(set(names) - known):
        raise NotFound(
            f"the journal knows no secret of {', '.join(unknown)}",
            hint=f"it knows some of: {', '.join(sorted(known)) or 'nobody yet'}",
        )
    return {address: slot for address, slot in every.items() if not names or address[0] in names}


def _refuse_to_empty(
    house: House, source: str | None, target: str, wanted: Iterable[Address]
) -> None:
    """Who reads the source by the configuration as it is must not find it empty."""
    if source is None:
        raise UsageError("--move needs --from: it says which store is emptied")
    configured = house.settings.credentials
    names = sorted({name for name, _ in wanted} & set(configured))
    elsewhere = [name for name in names if configured[name].store != target]
    if elsewhere:
        raise Conflict(
            f"the configuration names another store than {target} for {', '.join(elsewhere)}",
            hint=f"copy without --move, write `store: {target}` there, then --move empties the old",
        )
    mirrored = [name for name in names if source in configured[name].mirrors]
    if mirrored:
        raise Conflict(
            f"{source} is a mirror of {', '.join(mirrored)}",
            hint="take it out of their `mirrors` first, or leave it as it is",
        )


def _by_source(
    house: House, wanted: Iterable[Address], source: str | None, target: str
) -> dict[str, list[Address]]:
    found: dict[str, list[Address]] = {}
    for address in wanted:
        place = source or place_of(house.settings, address[0])
        if place != target:
            found.setdefault(place, []).append(address)
    return found


def _copy(
    house: House,
    source: str,
    target: str,
    addresses: Sequence[Address],
    slots: dict[Address, str | None],
    done: Copied,
    told: Told,
) -> None:
    origin, store = house.stores[source], house.stores[target]
    there = listed(store, {name for name, _ in addresses})
    for begin in range(0, len(addresses), AT_ONCE):
        missing: list[Kept] = []
        some = addresses[begin : begin + AT_ONCE]
        secrets = _readable(origin, some)
        have_already = _readable(store, [address for address in some if address in there])
        for address in some:
            secret, have = secrets[address], have_already.get(address)
            if secret is None:  # somebody emptied the source meanwhile, or it was lost
                (done.lost if have is None else done.same).append(address)
            elif secret == have:
                done.same.append(address)
            else:
                missing.append((*address, secret, slots[address]))
        keep(store, missing)
        done.copied += [(name, number) for name, number, _, _ in missing]
        told(min(begin + AT_ONCE, len(addresses)), len(addresses))


def listed(store: Store, names: Collection[str]) -> set[Address]:
    """What the store has of these names.

    A vault is asked name by name: its list of everything may lag by minutes.
    """
    if isinstance(store, Pointing):
        return {address for some in _each(store, store.list, sorted(names)) for address in some}
    return {address for address in store.list() if address[0] in names}


def _each(store: Store, do: Callable[[A], B], those: Collection[A]) -> list[B]:
    """Do it for each; several at once where waiting for the network is what takes the time."""
    if not isinstance(store, Pointing):
        return list(map(do, those))
    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        return list(pool.map(do, those))


def _readable(store: Store, addresses: Collection[Address]) -> dict[Address, Secret | None]:
    def read(address: Address) -> Secret | None:
        try:
            return store.get(*address)
        except SecretDamaged:
            return None

    return dict(zip(addresses, _each(store, read, addresses), strict=True))


def keep(store: Store, secrets: Sequence[Kept]) -> None:
    """Keep them, and see that they are."""
    if isinstance(store, Wholesale):
        store.put_all(secrets)
    else:
        by_name = itertools.groupby(sorted(secrets, key=_NAME), key=_NAME)
        _each(store, functools.partial(_put, store), [list(own) for _, own in by_name])
    found = _readable(store, [(name, number) for name, number, _, _ in secrets])
    for name, number, secret, _ in secrets:
        if found[name, number] != secret:
            raise StoreFailed(
                f"the store does not give back what it was given for {name}/{number}",
                hint="`keyman store check` tries it out; copying again goes on from here",
            )


def _put(store: Store, of_one_name: Sequence[Kept]) -> None:
    """One after the other: in some vaults the versions of a name are one document."""
    for name, number, secret, slot in of_one_name:
        store.put(name, number, secret, slot=slot)


def _drop(store: Store, of_one_name: Sequence[Address]) -> None:
    for address in of_one_name:
        store.drop(*address)


def _refuse_one_place(source: Store, target: Store, gone: Sequence[Address]) -> None:
    """What is dropped from one of two names of a place is gone from the other as well."""
    if not (isinstance(source, Placed) and isinstance(target, Placed)):
        return
    for name, number in {name: (name, number) for name, number in gone}.values():
        here = source.place(name, number)
        if here is not None and here == target.place(name, number):
            raise Conflict(
                f"the store that was to be emptied is the very place in which {name} rests, "
                "by another name",
                hint="nothing was dropped: name the place once in `stores`",
            )


def _empty(source: Store, target: Store, verified: Sequence[Address], done: Copied) -> None:
    names = {name for name, _ in verified}
    there, held = listed(target, names), listed(source, names)
    gone = [address for address in verified if address in there and address in held]
    _refuse_one_place(source, target, gone)
    for begin in range(0, len(gone), AT_ONCE):
        some = gone[begin : begin + AT_ONCE]
        if isinstance(source, Wholesale):
            source.drop_all(some)
        else:
            by_name = itertools.groupby(sorted(some, key=_NAME), key=_NAME)
            _each(source, functools.partial(_drop, source), [list(own) for _, own in by_name])
        done.emptied += some
