"""What runs in a daemon's process: application, timers, agent, and who of them hears of what."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Sequence

from keyman import __version__
from keyman.app import App, open_app
from keyman.config import Settings
from keyman.core.news import News
from keyman.daemon import Daemon
from keyman.sd_notify import taken_from
from keyman.serving.api import Api
from keyman.serving.server import Agent
from keyman.views import Json
from keyman.watched import Watched

log = logging.getLogger("keyman.daemon")


def run_daemon(settings: Settings, reread: Callable[[], Settings]) -> bool:
    """Serve until asked to stop. False if a turn was still under way then."""
    service = _Service(settings, reread)
    app, daemon = service.app, service.daemon
    app.note_if_possible("daemon started", detail=f"keyman {__version__}, pid {os.getpid()}")
    daemon.serve()
    app.note_if_possible("daemon stopped")
    if daemon.idle:
        app.close()
    return daemon.idle


class _Service:
    """The rooms that a daemon has beside the application, each told of those that it needs."""

    def __init__(self, settings: Settings, reread: Callable[[], Settings]) -> None:
        manager, at = taken_from(os.environ, os.getpid()), settings.agent
        manager.status("opening journal and stores")
        self.reread = reread
        self.app = app = _opened(settings)
        self.api = Api(
            app.desk,
            app.snapshot,
            reload=self.reload,
            since=app.clock.now(),
            clients=app.register,
            meter=app.rotator.meter,
        )
        self.agent = Agent(self.api, at.socket, allow_uids=at.allow_uids, listen=at.listen)
        self.daemon = Daemon(
            app.turn,
            lambda: app.rotator.managed,
            app.clock,
            self.agent,
            self.reload,
            clock_set=app.clock_set,
            keep_house=app.keep_house,
        )
        health, turns = self.api.metrics.health, self.daemon.turns
        self.watched = Watched(manager, app.clock, health=health, turns=turns, socket=at.socket)
        self._connect(settings)

    def _connect(self, settings: Settings) -> None:
        app = self.app
        app.rotator.heard = app.mirroring.telling.heard = self.heard
        app.rotator.wait_for(self.agent.taken)
        app.desk.poke = self.daemon.poke
        self.api.ordered_reload = lambda by: app.note("ordered reload", by=by)
        self.agent.doors.narrow(settings.allow_uids)
        self.daemon.following = [self.watched, app.mirroring, app.notifying]
        self.daemon.each_minute = app.rotator.tell_head

    def heard(self, news: Sequence[News]) -> None:
        self.api.heard(news)
        self.app.notifying.heard(news)

    def reload(self) -> Json:
        """Take up the configuration as it is now. Raises ConfigError, with nothing changed."""
        with self.watched.reloading():
            fresh, before = self.reread(), self.app.settings.credentials
            self.agent.reread_certificate()
            with self.agent.doors.narrowing(fresh.allow_uids):
                self.app.take_up(fresh)
        changed = (name for name, one in fresh.credentials.items() if one != before.get(name))
        self.daemon.poke_all(first=changed)
        return {"credentials": self.app.desk.names()}


def _opened(settings: Settings) -> App:
    gc.disable()  # nothing that is made here is to be thrown away, and it may be very much
    app = open_app(settings)
    gc.freeze()  # not to be looked through again and again
    gc.enable()
    for warning in app.warnings:
        log.warning("%s", warning)
    return app
