"""The memory of a command that holds a secret: no core file of it, and for no debugger.

For commands that start at once, so ctypes waits until a command that stays asks for it. What the
system does not allow is a warning: the secret is wanted all the same.
"""

from __future__ import annotations

import os
import sys

from keyman.cli import bare


def no_core_file() -> None:
    """Whatever ends us leaves none behind, nor does a process that we start."""
    if os.name != "posix":
        return
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        bare.note(f"warning: core dumps can't be switched off: {error}")


def no_reader() -> None:
    """No core dump goes to a collector either, and no process of this user may look, where Linux
    knows that. What we start is as it would be without us: the kernel resets this there.
    """
    if sys.platform != "linux":
        return
    import ctypes

    get_dumpable, set_dumpable = 3, 4  # PR_GET_DUMPABLE, PR_SET_DUMPABLE: prctl(2)
    prctl = ctypes.CDLL(None).prctl
    prctl(set_dumpable, 0, 0, 0, 0)
    if prctl(get_dumpable, 0, 0, 0, 0) != 0:
        bare.note("warning: other processes of this user may read this one's memory")
