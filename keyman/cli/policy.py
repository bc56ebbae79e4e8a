"""`keyman policy NAME`: the IAM statements that a credential needs, ready to paste."""

from __future__ import annotations

import click

from keyman.cli import terminal
from keyman.cli.completion import names
from keyman.cli.reach import settings_of


@click.command("policy")
@click.argument("name", shell_complete=names)
@click.option("--one-key", is_flag=True, help="for this API key alone, not for all of them")
@click.option("--json", "as_json", is_flag=True, help="a JSON array")
@click.pass_context
def command(ctx: click.Context, *, name: str, one_key: bool, as_json: bool) -> None:
    """Statements for whoever calls the model, and for keyman itself.

    Example: keyman policy genai --one-key
    """
    from keyman.permissions import policy_statements

    statements = policy_statements(settings_of(ctx, quiet=True), name, one_key=one_key)
    if as_json:
        terminal.show_json(statements)
        return
    for statement in statements:
        terminal.say(statement)
