"""`keyman notify list` and `test`: who is told what happens, and whether it arrives."""

from __future__ import annotations

import platform

import click

from keyman.cli import terminal
from keyman.cli.reach import settings_of
from keyman.config import NetworkSettings, NotifyTarget, Settings
from keyman.config.notify_settings import USUAL
from keyman.errors import ConfigError, NotFound
from keyman.views import Json

NOBODY = "nobody is told: `notify` in the configuration is empty (docs/notify.md)"


@click.group("notify")
def command() -> None:
    """Who is told when something goes wrong, and when it is over.

    Example: keyman notify test
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def list_them(ctx: click.Context, *, as_json: bool) -> None:
    """The targets of the configuration, and whether the last message reached them.

    Their addresses are not shown: they hold passwords and tokens.

    Example: keyman notify list
    """
    from keyman.reading import told

    found = told(settings_of(ctx, quiet=True))
    if as_json:
        terminal.show_json({"notify": found})
        return
    if not found:
        terminal.note(NOBODY)
        return
    heads = ("NAME", "SERVICE", "STATE", "LAST REACHED", "EVENTS", "CREDENTIALS")
    spare = ("CREDENTIALS", "EVENTS", "SERVICE")
    terminal.table(heads, [_row(one) for one in found], spare=spare)
    for one in found:
        if one["error"]:
            since = terminal.until(one["since"])
            terminal.say(f"{one['name']}: fails since {since}: {one['error']}")


def _row(one: Json) -> tuple[object, ...]:
    events, names = ", ".join(one["events"]), ", ".join(one["credentials"])
    events = "the usual" if tuple(one["events"]) == USUAL else events
    reached = terminal.until(one["reached_at"])
    return (one["name"], one["service"], one["state"], reached, events, names or "all")


@command.command("test")
@click.option("--to", "name", metavar="NAME", help="only this target; else each of them")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def try_out(ctx: click.Context, *, name: str | None, as_json: bool) -> int:
    """Send a message that says it is a test, and tell what became of it.

    A daemon may be running. Exit status 1 if one could not be reached.

    Example: keyman notify test --to on-call
    """
    settings = settings_of(ctx, quiet=True)
    targets = _chosen(settings, name)
    found = [_sent(one, settings.network) for one in targets]
    if as_json:
        terminal.show_json({"notify": found})
    elif not found:
        terminal.note(NOBODY)
    for one in [] if as_json else found:
        _show(one)
    return 0 if all(one["sent"] for one in found) else 1


def _chosen(settings: Settings, name: str | None) -> list[NotifyTarget]:
    """Raises NotFound for a name that no target has."""
    found = [one for one in settings.notify if name in (None, one.name)]
    if name is not None and not found:
        known = ", ".join(one.name for one in settings.notify) or "none yet"
        raise NotFound(f"no target of `notify` is called {name!r}", hint=f"known: {known}")
    return found


def _sent(target: NotifyTarget, network: NetworkSettings) -> Json:
    """Raises ConfigError if apprise is not installed."""
    from keyman.notify import courier
    from keyman.notify.wording import trial

    if not courier.installed():
        raise ConfigError(courier.NEEDED, hint=courier.HOW_TO_GET_IT)
    done, said = False, ""
    with courier.Courier(network) as carrier:
        try:
            refused = carrier.open(target.url)
            sent = None if refused else carrier.send(trial(target.name, platform.node()))
            done = sent is not None and sent.done
            said = f"apprise can't read this {target.service} address" if refused else ""
            said = sent.said if sent else said
        except courier.Silent as silence:
            said = str(silence)
    return {"name": target.name, "service": target.service, "sent": done, "said": said or None}


def _show(one: Json) -> None:
    if one["sent"]:
        terminal.say(f"{one['name']} ({one['service']}): sent")
        return
    said = one["said"] or "it was not delivered"
    terminal.say_with("error", f"{one['name']} ({one['service']}): {said}")
