"""`python -m keyman`, and the console script.

`keyman get NAME` and its like are what shells and tools call all the time: they are answered before
any argument parser or third-party package is imported. Importing the daemon takes a while: a SIGHUP
meanwhile waits until the daemon listens for it.
"""

from __future__ import annotations

import os
import sys

from keyman.cli import AT_ONCE


def script() -> None:
    """The program. A command that is called all the time is over once it has said what it had to:
    to take the interpreter down piece by piece may cost a third of it.
    """
    status = main()
    if sys.argv[1:2] and sys.argv[1] in AT_ONCE:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status is the one that the interface promises."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] and arguments[0] in AT_ONCE:
        return _at_once(arguments[0], arguments[1:])
    if _starts_the_daemon(arguments):
        _hold_hang_ups()
    try:
        from keyman.cli.main import run
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package == "keyman":
            raise
        print(f"keyman: error: {package} is not installed", file=sys.stderr)
        print("keyman: hint: pip install 'keyman[daemon]'", file=sys.stderr)
        return 6
    return run(arguments)


def _at_once(name: str, arguments: list[str]) -> int:
    module = __import__(f"keyman.cli.{name}", fromlist=["main"])  # importlib would cost more
    status: int = module.main(arguments)
    return status


def _starts_the_daemon(arguments: list[str]) -> bool:
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            return word == "daemon" and "--once" not in arguments
        if "=" not in word:
            next(words, None)  # the options that stand before a command take a value each
    return False


def _hold_hang_ups() -> None:
    """`Daemon.serve` lets them in. Until then the usual answer to SIGHUP would be to die."""
    import signal

    if hasattr(signal, "SIGHUP"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


if __name__ == "__main__":
    script()
