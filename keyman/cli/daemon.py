"""`keyman daemon`: scheduler and agent in the foreground."""

from __future__ import annotations

import os
import sys

import click

from keyman.cli.reach import settings_of
from keyman.daemon import harden, run_daemon, run_once


@click.command("daemon")
@click.option("--once", is_flag=True, help="do what is due and exit")
@click.pass_context
def command(ctx: click.Context, *, once: bool) -> int:
    """Rotate what is due, refresh, observe, and answer lookups, until stopped.

    Example: keyman daemon
    """
    harden()
    settings = settings_of(ctx)
    if once:
        return run_once(settings)
    idle = run_daemon(settings, lambda: settings_of(ctx))
    if not idle:
        # A call to a provider may hang for a while yet. Every step survives a power cut, so
        # leaving in the middle of one is safe; waiting for its thread would not be prompt.
        sys.stdout.flush()
        os._exit(0)
    return 0
