"""What lookups are answered: finished bytes for every name, read without a lock.

Built from the journal's record and the stored secrets whenever a record was saved, never while
somebody asks. A reader meets the answer before or the answer after a change, nothing in between:
everything said about a name is one object that is replaced whole. What has expired is refused at
the moment of the lookup, whether or not the rotator has woken since. Every answer carries the
generation that the page shows while it holds, so that who took it need not ask again.

Knows neither journal nor store nor network.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from keyman.clock import Clock
from keyman.core.health import sound, usable, waits_for, worth_trying
from keyman.core.model import Credential, Secret, Stage, Version
from keyman.errors import Error, NotAdopted, NotFound, NoUsableSecret
from keyman.providers.protocol import Lookup
from keyman.serving.page import Mark, Page
from keyman.views import time_text

ASK_AGAIN = 5.0  # seconds: what a client is told to wait while a replacement is on its way


@dataclass(frozen=True, slots=True)
class Handout:
    """One version as applications get it."""

    name: str
    secret: Secret
    version: int
    slot: str | None
    stage: Stage
    expires_at: datetime | None
    provider: str
    lookup: Lookup = field(default_factory=Lookup)

    def as_json(self) -> dict[str, Any]:
        """The object of `get --json`. The one place where a secret is written out."""
        return {
            "name": self.name,
            "value": self.secret.reveal(),
            "version": self.version,
            "slot": self.slot,
            "stage": str(self.stage),
            "expires_at": time_text(self.expires_at),
            "base_url": self.lookup.base_url,
            "provider": self.provider,
            "principal": self.lookup.principal,
            "quota_project": self.lookup.quota_project,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of one name, as of one revision of its record; an Error says why nothing is."""

    revision: int
    current: Handout | Error
    previous: Handout | Error
    standing: int = 0  #: the version that its holders may go on with while nobody answers; 0: none


def answer_for(
    c: Credential,
    secrets: Mapping[int, Secret],
    lookup: Lookup,
    now: datetime,
    *,
    unread: Mapping[int, Error] = MappingProxyType({}),
) -> Answer:
    """What lookups of this credential get. `secrets`: what the store has, by version number;
    `unread`: why it could not be asked for others.
    """

    def handout(v: Version) -> Handout | Error:
        secret = secrets.get(v.number)
        if not usable(v, now):
            return _unusable(v, c, now)
        if secret is None and v.number in unread:
            why = unread[v.number]
            return NoUsableSecret(
                f"{c.name}: the secret of version {v.number} can't be read: {why.message}",
                hint=why.hint,
                retry_after=ASK_AGAIN,
            )
        if secret is None:
            return NoUsableSecret(
                f"{c.name}: the secret of version {v.number} is not in the store",
                hint=f"`keyman status {c.name}` says what is being done about it",
                retry_after=ASK_AGAIN,
            )
        return Handout(
            c.name, secret, v.number, v.slot, v.stage, v.expires_at, c.spec.provider, lookup
        )

    current, previous = c.current, c.at(Stage.PREVIOUS)
    return Answer(
        c.revision,
        handout(current) if current else _nothing_current(c),
        handout(previous) if previous else NoUsableSecret(f"{c.name} has no previous version"),
        _standing(c, now),
    )


def _standing(c: Credential, now: datetime) -> int:
    """Who holds the current version may go on alone, unless it leaked or is known to be dead. That
    we can't read its secret says nothing against it.
    """
    v = c.current
    return v.number if v and sound(v, now) and not v.compromised else 0


def _nothing_current(c: Credential) -> Error:
    if c.versions or (c.spec.issues and not c.spec.key_id):
        return NoUsableSecret(f"{c.name} has no current version yet", retry_after=ASK_AGAIN)
    by_hand = None if c.spec.issues else f"`keyman put {c.name}` takes it from standard input"
    return NotAdopted(f"{c.name}: nobody has entrusted keyman with its secret yet", hint=by_hand)


def _unusable(v: Version, c: Credential, now: datetime) -> Error:
    name = c.name
    if v.expired(now):
        return _expired(name, v.number)
    if v.restored_at and worth_trying(v, now):
        what = f"{name}: version {v.number} is out of a backup, and not proven to work since"
        soon = ASK_AGAIN if c.spec.probes or c.spec.issues else None
        return NoUsableSecret(what, hint=waits_for(c), retry_after=soon)
    why = "leaked and is being revoked" if v.compromised else "is refused by the provider"
    if not v.stored:
        why = "is not in the store any more"
    return NoUsableSecret(f"{name}: version {v.number} {why}", retry_after=ASK_AGAIN)


def _expired(name: str, version: int) -> NoUsableSecret:
    return NoUsableSecret(f"{name}: version {version} has expired", retry_after=ASK_AGAIN)


@dataclass(frozen=True, slots=True)
class Reply:
    """One finished HTTP answer: head and body as they go over the wire."""

    wire: bytes
    head: int  #: how many of these bytes are the head

    @property
    def body(self) -> bytes:
        return self.wire[self.head :]


JSON, PLAIN = "application/json", "text/plain; charset=utf-8"


class Ready:
    """A handout in both finished forms. `headers` are those that say which one it is."""

    __slots__ = ("headers", "json", "plain", "until", "version")

    def __init__(self, handout: Handout, mark: Mark | None) -> None:
        self.version = handout.version
        self.until = handout.expires_at
        self.headers = {"etag": f'"{handout.version}"', "cache-control": "no-store"}
        if mark is not None:
            self.headers["keyman-generation"] = str(mark)
        self.json = self._reply(JSON, json.dumps(handout.as_json()).encode())
        self.plain = self._reply(PLAIN, f"{handout.secret.reveal()}\n".encode())

    def wire(self, *, plain: bool) -> bytes:
        """The whole HTTP answer."""
        return self.plain.wire if plain else self.json.wire

    def _reply(self, kind: str, body: bytes) -> Reply:
        said = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = (
            f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{said}\r\n"
        ).encode()
        return Reply(head + body, len(head))


class _Entry:
    """All that is said of one name. Never changed once made."""

    __slots__ = ("answer", "current", "previous")

    def __init__(self, answer: Answer, current: Ready | Error, previous: Ready | Error) -> None:
        self.answer = answer
        self.current = current
        self.previous = previous

    @property
    def revision(self) -> int:
        return self.answer.revision

    def with_answer(self, answer: Answer) -> _Entry | None:
        """The same as of another revision; None if something else is to be said."""
        before = self.answer
        same = (
            before.standing == answer.standing
            and _alike(before.current, answer.current)
            and _alike(before.previous, answer.previous)
        )
        return _Entry(answer, self.current, self.previous) if same else None


def _finished(answer: Answer, mark: Mark | None) -> _Entry:
    current, previous = (
        Ready(said, mark) if isinstance(said, Handout) else said
        for said in (answer.current, answer.previous)
    )
    return _Entry(answer, current, previous)


def _alike(one: Handout | Error, other: Handout | Error) -> bool:
    if isinstance(one, Error):
        return type(one) is type(other) and vars(one) == vars(other)
    return one == other


class Snapshot:
    """Name → finished answer. Any thread may publish, any thread may look up."""

    def __init__(self, clock: Clock, page: Page | None = None) -> None:
        self._now = clock.now
        self._page = page
        self._entries: dict[str, _Entry] = {}
        self._writing = threading.Lock()
        self._told: list[Callable[[str], None]] = []

    def subscribe(self, told: Callable[[str], None]) -> None:
        """Have `told(name)` called after each change, in the thread that made it."""
        self._told.append(told)

    def publish(self, name: str, answer: Answer) -> None:
        """Let lookups of the name be answered so from now on.

        Records may be saved by several threads and reach this in another order: what belongs to
        an older revision than the one being served is ignored. What is said already stays as it
        is, and nobody who holds it needs to ask again.
        """
        with self._writing:
            known = self._entries.get(name)
            if known is not None and answer.revision < known.revision:
                return
            same = known.with_answer(answer) if known is not None else None
            if same is not None:
                self._entries[name] = same
            else:
                self._replace(name, answer)
        self._tell(name)

    def _replace(self, name: str, answer: Answer) -> None:
        """First the page, then the answer: once anybody is given the new one, whoever holds the
        one before asks. Who asks in between gets that with its old mark, and asks again.
        """
        mark = self._page.mark(name, answer.standing) if self._page is not None else None
        finished = _finished(answer, mark)
        if self._page is not None and mark is not None:
            self._page.show(mark)
        # One assignment: a reader gets the old object or the new one. Copying the whole
        # table for each name would make starting with n credentials cost n².
        self._entries[name] = finished

    def ask_again(self, names: Iterable[str]) -> None:
        """Have everybody who holds these names' answers ask once more: they may, or may not, be
        somebody who is given them. While nobody answers they go on with what they were given.
        """
        with self._writing:
            for name in names:
                if (entry := self._entries.get(name)) is not None:
                    self._replace(name, entry.answer)

    def withdraw(self, name: str) -> None:
        """Forget the name; looking it up is NotFound from now on."""
        with self._writing:
            if self._page is not None:
                self._page.withdraw(name)
            self._entries.pop(name, None)
        self._tell(name)

    def withdraw_others(self, names: Iterable[str]) -> None:
        """Have nobody but these names' holders go on with what a daemon before us gave them."""
        with self._writing:
            if self._page is not None:
                self._page.withdraw_others(names)

    def beat(self) -> None:
        """Tell those who hold answers that somebody serves; to be called each second."""
        if self._page is not None:
            self._page.beat()

    def rest(self) -> None:
        """Tell them that nobody does."""
        if self._page is not None:
            self._page.rest()

    def names(self) -> set[str]:
        """Those that have an answer."""
        return set(self._entries)

    def _tell(self, name: str) -> None:
        for told in self._told:
            told(name)

    def knows(self, name: str) -> bool:
        return name in self._entries

    def look_up(self, name: str, stage: Stage = Stage.CURRENT) -> Ready:
        """What is handed out now. Raises NotFound, NoUsableSecret or NotAdopted."""
        entry = self._entries.get(name)
        if entry is None:
            raise NotFound("no credential of that name")
        said = entry.previous if stage is Stage.PREVIOUS else entry.current
        if isinstance(said, Error):
            raise copy(said)  # raising one object for all would have it collect everybody's frames
        if said.until is not None and self._now() >= said.until:
            raise _expired(name, said.version)
        return said

    def ready(self, name: str) -> Ready | None:
        """The current version as a plain lookup gets it; None if there is more to say than that."""
        entry = self._entries.get(name)
        if entry is None or not isinstance(entry.current, Ready):
            return None
        said = entry.current
        if said.until is not None and self._now() >= said.until:
            return None
        return said

    def wire(self, name: str, *, plain: bool) -> bytes | None:
        """The whole HTTP answer of what is ready."""
        said = self.ready(name)
        return None if said is None else said.wire(plain=plain)
