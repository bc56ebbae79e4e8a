"""`make bench`: run every benchmark and print one line each. Exit status 1 if a limit is missed.

Those that take minutes run only if they are named: `make bench ARGS=ten_thousand_tokens`.
"""

from __future__ import annotations

import sys

from benchmarks import (
    agent,
    command_get,
    daemon_weight,
    lookups,
    rotation_cost,
    ten_thousand_tokens,
)
from benchmarks.figure import Figure

ALL = {
    "agent": agent.figures,
    "lookups": lookups.figures,
    "rotation_cost": rotation_cost.figures,
    "daemon_weight": daemon_weight.figures,
    "command_get": command_get.figures,
}
BY_NAME = {"ten_thousand_tokens": ten_thousand_tokens.figures}


def main(names: list[str]) -> int:
    missed = False
    for name in names or list(ALL):
        for figure in (ALL | BY_NAME)[name]():
            print(figure.line(), flush=True)
            missed = missed or not figure.reached
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))


__all__ = ["Figure"]
