"""`keyman check`: everything that can be wrong, before it is."""

from __future__ import annotations

import click

from keyman.app import examine
from keyman.cli import terminal
from keyman.cli.reach import settings_of
from keyman.errors import STATUSES, ConfigError


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> int:
    """Looks at configuration, files, store and journal, and asks the providers now.

    Example: keyman check
    """
    try:
        settings = settings_of(ctx)
    except ConfigError as error:
        if not as_json:
            raise
        lines = error.problems or (error.message,)
        terminal.show_json({"findings": [_mistake(line, error.hint) for line in lines]})
        return STATUSES[error.code][0]
    findings = examine(settings)
    if as_json:
        terminal.show_json({"findings": findings})
    else:
        _show(findings)
    return 1 if any(one["severity"] == "error" for one in findings) else 0


def _mistake(line: str, hint: str) -> dict[str, object]:
    return {
        "severity": "error",
        "credential": None,
        "slot": None,
        "code": "config",
        "message": line,
        "hint": hint,
    }


def _show(findings: list[dict[str, object]]) -> None:
    for one in findings:
        where = "/".join(str(one[key]) for key in ("credential", "slot") if one[key])
        terminal.say(f"{one['severity']}: {f'{where}: ' if where else ''}{one['message']}")
        if one["hint"]:
            terminal.say(f"  {one['hint']}")
    errors = sum(1 for one in findings if one["severity"] == "error")
    warnings = sum(1 for one in findings if one["severity"] == "warning")
    terminal.say(f"{errors} errors, {warnings} warnings")
