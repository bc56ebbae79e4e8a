"""The line with which every part of the proof ends: how often what was tried, and what broke."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

MARK = "proof: "


def conclude(tried: Mapping[str, int], broken: int, began: float) -> int:
    """Print that line; the exit status. `began` is of time.monotonic()."""
    seconds = round(time.monotonic() - began)
    said = {"tried": dict(tried), "broken": broken, "seconds": seconds}
    print(MARK + json.dumps(said), flush=True)
    return 1 if broken else 0
