"""An empty journal with today's schema, laid down as a file.

The migrations that make it take fifty milliseconds, and most tests are about something else. What
a first opening does besides, such as naming the installation, is left to it.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from keyman.db import migrate, sqlite


def lay_down(path: Path) -> str:
    """Put it at `path`, unless there is one; the journal's address."""
    if not path.exists():
        sqlite.make_file(path)
        path.write_bytes(_blank())
    return f"sqlite:///{path}"


@functools.cache
def _blank() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "keyman.db")
        sqlite.make_file(path)
        engine = sqlite.engine(path)
        migrate.upgrade(engine)
        engine.dispose()
        return path.read_bytes()
