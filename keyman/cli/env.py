"""`keyman env NAME…`: lines that put secrets and their addresses into a shell's environment.

What is printed is code for the shell to run, so values are quoted in its dialect, and what that
cannot carry is refused. Nothing is printed unless all of it can be.
"""

from __future__ import annotations

import os

from keyman import private_memory, quoting
from keyman.cli import bare
from keyman.cli.get import ask
from keyman.cli.variables import Names, names_of, with_strays
from keyman.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FORMATS = ("sh", "bash", "zsh", "fish", "powershell", "cmd", "dotenv", "json")
SHELLS = {"bash": "sh", "zsh": "sh"}  # those that read what sh reads
BY_SHELL = {"fish": "fish", "pwsh": "powershell", "powershell": "powershell"}
NO_SHELL_OF_OURS = ("csh", "tcsh")
HELP = """\
Usage: keyman [--config FILE] env NAME... [--format FORMAT] [--var VAR]
                                  [--unset] [--persist]

  Print what sets OPENAI_API_KEY and OPENAI_BASE_URL (or the variables that the
  configuration names) to the current secret of NAME and its address.
  OPENAI_PROJECT_ID and OPENAI_ORG_ID are unset, unless they are among those: a
  stray one breaks other clouds.

  A shell keeps what it was given: after a rotation, ask again.

  --format FORMAT  sh, bash, zsh, fish, powershell, cmd, dotenv or json; else
                   what $SHELL is, or sh
  --json           the same as --format json; null stands for unset
  --var VAR        what to call the secret, instead of OPENAI_API_KEY
  --unset          print what removes the variables
  --persist        set them for this user and all programs to come (Windows)

  Example: eval "$(keyman env genai)"
"""


def main(arguments: list[str], config: str | None = None) -> int:
    as_json = "--json" in arguments
    return bare.ended(lambda: _env(arguments, config), as_json=as_json)


def _env(arguments: list[str], config: str | None) -> int:
    if bare.wants_help(arguments):
        bare.say(HELP)
        return 0
    words = parsed(arguments)
    bare.warn(private_memory.no_core_file())
    dialect = _dialect(words)
    names = names_of(words.names, config, words.options.get("--var"))
    values = _removed(names, dialect) if "--unset" in words.flags else _current(names, config)
    bare.say(_rendered(values, dialect))
    return 0


def parsed(arguments: list[str]) -> bare.Words:
    words = bare.Words("env")
    options = {"--format": "the name of a shell", "--var": "the name of a variable"}
    words.read(arguments, ("--unset", "--persist", "--json"), options)
    words.names += words.behind or []
    if not words.names:
        raise words.mistake("env takes a name, or several")
    return words


def _dialect(words: bare.Words) -> str:
    asked = words.options.get("--format") or ("json" if "--json" in words.flags else "")
    if asked and asked not in FORMATS:
        raise UsageError(f"there is no format {asked!r}", hint=f"one of {', '.join(FORMATS)}")
    if "--persist" in words.flags:
        return _persistent(asked)
    said = asked or _of_the_shell()
    return SHELLS.get(said, said)


def _of_the_shell() -> str:
    shell = os.environ.get("SHELL", "").replace("\\", "/").rpartition("/")[2].removesuffix(".exe")
    if shell in NO_SHELL_OF_OURS:
        raise UsageError(
            f"no words of {shell} are known to keep every value whole",
            hint="`keyman run NAME -- COMMAND`, or say which --format is meant",
        )
    return BY_SHELL.get(shell, "sh")


def _persistent(asked: str) -> str:
    """The dialect for variables that stay. Only Windows keeps a user's own."""
    if os.name != "nt":
        raise UsageError(
            "--persist is for Windows, which keeps variables for each user",
            hint="`keyman write NAME --to FILE` keeps them in a file; `keyman run` needs none",
        )
    if asked not in ("", "powershell"):
        raise UsageError(
            f"--persist does not go with --format {asked}",
            hint="--format powershell: setx shortens long secrets and shows them to other programs",
        )
    return "powershell-persistent"


def _current(names: list[Names], config: str | None) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    for one in names:
        values |= one.values(ask(one.credential, previous=False, config=config))
    return with_strays(values)


def _removed(names: list[Names], dialect: str) -> dict[str, str | None]:
    if dialect == "dotenv":
        raise UsageError("no line of a .env file removes a variable", hint="delete its line there")
    for one in names:
        bare.refuse_odd(one.credential)
    return {variable: None for one in names for variable in (one.key, one.base_url)}


def _rendered(values: Mapping[str, str | None], dialect: str) -> str:
    if dialect != "json":
        return quoting.lines(values, dialect)
    import json

    for name, value in values.items():
        quoting.refuse_lines(name, value or "")
    return json.dumps(values) + "\n"
