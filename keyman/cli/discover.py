"""`keyman discover`: what lies at the providers unmanaged, and what others changed there."""

from __future__ import annotations

from contextlib import suppress

import click

from keyman.cli import terminal
from keyman.cli.reach import daemon_of, settings_of
from keyman.config import Settings
from keyman.errors import Error
from keyman.views import Json

LONGEST = 60  # characters that are shown of a name which somebody else gave
TELLS_WITHIN = 1.0  # seconds; the daemon goes on by itself
ORIGINS = {
    "people": "not keyman's",
    "another-installation": "another keyman's",
    "lost": "made by this keyman, and not in its journal",
    "earlier": "this keyman's, from before",
    "left": "this keyman's, of what left the configuration",
    "not-adopted": "configured, not adopted yet",
}
NOTES = {
    "expired": "expired",
    "never-used": "never seen in use",
    "unused": "not used lately",
    "old": "old",
}


@click.command("discover")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> int:
    """List the keys in the configured compartments and projects that keyman does not manage, with
    the next move for each, and what others changed of those that it does.

    Asks the providers now and changes nothing; a daemon that runs is told what to look at. Exit
    status 1 if somebody could not be asked.

    Example: keyman discover
    """
    from keyman.discovery import discover

    settings = settings_of(ctx, quiet=True)
    found = discover(settings).as_json()
    tell_the_daemon(settings, found["drift"])
    if as_json:
        terminal.show_json(found)
    else:
        _show(found)
    return 1 if found["failed"] else 0


def tell_the_daemon(settings: Settings, drift: list[Json]) -> None:
    """What speaks against a current secret it should hear of now rather than at its next look."""
    current = [one for one in drift if one["stage"] == "current"]
    with suppress(Error):  # nobody runs, or not for us: then there is nobody to tell
        remote = daemon_of(settings, within=0) if current else None
        for one in current if remote else ():
            assert remote
            remote.rejected(one["credential"], one["version"], TELLS_WITHIN)


def _show(found: Json) -> None:
    for one in found["drift"]:
        place = "/".join(str(part) for part in (one["credential"], one["slot"]) if part)
        version = f"version {one['version']} ({one['stage']}): " if one["version"] else ""
        _say("drift", f"{place}: {version}{one['what']}", one["hint"])
    for one in found["unmanaged"]:
        _say("unmanaged", _about(one), f"{one['id']} in {one['where']}", one["hint"])
    for one in found["failed"]:
        _say("error", f"{one['credential']}: {one['message']}", one["hint"])
    for one in found["not_listed"]:
        _say("info", f"{one['credential']} ({one['provider']}): {one['why']}")
    for place in found["asked"]:
        terminal.say_with("asked", place)
    unmanaged, drift = len(found["unmanaged"]), len(found["drift"])
    terminal.say(f"{unmanaged} unmanaged, {terminal.counted(drift, 'change')} by others")


def _say(label: str, text: str, *more: str) -> None:
    terminal.say_with(label, text)
    for line in more:
        if line:
            terminal.say(f"  {line}")


def _about(one: Json) -> str:
    """`by_hand (oci-genai): not keyman's; key-one ACTIVE, key-two INACTIVE; last used 3d ago`."""
    slots = ", ".join(f"{_short(slot['name'])} {_short(slot['state'])}" for slot in one["slots"])
    owner = f"of {_short(one['account'])}" if one["account"] else ""
    whose = ORIGINS[one["origin"]]
    whose += f" ({_short(one['installation'])})" if one["installation"] else ""
    whose += f" for {_short(one['credential'])}" if one["credential"] else ""
    parts = [whose, owner, slots or _short(one["state"]), *_times(one)]
    return f"{_short(one['name'])} ({one['provider']}): {'; '.join(part for part in parts if part)}"


def _times(one: Json) -> list[str]:
    used, made = one["last_used_at"], one["created_at"]
    told = [f"last used {terminal.until(used)}" if used else ""]
    told += [f"made {terminal.until(made)}" if made else ""]
    return [*told, *(NOTES[note] for note in one["notes"])]


def _short(text: str | None) -> str:
    return (text if len(text) <= LONGEST else f"{text[:LONGEST]}…") if text else "no name"
