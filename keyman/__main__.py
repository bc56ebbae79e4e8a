"""`python -m keyman`, and the console script.

`keyman get NAME` is what shells and tools call all the time: it is answered before any argument
parser or third-party package is imported.
"""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status is the one that the interface promises."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["get"]:
        from keyman.cli.get import main as get

        return get(arguments[1:])
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


if __name__ == "__main__":
    sys.exit(main())
