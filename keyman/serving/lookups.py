"""Lookups and reports of applications: the half of the API that is answered from the snapshot."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from keyman import errors
from keyman.core.model import Stage
from keyman.serving import requests as asked
from keyman.serving.desk import Desk
from keyman.serving.snapshot import JSON, PLAIN, Ready, Snapshot
from keyman.serving.watchers import Watchers
from keyman.views import Json

REPLACEMENT_WITHIN = 5.0  # seconds that a client who met a refusal waits for a newer version
NO_STORE = {"cache-control": "no-store"}


class Lookups:
    def __init__(self, desk: Desk, snapshot: Snapshot, waiting: Watchers) -> None:
        self._desk = desk
        self._snapshot = snapshot
        self._waiting = waiting

    async def secret(
        self,
        request: Request,
        name: asked.Name,
        stage: asked.StageAsked = "current",
        after: asked.After = None,
        wait: asked.Wait = None,
    ) -> Response:
        """The secret and what goes with it; with `after`, as soon as the version exceeds it."""
        if after is None and stage == "current":
            return _handed(request, name, self._snapshot.look_up(name))
        if after is None:
            return _said(request, self._snapshot.look_up(name, Stage(stage)))
        if stage == "previous":
            raise errors.UsageError("after tells of newer versions: it goes with the current stage")

        async def look() -> Ready | None:
            # Raises if nothing is usable: that is news to whoever holds an older version.
            ready = self._snapshot.look_up(name)
            return ready if ready.version > after else None

        if after and self._snapshot.knows(name):
            _takes(request, name, after)  # or so they say
        ready = await self._waiting.until(request, name, look, asked.seconds(wait))
        return _handed(request, name, ready) if ready else _unchanged(after)

    async def rejected(
        self, request: Request, name: asked.Name, body: asked.Rejected, by: asked.Peer
    ) -> Response:
        """The provider refused this version: a newer one if it comes soon, else 202."""

        async def look() -> Ready | None:
            return self._newer(name, body.version)

        ready = await look()
        if ready is None:
            await run_in_threadpool(self._desk.rejected, name, body.version, by)
            ready = await self._waiting.until(request, name, look, REPLACEMENT_WITHIN)
        if ready is None:
            return answer({"name": name, "version": body.version}, 202)
        return _handed(request, name, ready)

    def _newer(self, name: str, version: int) -> Ready | None:
        """What replaces the version, if anything does by now. Raises NotFound only."""
        try:
            ready = self._snapshot.look_up(name)
        except errors.NoUsableSecret:
            return None
        return ready if ready.version > version else None


def answer(content: Json, status: int = 200) -> JSONResponse:
    return JSONResponse(content, status, NO_STORE)


def _takes(request: Request, name: str, version: int) -> None:
    """Have the connection remember it."""
    request.scope["state"]["takes"](name, version)


def _handed(request: Request, name: str, ready: Ready) -> Response:
    if request.method != "HEAD":
        _takes(request, name, ready.version)
    return _said(request, ready)


def _said(request: Request, ready: Ready) -> Response:
    """The finished answer in the form that the caller asked for."""
    if f'"{ready.version}"' in request.headers.get("if-none-match", ""):
        return _unchanged(ready.version)
    accepts = request.headers.get("accept", "")
    plain = "text/plain" in accepts and JSON not in accepts
    reply, kind = (ready.plain, PLAIN) if plain else (ready.json, JSON)
    return Response(reply.body, headers={"content-type": kind, **ready.headers})


def _unchanged(version: int) -> Response:
    return Response(status_code=304, headers={"etag": f'"{version}"', **NO_STORE})
