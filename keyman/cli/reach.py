"""How a command reaches keyman: through the daemon if one runs, else by itself under the lock.

Both ways answer the same questions in the same JSON, so a command does not know which it was.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import quote

import click

from keyman import client
from keyman.app import App, load_settings, open_app
from keyman.config import Settings
from keyman.core.model import Secret
from keyman.desk import Wish
from keyman.errors import Conflict, NotRunning
from keyman.telemetry import start_logging
from keyman.views import Json


class Reached(Protocol):
    """What commands ask for. `wait` gives the receipt once final, or as it is in the end."""

    running: bool

    def names(self) -> list[str]: ...
    def status(self, name: str) -> Json: ...
    def statuses(self) -> list[Json]: ...
    def order(self, name: str, wish: Wish) -> Json: ...
    def wait(self, order: str, seconds: float) -> Json: ...
    def adopt(self, name: str, slot: str, secret: Secret) -> Json: ...
    def forget(self, name: str) -> Json: ...
    def since(self) -> str | None: ...


def settings_of(ctx: click.Context) -> Settings:
    """The configuration that this call of keyman means, and logging as it says."""
    settings = load_settings(ctx.obj["config"])
    level = ctx.obj["log_level"] or settings.log.level
    start_logging(level, ctx.obj["log_format"] or settings.log.format)
    return settings


@contextmanager
def keyman_of(ctx: click.Context) -> Iterator[Reached]:
    """The running daemon, or keyman itself in this process while no daemon runs.

    Raises NotRunning if a process holds the home but doesn't answer: nobody acts beside it.
    """
    settings = settings_of(ctx)
    quiet = ctx.obj["log_level"] is None and settings.log.level == "info"
    if quiet:
        start_logging("warning", settings.log.format)
    remote = Remote(settings)
    if remote.running:
        yield remote
        return
    try:
        app = open_app(settings)
    except Conflict as held:
        raise NotRunning(
            f"{held.message}, but its socket does not answer",
            hint="wait for it to start, or stop that process",
        ) from None
    with app:
        yield Local(app)


class Remote:
    """The daemon, over its socket."""

    def __init__(self, settings: Settings) -> None:
        self._socket = str(settings.agent.socket)
        try:
            status, _ = self._call("GET", "/healthz", timeout=2)
        except NotRunning:
            self.running = False
        else:
            self.running = status == 200

    def _call(
        self, method: str, path: str, body: Json | None = None, *, timeout: float = 30
    ) -> tuple[int, Any]:
        return client.call(method, path, body, timeout=timeout, path_to_socket=self._socket)

    def _ask(self, method: str, path: str, body: Json | None = None, *, timeout: float = 30) -> Any:
        return client.checked(*self._call(method, path, body, timeout=timeout))

    def since(self) -> str | None:
        since: str | None = self._ask("GET", "/api/v1/credentials")["daemon"]["since"]
        return since

    def names(self) -> list[str]:
        return [str(one["name"]) for one in self.statuses()]

    def status(self, name: str) -> Json:
        found: Json = self._ask("GET", f"/api/v1/credentials/{quote(name, safe='')}")
        return found

    def statuses(self) -> list[Json]:
        found: list[Json] = self._ask("GET", "/api/v1/credentials")["credentials"]
        return found

    def order(self, name: str, wish: Wish) -> Json:
        body: Json = {"reason": wish.reason}
        if wish.overlap is not None:
            body["overlap"] = f"{wish.overlap.total_seconds()}s"
        body |= {"version": wish.version, "slot": wish.slot}
        body |= {"all": wish.everything, "now": wish.first, "new_key": wish.kind == "new-key"}
        verb = "rotate" if wish.kind == "new-key" else str(wish.kind)
        path = f"/api/v1/credentials/{quote(name, safe='')}/{verb}"
        kept: Json = self._ask("POST", path, {k: v for k, v in body.items() if v})
        return kept

    def wait(self, order: str, seconds: float) -> Json:
        deadline = time.monotonic() + seconds  # noqa: TID251 - how long a person waits
        while True:
            left = deadline - time.monotonic()  # noqa: TID251
            path = f"/api/v1/orders/{order}?wait={max(0, min(left, 25)):.3f}s"
            receipt: Json = self._ask("GET", path)
            if final(receipt) or left <= 0:
                return receipt

    def adopt(self, name: str, slot: str, secret: Secret) -> Json:
        body = {"slot": slot, "secret": secret.reveal()}
        path = f"/api/v1/credentials/{quote(name, safe='')}/adopt"
        done: Json = self._ask("POST", path, body, timeout=60)
        return done

    def forget(self, name: str) -> Json:
        done: Json = self._ask("POST", f"/api/v1/credentials/{quote(name, safe='')}/forget", {})
        return done

    def reload(self) -> None:
        self._ask("POST", "/api/v1/reload", {})


class Local:
    """keyman in this process, while it holds the home's lock."""

    running = False

    def __init__(self, app: App) -> None:
        self._app = app

    def since(self) -> str | None:
        return None

    def names(self) -> list[str]:
        return self._app.desk.names()

    def status(self, name: str) -> Json:
        return self._app.desk.status(name)

    def statuses(self) -> list[Json]:
        return self._app.desk.statuses()

    def order(self, name: str, wish: Wish) -> Json:
        return self._app.desk.order(name, wish)

    def wait(self, order: str, seconds: float) -> Json:
        name = self._app.desk.receipt(order)["name"]
        self._app.drive(
            name, timedelta(seconds=seconds), lambda: final(self._app.desk.receipt(order))
        )
        return self._app.desk.receipt(order)

    def adopt(self, name: str, slot: str, secret: Secret) -> Json:
        return self._app.desk.adopt(name, slot, secret, person())

    def forget(self, name: str) -> Json:
        return self._app.desk.forget(name, person())


def final(receipt: Json) -> bool:
    return receipt["state"] in ("done", "failed")


def person() -> str:
    """Who is at the terminal, for the journal."""
    uid = os.getuid()
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}"
