"""How a command reaches keyman: through the daemon if one runs, else by itself.

Orders are then carried out under the home's lock; looking takes no lock and changes nothing. All
ways answer the same questions in the same JSON, so a command does not know which it was.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import click

from keyman import client
from keyman.cli import terminal, unjudged
from keyman.cli.configuration import load_settings
from keyman.clock import SystemClock
from keyman.config import Settings, find_home
from keyman.config.places import where_to_write
from keyman.core.model import Secret
from keyman.desk import Entrusted, Wish
from keyman.errors import ConfigError, Conflict, Error, NotAllowed, NotRunning
from keyman.lock import COMMAND, held_by
from keyman.telemetry import start_logging
from keyman.views import Json, time_text

if TYPE_CHECKING:
    from keyman.app import App

ANSWERS_WITHIN = 2.0  # seconds for what a daemon has ready
STARTS_WITHIN = 3.0  # seconds that a home which somebody holds gets until its socket answers
LOOKS_EVERY = 0.1
MIRRORS_WITHIN = 10.0  # seconds that a command waits for them in the end
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
            _let_mirrors_follow(app)
            raise
        _let_mirrors_follow(app)


def _let_mirrors_follow(app: App) -> None:
    """Nobody goes on after us: what we saved is taken to the mirrors, as far as they answer."""
    for behind in app.mirroring.settle(MIRRORS_WITHIN):
        terminal.warn(f"{behind}; `keyman daemon` goes on")


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


class Remote:
    """The daemon, over this socket."""

    running = True

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    def answers(self, within: float) -> bool:
        """Whether anybody does in so many seconds. Raises NotAllowed if this user may not ask."""
        try:
            status, said = self._call("GET", "/healthz", timeout=within)
        except NotRunning:
            return False
        client.checked(status, said)
        return True

    def _call(
        self, method: str, path: str, body: Json | None = None, *, timeout: float = 30
    ) -> tuple[int, Any]:
        return client.call(method, path, body, timeout=timeout, path_to_socket=self._socket)

    def _ask(self, method: str, path: str, body: Json | None = None, *, timeout: float = 30) -> Any:
        return client.checked(*self._call(method, path, body, timeout=timeout))

    def status(self, name: str) -> Json:
        found: Json = self._ask("GET", f"/api/v1/credentials/{quote(name, safe='')}")
        return found

    def every(self) -> Json:
        found: Json = self._ask("GET", "/api/v1/credentials")
        return found

    def lookup(self, name: str, *, previous: bool) -> Json:
        stage = "?stage=previous" if previous else ""
        found: Json = self._ask("GET", f"/api/v1/secrets/{quote(name, safe='')}{stage}")
        return found

    def rejected(self, name: str, version: int, within: float) -> None:
        """Tell it that the provider refuses this version; what follows need not be awaited."""
        path = f"/api/v1/secrets/{quote(name, safe='')}/rejected"
        with suppress(NotRunning):
            self._call("POST", path, {"version": version}, timeout=within)

    def order(self, name: str, wish: Wish) -> Json:
        body: Json = {"reason": wish.reason}
        if wish.overlap is not None:
            body["overlap"] = f"{wish.overlap.total_seconds()}s"
        body |= {"version": wish.version, "slot": wish.slot}
        body |= {"all": wish.everything, "now": wish.first, "new_key": wish.kind == "new-key"}
        verb = "rotate" if wish.kind == "new-key" else str(wish.kind)
        path = f"/api/v1/credentials/{quote(name, safe='')}/{verb}"
        with _maybe_recorded():
            kept: Json = self._ask("POST", path, {k: v for k, v in body.items() if v})
        return kept

    def wait(self, order: str, seconds: float) -> Json:
        deadline = CLOCK.monotonic() + seconds
        while True:
            left = deadline - CLOCK.monotonic()
            path = f"/api/v1/orders/{order}?wait={max(0, min(left, 25)):.3f}s"
            with _maybe_recorded():
                receipt: Json = self._ask("GET", path)
            if final(receipt) or left <= 0:
                return receipt

    def adopt(self, name: str, key: Entrusted) -> Json:
        body: Json = {"secret": key.secret.reveal(), "take_over": key.take_over}
        body |= {k: v for k, v in (("slot", key.slot), ("key_id", key.key_id)) if v is not None}
        path = f"/api/v1/credentials/{quote(name, safe='')}/adopt"
        done: Json = self._ask("POST", path, body, timeout=60)
        return done

    def put(self, name: str, secret: Secret, expires_at: datetime | None) -> Json:
        body: Json = {"secret": secret.reveal()}
        body |= {"expires_at": time_text(expires_at)} if expires_at else {}
        path = f"/api/v1/credentials/{quote(name, safe='')}/put"
        done: Json = self._ask("POST", path, body, timeout=60)
        return done

    def forget(self, name: str, *, revoke: bool) -> Json:
        path = f"/api/v1/credentials/{quote(name, safe='')}/forget"
        done: Json = self._ask("POST", path, {"revoke": True} if revoke else {}, timeout=120)
        return done

    def clients(self) -> Json:
        found: Json = self._ask("GET", "/api/v1/clients")
        return found

    def add_client(self, name: str, digest: str, grants: Sequence[str]) -> Json:
        body: Json = {"name": name, "digest": digest, "grants": list(grants)}
        done: Json = self._ask("POST", "/api/v1/clients", body)
        return done

    def revoke_client(self, name: str) -> Json:
        done: Json = self._ask("POST", f"/api/v1/clients/{quote(name, safe='')}/revoke", {})
        return done

    def reload(self) -> Json:
        done: Json = self._ask("POST", "/api/v1/reload", {})
        return done


class Onlooker:
    """The home as its journal has it, read past no daemon."""

    running = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def status(self, name: str) -> Json:
        from keyman import reading

        return reading.status(self._settings, name)

    def every(self) -> Json:
        from keyman import reading

        statuses = reading.statuses(self._settings)
        return _nobody_runs(statuses, reading.told(self._settings))

    def clients(self) -> Json:
        from keyman import reading

        return {"clients": reading.clients(self._settings)}


class Local:
    """keyman in this process, while it holds the home's lock."""

    running = False

    def __init__(self, app: App) -> None:
        self._app = app

    def status(self, name: str) -> Json:
        return self._app.desk.status(name)

    def every(self) -> Json:
        return _nobody_runs(self._app.desk.statuses(), self._app.desk.notified())

    def order(self, name: str, wish: Wish) -> Json:
        return self._app.desk.order(name, wish)

    def wait(self, order: str, seconds: float) -> Json:
        app = self._app
        name = app.desk.receipt(order)["name"]

        def done() -> bool:
            receipt = app.desk.receipt(order)
            if receipt["state"] != "done":
                return final(receipt)
            # Nobody goes on after us: what was revoked with no replacement yet still needs one.
            now = app.desk.status(name)
            served = now["current"] is not None or not app.rotator.managed[name].spec.issues
            return bool(served and now["health"] != "rotating")

        app.drive(name, timedelta(seconds=seconds), done)
        return app.desk.receipt(order)

    def adopt(self, name: str, key: Entrusted) -> Json:
        return self._app.desk.adopt(name, key, person())

    def put(self, name: str, secret: Secret, expires_at: datetime | None) -> Json:
        return self._app.desk.put(name, secret, expires_at, person())

    def forget(self, name: str, *, revoke: bool) -> Json:
        return self._app.desk.forget(name, person(), revoke=revoke)

    def clients(self) -> Json:
        return {"clients": self._app.register.every()}

    def add_client(self, name: str, digest: str, grants: Sequence[str]) -> Json:
        return self._app.register.add(name, digest, grants, person())

    def revoke_client(self, name: str) -> Json:
        return self._app.register.revoke(name, person())


def _nobody_runs(statuses: list[Json], told: list[Json]) -> Json:
    daemon = {"running": False, "since": None}
    return {"daemon": daemon, "credentials": statuses, "notify": told}


@contextmanager
def _maybe_recorded() -> Iterator[None]:
    """The daemon may end between an order and its answer: the order doesn't."""
    try:
        yield
    except NotRunning as error:
        raise NotRunning(
            error.message,
            hint="the order may be recorded: `keyman status` tells, "
            "and `keyman daemon` goes on with it",
        ) from None


def final(receipt: Json) -> bool:
    return receipt["state"] in ("done", "failed")


def person() -> str:
    """Who is at the terminal, for the journal."""
    uid = os.getuid()
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}"
