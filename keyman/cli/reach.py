"""How a command reaches keyman: through the daemon if one runs, else by itself.

Orders are then carried out under the home's lock; looking takes no lock and changes nothing. All
ways answer the same questions in the same JSON, so a command does not know which it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

import click

from keyman import client
from keyman.cli import terminal, unjudged
from keyman.cli.configuration import load_settings
from keyman.cli.local import Local, Onlooker, let_mirrors_follow
from keyman.cli.person import person
from keyman.cli.remote import Remote
from keyman.clock import SystemClock
from keyman.config import Settings, find_home
from keyman.config.places import where_to_write
from keyman.core.model import Secret
from keyman.desk import Entrusted, Wish
from keyman.errors import ConfigError, Conflict, Error, NotAllowed, NotRunning
from keyman.lock import COMMAND, held_by
from keyman.telemetry import start_logging
from keyman.views import Json

ANSWERS_WITHIN = 2.0  # seconds for what a daemon has ready
STARTS_WITHIN = 3.0  # seconds that a home which somebody holds gets until its socket answers
LOOKS_EVERY = 0.1
CLOCK = SystemClock()


class Looked(Protocol):
    """What may be asked without changing a thing."""

    running: bool

    def status(self, name: str) -> Json: ...
    def every(self) -> Json:
        """The whole of `status --json`: the daemon and every credential."""

    def clients(self) -> Json:
        """The whole of `client list --json`."""


class Reached(Looked, Protocol):
    """What commands ask for. `wait` gives the receipt once final, or as it is in the end."""

    def order(self, name: str, wish: Wish) -> Json: ...
    def wait(self, order: str, seconds: float) -> Json: ...
    def adopt(self, name: str, key: Entrusted) -> Json: ...
    def put(self, name: str, secret: Secret, expires_at: datetime | None) -> Json: ...
    def forget(self, name: str, *, revoke: bool) -> Json: ...
    def add_client(self, name: str, digest: str, grants: Sequence[str]) -> Json: ...
    def revoke_client(self, name: str) -> Json: ...


def settings_of(ctx: click.Context, *, quiet: bool = False) -> Settings:
    """The configuration that this call of keyman means, and logging as it says.

    `quiet`: a command that people wait for tells of its work only if it is asked to.
    """
    settings = load_settings(ctx.obj["config"])
    loud = settings.log.level == "debug" or not quiet
    usual = settings.log.level if loud else "error"
    level = ctx.obj["log_level"] or usual
    start_logging(level, ctx.obj["log_format"] or settings.log.format)
    return settings


@contextmanager
def keyman_of(ctx: click.Context) -> Iterator[Reached]:
    """The running daemon, or keyman itself in this process while no daemon runs.

    Raises NotRunning if a process holds the home but doesn't answer: nobody acts beside it.
    """
    mention_url()
    try:
        settings = settings_of(ctx, quiet=True)
    except ConfigError as mistake:
        yield _with_a_warning(ctx, mistake)
        return
    remote = daemon_of(settings)
    if remote is not None:
        yield remote
        return
    from keyman.app import open_app

    try:
        app = open_app(settings, role=COMMAND, by=person())
    except Conflict as held:
        raise NotRunning(
            f"{held.message}, but its socket does not answer",
            hint="wait until it has started or is done, or stop that process",
        ) from None
    with app:
        for warning in app.warnings:
            terminal.warn(warning)
        try:
            yield Local(app)
        except Error:
            let_mirrors_follow(app)
            raise
        let_mirrors_follow(app)


def looking_at(ctx: click.Context) -> Looked:
    """The running daemon, or what journal and store say while none runs.

    Raises NotRunning if a daemon holds the home but doesn't answer.
    """
    mention_url()
    try:
        settings = settings_of(ctx, quiet=True)
    except ConfigError as mistake:
        return _with_a_warning(ctx, mistake)
    remote = daemon_of(settings)
    if remote is not None:
        return remote
    refuse_silent_daemon(settings)
    if not settings.credentials:
        terminal.warn(f"no credentials are configured: {where_to_write(settings.source)}")
    return Onlooker(settings)


def judged(ctx: click.Context) -> Settings | None:
    """The configuration; None if it has mistakes as seen from here and a daemon answers all the
    same, to which the rest is left then. Raises ConfigError if none does.
    """
    try:
        return settings_of(ctx, quiet=True)
    except ConfigError as mistake:
        in_spite_of(ctx, mistake)
        return None


def names_in(looked: Looked) -> list[str]:
    return [one["name"] for one in looked.every()["credentials"]]


def in_spite_of(ctx: click.Context, mistake: ConfigError) -> Remote:
    """The daemon of this home: it goes by what it read when it started, in its own environment.

    Raises the mistake if none answers, or if there is no such file as was named.
    """
    if mistake.problems:
        for socket in _likely_sockets(ctx.obj["config"]):
            with suppress(NotAllowed):
                remote = Remote(socket)
                if remote.answers(ANSWERS_WITHIN):
                    return remote
    raise mistake


def _likely_sockets(config: str | None) -> list[Path]:
    """Of daemons on this machine: what such a configuration says, else the usual places."""
    usual = [Path(one) for one in client.addresses() if "://" not in one]
    named = unjudged.agent_socket(config)
    return [named] if named else usual or [find_home(dict(os.environ)) / "agent.sock"]


def _with_a_warning(ctx: click.Context, mistake: ConfigError) -> Remote:
    remote = in_spite_of(ctx, mistake)
    said = mistake.message.partition("\n")[0].rstrip(":")
    terminal.warn(f"{said}; the daemon goes by what it has read itself, see `keyman check`")
    return remote


def mention_url() -> None:
    """Who set it may expect the keyman that it leads to."""
    if os.environ.get("KEYMAN_URL") and not os.environ.get("KEYMAN_SOCKET"):
        terminal.warn("KEYMAN_URL is for lookups only: this is about keyman on this machine")


def daemon_of(settings: Settings, *, within: float = STARTS_WITHIN) -> Remote | None:
    """The daemon, if one answers; one that is starting, or silent, gets so many seconds for it."""
    remote, deadline = Remote(settings.agent.socket), CLOCK.monotonic() + within
    while True:
        left = deadline - CLOCK.monotonic()
        if remote.answers(max(LOOKS_EVERY, min(left, ANSWERS_WITHIN))):
            return remote
        if not silent_daemon(settings) or CLOCK.monotonic() > deadline:
            return None
        CLOCK.sleep(LOOKS_EVERY)


def refuse_silent_daemon(settings: Settings) -> None:
    """A daemon that has the home may know better than what can be read past it."""
    holder = silent_daemon(settings)
    if holder:
        raise NotRunning(
            f"a keyman (pid {holder.partition(' ')[0]}) works on this home, but its socket does "
            "not answer",
            hint="wait until it has started, or stop that process",
        )


def silent_daemon(settings: Settings) -> str | None:
    """Who holds the home, unless it is a command: those serve nobody, and are soon done."""
    holder = held_by(settings.home / "daemon.lock")
    return None if holder is None or holder.endswith(f" {COMMAND}") else holder
