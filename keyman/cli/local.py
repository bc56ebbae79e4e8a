"""keyman without a daemon: its work done in this process, or its home only looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from keyman.cli import terminal
from keyman.cli.person import person
from keyman.config import Settings
from keyman.core.model import Secret
from keyman.desk import Entrusted, Wish
from keyman.views import Json, final

if TYPE_CHECKING:
    from keyman.app import App

MIRRORS_WITHIN = 10.0  # seconds that a command waits for them in the end


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


def let_mirrors_follow(app: App) -> None:
    """Nobody goes on after us: what we saved is taken to the mirrors, as far as they answer."""
    for behind in app.mirroring.settle(MIRRORS_WITHIN):
        terminal.warn(f"{behind}; `keyman daemon` goes on")
