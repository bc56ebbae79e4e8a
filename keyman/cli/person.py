"""Who types a command."""

from __future__ import annotations

import os
import pwd


def person() -> str:
    """Who is at the terminal, for the journal."""
    uid = os.getuid()
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}"
