"""A backup of a home: its journal and every secret that this calls stored, in one sealed file.

Taken beside a running daemon as well: the journal first, then the secrets, since a secret is in its
store before the journal says so. What is dropped in between is missing in both senses, and told.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from keyman import __version__
from keyman.clock import Clock, new_id
from keyman.config import Settings
from keyman.core.model import Secret
from keyman.db.copying import copy_to
from keyman.db.journal import Event, Journal
from keyman.errors import SecretDamaged, StoreFailed
from keyman.housekeeping import backup_file
from keyman.housekeeping.contents import Contents, KeptSecret, to_bytes
from keyman.housekeeping.house import Address, House, beside, require_journal, stored

JOURNAL = "keyman.db"
SCRATCH = ".backup-"
LONGEST = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class BackedUp:
    file: Path
    credentials: int
    secrets: int
    absent: tuple[Address, ...]


def back_up(
    settings: Settings, to: Path, passphrase: Secret, clock: Clock, by: str = ""
) -> BackedUp:
    """The history says so before anything is copied, and the copied one as well.

    Raises NotRunning in a home where nothing ever ran, UsageError if `to` may not be replaced,
    StoreFailed if a store can't be read or the file not be written: then there is none.
    """
    require_journal(settings)
    backup_file.refuse_to_replace(to)
    made_at = clock.now()
    _sweep(settings.home, made_at)
    with closing(Journal.open(settings.database, migrate=False)) as journal:
        journal.note(Event(made_at, "", "backup", by, detail=f"to {to}"))
    with _scratch(settings.home) as folder:
        copy_to(settings.database, folder / JOURNAL)
        copied = (folder / JOURNAL).read_bytes()
        with beside(settings) as house:
            known = _known(settings, folder / JOURNAL)
            names = {name for name, _ in known}
            down: dict[str, StoreFailed] = {}
            every = (_kept(house, address, slot, down) for address, slot in known.items())
            kept = [one for one in every if one]
            absent = tuple(sorted(known.keys() - {(one.name, one.number) for one in kept}))
            content = Contents(
                installation=house.journal.installation,
                made_at=made_at,
                made_by=__version__,
                secrets=tuple(kept),
                absent=absent,
                journal=copied,
            )
    backup_file.write(to, to_bytes(content), passphrase)
    return BackedUp(to, len(names), len(kept), absent)


def _known(settings: Settings, journal: Path) -> dict[Address, str | None]:
    """By the copy, not by what was written since."""
    copied = replace(settings, database=f"sqlite:///{journal}")
    with beside(copied) as house:
        return stored(house)


def _kept(
    house: House, address: Address, slot: str | None, down: dict[str, StoreFailed]
) -> KeptSecret | None:
    """From its own store, else from whichever durable one has it. Raises StoreFailed if none has,
    and one could not be asked. `down` are those, which are not asked again.
    """
    one = house.settings.credentials.get(address[0])
    own, asked = one.store if one else None, list[str]()
    for name in sorted(house.stores, key=lambda name: name != own):
        if one is not None and name not in (one.store, *one.mirrors):
            continue
        asked.append(name)
        secret = _readable(house, name, address, down)
        if secret is not None:
            return KeptSecret(name, *address, slot, secret)
    for name in asked:
        if name in down:
            raise down[name]
    return None


def _readable(
    house: House, name: str, address: Address, down: dict[str, StoreFailed]
) -> Secret | None:
    if name in down:
        return None
    try:
        store = house.stores[name]
        return store.get(*address) if store.durable else None
    except SecretDamaged:
        return None
    except StoreFailed as error:
        down[name] = error
        return None


def _sweep(home: Path, now: datetime) -> None:
    """What a backup left that was killed; another one may be under way, but not for so long."""
    for left in home.glob(f"{SCRATCH}*"):
        if now.timestamp() - left.stat().st_mtime > LONGEST.total_seconds():
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A folder in the home, closed to others like it, gone afterwards."""
    folder = home / f"{SCRATCH}{new_id()}"
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise StoreFailed(
            f"the home {home} can't be written to: {error.strerror}", hint="make room on its disk"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
