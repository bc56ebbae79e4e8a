"""`keyman restore FILE`: the home that a backup holds, and nothing of it trusted untried."""

from __future__ import annotations

from pathlib import Path

import click

from keyman.cli import terminal
from keyman.cli.passphrase import passphrase_options, read_passphrase
from keyman.cli.person import person
from keyman.cli.reach import settings_of
from keyman.clock import SystemClock
from keyman.config import Settings
from keyman.core.model import Secret
from keyman.errors import UsageError
from keyman.housekeeping.restoring import Restored, restore, trust
from keyman.views import time_text


@click.command("restore")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="also where there is a journal: it is kept aside")
@click.option(
    "--trust",
    "trusted",
    metavar="NAME",
    multiple=True,
    help="its secret in the backup works: for one that no provider can be asked about",
)
@passphrase_options
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    file: Path | None,
    replace: bool,
    trusted: tuple[str, ...],
    passphrase_file: Path | None,
    passphrase_env: str | None,
    as_json: bool,
) -> None:
    """Make this home what the backup holds, while no daemon runs.

    Lookups answer no_usable_secret until the provider was seen to accept the current secret; what
    changed since the backup is found by looking, and repaired like any other drift. Without FILE,
    --trust vouches for secrets of an earlier restore.

    Example: keyman restore keyman.backup --passphrase-file passphrase.txt
    """
    settings = settings_of(ctx, quiet=True)
    if file is None:
        _vouch(settings, trusted, as_json=as_json)
        return
    passphrase = read_passphrase(passphrase_file, passphrase_env, anew=False)
    done = _restore(settings, file.absolute(), passphrase, trusted, over=replace)
    if as_json:
        terminal.show_json(_as_json(done))
    else:
        _tell(done, settings)


def _restore(
    settings: Settings, file: Path, passphrase: Secret, trusted: tuple[str, ...], *, over: bool
) -> Restored:
    clock = SystemClock()
    return restore(settings, file, passphrase, clock, person(), over=over, trust=trusted)


def _vouch(settings: Settings, names: tuple[str, ...], *, as_json: bool) -> None:
    if not names:
        raise UsageError("name the file of a backup", hint="keyman restore FILE")
    taken = trust(settings, names, SystemClock(), person())
    if as_json:
        terminal.show_json({"trusted": taken})
        return
    for name in sorted(set(names)):
        said = "is handed out again" if name in taken else "waited for nobody's word"
        terminal.say(f"{name}: {said}")


def _as_json(done: Restored) -> dict[str, object]:
    return {
        "made_at": time_text(done.made_at),
        "credentials": done.credentials,
        "secrets": done.secrets,
        "by_hand": done.by_hand,
        "clients": done.clients,
        "aside": [str(folder) for folder in done.aside],
    }


def _tell(done: Restored, settings: Settings) -> None:
    for warning in done.warnings:
        terminal.warn(warning)
    for folder in done.aside:
        terminal.say(f"what was there is in {folder}")
    secrets = terminal.counted(done.secrets, "secret")
    of = terminal.counted(len(done.credentials), "credential")
    terminal.say(f"restored {secrets} of {of}, as of {terminal.until(time_text(done.made_at))}")
    if done.by_hand:
        names = ", ".join(done.by_hand)
        terminal.warn(f"no provider can be asked about {names}: `keyman put`, or --trust NAME")
    if left := sorted(set(done.credentials) - set(settings.credentials)):
        terminal.warn(f"not in the configuration: {', '.join(left)}")
    if done.clients:
        names = ", ".join(done.clients)
        terminal.warn(f"tokens of the backup's time count again, revoked since or not: {names}")
    terminal.say("start the daemon: it hands out each secret once its provider accepted it")
