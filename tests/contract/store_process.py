"""Another process at a store. Told what to do by one line of JSON on its standard input:

{"kind": …, "options": {…}, "put": [[name, number, value], …]}     puts them, then ends
{"kind": …, "options": {…}, "churn": N}     replaces churn/1 for ever, from the N-th value on,
                                             and prints N when the store has taken it
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keyman.core.model import Secret
from keyman.stores import open_store

ROOT = Path(__file__).resolve().parent.parent.parent
PAUSE = 0.005  # seconds: who writes without any keeps readers out on a busy machine; no keyman does


def nth_value(n: int) -> str:
    """Long enough for several pages, and any mixture of two of them is none of them."""
    return f"{n:08}." * 1500


@contextmanager
def process(task: dict[str, Any]) -> Iterator["subprocess.Popen[str]"]:
    """The other process, at work on the task; killed at the end if it is still there."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.contract.store_process"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdin is not None
        running.stdin.write(json.dumps(task, default=str))
        running.stdin.close()
        try:
            yield running
        finally:
            running.kill()


def main() -> None:
    task = json.load(sys.stdin)
    store = open_store(task["kind"], task["options"])
    for name, number, value in task.get("put", ()):
        store.put(name, number, Secret(value))
    n = task.get("churn")
    while n is not None:
        store.put("churn", 1, Secret(nth_value(n)))
        print(n, flush=True)
        n += 1
        time.sleep(PAUSE)
    store.close()


if __name__ == "__main__":
    main()
