"""`keyman daemon`: scheduler and agent in the foreground."""

from __future__ import annotations

import atexit
import logging
import os
import sys

import click

from keyman.cli import terminal
from keyman.cli.reach import settings_of
from keyman.config.places import where_to_write
from keyman.errors import Error, NoUsableSecret
from keyman.once import run_once
from keyman.private_memory import no_core_file, no_reader
from keyman.service import run_daemon
from keyman.views import Json

log = logging.getLogger("keyman.daemon")


@click.command("daemon")
@click.option("--once", is_flag=True, help="do what is due and exit; 1 if something is not well")
@click.pass_context
def command(ctx: click.Context, *, once: bool) -> int:
    """Rotate what is due, refresh, observe, and answer lookups, until stopped.

    SIGHUP or `keyman reload` takes up a changed configuration; SIGTERM and Ctrl-C stop it.

    Example: keyman daemon
    """
    os.umask(0o077)
    undone = [no_core_file(), no_reader()]
    settings = settings_of(ctx)
    for warning in filter(None, undone):
        log.warning("%s", warning)
    if not settings.credentials:
        log.warning("no credentials are configured: %s", where_to_write(settings.source))
    if once:
        troubled = run_once(settings)
        for one in troubled:
            terminal.complain(_trouble(one))
        return 1 if troubled else 0
    idle = run_daemon(settings, lambda: settings_of(ctx))
    # A call to a provider may hang for a while yet. Every step survives a power cut, so leaving in
    # the middle of one is safe; waiting for its thread would not be prompt. Nor would it be to free
    # very many records one by one.
    if idle:
        atexit._run_exitfuncs()  # noqa: SLF001 who asked to be told of the end still is
    sys.stdout.flush()
    os._exit(0)


def _trouble(one: Json) -> Error:
    name = one["name"]
    if one["last_error"]:
        return Error(f"{name}: {one['last_error']}", hint=one["hint"])
    if one["key_id"] and not one["adopted"]:
        hint = f"`keyman adopt {name} --slot SLOT` takes the secret in use"
        return Error(f"{name}: its key is not adopted", hint=hint)
    return NoUsableSecret(f"{name} has no usable secret", hint=f"`keyman status {name}` says why")
