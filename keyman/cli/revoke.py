"""`keyman revoke NAME`: a secret leaked; replace it, then destroy it at the provider."""

from __future__ import annotations

import sys
from datetime import timedelta

import click

from keyman.cli import terminal
from keyman.cli.reach import Reached, keyman_of, person
from keyman.cli.receipts import Duration, carry_out
from keyman.core.model import OrderKind
from keyman.desk import Wish
from keyman.errors import UsageError


@click.command("revoke")
@click.argument("name", required=False)
@click.option("--version", type=click.IntRange(min=1), help="this version (else the current one)")
@click.option("--slot", help="the version that is in this slot")
@click.option("--all", "everything", is_flag=True, help="every version of NAME")
@click.option("--everything", "emergency", is_flag=True, help="every version of every credential")
@click.option("--now", is_flag=True, help="destroy first, accept the gap until a new one is there")
@click.option("--yes", is_flag=True, help="don't ask")
@click.option("--reason", default="", help="for the journal")
@click.option("--timeout", type=Duration(), default=timedelta(minutes=5), help="how long to wait")
@click.option("--json", "as_json", is_flag=True, help="the receipt for programs")
@click.pass_context
def command(  # noqa: PLR0913 - one per option of the interface
    ctx: click.Context,
    *,
    name: str | None,
    version: int | None,
    slot: str | None,
    everything: bool,
    emergency: bool,
    now: bool,
    yes: bool,
    reason: str,
    timeout: timedelta,
    as_json: bool,
) -> int:
    """A replacement is promoted first, then the leaked secret is destroyed for good.

    Example: keyman revoke genai --reason "seen in a public repository" --yes
    """
    if sum((version is not None, slot is not None, everything)) > 1:
        raise UsageError("--version, --slot and --all exclude each other", hint="choose one")
    if (name is None) != emergency:
        raise UsageError("revoke takes one name", hint="or --everything, in an emergency")
    wish = Wish(
        OrderKind.REVOKE,
        by=person(),
        reason=reason,
        version=version,
        slot=slot,
        everything=everything or emergency,
        first=now,
    )
    _confirm(name, now=now, yes=yes)
    with keyman_of(ctx) as reached:
        names = [name] if name else _usable(reached)
        done = [
            carry_out(reached, one, wish, timeout=timeout, wait=True, as_json=as_json)
            for one in names
        ]
    return max(done, default=0)


def _usable(reached: Reached) -> list[str]:
    return [one["name"] for one in reached.statuses() if one["adopted"]]


def _confirm(name: str | None, *, now: bool, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("revoking can't be undone, and there is no terminal to ask", hint="--yes")
    what = f"the secret of {name}" if name else "every secret of every credential"
    gap = " at once, before a replacement is there" if now else " once its replacement is there"
    if not click.confirm(f"Destroy {what}{gap}?", err=True):
        terminal.warn("nothing was changed")
        raise click.Abort
