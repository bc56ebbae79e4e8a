"""Every call of a rotation, for each kind of store: killed before it has its effect, and after.

    python -m tests.store_calls                            # every kind; some minutes
    python -m tests.store_calls --store oci-vault          # one of them
    python -m tests.store_calls --mirror vault             # a sealed file that a vault follows
    python -m tests.store_calls --step 5                   # every fifth call

Prints a line for each kind, and what did not hold. Ends with status 1 if anything did not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.power_cut.stores import DURABLE
from tests.proof.report import conclude
from tests.store_calls.rotating import Instants, Rotating


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.store_calls", description=__doc__)
    parser.add_argument("--store", choices=DURABLE, help="where it rests; if not given, each")
    parser.add_argument("--mirror", choices=DURABLE, help="a second store, which follows")
    parser.add_argument("--step", type=int, default=1, help="one in so many calls")
    options = parser.parse_args()
    kinds = [options.store or "sealed-file"] if options.store or options.mirror else DURABLE
    began = time.monotonic()
    found = [_all_of(kind, options.mirror, options.step) for kind in kinds]
    killed, broken = (sum(many) for many in zip(*found, strict=True))
    return conclude({"rotations killed at a call to a store": killed}, broken, began)


def _all_of(kind: str, mirror: str | None, step: int) -> tuple[int, int]:
    """How many were killed, and how many promises did not hold."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="keyman-calls-") as folder,
        Rotating(Path(folder), kind, mirror) as rotating,
    ):
        for after in (False, True):
            for _ in rotating.killed_at_each(Instants(after, step=step)):
                pass
        killed, broken = len(rotating.killed_at), rotating.broken
    where = f"{kind}, mirror {mirror}" if mirror else kind
    took = time.monotonic() - began
    print(f"{where}: {killed} rotations killed, {len(broken)} broken promises; {took:.0f} s")
    for one in broken:
        print(f"   {one}", flush=True)
    return killed, len(broken)


if __name__ == "__main__":
    sys.exit(main())
