"""An end to a call that its library gives none."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, act: Callable[[], T]) -> T | None:
    """What `act` returns, or None when the time is over; it may then end unheard in its thread.

    A peer that sends a byte now and then, or a name that nobody resolves, keeps every timeout of
    a socket from firing; only a clock outside of the call ends that. `act` must not raise.
    """
    box: queue.SimpleQueue[T] = queue.SimpleQueue()
    threading.Thread(target=lambda: box.put(act()), name="vendor-call", daemon=True).start()
    try:
        return box.get(timeout=seconds)
    except queue.Empty:
        return None
