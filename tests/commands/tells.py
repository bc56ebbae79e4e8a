"""Tells what a process finds when it begins, as JSON, or ends as it is told. For test_forked.py."""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
import time
from typing import Any


def stream(of: Any) -> list[Any]:
    how = [of.encoding, of.errors, of.line_buffering, of.write_through]
    return [*how, of.fileno(), of.isatty(), type(of.buffer).__name__]


def answer(number: int) -> str:
    found = signal.getsignal(number)
    return str(getattr(found, "__name__", None) or found)


def found() -> dict[str, Any]:
    streams = [sys.stdin, sys.stdout, sys.stderr]
    return {
        "argv": sys.argv,
        "path": sys.path,
        "safe": sys.flags.safe_path,
        "environ": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109
        "main": sys.modules["__main__"].__dict__ is globals(),
        "streams": [stream(one) for one in streams],
        "usual": [sys.__stdin__, sys.__stdout__, sys.__stderr__] == streams,
        "open": [number for number in range(3, 100) if os.path.exists(f"/dev/fd/{number}")],  # noqa: PTH110
        "answers": {int(number): answer(number) for number in signal.valid_signals()},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "threads": threading.active_count(),
        "zone": time.tzname,
        "group": [os.getpgid(0), os.getsid(0)],
        "umask": os.umask(0o077),
        "read": sys.stdin.read(),
    }


def end(how: str) -> None:
    if how == "raises":
        raise ValueError("odd")
    if how.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, how))
    sys.exit({"falls off": None, "says why": "no more"}.get(how, 7))


if __name__ == "__main__":
    if sys.argv[1:2] == ["end"]:
        atexit.register(print, "the end")
        threading.Timer(0.05, print, ["a thread"]).start()
        end(sys.argv[2])
    else:
        print(json.dumps(found()))
