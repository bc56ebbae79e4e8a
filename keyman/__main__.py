"""`python -m keyman`, and the console script.

`keyman get NAME` and its like are what shells and tools call all the time: they are answered before
any argument parser or third-party package is imported. Importing the daemon takes a while: a SIGHUP
meanwhile waits until the daemon listens for it.
"""

from __future__ import annotations

import os
import sys

from keyman.cli import AT_ONCE

HELP = """\
Usage: keyman COMMAND

  Only the client is installed here. With it come

  get    print the current secret
  env    print what sets a shell's variables to it
  run    run a command that finds it in its environment
  write  put it into a file, and keep that current

  each with --help. All others come with the daemon's parts:
  pip install 'keyman[daemon]'
"""


def script() -> None:
    """The program. A command that is called all the time is over once it has said what it had to:
    to take the interpreter down piece by piece may cost a third of it.
    """
    status = main()
    if sys.argv[1:2] and sys.argv[1] in AT_ONCE:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by whoever started us
                stream.flush()
        os._exit(status)
    sys.exit(status)


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status is the one that the interface promises."""
    arguments = sys.argv[1:] if argv is None else argv
    if os.getpid() == 1:  # in a container, with nobody before us
        from keyman.first_process import take_office

        take_office(alone=_starts_the_daemon(arguments))
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
        return _without_the_daemons_parts(arguments, package)
    return run(arguments)


def _without_the_daemons_parts(arguments: list[str], missing: str) -> int:
    """Where only the client is installed: which commands work, and how to get the others."""
    from keyman.cli import bare
    from keyman.errors import NotRunning

    if "--version" in arguments[:1]:
        from keyman import __version__

        bare.say(f"keyman, version {__version__}\n")
        return 0
    if not arguments or arguments[0] in ("--help", "-h"):
        bare.say(HELP)
        return 0 if arguments else 2
    lacking = NotRunning(
        f"the daemon's parts are not installed here ({missing} is missing)",
        hint="pip install 'keyman[daemon]'; get, env, run and write work without",
    )
    return bare.complain(lacking, as_json="--json" in arguments)


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
