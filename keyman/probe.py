"""Is the daemon alive, is it ready? For whoever looks after containers and services.

    python -m keyman.probe /healthz    somebody answers
    python -m keyman.probe /readyz     journal, stores and snapshot are in order

Asks the agent at its socket, where clients find it, with the standard library alone. Exit status 0
or 1, as container engines understand it; what is wrong is one line on standard error.
"""

from __future__ import annotations

import sys

from keyman import client
from keyman.errors import Error

QUESTIONS = ("/healthz", "/readyz")
PATIENCE = 3.0  # seconds


def main(arguments: list[str]) -> int:
    if arguments in (["--help"], ["-h"]):
        sys.stdout.write(__doc__ or "")
        return 0
    if len(arguments) != 1 or arguments[0] not in QUESTIONS:
        return _wrong(f"one of {', '.join(QUESTIONS)} is asked for")
    try:
        client.checked(*client.call("GET", arguments[0], timeout=PATIENCE))
    except Error as error:
        return _wrong(error.message)
    return 0


def _wrong(what: str) -> int:
    sys.stderr.write(f"keyman: error: {what}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
