"""`keyman deactivate NAME --slot S`: switch a slot off at the provider by hand."""

from __future__ import annotations

from datetime import timedelta

import click

from keyman.cli.completion import names
from keyman.cli.options import REASON, TIMEOUT
from keyman.cli.person import person
from keyman.cli.reach import keyman_of
from keyman.cli.receipts import carry_out
from keyman.core.model import OrderKind
from keyman.desk import Wish


@click.command("deactivate")
@click.argument("name", shell_complete=names)
@click.option("--slot", required=True, help="e.g. key-two")
@REASON
@TIMEOUT
@click.option("--json", "as_json", is_flag=True, help="the receipt for programs")
@click.pass_context
def command(
    ctx: click.Context, *, name: str, slot: str, reason: str, timeout: timedelta, as_json: bool
) -> int:
    """Switch a slot off at the provider. Refused for a slot that lookups depend on.

    Example: keyman deactivate genai --slot key-two
    """
    wish = Wish(OrderKind.DEACTIVATE, by=person(), reason=reason, slot=slot)
    with keyman_of(ctx) as reached:
        return carry_out(reached, name, wish, timeout=timeout, wait=True, as_json=as_json)
