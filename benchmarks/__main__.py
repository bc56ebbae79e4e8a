"""`make bench`: run every benchmark and print one line each. Exit status 1 if a limit is missed.

Those that take minutes run only if they are named: `make bench ARGS=ten_thousand_tokens`.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from benchmarks import (
    agent,
    command_get,
    daemon_weight,
    lookups,
    rotation_cost,
    status,
    store_copy,
    ten_thousand_tokens,
    vaults,
)

ALL = {
    "agent": agent.figures,
    "lookups": lookups.figures,
    "rotation_cost": rotation_cost.figures,
    "daemon_weight": daemon_weight.figures,
    "command_get": command_get.figures,
    "store_copy": store_copy.figures,
    "status": status.figures,
}
EVERY = ALL | {
    "ten_thousand_tokens": ten_thousand_tokens.figures,
    "vaults": vaults.figures,
}


def main() -> int:
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EVERY))
    names = parser.parse_args().names
    if unknown := set(names) - EVERY.keys():
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    missed = False
    for name in names or ALL:
        for figure in EVERY[name]():
            print(figure.line(), flush=True)
            missed = missed or not figure.reached
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
