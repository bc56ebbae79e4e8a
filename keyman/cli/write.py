"""`keyman write NAME --to FILE`: the secret in a file, for programs that read it from one.

The file is replaced whole (rendered_file.py). In a `.env` only our variables' values change. With
--watch this goes on at each promotion, whatever the daemon does meanwhile.
"""

from __future__ import annotations

import os
import time

from keyman import dotenv, private_memory, quoting
from keyman.cli import bare
from keyman.cli.get import ask
from keyman.cli.variables import Names, names_of
from keyman.errors import Error, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from keyman.cli.rendered_file import Render, RenderedFile

FORMATS = ("dotenv", "json", "raw")
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds until a file that could not be written is tried
HELP = """\
Usage: keyman [--config FILE] write NAME --to FILE [--format FORMAT]
                                    [--var VAR] [--watch]

  Put the current secret of NAME into FILE, readable by its owner alone. Who
  reads it meanwhile gets the old content or the new, never a part. Nothing is
  written if nothing would change; a symbolic link is refused.

  --to FILE        its folder must exist
  --format FORMAT  dotenv  OPENAI_API_KEY and OPENAI_BASE_URL (or the variables
                           that the configuration names) in a .env file, whose
                           other lines stay as they are; this is the default
                   json    the object of `keyman get --json`
                   raw     the secret alone, without a newline
  --var VAR        in a .env: what to call the secret, instead of OPENAI_API_KEY
  --watch          stay, and write again at each promotion

  Example: keyman write genai --to .env
"""


def main(arguments: list[str], config: str | None = None) -> int:
    return bare.ended(lambda: _write(arguments, config))


def _write(arguments: list[str], config: str | None) -> int:
    if bare.wants_help(arguments):
        bare.say(HELP)
        return 0
    words = parsed(arguments)
    [name] = words.names
    writer = _Writer(name, words.options, config)
    bare.warn(private_memory.no_core_file())
    bare.warn(private_memory.no_reader())
    if "--watch" in words.flags:
        _end_quietly_on_sigterm()
    first = ask(name, previous=False, config=config)
    done = writer.write(first)
    if "--watch" in words.flags:
        _mention(done)
        _watch(writer, first, config)
    else:
        bare.say(done)
    return 0


def parsed(arguments: list[str]) -> bare.Words:
    words = bare.Words("write")
    options = {
        "--to": "the name of a file",
        "--format": f"one of {', '.join(FORMATS)}",
        "--var": "the name of a variable",
    }
    words.read(arguments, ("--watch",), options)
    words.names += words.behind or []
    if len(words.names) != 1 or "--to" not in words.options:
        raise words.mistake("write takes one name, and --to FILE")
    return words


class _Writer:
    """One credential's file."""

    def __init__(self, credential: str, options: Mapping[str, str], config: str | None) -> None:
        self.credential = credential
        self._form = options.get("--format", FORMATS[0])
        if self._form not in FORMATS:
            known = ", ".join(FORMATS)
            raise UsageError(f"there is no format {self._form!r}", hint=f"one of {known}")
        key = options.get("--var")
        if key and self._form != "dotenv":
            raise UsageError(f"--var does not go with --format {self._form}")
        [self._names] = names_of([credential], config, key)
        self._to = options["--to"]
        self._file = _file(self._to)

    def write(self, answer: Mapping[str, object]) -> str:
        """Raises what stands in the way. A line that says what it did."""
        written = self._file.replace(self._render(answer))
        for warning in self._file.warnings:
            bare.warn(warning)
        has = "written to" if written else "was already in"
        return f"{self.credential}: version {answer['version']} {has} {self._to}\n"

    def _render(self, answer: Mapping[str, object]) -> Render:
        if self._form == "raw":
            return lambda _: str(answer["value"]).encode()
        if self._form == "json":
            import json

            return lambda _: f"{json.dumps(answer)}\n".encode()
        return lambda there: dotenv.put(there, _finished(self._names, answer))


def _finished(names: Names, answer: Mapping[str, object]) -> dict[str, str]:
    """Variable → value as it stands in the file. Raises UsageError for what cannot."""
    values = names.values(answer)
    for name, value in values.items():
        quoting.refuse_lines(name, value or "")
    return {name: quoting.dotenv_value(value or "") for name, value in values.items()}


def _file(path: str) -> RenderedFile:
    if os.name != "posix":
        raise UsageError("write needs the rights of files as Linux and macOS have them")
    from keyman.cli.rendered_file import RenderedFile

    return RenderedFile(path)


def _mention(line: str) -> None:
    """The file matters, not who hears of it."""
    try:
        bare.say(line)
    except (Error, BrokenPipeError):
        bare.note(line.rstrip("\n"))


def _watch(writer: _Writer, written: Mapping[str, object], config: str | None) -> None:
    """At each promotion, until SIGINT or SIGTERM."""
    from keyman.cli.following import answers

    for answer in answers(writer.credential, config):
        if answer != written:
            _mention(_persevere(writer, answer))
            written = answer


def _persevere(writer: _Writer, answer: Mapping[str, object]) -> str:
    """What was done. Try until it is written: a full disk is no reason to stop watching."""
    pause, said = FIRST_PAUSE, ""
    while True:
        try:
            return writer.write(answer)
        except Error as error:
            if error.message != said:
                bare.complain(error)
                said = error.message
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _end_quietly_on_sigterm() -> None:
    import signal

    def stop(*_: object) -> NoReturn:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
