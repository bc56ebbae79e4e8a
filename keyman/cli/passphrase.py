"""The passphrase of a backup: out of a file, a variable of the environment, or a hidden prompt.

Never an argument: those are shown to every user of the machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from keyman.cli import terminal
from keyman.config.places import read_trusted
from keyman.core.model import Secret
from keyman.errors import ConfigError, UsageError
from keyman.housekeeping.backup_file import SHORTEST

LONGEST = 4096


def passphrase_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--passphrase-file and --passphrase-env; without either a terminal is asked."""
    from_file = click.option(
        "--passphrase-file", metavar="PATH", type=click.Path(path_type=Path), help="its first line"
    )
    from_environment = click.option(
        "--passphrase-env", metavar="VARIABLE", help="the environment variable that holds it"
    )
    return from_file(from_environment(command))


def read_passphrase(file: Path | None, variable: str | None, *, anew: bool) -> Secret:
    """`anew`: it is chosen now, so it is asked for twice and must not be too short.

    Raises UsageError, ConfigError for a file that others may write to.
    """
    if file and variable:
        raise UsageError("give --passphrase-file or --passphrase-env", hint="one of them is enough")
    if file:
        typed = _of_file(file)
    elif variable:
        typed = _of_environment(variable)
    else:
        typed = _asked(anew=anew)
    if not typed:
        raise UsageError("the passphrase is empty", hint="nothing would be protected by it")
    if anew and len(typed) < SHORTEST:
        raise UsageError(
            f"the passphrase has less than {SHORTEST} characters",
            hint="whoever finds the backup has all the time to try: take several words",
        )
    return Secret(typed)


def _of_file(file: Path) -> str:
    try:
        found = read_trusted(file, LONGEST)
    except ConfigError as error:
        what = f"the passphrase's file {file} {error.message}"
        hint = "name a plain file of your own that nobody else can write to"
        raise UsageError(what, hint=hint) from None
    if found.open_to_others:
        terminal.warn(f"others may read {file}, and with it every backup: chmod 600 {file}")
    return found.text.partition("\n")[0].removesuffix("\r")


def _of_environment(variable: str) -> str:
    if variable not in os.environ:
        raise UsageError(f"the environment has no {variable}", hint="export it first")
    return os.environ[variable]


def _asked(*, anew: bool) -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            "nobody is there to be asked for the passphrase",
            hint="--passphrase-file PATH, or --passphrase-env VARIABLE",
        )
    said = click.prompt("Passphrase", hide_input=True, err=True, confirmation_prompt=anew)
    return str(said)
