"""What must hold whatever the network does, judged from what the provider really has.

Three watchers. `Watched` stands before a provider and judges how each of its verbs ends beside what
was done to the requests of it. `Judge.landed` is told of every request that was carried and looks
whether somebody was cut off. `Judge.saved` is told of every record and looks whether what lookups
get from then on is accepted. It never asks keyman what it thinks.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Any

from keyman import errors
from keyman.core.model import Credential, Secret, Stage
from tests.network.proxy import Hit

CHANGING = {"CreateApiKey", "RenewApiKey", "SetApiKeyState", "UpdateApiKey", "DeleteApiKey"}
HANGS = 12.0  # seconds; a verb takes a handful of calls, of 0.8 each at most
VERBS = ("observe", "claim", "create", "issue", "activate", "retire", "revoke", "verify")
MARK = "canary"  # in every secret that a sandbox makes here

Alive = Callable[[], set[str]]
"""SHA-256 of every secret that the provider takes now."""


def digest(secret: Secret) -> str:
    return sha256(secret.reveal().encode()).hexdigest()


class Judge:
    """One life's. `broken` holds a sentence for every promise that was."""

    def __init__(self, alive: Alive, now: Callable[[], datetime]) -> None:
        self.alive, self.now = alive, now
        self.broken: list[str] = []
        self.needed: dict[str, datetime | None] = {}  # who was handed it needs it so long
        self.current: tuple[int, str] | None = None
        self.forgiven: set[str] = set()  # what the network made, and keyman could not know of
        self._seen: set[str] = set()

    def say(self, what: str) -> None:
        if what not in self.broken:
            self.broken.append(what)

    def landed(self, operation: str, status: int, body: bytes) -> None:
        """After each effect: whoever needs a secret that worked still has one that works."""
        if operation not in CHANGING:
            return
        alive, now = self.alive(), self.now()
        for needed, until in list(self.needed.items()):
            if until is not None and now >= until:
                continue
            if needed in self._seen and needed not in alive:
                what = "what lookups hand out" if until is None else "a secret in its overlap"
                self.say(f"I1/I2/I5: {operation} ({status}) ends {what}")
        self._seen = alive

    def saved(self, record: Credential, secret: Secret | None) -> None:
        """After each record; `secret` is what is stored for its current version."""
        v = record.current
        if v is None or (self.current and v.number == self.current[0]):
            return
        if secret is None:
            self.say(f"I3: version {v.number} is current and its secret is not stored")
            return
        if self.current and v.number < self.current[0]:
            self.say(f"I8: version {v.number} after {self.current[0]}")
        alive = self.alive()
        if digest(secret) not in alive:
            self.say(f"I1: version {v.number} is current and the provider refuses it")
        if self.current:
            self.needed = {self.current[1]: self.now() + record.policy.overlap}
        self.needed[digest(secret)] = None
        self.current, self._seen = (v.number, digest(secret)), alive

    def at_rest(self, record: Credential, took: int, allowed: int) -> None:
        """The network has been well for long: one secret works, and it is the current one."""
        alive, current = self.alive() - self.forgiven, self.current
        if current is None or current[1] not in alive:
            self.say("L: at rest, what lookups hand out does not work")
        elif len(alive) > 1:
            self.say(f"I7: at rest {len(alive) - 1} secrets work that nobody is handed")
        if took > allowed:
            self.say(f"I7: {took} secrets were issued where {allowed} would have done")
        if record.all_at(Stage.REQUESTED, Stage.PENDING, Stage.PREVIOUS):
            self.say("L: at rest a rotation is still under way")

    def forgive(self) -> None:
        """Everything that works now and is not handed out."""
        self.forgiven |= self.alive() - {self.current[1] if self.current else ""}


class Watched:
    """A provider, seen from keyman: every verb is timed, and its end judged."""

    def __init__(self, inner: Any, hits: list[Hit], say: Callable[[str], None]) -> None:
        self.inner, self._hits, self._say = inner, hits, say

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name not in VERBS:
            return found
        return lambda *args, **more: self._judged(name, lambda: found(*args, **more))

    def _judged(self, verb: str, act: Callable[[], Any]) -> Any:
        met, began = len(self._hits), time.monotonic()
        try:
            result = act()
        except errors.Error as error:
            self._failed(verb, error, self._hits[met:])
            raise
        except Exception as error:
            self._say(f"{verb} ends with {type(error).__name__}, which is no error of keyman's")
            raise
        finally:
            if time.monotonic() - began > HANGS:
                self._say(f"{verb} hangs for {time.monotonic() - began:.0f} s")
        for hit in self._ambiguous(self._hits[met:]):
            if verb != "claim":  # whose last call is a proof, and may fail
                self._say(f"I7: {verb} is taken for done; {told(hit)}")
        return result

    def _failed(self, verb: str, error: errors.Error, hits: list[Hit]) -> None:
        fit_to_travel(error, lambda what: self._say(f"{verb}: {what}"))
        if isinstance(error, errors.Unknown | errors.SecretLost):
            return
        for hit in self._ambiguous(hits):
            kind = type(error).__name__
            self._say(f"I7: {verb} is taken for not done ({kind}: {error}); {told(hit)}")

    def _ambiguous(self, hits: list[Hit]) -> list[Hit]:
        """Requests to change something whose true answer nobody got."""
        return [hit for hit in hits if hit.aim.operation in CHANGING and not hit.whole]


def told(hit: Hit) -> str:
    aim = hit.aim
    return f"{aim.operation} met {aim.fault}, {aim.position}; it was answered {hit.statuses}"


def fit_to_travel(error: errors.Error, say: Callable[[str], None]) -> None:
    """Ours through and through: a sentence, a next move, nothing foreign and no secret."""
    if not isinstance(error, errors.ProviderFailed):
        say(f"{type(error).__name__} is no error of a provider")
    for words in (error.message, error.hint):
        if not words or "\n" in words or "Traceback" in words:
            say(f"an error is two lines: {words!r}")
    texts = [str(error), repr(error), error.hint, str(error.as_json()), str(vars(error))]
    texts += traceback.format_exception(error)
    if any(MARK in text for text in texts):
        say("an error holds a secret")
    if error.__cause__ or (error.__context__ and not error.__suppress_context__):
        cause = error.__cause__ or error.__context__
        if not isinstance(cause, errors.Error):
            say(f"an error carries a {type(cause).__name__}")
