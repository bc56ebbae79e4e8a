"""A backup becomes a home: nothing that was there is lost, nothing of it is taken for proven.

All is made ready beside what is there: the backup is opened whole, its journal brought to this
keyman's schema and marked, its secrets stored and read back. Then names change: what was there is
moved aside, and the journal comes last, so a home without one is a restore that did not finish and
may simply be repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from keyman.clock import Clock, new_id
from keyman.config import SealedFile, Settings, StoreSettings
from keyman.config.places import look_at
from keyman.core import restoring
from keyman.core.model import Credential, Secret
from keyman.db.copying import end_of_history, settle
from keyman.db.journal import Event, Journal
from keyman.db.sqlite import path_of
from keyman.errors import Conflict, NotFound, StoreFailed, UsageError
from keyman.housekeeping import backup_file
from keyman.housekeeping.contents import Contents, KeptSecret, from_bytes
from keyman.housekeeping.house import House, alone, locked, records
from keyman.housekeeping.moving import keep
from keyman.stores import private_file
from keyman.views import time_text
from keyman.wiring import open_the_store


@dataclass
class Restored:
    made_at: datetime
    credentials: list[str] = field(default_factory=list)
    secrets: int = 0
    forgotten: list[str] = field(default_factory=list)  #: their store forgets by its nature
    by_hand: list[str] = field(default_factory=list)  #: nobody but a person can prove them
    clients: list[str] = field(default_factory=list)  #: whose tokens are valid again
    aside: list[Path] = field(default_factory=list)  #: folders with what was there before
    warnings: list[str] = field(default_factory=list)


def restore(
    settings: Settings,
    file: Path,
    passphrase: Secret,
    clock: Clock,
    by: str,
    *,
    over: bool = False,
    trust: Collection[str] = (),
) -> Restored:
    """Make the home what the backup holds. `over`: also where there is a journal, which is kept
    aside; `trust`: credentials whose secrets nobody can be asked about, and that are known to work.

    Raises NotRunning while a keyman works on the home, Conflict if there is a journal, UsageError,
    StoreFailed, ConfigError for a journal of a newer keyman; nothing was changed then.
    """
    contents = from_bytes(backup_file.read(file, passphrase))
    _refuse_distrust(settings, trust)
    with locked(settings) as warnings, ExitStack() as staged:
        if look_at(path_of(settings.database)) and not over:
            raise Conflict(
                f"there is a journal at {path_of(settings.database)}",
                hint="--replace keeps it aside and puts the backup in its place",
            )
        done = Restored(contents.made_at, warnings=warnings)
        journal = _beside(path_of(settings.database), staged)
        _fill_journal(journal, contents, settings, clock, by, trust, done)
        files = _fill_stores(settings, contents, staged, done, over=over)
        _switch(settings, journal, files, clock.now(), done, over=over)
    return done


def trust(settings: Settings, names: Collection[str], clock: Clock, by: str) -> list[str]:
    """Take a person's word for secrets out of a backup that nobody can be asked about; returns the
    names that waited for it. Raises NotRunning, NotFound, UsageError.
    """
    _refuse_distrust(settings, names)
    taken = []
    with alone(settings) as house:
        for c in records(house):
            if c.name in names and any(v.restored_at for v in c.versions):
                _, observed = house.journal.load(c.spec)
                event = Event(clock.now(), c.name, "trusted after a restore", by)
                house.journal.save(restoring.trusted(c), observed, events=(event,))
                taken.append(c.name)
    return taken


def _refuse_distrust(settings: Settings, names: Collection[str]) -> None:
    """Where the provider can be asked, it is."""
    for name in names:
        one = settings.credentials.get(name)
        if one is None:
            known = ", ".join(sorted(settings.credentials)) or "none yet"
            raise NotFound(f"no credential {name!r}", hint=f"known: {known}")
        if one.spec("").probes or one.spec("").issues:
            raise UsageError(
                f"{name} needs nobody's word: its provider is asked",
                hint=f"leave out --trust {name}; `keyman status {name}` says how far that is",
            )


def _beside(path: Path, staged: ExitStack) -> Path:
    """A name in the same folder. Nothing lies there when this is over, nor what an earlier one left
    that was killed: nobody else restores meanwhile.
    """

    def sweep() -> None:
        # Two dots: one that was killed while its own file was being made.
        for left in path.parent.glob(f".*{path.name}.restore-*"):
            left.unlink()

    sweep()
    staged.callback(sweep)
    return path.with_name(f".{path.name}.restore-{new_id()}")


# The journal.


def _fill_journal(
    path: Path,
    contents: Contents,
    settings: Settings,
    clock: Clock,
    by: str,
    trust: Collection[str],
    done: Restored,
) -> None:
    private_file.make(path, contents.journal)
    url = f"sqlite:///{path}"
    with closing(Journal.open(url)) as journal:
        if journal.installation != contents.installation:
            raise StoreFailed("the backup's journal is another installation's than its secrets")
        journal.void_leases(None)
        of = f"of {time_text(contents.made_at)}, by keyman {contents.made_by}{_instead(settings)}"
        journal.note(Event(clock.now(), "", "backup restored", by, detail=of))
        house = House(replace(settings, database=url), journal, {})
        for c in records(house):
            after = restoring.restored(c, contents.made_at, clock.now())
            after = restoring.trusted(after) if c.name in trust else after
            event = Event(clock.now(), c.name, "restored", by, detail=f"as of {contents.made_at}")
            journal.save(after, None, events=(event,))
            done.credentials.append(c.name)
            done.by_hand += [c.name] if _only_a_person_knows(after) else []
        done.clients = [one.name for one in journal.clients() if one.revoked_at is None]
    settle(url)
    if look_at(path.with_name(f"{path.name}-wal")):
        raise StoreFailed(f"the restored journal {path} did not settle into one file")


def _instead(settings: Settings) -> str:
    """Where the history ended that is moved aside: the log may speak of its entries."""
    end = end_of_history(settings.database)
    return f"; in place of a history that ended with {end.seq}, {end.hash}" if end else ""


def _only_a_person_knows(c: Credential) -> bool:
    waits = c.current is not None and c.current.restored_at is not None
    return waits and not (c.spec.probes or c.spec.issues)


# The stores.


def _fill_stores(
    settings: Settings, contents: Contents, staged: ExitStack, done: Restored, *, over: bool
) -> dict[Path, Path]:
    """Put each secret into the store that the configuration has for it now. Sealed files that are
    not there, or to be replaced, are made beside their places: from where to where is returned.
    """
    files: dict[Path, Path] = {}
    for name, secrets in _by_store(settings, contents.secrets).items():
        said = settings.stores[name]
        if isinstance(said.place, SealedFile) and (over or not look_at(said.place.path)):
            beside = _beside(said.place.path, staged)
            files[beside] = said.place.path
            said = replace(said, place=replace(said.place, path=beside))
        with closing(
            open_the_store(said, settings, contents.installation, read_only=False)
        ) as store:
            if not store.durable:
                done.forgotten += sorted({one.name for one in secrets})
                continue
            keep(store, [(one.name, one.number, one.secret, one.slot) for one in secrets])
        done.secrets += len(secrets)
    return files


def _by_store(settings: Settings, secrets: Collection[KeptSecret]) -> dict[str, list[KeptSecret]]:
    found: dict[str, list[KeptSecret]] = {}
    for one in secrets:
        configured = settings.credentials.get(one.name)
        known = one.store if one.store in settings.stores else settings.store.name
        found.setdefault(configured.store if configured else known, []).append(one)
    return found


# The switch.


def _switch(
    settings: Settings,
    journal: Path,
    files: dict[Path, Path],
    now: datetime,
    done: Restored,
    *,
    over: bool,
) -> None:
    place = path_of(settings.database)
    if over:
        settle(settings.database)
    # Without --replace there are remains at most; a stranger's -wal would spoil the new journal.
    done.aside = _move_aside([place, *files.values()], list(_keys(settings, files)), now)
    for made, meant in files.items():
        _rename(made, meant)
    _rename(journal, place)


def _keys(settings: Settings, files: dict[Path, Path]) -> Iterator[Path]:
    """The keys that open what is moved aside; they stay in use, so copies go along."""
    for said in settings.stores.values():
        if isinstance(said.place, SealedFile) and said.place.path in files.values():
            yield from _key_file(said)


def _key_file(said: StoreSettings) -> Iterator[Path]:
    assert isinstance(said.place, SealedFile)
    if said.place.key.kind in ("file", "passphrase"):
        yield said.place.key.path


def _move_aside(files: list[Path], copied: list[Path], now: datetime) -> list[Path]:
    """Into a folder beside each, under their own names; returns the folders that came to be."""
    folders: list[Path] = []
    stamp = f"{now:%Y%m%dT%H%M%SZ}-{new_id()[:6]}"  # twice in a second is two
    for path in files:
        aside = path.parent / f"before-restore-{stamp}"
        for ending in ("", "-journal", "-wal", "-shm"):
            whole = path.with_name(path.name + ending)
            if look_at(whole) is None:
                continue
            with private_file.translated(aside, "made"):
                aside.mkdir(mode=0o700, exist_ok=True)
            _rename(whole, aside / whole.name)
            folders += [] if aside in folders else [aside]
    for path in copied:
        content = private_file.read(path)
        if folders and content is not None:
            private_file.make(folders[0] / path.name, content)
    return folders


def _rename(path: Path, to: Path) -> None:
    with private_file.translated(path, f"moved to {to}"):
        path.rename(to)
        private_file.sync_folder(to.parent)
