"""`keyman revoke NAME`: a secret leaked; replace it, then destroy it at the provider."""

from __future__ import annotations

import sys
from datetime import timedelta

import click

from keyman.cli import terminal
from keyman.cli.completion import names
from keyman.cli.options import REASON, TIMEOUT
from keyman.cli.person import person
from keyman.cli.reach import Reached, keyman_of
from keyman.cli.receipts import carry_out, outcome
from keyman.clock import SystemClock
from keyman.core.model import OrderKind
from keyman.desk import Wish
from keyman.errors import Error, UsageError
from keyman.views import final

CLOCK = SystemClock()


@click.command("revoke")
@click.argument("name", required=False, shell_complete=names)
@click.option("--version", type=click.IntRange(min=1), help="this version (else the current one)")
@click.option("--slot", help="the version that is in this slot")
@click.option("--all", "everything", is_flag=True, help="every version of NAME")
@click.option("--everything", "emergency", is_flag=True, help="every version of every credential")
@click.option("--now", is_flag=True, help="destroy first, accept the gap until a new one is there")
@click.option("--yes", is_flag=True, help="don't ask")
@REASON
@TIMEOUT
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
        if name:
            return carry_out(reached, name, wish, timeout=timeout, wait=True, as_json=as_json)
        return _everything(reached, wish, timeout, as_json=as_json)


def _everything(reached: Reached, wish: Wish, timeout: timedelta, *, as_json: bool) -> int:
    """Every order is recorded before the first is waited for; what fails stops no other one."""
    done, receipts = [0], []
    for one in reached.every()["credentials"]:
        if not one["adopted"]:
            continue
        try:
            receipts.append(reached.order(one["name"], wish))
        except Error as error:
            done.append(terminal.complain(error))
    deadline = CLOCK.monotonic() + timeout.total_seconds()
    for place, receipt in enumerate(receipts):
        if not final(receipt):
            left = max(0.0, deadline - CLOCK.monotonic())
            receipts[place] = reached.wait(receipt["order"], left)
        done.append(outcome(reached, receipts[place], waited=True, told=as_json))
    if as_json:
        terminal.show_json(receipts)
    return max(done)


def _confirm(name: str | None, *, now: bool, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "revoking can't be undone, and there is no terminal to ask at",
            hint="add --yes if you are sure",
        )
    what = f"the secret of {name}" if name else "every secret of every credential"
    gap = " at once, before a replacement is there" if now else " once its replacement is there"
    if not click.confirm(f"Destroy {what}{gap}?", err=True):
        terminal.note("nothing was changed")
        raise click.Abort
