"""The memory of a process that holds secrets: no core file of it, and for no debugger.

Commands that start at once ask for it too, so ctypes waits until one that stays does. Each function
returns what the system did not let us do, or None: the secret is wanted all the same.
"""

from __future__ import annotations

import os
import sys


def no_core_file() -> str | None:
    """Whatever ends us leaves none behind, nor does a process that we start."""
    if os.name != "posix":
        return None
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        return f"core dumps can't be switched off: {error}"
    return None


def no_reader() -> str | None:
    """No core dump goes to a collector either, and no process of this user may look, where Linux
    knows that. What we start is as it would be without us: the kernel resets this there.
    """
    if sys.platform != "linux":
        return None
    import ctypes

    get_dumpable, set_dumpable = 3, 4  # PR_GET_DUMPABLE, PR_SET_DUMPABLE: prctl(2)
    prctl = ctypes.CDLL(None).prctl
    prctl(set_dumpable, 0, 0, 0, 0)
    if prctl(get_dumpable, 0, 0, 0, 0) != 0:
        return "other processes of this user may read this one's memory: prctl is not allowed here"
    return None
