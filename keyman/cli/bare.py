"""What those commands share that must start at once: `get`, `env`, `run`, `write`.

They are called in loops and in front of other programs, and work where no package is installed
beside keyman's client. So neither click nor anything else of weight is imported here: options are
told apart by hand, errors are the same two lines as everywhere.
"""

from __future__ import annotations

import sys
from errno import EAGAIN, EBADF

from keyman import client
from keyman.errors import INTERRUPTED, STATUSES, ConfigError, Error, NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TextIO


class Words:
    """A command line taken apart.

    `names` stand by themselves, `flags` are options that take nothing, `options` have a value
    each, and `behind` is what follows `--`, None where there is none.
    """

    def __init__(self, of: str) -> None:
        self._of = of
        self.names: list[str] = []
        self.flags: set[str] = set()
        self.options: dict[str, str] = {}
        self.behind: list[str] | None = None

    def read(self, arguments: list[str], flags: Sequence[str], options: Mapping[str, str]) -> Words:
        """`options`: each with what it takes. Raises UsageError for what is not known."""
        rest = iter(arguments)
        for word in rest:
            option, given, value = word.partition("=")
            if word == "--":
                self.behind = list(rest)
            elif word in flags:
                self.flags.add(word)
            elif option in options:
                self.options[option] = value if given else next(rest, "")
                if not self.options[option]:
                    raise self.mistake(f"{option} takes {options[option]}")
            elif word.startswith("-"):
                raise self.mistake(f"{self._of} has no option {option!r}")
            else:
                self.names.append(word)
        return self

    def mistake(self, message: str) -> UsageError:
        return UsageError(message, hint=f"keyman {self._of} --help")


def wants_help(arguments: list[str]) -> bool:
    """Whether that is asked for, of us and not of what stands behind `--`."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--help" in ours or "-h" in ours


def refuse_odd(name: str) -> None:
    """Raise NotFound for a name that can't be one: nobody has it."""
    if not 0 < len(name) <= 63 or name[0] in "_-" or not client.NAME_LETTERS.issuperset(name):
        raise NotFound(f"no credential {name!r}")


def say(text: str) -> None:
    """Print it, all of it, now; in UTF-8, since no locale may change a secret.

    Raises Error if it can't be, BrokenPipeError if nobody reads it any more.
    """
    try:
        _put(sys.stdout, text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Error(
            f"the output could not be written: {error.strerror}",
            hint="look where standard output leads, and whether there is room",
        ) from None


def warn(text: str | None) -> None:
    """What the work goes on without; None if there is nothing to say."""
    if text is not None:
        note(f"warning: {text}")


def note(text: str) -> None:
    """Something for people beside the output."""
    from keyman.telemetry import escaped

    _mention(sys.stderr, f"keyman: {escaped(text)}\n")


def _mention(stream: TextIO | None, text: str) -> None:
    """Say what is not the work itself: that goes on, and has its status, if nobody can hear us."""
    try:
        _put(stream, text)
    except OSError:
        return


def _put(stream: TextIO | None, text: str) -> None:
    """Past Python's buffer: what failed from there is tried again at the end, and fails again."""
    if stream is None:
        raise OSError(EBADF, "it is closed")
    stream.flush()
    buffer = getattr(stream, "buffer", None)
    if buffer is None:  # a stand-in for a stream of the system's
        stream.write(text)
        return
    own = (stream.encoding, stream.errors or "strict")
    raw = getattr(buffer, "raw", buffer)
    left = text.encode(*own) if stream is sys.stderr else text.encode(errors="surrogateescape")
    while left:
        taken = raw.write(left)
        if taken is None:
            raise BlockingIOError(EAGAIN, "nobody takes it now")
        left = left[taken:]


def ended(work: Callable[[], int], *, as_json: bool = False) -> int:
    """Do it and say what went wrong, if something does; the exit status."""
    try:
        return work()
    except Error as error:
        return complain(error, as_json=as_json)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return 1  # whoever read it has enough


def complain(error: Error, *, as_json: bool = False) -> int:
    """The two lines of an error; the exit status."""
    if as_json:
        import json

        _mention(sys.stdout, json.dumps(error.as_json()) + "\n")
    two_lines(error.message, error.hint, many=isinstance(error, ConfigError))
    return STATUSES[error.code][0]


def two_lines(message: str, hint: str, *, many: bool = False) -> None:
    """What went wrong and what to do next, in one go. `many`: a list keeps its lines;
    anything else with line breaks could pose as ours.
    """
    from keyman.telemetry import escaped

    said = "\n".join(map(escaped, message.split("\n"))) if many else escaped(message)
    _mention(sys.stderr, f"keyman: error: {said}\nkeyman: hint: {escaped(hint)}\n")
