"""A consistent copy of a journal that others may be writing to meanwhile: SQLite's own backup."""

from __future__ import annotations

import re
from contextlib import closing, suppress
from pathlib import Path

from keyman.db import sqlite
from keyman.db.audit import Head
from keyman.errors import Conflict, StoreFailed


def copy_to(url: str, path: Path) -> None:
    """Copy the journal at `url` to a new file, its owner's alone. Raises NotRunning if there is
    none, StoreFailed if it can't be read or written.
    """
    source = sqlite.path_of(url)
    sqlite.check_file(source)
    sqlite.make_file(path)
    with (
        sqlite.translated(),
        closing(sqlite.plain(source)) as there,
        closing(sqlite.plain(path)) as here,
    ):
        there.backup(here)
        here.execute("PRAGMA journal_mode=DELETE")  # one file, complete


def end_of_history(url: str) -> Head | None:
    """Where it ends by the word of a journal that nobody has open; None if that can't be told."""
    path = sqlite.path_of(url)
    with suppress(StoreFailed, Conflict), sqlite.translated(), closing(sqlite.plain(path)) as own:
        for seq, seal in own.execute("SELECT seq, hash FROM chain").fetchall():
            if isinstance(seq, int) and re.fullmatch("[0-9a-f]{64}", str(seal)):
                return Head(seq, seal)
    return None


def settle(url: str) -> None:
    """Have all of a journal that nobody has open in the one file that `url` names.

    As well as can be: it may be damaged, and is then left as it is.
    """
    path = sqlite.path_of(url)
    with suppress(StoreFailed, Conflict), sqlite.translated(), closing(sqlite.plain(path)) as own:
        own.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
