"""`keyman check`: everything that can be wrong, before it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import click

from keyman.cli import terminal
from keyman.cli.discover import tell_the_daemon
from keyman.cli.reach import daemon_of, settings_of, silent_daemon
from keyman.config import Settings
from keyman.errors import ConfigError, NotAllowed, NotRunning
from keyman.views import Json

AGAINST = ("drift", "refused")


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> int:
    """Look at configuration, files, store and journal, and ask the providers now.

    Changes nothing; a daemon that runs is told what to look at. Exit status 1
    if there is an error among the findings.

    Example: keyman check
    """
    from keyman.examining import examine

    try:
        settings = settings_of(ctx, quiet=True)
        running, silent = running_or_silent(settings)
        findings = examine(settings, running, silent)
    except (ConfigError, NotAllowed) as error:
        if error.hint == ConfigError.default_hint:
            error.hint = "mend what is listed: config.example.yaml shows every key"
        if as_json:
            terminal.show_json({"findings": _mistakes(error), **error.as_json()})
        return terminal.complain(error)
    tell_the_daemon(settings, list(_drifted(findings, running)))
    if as_json:
        terminal.show_json({"findings": findings})
    else:
        show_findings(findings)
    return 1 if any(one["severity"] == "error" for one in findings) else 0


def running_or_silent(settings: Settings) -> tuple[list[Json], str | None]:
    """What only a daemon knows, or whose silence it is if one has the home and does not answer."""
    with suppress(NotAllowed):
        with suppress(NotRunning):
            remote = daemon_of(settings)
            if remote:
                return remote.every()["credentials"], None
        return [], silent_daemon(settings)
    return [], None


def _drifted(findings: list[Json], running: list[Json]) -> Iterator[Json]:
    """What speaks against the current secret of a credential that a daemon looks after: what the
    provider shows, or that it was refused.
    """
    now = {one["name"]: one["current"] for one in running}
    for one in findings:
        current = now.get(one["credential"])
        if one["code"] in AGAINST and one["severity"] == "error" and current:
            name, version = one["credential"], current["version"]
            yield {"credential": name, "version": version, "stage": "current"}


def _mistakes(error: ConfigError | NotAllowed) -> list[Json]:
    """What kept us from looking any further, as findings."""
    same = {"severity": "error", "credential": None, "slot": None, "code": error.code}
    lines = getattr(error, "problems", ()) or (error.message,)
    return [{**same, "message": line, "hint": error.hint} for line in lines]


def show_findings(findings: list[Json]) -> None:
    """For people: each with its next move, then how many there are."""
    for one in findings:
        where = "/".join(str(one[key]) for key in ("credential", "slot") if one[key])
        said = f"{where}: {one['message']}" if where else str(one["message"])
        terminal.say_with(str(one["severity"]), said)
        if one["hint"]:
            terminal.say(f"  {one['hint']}")
    errors, warnings = (
        sum(one["severity"] == severity for one in findings) for severity in ("error", "warning")
    )
    terminal.say(f"{terminal.counted(errors, 'error')}, {terminal.counted(warnings, 'warning')}")
