"""`keyman backup --to FILE`: the journal and its secrets in one file, sealed by a passphrase."""

from __future__ import annotations

from pathlib import Path

import click

from keyman.cli import terminal
from keyman.cli.passphrase import passphrase_options, read_passphrase
from keyman.cli.person import person
from keyman.cli.reach import settings_of
from keyman.clock import SystemClock


@click.command("backup")
@click.option(
    "--to", metavar="FILE", required=True, type=click.Path(path_type=Path), help="where it goes"
)
@passphrase_options
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    to: Path,
    passphrase_file: Path | None,
    passphrase_env: str | None,
    as_json: bool,
) -> None:
    """Copy the journal and every secret it knows into one encrypted file. A daemon may be running.

    The file is replaced only if it is an earlier backup. The configuration is not in it.

    Example: keyman backup --to keyman.backup --passphrase-file passphrase.txt
    """
    from keyman.housekeeping.backing_up import back_up

    settings = settings_of(ctx, quiet=True)
    passphrase = read_passphrase(passphrase_file, passphrase_env, anew=True)
    done = back_up(settings, to.absolute(), passphrase, SystemClock(), person())
    absent = [f"{name}/{number}" for name, number in done.absent]
    if as_json:
        counted = {"credentials": done.credentials, "secrets": done.secrets}
        terminal.show_json({"file": str(done.file), **counted, "absent": absent})
        return
    secrets = terminal.counted(done.secrets, "secret")
    of = terminal.counted(done.credentials, "credential")
    terminal.say(f"{done.file}: {secrets} of {of}, and the journal")
    if absent:
        terminal.warn(f"no durable store has {', '.join(absent)}: not in the backup")
