"""Where tests keep files that nobody will look for: in memory, or below a short name.

What is tried about kills, damaged bytes and torn writes doesn't need a disk, whose syncs would take
most of the time. A socket's path has a hundred characters at most, whatever TMPDIR says.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

_SHM = Path("/dev/shm")
MEMORY = _SHM if _SHM.is_dir() else None  #: of tempfile's `dir`: None is where it usually is
LONGEST = 12  # characters of where temporary files usually lie
_usual = tempfile.gettempdir()
SHORT = _usual if len(_usual) <= LONGEST else "/tmp"


def short_folder() -> Path:
    """A new one, empty; whoever asked removes it."""
    return Path(tempfile.mkdtemp(prefix="km-", dir=SHORT))
