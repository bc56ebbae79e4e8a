"""`keyman put NAME`: a secret that comes by hand, taken from standard input or a hidden prompt."""

from __future__ import annotations

from datetime import datetime

import click

from keyman.cli import terminal
from keyman.cli.adopt import read_secret
from keyman.cli.completion import names
from keyman.cli.options import Checked
from keyman.cli.reach import judged, keyman_of
from keyman.config import values
from keyman.core.entrusting import refuse_put


@click.command("put")
@click.argument("name", shell_complete=names)
@click.option(
    "--expires-at",
    type=Checked("time", values.moment),
    help="when it ends, e.g. 2027-01-31T00:00:00Z (else as configured)",
)
@click.option("--json", "as_json", is_flag=True, help="the credential's status for programs")
@click.pass_context
def command(ctx: click.Context, *, name: str, expires_at: datetime | None, as_json: bool) -> None:
    """Keep the secret and hand it out from now on; the one before stays as the previous version.

    If the configuration says how to verify it, nothing is recorded unless it is accepted.

    Example: pbpaste | keyman put partner
    """
    from keyman.wiring import configured

    settings = judged(ctx)
    if settings:
        refuse_put(configured(settings, name).spec(""))
    secret = read_secret(f"The secret of {name}: ", command="put NAME")
    with keyman_of(ctx) as reached:
        status = reached.put(name, secret, expires_at)
    if as_json:
        terminal.show_json(status)
        return
    current = status["current"] or {}
    ends = current.get("expires_at")
    expires = f", expires {terminal.until(ends, date=True)}" if ends else ""
    terminal.say(f"{name}: version {current.get('version')} is current now{expires}")
