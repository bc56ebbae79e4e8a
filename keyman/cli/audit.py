"""`keyman audit verify`: hands the journal to the judge of the history, which stands by itself."""

from __future__ import annotations

import re
from pathlib import Path

import click

from keyman import audit_verify
from keyman.cli.reach import settings_of
from keyman.config.places import look_at
from keyman.db.sqlite import path_of
from keyman.errors import NotRunning, UsageError


@click.group("audit")
def command() -> None:
    """Whether somebody edited the history.

    Example: keyman audit verify
    """


@command.command("verify")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--log", metavar="FILE", type=click.Path(path_type=Path), help="the daemon's: it has heads too"
)
@click.option("--head", "heads", metavar="N:HEX", multiple=True, help="one that was kept elsewhere")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def verify(
    ctx: click.Context,
    *,
    file: Path | None,
    log: Path | None,
    heads: tuple[str, ...],
    as_json: bool,
) -> int:
    """Follow the chain from entry to entry, in the journal or in FILE, a copy of it.

    Says which entry is the first that does not fit, and what was done there; exit status 1 then.
    Changes nothing; a daemon may be running. Who can write the journal can make another chain: give
    the daemon's log, which knows where the chain ended, or a head that you noted.

    Example: keyman audit verify --log daemon.log
    """
    for one in heads:
        if not re.fullmatch(r"\d{1,18}:[0-9a-fA-F]{64}", one):
            raise UsageError(
                "a head is the number of an entry, a colon and 64 hex digits",
                hint="as `keyman audit verify` prints it",
            )
    journal = file or _journal(ctx)
    words = [*(f"--head={one}" for one in heads), *(["--json"] if as_json else [])]
    words += [f"--log={log}"] if log else []
    return audit_verify.main([*words, "--", str(journal)])


def _journal(ctx: click.Context) -> Path:
    """Raises NotRunning in a home where nothing ever ran."""
    path = path_of(settings_of(ctx, quiet=True).database)
    if look_at(path) is None:
        raise NotRunning(f"there is no journal at {path} yet", hint="start `keyman daemon` once")
    return path
