"""`keyman rotate NAME`: replace the current secret now."""

from __future__ import annotations

from datetime import timedelta

import click

from keyman.cli import terminal
from keyman.cli.completion import names
from keyman.cli.options import DURATION, REASON, TIMEOUT
from keyman.cli.person import person
from keyman.cli.reach import judged, keyman_of, settings_of
from keyman.cli.receipts import carry_out
from keyman.core.model import OrderKind
from keyman.core.orders import refuse_impossible
from keyman.desk import Wish


@click.command("rotate")
@click.argument("name", shell_complete=names)
@REASON
@click.option("--overlap", type=DURATION, help="how long the old secret stays valid")
@TIMEOUT
@click.option("--no-wait", is_flag=True, help="return as soon as the order is recorded")
@click.option("--dry-run", is_flag=True, help="print the steps, change nothing")
@click.option("--new-key", is_flag=True, help="replace the whole API key by a second one")
@click.option("--json", "as_json", is_flag=True, help="the receipt for programs")
@click.pass_context
def command(  # noqa: PLR0913 - one per option of the interface
    ctx: click.Context,
    *,
    name: str,
    reason: str,
    overlap: timedelta | None,
    timeout: timedelta,
    no_wait: bool,
    dry_run: bool,
    new_key: bool,
    as_json: bool,
) -> int:
    """Record the order and return when the new secret is promoted.

    Example: keyman rotate genai --reason "left a laptop on the train"
    """
    kind = OrderKind.NEW_KEY if new_key else OrderKind.ROTATE
    wish = Wish(kind, by=person(), reason=reason, overlap=overlap)
    if dry_run:
        return _foretell(ctx, name, wish, as_json=as_json)
    if new_key:
        _announce(ctx, name, kind)
    if overlap is not None:
        _warn_of_a_short_one(ctx, name, overlap)
    with keyman_of(ctx) as reached:
        status = carry_out(reached, name, wish, timeout=timeout, wait=not no_wait, as_json=as_json)
        if new_key and status == 0:
            _say_what_to_write(ctx, name, reached.status(name)["key_id"])
    return status


def _warn_of_a_short_one(ctx: click.Context, name: str, overlap: timedelta) -> None:
    """Not refused: who asks for it may be in a hurry."""
    settings = judged(ctx)
    one = settings.credentials.get(name) if settings else None
    if one and overlap < one.policy.max_client_staleness:
        terminal.warn(
            "clients may hold the old secret for "
            f"{terminal.span(one.policy.max_client_staleness)} without asking, and the overlap "
            f"is {terminal.span(overlap)}: some may be refused"
        )


def _foretell(ctx: click.Context, name: str, wish: Wish, *, as_json: bool) -> int:
    from keyman.reading import planned_rotation

    steps = planned_rotation(settings_of(ctx, quiet=True), name, wish)
    if as_json:
        terminal.show_json({"steps": steps})
        return 0
    terminal.table(
        ["AT", "STEP", "SLOT", "WHY"],
        [[one["at"], one["step"], one["slot"], one["reason"]] for one in steps],
    )
    return 0


def _say_what_to_write(ctx: click.Context, name: str, in_use: str | None) -> None:
    """The journal knows the new key; who begins anew goes by the configuration."""
    settings = judged(ctx)
    named = getattr(settings.credentials[name].options, "api_key_id", None) if settings else None
    if named and in_use and named != in_use:
        terminal.note(f"api_key_id of {name} in the configuration is stale now, write:")
        terminal.note(f"  api_key_id: {in_use}")


def _announce(ctx: click.Context, name: str, kind: OrderKind) -> None:
    """A new key needs its IAM statement as soon as it is there: say so before it is made."""
    from keyman.permissions import policy_statements
    from keyman.wiring import configured

    settings = judged(ctx)
    if settings is None:
        terminal.note(f"the new key needs its IAM statements: see `keyman policy {name}`")
        return
    refuse_impossible(configured(settings, name).spec(""), kind)
    terminal.note("these IAM statements must cover the new key:")
    for statement in policy_statements(settings, name, one_key=False):
        terminal.note(f"  {statement}")
