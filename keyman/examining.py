"""`keyman check`: every question of the checkup, asked of a home that is only looked at."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping

from keyman import checkup, errors
from keyman.checkup import Finding, home
from keyman.clock import SystemClock
from keyman.config import DEFAULT, Settings, StoreSettings
from keyman.core.model import Credential
from keyman.db.sqlite import sqlite_version
from keyman.reading import NothingYet, Reader, started, told
from keyman.stores.protocol import Store
from keyman.views import Json
from keyman.wiring import Stores, managed_by

SEVERITIES = ("error", "warning", "info")


def examine(
    settings: Settings, running: Iterable[Json] = (), silent: str | None = None
) -> list[Json]:
    """What `keyman check` finds, worst first. Asks the providers; changes nothing.

    `running`: how the credentials are in the words of the daemon, if one runs. `silent`: who has
    the home, if that one does not answer.
    Raises NotAllowed if this user may not look into the home.
    """
    found = [*checkup.of_sqlite(sqlite_version()), *checkup.of_configuration(settings)]
    found += [*home.of_home(settings), *checkup.of_mirrors(running)]
    found += [*checkup.of_targets(settings), *checkup.of_the_told(told(settings))]
    found += home.of_the_silent(silent)
    found += checkup.of_the_way_out(settings, SystemClock().now())
    if home.somebody_elses(settings):
        pass  # the daemon refuses to work there, so what is in it is not ours to judge
    elif started(settings):
        with Reader(settings) as reader:
            found += _examined(reader)
    else:
        found += _before_the_first_start(settings)
    found += checkup.of_proxy_variables(settings.network) if checkup.unreached(found) else ()
    found.sort(key=lambda one: SEVERITIES.index(one.severity))
    return [one.as_json() for one in found]


def _examined(reader: Reader) -> Iterator[Finding]:
    settings, now = reader.settings, reader.clock.now()
    yield from checkup.of_network(settings, reader.journal.clients(), now)
    for said in settings.stores.values():
        closed = yield from _of_store(reader.stores, said)
        if closed and said.name == DEFAULT:
            return
    for name, one in settings.credentials.items():
        yield from checkup.of_credential(one, reader.managed(name), reader.load(name), now)
    yield from checkup.of_the_left(reader.journal.providers(), settings)


def _of_store(stores: Mapping[str, Store], said: StoreSettings) -> Generator[Finding, None, bool]:
    """And whether it could not even be opened."""
    try:
        store = stores[said.name]
    except errors.StoreFailed as error:
        yield Finding("error", "store_failed", error.message, error.hint)
        return True
    yield from checkup.of_store(store, said)
    return False


def _before_the_first_start(settings: Settings) -> Iterator[Finding]:
    """No journal yet: the providers can be asked all the same, and stores that are no file."""
    rooms, stores = NothingYet(), Stores(settings, "not yet named", read_only=True)
    note = "keyman has not run on this home yet"
    yield Finding("info", "not_started", note, "keyman daemon")
    for said in settings.stores.values():
        if said.file is None:
            yield from _of_store(stores, said)
    stores.close()
    for one in settings.credentials.values():
        managed = managed_by(settings, one, rooms)
        yield from checkup.of_credential(one, managed, Credential(managed.spec), rooms.clock.now())
    yield from checkup.of_network(settings, (), rooms.clock.now())
