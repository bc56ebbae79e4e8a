"""Telling what happens as server-sent events: `GET /api/v1/events`.

Every listener reads the journal at its own pace, from the last number it saw: what a kill -9 or
an absence interrupted goes on without gap or repetition, and nothing is queued for anybody. Of
one that takes nothing no more is read, and it is hung up on like everyone who does that (wire.py);
no rotation and no lookup ever waits for one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from keyman.config import values
from keyman.core.news import News
from keyman.errors import Error, NotFound, TooMany, UsageError
from keyman.serving.answers import Gives
from keyman.serving.desk import Desk
from keyman.serving.requests import NO_SUCH_NAME
from keyman.serving.snapshot import Snapshot
from keyman.serving.watchers import Watchers
from keyman.views import time_text

CHANNEL = ""  # what listeners wait for: no credential is called so
COMMENT_EVERY = 15.0  # seconds
MOST = 256  # listeners
PAGE = 500  # lines of the journal read at once
COME_BACK_AFTER = 2_000  # milliseconds
KIND = "text/event-stream"
GIVES = Gives(None, kinds=(KIND,))
NUMBER = re.compile(r"[0-9]{1,18}")
COMMENT = b": nothing new\n\n"
RESET = "older events are not kept: ask /api/v1/credentials how things are"

Last = Annotated[str | None, Header(alias="Last-Event-ID")]
Of = Annotated[str | None, Query(description="only what happens to this credential")]
Sees = Callable[[str], bool]

log = logging.getLogger("keyman.serving")


@dataclass(frozen=True, slots=True)
class Line:
    """One event as it goes over the wire."""

    number: int
    name: str
    wire: bytes


class Events:
    """`listeners` is how many there are; at most `most`. Each hears something, if only a comment,
    every `comment_every` seconds.
    """

    def __init__(self, desk: Desk, snapshot: Snapshot, waiting: Watchers) -> None:
        self._desk = desk
        self._snapshot = snapshot
        self._waiting = waiting
        self._reading: dict[int, asyncio.Future[list[Line]]] = {}
        self.listeners = 0
        self.most = MOST
        self.comment_every = COMMENT_EVERY

    def happened(self) -> None:
        """There is something new in the journal. From any thread."""
        self._waiting.published(CHANNEL)

    async def listen(self, request: Request, credential: Of = None, last: Last = None) -> Response:
        """What happens, as it happens; after `Last-Event-ID` first what was missed."""
        sees = self._visible(request, credential)
        begin, reset = await run_in_threadpool(self._from, last)
        if request.method == "HEAD":
            return Response(media_type=KIND, headers={"cache-control": "no-store"})
        if self.listeners >= self.most:
            raise TooMany("too many listen to events already", hint="close some")
        return Stream(self._told(request, begin, sees, reset=reset))

    def _visible(self, request: Request, credential: str | None) -> Sees:
        """Whose events this caller gets: those of the names that they may look up."""
        sees: Sees = request.scope["state"]["caller"].sees
        if credential is None:
            return sees
        known = values.NAME.fullmatch(credential) and self._snapshot.knows(credential)
        if not known or not sees(credential):
            raise NotFound(NO_SUCH_NAME)
        return lambda name: name == credential

    def _from(self, last: str | None) -> tuple[int, bool]:
        """After which number to begin, and whether something was missed for good."""
        oldest, newest = self._desk.news_kept()
        if last is None:
            return newest, False
        if not NUMBER.fullmatch(last):
            raise UsageError("Last-Event-ID is the id of an event that was told here")
        seen = int(last)
        kept = oldest - 1 <= seen <= newest
        return (seen, False) if kept else (newest, True)

    async def _told(
        self, request: Request, seen: int, sees: Sees, *, reset: bool
    ) -> AsyncGenerator[bytes]:
        async def look() -> list[Line] | None:
            return await self._after(seen) or None

        self.listeners += 1
        clock = asyncio.get_running_loop().time
        try:
            yield _opening(seen, reset=reset)
            spoke = clock()
            while not self._waiting.closed:
                left = spoke + self.comment_every - clock()
                page = await self._waiting.until(request, CHANNEL, look, max(left, 0.0))
                said = b"".join(line.wire for line in page or () if sees(line.name))
                seen = page[-1].number if page else seen
                if page is None and await request.is_disconnected():
                    return
                if said or clock() - spoke >= self.comment_every:
                    yield said or COMMENT
                    spoke = clock()
        except Error as error:  # they come back, and go on where they were
            log.warning("events are not told: %s", error.message)
        finally:
            self.listeners -= 1

    async def _after(self, seen: int) -> list[Line]:
        """The next page of the journal. Those who wait for the same one share the reading."""
        reading = self._reading.get(seen)
        if reading is None:
            reading = asyncio.ensure_future(run_in_threadpool(self._read, seen))
            self._reading[seen] = reading
            reading.add_done_callback(lambda _: self._reading.pop(seen, None))
        return await asyncio.shield(reading)

    def _read(self, seen: int) -> list[Line]:
        return [_line(number, news) for number, news in self._desk.news(seen, PAGE)]


class Stream(StreamingResponse):
    """Ends with its chunks, or when nobody takes them any more: those notice both themselves."""

    def __init__(self, chunks: AsyncGenerator[bytes]) -> None:
        super().__init__(chunks, media_type=KIND, headers={"cache-control": "no-store"})
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _opening(seen: int, *, reset: bool) -> bytes:
    """Where they are, before anything happens: whoever is cut off now goes on from here."""
    begin = f"retry: {COME_BACK_AFTER}\nid: {seen}\n\n"
    if reset:
        said = json.dumps({"what": "reset", "reason": RESET})
        begin += f"event: reset\nid: {seen}\ndata: {said}\n\n"
    return begin.encode()


def _line(number: int, news: News) -> Line:
    said = {
        "at": time_text(news.at),
        "credential": news.name,
        "what": news.what,
        "version": news.version,
        "slot": news.slot,
        "reason": news.reason,
    }
    # JSON has no line breaks of its own, so that a reason can't begin another event.
    wire = f"event: {news.what}\nid: {number}\ndata: {json.dumps(said)}\n\n".encode()
    return Line(number, news.name, wire)
