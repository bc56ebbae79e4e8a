"""`keyman rollback NAME`: go back to the previous secret, as a new version."""

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


@click.command("rollback")
@click.argument("name", shell_complete=names)
@REASON
@TIMEOUT
@click.option("--json", "as_json", is_flag=True, help="the receipt for programs")
@click.pass_context
def command(
    ctx: click.Context, *, name: str, reason: str, timeout: timedelta, as_json: bool
) -> int:
    """Promote a new version that carries the previous secret, while that can still be used.

    Example: keyman rollback genai --reason "the new key is not in the policy"
    """
    wish = Wish(OrderKind.ROLLBACK, by=person(), reason=reason)
    with keyman_of(ctx) as reached:
        return carry_out(reached, name, wish, timeout=timeout, wait=True, as_json=as_json)
