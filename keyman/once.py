"""`keyman daemon --once`: what is due now, and what that begins, through to its end.

A failure is tried again twice if the pauses are short: nobody waits here for a cloud to come to
its senses. A longer rest that an earlier run began is kept, since this may run every minute; who
has mended something since is told how to end it.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from keyman.app import App, open_app
from keyman.config import Settings
from keyman.core.model import Credential, Version
from keyman.core.steps import Wait
from keyman.errors import Error
from keyman.lock import COMMAND
from keyman.views import Json, time_text

ONCE_AT_MOST = 600.0  # seconds for one credential
ONCE_RESTS = timedelta(seconds=10)  # the longest pause after a failure that is sat out
ONCE_TRIES = 3
MIRRORS_WITHIN = 60.0  # seconds for all of them
TOLD_WITHIN = 60.0  # and for those who are told what happened

log = logging.getLogger("keyman.once")


def run_once(settings: Settings) -> list[Json]:
    """The statuses of credentials with which it did not go well.

    `last_error` and `hint` say why, if that is known.
    """
    with open_app(settings, role=COMMAND, by="daemon --once") as app:
        for warning in app.warnings:
            log.warning("%s", warning)
        troubled = do_what_is_due(app)
        for behind in app.mirroring.settle(MIRRORS_WITHIN, every=True):
            log.warning("%s", behind)
        for untold in app.notifying.settle(TOLD_WITHIN):
            log.warning("%s", untold)
        return troubled


def do_what_is_due(app: App) -> list[Json]:
    """The same in a home that is open already."""
    return [told for name in app.names() if (told := _once(app, name))]


def _once(app: App, name: str) -> Json | None:
    """See one credential through; its status if something is not well."""
    began = app.clock.now()
    try:
        before, _ = app.journal.load(app.rotator.managed[name].spec)
        credential = see_through(app, name, began)
    except Error as error:  # the others have their turn all the same
        return app.desk.status(name) | {"last_error": error.message, "hint": error.hint}
    status = app.desk.status(name)
    if status["failures"]:
        return status | _still_resting(before, credential)
    unwell = _unwell(credential, status["health"], began)
    if unwell:
        return status | {"last_error": unwell, "hint": "`keyman check` tells what is wrong"}
    return None if status["current"] else status


def _still_resting(before: Credential, after: Credential) -> Json:
    """What to say besides where nothing was tried: the reason is that of another time."""
    if after.retry_at is None or after.retry_at != before.retry_at:
        return {}
    hint = f"mended since? `keyman rotate {after.name}` tries at once; else: {after.last_hint}"
    return {
        "last_error": f"{after.last_error}; not tried again before {time_text(after.retry_at)}",
        "hint": hint if after.spec.issues else after.last_hint,
    }


def see_through(app: App, name: str, began: datetime) -> Credential:
    """Advance it until it rests; the record then."""
    clock = app.clock
    deadline = clock.monotonic() + ONCE_AT_MOST
    while True:
        wait = app.rotator.advance(name)
        credential, _ = app.journal.load(app.rotator.managed[name].spec)
        now, left = clock.now(), deadline - clock.monotonic()
        if left <= 0 or _at_rest(credential, wait, began, now):
            return credential
        clock.sleep(min(max((wait.until - now).total_seconds(), 0.01), left))


def _at_rest(c: Credential, wait: Wait, began: datetime, now: datetime) -> bool:
    """Is there nothing more to do for now, or nothing more to hope for?"""
    if c.retry_at is not None and c.retry_at > now:
        return c.failures >= ONCE_TRIES or wait.until > now + ONCE_RESTS
    vain = _given_up(c)
    return c.open_version is None or (vain is not None and vain.requested_at >= began)


def _unwell(c: Credential, health: str, began: datetime) -> str | None:
    """What is wrong although no step failed."""
    vain = _given_up(c)
    if vain and (vain.requested_at >= began or health in ("failing", "at-risk", "down")):
        return f"version {vain.number} was given up: {vain.given_up}"
    if c.open_version:
        return f"version {c.open_version.number} is not finished yet"
    return "is at risk" if health == "at-risk" else None


def _given_up(c: Credential) -> Version | None:
    """The last version that came to nothing, unless a later one became current."""
    promoted = max((v.number for v in c.versions if v.promoted_at), default=0)
    return next((v for v in reversed(c.versions) if v.given_up and v.number > promoted), None)
